"""Runs: choosing a file, starting, pausing and cancelling it, and the history of how they all went.

Whether a printer in some state may start, pause or choose is decided here, once, for every API.  A run is in the
database before its machine's holder hears of it (R6); `going_on` follows it from then on, and writes how it ends.
Nothing here starts a run by itself (R10).
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Collection
from typing import Final

import msgspec

from polyhost.core.card import CardFile, found_on
from polyhost.core.errors import LinkLost, Malformed, NoSpace, NotAllowed, NotFound, NotNow, PolyhostError, Unsupported
from polyhost.core.events import Event, FileAnalysed, FileMoved, FileRemoved, FileSelected, RunAdded
from polyhost.core.file import File, is_gcode
from polyhost.core.job import Prints, Run, RunProgress, RunSignal, RunState, advance
from polyhost.core.ports import Clock, ResumePlan, RunOrder, RunRecords, Scripts
from polyhost.core.user import Caller, Permission
from polyhost.engine.messages import EndedRun
from polyhost.services.bus import Bus
from polyhost.services.files import Files
from polyhost.services.going_on import GoingOn, progress_in
from polyhost.services.interrupted import Interrupted
from polyhost.services.past import Past
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.remaining import Progress, progress_of
from polyhost.services.scripts import ScriptLibrary
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)

WRITE_AGAIN_S: Final = 5.0
RESTART_WITHIN_S: Final = 60.0
MAX_PAGE: Final = 1000


class Runs:
    """`run` writes what drivers report; start it before the drivers."""

    def __init__(
        self,
        records: RunRecords,
        printers: Printers,
        files: Files,
        bus: Bus,
        clock: Clock,
        scripts: ScriptLibrary,
    ) -> None:
        self._records = records
        self._printers = printers
        self._files = files
        self._bus = bus
        self._clock = clock
        self._scripts = scripts
        self._reserved: dict[str, str] = {}  # printer → path, while a start is under way
        self._unselected: set[str] = set()  # printers whose choice is to be written
        self._wake = asyncio.Event()  # something is to be written
        last = records.load_last_runs()
        self._going_on = printers.runs = GoingOn(last, records, printers, files, bus, clock, self._wake)
        self.past = Past(records, self._going_on, files)
        self.interrupted = Interrupted(self, printers)
        files.user = self
        selected = records.load_selected()
        by_slug = {printer.slug: printer for printer in printers.all()}
        for run in last:
            if run.printer in by_slug:
                by_slug[run.printer].run = run
        for printer in by_slug.values():
            path = selected.get(printer.slug, "")
            printer.selected = path if files.exists(path) else ""
        # Printers whose run went on when the last server ended, until their holders are heard.
        self._unheard = {run.printer for run in self._going_on} & by_slug.keys()
        self._heard = asyncio.Event()
        if not self._unheard:
            self._heard.set()

    async def until_heard(self, timeout_s: float) -> None:
        """Return when it is known of every run that was going on whether it still is, or after `timeout_s`.

        What answers earlier would tell a client that a printing machine is offline.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()

    async def run(self) -> None:
        """Write ends, choices and layers as they come, and again every 5 s when the disk refuses."""
        there = {printer.slug for printer in self._printers.all()}
        for run in self._going_on:
            if run.printer not in there:
                self._going_on.interrupt(run, "its printer was removed")
        try:
            while True:
                self._wake.clear()
                if await self._write_what_can_be():
                    await self._wake.wait()
                else:
                    await asyncio.sleep(WRITE_AGAIN_S)
        finally:
            await unbroken(self._write_what_can_be())

    # Looking

    def current(self, p: Printer) -> Run | None:
        """The run that has not ended, as far as it is now."""
        return None if p.run is None or p.run.ended else self._going_on.live(p.run)

    def last(self, p: Printer) -> Run | None:
        """The run going on, or the last one."""
        return None if p.run is None else self._going_on.live(p.run)

    def progress(self, p: Printer) -> Progress:
        """Of the current run, or of the last until another file is chosen."""
        run = p.run
        if run is None or (run.ended and (run.path, run.on_card) != (p.selected, p.selected_on_card)):
            return Progress()
        live = progress_in(p.snapshot, run) or RunProgress(
            *(run.id, run.state, run.file_bytes, run.size_bytes), elapsed_s=run.elapsed_s, printing_s=run.printing_s
        )
        if run.ended and not live.ended:
            live = msgspec.structs.replace(live, state=run.state)
        planned_s, slicer_s, waits_s = None, None, 0.0
        if (file := self._going_on.file_of(run)) is not None:
            if file.analysis is not None and file.analysis.complete:
                planned_s, waits_s = file.analysis.duration_s, file.analysis.waits_s
            slicer_s = file.metadata.estimated_time if file.metadata is not None else None
        return progress_of(live, self._going_on.pace(run.id), planned_s, slicer_s, waits_s)

    async def history(
        self,
        *,
        printer: str | None = None,
        path: str | None = None,
        since: float | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Run]:
        """The newest first; those going on as far as they are now."""
        if not 0 <= limit <= MAX_PAGE or offset < 0:
            raise Malformed(f"a page has 0 to {MAX_PAGE} runs and begins at 0 or later")
        return [self._going_on.live(run) for run in await self._records.runs(printer, path, since, limit, offset)]

    async def get(self, run_id: str) -> Run:
        run = await self._records.run(run_id)
        if run is None:
            raise NotFound(f"no run {run_id!r}")
        return self._going_on.live(run)

    def statistics(self, path: str) -> Prints:
        """How the runs of the file's present content went."""
        return self._going_on.prints(self._files.get(path).sha256)

    # Choosing

    async def select(self, p: Printer, path: str, by: Caller) -> None:
        """Choose the file of the printer's next run; kept until another is chosen or the file goes."""
        _needs(by, p)
        file = self._printable(path)
        self._must_be_idle(p)
        await unbroken(self._select(p, file.path))

    async def select_on_card(self, p: Printer, file: CardFile, by: Caller) -> None:
        """Choose a file of the printer's own card; forgotten when the server ends, for the card may be another then."""
        _needs(by, p)
        self._must_be_idle(p)
        await unbroken(self._select(p, file.name, on_card=True))

    async def unselect(self, p: Printer, by: Caller) -> None:
        _needs(by, p)
        self._must_be_idle(p)
        if not p.selected:
            raise NotNow(f"no file is chosen on {p.slug}")
        await unbroken(self._select(p, ""))

    # Starting and steering

    async def start(self, p: Printer, path: str | None, by: Caller, *, job: str = "") -> Run:
        """Print `path`, or what is chosen.  The run, once its machine's holder has taken it.

        `job` is the id of the queued job that it is for.
        `NotNow` when the printer is not ready, prints already, or nothing is chosen; `Unsupported` for what is no
        G-code.  A holder that refuses leaves no entry; one that was lost meanwhile may have begun, so the entry stays.
        """
        _needs(by, p)
        await self._settle(p)
        if path is None and not p.selected:
            raise NotNow(f"no file is chosen on {p.slug}; choose one, or name it")
        if path is None and p.selected_on_card:
            return await self.start_from_card(p, self._on_card(p, p.selected), by)
        file = self._printable(p.selected if path is None else path)
        self._must_be_idle(p)
        scripts = await self._scripts.of_run(p, file, by)
        return await unbroken(self._start(p, file, scripts, by, job=job))

    async def start_from_card(self, p: Printer, file: CardFile, by: Caller) -> Run:
        """Print a file of the printer's own card, as `start` does."""
        _needs(by, p)
        await self._settle(p)
        self._must_be_idle(p)
        if not p.snapshot.sd_ready:
            raise NotNow(f"the card of {p.slug} is not initialised")
        scripts = await self._scripts.of_run(p, _as_of_library(file), by)
        run = Run(
            *(uuid.uuid4().hex, p.slug, file.name, "", file.size_bytes or 0, RunState.STARTING, by.name),
            started_at=self._clock.now(),
            on_card=True,
            profile=p.profile_id,
        )
        order = RunOrder(run.id, "", file.name, run.size_bytes, "", scripts, on_card=True)

        async def start() -> Run:
            self._must_be_idle(p)
            self._reserved[p.slug] = ""
            try:
                return await self._begin(p, run, order, by)
            finally:
                del self._reserved[p.slug]

        return await unbroken(start())

    async def pause(self, p: Printer, by: Caller) -> None:
        """No-op for a run that is paused or about to be."""
        _needs(by, p)
        run = self._steerable(p)
        if run.state not in {RunState.PAUSING, RunState.PAUSED}:
            advance(run.state, RunSignal.PAUSE)
            await p.driver.pause(run.id)

    async def resume(self, p: Printer, by: Caller) -> None:
        """No-op for a run that is not paused; one that is still pausing goes on."""
        _needs(by, p)
        run = self._steerable(p)
        if run.state in {RunState.PAUSED, RunState.PAUSING, RunState.CANCELLING}:
            advance(run.state, RunSignal.RESUME)
            await p.driver.resume(run.id)

    async def toggle(self, p: Printer, by: Caller) -> None:
        """Pause, or resume what is paused."""
        _needs(by, p)
        is_paused = self._steerable(p).state in {RunState.PAUSED, RunState.PAUSING}
        await (self.resume(p, by) if is_paused else self.pause(p, by))

    async def cancel(self, p: Printer, by: Caller) -> None:
        _needs(by, p)
        run = self._steerable(p)
        if run.state is not RunState.CANCELLING:
            advance(run.state, RunSignal.CANCEL)
            await p.driver.cancel(run.id)

    async def exclude(self, p: Printer, names: Collection[str], by: Caller) -> None:
        """Leave out what is still to come of the objects of these names; what is left out already stays so.

        `NotNow` without a run, `NotFound` names the objects there are.
        """
        _needs(by, p)
        run = self._steerable(p)
        analysis = None if run.on_card else await self._files.analysis(run.path)
        if analysis is None or self._files.get(run.path).sha256 != run.file_sha256:
            raise NotNow(f"{run.path} was not read to its end yet; which objects it has is not known")
        there = {named.name: named for named in analysis.objects}
        if missing := [name for name in names if name not in there]:
            known = ", ".join(there) or "none"
            raise NotFound(f"no object {missing[0]!r} in {run.path}; there are: {known[:1000]}")
        await p.driver.exclude(run.id, tuple(there[name] for name in dict.fromkeys(names)))

    async def restart(self, p: Printer, by: Caller) -> Run:
        """Cancel a paused run and print its file from the beginning."""
        _needs(by, p)
        run = self._steerable(p)
        if run.state is not RunState.PAUSED:
            raise NotNow(f"only a paused run can be started over; this one is {run.state.value}")
        await p.driver.cancel(run.id)
        await self._going_on.until_ended(run.id, RESTART_WITHIN_S)
        if run.on_card:
            return await self.start_from_card(p, self._on_card(p, run.path), by)
        return await self.start(p, run.path, by)

    async def start_behind(self, p: Printer, run: Run, plan: ResumePlan, by: Caller) -> Run:
        """Print the rest of what the interrupted `run` printed, behind the script of `plan`."""
        _needs(by, p)
        file = self._printable(run.path)
        if file.sha256 != plan.sha256:
            raise NotNow(f"{run.path} is not the file that was interrupted; put that one back first")
        self._must_be_idle(p)
        scripts = await self._scripts.of_run(p, file, by)
        scripts = msgspec.structs.replace(scripts, before_start=plan.script)
        return await unbroken(self._start(p, file, scripts, by, start_byte=plan.start_byte, resumed_from=run.id))

    # What holders and files say; all of these return at once

    def ended(self, ended: EndedRun) -> None:
        """How a run ended, as its machine's holder keeps it; the same again changes nothing."""
        self._going_on.ended(ended)

    def attached(self, printer: str, run_ids: frozenset[str]) -> None:
        """The holder of `printer` is back and knows these runs; any other that had not ended is interrupted."""
        self._unheard.discard(printer)
        if not self._unheard:
            self._heard.set()
        for run in self._going_on:
            if run.printer != printer or printer in self._reserved:
                continue
            if run.id in run_ids:
                self._going_on.want_layers(run.path)
            elif not self._going_on.is_ending(run.id):
                self._going_on.interrupt(run, "the program that held the printer died, and no longer knows the run")

    def uses(self, path: str) -> str:
        for run in self._going_on:
            if run.path == path and not run.on_card:
                return run.printer
        return next((printer for printer, reserved in self._reserved.items() if reserved == path), "")

    def motion(self) -> tuple[str, ...]:
        return self._printers.default().snapshot.firmware.motion if self._printers.all() else ()

    def noticed(self, event: Event) -> None:
        match event:
            case FileAnalysed(path, whole=True):
                self._going_on.want_layers(path)
            case FileRemoved(path) | FileMoved(path):
                for printer in self._printers.all():
                    if printer.selected == path and not printer.selected_on_card:
                        printer.selected = ""
                        self._unselected.add(printer.slug)
                        self._wake.set()
                        self._bus.publish(FileSelected(printer.slug, ""))
            case _:
                pass

    # Inside

    async def _start(
        self,
        p: Printer,
        file: File,
        scripts: Scripts,
        by: Caller,
        *,
        start_byte: int = 0,
        resumed_from: str = "",
        job: str = "",
    ) -> Run:
        async with self._files.unchanging():
            self._must_be_idle(p)
            if self._files.get(file.path).sha256 != file.sha256:
                raise NotNow(f"{file.path} was replaced a moment ago; look at it and start again")
            self._reserved[p.slug] = file.path
        try:
            analysis = await self._files.analysis(file.path)
            run = Run(
                *(uuid.uuid4().hex, p.slug, file.path, file.sha256, file.size_bytes, RunState.STARTING, by.name),
                started_at=self._clock.now(),
                resumed_from=resumed_from,
                profile=p.profile_id,
                job=job,
            )
            order = RunOrder(
                *(run.id, str(self._files.on_disk(file.path)), file.name, file.size_bytes, file.sha256, scripts),
                layers=analysis.layers if analysis is not None else None,
                start_byte=start_byte,
            )
            begun = await self._begin(p, run, order, by)
            if order.layers is None and (now := self._going_on.file_of(begun)) is not None and now.analysis is not None:
                self._going_on.want_layers(run.path)  # they came while it began, when nobody wanted them yet
            return begun
        finally:
            del self._reserved[p.slug]

    async def _begin(self, p: Printer, run: Run, order: RunOrder, by: Caller) -> Run:
        """Write `run` down, and give `order` for it to the machine's holder."""
        run = await self._records.add_run(run)
        before = p.run
        self._going_on.update(run)
        self._chosen(p, run.path, run.on_card)
        try:
            await p.driver.start(order)
        except LinkLost:
            self._bus.publish(RunAdded(p.slug, run))
            raise  # it may have begun: what the holder says when it is back decides
        except PolyhostError:
            self._going_on.drop(run.id)
            p.run = before
            await self._records.drop_run(run.id)
            raise
        self._bus.publish(RunAdded(p.slug, run))
        log.info("%s: %s starts %s%s", p.slug, by.name, run.path, " on its card" if run.on_card else "")
        return self._going_on.live(self._going_on.get(run.id) or run)

    @staticmethod
    def _on_card(p: Printer, name: str) -> CardFile:
        file = found_on(p.card, name)
        if file is None:
            raise NotFound(f"no file {name!r} on the card of {p.slug}")
        return file

    def _must_be_idle(self, p: Printer) -> None:
        if p.run_state is not None or p.slug in self._reserved:
            raise NotNow(f"{p.slug} is printing already")
        if not p.is_operational:
            raise NotNow(f"{p.slug} is {p.snapshot.state.value}; connect it first")
        if p.transfer is not None:
            raise NotNow(f"{p.slug} is being sent {p.transfer.name} for its card")

    def _steerable(self, p: Printer) -> Run:
        run = self.current(p)
        if run is None or run.ended:
            raise NotNow(f"{p.slug} is not printing")
        return run

    def _printable(self, path: str) -> File:
        file = self._files.get(path)
        if not is_gcode(file.name):
            raise Unsupported(f"{file.path} is not G-code")
        return file

    async def _select(self, p: Printer, path: str, *, on_card: bool = False) -> None:
        await self._records.keep_selected(p.slug, "" if on_card else path)
        self._chosen(p, path, on_card)

    def _chosen(self, p: Printer, path: str, on_card: bool) -> None:
        if (p.selected, p.selected_on_card) != (path, on_card):
            p.selected, p.selected_on_card = path, on_card
            self._bus.publish(FileSelected(p.slug, path, on_card))

    async def _settle(self, p: Printer) -> None:
        """Wait for the end of a run that is over and not yet written, so that the next start is not refused for it."""
        run = self.current(p)
        if run is not None and (run.ended or self._going_on.is_ending(run.id)):
            await self._going_on.until_ended(run.id, WRITE_AGAIN_S)

    async def _write_what_can_be(self) -> bool:
        """Whether everything that waited is written."""
        try:
            await self._write_what_waits()
        except (NoSpace, NotNow) as error:
            log.warning("what became of a run cannot be written yet: %s", error)
            return False
        return True

    async def _write_what_waits(self) -> None:
        await self._going_on.write_ends()
        while self._unselected:
            await self._records.keep_selected(slug := next(iter(self._unselected)), "")
            self._unselected.discard(slug)
        await self._going_on.give_layers()


def _as_of_library(file: CardFile) -> File:
    """What scripts may know of a file on a card."""
    return File(file.name, file.size_bytes or 0, file.modified_at or 0.0, "", "", "")


def _needs(by: Caller, p: Printer) -> None:
    if not by.may(Permission.PRINT, p.slug):
        raise NotAllowed(f"{by.name or 'a guest'} may not print on {p.slug}")
