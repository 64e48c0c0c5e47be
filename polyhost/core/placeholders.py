"""What a script says of values that only the machine's holder knows, and only when a line is sent.

``{z}`` is a value, ``{z*-1+10}`` one that was reckoned with, ``{z:2}`` has at most so many decimals, and ``{z|5}`` is
5 where the value is not known.  A line that begins with ``{?z<190&-f!}`` is sent only if all of this holds:
``<``, ``<=``, ``>``, ``>=`` and ``=`` compare a value, which fails for one that is not known, ``!`` asks whether it is
known, and ``-`` turns the condition behind it round.
"""

import operator
import re
from collections.abc import Mapping
from typing import Final

import msgspec

Values = Mapping[str, float | str | None]
"""By name; None is not known, as is a name that is missing."""

NAME: Final = (
    r"(?:last_)?(?:[xyzef]|tool|hotend|bed|chamber|fan|target\d{1,2}|actual\d{1,2}|actual_hotend|actual_bed"
    r"|actual_chamber)|old|new|port|baud"
)
"""``target0`` and ``actual0`` are of tool 0, ``hotend``, ``bed`` and ``chamber`` targets; ``last_…`` is as it is now
where the others are as a pause found it.  G-code's units: mm, mm/min, °C, fan 0 to 255."""

_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_TERM: Final = rf"(?P<name>{NAME})(?:\*(?P<scale>{_NUMBER}))?(?P<offset>[+-]\d+(?:\.\d+)?)?"
_PLACEHOLDER: Final = re.compile(rf"\{{{_TERM}(?::(?P<decimals>\d))?(?:\|(?P<otherwise>{_NUMBER}))?\}}")
_GUARD: Final = re.compile(r"\{\?([^}]*)\}")
_CONDITION: Final = re.compile(rf"(?P<not>-)?{_TERM}(?:(?P<asks>!)|(?P<sign><=|>=|[<>=])(?P<than>{_NUMBER}))")
_COMPARE: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}
DECIMALS: Final = 5


class Term(msgspec.Struct, frozen=True):
    """The value called `name`, times `scale`, plus `offset`."""

    name: str
    scale: float = 1.0
    offset: float = 0.0

    def __str__(self) -> str:
        scale = "" if self.scale == 1 else f"*{number(self.scale)}"
        offset = number(self.offset) if self.offset else ""
        return f"{self.name}{scale}{offset if offset.startswith('-') or not offset else '+' + offset}"


def number(value: float, decimals: int = DECIMALS) -> str:
    """As G-code writes it: no exponent, no trailing zeros."""
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def filled(line: str, values: Values) -> str | None:
    """`line` with its placeholders filled; None when it needs something unknown, or is not to be sent."""
    guard = _GUARD.match(line)
    if guard is not None:
        if not all(_holds(condition, values) for condition in guard[1].split("&")):
            return None
        line = line[guard.end() :]
    if "{" not in line:
        return line
    unknown = False

    def text_of(found: re.Match[str]) -> str:
        nonlocal unknown
        value = _value_of(found, values)
        if isinstance(value, str):
            return value
        if value is None and found["otherwise"] is not None:
            value = float(found["otherwise"])
        if value is None:
            unknown = True
            return ""
        return number(value, int(found["decimals"]) if found["decimals"] else DECIMALS)

    text = _PLACEHOLDER.sub(text_of, line)
    return None if unknown else text


def without_guard(line: str) -> str:
    """`line` as it would be sent, but for its placeholders."""
    return _GUARD.sub("", line, count=1) if line.startswith("{?") else line


def _value_of(found: re.Match[str], values: Values) -> float | str | None:
    value = values.get(found["name"])
    if value is None or isinstance(value, str):
        return value
    return value * float(found["scale"] or 1) + float(found["offset"] or 0)


def _holds(condition: str, values: Values) -> bool:
    found = _CONDITION.fullmatch(condition)
    if found is None:
        return False
    value = _value_of(found, values)
    if found["asks"]:
        holds = value is not None
    else:
        holds = isinstance(value, float | int) and bool(_COMPARE[found["sign"]](value, float(found["than"])))
    return holds != bool(found["not"])
