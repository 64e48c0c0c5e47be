"""KISSlicer."""

import re

from polyhost.core.file import Metadata
from polyhost.gcode.comments import Comments, largest, searched, total

_MARK = re.compile(r"^; KISSlicer", re.MULTILINE)
_VERSION = re.compile(r"^; version (\S{1,60})", re.MULTILINE)
_LAYER_END = re.compile(r"END_LAYER_OBJECT\sz=(\d+\.?\d*)")
_MINUTES = re.compile(r"^;\s*Calculated[^\n]*Build Time:\s*(\d+\.?\d*)\s*minutes", re.MULTILINE)
_LENGTH = re.compile(r"^;\s*Ext #\d+\s*=\s*(\d+\.?\d*)\s*mm", re.MULTILINE)


def read(comments: Comments) -> Metadata | None:
    if _MARK.search(comments.head) is None:
        return None
    version = _VERSION.search(comments.head)
    minutes = searched(_MINUTES, comments.tail)
    return Metadata(
        slicer="KISSlicer",
        slicer_version=version[1] if version else "?",
        object_height=largest(_LAYER_END, comments.tail),
        estimated_time=None if minutes is None else round(minutes * 60, 2),
        layer_height=comments.number("max_layer_thickness_mm"),
        first_layer_height=comments.number("first_layer_thickness_mm"),
        first_layer_extr_temp=comments.number("first_layer_C"),
        first_layer_bed_temp=comments.number("bed_C"),
        chamber_temp=comments.number("chamber_C"),
        filament_total=total(tuple(float(length) for length in _LENGTH.findall(comments.tail))),
    )
