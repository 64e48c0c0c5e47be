"""``webhooks``, ``mcu``, ``system_stats``, ``gcode``, ``query_endstops``: the machine, and what stands between."""

from pathlib import Path
from typing import Final

from polyhost.core.printer import PrinterState, Snapshot
from polyhost.dialects.moonraker.objects.motion import told_position_of
from polyhost.dialects.moonraker.objects.view import Computer, Fields, View

READY: Final = "Printer is ready"
STATES: Final = {
    PrinterState.OFFLINE: "error",
    PrinterState.DETECTING: "startup",
    PrinterState.CONNECTING: "startup",
    PrinterState.READY: "ready",
    PrinterState.UNREACHABLE: "error",
    PrinterState.FAULTED: "shutdown",
}
_AGAIN: Final = "FIRMWARE_RESTART connects to it"


def state_message_of(name: str, snapshot: Snapshot) -> str:
    """How the machine is, and what brings it back: never empty, since clients take it apart."""
    match snapshot.state:
        case PrinterState.READY:
            return READY
        case PrinterState.DETECTING | PrinterState.CONNECTING:
            return f"{name} is being connected to"
        case PrinterState.OFFLINE:
            return f"{name} is not connected.\n{_AGAIN}."
        case PrinterState.UNREACHABLE:
            return (
                f"{name} is out of reach: {snapshot.fault or 'its link is gone'}\n{_AGAIN} at once; it is tried again."
            )
        case PrinterState.FAULTED:
            return f"{name} has stopped: {snapshot.fault or 'its firmware reported a fault'}\n{_AGAIN} again."


def webhooks_of(view: View) -> Fields:
    return {"state": STATES[view.snapshot.state], "state_message": state_message_of(view.name, view.snapshot)}


def mcu_of(snapshot: Snapshot) -> Fields:
    """``mcu``: what clients chart of a board.  Marlin tells nothing of its load, and lines count where bytes would."""
    firmware, sent = snapshot.firmware, snapshot.lines_sent
    return {
        "mcu_version": firmware.name,
        "mcu_build_versions": firmware.machine,
        "mcu_constants": {},
        "last_stats": {
            "mcu_awake": 0.0,
            "mcu_task_avg": 0.0,
            "mcu_task_stddev": 0.0,
            "bytes_write": sent,
            "bytes_read": sent,
            "bytes_retransmit": snapshot.resends,
            "bytes_invalid": 0,
            "send_seq": sent,
            "receive_seq": sent,
            "retransmit_seq": snapshot.resends,
            "srtt": 0.0,
            "rttvar": 0.0,
            "rto": 0.0,
            "ready_bytes": 0,
            "upcoming_bytes": 0,
            "freq": snapshot.baud,
        },
    }


def system_stats_of(computer: Computer) -> Fields:
    return {"sysload": computer.load, "cputime": computer.cpu_s, "memavail": computer.free_kb}


def gcode_of(view: View) -> Fields:
    """``gcode``: the commands that are understood; `busy` and `gcode_position` are the early document's."""
    return {
        "commands": {name: {"help": words} if words else {} for name, words in view.commands.items()},
        "busy": view.moments.busy_at is not None,
        "gcode_position": told_position_of(view.snapshot.position),
    }


def query_endstops_of(view: View) -> Fields:
    """``query_endstops``: as they were when somebody asked last."""
    return {"last_query": {name: int(said == "TRIGGERED") for name, said in view.endstops.items()}}


def free_memory_kb(meminfo: Path = Path("/proc/meminfo")) -> int:
    """0 where the system does not tell."""
    try:
        with meminfo.open("rb") as lines:
            for line in lines:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
