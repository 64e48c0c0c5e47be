"""Reading a whole file: boxes, filament, layers, objects, and how long a machine with given limits takes for it.

One pass, in chunks; memory does not grow with the file.  For the worker process, since it imports numpy.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from polyhost.core.file import Analysis, Box, FilamentUse, LayerIndex
from polyhost.gcode.chunk import MAX_LINE, Bools, Floats, read_chunk
from polyhost.gcode.layers import MAX_LAYERS, Layers
from polyhost.gcode.limits import Limits, limits_from_settings
from polyhost.gcode.metadata import ends_of
from polyhost.gcode.motion import Motion
from polyhost.gcode.objects import Objects
from polyhost.gcode.planner import Planner
from polyhost.gcode.reader import blocks_of

CHUNK: Final = 3 << 17  # bytes; what a processor's cache still holds the columns of
BUDGET_S: Final = 30.0
BUDGET_S_PER_BYTE: Final = 1.0 / 10_000_000

_SETTING = re.compile(rb"\n; (machine_\w{1,60}|gcode_flavor|filament_diameter) ?= ?([^\r\n]{0,200})")


def analyse(
    file: BinaryIO,
    size: int,
    limits: Limits,
    filament_diameter: float = 1.75,
    budget_s: float | None = None,
    clock: Callable[[], float] | None = None,
    *,
    chunk_bytes: int = CHUNK,
) -> Analysis:
    """What reading all of `file`, `size` bytes long, shows.

    `limits` are the machine's; those that the file itself sets, or else those in its slicer's settings, go before them.
    `filament_diameter` is in mm, for a file that does not say.  `clock` gives seconds that never jump; when `budget_s`
    (30 s and 1 s for each 10 MB unless given) is over by it, reading stops with `complete` False.  Any bytes give an
    answer; what was strange is in `notes`.
    """
    settings = _settings_of(file, size)
    limits = limits_from_settings(settings, limits)
    reading = _Reading(Motion(limits, per_minute=settings.get("gcode_flavor", "").startswith("reprapfirmware")))
    if budget_s is None:
        budget_s = BUDGET_S + size * BUDGET_S_PER_BYTE
    until = clock() + budget_s if clock else math.inf
    complete = True
    file.seek(0)
    for data, offset in _chunks(file, chunk_bytes, reading):
        if clock and clock() > until:
            complete = False
            break
        reading.take(data, offset)
    diameters = [float(text) for text in re.findall(r"\d{1,2}(?:\.\d{1,6})?", settings.get("filament_diameter", ""))]
    return reading.result(size, complete, diameters or [filament_diameter])


def _settings_of(file: BinaryIO, size: int) -> dict[str, str]:
    """What the slicer's settings say of the machine; the first of each name."""
    head, tail, _ = ends_of(file, size)
    found: dict[str, str] = {}
    for part in (tail,) if tail is head else (tail, head):
        for name, value in _SETTING.findall(part):
            found.setdefault(name.decode(), value.decode("utf-8", "replace").strip())
    return found


def _chunks(file: BinaryIO, size: int, reading: "_Reading") -> Iterator[tuple[bytes, int]]:
    """The file as whole lines, about `size` bytes at once, and where each part begins.

    An overlong line is an empty one here.
    """
    offset = 0
    rest = b""
    skipping = False
    for block in blocks_of(file, size):
        if skipping:
            end = block.find(b"\n")
            offset += len(block) if end < 0 else end
            if end < 0:
                continue
            block = block[end:]
            skipping = False
        rest += block
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end], offset
            rest = rest[end:]
            offset += end
        if len(rest) > MAX_LINE:
            reading.overlong += 1
            offset += len(rest)
            rest = b""
            skipping = True
    if rest:
        yield rest + b"\n", offset


class _Extent:
    """The least and the greatest of each coordinate."""

    def __init__(self) -> None:
        self._least = [math.inf] * 3
        self._greatest = [-math.inf] * 3

    def include(self, places: tuple[Floats, Floats, Floats], which: Bools) -> None:
        if which.any():
            for axis, coordinates in enumerate(places):
                chosen = coordinates[which]
                self._least[axis] = min(self._least[axis], float(chosen.min()))
                self._greatest[axis] = max(self._greatest[axis], float(chosen.max()))

    @property
    def box(self) -> Box | None:
        return Box(*self._least, *self._greatest) if self._least[0] <= self._greatest[0] else None


class _Reading:
    """Everything that is gathered on the way through a file."""

    def __init__(self, motion: Motion) -> None:
        self.overlong = 0
        self._motion = motion
        self._planner = Planner()
        self._layers = Layers()
        self._objects = Objects()
        self._printed = _Extent()
        self._travelled = _Extent()
        self._lines = 0
        self._absurd = 0

    def take(self, data: bytes, offset: int) -> None:
        """Whole lines, the first of which is at byte `offset`."""
        chunk = read_chunk(data, offset)
        self._lines += chunk.lines
        self._absurd += chunk.absurd
        self.overlong += chunk.overlong
        moves_before = self._motion.moves
        moves = self._motion.take(chunk)
        known = len(self._layers.moves)
        if self._layers.take(chunk, moves, moves_before):
            self._planner.forget_marks()
            known = 0
        self._planner.mark(self._layers.moves[known:])
        self._planner.add(moves.blocks)
        self._objects.take(chunk, moves)
        self._travelled.include((moves.x, moves.y, moves.z), moves.moves_toolhead)
        self._printed.include((moves.x, moves.y, moves.z), moves.extruding)
        self._printed.include((moves.from_x, moves.from_y, moves.from_z), moves.extruding)

    def result(self, size: int, complete: bool, diameters: list[float]) -> Analysis:
        """All of it; `diameters` are the filaments' by tool, the last of them for all further ones."""
        motion, layers, objects = self._motion, self._layers, self._objects
        times = self._planner.finish()
        layers.finish()
        duration = self._planner.seconds + motion.last_pause_s
        filament = {}
        for tool, length in sorted(motion.drawn.items()):
            if length > 0:
                diameter = diameters[min(tool, len(diameters) - 1)]
                filament[tool] = FilamentUse(length, length * math.pi / 4.0 * diameter**2 / 1000.0)
        return Analysis(
            duration_s=duration,
            lines=self._lines,
            moves=motion.moves,
            filament=filament,
            printed=self._printed.box,
            travelled=self._travelled.box,
            layers=LayerIndex(tuple(layers.offsets), tuple(layers.heights), tuple(times), duration),
            objects=objects.finish(size),
            limits_from=motion.limits.source,
            complete=complete,
            notes=tuple(self._notes(complete)),
            waits_s=motion.waits_s,
            tells_progress=motion.tells_progress,
        )

    def _notes(self, complete: bool) -> Iterator[str]:
        if not complete:
            yield "Reading stopped before the end: the file takes too long to analyse."
        if self.overlong:
            yield f"{self.overlong} lines are longer than {MAX_LINE} bytes and were left out."
        if self._absurd:
            yield f"{self._absurd} numbers are too large for any machine and were left out."
        if not self._motion.moves:
            yield "No moves were found in it."
        if self._layers.too_many:
            yield f"It has more than {MAX_LAYERS} layers; the rest is counted as one."
        if self._objects.too_many:
            yield "It names more objects, or more parts of them, than are kept."
