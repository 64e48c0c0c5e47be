"""What the slicer wrote about a file, in Moonraker's words.

Upstream: docs/external_api/file_manager.md; specification, 4.  What is not known is left out.
"""

import uuid
from typing import Any

import msgspec

from polyhost.core.file import File, Metadata

_AS_THEY_ARE = (
    *("layer_count", "object_height", "nozzle_diameter", "layer_height", "first_layer_height"),
    *("first_layer_extr_temp", "first_layer_bed_temp", "chamber_temp", "filament_name", "filament_change_count"),
    *("filament_total", "filament_weight_total", "printer_vendor", "printer_model", "printer_variant"),
    *("profile_version", "gcode_start_byte", "gcode_end_byte"),
)


def metadata_of(file: File) -> dict[str, Any]:
    """Without thumbnails, and without what is about a place or a print of it."""
    told: dict[str, Any] = {
        "size": file.size_bytes,
        "modified": file.modified_at,
        "uuid": str(uuid.UUID(hex=file.sha256[:32])) if len(file.sha256) >= 32 else "",
        "file_processors": [],
    }
    if file.metadata is not None:
        told |= _words_of(file.metadata)
    analysis = file.analysis
    if analysis is not None and analysis.complete:
        told.setdefault("estimated_time", round(analysis.duration_s))
        told.setdefault("filament_total", round(sum(use.length for use in analysis.filament.values()), 2))
    return told


def _words_of(said: Metadata) -> dict[str, Any]:
    told: dict[str, Any] = {"slicer": said.slicer, "slicer_version": said.slicer_version}
    for name in _AS_THEY_ARE:
        value = getattr(said, name)
        if value is not None:
            told[name] = value
    if said.estimated_time is not None:
        told["estimated_time"] = round(said.estimated_time)
    if said.filament_type:
        several = len(said.filament_type) > 1
        told["filament_type"] = msgspec.json.encode(said.filament_type).decode() if several else said.filament_type[0]
    if said.filament_weights:
        told["filament_weights"] = said.filament_weights
    for name in ("filament_colors", "extruder_colors", "filament_temps", "referenced_tools"):
        told[name] = getattr(said, name)
    if said.mmu_print is not None:
        told["mmu_print"] = int(said.mmu_print)
    return told
