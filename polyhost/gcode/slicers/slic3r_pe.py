"""Slic3r Prusa Edition, what PrusaSlicer was called before 2.0."""

import re

import msgspec

from polyhost.core.file import Metadata
from polyhost.gcode.comments import Comments
from polyhost.gcode.slicers.prusa import settings_of

_MARK = re.compile(r"Slic3r Prusa Edition\s+(\S{1,60})\s+on")


def read(comments: Comments) -> Metadata | None:
    mark = _MARK.search(comments.head)
    if mark is None:
        return None
    found = settings_of(comments, "Slic3r PE", mark[1])
    return msgspec.structs.replace(found, filament_total=comments.number("filament used"))
