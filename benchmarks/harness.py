"""What every benchmark needs: servers to measure, their process trees, loads, and a simulated firmware on ptys.

Both sides of a comparison are driven through the OctoPrint API alone, so the same code measures Polyhost and a
peer.  Numbers are medians; CPU and memory are of the whole process tree.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

HERE = Path(__file__).parent


@dataclass
class Row:
    """One line of the table: what was measured, its target, what a peer gave in the same run."""

    what: str
    target: str
    measured: str
    peer: str = "-"
    met: bool | None = None


@dataclass
class Server:
    """A running server that speaks the OctoPrint API."""

    name: str
    url: str
    key: str
    pid: int
    data: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, headers={"X-Api-Key": self.key}, timeout=60)

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        answer = self.client.post(path, json=body)
        answer.raise_for_status()
        return answer

    def upload(self, file: Path, name: str | None = None, folder: str = "", **fields: str) -> None:
        with file.open("rb") as body:
            answer = self.client.post(
                "/api/files/local", data={"path": folder, **fields}, files={"file": (name or file.name, body)}
            )
        answer.raise_for_status()

    def tree(self) -> list[psutil.Process]:
        """The server, its children, and its engines (which are in sessions of their own)."""
        try:
            root = psutil.Process(self.pid)
            found = {p.pid: p for p in [root, *root.children(recursive=True)]}
        except psutil.Error:
            return []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.data) in part for part in process.info["cmdline"] or []):
                found.setdefault(process.pid, process)
        return list(found.values())

    def cpu_s(self) -> float:
        return sum(_cpu_s(process) for process in self.tree())

    def memory_mib(self) -> tuple[float, float]:
        """Resident and proportional (shared pages counted once) memory of the tree, in MiB."""
        resident = proportional = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info()
                resident += memory.rss / 2**20
                proportional += memory.pss / 2**20
        return resident, proportional


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


@contextlib.contextmanager
def polyhost(*arguments: str) -> Iterator[Server]:
    """A demo host with virtual printers, ready."""
    command = [sys.executable, "-m", "polyhost.cli", "demo", "--json", "--port", "0", *arguments]
    with _process(command) as process:
        ready = _first_json(process)
        yield Server("Polyhost", ready["url"], ready["api_key"], ready["pid"], Path(ready["data"]))


@contextlib.contextmanager
def polyhost_serving(config: str) -> Iterator[Server]:
    """A host on the settings `config` (TOML), with an administrator, answering."""
    with tempfile.TemporaryDirectory(prefix="polyhost-bench-") as folder:
        data, settings = Path(folder) / "data", Path(folder) / "polyhost.toml"
        settings.write_text(config)
        base = [sys.executable, "-m", "polyhost.cli"]
        init = subprocess.run([*base, "init", "--data", str(data), "--json"], capture_output=True, check=True)
        key = json.loads(init.stdout)["api_key"]
        port = free_port()
        serve = ["serve", "--data", str(data), "--config", str(settings), "--port", str(port), "--host", "127.0.0.1"]
        with _process([*base, *serve, "--allow-root", "--stop-printing"]) as process:
            server = Server("Polyhost", f"http://127.0.0.1:{port}", key, process.pid, data)
            until(lambda: answers(server, "/api/version"), 30, "the server to answer")
            yield server


def answers(server: Server, path: str) -> bool:
    try:
        return server.client.get(path).status_code == 200
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_json(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args!r} ended before it was ready")
    return json.loads(line)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Any, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


@dataclass
class FirmwareStatistics:
    """What a simulated firmware counted."""

    each: list[dict[str, float]]

    def total(self, name: str) -> float:
        return sum(one[name] for one in self.each)


class SimulatedFirmware:
    """`printers` fast firmwares in one C process, each behind a pty with a byte rate of its own."""

    def __init__(self, printers: int = 1, baud: int = 0, latency_us: int = 0, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="polyhost-firmware-"))
        self._stats = self.folder / "stats.json"
        command = [str(_simulator()), "--printers", str(printers), "--dir", str(self.folder), "--baud", str(baud)]
        command += ["--latency-us", str(latency_us), "--stats", str(self._stats), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self.ports = [self.folder / f"printer{n}" for n in range(printers)]

    def statistics(self) -> FirmwareStatistics:
        self._stats.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        read: list[FirmwareStatistics] = []

        def written() -> bool:
            with contextlib.suppress(OSError, ValueError):
                read.append(FirmwareStatistics(json.loads(self._stats.read_text())["each"]))
            return bool(read)

        until(written, 5, "the firmware's statistics")
        return read[0]

    def __enter__(self) -> "SimulatedFirmware":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def _simulator() -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Skipped("needs a C compiler for the simulated firmware (apt-get install gcc)")
    program = Path(tempfile.gettempdir()) / f"polyhost-sim-firmware-{os.getuid()}"
    source = HERE / "firmware" / "sim_firmware.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return program


class Skipped(Exception):
    """This machine lacks something that the benchmark needs; the message says what."""


@dataclass(frozen=True)
class Load:
    """What a burst of requests gave: requests per second and latencies in ms."""

    requests_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def load(server: Server, path: str, seconds: int = 5, connections: int = 16, runs: int = 3) -> Load:
    """The median of `runs` bursts of GET `path`, by wrk (Debian's package)."""
    if shutil.which("wrk") is None:
        raise Skipped("needs wrk (apt-get install wrk)")
    bursts = sorted((_burst(server, path, seconds, connections) for _ in range(runs)), key=lambda b: b.requests_s)
    return bursts[len(bursts) // 2]


def _burst(server: Server, path: str, seconds: int, connections: int) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    out = subprocess.run(
        [*command, "-H", f"X-Api-Key: {server.key}", server.url + path], capture_output=True, text=True, check=True
    ).stdout
    milliseconds = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
    found = re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$", out, re.MULTILINE)
    latency = {percent: float(value) * milliseconds[unit] for percent, value, unit in found}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert rate is not None, out
    return Load(float(rate[1]), latency["50"], latency["99"], int(bad[1]) if bad else 0)


def short_moves(path: Path, lines: int) -> Path:
    """A file of `lines` short moves, so fast that no machine that models time is the limit."""
    with path.open("w") as out:
        out.write("G90\nM82\nG92 E0\nG1 F60000\n")
        for n in range(lines):
            out.write(f"G1 X{50 + n % 977 * 0.1:.3f} Y{40 + n % 613 * 0.1:.3f} E{0.03 + n % 91 * 0.0001:.5f}\n")
    return path


def median(values: list[float]) -> float:
    return float(statistics.median(values))
