"""One run: a file on its way to a machine, in order, once, with the host's scripts around it.

The run reads its file in batches, keeps only the lines that the machine has not acknowledged, and moves along
`core.job.RUN`.  It holds no port: it speaks through a `Conversation`, and what happens to the machine is its
`Holder`'s.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import BinaryIO, Final, Protocol

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.file import NamedObject
from polyhost.core.handling import ScriptName
from polyhost.core.job import ENDED, RunProgress, RunSignal, RunState, advance
from polyhost.core.placeholders import Values
from polyhost.core.ports import Clock, RunOrder
from polyhost.core.printer import ToolPosition
from polyhost.engine.accounts import Accounts
from polyhost.engine.batches import BREAKS, Batches, opened
from polyhost.engine.conversation import Conversation
from polyhost.engine.heaters import heat_list
from polyhost.engine.hooks import Hooks
from polyhost.engine.intake import Intake
from polyhost.engine.journal import RunRecord
from polyhost.engine.layer_times import layer_at, time_at
from polyhost.engine.messages import EndedRun
from polyhost.engine.points import again, both, position_in, values_at
from polyhost.engine.skipping import Skipping
from polyhost.firmware.marlin.session import BACKLOG_LINES, Lane, Session
from polyhost.gcode.modal import ModalState

_REFILL: Final = 32  # lines worth a batch: a batch costs as much as the lines in it
_SKIPS: Final = 40  # batches that are looked at in a row when nothing of them is sent
_BACKLOG: Final = 64  # lines held ready while objects are left out, so that the next is left out soon
_SETTLE: Final = 512  # acknowledged lines kept before they are accounted for


class Holder(Protocol):
    """What a run asks of whoever holds the machine."""

    hooks: Hooks

    def switch_off(self, then: Callable[[], None] | None = None) -> None:
        """Send the off list; `then` is called when the last of it is acknowledged."""

    def run_broke(self, reason: str) -> None:
        """The run cannot go on: fail it and make the machine safe."""

    def run_moved(self, run: "FileRun") -> None:
        """The run's state changed."""


class FileRun:
    """A run of `order` through `conversation`, from `begin` until its state is one of `core.job.ENDED`."""

    def __init__(self, order: RunOrder, conversation: Conversation, holder: Holder, clock: Clock) -> None:
        """Opens the file: this version is printed, whatever is put in its place.  `NotFound` when it is not there."""
        self.order = msgspec.structs.replace(order, layers=None)
        self.layers = order.layers
        self.state = RunState.STARTING
        self.reason = ""
        self.shown_state = RunState.STARTING  # what others may be told: an end only once it is on the disk
        self.accounts = Accounts(clock, order.start_byte)
        self._conversation = conversation
        self._holder = holder
        intake = Intake(holder.hooks, conversation.picture.modal.tool)
        self._batches = Batches(order, self._opened(order), intake)
        # Lines read and not yet acknowledged, with the byte behind each; `_base` is the number of the first.
        self._lines: list[bytes] = []
        self._ends: list[int] = []
        self._base = 0
        self._fed = 0
        self._skipping: Skipping | None = None
        self._through = 0  # lines so far that `_skipping` has judged
        self._barrier: object | None = None  # asks the session when all lines read are with the firmware
        self._passed = False
        self._broken = False  # nothing more is fed, the holder is about to fail the run
        self._awaited: Callable[[], None] | None = None
        self._point: Values = {}
        self.position: ToolPosition | None = None  # where a pause or a cancel found the toolhead
        self._finding_position = False  # of a pause, whose script was not said yet
        self._modal = ModalState()  # at the pause
        self._said_at_pause = 0
        self.cooled: dict[str, float] = {}  # targets that idle cooling switched off

    @staticmethod
    def _opened(order: RunOrder) -> BinaryIO:
        return opened(order)

    @property
    def active(self) -> bool:
        return self.state not in ENDED

    def close(self) -> None:
        """Let go of the file."""
        self._batches.close()

    # --- what a person or the firmware asks

    def begin(self) -> None:
        """Send the script before the file, then the file."""
        self._conversation.session.start_numbering()
        self._conversation.picture.modal.told_progress = None
        self._say(ScriptName.BEFORE_START, self.order.scripts.before_start, self._started)

    def _started(self) -> None:
        self._move(RunSignal.STARTED)
        self.accounts.file_begins(self._conversation.picture.modal.pushed)
        if self._skipping is not None:
            self._skipping.begin(self._conversation.picture.modal.copy())
        self.feed()

    def pause(self, *, quietly: bool = False) -> None:
        """Stop feeding, let what is under way end, note where; `quietly` without commands, the firmware did all."""
        if self.state in (RunState.PAUSING, RunState.PAUSED):
            return
        self._move(RunSignal.PAUSE)
        self._take_back()
        self._modal = self._fed_modal()
        self._said_at_pause = -1
        self.position = None
        if quietly:
            self._paused()
        elif self._holder.hooks.handling.position_on_pause:
            self._finding_position = True
            self._script([b"M400", b"M114"], self._position_known)
        else:
            self._pause_here()

    def _position_known(self) -> None:
        self._finding_position = False
        self.position = position_in(self._conversation.picture)
        self._pause_here()

    def _pause_here(self) -> None:
        self._point = self._here()
        self._modal = self._fed_modal()
        self._say(ScriptName.AFTER_PAUSE, self.order.scripts.after_pause, self._paused)

    def _paused(self) -> None:
        self.accounts.pause()
        self._said_at_pause = self._conversation.said
        self._move(RunSignal.PAUSE_DONE)

    def resume(self, *, quietly: bool = False) -> None:
        if self.state in (RunState.RESUMING, RunState.PRINTING):
            return
        self._move(RunSignal.RESUME)
        if self._finding_position:  # it was not paused yet, perhaps behind a long heat-up: nothing to take back
            self._finding_position = False
            self._script(self._to_go_on(touched=False), self._resumed)
            return
        self.accounts.resume()
        lines = list(heat_list(self.cooled, self._modal.tool))
        self.cooled = {}
        script = (
            []
            if quietly
            else self._holder.hooks.lines_of(self.order.scripts.before_resume, both(self._point, self._here()))
        )
        lines += script
        lines += self._to_go_on(touched=bool(lines) or self._conversation.said != self._said_at_pause)
        if script:
            self._holder.hooks.script_ran(ScriptName.BEFORE_RESUME, finished=False)
            self._script(lines, self._resume_said)
        else:
            self._script(lines, self._resumed)

    def _to_go_on(self, *, touched: bool) -> list[bytes]:
        """What the machine is told before the file goes on; `touched`: it was told other things meanwhile."""
        return list(again(self._modal)) if touched else []

    def _resume_said(self) -> None:
        self._holder.hooks.script_ran(ScriptName.BEFORE_RESUME, finished=True)
        self._resumed()

    def _resumed(self) -> None:
        self._move(RunSignal.RESUME_DONE)
        self.feed()

    def cancel(self) -> None:
        if self.state is RunState.CANCELLING:
            return
        self._move(RunSignal.CANCEL)
        self._conversation.session.drop(Lane.HOST)
        self._take_back()
        self._finding_position = False
        self.position = None
        self._conversation.break_waits()
        if self._holder.hooks.handling.position_on_cancel:
            self._script([b"M400", b"M114"], self._cancel_position_known)
        else:
            self._cancel_here()

    def _cancel_position_known(self) -> None:
        self.position = position_in(self._conversation.picture)
        self._cancel_here()

    def _cancel_here(self) -> None:
        self._point = self._here()
        self._say(ScriptName.AFTER_CANCEL, self.order.scripts.after_cancel, self._switch_off)

    def _switch_off(self) -> None:
        self._awaited = self._cancelled
        self._holder.switch_off(lambda: self._arrived(self._cancelled))

    def _cancelled(self) -> None:
        self._end(RunSignal.CANCEL_DONE)

    def fail(self, reason: str) -> None:
        """The run cannot go on.  Making the machine safe is its holder's."""
        if self.active:
            self.reason = reason
            self._take_back()
            self._end(RunSignal.FAULT)

    def exclude(self, objects: Sequence[NamedObject], modal: ModalState | None = None) -> None:
        """Leave out what is not on the wire yet of `objects`; `modal` is what the machine will be set to, if known."""
        if self._skipping is None:
            self._take_back()
            self.settle()
            if modal is None:
                halted = self.state in (RunState.PAUSING, RunState.PAUSED, RunState.RESUMING)
                modal = self._modal if halted else self._fed_modal()
            fed = self._fed - self._base
            self._skipping = Skipping(modal.copy(), self._ends[fed - 1] if fed else self.accounts.file_bytes)
            self._through = self._fed
        self._skipping.exclude(objects)

    def _fed_modal(self) -> ModalState:
        """What the lines given to the session set the machine to, once it has taken them."""
        modal = self._conversation.picture.modal.copy()
        modal.advance(self._lines[: self._fed - self._base])
        return modal

    @property
    def excluded(self) -> tuple[NamedObject, ...]:
        return () if self._skipping is None else tuple(self._skipping.objects.values())

    # --- feeding

    def feed(self) -> None:
        """Give the session as many lines as it wants now, and see whether that was all."""
        if self._broken or (self.state is not RunState.PRINTING and self.state is not RunState.FINISHING):
            return
        session = self._conversation.session
        room = session.room()
        if room < _REFILL and not self._batches.over:
            return
        if session.file_lines_acknowledged - self._base >= _SETTLE:
            self.settle()
        if self.state is RunState.PRINTING:
            lines = self._next(room) if self._skipping is None else self._kept(room, self._skipping)
            if lines and self._conversation.ready_to_send(lines):
                session.queue(lines, Lane.FILE)
                self._fed += len(lines)
        if self._batches.over:
            self._at_end(session, session.file_lines_acknowledged)

    def _break(self, reason: str) -> None:
        self._broken = True
        self._holder.run_broke(reason)

    def _next(self, room: int) -> list[bytes]:
        """At most `room` lines to send after those already sent; none at the end and before a stop."""
        while room > 0 and self._fed - self._base >= len(self._lines):
            if self._batches.over:
                return []
            try:
                lines, ends = self._batches.read()
            except Malformed as error:
                self._break(str(error))
                return []
            except OSError as error:
                self._break(f"{self.order.name} cannot be read: {error.strerror}")
                return []
            self._lines += lines
            self._ends += ends
        first = self._fed - self._base
        return self._lines[first : first + max(0, room)]

    def _kept(self, room: int, skipping: Skipping) -> list[bytes]:
        """`_next`, without what is left out."""
        room -= BACKLOG_LINES - _BACKLOG
        for _ in range(_SKIPS):
            first, last = self._fed - self._base, self._through - self._base
            if first < last or room <= 0:
                return self._lines[first : min(last, first + max(0, room))]
            lines = self._next(room)
            if not lines:
                return []
            part = slice(last, last + len(lines))
            lines, ends = skipping.kept(lines, self._ends[part])
            self._lines[part], self._ends[part] = lines, ends
            self._through += len(lines)
        asyncio.get_running_loop().call_soon(self._conversation.pump)  # after whoever else waits for the loop
        return []

    def _at_end(self, session: Session, acknowledged: int) -> None:
        """Everything there is to send was read: act on what stands behind it, once the firmware has all of it."""
        if self._fed < self._base + len(self._lines):
            return
        if self._barrier is None:
            barrier = self._barrier = object()
            session.queue([], Lane.FILE, lambda: self._pass(barrier))
        stop = self._batches.stop
        if stop is None and self.state is RunState.PRINTING and self._fed - acknowledged <= session.in_flight:
            self._move(RunSignal.END_OF_FILE)
        if not self._passed:
            return
        if stop is not None:
            self._act_on_stop(stop)
        elif self.state is RunState.FINISHING and self._awaited is None:
            self.settle()
            self.accounts.file_bytes = self.order.size_bytes
            self._say(ScriptName.AFTER_DONE, self.order.scripts.after_done, self._finished)

    def _pass(self, barrier: object) -> None:
        """All lines before `barrier` are with the firmware for certain."""
        self._passed = self._passed or barrier is self._barrier

    def _act_on_stop(self, command: bytes) -> None:
        self._batches.stop = self._barrier = None
        self._passed = False
        self.settle()
        if command in BREAKS:
            self._break(BREAKS[command])
        elif command in {b"cancel", b"abort"}:
            self.cancel()
        else:
            self.pause()

    def _finished(self) -> None:
        self._end(RunSignal.FINISH_DONE)

    def _take_back(self) -> None:
        """Un-send the lines of the file that are not on the wire yet."""
        dropped = self._conversation.session.drop(Lane.FILE)
        if dropped:
            self._fed -= dropped
            self._barrier, self._passed = None, False

    # --- accounts

    def settle(self) -> None:
        """Account for the lines acknowledged so far: bytes, lines, and what they set the machine to."""
        count = min(self._conversation.session.file_lines_acknowledged, self._fed) - self._base
        if count <= 0 or self.state in ENDED:
            return
        modal = self._conversation.picture.modal
        modal.advance(self._lines[:count])
        self.accounts.add(count, self._ends[count - 1], modal.pushed)
        self._base += count
        del self._lines[:count]
        del self._ends[:count]

    def _here(self) -> Values:
        self.settle()
        return values_at(self._conversation.picture)

    def progress(self) -> RunProgress:
        self.settle()
        accounts, layers = self.accounts, self.layers
        layer, file_time_s = 0, None
        if layers is not None and layers.offsets:
            layer = layer_at(layers, accounts.file_bytes)
            file_time_s = time_at(layers, accounts.file_bytes, self.order.size_bytes)
        return RunProgress(
            run_id=self.order.run_id,
            state=self.shown_state,
            file_bytes=accounts.file_bytes,
            size_bytes=self.order.size_bytes,
            lines=accounts.lines,
            layer=layer,
            layers=len(layers.offsets) if layers is not None else 0,
            elapsed_s=accounts.elapsed_s,
            printing_s=accounts.printing_s,
            file_time_s=file_time_s,
            reason=self.reason,
            filament_mm=accounts.filament_mm,
            extruding_s=accounts.extruding_s,
            excluded=() if self._skipping is None else self._skipping.names,
        )

    def record(self) -> RunRecord:
        accounts = self.accounts
        return RunRecord(
            order=self.order,
            state=self.state,
            started_at=accounts.started_at,
            elapsed_s=accounts.elapsed_s,
            printing_s=accounts.printing_s,
            file_bytes=accounts.file_bytes,
            lines=accounts.lines,
            modal=self._conversation.picture.modal.copy(),
            excluded=self.excluded,
        )

    def ended(self) -> EndedRun:
        accounts = self.accounts
        return EndedRun(
            run_id=self.order.run_id,
            state=self.state,
            reason=self.reason,
            ended_at=accounts.ended_at or 0.0,
            elapsed_s=accounts.elapsed_s,
            printing_s=accounts.printing_s,
            file_bytes=accounts.file_bytes,
            position=self.position,
            filament_mm=accounts.filament_mm,
            extruding_s=accounts.extruding_s,
        )

    # --- moving along the table

    def _say(self, name: ScriptName, script: Sequence[str], then: Callable[[], None]) -> None:
        """Say a script, filled with what the machine is set to now, and go on with `then`."""
        here, hooks = self._here(), self._holder.hooks
        self._awaited = then
        hooks.say(name, hooks.lines_of(script, both(here, here)), lambda: self._arrived(then))

    def _script(self, lines: list[bytes], then: Callable[[], None]) -> None:
        """Send `lines`, go on with `then` when the last is acknowledged, unless the run has turned elsewhere."""
        self._awaited = then
        if lines:
            self._conversation.say(lines, lambda: self._arrived(then))
        else:
            self._arrived(then)

    def _arrived(self, then: Callable[[], None]) -> None:
        if self._awaited == then:
            self._awaited = None
            then()

    def _move(self, signal: RunSignal) -> None:
        self.state = advance(self.state, signal)
        if self.state not in ENDED:
            self.shown_state = self.state
        self._holder.run_moved(self)

    def _end(self, signal: RunSignal) -> None:
        self.settle()
        self._awaited = None
        self.accounts.end()
        self.close()
        self._lines, self._ends = [], []
        self._move(signal)
