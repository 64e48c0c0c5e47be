"""Slic3r itself (1.2, 1.3): no time, no thumbnails."""

import re

import msgspec

from polyhost.core.file import Metadata
from polyhost.gcode.comments import Comments
from polyhost.gcode.slicers.prusa import settings_of

_MARK = re.compile(r"Slic3r (\d\S{0,59}) on")


def read(comments: Comments) -> Metadata | None:
    mark = _MARK.search(comments.head)
    if mark is None:
        return None
    metres = comments.number("filament_length_m")
    return msgspec.structs.replace(
        settings_of(comments, "Slic3r", mark[1]),
        estimated_time=None,
        filament_total=None if metres is None else metres * 1000,
        filament_weight_total=comments.number("filament mass_g"),
    )
