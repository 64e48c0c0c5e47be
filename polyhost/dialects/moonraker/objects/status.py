"""All objects of a printer, by what changes them."""

from polyhost.dialects.moonraker.objects import configfile, excluding, heaters, machine, motion, printing
from polyhost.dialects.moonraker.objects.view import Status, View


def of_shape(view: View) -> Status:
    """What only another shape of the machine changes, or another configuration."""
    snapshot = view.snapshot
    status: Status = {
        "configfile": configfile.configfile_of(view),
        "heaters": heaters.heaters_of(snapshot, view.profile),
        **configfile.macros_of(view.macros),
    }
    if snapshot.retraction is not None:
        status["firmware_retraction"] = motion.firmware_retraction_of(snapshot.retraction)
    if motion.has_mesh(snapshot):
        status["bed_mesh"] = motion.bed_mesh_of(snapshot.mesh)
    return status


def of_machine(view: View) -> Status:
    """What the machine changes."""
    snapshot = view.snapshot
    return {
        "webhooks": machine.webhooks_of(view),
        "gcode": machine.gcode_of(view),
        "mcu": machine.mcu_of(snapshot),
        **heaters.temperatures_of(view),
        "fan": heaters.fan_of(snapshot),
        **heaters.filament_of(snapshot),
        "gcode_move": motion.gcode_move_of(snapshot),
        "stepper_enable": motion.stepper_enable_of(view),
        "query_endstops": machine.query_endstops_of(view),
        "virtual_sdcard": printing.virtual_sdcard_of(view),
        "print_stats": printing.print_stats_of(view),
        "pause_resume": printing.pause_resume_of(view),
        "exclude_object": excluding.exclude_object_of(view),
    }


def of_clock(view: View) -> Status:
    """What time changes."""
    return {
        "toolhead": motion.toolhead_of(view),
        "motion_report": motion.motion_report_of(view),
        "display_status": printing.display_status_of(view),
        "idle_timeout": printing.idle_timeout_of(view),
    }
