"""ideaMaker."""

import math
import re
from collections.abc import Mapping
from typing import Final

from polyhost.core.file import Metadata
from polyhost.gcode.comments import BED, CHAMBER, HOTEND, Comments, number_of, searched, total
from polyhost.gcode.slicers.prusa import names_of

MAX_FILAMENTS: Final = 16

_MARK = re.compile(r"\sideaMaker\s(\S{1,60}?),")
_LAYER = {n: re.compile(rf"^;LAYER:{n}\s[\s\S]{{0,400}}?^;HEIGHT:(\d+\.?\d*)", re.MULTILINE) for n in (0, 1)}


def read(comments: Comments) -> Metadata | None:
    mark = _MARK.search(comments.head)
    if mark is None:
        return None
    pairs = comments.pairs(":")
    numbers = {key: value for key, text in pairs.items() if (value := number_of(text)) is not None}
    lengths = tuple(numbers[key] for n in range(1, MAX_FILAMENTS + 1) if (key := f"Material#{n} Used") in numbers)
    nozzle = comments.value("Dimension", separator=":")
    box = comments.value("Bounding Box", separator=":")
    return Metadata(
        slicer="IdeaMaker",
        slicer_version=mark[1],
        object_height=number_of(box.split()[-1]) if box else None,
        estimated_time=numbers.get("Print Time"),
        nozzle_diameter=number_of(nozzle.split()[3]) if nozzle and len(nozzle.split()) > 3 else None,
        layer_height=searched(_LAYER[1], comments.head),
        first_layer_height=searched(_LAYER[0], comments.head),
        first_layer_extr_temp=searched(HOTEND, comments.head),
        first_layer_bed_temp=searched(BED, comments.head),
        chamber_temp=searched(CHAMBER, comments.head),
        filament_name=names_of(";".join(_each(pairs, "Filament Name"))),
        filament_type=_each(pairs, "Filament Type") or comments.texts("Filament type"),
        filament_total=total(lengths),
        filament_weight_total=_weight(numbers),
    )


def _each(pairs: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The values of ``name #1``, ``name #2``, …"""
    return tuple(text for n in range(1, MAX_FILAMENTS + 1) if (text := pairs.get(f"{name} #{n}")))


def _weight(numbers: dict[str, float]) -> float | None:
    """Grams, from each filament's length and diameter in mm and density in kg/m³."""
    weights = []
    for n in range(1, MAX_FILAMENTS + 1):
        length = numbers.get(f"Material#{n} Used")
        diameter = numbers.get(f"Filament Diameter #{n}")
        density = numbers.get(f"Filament Density #{n}")
        if length is not None and diameter is not None and density is not None:
            weights.append(math.pi / 4 * diameter**2 * length * density / 1e6)
    return sum(weights) if weights else None
