"""Simplify3D, versions 2 to 5: settings as ``;   name,value,value`` in the head, a summary at the end."""

import re
from collections.abc import Mapping

from polyhost.core.file import Metadata
from polyhost.gcode.comments import MOVE_TO_Z, Comments, duration_of, largest, number_of, smallest, texts_of

_MARK = re.compile(r"Simplify3D\(R\)\s+Version\s+(\S{1,60})")
_CONTROLLER = re.compile(r"^;\s*temperatureController,", re.MULTILINE)
_LINE = re.compile(r"^;\s*(\w{1,60}),([^\n]*)", re.MULTILINE)


def read(comments: Comments) -> Metadata | None:
    mark = _MARK.search(comments.head)
    if mark is None:
        return None
    names = {key.lower(): value for key, value in comments.pairs(":").items()}
    settings = comments.pairs(",")
    temperatures = _temperatures(comments.head, settings)
    return Metadata(
        slicer="Simplify3D",
        slicer_version=mark[1],
        object_height=largest(MOVE_TO_Z, comments.tail),
        estimated_time=duration_of(names.get("build time")),
        nozzle_diameter=number_of(settings.get("extruderDiameter") or settings.get("nozzleDiameter")),
        layer_height=number_of(settings.get("layerHeight")),
        first_layer_height=smallest(MOVE_TO_Z, comments.head),
        first_layer_extr_temp=temperatures.get("extruder"),
        first_layer_bed_temp=temperatures.get("platform"),
        filament_name=settings.get("printMaterial") or None,
        filament_type=texts_of(settings.get("makerBotModelMaterial")),
        filament_total=number_of(names.get("filament length") or names.get("material length")),
        filament_weight_total=number_of(names.get("plastic weight") or names.get("material weight")),
    )


def _temperatures(head: str, settings: Mapping[str, str]) -> dict[str, float]:
    """The first setpoints of the first extruder and of the platform."""
    found: dict[str, float] = {}
    blocks = _CONTROLLER.split(head)[1:33]  # version 5: a block for each
    for block in blocks:
        lines = dict(_LINE.findall(block[:4096])[::-1])
        setpoint = number_of(lines.get("temperatureSetpoints", "").partition("|")[2])
        if setpoint is not None:
            found.setdefault(lines.get("temperatureType", ""), setpoint)
    if blocks or "temperatureName" not in settings:
        return found
    # before: columns; each heater has as many temperatures as its count says
    names = settings["temperatureName"].split(",")
    counts = settings.get("temperatureSetpointCount", "").split(",")
    values = settings.get("temperatureSetpointTemperatures", "").split(",")
    at = 0
    for name, count in zip(names, counts, strict=False):
        kind = "platform" if "Bed" in name else "extruder"
        setpoint = number_of(values[at]) if at < len(values) else None
        if setpoint is not None:
            found.setdefault(kind, setpoint)
        at += int(number_of(count) or 1)
    return found
