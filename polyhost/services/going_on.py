"""The runs that have not ended: what drivers say of them, and how they end.

The end of a run is in the database before anybody is told (R6).  The machine's holder keeps it until it is written, so
that each run has one entry with one end, whoever was killed meanwhile (R8).
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator

import msgspec

from polyhost.core.errors import NotFound, NotNow, PolyhostError
from polyhost.core.events import DriverEvent, RunEnded, RunStateChanged
from polyhost.core.file import File
from polyhost.core.job import ENDED, Prints, Run, RunProgress, RunState, Times
from polyhost.core.ports import Clock, RunRecords
from polyhost.core.printer import Snapshot, ToolPosition
from polyhost.engine.messages import EndedRun
from polyhost.services.bus import Bus
from polyhost.services.files import Files
from polyhost.services.printers import Printers
from polyhost.services.remaining import Pace

log = logging.getLogger(__name__)


class GoingOn:
    """Iterate over it for the runs; what is to be written waits, with `wake` set, for who calls `write_ends`."""

    def __init__(
        self,
        runs: Iterable[Run],
        records: RunRecords,
        printers: Printers,
        files: Files,
        bus: Bus,
        clock: Clock,
        wake: asyncio.Event,
    ) -> None:
        self._records = records
        self._printers = printers
        self._files = files
        self._bus = bus
        self._clock = clock
        self._wake = wake
        self._runs = {run.id: run for run in runs if not run.ended}  # as far as is written
        self._prints = records.load_prints()
        self._paces: dict[str, Pace] = {}  # by run
        self._endings: dict[str, EndedRun] = {}  # told by drivers, to be written
        self._analysed: set[str] = set()  # paths whose layers running prints want
        self._ended = asyncio.Event()

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    # Looking

    def get(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def live(self, run: Run) -> Run:
        """`run` with what its driver said last."""
        p = self._printers.find(run.printer)
        if run.ended or p is None:
            return run
        if p.run is not None and p.run.id == run.id:
            run = p.run
        progress = progress_in(p.snapshot, run)
        if progress is None or run.ended:
            return run
        return msgspec.structs.replace(
            run,
            state=progress.state,
            elapsed_s=progress.elapsed_s,
            printing_s=progress.printing_s,
            file_bytes=progress.file_bytes,
            filament_mm=run.filament_mm if progress.extruding_s is None else progress.filament_mm,
            extruding_s=progress.extruding_s,
            reason=progress.reason or run.reason,
        )

    def file_of(self, run: Run) -> File | None:
        """The file that `run` prints, if the library still has that content in its place."""
        if run.on_card:
            return None
        try:
            file = self._files.get(run.path)
        except NotFound:
            return None
        return file if file.sha256 == run.file_sha256 else None

    def pace(self, run_id: str) -> Pace:
        return self._paces.get(run_id) or Pace()

    def prints(self, sha256: str) -> Prints:
        """How the runs of a file of this content went."""
        return self._prints.get(sha256, Prints())

    def recount(self, prints: dict[str, Prints | None]) -> None:
        """Entries of the history were deleted: how the runs of these contents went that are left."""
        for sha256, left in prints.items():
            if left is None:
                self._prints.pop(sha256, None)
            else:
                self._prints[sha256] = left

    def is_ending(self, run_id: str) -> bool:
        """Whether its end is known and not yet written."""
        return run_id in self._endings

    async def until_ended(self, run_id: str, timeout_s: float) -> None:
        """Return when the end is written; `NotNow` when it is not after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while run_id in self._runs:
                    await self._ended.wait()
        except TimeoutError:
            raise NotNow(f"the run before this one has not ended within {timeout_s:g} s; try again") from None

    # What becomes of them; all of these return at once

    def update(self, run: Run) -> None:
        """`run` goes on, as this says."""
        self._runs[run.id] = run
        self._printers.get(run.printer).run = run

    def drop(self, run_id: str) -> None:
        """Its machine's holder refused it."""
        del self._runs[run_id]

    def moved(self, snapshot: Snapshot) -> None:
        if snapshot.run is not None and snapshot.run.run_id in self._runs:
            self._paces.setdefault(snapshot.run.run_id, Pace()).note(snapshot.run)

    def heard(self, event: DriverEvent) -> bool:
        """True when the event is the end of a run: it is announced once it is written."""
        if not isinstance(event, RunStateChanged):
            return False
        run = self._runs.get(event.run_id)
        if event.state not in ENDED:
            if run is not None:
                self.update(msgspec.structs.replace(run, state=event.state))
            return False
        if run is not None and event.run_id not in self._endings:
            self._end(run, event.state, event.reason)
        return True

    def ended(self, ended: EndedRun) -> None:
        """How a run ended, as its machine's holder keeps it; the same again changes nothing."""
        self._endings[ended.run_id] = ended
        self._wake.set()

    def interrupt(self, run: Run, reason: str) -> None:
        """`run` has ended, where its holder cannot say how."""
        self._end(run, RunState.INTERRUPTED, reason)

    def want_layers(self, path: str) -> None:
        """Runs of `path` may have begun without its layers."""
        self._analysed.add(path)
        self._wake.set()

    # Writing

    async def write_ends(self) -> None:
        """`NoSpace` and `NotNow` when the disk refuses; what is not written still waits."""
        for ended in list(self._endings.values()):
            await self._write_end(ended)
            self._endings.pop(ended.run_id, None)

    async def give_layers(self) -> None:
        """Hand layers that were wanted to the runs that began without them."""
        while self._analysed:
            await self._give_layers(self._analysed.pop())

    def _end(self, run: Run, state: RunState, reason: str) -> None:
        """`run` ended now, as far as it was heard of."""
        live = self.live(run)
        at = self._clock.now()
        self.ended(EndedRun(run.id, state, reason, at, live.elapsed_s, live.printing_s, live.file_bytes))

    async def _write_end(self, ended: EndedRun) -> None:
        run = self._runs.get(ended.run_id) or await self._records.run(ended.run_id)
        if run is None:
            log.warning("a run %s ended (%s) that is not in the history", ended.run_id, ended.state.value)
            return
        p = self._printers.find(run.printer)
        extruding_s, filament_mm = self._drawn(run, ended)
        over = msgspec.structs.replace(
            run,
            state=ended.state,
            ended_at=ended.ended_at,
            elapsed_s=ended.elapsed_s,
            printing_s=ended.printing_s,
            file_bytes=ended.file_bytes,
            filament_mm=filament_mm,
            extruding_s=extruding_s,
            reason=ended.reason,
        )
        if await self._records.end_run(over):
            self._show_end(over, ended.position)
        if p is not None:
            try:
                await p.driver.forget(run.id)
            except PolyhostError as error:  # it will be told again
                log.debug("%s: the end of %s is written and could not be confirmed: %s", p.slug, run.id, error)

    def _drawn(self, run: Run, ended: EndedRun) -> tuple[float | None, float | None]:
        """Seconds that `run` drew and mm of filament: as its holder counted, else of the filament what was planned."""
        if ended.extruding_s is not None:
            return ended.extruding_s, ended.filament_mm
        p, file = self._printers.find(run.printer), self.file_of(run)
        progress = progress_in(p.snapshot, run) if p is not None else None
        if progress is not None and progress.extruding_s is not None:
            return progress.extruding_s, progress.filament_mm
        return None, _filament_mm(file, ended.file_bytes, ended.state) if file is not None else None

    def _show_end(self, over: Run, position: ToolPosition | None) -> None:
        self._runs.pop(over.id, None)
        self._paces.pop(over.id, None)
        for p in self._printers.all():
            if p.run is not None and p.run.id == over.id:
                p.run = over
        if not over.on_card:
            self._count(over)
        self._files.touch()
        self._ended.set()
        self._ended = asyncio.Event()
        log.info("%s: %s is %s%s", over.printer, over.path, over.state.value, over.reason and f": {over.reason}")
        self._bus.publish(RunStateChanged(over.printer, over.id, over.state, over.reason, position))
        self._bus.publish(RunEnded(over.printer, over))

    def _count(self, over: Run) -> None:
        before = self._prints.get(over.file_sha256, Prints())
        if over.state is RunState.COMPLETED:
            known = before.times.get(over.profile) or Times(0, 0.0, 0.0)
            runs = known.runs + 1
            times = Times(runs, (known.average_s * known.runs + over.printing_s) / runs, over.printing_s)
            prints = Prints(before.success + 1, before.failure, over, {**before.times, over.profile: times})
        else:
            prints = msgspec.structs.replace(before, failure=before.failure + 1, last=over)
        self._prints[over.file_sha256] = prints

    async def _give_layers(self, path: str) -> None:
        """Hand the layers of `path` to the runs that began without them."""
        for run in list(self._runs.values()):
            file = self.file_of(run)
            if run.path != path or file is None:
                continue
            p = self._printers.get(run.printer)
            progress = progress_in(p.snapshot, run)
            analysis = await self._files.analysis(path)
            # One that nothing is told of yet has begun a moment ago.
            if analysis is not None and (progress is None or not progress.layers):
                try:
                    await p.driver.give_layers(run.id, analysis.layers)
                except PolyhostError as error:
                    log.debug("%s: layers of %s were not taken: %s", p.slug, path, error)


def progress_in(snapshot: Snapshot, run: Run) -> RunProgress | None:
    return snapshot.run if snapshot.run is not None and snapshot.run.run_id == run.id else None


def _filament_mm(file: File, file_bytes: int, state: RunState) -> float | None:
    """What a run of `file` has drawn, all tools together; by its share of the bytes when it did not complete."""
    if file.analysis is not None and file.analysis.complete:
        total_mm = sum(use.length for use in file.analysis.filament.values())
    elif file.metadata is not None and file.metadata.filament_total is not None:
        total_mm = file.metadata.filament_total
    else:
        return None
    share = 1.0 if state is RunState.COMPLETED or not file.size_bytes else file_bytes / file.size_bytes
    return total_mm * min(1.0, share)
