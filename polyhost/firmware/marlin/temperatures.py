"""Temperature reports: the answer to ``M105``, the lines of ``M155``, and those printed while ``M109`` waits.

Shapes seen: ``T:21.3 /0.0 B:20.9 /0.0 @:0 B@:0``; several tools as ``T0: T1: @0: @1:`` with ``T:`` repeating the
active one; ``C:`` for the chamber; ``T:200.1 E:0 W:?`` without targets; raw readings in parentheses.
"""

import re
from typing import Final

from polyhost.core.printer import Temperature

_FULL_POWER: Final = 127  # Marlin's soft PWM; firmwares that count to 255 are clamped
_POSSIBLE: Final = (-60.0, 1100.0)  # °C; beyond it a digit was damaged
_NUMBER: Final = r"(-?\d{1,4}(?:\.\d+)?)"
_REPORT: Final = re.compile(rf"(?:T\d?|B|C)\s*:\s*{_NUMBER}(?=\s|/|$)")
_HEATER: Final = re.compile(rf"(?<!\S)(T\d*|B|C)\s*:\s*{_NUMBER}(?:\s*/\s*{_NUMBER})?(?=\s|$)")
_POWER: Final = re.compile(r"(?<!\S)([BC]?)@(\d*)\s*:\s*(\d{1,3})(?=\s|$)")


def is_report(text: str) -> bool:
    """Whether `text`, without a leading ``ok``, starts as a temperature report does."""
    return _REPORT.match(text) is not None


def heaters_in(text: str) -> dict[str, Temperature]:
    """Heaters named by a report: ``tool0``, …, ``bed``, ``chamber``; empty when a value in it cannot be."""
    found = {name: (actual, target) for name, actual, target in _HEATER.findall(text)}
    if "T" in found and any(name != "T" and name[0] == "T" for name in found):
        del found["T"]  # the active tool, which has a name of its own
    powers = {_power_name(part, number): int(value) for part, number, value in _POWER.findall(text)}
    heaters: dict[str, Temperature] = {}
    for name, (actual_text, target_text) in found.items():
        actual, target = float(actual_text), float(target_text) if target_text else None
        if not all(_POSSIBLE[0] <= value <= _POSSIBLE[1] for value in (actual, target) if value is not None):
            return {}
        key = _heater_name(name)
        power = powers.get(key)
        heaters[key] = Temperature(actual, target, None if power is None else min(1.0, power / _FULL_POWER))
    return heaters


def _heater_name(name: str) -> str:
    if name[0] == "T":
        return f"tool{int(name[1:] or 0)}"
    return "bed" if name == "B" else "chamber"


def _power_name(part: str, number: str) -> str:
    if part:
        return "bed" if part == "B" else "chamber"
    return f"tool{int(number or 0)}"
