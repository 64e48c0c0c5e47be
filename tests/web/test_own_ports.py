"""Ports that printers have for themselves follow the printers' settings."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from polyhost.config import Printer
from polyhost.web.own_ports import OwnPorts
from polyhost.web.server import tcp_socket
from tests.integration.processes import free_port
from tests.services.world import ADMIN
from tests.web.hosting import Hosted, hosted
from tests.web.serving import Served, serving


@contextlib.asynccontextmanager
async def following(one: Hosted) -> AsyncIterator[Served]:
    async with serving(one) as (served, _):
        ports = OwnPorts(one.host.printers, one.host.bus, served.server, "127.0.0.1")
        task = asyncio.create_task(ports.run())
        try:
            yield served
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


async def test_a_changed_port_moves_and_takes_its_connections_along(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    async with hosted(tmp_path) as one, following(one) as served:
        printers = one.host.printers
        added = await printers.add(Printer("own", "virtual", listen=first), ADMIN)
        reader, writer = await connected(first)
        head = served.head("GET", "/api/version")
        writer.write(head)
        assert b"200 OK" in await reader.readuntil(b"\r\n")
        await printers.change(added, msgspec.structs.replace(added.settings, listen=second), ADMIN)
        _, moved = await connected(second)
        async with asyncio.timeout(10):
            await reader.read()  # ends
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", first)
        writer.close()
        moved.close()


async def test_what_is_sent_to_a_printer_that_has_gone_reaches_no_other(tmp_path: Path) -> None:
    port = free_port()
    async with hosted(tmp_path) as one, serving(one) as (served, _):
        ports = OwnPorts(one.host.printers, one.host.bus, served.server, "127.0.0.1")
        await one.host.printers.add(Printer("own", "virtual", listen=port), ADMIN)
        await ports.adjust()  # and nobody closes it
        request = served.head("GET", "/api/connection", "Connection: close")
        for gone in (False, True):
            if gone:
                await one.host.printers.remove("own", ADMIN)
            reader, writer = await connected(port)
            writer.write(request)
            status = await reader.readline()
            assert (b"404" if gone else b"200") in status
            writer.close()


async def test_a_port_that_is_taken_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(tcp_socket("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        async with hosted(tmp_path) as one, following(one):
            free = free_port()
            await one.host.printers.add(Printer("own", "virtual", listen=port), ADMIN)
            await one.host.printers.add(Printer("other", "virtual", listen=free), ADMIN)
            _, writer = await connected(free)
            writer.close()
            said = [record.message for record in caplog.records if f"port {port} is in use" in record.message]
            assert len(said) == 1
            holder.close()
            await one.host.printers.add(Printer("third", "virtual"), ADMIN)
            _, writer = await connected(port)  # whoever had it is gone
            writer.close()
