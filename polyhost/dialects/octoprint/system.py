"""``/api/system``: the owner's commands, what there is to know of the computer, and its disks.

Upstream: OctoPrint 1.11, docs/api/system.rst.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from polyhost import __version__
from polyhost.core.errors import Malformed, NotFound, Unsupported
from polyhost.core.user import Permission
from polyhost.services.system import Command, Source
from polyhost.web.answers import Encoded, encoded, no_content
from polyhost.web.bodies import decoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()

PLUGIN: Final = "plugin"  # a source of upstream's; no plugin of ours brings commands
SOURCES: Final = (Source.CORE, PLUGIN, Source.CUSTOM)


class Spec(msgspec.Struct):
    """A divider has neither a name nor a question."""

    action: str
    source: str
    resource: str
    name: str | msgspec.UnsetType = msgspec.UNSET
    confirm: str | msgspec.UnsetType = msgspec.UNSET


class Commands(msgspec.Struct):
    core: list[Spec]
    plugin: list[Spec]
    custom: list[Spec]


class SystemInfo(msgspec.Struct):
    systeminfo: dict[str, str | int | float | bool]


class Space(msgspec.Struct):
    """Bytes of the disk that has a folder."""

    free: int
    total: int


class Usage(msgspec.Struct):
    usage: dict[str, Space]


class Startup(msgspec.Struct):
    startup: dict[str, str]


def spec_of(command: Command, base: str) -> Spec:
    resource = f"{base}/api/system/commands/{command.source}/{command.action}"
    if command.is_divider:
        return Spec(command.action, command.source, resource)
    return Spec(command.action, command.source, resource, command.name, command.confirm or msgspec.UNSET)


def specs_of(call: Call, source: str) -> list[Spec]:
    commands = call.host.system.commands(call.caller)
    return [spec_of(command, call.base) for command in commands if command.source == source]


@routes.get("/api/system/commands", needs=Permission.SYSTEM)
async def commands(call: Call) -> Commands:
    return Commands(*(specs_of(call, source) for source in SOURCES))


@routes.get("/api/system/commands/{source}", needs=Permission.SYSTEM)
async def commands_of_source(call: Call) -> Encoded:
    source = call.params["source"]
    if source not in SOURCES:
        raise NotFound(f"no source {source!r} of commands; there are {', '.join(SOURCES)}")
    return encoded(specs_of(call, source))


@routes.post("/api/system/commands/{source}/{action}", needs=Permission.SYSTEM)
async def execute(call: Call) -> Encoded:
    """Run it; ``force=true`` in the URL even if that ends a print."""
    return await _execute(call, call.params["source"], call.params["action"])


@routes.post("/api/system", needs=Permission.SYSTEM)
async def execute_custom(call: Call) -> Encoded:
    """The older way to run one of ``custom``: its name is in the body, as JSON or a form."""
    match call.media_type:
        case "application/json":
            fields = decoded(await call.json(), dict[str, object])
        case "application/x-www-form-urlencoded" | "":
            fields = {**call.query, **await call.form()}
        case other:
            raise Unsupported(f"expected JSON or a form, got {other}")
    action = fields.get("action")
    if not isinstance(action, str):
        raise Malformed("action is missing")
    return await _execute(call, Source.CUSTOM, action)


async def _execute(call: Call, source: str, action: str) -> Encoded:
    if action.startswith("divider"):
        raise Malformed("a divider is no command")
    await call.host.system.execute(source, action, force=call.flag("force"), by=call.caller)
    return no_content()


@routes.get("/api/system/info", needs=Permission.SYSTEM)
async def info(call: Call) -> SystemInfo:
    """What a report of a fault should say.  Nobody was asked whether this computer is online, so it counts as that."""
    firmware = call.printer.snapshot.firmware.name if call.host.printers.all() else ""
    facts = {
        "browser.user_agent": call.header(b"user-agent"),
        "connectivity.enabled": False,
        "connectivity.online": True,
        **call.host.system.facts(call.caller),
        "octoprint.last_safe_mode.date": "unknown",  # as upstream says where there was none
        "octoprint.last_safe_mode.reason": "unknown",
        "octoprint.safe_mode": False,
        "octoprint.version": call.host.config.octoprint.compat_version,
        "polyhost.version": __version__,
        "systeminfo.generated": datetime.fromtimestamp(call.host.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "systeminfo.generator": "systemapi",
    }
    if firmware:
        facts["printer.firmware"] = firmware
    return SystemInfo(facts)


@routes.get("/api/system/usage", needs=Permission.SYSTEM)
async def usage(call: Call) -> Usage:
    host = call.host
    return Usage(
        {
            "logs": Space(*host.logs.free_space()),
            "timelapse": Space(*await host.timelapses.free_space()),
            "uploads": Space(*host.files.free_space()),
        }
    )


@routes.get("/api/system/startup", needs=Permission.SYSTEM)
async def startup(call: Call) -> Startup:
    """What was wrong at the start; a host that answers started whole."""
    return Startup({})
