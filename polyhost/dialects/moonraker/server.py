"""``/server/info``: what this server is, and whether its printer can be asked.

Upstream: docs/external_api/server.md; specification, 2.1.
"""

from typing import Final

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.objects.machine import STATES
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource
from polyhost.dialects.moonraker.roots import roots_of
from polyhost.services.printer import Printer

resource = Resource("klippy_connection", "klippy_apis")

VERSION: Final = "v0.10.0-1-polyhost"
API_VERSION: Final = (1, 5, 0)


class ServerInfo(msgspec.Struct):
    klippy_connected: bool
    klippy_state: str
    components: list[str]
    plugins: list[str]  # as the early document calls them
    failed_components: list[str]
    registered_directories: list[str]
    warnings: list[str]
    websocket_count: int
    moonraker_version: str
    missing_klippy_requirements: list[str]
    api_version: tuple[int, int, int]
    api_version_string: str


def klippy_state(p: Printer) -> str:
    """Where the machine stands, in Klippy's words; an error is told with what to do about it."""
    return STATES[p.snapshot.state]


@resource.get("/server/info", needs=Permission.LOOK)
async def server_info(request: Request) -> msgspec.Raw:
    live, p = request.call.part(Live), request.printer
    made_of = (klippy_state(p), len(live.connections))

    def make() -> msgspec.Raw:
        components = live.components
        info = ServerInfo(
            klippy_connected=True,
            klippy_state=klippy_state(p),
            components=components,
            plugins=components,
            failed_components=[],
            registered_directories=[root.name for root in roots_of(request.host, p)],
            warnings=[],
            websocket_count=len(live.connections),
            moonraker_version=VERSION,
            missing_klippy_requirements=[],
            api_version=API_VERSION,
            api_version_string=".".join(map(str, API_VERSION)),
        )
        return msgspec.Raw(msgspec.json.encode(info))

    return request.call.latest.get(("moonraker info", p.slug), made_of, make)
