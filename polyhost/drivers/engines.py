"""The engines of this host: found, started, watched, started again.

An engine is a process of its own session that outlives the server (`design.md`, section 1).  A server that starts
looks for engines in the runtime folder and attaches to them; one that died is started again at once, since it is the
one that switches the heaters of its printers off (R9).
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from polyhost import config
from polyhost.core.errors import LinkLost, Malformed, NotNow, PolyhostError
from polyhost.core.events import SdFilesListed
from polyhost.core.ports import Listener
from polyhost.core.printer import Snapshot
from polyhost.drivers.engine_client import EngineClient
from polyhost.drivers.engine_driver import EngineDriver
from polyhost.drivers.serial import SerialDriver
from polyhost.drivers.virtual import VirtualDriver
from polyhost.engine import messages as m

log = logging.getLogger(__name__)

MAX_PRINTERS: Final = 16  # of one engine
PING_EVERY_S: Final = 5.0
HUNG_S: Final = 30.0
OTHER_VERSION_S: Final = 30.0  # between two looks at an engine that we cannot speak to
START_S: Final = 5.0
STOP_S: Final = 12.0
PAUSES_S: Final = (0.0, 0.5, 1.0, 2.0)  # before an engine that died is started; the last again and again
STEADY_S: Final = 30.0  # an engine that lived so long did not die of its start


def runtime_path(data: Path) -> Path:
    """Where the sockets for the data folder `data` are, while it is served.

    The path is short, for the 108 bytes that the address of a Unix socket may have.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
    name = hashlib.blake2b(os.fsencode(data.resolve())).hexdigest()[:12]
    return Path(base, f"polyhost-{os.getuid()}-{name}")


def runtime_dir(data: Path) -> Path:
    """`runtime_path`, made if it is missing, mode 0700; `NotNow` when it is somebody else's."""
    folder = runtime_path(data)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise NotNow(f"{folder} belongs to somebody else; remove it, or set XDG_RUNTIME_DIR")
    folder.chmod(0o700)
    return folder


class _Engine:
    """An engine as the pool knows it."""

    def __init__(self, number: int, data: Path) -> None:
        self.number = number
        self.directory = data / "engines" / str(number)
        self.socket = runtime_dir(data) / f"engine-{number}.sock"
        self.log = data / "log" / f"engine-{number}.log"
        self.client: EngineClient | None = None
        self.pid = 0
        self.printers: set[str] = set()
        self.strays: set[str] = set()  # printers without a driver, at the last look
        self.child = 0  # the process, if we started it
        self.stopping = False

    def start(self) -> None:
        """Start the process, in a session of its own."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        arguments = [sys.executable, "-P", "-m", "polyhost.engine"]  # what lies in the folder it begins in is no module
        arguments += ["--directory", str(self.directory), "--socket", str(self.socket)]
        # Not subprocess: its object would want to outlive the child, and here the child outlives us.
        self.child = os.posix_spawn(
            sys.executable,
            arguments,
            os.environ,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ),
            setsid=True,
        )

    def died(self) -> bool:
        """Whether the process that we started ended; it is then gone for good."""
        if self.child:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self.child, os.WNOHANG)[0] == 0:
                    return False
            self.child = 0
            return True
        return False

    def living(self) -> int:
        """The process that works in the directory; 0 when there is none."""
        try:
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(lock, 20) or b"0")
        finally:
            os.close(lock)
        return 0

    def kill(self) -> None:
        """End a process that hangs: its successor makes the machines safe."""
        process = self.living()
        if process:
            log.error("engine %d (process %d) hangs and is killed", self.number, process)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


class EnginePool:
    """All engines of the data folder `data`.

    `listener` hears what they say; `ended` each end of a run, again after each attaching, until `Driver.forget`;
    `attached` is called with a printer and the runs that its engine knows of, each time one was attached.
    """

    def __init__(
        self,
        data: Path,
        listener: Listener,
        ended: Callable[[m.EndedRun], None],
        attached: Callable[[str, frozenset[str]], None] = lambda printer, runs: None,
        *,
        idle_off_s: float = config.Safety().idle_off_s,
    ) -> None:
        self._data = data
        self._listener = listener
        self._ended = ended
        self._attached = attached
        self._idle_off_s = idle_off_s
        self._engines: dict[int, _Engine] = {}
        self._drivers: dict[str, EngineDriver] = {}
        self._work = asyncio.Event()  # there are drivers without an engine
        self.stopping = False  # from `stop` on no engine is started

    def driver_for(self, slug: str, settings: config.Printer) -> EngineDriver:
        """The driver of a printer; its `run` has it held by an engine."""
        kind = SerialDriver if settings.driver == "serial" else VirtualDriver
        return kind(self, slug, settings, self._idle_off_s)

    async def run(self) -> None:
        """Find, start and watch engines until cancelled, which leaves them as they are."""
        try:
            async with asyncio.TaskGroup() as group:
                surveyed = [self._watched(group, number) for number in self._numbers()]
                for known in surveyed:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(START_S):
                            await known.wait()
                while True:
                    await self._work.wait()
                    self._work.clear()
                    await self._place(group)
        finally:
            for engine in self._engines.values():
                if engine.client is not None:
                    engine.client.close()
                    self._lost(engine)
            self._engines.clear()

    async def stop(self, cancel_runs: bool) -> None:
        """End every engine that prints nothing, or all of them, once their machines are safe, if `cancel_runs`."""
        self.stopping = True
        async with asyncio.TaskGroup() as group:
            for engine in self._engines.values():
                group.create_task(self._stop(engine, cancel_runs), name=f"stop engine {engine.number}")

    async def _stop(self, engine: _Engine, cancel_runs: bool) -> None:
        # One that was started and is not met yet would never be ended by anybody.
        ends = time.monotonic() + START_S
        while engine.child and not engine.died() and engine.client is None:
            if time.monotonic() > ends:
                break
            await asyncio.sleep(0.01)
        client = engine.client
        if client is None:
            return
        engine.stopping = True
        try:
            await client.ask(m.Stop(cancel_runs=cancel_runs))
            async with asyncio.timeout(STOP_S):
                await client.lost.wait()
                while engine.living():  # noqa: ASYNC110 - another process, and nothing of it to wait on
                    await asyncio.sleep(0.01)
                engine.died()
        except NotNow as printing:
            log.warning("engine %d goes on without the server: %s", engine.number, printing)
        except (PolyhostError, TimeoutError) as error:
            log.warning("engine %d did not end: %s", engine.number, error or "no answer")

    def processes(self) -> list[int]:
        """The processes of the engines that are attached."""
        return [engine.pid for engine in self._engines.values() if engine.client is not None]

    # --- for drivers

    @contextlib.contextmanager
    def registered(self, driver: EngineDriver) -> Iterator[None]:
        self._drivers[driver.slug] = driver
        self._work.set()
        try:
            yield
        finally:
            driver.let_go()
            if self._drivers.get(driver.slug) is driver:
                del self._drivers[driver.slug]

    def released(self, driver: EngineDriver) -> None:
        """Its engine holds the printer no more."""
        self._drivers.pop(driver.slug, None)
        for engine in self._engines.values():
            engine.printers.discard(driver.slug)

    # --- where printers are

    def _numbers(self) -> list[int]:
        folder = self._data / "engines"
        if not folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())

    def _home_of(self, slug: str) -> _Engine | None:
        return next((engine for engine in self._engines.values() if slug in engine.printers), None)

    async def _place(self, group: asyncio.TaskGroup) -> None:
        """Have each printer that no engine holds held: by the one that knows it, or has room, or by a new one."""
        waiting = [driver for driver in self._drivers.values() if not driver.held and not self.stopping]
        for driver in waiting:
            home = self._home_of(driver.slug) or self._with_room()
            if home is None:
                number = max(self._engines, default=0) + 1
                self._watched(group, number)
                home = self._engines[number]
            home.printers.add(driver.slug)
        for engine in list(self._engines.values()):
            drivers = [driver for driver in waiting if driver.slug in engine.printers]
            if engine.client is not None and drivers:
                try:
                    await self._hold(engine.client, drivers)
                except PolyhostError as error:
                    log.warning("engine %d: %s", engine.number, error)

    async def _hold(self, client: EngineClient, drivers: Sequence[EngineDriver]) -> None:
        """Have the engine hold the printers of `drivers` as they are set up now, and tell where they stand."""
        held = {printer.snapshot.printer: printer for printer in (await client.welcome()).printers}
        for driver in drivers:
            printer = held.get(driver.slug)
            if printer is None or printer.machine != driver.machine:
                await client.ask(m.Hold(printer=driver.slug, machine=driver.machine))
            snapshot = printer.snapshot if printer is not None else Snapshot(driver.slug)
            ended = printer.ended if printer is not None else ()
            driver.held_by(client, snapshot)
            self._listener.heard(snapshot)
            if printer is not None:
                self._listener.heard(SdFilesListed(driver.slug, printer.card))
            for run in ended:
                self._ended(run)
            known = {run.run_id for run in ended} | ({snapshot.run.run_id} if snapshot.run is not None else set())
            self._attached(driver.slug, frozenset(known))

    def _with_room(self) -> _Engine | None:
        return next((engine for engine in self._engines.values() if len(engine.printers) < MAX_PRINTERS), None)

    def _watched(self, group: asyncio.TaskGroup, number: int) -> asyncio.Event:
        """Begin to watch engine `number`; the event is set when it was first attached."""
        engine = self._engines[number] = _Engine(number, self._data)
        known = asyncio.Event()
        group.create_task(self._watch(engine, known), name=f"engine {number}")
        return known

    async def _watch(self, engine: _Engine, known: asyncio.Event) -> None:
        """Keep one engine alive and attached."""
        deaths = 0
        silent_since: float | None = None
        while not engine.stopping and (engine.child or not self.stopping):
            try:
                client, welcome = await EngineClient.attach(engine.socket, lambda heard: self._heard(engine, heard))
            except Malformed as error:
                log.error("engine %d is of another version, and left alone: %s", engine.number, error)
                known.set()
                await asyncio.sleep(OTHER_VERSION_S)
                continue
            except PolyhostError as error:
                if not engine.living():
                    await asyncio.sleep(PAUSES_S[min(deaths, len(PAUSES_S) - 1)])
                    deaths += 1
                    await self._start(engine)
                    silent_since = None
                elif silent_since is None:
                    silent_since = time.monotonic()
                    log.warning("engine %d does not take a connection: %s", engine.number, error)
                elif time.monotonic() - silent_since > HUNG_S:
                    engine.kill()
                else:
                    await asyncio.sleep(0.5)
                continue
            silent_since = None
            began = time.monotonic()
            engine.pid = welcome.pid
            engine.printers |= {printer.snapshot.printer for printer in welcome.printers}
            which = f"{engine.number} (process {engine.pid}, protocol {client.protocol})"
            log.info("attached to engine %s, %d printers", which, len(engine.printers))
            known.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(client.run(), name=f"engine {engine.number}: listen")
                if not await self._retired(engine, client):
                    engine.client = client
                    self._work.set()
                    await self._ping(engine, client)
            self._lost(engine)
            deaths = 0 if time.monotonic() - began > STEADY_S else deaths

    async def _retired(self, engine: _Engine, client: EngineClient) -> bool:
        """End an engine of an earlier version, for one of this to be started: once it prints nothing and is cold."""
        if client.protocol == m.PROTOCOL:
            return False
        try:
            if any(printer.snapshot.hot for printer in (await client.welcome()).printers):
                return False
            await client.ask(m.Stop())
            async with asyncio.timeout(STOP_S):
                await client.lost.wait()
        except NotNow as printing:
            log.debug("engine %d is of an earlier version, and replaced later: %s", engine.number, printing)
            return False
        except (PolyhostError, TimeoutError) as error:
            log.warning("engine %d is of an earlier version, and did not end: %s", engine.number, error or "no answer")
            return client.lost.is_set()
        log.info("engine %d was of an earlier version, and is replaced", engine.number)
        return True

    async def _start(self, engine: _Engine) -> None:
        engine.died()
        if self.stopping:
            return
        engine.socket.unlink(missing_ok=True)
        engine.start()
        end = time.monotonic() + START_S
        while not engine.socket.exists() and time.monotonic() < end:
            await asyncio.sleep(0.02)
            if engine.died():
                log.error("engine %d does not start; see %s", engine.number, engine.log)
                return

    async def _ping(self, engine: _Engine, client: EngineClient) -> None:
        """Return when the connection is gone; an engine that does not answer for 30 s is killed."""
        while not client.lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_EVERY_S):
                    await client.lost.wait()
                return
            try:
                await client.ask(m.Ping(), answer_s=HUNG_S)
                await self._release_strays(engine, client)
                if await self._retired(engine, client):
                    return
            except LinkLost:
                if not client.lost.is_set():
                    engine.kill()
                    client.close()
            except PolyhostError as error:
                log.warning("engine %d: %s", engine.number, error)

    async def _release_strays(self, engine: _Engine, client: EngineClient) -> None:
        """Let go of printers that are no longer wanted here: removed while the server was away."""
        strays = {slug for slug in engine.printers if slug not in self._drivers}
        engine.strays, known = strays, engine.strays
        for slug in sorted(strays & known):  # at two looks: a driver may just be on its way
            with contextlib.suppress(NotNow):  # it prints: later, then
                await client.ask(m.Release(printer=slug))
                engine.printers.discard(slug)
                log.info("%s is no printer of this host any more, and was let go", slug)

    def _heard(self, engine: _Engine, heard: m.Heard) -> None:
        for snapshot in heard.snapshots:
            driver = self._drivers.get(snapshot.printer)
            if driver is not None:
                driver.heard(snapshot)
                self._listener.heard(snapshot)
        for notice in (*heard.events, *heard.console):
            if notice.printer in self._drivers:
                self._listener.heard(notice)
        for run in heard.ended:
            self._ended(run)

    def _lost(self, engine: _Engine) -> None:
        engine.client = None
        if not engine.stopping:
            log.warning("engine %d (process %d) is gone", engine.number, engine.pid)
        for slug in engine.printers:
            driver = self._drivers.get(slug)
            if driver is not None:
                self._listener.heard(driver.engine_lost())
