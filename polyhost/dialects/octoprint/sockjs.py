"""``/sockjs``: the ways by which clients listen: WebSockets raw and framed, and what browsers without them do.

Whoever opens one is a stranger until the message ``auth``; no cookie counts here.

Upstream: OctoPrint 1.11, docs/api/push.rst; the transports are those of the SockJS protocol 0.3.3.
"""

import asyncio
import secrets
from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.dialects.octoprint.messages import Message
from polyhost.dialects.octoprint.push import Push
from polyhost.web.answers import Encoded, encoded, text
from polyhost.web.bodies import decoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes
from polyhost.web.sockets import Socket, text_frame

routes = Routes()

HEARTBEAT_S: Final = 25.0
MAX_BATCH: Final = 100
OPENED: Final = text_frame(b"o")
HEARTBEAT: Final = text_frame(b"h")


class Info(msgspec.Struct):
    websocket: bool
    cookie_needed: bool
    origins: tuple[str, ...]
    entropy: int


class RawLink:
    """Plain JSON, no frames of SockJS."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def send(self, message: Message) -> None:
        self._socket.send(message.raw, latest=message.latest)

    def close(self, code: int, reason: str) -> None:
        self._socket.close(code, reason)


class FramedLink:
    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def send(self, message: Message) -> None:
        self._socket.send(message.framed, latest=message.latest)

    def close(self, code: int, reason: str) -> None:
        self._socket.send(text_frame(closing(code, reason)))
        self._socket.close()


def closing(code: int, reason: str) -> bytes:
    return b"c" + msgspec.json.encode([code, reason])


def messages_in(body: bytes) -> list[bytes]:
    """What a client sends: a list of messages, or one; each is JSON in a string, or (octorest) the JSON itself."""
    found = decoded(body, list[msgspec.Raw]) if body.lstrip().startswith(b"[") else [decoded(body, msgspec.Raw)]
    if len(found) > MAX_BATCH:
        raise Malformed(f"more than {MAX_BATCH} messages at once")
    return [decoded(bytes(one), str).encode() if bytes(one).startswith(b'"') else bytes(one) for one in found]


@routes.get("/sockjs", open_door=True)
async def greeting(call: Call) -> Encoded:
    return text("Welcome to SockJS!\n")


@routes.get("/sockjs/info", open_door=True)
async def info(call: Call) -> Encoded:
    return encoded(Info(True, False, ("*:*",), secrets.randbits(32)))


@routes.socket("/sockjs/websocket", open_door=True)
async def raw(call: Call, socket: Socket) -> None:
    push = call.part(Push)
    client = push.open(call, RawLink(socket))
    try:
        async for message in socket:
            push.said(client, message)
    finally:
        push.close(client)


@routes.socket("/sockjs/{server}/{session}/websocket", open_door=True)
async def framed(call: Call, socket: Socket) -> None:
    push = call.part(Push)
    socket.send(OPENED)
    client = push.open(call, FramedLink(socket))
    try:
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), HEARTBEAT_S)
            except TimeoutError:
                socket.send(HEARTBEAT)
                continue
            if message:
                for one in messages_in(message.encode() if isinstance(message, str) else message):
                    push.said(client, one)
    finally:
        push.close(client)
