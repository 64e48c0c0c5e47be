"""Serving the application on sockets that somebody else opened."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Final

import uvicorn

from polyhost.web.application import Application
from polyhost.web.connection import Connection
from polyhost.web.socket_connection import MAX_MESSAGE, PING_EVERY_S, PONG_WITHIN_S, SocketConnection

STOP_S: Final = 4  # for requests under way; the rest of the 15 s of a stop (R20) is for the machines
IDLE_S: Final = 75
_BACKLOG: Final = 2048


def tcp_socket(host: str, port: int) -> socket.socket:
    """A socket listening on `host` (a name or address, "" for every address) and `port` (0: a free one).

    `OSError` when the port is taken or the address is not ours.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def unix_socket(path: Path) -> socket.socket:
    """A socket listening at `path`, for our own user alone; one left by a dead server is replaced."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    listening.setblocking(False)
    return listening


class Server(uvicorn.Server):
    """Answers on sockets until told to stop.  The process's signals are left to the application's owner."""

    def __init__(
        self, application: Application, *, stop: asyncio.Event, started: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """`started` is awaited once, when the first connection is answered."""
        super().__init__(_config(application))
        self._application = application
        self._tell_started = started
        self._stop = stop
        self._opened: dict[int, tuple[asyncio.Server, socket.socket]] = {}

    async def answer(self, sockets: Sequence[socket.socket]) -> None:
        """Until `stop`; then finish what is being answered, within `STOP_S`.  The sockets are closed."""
        # Our own guard reports what goes wrong; uvicorn's log would say it twice, and every scanner's nonsense too.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        try:
            await self.serve(list(sockets))
        finally:
            for listening in (*sockets, *(opened for _, opened in self._opened.values())):
                listening.close()

    async def open(self, listening: socket.socket, state: dict[str, object]) -> None:
        """Answer on one more socket, while `answer` goes on; closed with it, or by `close`.

        `state` is that of the ASGI scope of what comes there.
        """

        def connection() -> asyncio.Protocol:
            return Connection(self.config, self.server_state, state)

        loop = asyncio.get_running_loop()
        opened = await loop.create_server(connection, sock=listening, backlog=_BACKLOG)
        self.servers.append(opened)
        self._opened[listening.getsockname()[1]] = opened, listening

    def close(self, port: int) -> None:
        """Answer no longer on a port that was opened: what is being answered there is the last of its connection."""
        opened, listening = self._opened.pop(port)
        self.servers.remove(opened)
        opened.close()
        listening.close()
        for connection in list(self.server_state.connections):
            assert isinstance(connection, Connection | SocketConnection)
            if connection.server is not None and connection.server[1] == port:
                connection.shutdown()

    # What uvicorn calls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._tell_started is not None:
            await self._tell_started()

    async def main_loop(self) -> None:
        """uvicorn looks ten times a second whether it is to end.  We are told; once is enough, for the date."""
        while not self._stop.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stop.wait()
        self._application.closing.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _config(application: Application) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        loop="none",
        http=Connection,
        ws=SocketConnection,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_S,
    )
