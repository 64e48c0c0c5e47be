"""Listening: what a print costs the host with nobody, one and 200 clients on its push socket, and requests beside."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import WebSocketException

from benchmarks.harness import Row, Server, SimulatedFirmware, short_moves, until
from benchmarks.peers import Peers, connect
from benchmarks.streaming import polyhost_on

SECONDS = 10.0
LISTENERS = 200
LINES = 20_000
BYTES_S = 3_500  # of the wire: about 100 lines a second, as a print of curves has


def rows(peers: Peers) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        file = short_moves(Path(folder) / "listened.gcode", LINES)
        with SimulatedFirmware(1, BYTES_S * 10) as firmware, polyhost_on(firmware) as ours:
            mine = _measured(ours, file)
        theirs = None
        with SimulatedFirmware(1, BYTES_S * 10) as firmware:
            port = firmware.ports[0]
            with peers.octoprint(f"{port.parent}/printer*") as peer:
                if peer is not None:
                    connect(peer, str(port))
                    theirs = _measured(peer, file)
    for listeners in (0, 1, LISTENERS):
        yield Row(
            f"CPU of the host while it prints, {listeners} listening",
            "≤ 15 % of a core more than with none" if listeners == LISTENERS else "-",
            mine.words(listeners),
            f"OctoPrint {theirs.words(listeners)}" if theirs else "-",
            mine.cpu[listeners] - mine.cpu[0] <= 0.15 if listeners == LISTENERS else None,
        )


class _Measured:
    """By number of listeners: cores in use, what each listener heard a second, and the slowest requests beside."""

    def __init__(self) -> None:
        self.cpu: dict[int, float] = {}
        self.heard: dict[int, float] = {}
        self.p99_ms: dict[int, float] = {}

    def words(self, listeners: int) -> str:
        words = f"{self.cpu[listeners] * 100:.1f} %, requests p99 {self.p99_ms[listeners]:.0f} ms"
        return words + (f", each hears {self.heard[listeners]:.1f} messages/s" if listeners else "")


def _measured(server: Server, file: Path) -> _Measured:
    server.upload(file)
    if server.name == "Polyhost":  # its analysis is not what is measured; that of OctoPrint waits for an idle printer
        until(lambda: "gcodeAnalysis" in server.get(f"/api/files/local/{file.name}"), 240, "the analysis")
    server.post(f"/api/files/local/{file.name}", {"command": "select", "print": True})
    until(lambda: server.get("/api/job")["state"] == "Printing", 30, "the print")
    measured = _Measured()
    for listeners in (0, 1, LISTENERS):
        with _listening(server, listeners) as audience:
            time.sleep(2.0)  # until everybody has heard what was before
            messages, began, cpu = audience.messages, time.perf_counter(), server.cpu_s()
            took = []
            while (now := time.perf_counter()) < began + SECONDS:
                server.get("/api/printer")
                took.append(time.perf_counter() - now)
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            measured.cpu[listeners] = (server.cpu_s() - cpu) / seconds
            measured.heard[listeners] = (audience.messages - messages) / max(1, listeners) / seconds
            measured.p99_ms[listeners] = sorted(took)[int(len(took) * 0.99)] * 1000
            if audience.lost:
                raise SystemExit(f"{audience.lost} listeners of {server.name} were dropped")
    server.post("/api/job", {"command": "cancel"})
    return measured


class _Audience(threading.Thread):
    """Listeners in a thread of their own."""

    def __init__(self, server: Server, count: int) -> None:
        super().__init__(daemon=True)
        self.messages = self.ready = self.lost = 0
        self._url = server.url.replace("http", "ws", 1) + "/sockjs/websocket"
        user = server.post("/api/login", {"passive": True}).json()
        self._auth = json.dumps({"auth": f"{user['name']}:{user['session']}"})
        self._count = count
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    def run(self) -> None:
        self._loop.run_until_complete(self._all())
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(60)

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._listen()) for _ in range(self._count)]
            await self._over.wait()
            for task in tasks:
                task.cancel()

    async def _listen(self) -> None:
        try:
            async with open_socket(self._url, compression=None, max_size=None, open_timeout=60) as socket:
                await socket.send(self._auth)
                first = True
                async for message in socket:
                    if first and '"history"' in str(message)[:12]:
                        first = False
                        self.ready += 1
                    self.messages += 1
        except (OSError, WebSocketException):
            pass
        if not self._over.is_set():
            self.lost += 1


@contextmanager
def _listening(server: Server, count: int) -> Iterator[_Audience]:
    audience = _Audience(server, count)
    audience.start()
    try:
        until(lambda: audience.ready >= count or audience.lost, 60, f"{count} listeners")
        yield audience
    finally:
        audience.stop()
