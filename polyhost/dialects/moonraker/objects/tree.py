"""The status of one printer, and since which tick each field is as it is.

A client is told what changed after the tick that it was told last.  So whoever misses ticks, since it reads slowly,
gets all it missed with the next one, and nothing has to be kept for it but that number.
"""

from collections.abc import Mapping
from typing import Any, Final

from polyhost.dialects.moonraker.objects.view import Fields, Status

Selection = tuple[tuple[str, tuple[str, ...] | None], ...]
"""Objects in order, each with the fields wanted of it in order; None is all."""

MAX_NAMES: Final = 2000
"""Of objects and fields in one selection."""
EVERYTHING: Final = None
EARLY_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "gcode": frozenset({"busy", "gcode_position"}),
    "toolhead": frozenset({"status"}),
}
"""Fields that only who names them gets: the first document's examples have them, clients of today do not know them."""
_NONE: Final[frozenset[str]] = frozenset()
_ABSENT: Final = object()


def union_of(selections: "set[Selection]") -> Selection:
    """What all of them together want."""
    wanted: dict[str, set[str] | None] = {}
    for selection in selections:
        for name, fields in selection:
            there = wanted.get(name, set())
            wanted[name] = None if fields is None or there is None else there | set(fields)
    return selected(wanted)


def size_of(selection: Selection) -> int:
    """How many names are in it, of objects and of fields."""
    return sum(1 + len(fields or ()) for _, fields in selection)


def selected(wanted: Mapping[str, Any]) -> Selection:
    """The selection of these objects: fields are an iterable, or None."""
    return tuple(
        (name, None if fields is None else tuple(sorted(set(fields)))) for name, fields in sorted(wanted.items())
    )


class Tree:
    def __init__(self) -> None:
        self.tick = 0
        self.at = 0.0
        self.status: Status = {}
        self._since: dict[str, dict[str, int]] = {}
        self._newest: dict[str, int] = {}  # of an object's fields

    def take(self, at: float, status: Status) -> bool:
        """What is at the time `at`; whether anything changed, so that a new tick began.  Time goes on with each."""
        tick, changed = self.tick + 1, False
        for name, fields in status.items():
            before = self.status.get(name)
            if before is fields:
                continue
            since = self._since.setdefault(name, {})
            if before is None:
                since.update(dict.fromkeys(fields, tick))
            else:
                news = [field for field, value in fields.items() if before.get(field, _ABSENT) != value]
                if not news:
                    continue
                since.update(dict.fromkeys(news, tick))
            self._newest[name] = tick
            changed = True
        self.status = status
        if changed:
            self.tick = tick
            self.at = at if at > self.at else self.at + 1e-6
        return changed

    def whole(self, selection: Selection) -> Status:
        """All of what is wanted: an object that is not there is empty, a field that is not there None."""
        return {name: self._of(name, wanted) for name, wanted in selection}

    def since(self, tick: int, selection: Selection) -> Status:
        """What of it changed after `tick`."""
        changes: Status = {}
        for name, wanted in selection:
            if self._newest.get(name, 0) <= tick:
                continue
            fields, since = self.status.get(name, {}), self._since[name]
            hidden = EARLY_ONLY.get(name, _NONE)
            asked = fields.keys() - hidden if wanted is None else wanted
            news = {field: fields[field] for field in fields if field in asked and since[field] > tick}
            if news:
                changes[name] = news
        return changes

    def _of(self, name: str, wanted: tuple[str, ...] | None) -> Fields:
        fields = self.status.get(name)
        if fields is None:
            return {}
        if wanted is not None:
            return {field: fields.get(field) for field in wanted}
        hidden = EARLY_ONLY.get(name)
        return fields if hidden is None else {field: value for field, value in fields.items() if field not in hidden}
