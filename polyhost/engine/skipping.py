"""Leaving out objects of a file while it is printed.

The moves in the byte ranges of an excluded object are not sent; what sets temperatures, fans, tools and modes is.
Behind such a stretch the machine is brought to where the file is: Z first when it rises, the filament pulled back as
far as the file has it there, an absolute E renumbered.  Until then every line counts as read up to the beginning of
the stretch only, so that a run that was interrupted within it begins again before it, where the machine stood.
"""

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from polyhost.core.file import NamedObject
from polyhost.core.units import mm_min_from_mm_s
from polyhost.gcode.modal import INCH, ModalState

_MOVE: Final = re.compile(rb"(?:N\d+\s*)?G\s*0*[0-3](?![\d.])", re.IGNORECASE)
_TOOL: Final = re.compile(rb"(?:N\d+\s*)?T\s*\d", re.IGNORECASE)
_PLACED: Final = re.compile(rb"(?:N\d+\s*)?(?:G|T\s*\d)", re.IGNORECASE)  # its effect depends on where the machine is
_ANYWHERE: Final = re.compile(rb"(?:N\d+\s*)?G\s*0*(?:4|10|11|20|21|90|91|92(?!\d)(?!.*[XYZ]))(?![\d.])", re.IGNORECASE)
_NOTHING_MM: Final = 1e-6
_TRAVEL_MM_S: Final = 50.0  # where the file did not say how fast
_PULL_MM_S: Final = 25.0


class Skipping:
    """Follows the lines of a file from byte `at` on, where `modal` is what the lines before have set."""

    def __init__(self, modal: ModalState, at: int) -> None:
        self.objects: dict[str, NamedObject] = {}
        self._file = modal  # as if all of it were printed
        self._read_to = at
        self._begins: list[int] = []  # of the ranges, none of which touches the next
        self._ends: list[int] = []
        self._apart = False  # moves were left out, and the machine is where it was before them
        self._since = at  # the byte where that began
        self._place = (0.0, 0.0, 0.0)
        self._pulled = 0.0  # mm that the filament in use is pulled back, in the machine
        self._owed: dict[int, float] = {}  # mm by which that of other tools is pulled back too little
        self._travel_mm_s = self._pull_mm_s = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.objects)

    def begin(self, modal: ModalState) -> None:
        """The machine was made ready for the first line, and is set to `modal`; its filament is where it was."""
        modal.pulled, modal.parked = self._file.pulled, self._file.parked
        self._file = modal

    def exclude(self, objects: Iterable[NamedObject]) -> None:
        """Leave these out too, from the next line on."""
        self.objects |= {named.name: named for named in objects}
        begins: list[int] = []
        ends: list[int] = []
        for begin, end in sorted(span for named in self.objects.values() for span in named.ranges):
            if ends and begin <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                begins.append(begin)
                ends.append(end)
        self._begins, self._ends = begins, ends

    def kept(self, lines: Sequence[bytes], ends: Sequence[int]) -> tuple[list[bytes], list[int]]:
        """What is to be sent for the next `lines` of the file, and the byte up to which each has it done."""
        kept: list[bytes] = []
        kept_ends: list[int] = []
        for line, end in zip(lines, ends, strict=True):
            start, self._read_to = self._read_to, end
            # What the host put around a command has no bytes of its own.
            within = end > start and self._excluded(start)
            if within and _MOVE.match(line):
                self._leave_out(line, start)
                continue
            was_apart = self._apart
            more = list(self._sent(line, within))
            kept += more
            if self._apart:
                kept_ends += [self._since] * len(more)
                continue
            # Whoever goes on between the lines that lead back to the file begins before what they lead over.
            leading = more.index(line) if was_apart else 0
            kept_ends += [self._since] * (leading - 1) + [start] * (len(more) - max(1, leading)) + [end]
        return kept, kept_ends

    def _excluded(self, byte: int) -> bool:
        index = bisect.bisect_right(self._begins, byte) - 1
        return index >= 0 and byte < self._ends[index]

    def _leave_out(self, line: bytes, start: int) -> None:
        file = self._file
        if not self._apart:
            self._apart, self._since = True, start
            self._place, self._pulled = (file.x, file.y, file.z), file.pulled
        pushed, x, y = file.pushed, file.x, file.y
        file.advance((line,))
        if file.pushed == pushed:
            self._travel_mm_s = file.feedrate_mm_s
        elif (file.x, file.y) == (x, y):
            self._pull_mm_s = file.feedrate_mm_s

    def _sent(self, line: bytes, within: bool) -> Iterator[bytes]:
        """`line` with what has to be said before and after it."""
        if self._apart and _PLACED.match(line) and not (within and (_ANYWHERE.match(line) or _TOOL.match(line))):
            yield from self._caught_up()
        file = self._file
        tool, pulled = file.tool, file.pulled
        file.advance((line,))
        yield line
        if file.tool != tool:
            if self._apart:
                self._owed[tool] = self._owed.get(tool, 0.0) + pulled - self._pulled
                self._pulled = file.pulled
            elif owed := self._owed.pop(file.tool, 0.0):
                yield from self._pull(owed)
                yield from self._feedrate()

    def _caught_up(self) -> Iterator[bytes]:
        """The machine is brought to where the file is."""
        file = self._file
        self._apart = False
        x, y, z = self._place
        pull = file.pulled - self._pulled + self._owed.pop(file.tool, 0.0)
        feed = b" F%b" % _number(
            mm_min_from_mm_s(self._travel_mm_s or file.feedrate_mm_s or _TRAVEL_MM_S) / self._scale
        )
        across = self._way("X", x, file.x) + self._way("Y", y, file.y)
        up = self._way("Z", z, file.z)
        if pull > _NOTHING_MM:
            yield from self._pull(pull)
        for words in (up, across) if file.z > z else (across, up):
            if words:
                yield b"G1" + words + feed
        if pull < -_NOTHING_MM:
            yield from self._pull(pull)
        if file.absolute and file.extruder_absolute:
            yield b"G92 E" + _number(file.e / self._scale)
        yield from self._feedrate()

    def _way(self, axis: str, here: float, there: float) -> bytes:
        """The word that leads along an axis, in the file's mode and units; none when the machine is there."""
        if abs(there - here) <= _NOTHING_MM:
            return b""
        value = there if self._file.absolute else there - here
        return f" {axis}".encode() + _number(value / self._scale)

    def _pull(self, length: float) -> Iterator[bytes]:
        """Pull the filament back by `length`, or push it when that is negative; E is then as the file has it."""
        file = self._file
        feed = b" F%b" % _number(mm_min_from_mm_s(self._pull_mm_s or _PULL_MM_S) / self._scale)
        if file.absolute and file.extruder_absolute:
            yield b"G92 E" + _number((file.e + length) / self._scale)
            yield b"G1 E" + _number(file.e / self._scale) + feed
        else:
            yield b"G1 E" + _number(-length / self._scale) + feed

    def _feedrate(self) -> Iterator[bytes]:
        if self._file.feedrate_mm_s:
            yield b"G1 F" + _number(mm_min_from_mm_s(self._file.feedrate_mm_s) / self._scale)

    @property
    def _scale(self) -> float:
        """mm in the file's unit."""
        return 1.0 if self._file.millimetres else INCH


def _number(value: float) -> bytes:
    return f"{value:.5f}".rstrip("0").rstrip(".").encode() if abs(value) >= 5e-6 else b"0"
