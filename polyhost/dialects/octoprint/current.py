"""``history`` and ``current``: what a printer is now, as it is told to those who listen.

Upstream: OctoPrint 1.11, docs/api/push.rst.  Of the console upstream repeats everything; here one message has the last
300 lines at the most, which is what a page shows, for what is told is told twice a second to everybody.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.card import CardTransfer
from polyhost.core.events import ConsoleLine
from polyhost.core.job import Run, RunState
from polyhost.core.printer import PrinterState, TemperatureSample
from polyhost.dialects.octoprint.card import card_path
from polyhost.dialects.octoprint.job import Job, Progress, job_state_of
from polyhost.dialects.octoprint.messages import Message, merged
from polyhost.dialects.octoprint.states import State, state_of
from polyhost.dialects.octoprint.subscriptions import Lines, StateWish
from polyhost.dialects.octoprint.temperatures import History, PastReading, history_of
from polyhost.services.history import Mark
from polyhost.services.host import Host
from polyhost.services.printer import Printer

MAX_LINES: Final = 300
MARKED_FOR_S: Final = 1800.0
MARKS: Final = {
    PrinterState.READY: ("connected", "Connected"),
    PrinterState.OFFLINE: ("disconnected", "Disconnected"),
    PrinterState.UNREACHABLE: ("disconnected", "Disconnected"),
    PrinterState.FAULTED: ("disconnected", "Disconnected"),
    RunState.STARTING: ("print", "Start"),
    RunState.PAUSED: ("pause", "Pause"),
    RunState.RESUMING: ("resume", "Resume"),
    RunState.CANCELLED: ("cancel", "Cancel"),
    RunState.COMPLETED: ("done", "Done"),
}

_json: Final = msgspec.json.Encoder()


class Resends(msgspec.Struct):
    """`ratio` in whole percent."""

    count: int
    transmitted: int
    ratio: int


class Marking(msgspec.Struct):
    type: str
    label: str
    time: float


class Busy(msgspec.Struct):
    origin: str
    path: str


class Common(msgspec.Struct, rename="camel"):
    """What everybody who listens to a printer is told at one moment."""

    state: State
    job: Job
    progress: Progress
    offsets: dict[str, float]
    resends: Resends
    markings: list[Marking]
    busy_files: list[Busy]
    server_time: float
    current_z: float | None = msgspec.field(name="currentZ")
    plugins: dict[str, Any] = {}


class Own(msgspec.Struct):
    """What depends on what a client has heard already, and on what it wants and may hear."""

    temps: list[History]
    logs: list[str] | UnsetType = UNSET
    messages: list[str] | UnsetType = UNSET


class Heard(msgspec.Struct, frozen=True):
    """How many samples and lines there were when a client was told last."""

    samples: int = 0
    lines: int = 0


def heard_now(printer: Printer) -> Heard:
    return Heard(printer.temperatures.count, printer.console.count)


def common_of(host: Host, printer: Printer) -> bytes:
    """`Common`, encoded; costs the same however many listen."""
    told = job_state_of(host, printer)
    snapshot = printer.snapshot
    sent, resends = snapshot.lines_sent, snapshot.resends
    now = host.clock.now()
    run = host.runs.current(printer)
    return _json.encode(
        Common(
            state=state_of(printer),
            job=told.job,
            progress=told.progress,
            offsets={heater: celsius for heater, celsius in snapshot.offsets.items() if celsius},
            resends=Resends(resends, sent, resends * 100 // sent if sent else 0),
            markings=markings_of(printer.marks.since(now - MARKED_FOR_S)),
            busy_files=busy_files_of(run, printer.transfer),
            server_time=now,
            current_z=None if run is None else snapshot.position.z,
        )
    )


def busy_files_of(run: Run | None, transfer: CardTransfer | None) -> list[Busy]:
    """The files that may not be touched now."""
    if transfer is not None:
        return [Busy("local", transfer.path), Busy("sdcard", card_path(transfer.name))]
    if run is None:
        return []
    return [Busy("sdcard", card_path(run.path)) if run.on_card else Busy("local", run.path)]


def markings_of(marks: Sequence[Mark]) -> list[Marking]:
    told = ((mark.at, MARKS.get(mark.state)) for mark in marks)
    return [Marking(*words, at) for at, words in told if words is not None]


def history(common: bytes, printer: Printer, wish: StateWish, *, terminal: bool) -> Message:
    """All that is kept: half an hour of temperatures, and 300 lines of the console for who may see the `terminal`."""
    lines = printer.console.since(0, MAX_LINES)
    return merged("history", common, _own(printer, printer.temperatures.samples(), lines, wish, terminal), "history")


def current(common: bytes, printer: Printer, heard: Heard, wish: StateWish, *, terminal: bool) -> Message:
    """What is new since `heard`."""
    samples = printer.temperatures.samples(printer.temperatures.count - heard.samples)
    lines = printer.console.since(heard.lines, MAX_LINES)
    return merged("current", common, _own(printer, samples, lines, wish, terminal), "current")


def _own(
    printer: Printer,
    samples: Sequence[TemperatureSample],
    lines: Sequence[ConsoleLine],
    wish: StateWish,
    terminal: bool,
) -> bytes:
    points = history_of(samples, None, printer.profile)
    for point in points:
        point.setdefault("chamber", PastReading(None, None))  # upstream's pages plot it where there is none, too
    own = Own(points)
    if terminal:
        own.logs = picked(wish.logs, (f"{'Send' if line.sent else 'Recv'}: {line.text}" for line in lines))
        own.messages = picked(wish.messages, (line.text for line in lines if not line.sent))
    return _json.encode(own)


def picked(wanted: Lines, lines: Any) -> list[str]:
    """Those of `lines` that are wanted: all, none, or those in which a pattern is found."""
    if wanted is False:
        return []
    if wanted is True:
        return list(lines)
    return [line for line in lines if wanted.is_in(line)]
