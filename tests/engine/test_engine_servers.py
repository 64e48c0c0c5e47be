"""Servers at an engine's socket: slow, dead, rude, old."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyhost.core.errors import Malformed, NotFound, NotNow
from polyhost.drivers.engine_client import EngineClient
from polyhost.engine import loop
from polyhost.engine import messages as m
from polyhost.engine.loop import Engine
from tests.drivers.rigs import moves, order_of


class Attached:
    """A server that reads, on an engine in this process."""

    def __init__(self, engine: Engine, socket: Path) -> None:
        self.engine = engine
        self.socket = socket
        self.heard: list[m.Heard] = []
        self._news = asyncio.Event()
        self.client: EngineClient

    def hear(self, heard: m.Heard) -> None:
        self.heard.append(heard)
        self._news.set()

    async def ended(self) -> m.EndedRun:
        async with asyncio.timeout(20):
            while True:
                for heard in self.heard:
                    if heard.ended:
                        return heard.ended[0]
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def attached(folder: Path) -> AsyncIterator[Attached]:
    engine = Engine(folder / "engine", folder / "sock")
    running = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(10):
            while not (folder / "sock").exists():
                await asyncio.sleep(0.005)
        server = Attached(engine, folder / "sock")
        server.client, _ = await EngineClient.attach(server.socket, server.hear)
        listening = asyncio.create_task(server.client.run())
        yield server
    finally:
        engine.stop()
        await running
    await listening


async def ready(server: Attached) -> None:
    await server.client.ask(m.Hold(printer="one", machine=m.MachineSettings(m.VirtualLink(speed=0))))
    async with asyncio.timeout(10):
        while True:
            welcome = (await server.client.ask(m.Hello())).welcome
            assert welcome is not None
            if welcome.printers[0].snapshot.state.value == "ready":
                return
            await asyncio.sleep(0.01)


async def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    async with attached(tmp_path) as server:
        assert stat.S_IMODE(os.stat(server.socket).st_mode) == 0o600
    assert not server.socket.exists()


async def test_a_server_that_never_reads_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LAGGING_BYTES", 20_000)
    monkeypatch.setattr(loop, "LAGGING_S", 0.5)
    async with attached(tmp_path) as server:
        await ready(server)
        reader, writer = await asyncio.open_unix_connection(str(server.socket), limit=1)
        writer.write(m.frame(m.Hello(id=1)))
        await reader.readexactly(1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        order = order_of(tmp_path, moves(60_000))
        await server.client.ask(m.StartRun(printer="one", order=order))
        most = 0
        while not any(heard.ended for heard in server.heard):
            waiting = [slow.waiting_bytes for slow in server.engine.servers]
            most = max([most, *waiting])
            await asyncio.sleep(0.01)
        assert (await server.ended()).state.value == "completed"
        assert most < 400_000  # the bound, and the one message that passed it
        async with asyncio.timeout(10):
            while len(server.engine.servers) > 1:
                await asyncio.sleep(0.01)
        writer.close()


async def test_bytes_that_are_no_request_end_that_connection_alone(tmp_path: Path) -> None:
    async with attached(tmp_path) as server:
        for rude in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x04abcd", b"\xff\xff\xff\xff"):
            reader, writer = await asyncio.open_unix_connection(str(server.socket))
            writer.write(rude)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        await server.client.ask(m.Ping())


async def test_another_protocol_is_refused_with_those_that_are_spoken(tmp_path: Path) -> None:
    async with attached(tmp_path) as server:
        with pytest.raises(Malformed, match=r"protocol 2 to 3, not 99"):
            await server.client.ask(m.Hello(protocol=99))


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async with attached(tmp_path) as server:
        with pytest.raises(NotFound, match="no printer two"):
            await server.client.ask(m.Send(printer="two", commands=("G28",)))


async def test_an_engine_takes_sixteen_printers_and_no_more(tmp_path: Path) -> None:
    async with attached(tmp_path) as server:
        machine = m.MachineSettings(m.VirtualLink(), autoconnect=False)
        for number in range(16):
            await server.client.ask(m.Hold(printer=f"p{number}", machine=machine))
        with pytest.raises(NotNow, match="16"):
            await server.client.ask(m.Hold(printer="p16", machine=machine))
        await server.client.ask(m.Release(printer="p3"))
        await server.client.ask(m.Hold(printer="p16", machine=machine))


async def test_two_engines_never_share_a_journal(tmp_path: Path) -> None:
    async with attached(tmp_path):
        with pytest.raises(NotNow, match="another engine"):
            await Engine(tmp_path / "engine", tmp_path / "other").run()


async def test_a_stop_is_refused_while_something_prints(tmp_path: Path) -> None:
    async with attached(tmp_path) as server:
        await ready(server)
        await server.client.ask(m.StartRun(printer="one", order=order_of(tmp_path, ["G28", "M0", "G28"])))
        with pytest.raises(NotNow, match="one"):
            await server.client.ask(m.Stop())
        await server.client.ask(m.Stop(cancel_runs=True))
        assert (await server.ended()).state.value == "cancelled"
