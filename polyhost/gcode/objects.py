"""Named objects: which bytes of a file draw them, and where they stand.

Told by ``; printing object NAME`` (PrusaSlicer and its family), ``EXCLUDE_OBJECT_START NAME=…`` (Klipper), ``M486``
(Marlin), ``;MESH:NAME`` (Cura), ``;PRINTING:NAME`` (ideaMaker); of several, only the first one met counts.
"""

import re
from typing import Final

import numpy as np

from polyhost.core.file import NamedObject
from polyhost.gcode.chunk import Chunk, Event
from polyhost.gcode.motion import Moves

MAX_OBJECTS: Final = 1000
MAX_RANGES: Final = 50_000
MAX_NAME: Final = 255

_BEGIN: Final = {
    "prusa": re.compile(rb"; printing object (.+)"),
    "klipper": re.compile(rb"EXCLUDE_OBJECT_START\b.*?\bNAME=(\S+)", re.IGNORECASE),
    "cura": re.compile(rb";MESH:(?!NONMESH)(.+)"),
    "ideamaker": re.compile(rb";PRINTING:(?!\s*NON-OBJECT)\s*(.+)"),
    "m486": re.compile(rb"M486\b(.*)", re.IGNORECASE),
}
_END: Final = {
    "prusa": re.compile(rb"; stop printing object"),
    "klipper": re.compile(rb"EXCLUDE_OBJECT_END\b", re.IGNORECASE),
    "cura": re.compile(rb";MESH:NONMESH"),
    "ideamaker": re.compile(rb";PRINTING:\s*NON-OBJECT"),
    "m486": re.compile(rb"(?!)"),
}
_NUMBER = re.compile(rb"\bS\s*(-?\d{1,6})", re.IGNORECASE)
_NAMED = re.compile(rb"""\bA\s*"?([^"]+)"?""", re.IGNORECASE)


class _Found:
    """One object so far."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.box = (np.inf, np.inf, -np.inf, -np.inf)


class Objects:
    """Takes chunks in order."""

    def __init__(self) -> None:
        self.too_many = False
        self._style = ""
        self._found: dict[str, _Found] = {}
        self._names: dict[str, str] = {}  # of M486, by number
        self._ranges = 0
        self._now: str | None = None
        self._since = 0

    def take(self, chunk: Chunk, moves: Moves) -> None:
        begins_at = 0  # the first move since the last change of object
        for event in chunk.events:
            name = self._name_after(event)
            if name != self._now:
                move = int(np.searchsorted(moves.row, event.row))
                self._stretch(moves, begins_at, move)
                self._close(event.start)
                begins_at = move
                self._now, self._since = name, event.start
        self._stretch(moves, begins_at, len(moves.row))

    def finish(self, size: int) -> tuple[NamedObject, ...]:
        """The objects of a file that ends at byte `size`; those in which nothing is drawn are left out."""
        self._close(size)
        return tuple(
            NamedObject(self._names.get(name, name), min_x, min_y, max_x, max_y, tuple(found.ranges))
            for name, found in self._found.items()
            for min_x, min_y, max_x, max_y in (found.box,)
            if min_x <= max_x
        )

    def _name_after(self, event: Event) -> str | None:
        """The object that the lines after `event` draw."""
        for style in (self._style,) if self._style else _BEGIN:
            if match := _BEGIN[style].match(event.text):
                self._style = style
                text = match[1].decode("utf-8", "replace").strip()[:MAX_NAME]
                return self._numbered(match[1]) if style == "m486" else text or None
            if _END[style].match(event.text):
                return None
        return self._now

    def _numbered(self, words: bytes) -> str | None:
        """M486: ``S`` with a number chooses, -1 for none; ``A`` names what is chosen."""
        if number := _NUMBER.search(words):
            chosen = None if number[1].startswith(b"-") else number[1].decode()
        else:
            chosen = self._now
        if chosen is not None and (named := _NAMED.search(words)) and len(self._names) < MAX_OBJECTS:
            self._names[chosen] = named[1].decode("utf-8", "replace").strip()[:MAX_NAME]
        return chosen

    def _stretch(self, moves: Moves, begin: int, end: int) -> None:
        """Moves `begin` to `end` draw the present object."""
        if self._now is None or begin >= end:
            return
        part = slice(begin, end)
        drawn = moves.extruding[part]
        if not drawn.any() or (found := self._object(self._now)) is None:
            return
        x, y = moves.x[part][drawn], moves.y[part][drawn]
        from_x, from_y = moves.from_x[part][drawn], moves.from_y[part][drawn]
        low_x, low_y, high_x, high_y = found.box
        found.box = (
            min(low_x, float(x.min()), float(from_x.min())),
            min(low_y, float(y.min()), float(from_y.min())),
            max(high_x, float(x.max()), float(from_x.max())),
            max(high_y, float(y.max()), float(from_y.max())),
        )

    def _close(self, end: int) -> None:
        """The present object ends at byte `end`."""
        if self._now is None or end <= self._since or (found := self._object(self._now)) is None:
            return
        if found.ranges and found.ranges[-1][1] == self._since:
            found.ranges[-1] = (found.ranges[-1][0], end)
        elif self._ranges < MAX_RANGES:
            found.ranges.append((self._since, end))
            self._ranges += 1
        else:
            self.too_many = True

    def _object(self, name: str) -> _Found | None:
        if name not in self._found:
            if len(self._found) == MAX_OBJECTS:
                self.too_many = True
                return None
            self._found[name] = _Found()
        return self._found[name]
