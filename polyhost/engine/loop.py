"""The engine's process: printers, servers that come and go, the journal, and the beat that ties them.

A server speaks the frames of `messages` over a Unix socket of mode 0600.  None can hold up a printer: what a server
does not read is bounded by `LAGGING_BYTES`, from there on it gets the latest snapshots only, and after `LAGGING_S`
it is dropped.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Final, cast

import msgspec

import polyhost
from polyhost.core.errors import Malformed, NotFound, NotNow, PolyhostError
from polyhost.core.events import ConsoleLines, DriverEvent
from polyhost.core.ports import Clock
from polyhost.engine import messages as m
from polyhost.engine.journal import Journal, Kept, PrinterRecord, Released
from polyhost.engine.machine import Machine
from polyhost.engine.resuming import plan_of

log = logging.getLogger(__name__)

MAX_PRINTERS: Final = 16
BEAT_S: Final = 0.2  # each wakes a process that slept: on an idle machine that costs more than what it does
BEATS_PER_SECOND: Final = round(1 / BEAT_S)
STALL_S: Final = 0.25
LAGGING_BYTES: Final = 256 * 1024
LAGGING_S: Final = 30.0
MAX_ANSWERS: Final = 64  # requests of one server that are being worked on
MAX_EVENTS: Final = 1000  # between two beats
LEAVE_S: Final = 1.0  # for servers to read the last words
STOP_S: Final = 10.0  # for making machines safe before the end


class SystemClock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Server(asyncio.Protocol):
    """One connection of a server."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._frames = m.Frames()
        self._transport: asyncio.Transport | None = None
        self._lagging_since: float | None = None
        self._answers = 0
        self.protocol = 0  # what it speaks, once it has greeted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._engine.servers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._engine.server_gone(self)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.receive(data):
                self._answer(m.request_of(body))
        except (ValueError, msgspec.DecodeError) as error:
            log.warning("a server sent what is no request, and is dropped: %s", error)
            self.drop()

    def _answer(self, request: m.Request) -> None:
        if self._answers >= MAX_ANSWERS:
            self.say(m.Refused(request.id, "TooMany", f"more than {MAX_ANSWERS} requests at once"))
            return
        try:
            answer = self._engine.answer(self, request)
        except PolyhostError as refused:
            self.say(m.Refused(request.id, type(refused).__name__, str(refused)))
            return
        if isinstance(answer, m.Done):
            self._answered(answer)
        else:
            # Those who wait for a machine are bounded by it, and keep nobody else from being answered.
            counted = not (isinstance(request, m.Send) and request.until_done)
            self._answers += counted
            self._engine.spawn(self._answer_later(request.id, answer, counted), f"answer {type(request).__name__}")

    async def _answer_later(self, id: int, answer: Coroutine[None, None, m.Done], counted: bool) -> None:
        try:
            self._answered(await answer)
        except PolyhostError as refused:
            self.say(m.Refused(id, type(refused).__name__, str(refused)))
        finally:
            self._answers -= counted

    def _answered(self, done: m.Done) -> None:
        """What the request changed is said before its answer: who asked sees it at once."""
        self._engine.tell()
        self.say(done)

    def say(self, message: m.Said) -> None:
        self.write(m.frame(message))

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    @property
    def waiting_bytes(self) -> int:
        """What this server has not read yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def lagging(self, now: float) -> bool:
        """Whether this server has enough to read; one that never does is dropped."""
        if self.waiting_bytes < LAGGING_BYTES:
            self._lagging_since = None
            return False
        if self._lagging_since is None:
            self._lagging_since = now
        elif now - self._lagging_since > LAGGING_S:
            log.warning("a server has not read for %d s, and is dropped", LAGGING_S)
            self.drop()
        return True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Engine:
    """Holds up to 16 printers.  `directory` keeps the journal; `socket` is where servers attach."""

    def __init__(self, directory: Path, socket: Path, clock: Clock | None = None) -> None:
        self._directory = directory
        self._socket = socket
        self._clock: Clock = clock or SystemClock()
        self._machines: dict[str, Machine] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self.servers: set[Server] = set()
        self.nobody_since: float | None = self._clock.monotonic()
        self._events: list[DriverEvent] = []
        self._ends: list[m.EndedRun] = []
        self._stop = asyncio.Event()
        self._deserted = asyncio.Event()  # the last server went
        self._journal = Journal(directory / "journal", asyncio.get_running_loop().call_soon_threadsafe)
        self._group = asyncio.TaskGroup()

    # --- the process

    async def run(self) -> None:
        """Hold printers until `stop`; the machines are safe when this returns."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            records = self._journal.read()
            self._journal.start()
            try:
                async with self._group:
                    for name, record in records.items():
                        self._take_on(name, record)
                    listener = await self._listen()
                    beat = self.spawn(self._beat(), "beat")
                    await self._stop.wait()
                    listener.close()
                    self._socket.unlink(missing_ok=True)
                    await self._make_cold()
                    beat.cancel()
                    for keeper in self._keepers.values():
                        keeper.cancel()
                    await self._take_leave()
            finally:
                self._journal.close()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No two engines work on one journal: the lock dies with the process."""
        lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NotNow(f"another engine works in {self._directory}") from None
            os.truncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            yield
        finally:
            os.close(lock)

    async def _listen(self) -> asyncio.Server:
        self._socket.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            return await asyncio.get_running_loop().create_unix_server(lambda: Server(self), str(self._socket))
        finally:
            os.umask(before)

    def stop(self) -> None:
        self._stop.set()

    def spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Start a task.  One that breaks is logged and takes no other printer with it."""

        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("%s broke", name)

        return self._group.create_task(guarded(), name=name)

    async def _make_cold(self) -> None:
        """Cancel runs, switch heaters off, and give the machines time to take it."""
        for machine in self._machines.values():
            machine.make_cold()
        end = time.monotonic() + STOP_S
        while not all(machine.safe for machine in self._machines.values()):
            if time.monotonic() > end:
                log.warning("some machine could not be made safe in %d s", STOP_S)
                return
            await asyncio.sleep(BEAT_S / 2)

    async def _take_leave(self) -> None:
        """Tell the servers the last news, and close."""
        self.tell()
        for server in self.servers:
            server.close()
        self._deserted.clear()
        if self.servers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._deserted.wait()
        for server in list(self.servers):
            server.drop()

    def _take_on(self, name: str, record: PrinterRecord) -> Machine:
        machine = Machine(name, record, self._journal, self, self._clock)
        self._machines[name] = machine
        self._keepers[name] = self.spawn(machine.connection.run(), f"{name}: link")
        return machine

    # --- the beat

    async def _beat(self) -> None:
        beats = 0
        due = time.monotonic()
        while True:
            due += BEAT_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            if late > STALL_S:
                log.warning("the engine stood still for %.2f s", late)
                due = time.monotonic()
            beats += 1
            if beats % BEATS_PER_SECOND == 0:
                now = self._clock.monotonic()
                for machine in self._machines.values():
                    machine.every_second(now)
            self.tell()

    def tell(self) -> None:
        """Say what changed since the last time to every server."""
        events, self._events = tuple(self._events), []
        ends, self._ends = tuple(self._ends), []
        snapshots, console = [], []
        now = time.monotonic()
        for name, machine in self._machines.items():
            news = machine.news
            if news.due(now):
                snapshots.append(news.snapshot())
            if news.console:
                console.append(ConsoleLines(name, tuple(news.console)))
                news.console.clear()
        if not self.servers or not (snapshots or events or ends or console):
            return
        everything = m.Heard(tuple(snapshots), events, tuple(console), ends)
        framed: dict[int, bytes] = {}  # by protocol
        for server in [server for server in self.servers if server.protocol]:
            if not server.lagging(now):
                if server.protocol not in framed:
                    framed[server.protocol] = m.frame(m.heard_in(server.protocol, everything))
                server.write(framed[server.protocol])
            elif snapshots or ends:
                # It misses console lines and events; ends are told again when it attaches anew.
                server.write(m.frame(m.Heard(tuple(snapshots), (), (), ends)))

    # --- what machines say

    @property
    def listening(self) -> bool:
        return bool(self.servers)

    def event(self, event: DriverEvent) -> None:
        if len(self._events) < MAX_EVENTS:
            self._events.append(event)

    def ended(self, ended: m.EndedRun) -> None:
        self._ends.append(ended)

    def server_gone(self, server: Server) -> None:
        self.servers.discard(server)
        if not self.servers:
            self.nobody_since = self._clock.monotonic()
            self._deserted.set()

    # --- what servers ask

    def answer(self, server: Server, request: m.Request) -> m.Done | Coroutine[None, None, m.Done]:
        """The answer to `request`, or what will be; raises what it is refused with."""
        id = request.id
        match request:
            case m.Hello():
                return self._welcome(server, request)
            case m.Ping():
                return m.Done(id)
            case m.Stop():
                self._stop_asked(request.cancel_runs)
            case m.Hold():
                self._hold(request.printer, request.machine)
            case m.Release():
                return self._done(id, self._release(request.printer))
            case m.Connect():
                return self._done(id, self._machine(request.printer).connect(request.port, request.baud))
            case m.Disconnect():
                return self._done(id, self._machine(request.printer).disconnect())
            case m.Send():
                return self._sent(id, self._machine(request.printer), request)
            case m.SetOffsets():
                self._machine(request.printer).set_offsets(request.offsets)
            case m.EmergencyStop():
                self._machine(request.printer).emergency_stop()
            case m.StartRun():
                return self._done(id, self._machine(request.printer).start(request.order))
            case m.ExcludeObjects():
                self._machine(request.printer).exclude(request.run_id, request.objects)
            case m.PauseRun():
                self._machine(request.printer).pause(request.run_id)
            case m.ResumeRun():
                self._machine(request.printer).resume(request.run_id)
            case m.CancelRun():
                self._machine(request.printer).cancel(request.run_id)
            case m.GiveLayers():
                self._machine(request.printer).give_layers(request.run_id, request.layers)
            case m.AskResumePlan():
                return self._plan(id, self._machine(request.printer), request.run_id)
            case m.ForgetRun():
                self._machine(request.printer).forget(request.run_id)
            case m.ReadCard():
                return self._done(id, self._machine(request.printer).card_requests.read(initialise=request.initialise))
            case m.ReleaseCard():
                return self._done(id, self._machine(request.printer).card_requests.release())
            case m.DeleteFromCard():
                return self._done(id, self._machine(request.printer).card_requests.delete(request.name))
            case m.SendToCard():
                return self._done(id, self._machine(request.printer).card_requests.send(request.order))
            case m.StopTransfer():
                self._machine(request.printer).card_requests.stop_transfer()
            case m.Misbehave():
                self._machine(request.printer).connection.misbehave(request.fault, request.argument)
        return m.Done(id)

    def _welcome(self, server: Server, hello: m.Hello) -> m.Done:
        if not m.OLDEST_PROTOCOL <= hello.protocol <= m.PROTOCOL:
            raise Malformed(
                f"this engine speaks protocol {m.OLDEST_PROTOCOL} to {m.PROTOCOL}, not {hello.protocol}; "
                "it can be replaced once its runs have ended"
            )
        server.protocol = hello.protocol
        self.nobody_since = None
        printers = tuple(machine.held() for machine in self._machines.values())
        return m.Done(hello.id, m.Welcome(hello.protocol, polyhost.__version__, os.getpid(), printers))

    def _stop_asked(self, cancel_runs: bool) -> None:
        running = [name for name, machine in self._machines.items() if machine.running or machine.card.busy]
        if running and not cancel_runs:
            raise NotNow(f"{', '.join(running)}: printing; stop with cancelling the runs, or wait")
        asyncio.get_running_loop().call_soon(self.stop)

    def _hold(self, name: str, settings: m.MachineSettings) -> None:
        machine = self._machines.get(name)
        if machine is not None:
            machine.hold(settings)
            return
        if len(self._machines) >= MAX_PRINTERS:
            raise NotNow(f"an engine holds {MAX_PRINTERS} printers at the most")
        record = PrinterRecord(settings, wanted=settings.autoconnect)
        self._journal.write(Kept(name, record))
        self._take_on(name, record)

    async def _release(self, name: str) -> None:
        await self._machine(name).release()
        del self._machines[name]
        self._keepers.pop(name).cancel()
        self._journal.write(Released(name))

    def _machine(self, name: str) -> Machine:
        try:
            return self._machines[name]
        except KeyError:
            raise NotFound(f"this engine holds no printer {name}") from None

    @staticmethod
    async def _done(id: int, work: Coroutine[None, None, None]) -> m.Done:
        await work
        return m.Done(id)

    @staticmethod
    async def _sent(id: int, machine: Machine, request: m.Send) -> m.Done:
        return m.Done(id, lines=await machine.send(request.commands, until_done=request.until_done))

    @staticmethod
    async def _plan(id: int, machine: Machine, run_id: str) -> m.Done:
        return m.Done(id, plan=await plan_of(machine.past_runs.resumable(run_id)))


def obey_signals(engine: Engine) -> None:
    """SIGTERM and SIGINT end the engine, after its machines were made safe; a lost terminal does not."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
