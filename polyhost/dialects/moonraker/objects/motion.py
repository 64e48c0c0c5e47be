"""``toolhead``, ``gcode_move``, ``motion_report``, ``stepper_enable``, ``bed_mesh``, ``firmware_retraction``."""

from typing import Final

import msgspec

from polyhost.core.printer import BedMesh, MotionLimits, Position, PrinterProfile, Reach, Retraction, Snapshot
from polyhost.core.units import mm_min_from_mm_s
from polyhost.dialects.moonraker.objects.heaters import extruder_called
from polyhost.dialects.moonraker.objects.view import Fields, View, known
from polyhost.gcode.limits import Limits

COMMON: Final = Limits()
"""What is reckoned with where a machine does not say how fast it may move, as when files are timed."""
MESH: Final = "default"


class Bounds(msgspec.Struct, frozen=True):
    """How fast the machine may move: mm/s and mm/s²."""

    velocity: float
    acceleration: float
    z_velocity: float
    z_acceleration: float
    corner_velocity: float


def bounds_of(limits: MotionLimits) -> Bounds:
    """What the machine said of itself, and what is common for the rest."""
    return Bounds(
        limits.velocity or max(COMMON.max_feedrate[:2]),
        limits.acceleration or COMMON.acceleration,
        limits.z_velocity or COMMON.max_feedrate[2],
        limits.z_acceleration or COMMON.max_acceleration[2],
        limits.corner_velocity or max(COMMON.jerk[:2]),
    )


def reach_of(profile: PrinterProfile) -> Reach:
    return profile.custom_box or profile.volume()


def toolhead_of(view: View) -> Fields:
    """``toolhead``.  Its clock, ``estimated_print_time``, counts from when the firmware answered."""
    snapshot, moments = view.snapshot, view.moments
    reach, bounds = reach_of(view.profile), bounds_of(snapshot.limits)
    since = view.now if moments.ready_at is None else moments.ready_at
    return {
        "homed_axes": snapshot.homed,
        "axis_minimum": [reach.x_min, reach.y_min, reach.z_min, 0.0],
        "axis_maximum": [reach.x_max, reach.y_max, reach.z_max, 0.0],
        "print_time": round(max(0.0, moments.moved_at - since), 3),
        "stalls": 0,  # Marlin does not tell when it had nothing to do
        "estimated_print_time": round(view.now - since, 3),
        "extruder": extruder_called(0 if view.profile.shared_nozzle else snapshot.tool),
        "position": position_of(snapshot),
        "max_velocity": bounds.velocity,
        "max_accel": bounds.acceleration,
        "minimum_cruise_ratio": 0.0,  # Marlin reaches the commanded speed wherever the way is long enough
        "square_corner_velocity": bounds.corner_velocity,
        "extra_axes": {},
        "status": "Printing" if moments.busy_at is not None else "Ready",
    }


def position_of(snapshot: Snapshot) -> list[float]:
    """Where the nozzle is: what the firmware calls its place, moved by the babysteps."""
    x, y, z, e = told_position_of(snapshot.position)
    return [x, y, round(z + snapshot.z_offset, 4), e]


def told_position_of(place: Position) -> list[float]:
    """Where G-code put it."""
    return [round(known(mm), 4) for mm in (place.x, place.y, place.z, place.e)]


def gcode_move_of(snapshot: Snapshot) -> Fields:
    """``gcode_move``: how G-code is read now; `speed` is the last F, in mm/min."""
    return {
        "speed_factor": snapshot.feedrate_factor,
        "speed": round(mm_min_from_mm_s(snapshot.feedrate_mm_s), 3),
        "extrude_factor": snapshot.flow_factor,
        "absolute_coordinates": snapshot.absolute,
        "absolute_extrude": snapshot.absolute_e,
        "homing_origin": [0.0, 0.0, snapshot.z_offset, 0.0],
        "position": position_of(snapshot),
        "gcode_position": told_position_of(snapshot.position),
        "axis_map": {"X": 0, "Y": 1, "Z": 2, "E": 3},
    }


def motion_report_of(view: View) -> Fields:
    """``motion_report``: how it moves, as far as its reports of where it is show that."""
    extruders = _extruders_of(view)
    return {
        "live_position": position_of(view.snapshot),
        "live_velocity": round(view.moments.velocity, 2),
        "live_extruder_velocity": round(view.moments.extruder_velocity, 3),
        "steppers": [*extruders, "stepper_x", "stepper_y", "stepper_z"],
        "trapq": [*extruders, "toolhead"],
    }


def stepper_enable_of(view: View) -> Fields:
    """``stepper_enable``: what is homed is held by its motor, and nothing else is known to be.

    Extruders are let go with the axes: clients offer to let go of motors as long as one is not said to be off.
    """
    homed = view.snapshot.homed
    axes = {f"stepper_{axis}": axis in homed for axis in "xyz"}
    return {"steppers": dict.fromkeys(_extruders_of(view), bool(homed)) | axes}


def _extruders_of(view: View) -> list[str]:
    return [extruder_called(n) for n in range(1 if view.profile.shared_nozzle else view.profile.extruders)]


def firmware_retraction_of(retraction: Retraction) -> Fields:
    return {
        "retract_length": retraction.length,
        "retract_speed": retraction.speed_mm_s,
        "unretract_extra_length": retraction.extra_length,
        "unretract_speed": retraction.extra_speed_mm_s,
        "z_hop_height": retraction.lift,
    }


def bed_mesh_of(mesh: BedMesh | None) -> Fields:
    """``bed_mesh``: the machine keeps one mesh, which is called ``default``; none is reported as empty."""
    if mesh is None:
        return {
            "profile_name": "",
            "mesh_min": [0.0, 0.0],
            "mesh_max": [0.0, 0.0],
            "probed_matrix": [[]],
            "mesh_matrix": [[]],
            "profiles": {},
        }
    rows = [list(row) for row in mesh.heights]
    used = {
        "profile_name": MESH,
        "mesh_min": [mesh.min_x, mesh.min_y],
        "mesh_max": [mesh.max_x, mesh.max_y],
        "probed_matrix": rows,
        "mesh_matrix": rows,
    }
    shown = used if mesh.used else {name: bed_mesh_of(None)[name] for name in used}
    return shown | {"profiles": {MESH: {"points": rows, "mesh_params": mesh_params_of(mesh)}}}


def mesh_params_of(mesh: BedMesh) -> Fields:
    return {
        "min_x": mesh.min_x,
        "max_x": mesh.max_x,
        "min_y": mesh.min_y,
        "max_y": mesh.max_y,
        "x_count": len(mesh.heights[0]) if mesh.heights else 0,
        "y_count": len(mesh.heights),
        "mesh_x_pps": 0,
        "mesh_y_pps": 0,
        "algo": "direct",
        "tension": 0.2,
    }


def has_mesh(snapshot: Snapshot) -> bool:
    """Whether the machine levels by a mesh: it told of one, or that it can."""
    return snapshot.mesh is not None or snapshot.firmware.capabilities.get("AUTOLEVEL", False)
