"""``/server/config`` and ``/server/logs/rollover``: the host's settings as front ends look for them.

Upstream: docs/external_api/server.md; specification, 2.1.  What is told is what counts
here, under upstream's names.
"""

from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.user import Permission
from polyhost.dialects.moonraker import temperature_store
from polyhost.dialects.moonraker.gcode import store
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource
from polyhost.services.host import Host
from polyhost.services.log_files import HOST_LOG
from polyhost.services.printer import Printer
from polyhost.web.sockets import MAX_SOCKETS

resource = Resource("data_store")

APPLICATIONS: Final = ("moonraker", "klipper")


class Rollover(msgspec.Struct):
    application: str = ""


def config_of(host: Host, p: Printer, components: list[str]) -> dict[str, dict[str, Any]]:
    """Section → option → value.  Nothing of it is a secret or a place on the disk."""
    settings = host.config
    sections: dict[str, dict[str, Any]] = {
        "server": {
            "host": settings.server.host,
            "port": settings.server.port,
            "ssl_port": 0,
            "enable_debug_logging": False,
            "max_upload_size": settings.uploads.max_bytes >> 20,
            "route_prefix": f"p/{p.slug}",
            "max_websocket_connections": MAX_SOCKETS,
        },
        "data_store": {"temperature_store_size": temperature_store.SAMPLES, "gcode_store_size": store.KEPT},
        "file_manager": {
            "enable_object_processing": False,
            "queue_gcode_uploads": settings.moonraker.queue_uploads,
            "enable_config_write_access": True,
        },
        "authorization": {
            "login_timeout": 90,
            "force_logins": True,
            "default_source": "moonraker",
            "enable_api_key": True,
            "cors_domains": list(settings.access.allow_origins),
        },
        "job_queue": {"load_on_startup": False, "automatic_transition": settings.queue.automatic},
        "machine": {"provider": "none", "validate_service": False, "validate_config": False},
    }
    for name in components:
        sections.setdefault(name, {})
    return sections


@resource.get("/server/config", needs=Permission.LOOK)
async def server_config(request: Request) -> dict[str, Any]:
    config = config_of(request.host, request.printer, request.call.part(Live).components)
    said = {section: {name: _text_of(value) for name, value in options.items()} for section, options in config.items()}
    return {"config": config, "orig": {"DEFAULT": {}, **said}, "files": []}


def _text_of(value: object) -> str:
    if isinstance(value, list):
        return "".join(f"\n{one}" for one in value)
    return str(value)


@resource.post("/server/logs/rollover", needs=Permission.SYSTEM)
async def roll_over(request: Request) -> dict[str, Any]:
    """Begin logs anew: of the host (``moonraker``), of what the printer says (``klipper``), or both."""
    wanted = request.read(Rollover).application
    if wanted and wanted not in APPLICATIONS:
        raise Malformed(f"No logs of {wanted!r}; there are those of {' and '.join(APPLICATIONS)}")
    host = request.host
    names = {"moonraker": HOST_LOG, "klipper": host.serial_logs.path_of(request.printer).name}
    done: list[str] = []
    failed: dict[str, str] = {}
    for application in [wanted] if wanted else APPLICATIONS:
        try:
            await host.logs.roll_over(names[application], request.caller)
        except NotFound:
            failed[application] = "nothing is logged yet"
        else:
            done.append(application)
    return {"rolled_over": done, "failed": failed}
