"""``/sockjs``: the ways by which clients listen: WebSockets raw and framed, and what browsers without them do.

Whoever opens one is a stranger until the message ``auth``; no cookie counts here, and so no token against forgery is
asked for, which no client of SockJS could send.  Foreign pages are told by their ``Origin``.

Upstream: OctoPrint 1.11, docs/api/push.rst; the transports are those of the SockJS protocol 0.3.3.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.dialects.octoprint.messages import Message
from polyhost.dialects.octoprint.push import Push
from polyhost.dialects.octoprint.sockjs_sessions import HEARTBEAT, HEARTBEAT_S, OPENED, Sessions
from polyhost.web.answers import Encoded, Streamed, encoded, text
from polyhost.web.bodies import decoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes
from polyhost.web.sockets import Socket, text_frame

routes = Routes()

MAX_BATCH: Final = 100
MAX_BODY: Final = 1 << 20  # as one message of a WebSocket
STREAM_BYTES: Final = 128 * 1024  # of one answer; browsers keep all of it
PRELUDE: Final = b"h" * 2048 + b"\n"  # some browsers show nothing of an answer before so much of it
GO_AWAY: Final = text_frame(b'c[3000,"Go away!"]')
_OPENED: Final = text_frame(OPENED)
_HEARTBEAT: Final = text_frame(HEARTBEAT)
_JAVASCRIPT: Final = "application/javascript; charset=UTF-8"
_SENT: Final = Encoded(204, [(b"content-type", b"text/plain; charset=UTF-8")], b"")


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


class FramedLink:
    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def send(self, message: Message) -> None:
        self._socket.send(message.framed, latest=message.latest)


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
    socket.send(_OPENED)
    client = push.open(call, FramedLink(socket))
    try:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    message = await socket.receive()
            except TimeoutError:
                socket.send(_HEARTBEAT)
                continue
            if message:
                for one in messages_in(message.encode() if isinstance(message, str) else message):
                    push.said(client, one)
    except (Malformed, UnicodeEncodeError):
        socket.send(GO_AWAY)
    finally:
        push.close(client)


@routes.post("/sockjs/{server}/{session}/xhr", open_door=True, any_page=True)
async def poll(call: Call) -> Streamed:
    """One frame, when there is one."""
    return _receiving(call, b"", lambda frame: frame + b"\n", 1, _JAVASCRIPT)


@routes.post("/sockjs/{server}/{session}/xhr_streaming", open_door=True, any_page=True)
async def stream(call: Call) -> Streamed:
    return _receiving(call, PRELUDE, lambda frame: frame + b"\n", STREAM_BYTES, _JAVASCRIPT)


@routes.get("/sockjs/{server}/{session}/eventsource", open_door=True)
async def event_source(call: Call) -> Streamed:
    kind = "text/event-stream; charset=UTF-8"
    return _receiving(call, b"\r\n", lambda frame: b"data: %b\r\n\r\n" % frame, STREAM_BYTES, kind)


@routes.post("/sockjs/{server}/{session}/xhr_send", open_door=True, any_page=True)
async def send(call: Call) -> Encoded:
    call.check_origin()
    client = call.part(Sessions).sending(call)
    body = await call.content(MAX_BODY)
    if not body:
        raise Malformed("Payload expected.")
    push = call.part(Push)
    for one in messages_in(body):
        push.said(client, one)
    return _SENT


def _receiving(
    call: Call, prelude: bytes, wrap: Callable[[bytes], bytes], most_bytes: int, content_type: str
) -> Streamed:
    """The frames of the session that `call` names, behind `prelude`."""
    call.check_origin()
    session = call.part(Sessions).receiving(call)

    async def chunks() -> AsyncGenerator[bytes, None]:
        if prelude:
            yield prelude
        async with contextlib.aclosing(session.frames(wrap, most_bytes)) as frames:
            async for frame in frames:
                yield frame

    return Streamed(chunks, content_type=content_type)
