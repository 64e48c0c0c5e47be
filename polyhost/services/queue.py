"""Queues: what is to be printed next, in order, and whether it may begin.

A queue is in the database before anybody is told of a change (R6, R7).  Whether it may begin is not: a person starts
it, and after a restart, an outage, a failure or a cancel it is paused until a person starts it again (R10).  With
``queue.automatic`` a queue that was started goes on by itself behind a run that was completed, and behind nothing else.

The run of a job carries the job's id, so a server that ends between the start and the queue's next writing knows at
its own start that the job is not waiting any more: a job is started once.  Here a printer has one queue, called as it
is, and a job is one file; what is stored has room for more.
"""

import asyncio
import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from polyhost import config
from polyhost.core.errors import LinkLost, Malformed, NotAllowed, NotFound, NotNow, PolyhostError
from polyhost.core.events import (
    FileMoved,
    PrinterRemoved,
    PrinterStateChanged,
    QueueChanged,
    RightsChanged,
    RunEnded,
)
from polyhost.core.file import is_gcode
from polyhost.core.job import Job, Queue, QueueState, Run, RunState, Set
from polyhost.core.ports import Clock, QueueRecords
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.files import Files
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.runs import Runs
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)

MAX_JOBS: Final = 1000
_MOST_MOVED: Final = 1 << 17  # files of a folder that is moved, told of at once


class _Line:
    """A queue, and whether it goes on.  `by` started it; `held` is that a person, or what went wrong, stopped it."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.state = QueueState.PAUSED
        self.reason = ""
        self.by: Caller | None = None
        self.held = bool(queue.jobs)
        self.loading = False
        self.changing = asyncio.Lock()


class Queues:
    """`run` loads jobs, and hears what stops a queue."""

    def __init__(
        self,
        settings: config.Queue,
        records: QueueRecords,
        runs: Runs,
        printers: Printers,
        files: Files,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._records = records
        self._runs = runs
        self._printers = printers
        self._files = files
        self._bus = bus
        self._clock = clock
        self._wake = asyncio.Event()  # a job is to be loaded
        self._lines = {queue.printer: _Line(queue) for queue in records.load_queues()}

    async def run(self) -> None:
        kinds = (RunEnded, PrinterStateChanged, PrinterRemoved, FileMoved, RightsChanged)
        with self._bus.listen(*kinds, bound=_MOST_MOVED) as listener:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._load_what_is_due(group), name="jobs that are due")
                async for notice in listener:
                    match notice:
                        case RunEnded(_, run):
                            self._run_ended(run)
                        case PrinterStateChanged(slug):
                            self._printer_changed(slug)
                        case FileMoved(path, to):
                            await self._follow(path, to)
                        case PrinterRemoved(slug):
                            self._lines.pop(slug, None)
                        case RightsChanged(user, reason) if reason != "stale":
                            self._stop_what_is_of(user)
                        case _:
                            pass

    # Looking

    def of(self, p: Printer) -> Queue:
        return self._line(p).queue

    def state(self, p: Printer) -> QueueState:
        return self._line(p).state

    def reason(self, p: Printer) -> str:
        """Why it is paused, where no person paused it; "" otherwise."""
        return self._line(p).reason

    # Changing

    async def add(self, p: Printer, paths: Sequence[str], by: Caller, *, replace: bool = False) -> tuple[Job, ...]:
        """Add a job for each of `paths`, in the place of all there are if `replace`; the new jobs.

        A path that comes twice is printed twice.  `Malformed` when one of them is no G-code of the library: none is
        added then.  With ``queue.automatic``, a queue that was empty goes on behind the run that is going on.
        """
        _needs(by, p)
        jobs = tuple(self._job(path, by) for path in paths)

        async def add() -> None:
            line = self._line(p)
            async with line.changing:
                before = () if replace else line.queue.jobs
                if len(before) + len(jobs) > MAX_JOBS:
                    raise NotNow(f"the queue of {p.slug} has {len(before)} jobs; {MAX_JOBS} is the limit")
                was_empty = not line.queue.jobs
                await self._keep(p.slug, line, (*before, *jobs), "added")
                if was_empty and jobs and not line.held and self._settings.automatic and p.run_state is not None:
                    line.by = by
                    self._turn(p.slug, line, QueueState.READY)

        if jobs or replace:
            await unbroken(add())
        return jobs

    async def remove(self, p: Printer, job_ids: Collection[str] | None, by: Caller) -> None:
        """Take jobs out, None: all of them; what is not there is passed over.  A job that is a run now stays one."""
        _needs(by, p)

        async def remove() -> None:
            line = self._line(p)
            async with line.changing:
                left = () if job_ids is None else tuple(job for job in line.queue.jobs if job.id not in job_ids)
                if len(left) != len(line.queue.jobs):
                    await self._keep(p.slug, line, left, "removed")

        await unbroken(remove())

    async def jump(self, p: Printer, job_id: str, by: Caller) -> None:
        """Put a job before all others."""
        _needs(by, p)

        async def jump() -> None:
            line = self._line(p)
            async with line.changing:
                first = [job for job in line.queue.jobs if job.id == job_id]
                if not first:
                    raise NotFound(f"no job {job_id!r} in the queue of {p.slug}")
                others = (job for job in line.queue.jobs if job.id != job_id)
                await self._keep(p.slug, line, (*first, *others), "moved")

        await unbroken(jump())

    async def pause(self, p: Printer, by: Caller) -> None:
        """Start nothing more by itself; a run goes on."""
        _needs(by, p)
        line = self._line(p)
        line.held = True
        self._turn(p.slug, line, QueueState.PAUSED)

    async def start(self, p: Printer, by: Caller) -> None:
        """Start the first job now, or, with ``queue.automatic``, behind the run that is going on.

        `NotNow` when neither can be.  What the machine says against it later pauses the queue, with the `reason`.
        """
        _needs(by, p)
        line = self._line(p)
        if not line.queue.jobs:
            line.held = False
            self._turn(p.slug, line, QueueState.PAUSED)
            return
        if line.state in {QueueState.LOADING, QueueState.STARTING}:
            return
        if not p.is_operational:
            raise NotNow(f"{p.slug} is {p.snapshot.state.value}; connect it first")
        printing = p.run_state is not None
        if printing and not self._settings.automatic:
            raise NotNow(
                f"{p.slug} is printing; start the queue when that has ended, or have the owner set queue.automatic"
            )
        line.held = False
        line.by = by
        self._turn(p.slug, line, QueueState.READY if printing else QueueState.LOADING)

    # What happens meanwhile; all of these return at once

    def _run_ended(self, run: Run) -> None:
        line, p = self._lines.get(run.printer), self._printers.find(run.printer)
        if line is None or p is None or line.state is QueueState.PAUSED:
            return
        if run.state is not RunState.COMPLETED:
            self._stop(p.slug, line, f"the print of {run.path} is {run.state.value}")
        elif line.state is QueueState.READY and p.run_state is None:  # not when the next one prints by now
            self._turn(p.slug, line, QueueState.LOADING)

    def _printer_changed(self, slug: str) -> None:
        line, p = self._lines.get(slug), self._printers.find(slug)
        if line is not None and p is not None and not p.is_operational and line.state is not QueueState.PAUSED:
            self._stop(slug, line, f"{slug} is {p.snapshot.state.value}")

    def _stop_what_is_of(self, user: str) -> None:
        for slug, line in self._lines.items():
            if line.by is not None and line.by.name == user and line.state is not QueueState.PAUSED:
                self._stop(slug, line, f"{user}, who started it, may do other things now")

    def _stop(self, slug: str, line: _Line, reason: str) -> None:
        log.warning("%s: its queue is paused: %s", slug, reason)
        line.held = True
        self._turn(slug, line, QueueState.PAUSED, reason)

    def _turn(self, slug: str, line: _Line, state: QueueState, reason: str = "") -> None:
        if (line.state, line.reason) == (state, reason):
            return
        line.state, line.reason = state, reason
        if state is QueueState.PAUSED:
            line.by = None
        self._bus.publish(QueueChanged(slug, "state", line.queue, state, reason))
        if state is QueueState.LOADING:
            self._wake.set()

    # Loading

    async def _load_what_is_due(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            for slug, line in self._lines.items():
                if line.state is QueueState.LOADING and not line.loading:
                    line.loading = True
                    group.create_task(self._load(slug, line), name=f"the next job of {slug}")
            await self._wake.wait()

    async def _load(self, slug: str, line: _Line) -> None:
        try:
            p, by = self._printers.find(slug), line.by
            if p is not None and by is not None and line.queue.jobs:
                await self._start(p, line, line.queue.jobs[0], by)
        finally:
            line.loading = False

    async def _start(self, p: Printer, line: _Line, job: Job, by: Caller) -> None:
        if by.key is not None and by.key.ends_at is not None and by.key.ends_at <= self._clock.now():
            self._stop(p.slug, line, f"the key of {by.name}, who started it, has ended")
            return
        self._turn(p.slug, line, QueueState.STARTING)
        begun, reason = True, ""
        try:
            await self._runs.start(p, job.path, by, job=job.id)
        except LinkLost as error:  # it may have begun, so nobody but a person starts it again
            reason = f"{job.path} may be printing: {error}"
        except PolyhostError as error:
            begun, reason = False, f"{job.path} cannot be printed: {error}"
        if begun:
            await unbroken(self._take_out(p.slug, line, job))
            if line.state is QueueState.READY and p.run is not None and p.run.ended:  # faster than that was written
                self._run_ended(p.run)
        if reason:
            self._stop(p.slug, line, reason)

    async def _take_out(self, slug: str, line: _Line, job: Job) -> None:
        async with line.changing:
            left = tuple(one for one in line.queue.jobs if one.id != job.id)
            try:
                await self._records.keep_queue(msgspec.structs.replace(line.queue, jobs=left))
            except PolyhostError as error:  # the run says that it was this job's
                log.warning("%s: that %s is no longer queued cannot be written yet: %s", slug, job.path, error)
            if line.state is QueueState.STARTING:  # otherwise somebody, or the run's end, has paused it
                goes_on = bool(left) and self._settings.automatic
                line.state = QueueState.READY if goes_on else QueueState.PAUSED
            self._show(slug, line, left, "loaded")

    async def _follow(self, path: str, to: str) -> None:
        for slug, line in list(self._lines.items()):  # looking at another printer's queue makes it one
            async with line.changing:
                if any(one.path == path for job in line.queue.jobs for one in job.sets):
                    moved = tuple(_moved(job, {path: to}) for job in line.queue.jobs)
                    try:
                        await self._keep(slug, line, moved, "moved")
                    except PolyhostError as error:
                        log.warning("%s: where %s went cannot be written to its queue: %s", slug, path, error)
                        self._show(slug, line, moved, "moved")

    # Inside

    def _line(self, p: Printer) -> _Line:
        line = self._lines.get(p.slug)
        if line is None:
            line = self._lines[p.slug] = _Line(Queue(p.slug, p.slug))
        return line

    def _job(self, path: str, by: Caller) -> Job:
        try:
            file = self._files.get(path)
        except NotFound:
            raise Malformed(f"no file {path!r} in the library") from None
        if not is_gcode(file.name):
            raise Malformed(f"{file.path} is not G-code")
        return Job(uuid.uuid4().hex, file.name, (Set(file.path),), by=by.name, added_at=self._clock.now())

    async def _keep(self, slug: str, line: _Line, jobs: tuple[Job, ...], change: str) -> None:
        """Make `jobs` those of the queue, and say so; for whoever holds `line.changing`."""
        await self._records.keep_queue(msgspec.structs.replace(line.queue, jobs=jobs))
        self._show(slug, line, jobs, change)

    def _show(self, slug: str, line: _Line, jobs: tuple[Job, ...], change: str) -> None:
        line.queue = msgspec.structs.replace(line.queue, jobs=jobs)
        self._bus.publish(QueueChanged(slug, change, line.queue, line.state, line.reason))
        if not jobs and line.state in {QueueState.READY, QueueState.LOADING}:
            self._turn(slug, line, QueueState.PAUSED)


def _moved(job: Job, places: Mapping[str, str]) -> Job:
    sets = tuple(msgspec.structs.replace(one, path=places.get(one.path, one.path)) for one in job.sets)
    return msgspec.structs.replace(job, sets=sets)


def _needs(by: Caller, p: Printer) -> None:
    if not by.may(Permission.PRINT, p.slug):
        raise NotAllowed(f"{by.name or 'a guest'} may not change the queue of {p.slug}")
