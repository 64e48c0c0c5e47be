"""``/api/printer/heater`` and ``/api/printer/feeder``: the machine as the API of December 2013 saw it.

One heater with a hotend and a bed, one feeder.  Later versions dropped both; the rest of that API lives on in
`control` and `printer`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import Commands, check_not_moving, check_operational
from polyhost.dialects.octoprint.control import checked_offsets
from polyhost.web.answers import Encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()

HEATERS: Final = {"hotend": "tool0", "bed": "bed"}


class Temp(msgspec.Struct, tag_field="command", tag="temp"):
    temps: dict[str, float]


class Offset(msgspec.Struct, tag_field="command", tag="offset"):
    offsets: dict[str, float]


class Extrude(msgspec.Struct, tag_field="command", tag="extrude"):
    amount: float


HEATER: Final = Commands[Temp | Offset](Temp, Offset)
FEEDER: Final = Commands[Extrude](Extrude)


def by_our_names(values: Mapping[str, float]) -> dict[str, float]:
    """`Malformed` names a heater that is neither ``hotend`` nor ``bed``."""
    unknown = values.keys() - HEATERS.keys()
    if unknown:
        raise Malformed(f"{min(unknown)!r} is no heater; there are hotend and bed")
    return {HEATERS[name]: value for name, value in values.items()}


@routes.post("/api/printer/heater", needs=Permission.CONTROL)
async def heat(call: Call) -> Encoded:
    asked = await HEATER.asked(call)
    printer, steering, by = call.printer, call.host.steering, call.caller
    check_operational(printer)
    if not call.host.config.octoprint.heater_while_printing:
        check_not_moving(printer)
    match asked.values():
        case Temp(temps):
            if targets := by_our_names(temps):
                await steering.set_targets(printer, targets, by=by)
        case Offset(offsets):
            await steering.set_offsets(printer, checked_offsets(by_our_names(offsets)), by=by)
    return no_content()


@routes.post("/api/printer/feeder", needs=Permission.CONTROL)
async def feed(call: Call) -> Encoded:
    asked = await FEEDER.asked(call)
    check_operational(call.printer)
    check_not_moving(call.printer)
    await call.host.steering.extrude(call.printer, asked.values().amount, None, by=call.caller)
    return no_content()
