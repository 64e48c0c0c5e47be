"""Runs, and what wants them: `File` → `Set` → `Job` → `Queue`; a `Run` is one attempt at one file on one printer."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from polyhost.core.errors import NotNow

DEFAULT_PROFILE: Final = "_default"
"""The id of the profile that every printer has: that of its own settings."""


class RunState(Enum):
    STARTING = "starting"  # the script before the file
    PRINTING = "printing"
    PAUSING = "pausing"  # moves under way and the pause script
    PAUSED = "paused"
    RESUMING = "resuming"  # the resume script
    CANCELLING = "cancelling"  # the cancel script, heaters off
    FINISHING = "finishing"  # the last line is sent; its answer and the end script are awaited
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # its engine died; a person may resume it


class RunSignal(Enum):
    STARTED = "start"
    PAUSE = "pause"
    PAUSE_DONE = "finish pausing"
    RESUME = "resume"
    RESUME_DONE = "finish resuming"
    CANCEL = "cancel"
    CANCEL_DONE = "finish cancelling"
    END_OF_FILE = "reach the end of its file"
    FINISH_DONE = "finish"
    FAULT = "fail"
    ENGINE_DIED = "lose its engine"


_S, _G = RunState, RunSignal
_BROKEN: Final = {_G.FAULT: _S.FAILED, _G.ENGINE_DIED: _S.INTERRUPTED}

RUN: Final[Mapping[RunState, Mapping[RunSignal, RunState]]] = {
    _S.STARTING: {_G.STARTED: _S.PRINTING, _G.PAUSE: _S.PAUSING, _G.CANCEL: _S.CANCELLING, **_BROKEN},
    _S.PRINTING: {_G.PAUSE: _S.PAUSING, _G.CANCEL: _S.CANCELLING, _G.END_OF_FILE: _S.FINISHING, **_BROKEN},
    _S.PAUSING: {_G.PAUSE_DONE: _S.PAUSED, _G.RESUME: _S.RESUMING, _G.CANCEL: _S.CANCELLING, **_BROKEN},
    _S.PAUSED: {_G.RESUME: _S.RESUMING, _G.CANCEL: _S.CANCELLING, **_BROKEN},
    _S.RESUMING: {_G.RESUME_DONE: _S.PRINTING, _G.PAUSE: _S.PAUSING, _G.CANCEL: _S.CANCELLING, **_BROKEN},
    _S.CANCELLING: {_G.CANCEL_DONE: _S.CANCELLED, **_BROKEN},
    _S.FINISHING: {_G.FINISH_DONE: _S.COMPLETED, _G.CANCEL: _S.CANCELLING, **_BROKEN},
    _S.COMPLETED: {},
    _S.CANCELLED: {},
    _S.FAILED: {},
    _S.INTERRUPTED: {},
}

ENDED: Final = frozenset(state for state, ways in RUN.items() if not ways)


def advance(state: RunState, signal: RunSignal) -> RunState:
    """Where `signal` takes a run that is in `state`; `NotNow` if it takes it nowhere."""
    try:
        return RUN[state][signal]
    except KeyError:
        raise NotNow(f"a {state.value} run cannot {signal.value}") from None


class RunProgress(msgspec.Struct, frozen=True):
    """How far a run is, as its driver sees it.

    Bytes and lines are those the machine acknowledged.  `elapsed_s` counts since the start, `printing_s`
    leaves out the time paused; both on the monotonic clock.  `layer` counts from 1 and is 0 before the first.
    `layers` is 0 and `file_time_s` None until the analysis has been handed over; `file_time_s` is how much of
    the file's planned time lies behind.
    """

    run_id: str
    state: RunState
    file_bytes: int
    size_bytes: int
    lines: int = 0
    layer: int = 0
    layers: int = 0
    elapsed_s: float = 0.0
    printing_s: float = 0.0
    file_time_s: float | None = None
    reason: str = ""  # why it failed or was interrupted, in words for the owner
    filament_mm: float = 0.0  # pushed so far, less what was pulled back
    extruding_s: float | None = None  # `printing_s` since filament was pushed first; None before that
    excluded: tuple[str, ...] = ()  # objects that are left out from now on

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def fraction_done(self) -> float:
        """Of the file's bytes; 1 for an empty file that is done."""
        if self.size_bytes <= 0:
            return 1.0 if self.ended else 0.0
        return min(1.0, self.file_bytes / self.size_bytes)


class Run(msgspec.Struct, frozen=True):
    """One attempt at one file on one printer: a line of the history.  Times are seconds since the epoch.

    With `on_card` the file is the one called `path` on the printer's own card; its hash is "", its content unknown.
    """

    id: str
    printer: str
    path: str  # in the library, when it started
    file_sha256: str
    size_bytes: int
    state: RunState
    by: str  # the user's name
    started_at: float
    ended_at: float | None = None
    elapsed_s: float = 0.0
    printing_s: float = 0.0
    file_bytes: int = 0
    filament_mm: float | None = None
    reason: str = ""
    resumed_from: str = ""  # the interrupted run that this one continues
    on_card: bool = False
    profile: str = DEFAULT_PROFILE  # the id of the printer's profile then
    ordinal: int = 0  # the how-manieth of its printer it is, from 1; given when it is written, never given again
    extruding_s: float | None = None  # as in `RunProgress`; None too where nobody counted it
    job: str = ""  # the id of the queued job that it was started for

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def drawing_s(self) -> float:
        """How long it drew: since filament was pushed first, or, of a completed run where nobody counted, all of it."""
        if self.extruding_s is None:
            return self.printing_s if self.state is RunState.COMPLETED else 0.0
        return self.extruding_s


class Totals(msgspec.Struct, frozen=True):
    """What the runs of a printer that ended come to, since they were counted anew; deleted ones still count."""

    runs: int = 0
    elapsed_s: float = 0.0
    drawing_s: float = 0.0
    filament_mm: float = 0.0
    longest_s: float = 0.0
    longest_drawing_s: float = 0.0


class Times(msgspec.Struct, frozen=True):
    """How long the completed runs of one file's content with one profile took, by their `printing_s`."""

    runs: int
    average_s: float
    last_s: float  # of the one that was started last


class Prints(msgspec.Struct, frozen=True):
    """How the runs of one file's content went: how many were completed, how many ended otherwise.

    `last` is the one that was started last.  `times` are by the id of the profile that the run was made with.
    """

    success: int = 0
    failure: int = 0
    last: Run | None = None
    times: Mapping[str, Times] = {}


class Set(msgspec.Struct, frozen=True):
    """A file, times a count, with what a printer must offer to take it."""

    path: str
    count: int = 1
    done: int = 0
    printers: tuple[str, ...] = ()  # slugs; none: any
    materials: tuple[str, ...] = ()

    @property
    def remaining(self) -> int:
        return max(0, self.count - self.done)


class Job(msgspec.Struct, frozen=True):
    """Sets wanted together, times a count.  `added_at` is seconds since the epoch, `by` the name of who added it."""

    id: str
    name: str
    sets: tuple[Set, ...] = ()
    count: int = 1
    done: int = 0
    by: str = ""
    added_at: float = 0.0

    @property
    def remaining(self) -> int:
        return max(0, self.count - self.done)

    @property
    def path(self) -> str:
        """Of the file that is its turn; "" when everything is done."""
        return next((one.path for one in self.sets if one.remaining), "")


class QueueState(Enum):
    PAUSED = "paused"  # nothing is started until a person starts it
    READY = "ready"  # the first job is started when the run going on is completed
    LOADING = "loading"  # the first job is about to be started
    STARTING = "starting"  # its printer is being told


class Queue(msgspec.Struct, frozen=True):
    """Jobs in order.  `printer` is the slug of the one that they are for, "" for any."""

    name: str
    printer: str = ""
    jobs: tuple[Job, ...] = ()
