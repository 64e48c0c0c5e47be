"""Streaming over a serial port: CPU per line, lines per second, and how much of the wire is used."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import HERE, Row, Server, SimulatedFirmware, polyhost_serving, short_moves, until
from benchmarks.peers import Peers, connect

WARM_S, MEASURED_S = 2.0, 8.0


@dataclass(frozen=True)
class Stream:
    """What one stream gave."""

    lines_s: float
    cpu_us_per_line: float
    wire_use: float  # of the bytes that the rate allows
    resends: float


@contextmanager
def polyhost_on(firmware: SimulatedFirmware, window: int = 0) -> Iterator[Server]:
    """A host whose printers are the firmware's ports, connected."""
    printers = "".join(
        f'[[printers]]\nslug = "p{n}"\ndriver = "serial"\nport = "{port}"\nbaud = 115200\n'
        + (f"window_lines = {window}\nwindow_bytes = 127\n" if window else "")
        for n, port in enumerate(firmware.ports)
    )
    with polyhost_serving("[doors]\noctoprint = 0\nmoonraker = 0\n" + printers) as server:
        for n in range(len(firmware.ports)):
            until(lambda n=n: _operational(server, f"/p/p{n}"), 30, f"printer {n}")
        yield server


def _operational(server: Server, base: str) -> bool:
    return bool(server.get(f"{base}/api/connection")["current"]["state"] == "Operational")


def stream(server: Server, firmware: SimulatedFirmware, file: Path, baud: int, bases: list[str]) -> Stream:
    """Print `file` on every printer at once; measure from after the warm-up."""
    server.upload(file)
    # Its analysis is not what is measured here (and that of OctoPrint waits for an idle printer).
    until(lambda: "gcodeAnalysis" in server.get(f"/api/files/local/{file.name}"), 240, "the analysis")
    for base in bases:
        server.post(f"{base}/api/files/local/{file.name}", {"command": "select", "print": True})
    time.sleep(WARM_S)
    before, cpu, began = firmware.statistics(), server.cpu_s(), time.perf_counter()
    time.sleep(MEASURED_S)
    after, cpu, lasted = firmware.statistics(), server.cpu_s() - cpu, time.perf_counter() - began
    lines = after.total("numbered") - before.total("numbered")
    sent = after.total("bytes") - before.total("bytes")
    resends = after.total("resends") - before.total("resends")
    for base in bases:
        server.post(f"{base}/api/job", {"command": "cancel"})
    wire = sent / (baud / 10 * lasted * len(bases)) if baud else 0.0
    return Stream(lines / lasted, cpu / max(lines, 1) * 1e6, wire, resends)


def _octoprint_stream(peers: Peers, file: Path, baud: int) -> Stream | None:
    """OctoPrint on a firmware of its own, on the same file."""
    with SimulatedFirmware(1, baud) as firmware, peers.octoprint(f"{firmware.folder}/printer*") as server:
        if server is None:
            return None
        connect(server, str(firmware.ports[0]))
        return stream(server, firmware, file, baud, [""])


def _printcore_stream(peers: Peers, file: Path, baud: int) -> Stream | None:
    """Printrun's printcore, which is a program by itself."""
    python = peers.python()
    if python is None:
        return None
    with SimulatedFirmware(1, baud) as firmware:
        command = [str(python), str(HERE / "printcore_peer.py"), str(firmware.ports[0]), "115200", str(file)]
        out = subprocess.run([*command, str(MEASURED_S)], capture_output=True, text=True, check=True).stdout
    got = json.loads(out)
    return Stream(got["lines"] / MEASURED_S, got["cpu_s"] / max(got["lines"], 1) * 1e6, 0.0, 0)


def _peers_line(what: Callable[[Stream], str], octoprint: Stream | None, printcore: Stream | None) -> str:
    named = (("OctoPrint", octoprint), ("printcore", printcore))
    return ", ".join(f"{name} {what(stream)}" for name, stream in named if stream is not None) or "-"


def rows(peers: Peers) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        long = short_moves(Path(folder) / "long.gcode", 400_000)

        with SimulatedFirmware(1, 115200) as firmware, polyhost_on(firmware) as server:
            ours = stream(server, firmware, long, 115200, [""])
        peer, other = _octoprint_stream(peers, long, 115200), _printcore_stream(peers, long, 115200)
        yield Row(
            "CPU per line, one printer, 115200 baud, ping-pong",
            "≤ 1/4 of OctoPrint",
            f"{ours.cpu_us_per_line:.0f} µs",
            _peers_line(lambda stream: f"{stream.cpu_us_per_line:.0f} µs", peer, other),
            ours.cpu_us_per_line <= peer.cpu_us_per_line / 4 if peer else None,
        )

        with SimulatedFirmware(1) as firmware, polyhost_on(firmware) as server:
            ours = stream(server, firmware, long, 0, [""])
        peer, other = _octoprint_stream(peers, long, 0), _printcore_stream(peers, long, 0)
        yield Row(
            "lines/s, unlimited link, ping-pong",
            "≥ 2 × OctoPrint",
            f"{ours.lines_s:.0f}/s",
            _peers_line(lambda stream: f"{stream.lines_s:.0f}/s", peer, other),
            ours.lines_s >= 2 * peer.lines_s if peer else None,
        )

        yield from _wire_use(long)

        with SimulatedFirmware(50, 115200) as firmware, polyhost_on(firmware) as server:
            ours = stream(server, firmware, long, 115200, [f"/p/p{n}" for n in range(50)])
            _, memory = server.memory_mib()
        yield Row(
            "50 printers at 115200 on ptys: CPU per line",
            "≤ 1/8 of OctoPrint (491 µs)",
            f"{ours.cpu_us_per_line:.0f} µs, {ours.lines_s:.0f} lines/s, {memory:.0f} MiB",
            met=ours.cpu_us_per_line <= 491 / 8,
        )


def _wire_use(file: Path) -> Iterator[Row]:
    """Ping-pong's own ceiling is 93 % of the wire at 0 ms and 74 % at 1 ms; a window's aim is the wire itself."""
    for baud, latency_ms, window in (
        (115200, 0, 0),
        (115200, 1, 0),
        (115200, 0, 4),
        (115200, 1, 4),
        (250000, 1, 4),
        (115200, 16, 0),
        (115200, 16, 4),
    ):
        with SimulatedFirmware(1, baud, latency_ms * 1000) as firmware, polyhost_on(firmware, window) as server:
            got = stream(server, firmware, file, baud, [""])
        if latency_ms == 16 and window == 0:
            slow = got
        target, met = "its own ceiling", None
        if window and latency_ms <= 1:
            target, met = "≥ 98 %", got.wire_use >= 0.98
        elif window:
            target, met = "≥ 3 × ping-pong", got.lines_s >= 3 * slow.lines_s
        elif latency_ms == 0:
            target, met = "93 %", got.wire_use >= 0.92
        elif latency_ms == 1:
            target, met = "74 %", got.wire_use >= 0.73
        yield Row(
            f"wire use, {baud} baud, {latency_ms} ms, {'window' if window else 'ping-pong'}",
            target,
            f"{got.wire_use:.1%} ({got.lines_s:.0f} lines/s, {got.resends:.0f} resends)",
            met=met,
        )
