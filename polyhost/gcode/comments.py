"""Reading what slicers write into comments: the two ends of a file as text, and the values in it.

A value that does not parse is None, and so is left out of the metadata.  Numbers are unsigned decimals.
"""

import re
from collections.abc import Mapping
from typing import Final

MAX_KEY: Final = 80
MAX_TEXT: Final = 1024

_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_WHOLE_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)(?![\d.eE])")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|m|s)[a-z]*\b", re.IGNORECASE)
_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_HEX_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6})(?![0-9a-fA-F])")


class Comments:
    """The first and the last part of a file; the same text twice when the file is small."""

    def __init__(self, head: str, tail: str) -> None:
        self.head = head
        self.tail = tail
        self._pairs: dict[str, dict[str, str]] = {}

    def pairs(self, separator: str) -> Mapping[str, str]:
        """Key and value of each comment with `separator`: the first of a key, of the tail before the head."""
        if separator not in self._pairs:
            found: dict[str, str] = {}
            for text in (self.tail,) if self.tail is self.head else (self.tail, self.head):
                for line in text.split("\n"):
                    if line.startswith(";"):
                        key, is_pair, value = line[1:].partition(separator)
                        if is_pair and len(key) <= MAX_KEY:
                            found.setdefault(key.strip(), value.strip()[:MAX_TEXT])
            self._pairs[separator] = found
        return self._pairs[separator]

    def value(self, *keys: str, separator: str = "=") -> str | None:
        """The value of the first of `keys` that has one; an empty one is none."""
        pairs = self.pairs(separator)
        return next((value for key in keys if (value := pairs.get(key))), None)

    def number(self, *keys: str, separator: str = "=") -> float | None:
        """The number that the value begins with."""
        return number_of(self.value(*keys, separator=separator))

    def integer(self, *keys: str, separator: str = "=") -> int | None:
        value = self.number(*keys, separator=separator)
        return None if value is None else int(value)

    def numbers(self, *keys: str, separator: str = "=") -> tuple[float, ...]:
        """Every number in the value."""
        return tuple(float(n) for n in _NUMBER.findall(self.value(*keys, separator=separator) or ""))

    def texts(self, *keys: str) -> tuple[str, ...]:
        """The texts in the value, parted by `;` or `,`, quotes taken off."""
        return texts_of(self.value(*keys))

    def colours(self, *keys: str) -> tuple[str, ...]:
        return tuple(_HEX_COLOUR.findall(self.value(*keys) or ""))


def number_of(text: str | None) -> float | None:
    """The unsigned decimal that `text` begins with; ``2.1e+06`` and ``-1`` are none."""
    match = _WHOLE_NUMBER.match(text) if text else None
    return float(match[1]) if match and len(match[1]) <= 18 else None


def duration_of(text: str | None) -> float | None:
    """Seconds in ``1d 2h 3m 4s``, or in ``1 hour 2 minutes``."""
    parts = _DURATION.findall(text or "")
    return sum(float(count) * _SECONDS[unit.lower()] for count, unit in parts) if parts else None


def texts_of(text: str | None) -> tuple[str, ...]:
    parts = re.findall(r'"([^"]*)"|([^;,"]+)', text or "")
    return tuple(part for quoted, plain in parts if (part := (quoted or plain).strip()))


def searched(pattern: re.Pattern[str], text: str) -> float | None:
    """The number that `pattern`'s group 1 finds first."""
    match = pattern.search(text)
    return number_of(match[1]) if match else None


def smallest(pattern: re.Pattern[str], text: str) -> float | None:
    return min(_all(pattern, text), default=None)


def largest(pattern: re.Pattern[str], text: str) -> float | None:
    return max(_all(pattern, text), default=None)


def _all(pattern: re.Pattern[str], text: str) -> list[float]:
    return [value for found in pattern.findall(text) if (value := number_of(found)) is not None]


def total(values: tuple[float, ...]) -> float | None:
    return sum(values) if values else None


# What some slicers do not say in comments is in their commands.
HOTEND: Final = re.compile(r"^M109\s+(?:T\d+\s+)?S(\d+\.?\d*)", re.MULTILINE)
BED: Final = re.compile(r"^M190\s+S(\d+\.?\d*)", re.MULTILINE)
CHAMBER: Final = re.compile(r"^M191\s+S(\d+\.?\d*)", re.MULTILINE)
MOVE_TO_Z: Final = re.compile(r"^G1\s+Z(\d*\.?\d+)", re.MULTILINE)
MOVE_TO_Z_WITH_FEEDRATE: Final = re.compile(r"^G1\s+Z(\d*\.?\d+)\s+F", re.MULTILINE)
