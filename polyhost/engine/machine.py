"""One machine: its link, the conversation on it, its heaters and its run, brought together.

What servers ask is here, what follows from a firmware's words, when heaters go off, and what the journal keeps.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from polyhost.core.card import CardOrder
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
from polyhost.engine.card_run import CardRun
from polyhost.engine.connection import Connection
from polyhost.engine.conversation import Conversation
from polyhost.engine.faults import Faults
from polyhost.engine.hooks import Hooks, steer
from polyhost.engine.journal import Journal, Kept, PrinterRecord, Went
from polyhost.engine.links import SimulatedPort
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
from polyhost.firmware.marlin.simulator import Fault

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
        self._journal = journal
        self._hub = hub
        self._clock = clock
        self._heat = heaters.Heat(record.hot, lambda: self._keep(self._heat_written))
        self.conversation = Conversation(self, self._heat, clock)
        self.connection = Connection(
            name, record.machine.link, self.conversation, self, clock, identity=record.identity
        )
        self.card = Card(self, self.conversation, clock, record.unfinished)
        self.offsets: dict[str, float] = {}
        self.hooks = Hooks(self, hub.event)
        self._sending = Sending(self, self._heat, journal)
        self._faults = Faults(self)
        self._watch = heaters.Watch(clock)
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
        self._keep()

    async def connect(self, port: str, baud: int) -> None:
        self._no_run("connect anew")
        self._watch.used()
        await self.connection.connect(port, baud)
        self._keep()

    async def disconnect(self) -> None:
        self._no_run("disconnect")
        await self._leave_cold()
        self._no_run("disconnect")  # nobody began one meanwhile
        self.connection.disconnect()
        self._keep()

    async def send(self, commands: Sequence[str], *, until_done: bool = False) -> tuple[str, ...]:
        self._ready()
        self.card.check_free()
        self._watch.used()
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
        self._ready()
        self._no_run("start another")
        kind = CardRun if order.on_card else FileRun
        run = self.run = kind(order, self.conversation, self, self._clock)
        if (past := self.past_runs.continued_by(order)) is not None:
            run.exclude(past.excluded, past.modal)
        self.past_runs.unfinished = None
        self._watch.used()
        written = asyncio.Event()
        self._keep(written.set)
        await written.wait()
        if self._journal.failure:
            run.close()
            self.run = None
            raise NoSpace(f"the run cannot be kept: {self._journal.failure}")
        self.run_moved(run)
        if run.state is RunState.STARTING:
            log.info("%s: run %s of %s begins", self.name, order.run_id, order.name)
            run.begin()
            self.conversation.pump()

    async def read_card(self, *, initialise: bool) -> None:
        self._card_free("list its card")
        await (self.card.initialise() if initialise else self.card.refresh())

    async def release_card(self) -> None:
        self._card_free("release its card")
        await self.card.release()

    async def delete_from_card(self, name: str) -> None:
        self._card_free("delete from its card")
        await self.card.delete(name)

    async def send_to_card(self, order: CardOrder) -> None:
        self._card_free("take a file")
        if self._heat.hot:
            raise NotNow(
                f"{self.name} has heaters on, and nothing could switch them off while it takes a file for its card; "
                "switch them off first"
            )
        self.card.begin(order)
        self._watch.used()
        written = asyncio.Event()
        self._keep(written.set)
        await written.wait()
        self.card.open_file()

    def stop_transfer(self) -> None:
        self.card.cancel()
        self._acted()

    def _card_free(self, what: str) -> None:
        self._ready()
        if not self.settings.handling.card:
            raise NotFound(f"{self.name}'s own card is not used")
        self._no_run(what)
        if self.card.prints_by_itself:
            raise NotNow(f"{self.name} prints from its card by itself")

    def pause(self, run_id: str) -> None:
        self._active(run_id).pause()
        self._acted()

    def resume(self, run_id: str) -> None:
        run = self._active(run_id)
        self._ready()
        run.resume()
        self._acted()

    def cancel(self, run_id: str) -> None:
        self._active(run_id).cancel()
        self._acted()

    def exclude(self, run_id: str, objects: Sequence[NamedObject]) -> None:
        run = self._active(run_id)
        if run.order.on_card:
            raise NotNow(f"{self.name} prints from its own card: nothing of the file can be left out")
        run.exclude(objects)
        self.changed = True
        self._keep()
        self._acted()

    def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        self._active(run_id).layers = layers
        self.changed = True

    def forget(self, run_id: str) -> None:
        if self.past_runs.forget(run_id):
            self._keep()

    async def release(self) -> None:
        """`NotNow` while a run is on."""
        self._no_run("be removed")
        await self._leave_cold()
        self._no_run("be removed")
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

    def misbehave(self, fault: str, argument: float) -> None:
        link = self.connection.link
        if not isinstance(link, SimulatedPort):
            raise NotNow(f"{self.name} is no connected virtual printer")
        try:
            link.misbehave(Fault(fault), argument)
        except ValueError:
            known = ", ".join(known.value for known in Fault)
            raise NotFound(f"no fault {fault}; there are {known}") from None

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

    def _acted(self) -> None:
        self._watch.used()
        self.conversation.pump()

    def _ready(self) -> None:
        if self.connection.state is not PrinterState.READY:
            why = f" ({self.connection.fault})" if self.connection.fault else ""
            raise NotNow(f"{self.name} is {self.connection.state.value}{why}; connect it first")

    def _no_run(self, what: str) -> None:
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
                    self._cooled()
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
            self._watch.used()
            self._keep()

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
        self._keep()

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
        self._keep()

    # --- what the run asks

    def switch_off(self, then: Callable[[], None] | None = None) -> None:
        self.card.give_up("the heaters have to be switched off")
        acknowledged = self._heat.off_list()

        def off() -> None:
            printing = self.run is not None and self.run.state is RunState.PRINTING
            if not printing and acknowledged():
                self._cooled()
            if then is not None:
                then()

        self.conversation.say(heaters.off_list(self.settings), off)

    def run_broke(self, reason: str) -> None:
        # Not from within the feeding that found it.
        asyncio.get_running_loop().call_soon(self.break_run, reason)

    def run_moved(self, run: FileRun) -> None:
        self.changed = True
        if run.active:
            self._keep()
            position = run.position if run.state is RunState.PAUSED else None
            self._hub.event(RunStateChanged(self.name, run.order.run_id, run.state, position=position))
            return
        ended = self.past_runs.add(run)
        why = f": {ended.reason}" if ended.reason else ""
        log.info("%s: run %s of %s %s%s", self.name, ended.run_id, run.order.name, ended.state.value, why)
        self._keep(lambda: self._tell_end(run, ended))

    def _tell_end(self, run: FileRun, ended: EndedRun) -> None:
        """The end is on the disk: others may know."""
        run.shown_state = run.state
        self.changed = True
        self._hub.event(RunStateChanged(self.name, ended.run_id, ended.state, ended.reason, ended.position))
        self._hub.ended(ended)

    # --- heat

    def _heat_written(self) -> None:
        if not self._heat.written(done=not self._journal.failure):
            reason = f"nothing is heated while the journal cannot be written: {self._journal.failure}"
            self.conversation.drop_held(NoSpace(reason))
            self._hub.event(FirmwareSpoke(self.name, reason))
            self.break_run(reason)
        self.conversation.say_held()

    def _cooled(self) -> None:
        self.changed = True
        self._keep()

    def cool_if_idle(self, now: float) -> None:
        """Switch off what nobody watches: idle or paused, hot, and no person for the time that the settings allow."""
        run = self.run
        paused = run is not None and run.state is RunState.PAUSED
        if not self._heat.hot or (self.running and not paused) or self.connection.state is not PrinterState.READY:
            return
        if self.card.prints_by_itself:
            self._watch.used()  # there is somebody at the machine
            return
        unwatched_s = self._watch.left_alone(now, self.settings.idle_off_s, self._hub.nobody_since)
        if unwatched_s:
            log.info("%s: heaters off, nobody used the printer for %d min", self.name, unwatched_s / 60)
            if run is not None and paused and not run.cooled:
                run.cooled = self.conversation.picture.targets
            self._watch.used()
            self.switch_off()

    # --- accounts

    def every_second(self, now: float) -> None:
        """Tell the journal how far the run is, and cool what nobody watches."""
        self.cool_if_idle(now)
        if self.connection.state is PrinterState.READY and self.settings.handling.card:
            self.card.every_second(now, look=self._heat.hot and not self.running)
        if isinstance(self.run, CardRun):
            self.run.every_second(now)
        if self._journal.failure:
            self._keep()  # the disk may take it by now
        run = self.run
        if run is not None and run.active:
            now_at = run.progress()
            self._journal.write(
                Went(
                    self.name,
                    elapsed_s=now_at.elapsed_s,
                    printing_s=now_at.printing_s,
                    file_bytes=now_at.file_bytes,
                    lines=now_at.lines,
                    modal=self.conversation.picture.modal.copy(),
                )
            )

    def _keep(self, then: Callable[[], None] | None = None) -> None:
        run = self.run
        self._journal.write(
            Kept(
                self.name,
                PrinterRecord(
                    machine=msgspec.structs.replace(self.settings, link=self.connection.settings),
                    wanted=self.connection.wanted,
                    hot=self._heat.hot,
                    identity=self.connection.identity,
                    run=run.record() if run is not None and run.active else self.past_runs.unfinished,
                    ended=self.past_runs.ended,
                    unfinished=self.card.unfinished,
                ),
            ),
            then,
        )
