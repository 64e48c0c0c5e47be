"""What each slicer writes about its file: one module each, with `read(comments) -> Metadata | None`.

The keys are those that Moonraker reads, so that its clients find the same values here.
"""

from typing import Final

from polyhost.core.file import Metadata
from polyhost.gcode.comments import Comments
from polyhost.gcode.slicers import (
    bambu,
    cura,
    icesl,
    ideamaker,
    kirimoto,
    kisslicer,
    prusa,
    simplify3d,
    slic3r,
    slic3r_pe,
    unknown,
)

# Those whose mark is a special case of another's come first.
_SLICERS: Final = (slic3r_pe, slic3r, prusa, bambu, cura, simplify3d, kisslicer, ideamaker, icesl, kirimoto)


def read(comments: Comments) -> Metadata:
    """What the slicer that signed the file says of it."""
    return next((found for slicer in _SLICERS if (found := slicer.read(comments))), None) or unknown.read(comments)
