"""``/printer/print/…``, the emergency stop, restarts, endstops.

Upstream: docs/external_api/printer.md; specification, 2.2.
"""

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.moonraker.gcode import bed, printing, upkeep
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import OK, Resource

resource = Resource()


class Start(msgspec.Struct):
    filename: str


@resource.post("/printer/print/start", needs=Permission.PRINT, waits=True)
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


@resource.klippy_s("/printer/emergency_stop", needs=Permission.CONTROL, acts=True, stops=lambda arguments: True)
async def emergency_stop(request: Request) -> str:
    """Never waits behind a script: those are answered on the side."""
    await request.host.steering.emergency_stop(request.printer, request.caller)
    return OK


@resource.klippy_s("/printer/query_endstops/status", needs=Permission.CONTROL, waits=True)
async def query_endstops(request: Request) -> dict[str, str]:
    """It is a question to the machine, so who may only look cannot ask it."""
    p = request.printer
    found = await bed.endstops_of(request.host, p, request.caller)
    request.call.part(Live).feeds.synthesised(p).told.endstops = found
    return found


@resource.post("/printer/restart", needs=Permission.CONNECT, waits=True)
async def restart(request: Request) -> str:
    await upkeep.restart(request.host, request.printer, request.caller)
    return OK


@resource.post("/printer/firmware_restart", needs=Permission.CONNECT, waits=True)
async def firmware_restart(request: Request) -> str:
    await upkeep.restart(request.host, request.printer, request.caller, firmware=True)
    return OK
