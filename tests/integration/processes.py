"""Real processes for black-box tests: a host, its engines, and printers on ptys that outlive both."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

PATIENCE_S = 60.0
# What the host asks a machine by itself.
QUESTIONS = (b"M105", b"M155", b"M27", b"M114", b"M115", b"M21", b"M20", b"M110", b"M400", b"M503", b"M876")
T = TypeVar("T")


def until(ask: Callable[[], T], what: str, seconds: float = PATIENCE_S) -> T:
    """The first true answer of `ask`; fails the test when none comes in `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s for {what}; last answer: {answer!r}")
        time.sleep(0.02)


@dataclass
class PtyPrinter:
    """The simulator behind a real pty, in a process of its own that remembers what it executed."""

    folder: Path
    arguments: tuple[str, ...] = ()
    port: Path = field(init=False)

    def __post_init__(self) -> None:
        self.port = self.folder / "tty"
        self._record, self._stats = self.folder / "executed", self.folder / "stats.json"

    def __enter__(self) -> "PtyPrinter":
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "polyhost.engine.pty_simulator", "--link", str(self.port)]
        command += ["--record", str(self._record), "--stats", str(self._stats), *self.arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(b"ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def tell(self, line: str) -> None:
        """A command for the runner: ``fault reset``, ``unplug``, …"""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def statistics(self) -> dict[str, Any]:
        self._stats.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)

        def read() -> dict[str, Any] | None:
            try:
                statistics: dict[str, Any] = json.loads(self._stats.read_bytes())
            except (OSError, ValueError):
                return None
            return statistics

        found = until(read, "the simulator's statistics")
        assert found is not None
        return found

    def executed(self) -> list[bytes]:
        """Every command body executed so far, in order."""
        self.statistics()  # writes out what it still holds
        return self._record.read_bytes().splitlines()


@dataclass
class Host:
    """`polyhost serve` on a folder of its own, with an administrator."""

    folder: Path
    settings: str
    url: str = ""
    key: str = ""
    door: int = 0  # where clients of OctoPrint look

    def __post_init__(self) -> None:
        self.data, self._config = self.folder / "data", self.folder / "polyhost.toml"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(f"[doors]\noctoprint = {self.door}\nmoonraker = 0\n" + self.settings)
        made = polyhost("init", "--data", str(self.data), "--json")
        self.key = json.loads(made.stdout)["api_key"]
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers; it takes the port it had before, or a free one."""
        port = self.url.rsplit(":", 1)[1] if self.url else str(free_port())
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-P", "-m", "polyhost.cli", "serve", "--data", str(self.data), "--host", "127.0.0.1"]
        log = (self.folder / "server.log").open("ab")
        self._server = subprocess.Popen(
            [*command, "--config", str(self._config), "--port", port, "--allow-root"],
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        log.close()
        self.client = httpx.Client(base_url=self.url, headers={"X-Api-Key": self.key}, timeout=30)

        def answers() -> bool:
            assert self._server is not None
            assert self._server.poll() is None, self.log()
            try:
                return self.client.get("/api/version").status_code == 200
            except httpx.TransportError:
                return False

        until(answers, "the server to answer")

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """``kill -9`` of the server alone."""
        assert self._server is not None
        self.client.close()
        self._server.kill()
        self._server.wait(10)

    def engines(self) -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.data) in " ".join(process.info["cmdline"] or [])
            and "polyhost.engine" in process.info["cmdline"]
        ]

    def stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.client.close()
            self._server.terminate()
            try:
                self._server.wait(20)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait(10)
        for engine in self.engines():
            with contextlib.suppress(psutil.Error):
                engine.kill()

    # What a client does, through the OctoPrint API, as a script would.

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.client.post(path, json=body)

    def state(self, printer: str = "") -> str:
        state: str = self.get(f"{base(printer)}/api/connection")["current"]["state"]
        return state

    def wait_ready(self, printer: str = "") -> None:
        until(lambda: self.state(printer) == "Operational", f"{printer or 'the printer'} to be operational")

    def upload(
        self, name: str, content: bytes, printer: str = "", *, location: str = "local", **fields: str
    ) -> httpx.Response:
        place = f"{base(printer)}/api/files/{location}"
        return self.client.post(place, data=fields, files={"file": (name, content)})

    def runs(self) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = self.get("/native/v1/runs")
        return history

    def wait_ended(self, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """The newest run, once it has ended."""
        ends = {"completed", "cancelled", "failed", "interrupted"}

        def ended() -> dict[str, Any] | None:
            runs = self.runs()
            return runs[0] if runs and runs[0]["state"] in ends else None

        run = until(ended, "the run to end", seconds)
        assert run is not None
        return run


def base(printer: str) -> str:
    return f"/p/{printer}" if printer else ""


@contextlib.contextmanager
def host(folder: Path, settings: str, door: int = 0) -> Iterator[Host]:
    running = Host(folder, settings, door=door)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(running.data, ignore_errors=True)


def polyhost(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a person calls it."""
    return subprocess.run(
        [sys.executable, "-m", "polyhost.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands_of(gcode: bytes) -> list[bytes]:
    """What a file orders: its lines without comments, blanks and surrounding space."""
    lines = (line.split(b";", 1)[0].strip() for line in gcode.splitlines())
    return [line for line in lines if line]


def of_the_file(executed: list[bytes], wanted: list[bytes]) -> list[bytes]:
    """Of `executed`, what lies between the file's first command and its last, without the host's own polls."""
    ours = [line for line in executed if not line.startswith(QUESTIONS)]
    asked = [line for line in wanted if not line.startswith(QUESTIONS)]
    first = next((n for n in range(len(ours)) if ours[n : n + 5] == asked[:5]), len(ours))
    return ours[first : first + len(asked)]
