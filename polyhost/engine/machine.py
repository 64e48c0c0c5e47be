"""One machine: its link, the conversation on it, its heaters and its run, brought together.

What servers ask is here, what follows from a firmware's words, and when heaters go off.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from polyhost.core.errors import MachineFault, NoSpace, NotFound, NotNow
from polyhost.core.events import (
    ConsoleLine,
    DriverEvent,
    FirmwareSpoke,
    HostActionRequested,
    PrinterStateChanged,
    RunStateChanged,
)
from polyhost.core.file import LayerIndex, NamedObject
from polyhost.core.job import RunState
from polyhost.core.ports import Clock, RunOrder
from polyhost.core.printer import Cause, PrinterState
from polyhost.engine import card_run, heaters
from polyhost.engine.card import Card
from polyhost.engine.card_requests import CardRequests
from polyhost.engine.card_run import CardRun
from polyhost.engine.connection import Connection
from polyhost.engine.conversation import Conversation
from polyhost.engine.faults import Faults
from polyhost.engine.hooks import Hooks, steer
from polyhost.engine.idle import Idle
from polyhost.engine.journal import Journal, PrinterRecord
from polyhost.engine.keeping import Keeping
from polyhost.engine.messages import EndedRun, HeldPrinter, MachineSettings
from polyhost.engine.news import News
from polyhost.engine.past_runs import PastRuns
from polyhost.engine.run import FileRun
from polyhost.engine.sending import Sending
from polyhost.firmware.marlin.replies import (
    DamagedLink,
    Dead,
    FirmwareError,
    FirmwareRestarted,
    HostAction,
    Reply,
    TemperaturesReported,
)

log = logging.getLogger(__name__)

LEAVE_S: Final = 5.0  # for the off list, before a link is closed


class Hub(Protocol):
    """Where a machine says what happened; never waits."""

    @property
    def listening(self) -> bool:
        """Whether anybody hears console lines."""

    @property
    def nobody_since(self) -> float | None:
        """When the last server went, on the monotonic clock; None while there is one."""

    def event(self, event: DriverEvent) -> None: ...

    def ended(self, ended: EndedRun) -> None: ...


class Machine:
    """A printer that this engine holds, from `Hold` to `Release`."""

    def __init__(self, name: str, record: PrinterRecord, journal: Journal, hub: Hub, clock: Clock) -> None:
        self.name = name
        self.settings = record.machine
        self.changed = True
        self.news = News(self)
        self.run: FileRun | None = None
        self.keeping = Keeping(self, journal)
        self._hub = hub
        self._clock = clock
        self._heat = heaters.Heat(record.hot, lambda: self.keeping.keep(self._heat_written))
        self.conversation = Conversation(self, self._heat, clock)
        self.connection = Connection(
            name, record.machine.link, self.conversation, self, clock, identity=record.identity
        )
        self.card = Card(self, self.conversation, clock, record.unfinished)
        self.card_requests = CardRequests(self)
        self.offsets: dict[str, float] = {}
        self.hooks = Hooks(self, hub.event)
        self._sending = Sending(self, self._heat, journal)
        self._faults = Faults(self)
        self.idle = Idle(self, clock)
        self.past_runs = PastRuns(name, record, clock.now())
        if record.hot or (record.wanted and record.machine.autoconnect):
            self.connection.want()

    # --- what servers ask

    def hold(self, settings: MachineSettings) -> None:
        """Take over changed settings."""
        if settings.link != self.settings.link:
            self.connection.settings = settings.link
        was_used = self.settings.handling.card
        self.settings = settings
        if was_used != settings.handling.card and self.connection.state is PrinterState.READY:
            self.card.use(settings.handling.card)
        self.keeping.keep()

    async def connect(self, port: str, baud: int) -> None:
        self.check_no_run("connect anew")
        self.idle.used()
        await self.connection.connect(port, baud)
        self.keeping.keep()

    async def disconnect(self) -> None:
        self.check_no_run("disconnect")
        await self._leave_cold()
        self.check_no_run("disconnect")  # nobody began one meanwhile
        self.connection.disconnect()
        self.keeping.keep()

    async def send(self, commands: Sequence[str], *, until_done: bool = False) -> tuple[str, ...]:
        self.check_ready()
        self.card.check_free()
        self.idle.used()
        return await self._sending.send(commands, until_done=until_done)

    def set_offsets(self, offsets: dict[str, float]) -> None:
        self.offsets |= offsets
        self.changed = True

    def emergency_stop(self) -> None:
        """M112 ahead of everything, whatever state the machine is in."""
        link = self.connection.link
        if link is None:
            raise NotNow(f"{self.name} is {self.connection.state.value}: nothing reaches it")
        # A board that writes to its card takes M112 for a part of the file, unless it looks at what arrives.
        link.write_first(b"M112\nM29\nM112\n" if self.card.busy else b"M112\n")
        log.warning("%s: emergency stop", self.name)
        self.stop_for("emergency stop (M112): reset the printer, then connect again", Cause.EMERGENCY)

    async def start(self, order: RunOrder) -> None:
        """Begin a run once the journal has it; the same run again changes nothing."""
        if order.run_id in self.past_runs or (self.run is not None and self.run.order.run_id == order.run_id):
            return
        self.check_ready()
        self.check_no_run("start another")
        kind = CardRun if order.on_card else FileRun
        run = self.run = kind(order, self.conversation, self, self._clock)
        if (past := self.past_runs.continued_by(order)) is not None:
            run.exclude(past.excluded, past.modal)
        self.past_runs.unfinished = None
        self.idle.used()
        await self.keeping.kept()
        if self.keeping.failure:
            run.close()
            self.run = None
            raise NoSpace(f"the run cannot be kept: {self.keeping.failure}")
        self.run_moved(run)
        if run.state is RunState.STARTING:
            log.info("%s: run %s of %s begins", self.name, order.run_id, order.name)
            run.begin()
            self.conversation.pump()

    def pause(self, run_id: str) -> None:
        self._active(run_id).pause()
        self.acted()

    def resume(self, run_id: str) -> None:
        run = self._active(run_id)
        self.check_ready()
        run.resume()
        self.acted()

    def cancel(self, run_id: str) -> None:
        self._active(run_id).cancel()
        self.acted()

    def exclude(self, run_id: str, objects: Sequence[NamedObject]) -> None:
        run = self._active(run_id)
        if run.order.on_card:
            raise NotNow(f"{self.name} prints from its own card: nothing of the file can be left out")
        run.exclude(objects)
        self._changed_much()
        self.acted()

    def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        self._active(run_id).layers = layers
        self.changed = True

    def forget(self, run_id: str) -> None:
        if self.past_runs.forget(run_id):
            self.keeping.keep()

    async def release(self) -> None:
        """`NotNow` while a run is on."""
        self.check_no_run("be removed")
        await self._leave_cold()
        self.check_no_run("be removed")
        self.connection.disconnect()

    async def _leave_cold(self) -> None:
        """The owner's script and heaters off before the link is closed: behind it, nobody would own them."""
        if self.connection.state is PrinterState.READY:
            await self.hooks.before_disconnect()
        if self._reachably_hot:
            off = asyncio.Event()
            self.switch_off(off.set)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await off.wait()

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.active

    @property
    def hot(self) -> bool:
        """Something was told to heat, and is not known to be off."""
        return self._heat.hot

    @property
    def safe(self) -> bool:
        """Nothing runs, the end of what ran is on the disk, and nothing that can be reached is hot."""
        told = self.run is None or (not self.run.active and self.run.shown_state is self.run.state)
        return told and not self._reachably_hot and not self.card.busy

    @property
    def _reachably_hot(self) -> bool:
        return self._heat.hot and self.connection.state is PrinterState.READY

    def held(self) -> HeldPrinter:
        return HeldPrinter(self.settings, self.news.snapshot(), self.past_runs.ended, self.card.files)

    def make_cold(self) -> None:
        """Before the engine ends: cancel what runs, switch off what is hot."""
        self.card.give_up("the engine ends")
        if self.run is not None and self.running:
            self.run.cancel()
            self.conversation.pump()
        elif self._reachably_hot:
            self.switch_off()

    def acted(self) -> None:
        self.idle.used()
        self.conversation.pump()

    def check_ready(self) -> None:
        if self.connection.state is not PrinterState.READY:
            why = f" ({self.connection.fault})" if self.connection.fault else ""
            raise NotNow(f"{self.name} is {self.connection.state.value}{why}; connect it first")

    def check_no_run(self, what: str) -> None:
        if self.run is not None and self.running:
            raise NotNow(f"{self.name} cannot {what} while its run is {self.run.state.value}")
        self.card.check_free()

    def _active(self, run_id: str) -> FileRun:
        if self.run is None or self.run.order.run_id != run_id:
            raise NotFound(f"{self.name} has no run {run_id}")
        if not self.run.active:
            raise NotNow(f"the run {run_id} has {self.run.state.value}")
        return self.run

    # --- what the firmware does

    def begun(self) -> None:
        session = self.conversation.session
        session.on_line = self._on_line
        # Ahead of everything, unnumbered: it may be hot, or write what it hears to its card, and was not greeted yet.
        first = [*self.card.end_writing()]
        if self._heat.hot:
            stop = card_run.STOP if self.past_runs.left_on_card else ()
            first += [b"M108", *stop, *heaters.off_list(self.settings)]
        for command in first:
            session.emergency(command)

    def greeted(self) -> None:
        self.connection.greeted()
        if self._heat.hot:
            self.switch_off()
        if self.settings.handling.card:
            self.card.greeted()
        self.hooks.greeted()

    def feed(self) -> None:
        self.card.feed()
        if self.run is not None:
            self.run.feed()

    def _on_line(self, sent: bool, text: str) -> None:
        if self._hub.listening:
            self.news.console.append(ConsoleLine(self._clock.now(), sent, text))

    def take(self, reply: Reply) -> None:
        if self.settings.handling.card:
            self.card.hear(reply, running=self.running)
        if isinstance(self.run, CardRun):
            self.run.hear(reply)
        match reply:
            case TemperaturesReported():
                quiet = not self.running and self.conversation.session.idle
                if self._heat.reported(self.conversation.picture.heaters, quiet=quiet):
                    self._changed_much()
            case HostAction(action, text):
                self._hub.event(HostActionRequested(self.name, action, text))
                self._act_for_firmware(action)
            case FirmwareError():
                self._faults.hear(reply)
            case DamagedLink(damaged, lines):
                text = f"{damaged} of {lines} lines were damaged on their way: look at the cable and its ferrites"
                self._hub.event(FirmwareSpoke(self.name, text))
            case FirmwareRestarted():
                self._restarted()
            case Dead(reason, cause):
                self.break_run(reason)
                self.connection.give_up(reason, cause)
            case _:
                pass

    def _restarted(self) -> None:
        """The firmware began anew: it has lost its place, its modes and its targets (R12)."""
        if self.connection.state is not PrinterState.READY:
            return
        self.conversation.picture.restarted()
        self.break_run("the printer's firmware restarted in the middle of the run")
        if self._heat.hot:
            self.switch_off()

    def _act_for_firmware(self, action: str) -> None:
        try:
            if action == "disconnect":
                self.break_run("the printer asked to be disconnected")
                self.connection.disconnect()
            elif self.run is not None and self.run.active:
                steer(self.run, action)
        except NotNow as refused:
            log.debug("%s: //action:%s: %s", self.name, action, refused)

    def link_lost(self, reason: str) -> None:
        self.conversation.end(reason)
        self.card.link_lost(reason)
        if self.run is not None and self.running:
            self.run.fail(f"link lost: {reason}")

    def state_changed(self) -> None:
        self.changed = True
        connection = self.connection
        self._hub.event(PrinterStateChanged(self.name, connection.state, connection.fault, connection.cause))
        if connection.state is PrinterState.READY:
            self.idle.used()
            self.keeping.keep()

    def stop_for(self, reason: str, cause: Cause) -> None:
        """The firmware does nothing any more: the conversation is over, and the off list is for one that still acts."""
        if self.connection.state is PrinterState.FAULTED:
            return  # the first words say it best
        link = self.connection.link
        if link is not None:
            stop = card_run.STOP if self.running and isinstance(self.run, CardRun) else ()
            link.write(b"".join(command + b"\n" for command in (*stop, *heaters.off_list(self.settings))))
        self.card.link_lost(reason)
        self.conversation.drop(MachineFault(reason))
        self.connection.faulted(reason, cause)
        if self.run is not None and self.running:
            self.run.fail(reason)
        self.keeping.keep()

    def break_run(self, reason: str) -> None:
        """Fail the run, if one is on, and make the machine safe: heaters off, then the script."""
        if self.run is None or not self.running:
            return
        script = self.run.order.scripts.after_failure or self.settings.off_script
        self.conversation.drop(NotNow(reason))
        self.run.fail(reason)
        self.conversation.break_waits()
        self.switch_off()
        self.conversation.say(self.hooks.lines_of(script, self.hooks.values()))

    # --- what the card asks

    def say_event(self, event: DriverEvent) -> None:
        self._hub.event(event)

    def transfer_changed(self) -> None:
        self.keeping.keep()

    # --- what the run asks

    def switch_off(self, then: Callable[[], None] | None = None) -> None:
        self.card.give_up("the heaters have to be switched off")
        acknowledged = self._heat.off_list()

        def off() -> None:
            printing = self.run is not None and self.run.state is RunState.PRINTING
            if not printing and acknowledged():
                self._changed_much()
            if then is not None:
                then()

        self.conversation.say(heaters.off_list(self.settings), off)

    def run_broke(self, reason: str) -> None:
        # Not from within the feeding that found it.
        asyncio.get_running_loop().call_soon(self.break_run, reason)

    def run_moved(self, run: FileRun) -> None:
        self.changed = True
        if run.active:
            self.keeping.keep()
            position = run.position if run.state is RunState.PAUSED else None
            self._hub.event(RunStateChanged(self.name, run.order.run_id, run.state, position=position))
            return
        ended = self.past_runs.add(run)
        why = f": {ended.reason}" if ended.reason else ""
        log.info("%s: run %s of %s %s%s", self.name, ended.run_id, run.order.name, ended.state.value, why)
        self.keeping.keep(lambda: self._tell_end(run, ended))

    def _tell_end(self, run: FileRun, ended: EndedRun) -> None:
        """The end is on the disk: others may know."""
        run.shown_state = run.state
        self.changed = True
        self._hub.event(RunStateChanged(self.name, ended.run_id, ended.state, ended.reason, ended.position))
        self._hub.ended(ended)

    # --- heat

    def _heat_written(self) -> None:
        if not self._heat.written(done=not self.keeping.failure):
            reason = f"nothing is heated while the journal cannot be written: {self.keeping.failure}"
            self.conversation.drop_held(NoSpace(reason))
            self._hub.event(FirmwareSpoke(self.name, reason))
            self.break_run(reason)
        self.conversation.say_held()

    def _changed_much(self) -> None:
        self.changed = True
        self.keeping.keep()

    def every_second(self, now: float) -> None:
        """Tell the journal how far the run is, and cool what nobody watches."""
        self.idle.cool(now, self._hub.nobody_since)
        if self.connection.state is PrinterState.READY and self.settings.handling.card:
            self.card.every_second(now, look=self._heat.hot and not self.running)
        if isinstance(self.run, CardRun):
            self.run.every_second(now)
        self.keeping.every_second()
