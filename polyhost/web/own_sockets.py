"""The local sockets that printers have for themselves: made and removed as printers come and go.

They are at ``<data>/printers/<slug>/comms/<name>``.  Only the user that runs the host can open them, so whoever does
needs no key, as at the socket of the host.  What is said there is messages of UTF-8, each ended by a byte 0x03.
"""

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from polyhost.core.events import PrinterAdded, PrinterRemoved
from polyhost.services.bus import Bus
from polyhost.services.printers import Printers
from polyhost.web.application import Application
from polyhost.web.routes import SocketHandler
from polyhost.web.server import unix_socket
from polyhost.web.socket_connection import CLOSE_WITHIN_S, MAX_MESSAGE
from polyhost.web.sockets import payload_of

log = logging.getLogger(__name__)

END: Final = b"\x03"
MAX_PATH: Final = 107
"""Bytes of a Unix socket's address; unix(7) has 108, of which the last is 0."""
MAX_UNREAD: Final = 256
"""Messages of one client that wait to be answered; then no more is read of it."""
LOOK_EVERY_S: Final = 60.0
GONE: Final[dict[str, Any]] = {"type": "websocket.disconnect", "code": 1005}


class LocalConnection(asyncio.Protocol):
    """One client; satisfies `polyhost.web.sockets.Wire`."""

    on_writable: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, made: Callable[["LocalConnection"], None]) -> None:
        """`made` is told when somebody is there."""
        self._made = made
        self._transport: asyncio.Transport
        self._unfinished = bytearray()
        self._messages: deque[bytes] = deque()
        self._came = asyncio.Event()
        self._is_paused = self._is_full = self._is_gone = False

    # What the client sends

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's
        self._transport = transport
        self._made(self)

    def data_received(self, data: bytes) -> None:
        *ended, rest = data.split(END)
        for end in ended:
            message = bytes(self._unfinished) + end
            self._unfinished.clear()
            if len(message) > MAX_MESSAGE:
                self.end(1009)
                return
            if message.strip():
                self._messages.append(message)
        self._unfinished += rest
        if len(self._unfinished) > MAX_MESSAGE:
            self.end(1009)
        if len(self._messages) > MAX_UNREAD and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._came.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_gone = True
        self._came.set()
        self.on_writable()

    async def receive(self) -> dict[str, Any]:
        """The next message, as one of a WebSocket's would come."""
        while not self._messages:
            if self._is_gone or self._transport.is_closing():
                return GONE
            self._came.clear()
            await self._came.wait()
        message = self._messages.popleft()
        if self._is_paused and len(self._messages) <= MAX_UNREAD // 2 and self.is_open:
            self._is_paused = False
            self._transport.resume_reading()
        return {"type": "websocket.receive", "bytes": message}

    # What it is sent

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self.on_writable()

    @property
    def is_open(self) -> bool:
        return not (self._is_gone or self._transport.is_closing())

    @property
    def is_writable(self) -> bool:
        return not self._is_full

    def write(self, wire: bytes) -> None:
        if self.is_open:
            self._transport.write(payload_of(wire) + END)

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def allow(self, at_once: int, in_a_second: float) -> None:
        """Nothing bounds how often it asks but that it waits for its answers."""

    def end(self, code: int, reason: str = "") -> None:
        """Close when all is sent, or when the client does not take it."""
        if self.is_open:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_WITHIN_S, self._transport.abort)
        self._came.set()


@dataclass(slots=True)
class _Opened:
    listening: socket.socket
    server: asyncio.Server
    clients: set[LocalConnection] = field(default_factory=set)


class OwnSockets:
    """Those of every printer, for each dialect that has one.  A path that is too long is one warning."""

    def __init__(self, printers: Printers, bus: Bus, application: Application, data: Path) -> None:
        self._printers = printers
        self._bus = bus
        self._application = application
        self._folder = data / "printers"
        self._handlers = {name: handler for one in application.dialects for name, handler in one.local.items()}
        self._opened: dict[tuple[str, str], _Opened] = {}
        self._refused: set[Path] = set()

    def path(self, slug: str, name: str) -> Path:
        return self._folder / slug / "comms" / name

    async def run(self) -> None:
        """Follow what printers there are, until cancelled; then all of them are gone."""
        try:
            async with asyncio.TaskGroup() as group:
                with self._bus.listen(PrinterAdded, PrinterRemoved) as listener:
                    while True:
                        await self._adjust(group)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(LOOK_EVERY_S):
                                await anext(listener)
        finally:
            for slug, name in list(self._opened):
                self._close(slug, name)

    async def _adjust(self, group: asyncio.TaskGroup) -> None:
        wanted = {(printer.slug, name) for printer in self._printers.all() for name in self._handlers}
        for slug, name in set(self._opened) - wanted:
            self._close(slug, name)
        for slug, name in wanted - set(self._opened):
            await self._open(slug, name, group)

    async def _open(self, slug: str, name: str, group: asyncio.TaskGroup) -> None:
        path = self.path(slug, name)
        try:
            if len(bytes(path)) > MAX_PATH:
                raise OSError(
                    f"its path has {len(bytes(path))} bytes, {MAX_PATH} is the most; use a shorter data folder"
                )
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            listening = unix_socket(path)
        except OSError as error:
            if path not in self._refused:
                log.warning("%s: no local socket at %s: %s; the host runs without it", slug, path, error)
            self._refused.add(path)
            return
        self._refused.discard(path)
        handler, clients = self._handlers[name], set[LocalConnection]()

        def made(connection: LocalConnection) -> None:
            clients.add(connection)
            group.create_task(self._serve(handler, slug, path, connection, clients), name=f"a client of {path}")

        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: LocalConnection(made), sock=listening)
        self._opened[slug, name] = _Opened(listening, server, clients)

    async def _serve(
        self,
        handler: SocketHandler,
        slug: str,
        path: Path,
        connection: LocalConnection,
        clients: set[LocalConnection],
    ) -> None:
        try:
            await self._application.serve_local(handler, slug, str(path), connection, connection.receive)
        finally:
            clients.discard(connection)
            connection.end(1001)

    def _close(self, slug: str, name: str) -> None:
        opened = self._opened.pop((slug, name))
        opened.server.close()
        opened.listening.close()
        for connection in list(opened.clients):
            connection.end(1001)
        path = self.path(slug, name)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what else is there stays
            path.parent.rmdir()
            path.parent.parent.rmdir()
