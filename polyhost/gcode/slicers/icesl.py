"""IceSL: ``; key : value`` in the head."""

import re

from polyhost.core.file import Metadata
from polyhost.gcode.comments import Comments, texts_of

_MARK = re.compile(r"<IceSL ([^>\n]{0,60})>")


def read(comments: Comments) -> Metadata | None:
    mark = _MARK.search(comments.head)
    if mark is None:
        return None

    def number(key: str) -> float | None:
        return comments.number(key, separator=":")

    return Metadata(
        slicer="IceSL",
        slicer_version=mark[1] if mark[1][:1].isdigit() else "-",
        layer_count=comments.integer("layer_count", separator=":"),
        object_height=number("print_height_mm"),
        estimated_time=number("estimated_print_time_s"),
        nozzle_diameter=number("nozzle_diameter_mm_0"),
        layer_height=number("z_layer_height_mm"),
        first_layer_height=number("z_layer_height_first_layer_mm"),
        first_layer_extr_temp=number("extruder_temp_degree_c_0"),
        first_layer_bed_temp=number("bed_temp_degree_c"),
        chamber_temp=number("chamber_temp_degree_c"),
        filament_name=comments.value("filament_name", separator=":"),
        filament_type=texts_of(comments.value("filament_type", separator=":")),
        filament_total=number("filament_used_mm"),
        filament_weight_total=number("filament_used_g"),
    )
