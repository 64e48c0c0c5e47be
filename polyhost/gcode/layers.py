"""Where layers begin: by the slicer's comments, or, when there are none, by the height of what is drawn."""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from polyhost.gcode.chunk import Chunk, Event, Floats
from polyhost.gcode.motion import Moves

MAX_LAYERS: Final = 100_000
LEAST_RISE_MM: Final = 0.04
"""Between layers told by height; in a spiral vase every move is higher than the last."""

_MARKS: Final = (
    re.compile(rb";\s?LAYER_CHANGE\b"),  # PrusaSlicer, SuperSlicer, OrcaSlicer
    re.compile(rb"; CHANGE_LAYER\b"),  # BambuStudio
    re.compile(rb";LAYER:-?\d+"),  # Cura, ideaMaker
    re.compile(rb"; ?layer \d+\b(?!\s*=)"),  # Simplify3D
    re.compile(rb"; BEGIN_LAYER_OBJECT\b"),  # KISSlicer
    re.compile(rb";; --- layer \d+ \("),  # Kiri:Moto
)


class Layers:
    """Takes chunks in order; `offsets` (bytes), `heights` (mm) and `moves` (their numbers) of the layers found so far.

    Of several kinds of comment only the first one met counts.
    """

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.heights: list[float] = []
        self.moves: list[int] = []
        self.too_many = False
        self._mark: re.Pattern[bytes] | None = None
        self._height = -1e9  # of the layer being drawn, when told by height
        self._z = 0.0  # of what was drawn last

    def take(self, chunk: Chunk, moves: Moves, moves_before: int) -> bool:
        """Find the layers of `chunk`, whose moves are numbered from `moves_before`.

        True when the first comment of all was in it: what was told by height before counts no more.
        """
        by_height = self._mark is None
        drawn = np.flatnonzero(moves.extruding)
        heights = moves.z[drawn]
        marks = [event for event in chunk.events if self._is_mark(event)]
        if self._mark is None:
            self._by_height(chunk, moves, moves_before, drawn, heights)
        for event, move in zip(marks, np.searchsorted(moves.row, [e.row for e in marks]).tolist(), strict=True):
            self._begin(event.start, moves_before + move)
        # A layer is as high as the first thing drawn in it, which may come in a later chunk.
        waiting = np.array(self.moves[len(self.heights) :], np.int64) - moves_before
        at = np.searchsorted(drawn, waiting)
        self.heights += heights[at[at < len(drawn)]].tolist()
        if len(heights):
            self._z = float(heights[-1])
        return by_height and self._mark is not None

    def finish(self) -> None:
        """The file has ended: layers in which nothing is drawn are where the last thing was."""
        self.heights += [self._z] * (len(self.moves) - len(self.heights))

    def _is_mark(self, event: Event) -> bool:
        if self._mark is not None:
            return self._mark.match(event.text) is not None
        for mark in _MARKS:
            if mark.match(event.text):
                self._mark = mark
                self.offsets.clear()  # what was told by height until now
                self.heights.clear()
                self.moves.clear()
                return True
        return False

    def _by_height(
        self, chunk: Chunk, moves: Moves, moves_before: int, drawn: NDArray[np.intp], heights: Floats
    ) -> None:
        now = self._height
        changed = np.flatnonzero(np.diff(heights, prepend=now))
        for place, z in zip(changed.tolist(), heights[changed].tolist(), strict=True):
            if abs(z - now) >= LEAST_RISE_MM:
                now = z
                move = int(drawn[place])
                self._begin(int(chunk.start[moves.row[move]]), moves_before + move)
        self._height = now

    def _begin(self, offset: int, move: int) -> None:
        if len(self.offsets) < MAX_LAYERS:
            self.offsets.append(offset)
            self.moves.append(move)
        else:
            self.too_many = True
