"""The whole of a real file, 358,000 lines, through a 115200-baud pty to the simulator, and what was executed.

It takes a quarter of an hour: that is what the wire takes.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, Server, polyhost_serving, until
from benchmarks.peers import Peers
from benchmarks.samples import sample

BAUD = 115200
SETTINGS = """
[doors]
octoprint = 0
moonraker = 0
[[printers]]
slug = "pty"
driver = "serial"
port = "{port}"
baud = {baud}
"""
POLLS = (b"M105", b"M155", b"M110", b"M115", b"M503", b"M20", b"M21", b"M27", b"M114", b"M400")


def rows(peers: Peers) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        file, port, record = sample("prusaslicer_medium", Path(folder)), Path(folder) / "tty", Path(folder) / "executed"
        command = [sys.executable, "-m", "polyhost.engine.pty_simulator", "--link", str(port), "--record", str(record)]
        command += ["--baud", str(BAUD), "--speed", "0", "--advanced-ok"]
        simulator = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert simulator.stdout is not None
            simulator.stdout.readline()
            with polyhost_serving(SETTINGS.format(port=port, baud=BAUD)) as server:
                until(lambda: server.get("/api/connection")["current"]["state"] == "Operational", 30, "the printer")
                cpu = server.cpu_s()
                run = _printed(server, file)
                cpu = server.cpu_s() - cpu
        finally:
            simulator.terminate()
            simulator.wait(10)
        wanted = [line for line in _commands(file.read_bytes()) if not line.startswith(POLLS)]
        executed = [line for line in record.read_bytes().splitlines() if not line.startswith(POLLS)]
    first = executed.index(wanted[0])
    same = executed[first : first + len(wanted)] == wanted
    use = _wire_bytes(wanted) / (BAUD / 10 * run["printing_s"])
    yield Row(
        f"prusaslicer_medium whole, {BAUD} baud pty, window by ADVANCED_OK",
        "≥ 98 %, executed = the file's",
        f"{use:.1%} in {run['printing_s']:.0f} s, {'executed as written' if same else 'NOT AS WRITTEN'}, "
        f"{cpu / len(wanted) * 1e6:.0f} µs per line",
        met=use >= 0.98 and same and run["state"] == "completed",
    )


def _printed(server: Server, file: Path) -> dict[str, Any]:
    server.upload(file, print="true")
    ended: dict[str, Any] = {}
    while not ended:
        time.sleep(1)
        run = server.get("/native/v1/runs?limit=1")[0]
        if run["ended_at"] is not None:
            ended = run
    return ended


def _commands(gcode: bytes) -> list[bytes]:
    lines = (line.split(b";", 1)[0].strip() for line in gcode.splitlines())
    return [line for line in lines if line]


def _wire_bytes(lines: list[bytes]) -> int:
    """With their numbers, checksums and line ends."""
    total = 0
    for number, line in enumerate(lines, 1):
        framed = b"N%d %b" % (number, line)
        checksum = 0
        for byte in framed:
            checksum ^= byte
        total += len(framed) + len(b"*%d\n" % checksum)
    return total
