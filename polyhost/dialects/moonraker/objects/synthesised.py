"""The status of a machine that has never met Klipper, made of what its driver and this host know.

What only a person changes is made anew when somebody did, what the machine changes when it said something, and the
rest, which is a clock, each time.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from polyhost.core.errors import NotFound
from polyhost.core.file import NamedObject
from polyhost.core.job import Run, RunProgress
from polyhost.core.printer import MotionLimits, Position, PrinterState, Snapshot
from polyhost.dialects.moonraker.objects import machine, status
from polyhost.dialects.moonraker.objects.tree import Selection
from polyhost.dialects.moonraker.objects.view import NO_FILE, Computer, Moments, RunFile, Status, View
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.services.scripts import GcodeScripts

_STILL_S: Final = 0.75  # without a report of another place, it stands
_COMPUTER_S: Final = 1.0
_LONGEST_RETRACTION_MM: Final = 20.0


@dataclass(frozen=True, slots=True)
class Understood:
    """Commands by name, with their help ("": they need none), and a person's own macros, with what they are made of."""

    commands: Mapping[str, str]
    macros: Mapping[str, str]


class ComputerStats:
    """How the computer is, looked at once a second for all printers."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._seen = Computer()

    def at(self, now: float) -> Computer:
        if now >= self._at + _COMPUTER_S:
            self._at = now
            load = os.getloadavg()[0]
            self._seen = Computer(round(load, 2), round(time.process_time(), 3), machine.free_memory_kb())
        return self._seen


@dataclass(slots=True)
class Told:
    """What clients told of a print, which the machine need not know."""

    cleared: str = ""  # the run that is shown no more (``SDCARD_RESET_FILE``)
    layers_of: str = ""  # the run that `layers` are of (``SET_PRINT_STATS_INFO``)
    layers: tuple[int | None, int | None] = (None, None)
    endstops: dict[str, str] | None = None  # as the machine said last


class Synthesised:
    """`source.Source` of one printer."""

    def __init__(
        self,
        host: Host,
        p: Printer,
        computer: ComputerStats,
        understood: Callable[[Host, Printer], Understood],
        began_at: float,
    ) -> None:
        """`began_at`: runs that ended before that are history, in seconds since the epoch."""
        self.told = Told()
        self._host = host
        self._printer = p
        self._computer = computer
        self._understood = understood
        self._working = 0
        self._began_at = began_at
        self._noted_at = -math.inf
        self._moments = Moments(active_at=host.clock.monotonic())
        self._position = Position()
        self._targets: tuple[float | None, ...] = ()
        self._progress: float | None = None
        self._limits = MotionLimits()
        self._measured: dict[str, tuple[float, float]] = {}
        self._file: tuple[object, RunFile] = (None, NO_FILE)
        self._knows: tuple[object, Understood] = (None, Understood({}, {}))
        self._made: dict[str, tuple[object, Status]] = {}
        self._shape: frozenset[str] = frozenset()

    async def names(self) -> Sequence[str]:
        _, found = await self.look(())
        return list(found)

    async def follow(self, wanted: Selection) -> None:
        pass  # all of it is at hand

    def version(self) -> object:
        p, told = self._printer, self.told
        shown = (told.cleared, told.layers, told.endstops, self._working)
        return p.snapshot, p.run, p.profile, self._scripts(), shown

    def shape(self) -> object:
        return self._shape

    def _scripts(self) -> GcodeScripts:
        return self._host.preferences.get(GcodeScripts, self._printer.slug)

    async def look(self, wanted: Selection) -> tuple[float, Status]:
        await self._read_file()
        view = self._view()
        found = self._status(view)
        self._shape = frozenset(found)
        return view.now, found

    # What clients tell

    @contextmanager
    def working(self) -> Iterator[None]:
        """While this lasts it has something to do: somebody's commands."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    # What is shown

    def shown_run(self) -> tuple[Run | None, RunProgress | None]:
        """The run that is going on, or ended since this host began, unless a client cleared it."""
        run, progress = self._printer.run, self._printer.snapshot.run
        if run is None or run.id == self.told.cleared:
            return None, None
        live = progress if progress is not None and progress.run_id == run.id else None
        recent = not run.ended or live is not None or (run.ended_at or 0.0) >= self._began_at
        return (run, live) if recent else (None, None)

    def clear(self) -> None:
        """Show the last run no more; one that is going on stays."""
        run = self._printer.run
        if run is not None and self._printer.run_state is None:
            self.told.cleared = run.id

    def set_layers(self, total: int | None, current: int | None) -> None:
        """What a client says of the layers of the run going on."""
        run = self._printer.run
        if run is None or run.ended:
            return
        before = self.told.layers if self.told.layers_of == run.id else (None, None)
        self.told.layers_of = run.id
        self.told.layers = (before[0] if total is None else total, before[1] if current is None else current)

    async def objects(self) -> Sequence[NamedObject]:
        """Those of the run that is shown; none before its file is read."""
        await self._read_file()
        return self._file[1].objects

    async def _read_file(self) -> None:
        """The objects of the run's file, once they are known."""
        run, _ = self.shown_run()
        if run is None or run.on_card:
            self._file = (None, NO_FILE)
            return
        if self._file[0] == run.id:
            return
        try:
            file = self._host.files.get(run.path)
            if file.analysis is None or file.sha256 != run.file_sha256:
                self._file = (None, NO_FILE)
                return
            analysis = await self._host.files.analysis(run.path)
        except NotFound:
            self._file = (run.id, NO_FILE)
            return
        self._file = (run.id, NO_FILE if analysis is None else RunFile(analysis.objects))

    # Making it

    def _view(self) -> View:
        p, now = self._printer, self._host.clock.monotonic()
        self._note(now)
        run, progress = self.shown_run()
        knows = self._known()
        layers = self.told.layers if run is not None and self.told.layers_of == run.id else (None, None)
        return View(
            name=p.name,
            snapshot=p.snapshot,
            profile=p.profile,
            now=now,
            run=run,
            progress=progress,
            file=self._file[1],
            moments=self._moments,
            idle_s=self._host.config.safety.idle_off_s,
            commands=knows.commands,
            macros=knows.macros,
            endstops=self.told.endstops or {},
            limits=self._limits,
            measured=self._measured,
            layers=layers,
        )

    def _known(self) -> Understood:
        """What is understood, put together anew when the firmware, the machine's shape or its scripts are others."""
        p = self._printer
        made_of = (p.profile, p.snapshot.firmware, self._scripts())
        if self._knows[0] != made_of:
            self._knows = made_of, self._understood(self._host, p)
        return self._knows[1]

    def _note(self, now: float) -> None:
        """What happened since the last look."""
        p, was = self._printer, self._moments
        snapshot = p.snapshot
        ready = snapshot.state is PrinterState.READY
        busy = ready and (p.is_moving or self._working > 0)
        targets = tuple(heater.target for heater in snapshot.heaters.values())
        moved = snapshot.position != self._position
        changes: dict[str, Any] = {}
        if ready != (was.ready_at is not None):
            changes["ready_at"] = now if ready else None
        if busy != (was.busy_at is not None):
            changes["busy_at"] = max(self._noted_at, now - _running_s(snapshot)) if busy else None
        if busy or was.busy_at is not None or moved or targets != self._targets or "ready_at" in changes:
            changes["active_at"] = now
        if snapshot.told_progress != self._progress:
            changes["progress_at"] = now
        if moved:
            changes |= _velocities(self._position, snapshot.position, now - was.moved_at) | {"moved_at": now}
        elif (was.velocity or was.extruder_velocity) and now > was.moved_at + _STILL_S:
            changes |= {"velocity": 0.0, "extruder_velocity": 0.0}
        self._measured = _widened(self._measured, snapshot) if ready else {}
        if not ready:
            self._limits = MotionLimits()
        elif None in msgspec.structs.astuple(self._limits):
            self._limits = _known_first(self._limits, snapshot.limits)
        self._noted_at = now
        self._position, self._targets, self._progress = snapshot.position, targets, snapshot.told_progress
        if changes:
            self._moments = replace(was, **changes)

    def _status(self, view: View) -> Status:
        snapshot = view.snapshot
        shape = (
            view.profile,
            *(view.limits, snapshot.retraction, snapshot.mesh, snapshot.firmware),
            *(tuple(snapshot.heaters), tuple(snapshot.filament), view.idle_s, view.commands, view.macros),
        )
        machine_said = (
            *(snapshot, view.name, view.profile, view.run, view.file, view.layers, view.endstops),
            *(view.moments.busy_at, view.commands),
        )
        return (
            self._kept("shape", shape, view, status.of_shape)
            | self._kept("machine", machine_said, view, status.of_machine)
            | status.of_clock(view)
            | self._kept_computer(view.now)
        )

    def _kept(self, part: str, made_of: object, view: View, make: Any) -> Status:
        kept = self._made.get(part)
        if kept is not None and kept[0] == made_of:
            return kept[1]
        made: Status = make(view)
        self._made[part] = (made_of, made)
        return made

    def _kept_computer(self, now: float) -> Status:
        computer = self._computer.at(now)
        kept = self._made.get("computer")
        if kept is None or kept[0] is not computer:
            kept = self._made["computer"] = (computer, {"system_stats": machine.system_stats_of(computer)})
        return kept[1]


def _known_first(first: MotionLimits, now: MotionLimits) -> MotionLimits:
    """`first`, with what only `now` knows."""
    news = {name: getattr(now, name) for name in MotionLimits.__struct_fields__ if getattr(first, name) is None}
    return msgspec.structs.replace(first, **news)


def _widened(measured: dict[str, tuple[float, float]], snapshot: Snapshot) -> dict[str, tuple[float, float]]:
    """The coldest and the hottest that each was, now that it is as in `snapshot`."""
    for name, heater in snapshot.heaters.items():
        if heater.actual is not None:
            now = round(heater.actual, 2)
            least, most = measured.get(name, (now, now))
            if not least <= now <= most or name not in measured:
                measured = measured | {name: (min(least, now), max(most, now))}
    return measured


def _running_s(snapshot: Snapshot) -> float:
    """For how long a run has gone on, which nobody may have looked at yet."""
    return snapshot.run.elapsed_s if snapshot.run is not None and not snapshot.run.ended else 0.0


def _velocities(before: Position, after: Position, seconds: float) -> dict[str, float]:
    """How fast it went from one place to the next; nothing can be said of a place that is the first for long."""
    if not 0.0 < seconds <= _STILL_S * 2:
        return {"velocity": 0.0, "extruder_velocity": 0.0}
    way = math.dist(
        [before.x or 0.0, before.y or 0.0, before.z or 0.0], [after.x or 0.0, after.y or 0.0, after.z or 0.0]
    )
    pushed = (after.e or 0.0) - (before.e or 0.0)
    if pushed < -_LONGEST_RETRACTION_MM:
        pushed = 0.0  # its count began anew (``G92 E0``)
    return {"velocity": way / seconds, "extruder_velocity": pushed / seconds}
