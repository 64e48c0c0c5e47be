"""How fast a machine may move, and where that is said: ``M201`` to ``M205``, ``M503``, a slicer's settings.

Follows Marlin's commands (https://marlinfw.org/meta/gcode/), RepRapFirmware's ``M566`` and Klipper's
``SET_VELOCITY_LIMIT``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from polyhost.core.units import mm_s_from_mm_min

PerAxis = tuple[float, float, float, float]
"""One value each for X, Y, Z and E."""

AXES: Final = "XYZE"


class Limits(msgspec.Struct, frozen=True):
    """mm, mm/s, mm/s².  The defaults are those of a common bed-slinger.

    Corners are judged by the first of `corner_velocity` (Klipper's), `junction_deviation` (mm) and `jerk` (mm/s per
    axis) that is not 0.  `source` says where the values are from: "file", "slicer", "machine" or "profile".
    """

    max_feedrate: PerAxis = (300.0, 300.0, 12.0, 120.0)
    max_acceleration: PerAxis = (1500.0, 1500.0, 200.0, 5000.0)
    acceleration: float = 1250.0  # of moves that print
    retract_acceleration: float = 1250.0  # of the extruder alone
    travel_acceleration: float = 1250.0  # of moves that do not print
    jerk: PerAxis = (8.0, 8.0, 0.4, 4.5)
    junction_deviation: float = 0.0
    corner_velocity: float = 0.0
    min_feedrate: float = 0.0
    min_travel_feedrate: float = 0.0
    source: str = "profile"

    def after(self, code: str, words: Mapping[str, float], *, per_minute: bool = False) -> "Limits":
        """The limits once the machine has carried out `code` with `words`, such as ``M204`` with ``{"P": 500}``.

        A value that is not above 0 changes nothing.  With `per_minute`, ``M203`` is in mm/min, as in RepRapFirmware.
        """
        given = {letter: value for letter, value in words.items() if value > 0}
        match code:
            case "M201":
                return self._with(max_acceleration=_per_axis(self.max_acceleration, given))
            case "M203":
                if per_minute:
                    given = {letter: mm_s_from_mm_min(value) for letter, value in given.items()}
                return self._with(max_feedrate=_per_axis(self.max_feedrate, given))
            case "M204":
                both = given.get("S")
                return self._with(
                    acceleration=given.get("P", both or self.acceleration),
                    retract_acceleration=given.get("R", self.retract_acceleration),
                    travel_acceleration=given.get("T", both or self.travel_acceleration),
                )
            case "M205":
                return self._with(
                    jerk=_per_axis(self.jerk, given),
                    junction_deviation=given.get("J", self.junction_deviation),
                    min_feedrate=words.get("S", self.min_feedrate),
                    min_travel_feedrate=words.get("T", self.min_travel_feedrate),
                )
            case "M566":
                return self._with(
                    jerk=_per_axis(self.jerk, {letter: mm_s_from_mm_min(value) for letter, value in given.items()}),
                    junction_deviation=0.0,
                )
        return self

    def after_velocity_limit(self, parameters: Mapping[str, float]) -> "Limits":
        """The limits after Klipper's ``SET_VELOCITY_LIMIT``; its parameters by name in capitals."""
        velocity = parameters.get("VELOCITY", 0.0)
        acceleration = parameters.get("ACCEL", 0.0)
        x, y, z, e = self.max_feedrate
        return self._with(
            max_feedrate=(velocity or x, velocity or y, z, e),
            acceleration=acceleration or self.acceleration,
            travel_acceleration=acceleration or self.travel_acceleration,
            corner_velocity=parameters.get("SQUARE_CORNER_VELOCITY", self.corner_velocity),
        )

    def _with(self, **changes: object) -> "Limits":
        return msgspec.structs.replace(self, **changes)


def _per_axis(now: PerAxis, given: Mapping[str, float]) -> PerAxis:
    x, y, z, e = (given.get(axis, value) for axis, value in zip(AXES, now, strict=True))
    return x, y, z, e


_LINE = re.compile(r"\b(M20[1345])\s+([^;]*)")
_WORD = re.compile(r"([A-Z])(\d+\.?\d*|\.\d+)")


def limits_from_m503(lines: Iterable[str], base: Limits = Limits()) -> Limits:  # noqa: B008  frozen
    """What a machine answered to ``M503``, on top of `base`; `base` itself when the answer has no limits in it."""
    limits = base
    for line in lines:
        for code, rest in _LINE.findall(line):
            words = {letter: float(number) for letter, number in _WORD.findall(rest)}
            limits = msgspec.structs.replace(limits.after(code, words), source="machine")
            if code == "M205" and "J" not in words and "X" in words:
                limits = msgspec.structs.replace(limits, junction_deviation=0.0, corner_velocity=0.0)
    return limits


def limits_from_settings(settings: Mapping[str, str], base: Limits) -> Limits:
    """What a slicer's block of settings says of the machine (``machine_max_…``), on top of `base`.

    Where a setting lists several modes, the first is the normal one.  `base` itself when the settings name no limits,
    or say that they are not to be used.
    """
    if settings.get("machine_limits_usage") == "ignore":
        return base

    def value(name: str, otherwise: float) -> float:
        text = settings.get(name, "").replace(";", ",").partition(",")[0].strip()
        return float(text) if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", text) and float(text) > 0 else otherwise

    def each(name: str, otherwise: PerAxis) -> PerAxis:
        x, y, z, e = (value(f"{name}_{axis.lower()}", now) for axis, now in zip(AXES, otherwise, strict=True))
        return x, y, z, e

    if not any(name.startswith("machine_max_acceleration") for name in settings):
        return base
    acceleration = value("machine_max_acceleration_extruding", base.acceleration)
    return Limits(
        max_feedrate=each("machine_max_feedrate", each("machine_max_speed", base.max_feedrate)),
        max_acceleration=each("machine_max_acceleration", base.max_acceleration),
        acceleration=acceleration,
        retract_acceleration=value("machine_max_acceleration_retracting", base.retract_acceleration),
        travel_acceleration=value("machine_max_acceleration_travel", acceleration),
        jerk=each("machine_max_jerk", base.jerk),
        junction_deviation=value("machine_max_junction_deviation", 0.0),
        min_feedrate=value("machine_min_extruding_rate", 0.0),
        min_travel_feedrate=value("machine_min_travel_rate", 0.0),
        source="slicer",
    )
