"""What the tests of drivers and engines share: a listener to wait on, files to print, printers on real ptys."""

import asyncio
import contextlib
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from polyhost import config
from polyhost.core.events import ConsoleLine, ConsoleLines, DriverEvent
from polyhost.core.job import RunState
from polyhost.core.ports import RunOrder, Scripts
from polyhost.core.printer import PrinterState, Snapshot
from polyhost.drivers.engine_driver import EngineDriver
from polyhost.drivers.engines import EnginePool
from polyhost.engine.messages import EndedRun

PATIENCE_S = 30.0
# What the host asks a machine by itself.
QUESTIONS = ("M105", "M110", "M115", "M155", "M503", "M114", "M21", "M20", "M27", "M154", "M113", "M876")
NO_SCRIPTS = Scripts()


class Ear:
    """Hears everything, and wakes who waits for it."""

    def __init__(self) -> None:
        self.notices: list[Snapshot | ConsoleLines | DriverEvent] = []
        self.ends: list[EndedRun] = []
        self.attached: list[tuple[str, frozenset[str]]] = []
        self._news = asyncio.Event()

    def heard(self, notice: Snapshot | ConsoleLines | DriverEvent) -> None:
        self.notices.append(notice)
        self._news.set()

    def ended(self, run: EndedRun) -> None:
        self.ends.append(run)
        self._news.set()

    def was_attached(self, printer: str, runs: frozenset[str]) -> None:
        self.attached.append((printer, runs))
        self._news.set()

    async def until(self, condition: Callable[[], object], what: str = "", patience_s: float = PATIENCE_S) -> None:
        try:
            async with asyncio.timeout(patience_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            last = next((n for n in reversed(self.notices) if isinstance(n, Snapshot)), None)
            raise AssertionError(f"waited for {what or condition}; last heard: {last}") from None

    def sent(self) -> list[str]:
        """All lines that the console shows as sent."""
        return [line.text for line in self._console() if line.sent]

    def received(self) -> list[str]:
        """All lines that the console shows as the firmware's."""
        return [line.text for line in self._console() if not line.sent]

    def _console(self) -> list[ConsoleLine]:
        return [line for notice in self.notices if isinstance(notice, ConsoleLines) for line in notice.lines]


@contextlib.asynccontextmanager
async def pool_in(data: Path, ear: Ear) -> AsyncIterator[EnginePool]:
    """A running pool, whose engines end with it, whatever they print."""
    pool = EnginePool(data, ear, ear.ended, ear.was_attached)
    running = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        await pool.stop(cancel_runs=True)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@contextlib.asynccontextmanager
async def running(driver: EngineDriver) -> AsyncIterator[EngineDriver]:
    task = asyncio.create_task(driver.run())
    try:
        yield driver
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ready(driver: EngineDriver, ear: Ear) -> None:
    await ear.until(lambda: driver.snapshot.state is PrinterState.READY, "a ready printer")


async def reached(driver: EngineDriver, ear: Ear, *states: RunState) -> None:
    await ear.until(lambda: driver.snapshot.run is not None and driver.snapshot.run.state in states, f"a run {states}")


def moves(count: int, *, length_mm: float = 0.1) -> list[str]:
    """Moves to and fro; none is the same as the one before."""
    return [
        f"G1 X{100 + (n % 2) * length_mm:.3f} Y{50 + n % 100 * 0.05:.3f} E{n * 0.01:.4f} F6000" for n in range(count)
    ]


HEADER = ["M104 S200", "M140 S60", "G28", "M109 S200"]
FOOTER = ["M104 S0", "M140 S0", "M84"]


def order_of(folder: Path, commands: list[str], *, run_id: str = "run-1", scripts: Scripts = NO_SCRIPTS) -> RunOrder:
    """A file of `commands`, with comments and blank lines between them, and the order to print it."""
    path = folder / f"{run_id}.gcode"
    lines = [line for command in commands for line in ("; a comment", "", f"{command} ; and another")]
    path.write_text("\n".join(lines) + "\n")
    data = path.read_bytes()
    return RunOrder(run_id, str(path), path.name, len(data), hashlib.sha256(data).hexdigest(), scripts)


class PtyPrinter:
    """The simulator behind a real pty, in a process that remembers what it was told to do."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = folder / "tty"
        self._record = folder / "executed"
        self._stats = folder / "stats.json"
        self._options = options
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> "PtyPrinter":
        self.port.parent.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "polyhost.engine.pty_simulator", "--link", str(self.port)),
            *("--record", str(self._record), "--stats", str(self._stats), *self._options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._answer()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def _answer(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self._process.stdout.readline()).decode()

    async def tell(self, command: str) -> None:
        """``unplug``, ``replug``, ``fault NAME ARGUMENT``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        assert (await self._answer()).startswith("ok")

    async def stats(self) -> dict[str, object]:
        self._stats.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(PATIENCE_S):
            while not self._stats.exists():
                await asyncio.sleep(0.01)
        stats: dict[str, object] = json.loads(self._stats.read_text())
        return stats

    async def heard(self) -> list[str]:
        """Every command that the machine carried out."""
        await self.stats()
        return self._record.read_text().splitlines()

    async def executed(self) -> list[str]:
        """Every command that the machine carried out, without the host's questions."""
        return [line for line in await self.heard() if not line.startswith(QUESTIONS)]


def serial_settings(port: Path, *, slug: str = "mk3", baud: int = 115200, window_lines: int = 0) -> config.Printer:
    return config.Printer(slug, "serial", port=str(port), baud=baud, window_lines=window_lines)
