"""One machine: its link, the conversation on it, its heaters and its run, brought together.

What an engine does with a port is here on one page: `heard` feeds the session, `_pump` writes what the session
wants written and sleeps until the session's deadline.  Everything that heats goes through `say` and
`ready_to_send`, which hold it back until the journal knows (reliability, R9).
"""

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from polyhost.core.errors import Malformed, NoSpace, NotFound, NotNow
from polyhost.core.events import (
    ConsoleLine,
    DriverEvent,
    FirmwareSpoke,
    HostActionRequested,
    PrinterStateChanged,
    RunStateChanged,
)
from polyhost.core.events import SdFilesListed as CardListed
from polyhost.core.file import LayerIndex
from polyhost.core.job import ENDED, RunSignal, RunState, advance
from polyhost.core.ports import Clock, RunOrder
from polyhost.core.printer import Position, PrinterState, Snapshot, Temperature
from polyhost.engine import heaters
from polyhost.engine.connection import Connection
from polyhost.engine.journal import Journal, Kept, PrinterRecord, RunRecord, Went
from polyhost.engine.links import Link, SimulatedPort
from polyhost.engine.messages import EndedRun, HeldPrinter, MachineSettings
from polyhost.engine.run import FileRun
from polyhost.firmware.marlin.replies import (
    CommandsDone,
    DamagedLink,
    Dead,
    FirmwareError,
    FirmwareReported,
    FirmwareRestarted,
    HostAction,
    PositionReported,
    Reply,
    Said,
    SdFilesListed,
    SdReady,
    TemperaturesReported,
)
from polyhost.firmware.marlin.session import Lane, Session
from polyhost.firmware.marlin.simulator import Fault
from polyhost.gcode.modal import ModalState

log = logging.getLogger(__name__)

LOOK_S: Final = 0.1  # how late a deadline of the conversation may be seen
LEAVE_S: Final = 5.0  # for the off list, before a link is closed
PROGRESS_EVERY_S: Final = 0.2
_MOTION: Final = re.compile(r"(?:echo:)?\s*(M20[1345]\s.*)")
CONSOLE_LINES: Final = 1000  # kept for the next `Heard`; the oldest go first


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
        self.session = Session(window_lines=record.machine.window_lines, window_bytes=record.machine.window_bytes)
        self.modal = ModalState()
        self.position = Position()
        self.heaters: dict[str, Temperature] = {}
        self.console: deque[ConsoleLine] = deque(maxlen=CONSOLE_LINES)
        self.changed = True
        self._told_lines = 0
        self._told_at = 0.0
        self.run: FileRun | None = None
        self._journal = journal
        self._hub = hub
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.connection = Connection(name, record.machine.link, self, clock, identity=record.identity)
        self._greeting = False  # a conversation began and does not stand yet
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._heat = heaters.Heat(record.hot, lambda: self._keep(self._heat_written))
        self.said = 0
        self.offsets: dict[str, float] = {}
        self._motion: list[str] = []  # what M503 said so far of how fast the machine moves
        self._held: deque[tuple[Sequence[bytes], Callable[[], None] | None]] = deque()
        self._person_at = clock.monotonic()
        self._position_known = False
        self._sd_ready = False
        self._unfinished: RunRecord | None = record.run
        self._ended = {ended.run_id: ended for ended in record.ended}
        if record.run is not None and record.run.state not in ENDED:
            self._interrupt(record.run)
        if record.hot or (record.wanted and record.machine.autoconnect):
            self.connection.want()

    def _interrupt(self, run: RunRecord) -> None:
        """The engine that held `run` died."""
        reason = "the engine that held the printer ended in the middle of the run"
        self._unfinished = msgspec.structs.replace(run, state=advance(run.state, RunSignal.ENGINE_DIED))
        self._ended[run.order.run_id] = EndedRun(
            run_id=run.order.run_id,
            state=RunState.INTERRUPTED,
            reason=reason,
            ended_at=self._clock.now(),
            elapsed_s=run.elapsed_s,
            printing_s=run.printing_s,
            file_bytes=run.file_bytes,
        )
        log.warning("%s: run %s of %s was interrupted", self.name, run.order.run_id, run.order.name)

    # --- what servers ask

    def hold(self, settings: MachineSettings) -> None:
        """Take over changed settings."""
        if settings.link != self.settings.link:
            self.connection.settings = settings.link
        self.settings = settings
        self._keep()

    async def connect(self, port: str, baud: int) -> None:
        self._no_run("connect anew")
        self._touch()
        await self.connection.connect(port, baud)
        self._keep()

    async def disconnect(self) -> None:
        self._no_run("disconnect")
        await self._leave_cold()
        self._no_run("disconnect")  # nobody began one meanwhile
        self.connection.disconnect()
        self._keep()

    def send(self, commands: Sequence[str]) -> None:
        self._ready()
        lines = [command.encode("ascii", "replace") for command in commands]
        if any(b"\n" in line or b"\r" in line for line in lines):
            raise Malformed("a command is one line")
        if self._journal.failure and self._heat.must_wait(lines):
            raise NoSpace(f"nothing is heated while the journal cannot be written: {self._journal.failure}")
        self._touch()
        self.say(lines)

    def set_offsets(self, offsets: dict[str, float]) -> None:
        self.offsets |= offsets
        self.changed = True

    def emergency_stop(self) -> None:
        """M112 ahead of everything, whatever state the machine is in."""
        link = self.connection.link
        if link is None:
            raise NotNow(f"{self.name} is {self.connection.state.value}: nothing reaches it")
        link.write_first(b"M112\n")
        log.warning("%s: emergency stop", self.name)
        self._stopped("emergency stop (M112): reset the printer, then connect again")

    async def start(self, order: RunOrder) -> None:
        """Begin a run once the journal has it; the same run again changes nothing."""
        if order.run_id in self._ended or (self.run is not None and self.run.order.run_id == order.run_id):
            return
        self._ready()
        self._no_run("start another")
        run = self.run = FileRun(order, self, self._clock)
        self._unfinished = None
        self._touch()
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
            self._pump()

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

    def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        self._active(run_id).layers = layers
        self.changed = True

    def unfinished(self, run_id: str) -> RunRecord:
        """What the journal knows of a run that ended before its time; `NotFound` when it knows nothing (any more)."""
        if self._unfinished is None or self._unfinished.order.run_id != run_id or self._unfinished.modal is None:
            raise NotFound(f"the journal has nothing on the run {run_id}; print the file from its beginning")
        return self._unfinished

    def forget(self, run_id: str) -> None:
        if self._ended.pop(run_id, None) is not None:
            self._keep()

    async def release(self) -> None:
        """`NotNow` while a run is on."""
        self._no_run("be removed")
        await self._leave_cold()
        self._no_run("be removed")
        self.connection.disconnect()

    async def _leave_cold(self) -> None:
        """Heaters off before the link is closed: behind it, nobody would own them."""
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
        return told and not self._reachably_hot

    @property
    def _reachably_hot(self) -> bool:
        return self._heat.hot and self.connection.state is PrinterState.READY

    def held(self) -> HeldPrinter:
        return HeldPrinter(machine=self.settings, snapshot=self.snapshot(), ended=tuple(self._ended.values()))

    def make_cold(self) -> None:
        """Before the engine ends: cancel what runs, switch off what is hot."""
        if self.run is not None and self.running:
            self.run.cancel()
            self._pump()
        elif self._reachably_hot:
            self.switch_off()

    def _acted(self) -> None:
        self._touch()
        self._pump()

    def _touch(self) -> None:
        self._person_at = self._clock.monotonic()

    def _ready(self) -> None:
        if self.connection.state is not PrinterState.READY:
            why = f" ({self.connection.fault})" if self.connection.fault else ""
            raise NotNow(f"{self.name} is {self.connection.state.value}{why}; connect it first")

    def _no_run(self, what: str) -> None:
        if self.run is not None and self.running:
            raise NotNow(f"{self.name} cannot {what} while its run is {self.run.state.value}")

    def _active(self, run_id: str) -> FileRun:
        if self.run is None or self.run.order.run_id != run_id:
            raise NotFound(f"{self.name} has no run {run_id}")
        if not self.run.active:
            raise NotNow(f"the run {run_id} has {self.run.state.value}")
        return self.run

    # --- the conversation

    def begin(self, link: Link) -> None:
        self.session = Session(window_lines=self.settings.window_lines, window_bytes=self.settings.window_bytes)
        self.session.on_line = self._on_line
        self._greeting = True
        self.modal = ModalState()
        self.heaters = {}
        self._held.clear()
        self._sd_ready = False
        now = self._clock.monotonic()
        self.session.opened(now)
        if self._heat.hot:
            self._off_now()
        self._pump()

    def _off_now(self) -> None:
        """The off list ahead of everything, unnumbered: for a machine that may be hot and was not greeted yet."""
        for command in (b"M108", *heaters.off_list(self.settings)):
            self.session.emergency(command)

    def heard(self, data: bytes) -> None:
        now = self._clock.monotonic()
        for reply in self.session.receive(data, now):
            self._take(reply)
        if self._greeting and self.session.greeted:
            self._greeting = False
            self.connection.greeted()
            if self._heat.hot:
                self.switch_off()
        self._pump(now)

    def _pump(self, now: float | None = None) -> None:
        connection, session, run = self.connection, self.session, self.run
        link = connection.link
        if link is None or connection.state is PrinterState.FAULTED:
            return
        if run is not None:
            run.feed()
        if now is None:
            now = self._clock.monotonic()
        data = session.data_to_send(now)
        soon = now + LOOK_S
        if data:
            link.write(data)
            if self._timer is not None and self._timer_at <= soon:
                return  # in a running print this is every time
        at = session.next_deadline()
        if data and (at is None or at > soon):
            at = soon
        if at is not None and (self._timer is None or at < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(max(0.0, at - now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        deadline = self.session.next_deadline()
        if deadline is not None and deadline <= now and self.connection.link is not None:
            for reply in self.session.tick(now):
                self._take(reply)
        self._pump()

    def _on_line(self, sent: bool, text: str) -> None:
        if self._hub.listening:
            self.console.append(ConsoleLine(self._clock.now(), sent, text))

    def _take(self, reply: Reply) -> None:
        self.changed = True
        match reply:
            case TemperaturesReported(reported):
                self._temperatures(reported)
            case PositionReported():
                self.position = Position(reply.x, reply.y, reply.z, reply.e)
                self._position_known = True
            case CommandsDone(tag):
                if callable(tag):
                    tag()
            case FirmwareReported(firmware):
                if "EEPROM" in firmware.capabilities:
                    self._motion.clear()
                    self.session.queue([b"M503"], Lane.HOST)
            case Said(text):
                if motion := _MOTION.match(text):
                    self._motion.append(motion[1])
            case SdFilesListed(files):
                self._hub.event(CardListed(self.name, tuple((file.name, file.size_bytes) for file in files)))
            case SdReady(ready):
                self._sd_ready = ready
            case HostAction(action, text):
                self._hub.event(HostActionRequested(self.name, action, text))
                self._act_for_firmware(action)
            case FirmwareError(text, fatal):
                self._hub.event(FirmwareSpoke(self.name, text, fault=fatal))
                if fatal:
                    self._stopped(f"the firmware stopped: {text}")
            case DamagedLink(damaged, lines):
                text = f"{damaged} of {lines} lines were damaged on their way: look at the cable and its ferrites"
                self._hub.event(FirmwareSpoke(self.name, text))
            case FirmwareRestarted():
                self._restarted()
            case Dead(reason):
                self._break(reason)
                self.connection.give_up(reason)
            case _:
                pass

    def _restarted(self) -> None:
        """The firmware began anew: it has lost its place, its modes and its targets (R12)."""
        if self.connection.state is not PrinterState.READY:
            return
        self.modal = ModalState()
        self._break("the printer's firmware restarted in the middle of the run")
        if self._heat.hot:
            self.switch_off()

    def _act_for_firmware(self, action: str) -> None:
        run = self.run
        try:
            if action == "disconnect":
                self._break("the printer asked to be disconnected")
                self.connection.disconnect()
            elif run is not None and run.active:
                match action:
                    case "pause":
                        run.pause()
                    case "paused":
                        run.pause(quietly=True)
                    case "resume":
                        run.resume()
                    case "resumed":
                        run.resume(quietly=True)
                    case "cancel":
                        run.cancel()
                    case _:
                        pass
        except NotNow as refused:
            log.debug("%s: //action:%s: %s", self.name, action, refused)

    def link_lost(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        if self.run is not None and self.running:
            self.run.fail(f"link lost: {reason}")

    def state_changed(self) -> None:
        self.changed = True
        connection = self.connection
        self._hub.event(PrinterStateChanged(self.name, connection.state, connection.fault))
        if connection.state is PrinterState.READY:
            self._touch()
            self._keep()

    def _stopped(self, reason: str) -> None:
        """The firmware does nothing any more: the conversation is over, and the off list is for one that still acts."""
        if self.connection.state is PrinterState.FAULTED:
            return  # the first words say it best
        link = self.connection.link
        if link is not None:
            link.write(b"".join(command + b"\n" for command in heaters.off_list(self.settings)))
        self.session.drop(Lane.HOST)
        self._held.clear()
        self.connection.faulted(reason)
        if self.run is not None and self.running:
            self.run.fail(reason)
        self._keep()

    def _break(self, reason: str) -> None:
        """Fail the run, if one is on, and make the machine safe: heaters off, then the script."""
        if self.run is None or not self.running:
            return
        script = self.run.order.scripts.after_failure or self.settings.off_script
        self.session.drop(Lane.HOST)
        self._held.clear()
        self.run.fail(reason)
        self.break_waits()
        self.switch_off()
        self.say([line.encode("ascii", "replace") for line in script])

    # --- what the run asks

    def say(self, lines: Sequence[bytes], then: Callable[[], None] | None = None) -> None:
        if lines:
            self._held.append((lines, then))
            self._say_held()
        elif then is not None:
            then()

    def _say_held(self) -> None:
        while self._held:
            lines, then = self._held[0]
            if not self.ready_to_send(lines):
                break
            self._held.popleft()
            self._heat.sent(lines)
            self.said += len(lines)
            self.session.queue(lines, Lane.HOST, then)
            self._advance(lines)
            self._position_known = False
        self.changed = True
        self._pump()

    def _advance(self, lines: Sequence[bytes]) -> None:
        """Follow the host's own lines; a target shows at once, not only in the firmware's next report."""
        before = self._told()
        self.modal.advance(lines)
        for heater, target in self._told().items():
            if before.get(heater) != target and heater in self.heaters:
                self.heaters = self.heaters | {heater: msgspec.structs.replace(self.heaters[heater], target=target)}

    def ready_to_send(self, lines: Sequence[bytes]) -> bool:
        return self._heat.allows(lines)

    def _heat_written(self) -> None:
        if not self._heat.written(done=not self._journal.failure):
            self._held.clear()
            reason = f"nothing is heated while the journal cannot be written: {self._journal.failure}"
            self._hub.event(FirmwareSpoke(self.name, reason))
            self._break(reason)
        self._say_held()

    def targets(self) -> dict[str, float]:
        reported = {name: heater.target for name, heater in self.heaters.items() if heater.target is not None}
        return self._told() | reported

    def _told(self) -> dict[str, float]:
        told = {f"tool{tool}": target for tool, target in self.modal.hotends.items()}
        return told | {"bed": self.modal.bed, "chamber": self.modal.chamber}

    def switch_off(self, then: Callable[[], None] | None = None) -> None:
        acknowledged = self._heat.off_list()

        def off() -> None:
            printing = self.run is not None and self.run.state is RunState.PRINTING
            if not printing and acknowledged():
                self._cooled()
            if then is not None:
                then()

        self.say(heaters.off_list(self.settings), off)

    def break_waits(self) -> None:
        if self.session.firmware.capabilities.get("EMERGENCY_PARSER"):
            self.session.emergency(b"M108")

    def run_broke(self, reason: str) -> None:
        # Not from within the feeding that found it.
        self._loop.call_soon(self._break, reason)

    def run_moved(self, run: FileRun) -> None:
        self.changed = True
        if run.active:
            self._keep()
            self._hub.event(RunStateChanged(self.name, run.order.run_id, run.state))
            return
        ended = run.ended()
        why = f": {ended.reason}" if ended.reason else ""
        log.info("%s: run %s of %s %s%s", self.name, ended.run_id, run.order.name, ended.state.value, why)
        self._ended[ended.run_id] = ended
        self._unfinished = run.record() if ended.state is RunState.FAILED else None
        self._keep(lambda: self._tell_end(run, ended))

    def _tell_end(self, run: FileRun, ended: EndedRun) -> None:
        """The end is on the disk: others may know."""
        run.shown_state = run.state
        self.changed = True
        self._hub.event(RunStateChanged(self.name, ended.run_id, ended.state, ended.reason))
        self._hub.ended(ended)

    # --- heat

    def _temperatures(self, reported: dict[str, Temperature]) -> None:
        self.heaters = self.heaters | reported
        if self._heat.reported(self.heaters, quiet=not self.running and self.session.idle):
            self._cooled()

    def _cooled(self) -> None:
        self.changed = True
        self._keep()

    def cool_if_idle(self, now: float) -> None:
        """Switch off what nobody watches: idle or paused, hot, and no person for the time that the settings allow."""
        run = self.run
        paused = run is not None and run.state is RunState.PAUSED
        if not self._heat.hot or (self.running and not paused) or self.connection.state is not PrinterState.READY:
            return
        unwatched_s = now - self._person_at
        nobody_since = self._hub.nobody_since
        alone_s = 0.0 if nobody_since is None else now - max(nobody_since, self._person_at)
        if (self.settings.idle_off_s and unwatched_s >= self.settings.idle_off_s) or alone_s >= heaters.NOBODY_S:
            log.info("%s: heaters off, nobody used the printer for %d min", self.name, unwatched_s / 60)
            if run is not None and paused and not run.cooled:
                run.cooled = self.targets()
            self._touch()
            self.switch_off()

    # --- accounts

    def every_second(self, now: float) -> None:
        """Tell the journal how far the run is, and cool what nobody watches."""
        self.cool_if_idle(now)
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
                    modal=self.modal.copy(),
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
                    run=run.record() if run is not None and run.active else self._unfinished,
                    ended=tuple(self._ended.values()),
                ),
            ),
            then,
        )

    def has_news(self, now: float) -> bool:
        """Whether a snapshot is due: something changed, or lines went out for a while."""
        if not self.changed and (self.session.lines_sent == self._told_lines or now - self._told_at < PROGRESS_EVERY_S):
            return False
        self.changed = False
        self._told_lines, self._told_at = self.session.lines_sent, now
        return True

    def snapshot(self) -> Snapshot:
        connection, modal, session, run = self.connection, self.modal, self.session, self.run
        progress = run.progress() if run is not None else None
        if run is not None and run.state is RunState.PRINTING:
            self._position_known = False  # the file moves on from what was reported
        return Snapshot(
            printer=self.name,
            state=connection.state,
            fault=connection.fault,
            port=connection.port,
            baud=connection.baud,
            firmware=msgspec.structs.replace(session.firmware, motion=tuple(self._motion)),
            heaters=self.heaters,
            offsets=self.offsets,
            tool=modal.tool,
            position=self.position if self._position_known else Position(modal.x, modal.y, modal.z, modal.e),
            homed=modal.homed.lower(),
            fan=modal.fan,
            feedrate_factor=modal.speed_factor,
            flow_factor=modal.flow_factor,
            sd_ready=self._sd_ready,
            hot=self._heat.hot,
            lines_sent=session.lines_sent,
            resends=session.resends,
            run=progress,
        )
