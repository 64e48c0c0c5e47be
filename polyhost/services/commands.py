"""G-code that the host itself says, from what a person asked for; units of the house in, G-code's out.

Facts: the OctoPrint specification, section 3.5, and Marlin's G-code index.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.printer import PrinterProfile
from polyhost.core.units import mm_min_from_mm_s, percent_from_fraction
from polyhost.gcode.vetting import fitting

MAX_LINES: Final = 1000
MAX_TRAVEL_MM: Final = 10_000.0
MAX_OFFSET: Final = 50.0
_NUMBERED: Final = re.compile(r"N\s*\d", re.IGNORECASE)
_HEATER_COMMANDS: Final = {"bed": "M140", "chamber": "M141"}


def checked_commands(commands: Sequence[str]) -> tuple[str, ...]:
    """`commands` as they may be sent: at most 1,000, a line each that firmware takes whole, numbered by nobody."""
    if not commands:
        raise Malformed("no command to send")
    if len(commands) > MAX_LINES:
        raise Malformed(f"{len(commands)} commands at once; {MAX_LINES} is the limit")
    return tuple(_checked_command(command) for command in commands)


def _checked_command(command: str) -> str:
    command = command.strip()
    if not command:
        raise Malformed("a command must not be empty")
    if any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in command):
        raise Malformed("a command is one line without control characters")
    if "*" in command or _NUMBERED.match(command):
        raise Malformed(f"{command!r}: line numbers and checksums are added by the host")
    if writes_to_card(command):
        raise Malformed(f"{command!r} has the printer write what follows into a file: upload to its card instead")
    return fitting(command)


def writes_to_card(command: str) -> bool:
    """Whether it is ``M28``: behind it, the off list would go into a file and cool nothing."""
    return re.match(r"M0*28(?!\d)", command, re.IGNORECASE) is not None


def is_emergency_stop(command: str) -> bool:
    return re.match(r"M\s*0*112(?!\d)", command, re.IGNORECASE) is not None


def jog(profile: PrinterProfile, moves: Mapping[str, float], absolute: bool, feedrate_mm_s: float | None) -> list[str]:
    """Move by (or to, if `absolute`) so many mm per axis, as fast as the slowest of these axes jogs."""
    if not moves:
        raise Malformed("a jog needs at least one of x, y and z")
    speeds = {"x": profile.x.speed_mm_s, "y": profile.y.speed_mm_s, "z": profile.z.speed_mm_s}
    words = [
        f"{axis.upper()}{number(_within(mm, MAX_TRAVEL_MM, f'the way along {axis}'))}" for axis, mm in moves.items()
    ]
    feedrate = (
        min(speeds[axis] for axis in moves) if feedrate_mm_s is None else _positive(feedrate_mm_s, "the feedrate")
    )
    move = f"G0 {' '.join(words)} F{number(mm_min_from_mm_s(feedrate))}"
    return ["G90", move] if absolute else ["G91", move, "G90"]


def home(axes: frozenset[str]) -> list[str]:
    if not axes or axes - {"x", "y", "z"}:
        raise Malformed("home wants one or more of the axes x, y and z")
    return [f"G28 {' '.join(axis.upper() for axis in sorted(axes))}"]


def target(profile: PrinterProfile, heater: str, celsius: float) -> str:
    """Tell one heater what to reach; `NotFound` when the machine has none such, `Malformed` beyond its limit."""
    highest = profile.max_target(checked_heater(profile, heater))
    if not 0 <= celsius <= highest:
        raise Malformed(f"{heater} can be set to 0 to {highest:g} °C, not to {celsius:g}")
    if heater in _HEATER_COMMANDS:
        return f"{_HEATER_COMMANDS[heater]} S{number(celsius)}"
    return f"M104 T{heater.removeprefix('tool')} S{number(celsius)}"


def checked_heater(profile: PrinterProfile, heater: str) -> str:
    if heater not in profile.heaters():
        raise NotFound(f"no heater {heater!r}; this printer has {', '.join(profile.heaters())}")
    return heater


def checked_offset(celsius: float) -> float:
    return _within(celsius, MAX_OFFSET, "an offset")


def select_tool(profile: PrinterProfile, tool: int) -> str:
    if not 0 <= tool < profile.extruders:
        raise NotFound(f"no tool {tool}; this printer has {profile.extruders}")
    return f"T{tool}"


def extrude(profile: PrinterProfile, length_mm: float, feedrate_mm_s: float | None) -> list[str]:
    """Push (or pull, if negative) filament, at most as fast as the profile allows."""
    length = _within(length_mm, MAX_TRAVEL_MM, "the length")
    fastest = profile.e.speed_mm_s
    speed = fastest if feedrate_mm_s is None else min(fastest, _positive(feedrate_mm_s, "the feedrate"))
    return ["G91", "M83", f"G1 E{number(length)} F{number(mm_min_from_mm_s(speed))}", "M82", "G90"]


def feedrate(factor: float) -> str:
    return f"M220 S{_percent(factor)}"


def flow(factor: float) -> str:
    return f"M221 S{_percent(factor)}"


def number(value: float) -> str:
    """At most four decimals, no exponent, no trailing zeros."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _percent(factor: float) -> str:
    if not 0.01 <= factor <= 100:
        raise Malformed(f"the factor is 0.01 to 100, not {factor:g}")
    return number(round(percent_from_fraction(factor)))


def _within(value: float, bound: float, what: str) -> float:
    if not -bound <= value <= bound:
        raise Malformed(f"{what} is at most {bound:g} either way, not {value:g}")
    return value


def _positive(value: float, what: str) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise Malformed(f"{what} must be more than 0, not {value:g}")
    return value
