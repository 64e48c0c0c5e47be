"""``/printer/print/…``, the emergency stop, and restarts.

Upstream: docs/external_api/printer.md; specification, 2.2.
"""

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.moonraker.gcode import printing, upkeep
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import OK, Resource

resource = Resource()


class Start(msgspec.Struct):
    filename: str


@resource.post("/printer/print/start", needs=Permission.PRINT)
async def start(request: Request) -> str:
    await printing.start(request.host, request.printer, request.read(Start).filename, request.caller)
    return OK


@resource.post("/printer/print/pause", needs=Permission.PRINT, waits=True)
async def pause(request: Request) -> str:
    await printing.pause(request.host, request.printer, request.caller)
    return OK


@resource.post("/printer/print/resume", needs=Permission.PRINT, waits=True)
async def resume(request: Request) -> str:
    await printing.resume(request.host, request.printer, request.caller)
    return OK


@resource.post("/printer/print/cancel", needs=Permission.PRINT, waits=True)
async def cancel(request: Request) -> str:
    await printing.cancel(request.host, request.printer, request.caller)
    return OK


@resource.post("/printer/emergency_stop", needs=Permission.CONTROL)
async def emergency_stop(request: Request) -> str:
    """Never waits behind a script: those are answered on the side."""
    await request.host.steering.emergency_stop(request.printer, request.caller)
    return OK


@resource.post("/printer/restart", needs=Permission.CONNECT, waits=True)
async def restart(request: Request) -> str:
    await upkeep.restart(request.host, request.printer, request.caller)
    return OK


@resource.post("/printer/firmware_restart", needs=Permission.CONNECT, waits=True)
async def firmware_restart(request: Request) -> str:
    await upkeep.restart(request.host, request.printer, request.caller, firmware=True)
    return OK
