"""``configfile``: the configuration that a machine of this shape would have in Klipper, and ``gcode_macro``.

Section names in `config` are as in a file, in `settings` all lower case; clients compare some with their case.

Upstream: docs/Config_Reference.md (Klipper); specification, 3.3.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from polyhost.core.printer import Snapshot
from polyhost.dialects.moonraker.objects.heaters import (
    COLDEST_EXTRUSION,
    filament_of,
    heaters_there,
    sensors_there,
)
from polyhost.dialects.moonraker.objects.motion import COMMON, MESH, bounds_of, has_mesh, mesh_params_of, reach_of
from polyhost.dialects.moonraker.objects.view import GCODES, Fields, Status, View
from polyhost.services.commands import MAX_TRAVEL_MM

STEERING: Final = {
    "PAUSE": "Pause the print",
    "RESUME": "Go on with the paused print",
    "CANCEL_PRINT": "Cancel the print",
}
"""Macros that clients look for.  Each says that it renames a command, so that no client shows it as a button."""

FIRMWARE_S: Final = "firmware"
"""Said of what only the firmware knows: its pins and sensors.  Clients that decode sections by type want a word."""
_MOTOR: Final[Fields] = {
    "step_pin": FIRMWARE_S,
    "dir_pin": FIRMWARE_S,
    "rotation_distance": 0,  # Marlin counts steps for each mm, and does not tell of microsteps
}
_HEATER: Final[Fields] = {
    "heater_pin": FIRMWARE_S,
    "sensor_pin": FIRMWARE_S,
    "sensor_type": FIRMWARE_S,
    "control": "pid",
    "min_temp": 0.0,
    "max_power": 1.0,
}


_PARAMETERS: Final = re.compile(r"\bparameters\.")
"""How scripts of ours may call what Klipper's call ``params``: front ends ask for those that they find by that word."""


def configfile_of(view: View) -> Fields:
    sections = sections_of(view)
    return {
        "config": {name: {key: text_of(value) for key, value in keys.items()} for name, keys in sections.items()},
        "settings": {name.lower(): keys for name, keys in sections.items()},
        "warnings": [],
        "save_config_pending": False,
        "save_config_pending_items": {},
    }


def sections_of(view: View) -> Mapping[str, Fields]:
    """Sections by name, with values of their types."""
    snapshot, profile = view.snapshot, view.profile
    bounds, reach = bounds_of(view.limits), reach_of(profile)
    sections: dict[str, Fields] = {
        "mcu": {},
        "printer": {
            "kinematics": "cartesian",  # whatever moves the toolhead, it is told places in X, Y and Z
            "max_velocity": bounds.velocity,
            "max_accel": bounds.acceleration,
            "max_z_velocity": bounds.z_velocity,
            "max_z_accel": bounds.z_acceleration,
            "minimum_cruise_ratio": 0.0,
            "square_corner_velocity": bounds.corner_velocity,
        },
    }
    for axis in "xyz":
        low, high = getattr(reach, f"{axis}_min"), getattr(reach, f"{axis}_max")
        sections[f"stepper_{axis}"] = _MOTOR | {"position_min": low, "position_max": high, "position_endstop": low}
    for name, heater in heaters_there(profile).items():
        heating = _HEATER | {"max_temp": profile.max_target(heater)}
        sections[name] = _MOTOR | heating | _of_extruder(view) if heater.startswith("tool") else heating
    for name in sensors_there(snapshot, profile):
        sections[name] = {"sensor_type": FIRMWARE_S, "min_temp": 0.0, "max_temp": profile.max_chamber}
    sections |= {
        "fan": {"pin": FIRMWARE_S, "max_power": 1.0, "off_below": 0.0},
        "virtual_sdcard": {"path": GCODES},
        "pause_resume": {},
        "display_status": {},
        "exclude_object": {},
        "idle_timeout": {"timeout": view.idle_s},
        "respond": {"default_type": "echo", "default_prefix": "echo:"},
    }
    return sections | _of_machine(snapshot) | macro_sections_of(view.macros)


def _of_extruder(view: View) -> Fields:
    profile = view.profile
    return {
        "nozzle_diameter": profile.nozzle_diameter,
        "filament_diameter": profile.filament_diameter,
        "min_extrude_temp": COLDEST_EXTRUSION,
        "max_extrude_only_distance": MAX_TRAVEL_MM,
        "max_extrude_only_velocity": COMMON.max_feedrate[3],
        "max_extrude_only_accel": COMMON.max_acceleration[3],
        "pressure_advance": 0.0,
        "pressure_advance_smooth_time": 0.0,
    }


def _of_machine(snapshot: Snapshot) -> dict[str, Fields]:
    """What only some machines have."""
    sections: dict[str, Fields] = {}
    retraction, mesh = snapshot.retraction, snapshot.mesh
    if retraction is not None:
        sections["firmware_retraction"] = {
            "retract_length": retraction.length,
            "retract_speed": retraction.speed_mm_s,
            "unretract_extra_length": retraction.extra_length,
            "unretract_speed": retraction.extra_speed_mm_s,
        }
    if has_mesh(snapshot):
        sections["bed_mesh"] = {} if mesh is None else {"mesh_min": [mesh.min_x, mesh.min_y]}
        if mesh is not None:
            sections["bed_mesh"]["mesh_max"] = [mesh.max_x, mesh.max_y]
            params = mesh_params_of(mesh)
            sections["bed_mesh"]["probe_count"] = [params["x_count"], params["y_count"]]
            sections[f"bed_mesh {MESH}"] = {"version": 1, "points": [list(row) for row in mesh.heights], **params}
    for name in filament_of(snapshot):
        sections[name] = {"pause_on_runout": True}
    return sections


def macro_sections_of(macros: Mapping[str, str]) -> dict[str, Fields]:
    """``gcode_macro`` sections: those that steer a print, and people's own (name → template)."""
    steering: dict[str, Fields] = {
        f"gcode_macro {name}": {"rename_existing": f"{name}_BASE", "description": words, "gcode": f"{name}_BASE"}
        for name, words in STEERING.items()
    }
    own = {
        f"gcode_macro {name}": {"description": "A script of this printer", "gcode": _PARAMETERS.sub("params.", text)}
        for name, text in macros.items()
        if name.upper() not in STEERING
    }
    return steering | own


def macros_of(macros: Mapping[str, str]) -> Status:
    """``gcode_macro`` objects, which have no variables."""
    return {name: {} for name in macro_sections_of(macros)}


def text_of(value: Any) -> str:
    """A value as it would stand in the file; rows of numbers are lines.

    >>> text_of(300.0), text_of(0.4), text_of(True), text_of([10.0, 20.5])
    ('300', '0.4', 'True', '10, 20.5')
    >>> text_of([[0.1, 0.0], [0.0, -0.25]])
    '\\n0.1, 0\\n0, -0.25'
    """
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "".join(f"\n{text_of(row)}" for row in value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    return ", ".join(map(text_of, value)) if isinstance(value, list) else str(value)
