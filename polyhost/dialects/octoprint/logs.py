"""``/plugin/logging``: the host's logs, which printers have a serial log, and how much the host's parts say.

Upstream: OctoPrint 1.11, docs/bundledplugins/logging.rst.
"""

from urllib.parse import quote

import msgspec

from polyhost.core.errors import Unsupported
from polyhost.core.user import Permission
from polyhost.services.logs import LogFile
from polyhost.web.answers import TEXT, Encoded, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()


class Refs(msgspec.Struct):
    resource: str
    download: str


class LogEntry(msgspec.Struct):
    name: str
    date: int
    size: int
    refs: Refs


class LogList(msgspec.Struct):
    files: list[LogEntry]
    free: int
    total: int


def entry_of(log: LogFile, base: str) -> LogEntry:
    name = quote(log.name, safe="")
    refs = Refs(f"{base}/plugin/logging/logs/{name}", f"{base}/downloads/logs/{name}")
    return LogEntry(log.name, int(log.changed_at), log.size_bytes, refs)


async def _list(call: Call) -> LogList:
    files = [entry_of(log, call.base) for log in await call.host.logs.all(call.caller)]
    return LogList(files, *call.host.logs.free_space())


@routes.get("/plugin/logging/logs", needs=Permission.SYSTEM)
async def logs(call: Call) -> LogList:
    return await _list(call)


@routes.get("/plugin/logging/logs/{name}", needs=Permission.SYSTEM)
async def log(call: Call) -> Encoded:
    return await _download(call)


@routes.get("/downloads/logs/{name}", needs=Permission.SYSTEM)
async def download(call: Call) -> Encoded:
    """The last 5 MB at the most, as a file to save."""
    return await _download(call)


async def _download(call: Call) -> Encoded:
    name = call.params["name"]
    body = await call.host.logs.read(name, call.caller)
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()
    length = (b"content-length", b"%d" % len(body))
    return Encoded(200, [TEXT, length, (b"content-disposition", disposition)], body)


@routes.delete("/plugin/logging/logs/{name}", needs=Permission.SYSTEM)
async def remove(call: Call) -> Encoded:
    await call.host.logs.remove(call.params["name"], call.caller)
    return no_content()


class SwitchedOn(msgspec.Struct):
    enabled: bool


class Setup(msgspec.Struct):
    """How much is said is what the host was started with, for all of its parts alike."""

    loggers: tuple[str, ...] = ("polyhost",)
    levels: dict[str, str] = {}


class Overview(msgspec.Struct):
    logs: LogList
    setup: Setup
    serial_log: SwitchedOn
    plugintimings_log: SwitchedOn


@routes.get("/plugin/logging", needs=Permission.SYSTEM)
async def overview(call: Call) -> Overview:
    serial = call.host.serial_logs.enabled(call.printer)
    return Overview(await _list(call), Setup(), SwitchedOn(serial), SwitchedOn(False))


@routes.get("/plugin/logging/setup", needs=Permission.SYSTEM)
async def setup(call: Call) -> Setup:
    return Setup()


@routes.get("/plugin/logging/setup/levels", needs=Permission.SYSTEM)
async def levels(call: Call) -> Encoded:
    return encoded({})


@routes.put("/plugin/logging/setup/levels", needs=Permission.SYSTEM)
async def set_levels(call: Call) -> Encoded:
    """Nothing is taken but the levels as they are, which are none."""
    if await call.body(dict[str, str]):
        raise Unsupported("how much this host says cannot be changed while it runs")
    return encoded({})
