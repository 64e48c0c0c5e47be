"""A host on a real port, for what only bytes on a connection can show."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from polyhost.core.user import Role
from polyhost.web import server
from tests.web.hosting import Hosted


class Served:
    """A host on a free port."""

    def __init__(self, one: Hosted, port: int, answering: server.Server) -> None:
        self.one = one
        self.port = port
        self.server = answering
        self.key = one.keys.get(Role.OPERATOR, "")

    @property
    def sockets(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, request: bytes) -> bytes:
        """All that comes back for `request` until the server closes."""
        reader, writer = await self.open()
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    def head(self, method: str, path: str, *lines: str, key: bool = True) -> bytes:
        key_line = [f"X-Api-Key: {self.key}"] if key else []
        return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *key_line, *lines, "", ""]).encode()


@contextlib.asynccontextmanager
async def serving(one: Hosted, *more: object) -> AsyncIterator[tuple[Served, asyncio.Event]]:
    listening = server.tcp_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]
    stop, ready = asyncio.Event(), asyncio.Event()

    async def started() -> None:
        ready.set()

    answering = server.Server(one.application, stop=stop, started=started)
    task = asyncio.create_task(answering.answer([listening, *more]))  # type: ignore[list-item]
    parts = [asyncio.create_task(part.run()) for part in one.application.parts.values()]
    await ready.wait()
    try:
        yield Served(one, port, answering), stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)
        for part in parts:
            part.cancel()
        ends = await asyncio.gather(*parts, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
