"""Cura: everything is in the first lines, written by its engine or, where that leaves gaps, by its front end."""

import re

from polyhost.core.file import Metadata
from polyhost.gcode.comments import BED, CHAMBER, HOTEND, Comments, largest, searched, total

_MARK = re.compile(r"Cura_SteamEngine\s+(\S{1,60})")
_TIME = re.compile(r"^;TIME:(\d+\.?\d*)", re.MULTILINE)
_METRES = re.compile(r"(\d*\.?\d+)m\b")


def read(comments: Comments) -> Metadata | None:
    mark = _MARK.search(comments.head)
    if mark is None:
        return None
    metres = tuple(float(m) for m in _METRES.findall(comments.value("Filament used", separator=":") or ""))
    weights = comments.numbers("Filament weight")
    return Metadata(
        slicer="Cura",
        slicer_version=mark[1],
        layer_count=comments.integer("LAYER_COUNT", separator=":"),
        object_height=comments.number("MAXZ", separator=":"),
        estimated_time=largest(_TIME, comments.head),
        nozzle_diameter=comments.number("Nozzle diameter"),
        layer_height=comments.number("Layer height", separator=":"),
        first_layer_height=comments.number("MINZ", separator=":"),
        first_layer_extr_temp=searched(HOTEND, comments.head),
        first_layer_bed_temp=searched(BED, comments.head),
        chamber_temp=searched(CHAMBER, comments.head),
        filament_name=comments.value("Filament name"),
        filament_type=comments.texts("Filament type"),
        filament_total=None if not metres else sum(metres) * 1000,
        filament_weight_total=total(weights),
        filament_weights=weights,
    )
