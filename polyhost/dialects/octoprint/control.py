"""Commands to the machine: move, heat, extrude.

Upstream: OctoPrint 1.11, docs/api/printer.rst.  Speeds are mm/min on the wire.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost.core.errors import Malformed, NotNow
from polyhost.core.units import fraction_from_percent, mm_s_from_mm_min
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import (
    Commands,
    Flag,
    check_idle,
    check_not_moving,
    check_operational,
)
from polyhost.services.printer import Printer
from polyhost.web.answers import Encoded, no_content
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()

Number = int | float
MAX_OFFSET: Final = 50
_TOOL: Final = re.compile(r"tool([0-9]{0,2})")


class Jog(msgspec.Struct, tag_field="command", tag="jog"):
    x: float | None = None
    y: float | None = None
    z: float | None = None
    absolute: Flag = False
    speed: float | None = None


class Home(msgspec.Struct, tag_field="command", tag="home"):
    axes: list[str]


class Feedrate(msgspec.Struct, tag_field="command", tag="feedrate"):
    """A whole number is percent, any other number a factor."""

    factor: Number


class SelectTool(msgspec.Struct, tag_field="command", tag="select"):
    tool: str


class ToolTargets(msgspec.Struct, tag_field="command", tag="target"):
    targets: dict[str, float]


class ToolOffsets(msgspec.Struct, tag_field="command", tag="offset"):
    offsets: dict[str, float]


class Extrude(msgspec.Struct, tag_field="command", tag="extrude"):
    amount: float
    speed: float | None = None


class Flowrate(msgspec.Struct, tag_field="command", tag="flowrate"):
    factor: Number


class Target(msgspec.Struct, tag_field="command", tag="target"):
    target: float


class Offset(msgspec.Struct, tag_field="command", tag="offset"):
    offset: float


class SdInit(msgspec.Struct, tag_field="command", tag="init"):
    pass


class SdRefresh(msgspec.Struct, tag_field="command", tag="refresh"):
    pass


class SdRelease(msgspec.Struct, tag_field="command", tag="release"):
    pass


PRINTHEAD: Final = Commands[Jog | Home | Feedrate](Jog, Home, Feedrate)
TOOL: Final = Commands[SelectTool | ToolTargets | ToolOffsets | Extrude | Flowrate](
    SelectTool, ToolTargets, ToolOffsets, Extrude, Flowrate
)
HEATER: Final = Commands[Target | Offset](Target, Offset)
SD: Final = Commands[SdInit | SdRefresh | SdRelease](SdInit, SdRefresh, SdRelease)


@routes.post("/api/printer/printhead", needs=Permission.CONTROL)
async def move_printhead(call: Call) -> Encoded:
    asked = await PRINTHEAD.asked(call)
    printer, steering, by = call.printer, call.host.steering, call.caller
    check_operational(printer)
    if asked.kind is not Feedrate:
        check_not_moving(printer)
    match asked.values():
        case Jog(x, y, z, absolute, speed):
            if x is None and y is None and z is None:
                raise Malformed("jog needs at least one of x, y and z")
            await steering.jog(printer, x, y, z, absolute=truth_of(absolute), feedrate_mm_s=_speed_of(speed), by=by)
        case Home(axes):
            if not axes or not {"x", "y", "z"}.issuperset(axes):
                raise Malformed(f"axes must be one or more of x, y and z, not {axes}")
            await steering.home(printer, frozenset(axes), by=by)
        case Feedrate(factor):
            await steering.set_feedrate(printer, _factor_of(factor), by=by)
    return no_content()


@routes.post("/api/printer/tool", needs=Permission.CONTROL)
async def use_tool(call: Call) -> Encoded:
    printer, steering, by = call.printer, call.host.steering, call.caller
    check_operational(printer)
    asked = await TOOL.asked(call)
    if asked.kind is Extrude:
        check_not_moving(printer)
    match asked.values():
        case SelectTool("tool"):
            raise Malformed("a tool is selected by its number, as in tool0")
        case SelectTool(tool):
            await steering.select_tool(printer, _number_of(tool, printer), by=by)
        case ToolTargets(targets):
            if targets:
                await steering.set_targets(printer, _by_heater(targets, printer), by=by)
        case ToolOffsets(offsets):
            await steering.set_offsets(printer, checked_offsets(_by_heater(offsets, printer)), by=by)
        case Extrude(amount, speed):
            await steering.extrude(printer, amount, _speed_of(speed), by=by)
        case Flowrate(factor):
            await steering.set_flow(printer, _factor_of(factor), by=by)
    return no_content()


@routes.post("/api/printer/bed", needs=Permission.CONTROL)
async def heat_bed(call: Call) -> Encoded:
    return await _heat(call, "bed")


@routes.post("/api/printer/chamber", needs=Permission.CONTROL)
async def heat_chamber(call: Call) -> Encoded:
    return await _heat(call, "chamber")


async def _heat(call: Call, heater: str) -> Encoded:
    printer, steering, by = call.printer, call.host.steering, call.caller
    check_operational(printer)
    if heater not in printer.profile.heaters():
        raise NotNow(f"Printer does not have a heated {heater}")
    asked = await HEATER.asked(call)
    match asked.values():
        case Target(target):
            await steering.set_targets(printer, {heater: target}, by=by)
        case Offset(offset):
            await steering.set_offsets(printer, checked_offsets({heater: offset}), by=by)
    return no_content()


@routes.post("/api/printer/sd", needs=Permission.CONTROL)
async def use_sd(call: Call) -> Encoded:
    printer, cards, by = call.printer, call.host.cards, call.caller
    cards.check_used(printer)
    check_operational(printer)
    check_idle(printer)
    match (await SD.asked(call)).values():
        case SdInit():
            await cards.initialise(printer, by=by)
        case SdRefresh():
            await cards.refresh(printer, by=by)
        case SdRelease():
            await cards.release(printer, by=by)
    return no_content()


def _speed_of(mm_min: float | None) -> float | None:
    if mm_min is None:
        return None
    if mm_min <= 0:
        raise Malformed(f"a speed must be more than 0, not {mm_min}")
    return mm_s_from_mm_min(mm_min)


def _factor_of(factor: Number) -> float:
    return factor if isinstance(factor, float) else fraction_from_percent(factor)


def _number_of(tool: str, printer: Printer) -> int:
    """Of ``tool1``; ``tool`` alone is the one in use."""
    match = _TOOL.fullmatch(tool)
    if match is None:
        raise Malformed(f"{tool!r} is no tool; tools are called tool0, tool1 and so on")
    number = int(match[1]) if match[1] else printer.snapshot.tool
    if number >= printer.profile.extruders:
        raise Malformed(f"there is no {tool}; the printer has {printer.profile.extruders}")
    return number


def _by_heater(values: Mapping[str, float], printer: Printer) -> dict[str, float]:
    return {f"tool{_number_of(tool, printer)}": value for tool, value in values.items()}


def checked_offsets(offsets: Mapping[str, float]) -> Mapping[str, float]:
    """`Malformed` beyond 50 °C either way."""
    for heater, offset in offsets.items():
        if not -MAX_OFFSET <= offset <= MAX_OFFSET:
            raise Malformed(f"the offset of {heater} must be from -{MAX_OFFSET} to {MAX_OFFSET}, not {offset}")
    return offsets
