"""Events that upstream derives from the commands it sends: ``Home``, ``ZChange``, ``ToolChange``, …

Upstream: OctoPrint 1.11, docs/events/index.rst.  One pass over each batch of the console; a batch of which nothing is
worth an event costs one search.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from polyhost.core.events import ConsoleLine
from polyhost.core.printer import ToolPosition
from polyhost.dialects.octoprint.events import Told

COMMANDS: Final = {
    **dict.fromkeys(("M226", "M0", "M1"), "Waiting"),
    **dict.fromkeys(("M600", "M701", "M702"), "FilamentChange"),
    "G4": "Dwelling",
    "M245": "Cooling",
    "M240": "Conveyor",
    "M40": "Eject",
    "M300": "Alert",
    "G28": "Home",
    "M112": "EStop",
    "M80": "PowerOn",
    "M81": "PowerOff",
}
_COMMAND: Final = re.compile(r"(?:N\d+\s*)?([GMT])0*(\d{1,4})(?![\d.])([^*;]*)", re.ASCII)
_Z: Final = re.compile(r"Z\s*([+-]?\d*\.?\d+)", re.ASCII)
_POSITION: Final = re.compile(
    r"X:(-?\d+(?:\.\d+)?) Y:(-?\d+(?:\.\d+)?) Z:(-?\d+(?:\.\d+)?)(?: E:(-?\d+(?:\.\d+)?))?", re.ASCII
)
_MOVES: Final = frozenset({"G0", "G1", "G2", "G3"})


class Derived:
    """Follows one printer's console."""

    def __init__(self, tool: int = 0, z: float | None = None) -> None:
        self._tool = tool
        self._z = z
        self._relative = False
        self._inches = False
        self._told: tuple[float | None, ...] | None = None  # where a pause was, as its own event said

    @property
    def z(self) -> float | None:
        """The height that was last moved to, in mm; None when it is not known."""
        return self._z

    def new_run(self) -> None:
        """A file begins: where it starts from is not known."""
        self._z = None
        self._relative = self._inches = False

    def told(self, position: ToolPosition) -> None:
        """Where the machine is was told with a pause: the console's own word for it is not told again."""
        self._told = position.x, position.y, position.z

    def heard(self, lines: Iterable[ConsoleLine]) -> Iterator[Told]:
        """The events of `lines`, in order."""
        for line in lines:
            if line.sent:
                yield from self._sent(line.text)
            elif "X:" in line.text and (found := _POSITION.search(line.text)) is not None:
                x, y, z, e = (None if one is None else float(one) for one in found.groups())
                told, self._told = self._told, None
                if told == (x, y, z):
                    continue
                yield Told(
                    "PositionUpdate", {"x": x, "y": y, "z": z, "e": e, "t": self._tool, "f": None, "reason": None}
                )

    def _sent(self, text: str) -> Iterator[Told]:
        found = _COMMAND.match(text)
        if found is None:
            return
        letter, number, rest = found.groups()
        if letter == "T":
            old, self._tool = self._tool, int(number)
            yield Told("ToolChange", {"old": old, "new": self._tool})
            return
        command = letter + number
        if command in _MOVES:
            yield from self._moved(rest)
        elif command in {"G90", "G91"}:
            self._relative = command == "G91"
        elif command in {"G20", "G21"}:
            self._inches = command == "G20"
        elif command == "G92" and (height := self._height(rest)) is not None:
            self._z = height
        elif (event := COMMANDS.get(command)) is not None:
            yield Told(event)

    def _moved(self, rest: str) -> Iterator[Told]:
        height = self._height(rest)
        if height is None:
            return
        if self._relative:
            if self._z is None:
                return
            height += self._z
        old, self._z = self._z, height
        if old is None or abs(height - old) > 1e-9:
            yield Told("ZChange", {"new": height, "old": old})

    def _height(self, rest: str) -> float | None:
        found = _Z.search(rest)
        return None if found is None else float(found[1]) * (25.4 if self._inches else 1.0)
