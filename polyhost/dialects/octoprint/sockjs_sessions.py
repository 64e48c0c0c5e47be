"""Clients of SockJS that have no WebSocket: what is to be told waits for the next request that asks for it.

The SockJS protocol 0.3.3: one request at a time receives; a session that nobody received for 5 s is over.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from polyhost.core.errors import NotFound
from polyhost.dialects.octoprint.messages import Message
from polyhost.dialects.octoprint.push import Client, Push
from polyhost.services.host import Host
from polyhost.web.call import Call
from polyhost.web.sockets import Outbox

HEARTBEAT_S: Final = 25.0
LEFT_S: Final = 5.0
SWEEP_EVERY_S: Final = 1.0
MAX_NAME: Final = 255
MOST_AT_ONCE: Final = 64 * 1024  # bytes of one frame, about
OPENED: Final = b"o"
HEARTBEAT: Final = b"h"
ANOTHER: Final = b'c[2010,"Another connection still open"]'


class Session:
    """One client, from its first request until it stays away."""

    def __init__(self) -> None:
        self.left_at: float | None = asyncio.get_running_loop().time()  # None: somebody receives
        self._outbox = Outbox()
        self._told_open = False
        self._something = asyncio.Event()

    def send(self, message: Message) -> None:
        """`polyhost.dialects.octoprint.messages.Link`."""
        self._outbox.put(message.body, message.latest, 0)
        self._something.set()

    async def frames(self, wrap: Callable[[bytes], bytes], most_bytes: int) -> AsyncGenerator[bytes, None]:
        """Frames as they come, in the transport's wrapping, until `most_bytes` are out; at least one."""
        if self.left_at is None:
            yield wrap(ANOTHER)
            return
        self.left_at = None
        try:
            out = 0
            while not out or out < most_bytes:
                frame = await self._next()
                out += len(frame)
                yield wrap(frame)
        finally:
            self.left_at = asyncio.get_running_loop().time()

    async def _next(self) -> bytes:
        if not self._told_open:
            self._told_open = True
            return OPENED
        if not self._outbox:
            self._something.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._something.wait()
            except TimeoutError:
                return HEARTBEAT
        taken: list[bytes] = []
        size = 0
        while self._outbox and size < MOST_AT_ONCE:
            taken.append(self._outbox.take())
            size += len(taken[-1])
        return b"a[%b]" % b",".join(taken)


class Sessions:
    """All of them (`polyhost.web.routes.Part`); bounded as sockets are, whose seats they take."""

    def __init__(self, host: Host) -> None:
        self._sessions: dict[tuple[str | None, str], tuple[Session, Client, Callable[[], None]]] = {}
        self._some = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            await asyncio.sleep(SWEEP_EVERY_S)
            self._sweep(loop.time())
            if not self._sessions:
                self._some.clear()

    def receiving(self, call: Call) -> Session:
        """The session that `call` names, a new one if need be; `Crowded` when there are as many as there may be."""
        found = self._sessions.get(_name(call))
        if found is not None:
            session, client, _ = found
            _check_address(call, client)
            return session
        seat = call.take_seat()
        session = Session()
        push = call.part(Push)
        client = push.open(call, session)

        def end() -> None:
            push.close(client)
            seat.leave()

        self._sessions[_name(call)] = session, client, end
        self._some.set()
        return session

    def sending(self, call: Call) -> Client:
        """The client of the session that `call` names; `NotFound` when there is none."""
        found = self._sessions.get(_name(call))
        if found is None:
            raise NotFound("there is no such session; it may have been left for too long")
        _check_address(call, found[1])
        return found[1]

    def _sweep(self, now: float) -> None:
        for name, (session, _, end) in list(self._sessions.items()):
            if session.left_at is not None and now - session.left_at > LEFT_S:
                del self._sessions[name]
                end()


def _name(call: Call) -> tuple[str | None, str]:
    name = call.params["session"]
    if len(name.encode()) > MAX_NAME or "." in name or "." in call.params["server"]:
        raise NotFound("a session's name has at most 255 bytes, and no dots")
    return call.prefixed, name


def _check_address(call: Call, client: Client) -> None:
    """`NotFound` for somebody else who knows the session's name."""
    if call.peer.address != client.address:
        raise NotFound("there is no such session for this address")
