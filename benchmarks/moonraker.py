"""Moonraker's API: its most asked questions, and subscribers to everything while a print is streamed."""

import asyncio
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from benchmarks.harness import Load, Row, Server, SimulatedFirmware, load, short_moves, until
from benchmarks.peers import Peers
from benchmarks.streaming import polyhost_on

FILES: Final = 200
SUBSCRIBERS: Final = (50, 200, 1000)
SECONDS: Final = 10.0
LINES: Final = 60_000
BYTES_S: Final = 3_500  # of the wire: about 100 lines a second, as a print of curves has
REQUESTS: Final = (("/server/info", 10_000), ("/server/files/list", 1_000))


def rows(peers: Peers) -> Iterator[Row]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # those we start have the same
    with tempfile.TemporaryDirectory() as folder:
        file = short_moves(Path(folder) / "listened.gcode", LINES)
        small = short_moves(Path(folder) / "small.gcode", 100)
        with SimulatedFirmware(1, BYTES_S * 10) as firmware, polyhost_on(firmware) as ours:
            for n in range(FILES):
                ours.upload(small, f"f{n:03}.gcode")
            mine = _measured(ours, file)

        def furnish(gcodes: Path) -> None:
            for n in range(FILES):
                (gcodes / f"f{n:03}.gcode").write_bytes(small.read_bytes())

        theirs = None
        with peers.moonraker(furnish) as peer:
            if peer is not None:
                theirs = _measured(peer, None)
    for path, target in REQUESTS:
        got = mine.loads[path]
        met = got.requests_s >= target and not got.failed
        words = f"Moonraker {_words(theirs.loads[path])}" if theirs else "-"
        yield Row(f"GET {path}" + f", {FILES} files" * ("list" in path), f"≥ {target}/s", _words(got), words, met)
    for count in SUBSCRIBERS:
        heard = mine.heard[count]
        yield Row(
            f"{count} subscribed to everything, beside a print",
            "≤ 25 % of a core more than with none, last ≤ 100 ms behind the first" if count == 1000 else "-",
            f"{heard.words()}, with none {mine.idle_cpu * 100:.1f} %",
            f"Moonraker {theirs.heard[count].words()}, with none {theirs.idle_cpu * 100:.1f} %" if theirs else "-",
            heard.cpu - mine.idle_cpu <= 0.25 and heard.spread_p99_ms <= 100 if count == 1000 else None,
        )
        yield Row(
            f"{count} subscribe at once, all answered",
            "≤ 1 s" if count == 200 else "-",
            f"{heard.subscribed_s:.2f} s",
            f"Moonraker {theirs.heard[count].subscribed_s:.2f} s" if theirs else "-",
            heard.subscribed_s <= 1.0 if count == 200 else None,
        )


def _words(got: Load) -> str:
    return f"{got.requests_s:.0f}/s, p50 {got.p50_ms:.1f}, p99 {got.p99_ms:.1f} ms" + f", {got.failed} bad" * (
        got.failed > 0
    )


class _Heard:
    """What so many subscribers had of it, and what it cost the server."""

    def __init__(self) -> None:
        self.cpu = 0.0  # cores
        self.subscribed_s = 0.0
        self.rate = 0.0  # messages a second, for each
        self.spread_p50_ms = 0.0  # from the first to have a message to the last
        self.spread_p99_ms = 0.0

    def words(self) -> str:
        spread = f"last behind first p50 {self.spread_p50_ms:.0f}, p99 {self.spread_p99_ms:.0f} ms"
        return f"{self.cpu * 100:.1f} %, {self.rate:.1f} messages/s each, {spread}"


class _Measured:
    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}
        self.idle_cpu = 0.0
        self.heard: dict[int, _Heard] = {}


def _measured(server: Server, file: Path | None) -> _Measured:
    """`file` is printed meanwhile; None: something is already."""
    measured = _Measured()
    for path, _ in REQUESTS:
        measured.loads[path] = load(server, path, runs=3 if file else 1)
    if file is not None:
        server.upload(file)
        until(lambda: "gcodeAnalysis" in server.get(f"/api/files/local/{file.name}"), 240, "the analysis")
        server.post(f"/api/files/local/{file.name}", {"command": "select", "print": True})
        until(lambda: server.get("/api/job")["state"] == "Printing", 30, "the print")
    time.sleep(2.0)
    began, cpu = time.perf_counter(), server.cpu_s()
    time.sleep(SECONDS)
    measured.idle_cpu = (server.cpu_s() - cpu) / (time.perf_counter() - began)
    for count in SUBSCRIBERS:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured.heard[count] = runner.run(_listen(server, count))
    return measured


async def _listen(server: Server, count: int) -> _Heard:
    objects = server.get("/printer/objects/list")["result"]["objects"]
    ticks: dict[bytes, list[float]] = {}
    host, _, port = server.url.removeprefix("http://").partition(":")
    loop, subscribers = asyncio.get_running_loop(), list[_Subscriber]()
    for _ in range(count):
        _, subscriber = await loop.create_connection(lambda: _Subscriber(server.key, ticks), host, int(port))
        subscribers.append(subscriber)
        await asyncio.wait_for(subscriber.opened, 30)
    heard, began = _Heard(), time.perf_counter()
    for subscriber in subscribers:
        subscriber.ask({"objects": dict.fromkeys(objects)})
    await asyncio.wait_for(asyncio.gather(*(subscriber.answered for subscriber in subscribers)), 60)
    heard.subscribed_s = time.perf_counter() - began
    await asyncio.sleep(2.0)
    ticks.clear()
    began, cpu = time.perf_counter(), server.cpu_s()
    await asyncio.sleep(SECONDS)
    seconds = time.perf_counter() - began
    heard.cpu = (server.cpu_s() - cpu) / seconds
    if gone := sum(subscriber.is_gone for subscriber in subscribers):
        raise SystemExit(f"{gone} subscribers of {server.name} were dropped")
    heard.rate = sum(len(times) for times in ticks.values()) / count / seconds
    spreads = sorted(max(times) - min(times) for times in ticks.values() if len(times) == count) or [float("inf")]
    heard.spread_p50_ms = spreads[len(spreads) // 2] * 1000
    heard.spread_p99_ms = spreads[int(len(spreads) * 0.99)] * 1000
    for subscriber in subscribers:
        subscriber.close()
    return heard


class _Subscriber(asyncio.Protocol):
    """A WebSocket that looks at as little of what it is told as it can: thousands of messages a second come."""

    def __init__(self, key: str, ticks: dict[bytes, list[float]]) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.answered: asyncio.Future[None] = loop.create_future()
        self.is_gone = False
        self._key = key
        self._ticks = ticks
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        lines = ["GET /websocket HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"X-Api-Key: {self._key}"]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.is_gone = True

    def ask(self, params: dict[str, Any]) -> None:
        said = {"jsonrpc": "2.0", "method": "printer.objects.subscribe", "params": params, "id": 1}
        self._send(0x1, json.dumps(said).encode())

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self.opened.done():
            head, end, rest = self._unread.partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head, bytes(head)
            self._unread = bytearray(rest)
            self.opened.set_result(None)
        while (frame := self._frame()) is not None:
            self._heard(*frame)

    def _frame(self) -> tuple[int, bytes] | None:
        """The next whole one: RFC 6455, 5.2."""
        unread = self._unread
        if len(unread) < 2:
            return None
        size, head = unread[1] & 127, 2
        if size > 125:
            head = 4 if size == 126 else 10
            size = int.from_bytes(unread[2:head], "big")
        if len(unread) < head + size:
            return None
        code, payload = unread[0] & 15, bytes(unread[head : head + size])
        del unread[: head + size]
        return code, payload

    def _heard(self, code: int, payload: bytes) -> None:
        if code == 0x9:
            self._send(0xA, payload)
        elif b"notify_status_update" in payload[:64]:
            at = payload[payload.rfind(b",") + 1 :]  # the event's time
            self._ticks.setdefault(at, []).append(time.perf_counter())
        elif b"notify_" not in payload[:64] and not self.answered.done():
            self.answered.set_result(None)

    def _send(self, code: int, payload: bytes) -> None:
        size, mask = len(payload), os.urandom(4)
        head = bytes([0x80 | code, 0x80 | size]) if size < 126 else bytes([0x80 | code, 0xFE]) + size.to_bytes(2, "big")
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
        self._transport.write(head + mask + masked)
