"""The bed's unevenness as firmware prints it, line by line.

Told by ``G29`` and ``M420 V``: Marlin's bilinear grid (rows from the front), its unified levelling (rows from the
back, with the corners' places), and Prusa's ``G81`` (from the back).
"""

import re
from typing import Final

from polyhost.core.printer import BedMesh

MAX_POINTS: Final = 64  # along an axis

_HEADS: Final = {
    "Bilinear Leveling Grid:": False,  # whether the first row is the one at the back
    "Bed Topography Report:": True,
    "Measured points:": True,
}
_COLUMNS: Final = re.compile(r"\d+(?:\s+\d+)*$")
_CORNER: Final = re.compile(r"\(\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\)")
_NUMBERED: Final = re.compile(r"\d{1,2}(?:\s*\|\s*|\s+)")
_HEIGHT: Final = re.compile(r"[-+]?\d+\.\d+|={3,}|(?<!\S)\.(?!\S)|nan", re.IGNORECASE)  # the last three: none measured


class MeshReader:
    """Takes lines in order; `mesh` is the last that was whole.  `bounds` are the bed's: few firmwares say their own."""

    def __init__(self) -> None:
        self.mesh: BedMesh | None = None
        self._rows: list[tuple[float, ...]] | None = None
        self._from_back = False
        self._corners: list[tuple[float, float]] = []

    def hear(self, line: str, bounds: tuple[float, float, float, float]) -> bool:
        """Whether `line` was one of a mesh, whole by then or not."""
        text = line.strip().removeprefix("echo:").strip()
        if text in _HEADS:
            self._rows, self._from_back, self._corners = [], _HEADS[text], []
            return True
        if self._rows is None:
            return False
        if corners := _CORNER.findall(text):
            self._corners += [(float(x), float(y)) for x, y in corners]
            if len(self._rows) >= 2:
                self._keep(bounds)
            return True
        if text == "|" or _COLUMNS.match(text):
            return True
        numbered = _NUMBERED.match(text)
        found = _HEIGHT.findall(text[numbered.end() :] if numbered else text)
        heights = tuple(float(height) if height[-1].isdigit() else 0.0 for height in found)
        if not 2 <= len(heights) <= MAX_POINTS or (self._rows and len(heights) != len(self._rows[0])):
            self._rows = None
            return False
        self._rows.append(heights)
        if len(self._rows) > MAX_POINTS:
            self._rows = None
        elif len(self._rows) >= 2:
            self._keep(bounds)
        return True

    def _keep(self, bounds: tuple[float, float, float, float]) -> None:
        rows = self._rows or []
        if len(self._corners) > 1:
            xs, ys = [x for x, _ in self._corners], [y for _, y in self._corners]
            if min(ys) < max(ys):
                bounds = (min(xs), min(ys), max(xs), max(ys))
        self.mesh = BedMesh(*bounds, heights=tuple(reversed(rows) if self._from_back else rows))
