"""BambuStudio, and what was made from it: the name below ``HEADER_BLOCK_START``, the settings in front."""

import re

import msgspec

from polyhost.core.file import Metadata
from polyhost.gcode.comments import Comments, duration_of, total
from polyhost.gcode.slicers.prusa import settings_of

_MARK = re.compile(
    r"^; (BambuStudio)[^\n\d]*(\d\S{0,59})|^; HEADER_BLOCK_START\s*\n; (\w{1,40}) v?(\d\S{0,59})\s*$", re.MULTILINE
)
_TIME = re.compile(r"total estimated time: ([^\n;]+)")


def read(comments: Comments) -> Metadata | None:
    mark = _MARK.search(comments.head)
    if mark is None:
        return None
    found = settings_of(comments, mark[1] or mark[3], mark[2] or mark[4])
    time = _TIME.search(comments.head)
    return msgspec.structs.replace(
        found,
        layer_count=comments.integer("total layer number", separator=":"),
        object_height=comments.number("max_z_height", separator=":") or found.object_height,
        estimated_time=duration_of(time[1]) if time else found.estimated_time,
        first_layer_height=comments.number("initial_layer_print_height"),
        first_layer_extr_temp=comments.number("nozzle_temperature_initial_layer"),
        first_layer_bed_temp=comments.number("hot_plate_temp_initial_layer"),
        chamber_temp=comments.number("chamber_temperatures"),
        filament_total=total(comments.numbers("total filament length [mm]", separator=":")),
        filament_weight_total=total(comments.numbers("total filament weight [g]", separator=":")),
        filament_weights=comments.numbers("total filament weight [g]", separator=":"),
    )
