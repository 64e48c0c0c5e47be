"""Local sockets of printers: there while the printer is, for their owner alone, each for its printer."""

import asyncio
import contextlib
import json
import logging
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from polyhost.config import Printer
from polyhost.web.own_sockets import END, MAX_PATH, OwnSockets
from polyhost.web.socket_connection import MAX_MESSAGE
from tests.services.world import ADMIN, until
from tests.web.hosting import Hosted, hosted

TWO = (Printer("one", "virtual"), Printer("two", "virtual"))
NAME = "moonraker.sock"


@contextlib.asynccontextmanager
async def following(one: Hosted, data: Path) -> AsyncIterator[OwnSockets]:
    sockets = OwnSockets(one.host.printers, one.host.bus, one.application, data)
    tasks = [asyncio.create_task(part.run()) for part in (sockets, *one.application.parts.values())]
    try:
        await until(lambda: all(sockets.path(p.slug, NAME).exists() for p in one.host.printers.all()))
        yield sockets
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, method: str, number: int = 1, **params: Any) -> None:
        said = {"jsonrpc": "2.0", "method": method, "params": params, "id": number}
        self.writer.write(json.dumps(said).encode() + END)

    async def heard(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            said: dict[str, Any] = json.loads((await self.reader.readuntil(END))[:-1])
            return said

    async def answer(self, number: int = 1) -> dict[str, Any]:
        while (said := await self.heard()).get("id") != number:
            pass
        return said


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_unix_connection(str(path)))
    try:
        yield client
    finally:
        client.writer.close()


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder whose path is short enough, which one of pytest's need not be."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path, printers=TWO) as host:
        yield host


async def test_who_opens_it_needs_no_key_and_means_its_printer(one: Hosted, data: Path) -> None:
    async with following(one, data) as sockets:
        path = sockets.path("two", NAME)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await one.machines["one"].disconnect()
        for slug, state in (("one", "error"), ("two", "ready")):
            async with opened(sockets.path(slug, NAME)) as client:
                client.ask("server.info")
                assert (await client.answer())["result"]["klippy_state"] == state
                client.ask("access.get_api_key", 2)
                assert len((await client.answer(2))["result"]) == 32
    assert not path.exists()
    assert not path.parent.exists()


def test_it_works_on_the_loop_that_hosts_run_on(data: Path, tmp_path: Path) -> None:
    """Its transports are of classes of its own."""

    async def asked() -> dict[str, Any]:
        async with (
            hosted(tmp_path) as one,
            following(one, data) as sockets,
            opened(sockets.path("one", NAME)) as client,
        ):
            client.ask("server.info")
            return await client.answer()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asked())["result"]["klippy_state"] == "ready"


async def test_messages_come_however_the_bytes_are_cut(one: Hosted, data: Path) -> None:
    asked = b"".join(
        json.dumps({"jsonrpc": "2.0", "method": "server.info", "id": number}).encode() + END for number in range(3)
    )
    async with following(one, data) as sockets, opened(sockets.path("one", NAME)) as client:
        for byte in asked:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert [(await client.heard())["id"] for _ in range(3)] == [0, 1, 2]
        client.writer.write(END + asked + b"{" + END + b"\xff" + END)
        assert [(await client.heard())["id"] for _ in range(3)] == [0, 1, 2]
        for _ in range(2):
            assert (await client.heard())["error"] == {"code": -32700, "message": "Parse error"}


async def test_it_is_told_what_happens_to_its_printer_alone(one: Hosted, data: Path) -> None:
    async with (
        following(one, data) as sockets,
        opened(sockets.path("one", NAME)) as here,
        opened(sockets.path("two", NAME)) as there,
    ):
        for client in (here, there):
            client.ask("server.info")
            await client.answer()
        await one.machines["two"].disconnect()
        await one.machines["two"].connect()
        while (await there.heard()).get("method") != "notify_klippy_ready":
            pass
        here.ask("server.info", 2)
        told = []
        while (said := await here.heard()).get("id") != 2:
            told.append(said["method"])
        assert not [name for name in told if name.startswith("notify_klippy")]


@pytest.mark.parametrize("end", [b"", END])
async def test_a_message_beyond_the_bound_ends_the_connection(one: Hosted, data: Path, end: bytes) -> None:
    async with following(one, data) as sockets, opened(sockets.path("one", NAME)) as client:
        client.writer.write(b" " * (MAX_MESSAGE + 1) + end)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while await client.reader.read(65536):
                    pass


async def test_who_reads_nothing_is_asked_for_no_more(one: Hosted, data: Path) -> None:
    """Answers are all there, in order, when it reads at last."""
    count = 5000
    async with following(one, data) as sockets, opened(sockets.path("one", NAME)) as client:
        for number in range(count):
            client.ask("server.info", number)
        sending = asyncio.create_task(client.writer.drain())
        answers = 0
        while answers < count:
            said = await client.heard()
            if "id" in said:
                assert said["id"] == answers
                answers += 1
        await sending


async def test_it_comes_and_goes_with_its_printer(one: Hosted, data: Path) -> None:
    async with following(one, data) as sockets:
        printers = one.host.printers
        added = await printers.add(Printer("new", "virtual"), ADMIN)
        path = sockets.path("new", NAME)
        await until(path.exists)
        async with opened(path) as client:
            client.ask("server.info")
            await client.answer()
            await printers.remove(added.slug, ADMIN)
            async with asyncio.timeout(10):
                while await client.reader.read(65536):
                    pass
        assert not path.exists()
        assert not path.parent.parent.exists()


async def test_a_path_that_is_too_long_is_one_warning(
    one: Hosted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    far = tmp_path / ("x" * MAX_PATH)
    sockets = OwnSockets(one.host.printers, one.host.bus, one.application, far)
    task = asyncio.create_task(sockets.run())
    await until(lambda: len(caplog.records) >= 2)
    added = await one.host.printers.add(Printer("new", "virtual"), ADMIN)
    await until(lambda: len(caplog.records) >= 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    said = [record.getMessage() for record in caplog.records]
    assert sorted(line.split(":")[0] for line in said) == ["new", "one", "two"]
    assert all(f"{MAX_PATH} is the most; use a shorter data folder" in line for line in said)
    assert not far.exists()
    await one.host.printers.remove(added.slug, ADMIN)
