"""The runs that ended: each until a server has it in its history, the last also while it may be resumed."""

import logging

import msgspec

from polyhost.core.errors import NotFound
from polyhost.core.job import ENDED, RunSignal, RunState, advance
from polyhost.core.ports import RunOrder
from polyhost.engine.journal import PrinterRecord, RunRecord
from polyhost.engine.messages import EndedRun
from polyhost.engine.run import FileRun

log = logging.getLogger(__name__)


class PastRuns:
    """`unfinished` is the last run, if it ended before its time."""

    def __init__(self, printer: str, record: PrinterRecord, now: float) -> None:
        """A run that is on in `record` was on when its engine died, and is interrupted; `now` since the epoch."""
        self.unfinished = record.run
        self._ended = {ended.run_id: ended for ended in record.ended}
        if record.run is not None and record.run.state not in ENDED:
            self._interrupt(printer, record.run, now)

    def _interrupt(self, printer: str, run: RunRecord, now: float) -> None:
        self.unfinished = msgspec.structs.replace(run, state=advance(run.state, RunSignal.ENGINE_DIED))
        self._ended[run.order.run_id] = EndedRun(
            run_id=run.order.run_id,
            state=RunState.INTERRUPTED,
            reason="the engine that held the printer ended in the middle of the run",
            ended_at=now,
            elapsed_s=run.elapsed_s,
            printing_s=run.printing_s,
            file_bytes=run.file_bytes,
        )
        log.warning("%s: run %s of %s was interrupted", printer, run.order.run_id, run.order.name)

    @property
    def ended(self) -> tuple[EndedRun, ...]:
        return tuple(self._ended.values())

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._ended

    def add(self, run: FileRun) -> EndedRun:
        ended = self._ended[run.order.run_id] = run.ended()
        self.unfinished = run.record() if ended.state is RunState.FAILED else None
        return ended

    @property
    def left_on_card(self) -> bool:
        """Whether the last run ended before its time and may go on by itself, from the machine's own card."""
        return self.unfinished is not None and self.unfinished.order.on_card

    def continued_by(self, order: RunOrder) -> RunRecord | None:
        """The run that `order` goes on with, if it had left out objects."""
        past = self.unfinished
        goes_on = past is not None and order.start_byte and past.order.sha256 == order.sha256
        return past if goes_on and past is not None and past.excluded else None

    def forget(self, run_id: str) -> bool:
        """A server has it in its history; False when it was not kept."""
        return self._ended.pop(run_id, None) is not None

    def resumable(self, run_id: str) -> RunRecord:
        """What the journal knows of a run that ended before its time; `NotFound` when it knows nothing (any more)."""
        if self.unfinished is None or self.unfinished.order.run_id != run_id or self.unfinished.modal is None:
            raise NotFound(f"the journal has nothing on the run {run_id}; print the file from its beginning")
        if self.unfinished.order.on_card:
            raise NotFound("how far a print from the printer's own card came is not known; print it from its beginning")
        return self.unfinished
