"""``print_stats``, ``virtual_sdcard``, ``display_status``, ``idle_timeout``, ``pause_resume``."""

from typing import Final

from polyhost.core.job import RunState
from polyhost.dialects.moonraker.objects.view import GCODES, Fields, View

PROGRESS_TOLD_S: Final = 5.0
"""For how long what a file told of its progress (``M73``) is shown."""

STATES: Final = {
    RunState.STARTING: "printing",
    RunState.PRINTING: "printing",
    RunState.PAUSING: "paused",
    RunState.PAUSED: "paused",
    RunState.RESUMING: "printing",
    RunState.CANCELLING: "cancelled",
    RunState.FINISHING: "printing",
    RunState.COMPLETED: "complete",
    RunState.CANCELLED: "cancelled",
    RunState.FAILED: "error",
    RunState.INTERRUPTED: "error",
}
STANDBY: Final = "standby"


def state_of(view: View) -> RunState | None:
    """Of the run shown."""
    if view.progress is not None:
        return view.progress.state
    return None if view.run is None else view.run.state


def print_stats_of(view: View) -> Fields:
    """``print_stats``: what was reached stays until the next run, or until a client clears it.

    ``print_duration`` counts neither pauses nor the time before the first extrusion.
    """
    run, progress, state = view.run, view.progress, state_of(view)
    total, printed, filament, message = 0.0, 0.0, 0.0, ""
    layers: tuple[int | None, int | None] = (None, None)
    if progress is not None:
        total, printed, filament = progress.elapsed_s, progress.extruding_s or 0.0, progress.filament_mm
        message, layers = progress.reason, (progress.layers or None, progress.layer if progress.layers else None)
    elif run is not None:
        total, printed, filament, message = run.elapsed_s, run.printing_s, run.filament_mm or 0.0, run.reason
    return {
        "filename": "" if run is None else run.path,
        "total_duration": round(total, 3),
        "print_duration": round(printed, 3),
        "filament_used": round(filament, 3),
        "state": STANDBY if state is None else STATES[state],
        "message": message,
        "info": {
            "total_layer": layers[0] if view.layers[0] is None else view.layers[0],
            "current_layer": layers[1] if view.layers[1] is None else view.layers[1],
        },
    }


_READING: Final = frozenset({RunState.STARTING, RunState.PRINTING, RunState.RESUMING, RunState.FINISHING})
_LEFT: Final = frozenset({RunState.CANCELLING, RunState.CANCELLED})
_CLOSED: Final = frozenset({RunState.COMPLETED, *_LEFT})


def virtual_sdcard_of(view: View) -> Fields:
    """``virtual_sdcard``: bytes are those of the file, acknowledged by the machine; a cancelled file is closed."""
    run, progress, state = view.run, view.progress, state_of(view)
    at, size = 0, 0
    if state is None or state in _LEFT:
        pass
    elif progress is not None:
        at, size = progress.file_bytes, progress.size_bytes
    elif run is not None:
        at, size = run.file_bytes, run.size_bytes
    if state is RunState.COMPLETED:
        at = size
    path = None if run is None or state in _CLOSED else f"{GCODES}/{run.path}"
    done = 1.0 if state is RunState.COMPLETED else min(1.0, at / size) if size else 0.0
    return {
        "file_path": path,
        "progress": done,
        "is_active": state in _READING,
        "file_position": at,
        "file_size": size,
    }


def display_status_of(view: View) -> Fields:
    """``display_status``: for a while what the file says of its progress counts more than its bytes."""
    told, told_at = view.snapshot.told_progress, view.moments.progress_at
    fresh = told is not None and told_at is not None and view.now < told_at + PROGRESS_TOLD_S
    progress = told if fresh and view.run is not None else virtual_sdcard_of(view)["progress"]
    return {"progress": progress, "message": view.snapshot.message or None}


def idle_timeout_of(view: View) -> Fields:
    """``idle_timeout``: ``Printing`` is whatever it has to do."""
    busy_at = view.moments.busy_at
    if busy_at is not None:
        return _idle_timeout("Printing", view.now - busy_at, view)
    return _idle_timeout("Ready" if view.now < view.moments.active_at + view.idle_s else "Idle", 0.0, view)


def _idle_timeout(state: str, busy_s: float, view: View) -> Fields:
    return {"state": state, "printing_time": round(busy_s, 3), "idle_timeout": view.idle_s}


def pause_resume_of(view: View) -> Fields:
    return {"is_paused": state_of(view) in {RunState.PAUSING, RunState.PAUSED}}
