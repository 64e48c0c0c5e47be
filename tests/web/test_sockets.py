"""WebSockets of any dialect: who may open one, what they bear, and how they end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from polyhost.config import Access, Config
from polyhost.core.user import Permission, Role
from polyhost.dialects.octoprint.errors import ERRORS
from polyhost.web import socket_connection
from polyhost.web.application import Application
from polyhost.web.call import Call
from polyhost.web.routes import Dialect, Routes
from polyhost.web.sockets import MAX_QUEUED, MAX_QUEUED_BYTES, Crowded, Outbox, Seats, Socket, text_frame
from tests.web.hosting import Hosted, hosted
from tests.web.serving import Served, serving

HANDSHAKE = (
    *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

routes = Routes()


@routes.socket("/echo", open_door=True)
async def echo(call: Call, socket: Socket) -> None:
    async for message in socket:
        text = message.encode() if isinstance(message, str) else message
        socket.send(text_frame(f"{call.caller.role}:{call.slug}:".encode() + text))


@routes.socket("/closed/{slug}", needs=Permission.CONTROL)
async def closed(call: Call, socket: Socket) -> None:
    socket.send(text_frame(call.printer.slug.encode()))


@routes.socket("/broken", open_door=True)
async def broken(call: Call, socket: Socket) -> None:
    raise ZeroDivisionError


@routes.socket("/flood", open_door=True)
async def flood(call: Call, socket: Socket) -> None:
    frame = text_frame(b"x" * 1000)
    while socket.is_open:
        socket.send(frame)
        await asyncio.sleep(0)


def talking(one: Hosted) -> Hosted:
    one.application = Application(one.host, [Dialect("d", routes, ERRORS, ("/",))])
    return one


@pytest.fixture
async def served(one: Hosted) -> AsyncIterator[Served]:
    async with serving(talking(one)) as (it, _):
        yield it


async def refused(served: Served, path: str, **options: object) -> tuple[int, str]:
    """Status and content type of the answer to who may not open a socket at `path`."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(served.sockets + path, **options):  # type: ignore[arg-type]
            pass
    response = caught.value.response
    assert b"error" in response.body
    return response.status_code, response.headers["content-type"]


async def closing(served: Served, path: str, *messages: str | bytes) -> tuple[int, str]:
    async with connect(served.sockets + path, compression=None) as socket:
        for message in messages:
            await socket.send(message)
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(10):
                while True:
                    await socket.recv()
        return socket.close_code or 0, socket.close_reason or ""


async def test_caller_and_printer_are_those_of_a_request(served: Served) -> None:
    async with connect(f"{served.sockets}/p/one/echo", additional_headers={"X-Api-Key": served.key}) as socket:
        await socket.send("hi")
        assert await socket.recv() == "Role.OPERATOR:one:hi"
    async with connect(f"{served.sockets}/echo") as socket:
        await socket.send(b"\xff\x00")
        with pytest.raises(ConnectionClosed):  # what was sent back as text is none
            await socket.recv()
    async with connect(f"{served.sockets}//closed/one/?apikey={served.key}") as socket:
        assert await socket.recv() == "one"
        with pytest.raises(ConnectionClosed) as end:
            await socket.recv()
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1000


async def test_who_may_not_is_told_so_as_for_a_request(served: Served) -> None:
    assert await refused(served, "/closed/one") == (403, "application/json")
    assert await refused(served, "/closed/none") == (403, "application/json")
    viewer = {"X-Api-Key": served.one.keys[Role.VIEWER]}
    assert (await refused(served, "/closed/one", additional_headers=viewer))[0] == 403
    operator = {"X-Api-Key": served.key}
    assert (await refused(served, "/p/none/echo", additional_headers=operator))[0] == 404
    assert (await refused(served, "/nowhere"))[0] == 404
    assert (await refused(served, "/%ff"))[0] == 400


async def test_before_there_is_an_administrator_nobody_opens_one(tmp_path: Path) -> None:
    async with hosted(tmp_path, set_up=False) as one, serving(talking(one)) as (served, _):
        assert (await refused(served, "/echo"))[0] == 403


@pytest.mark.parametrize("path", ["/echo", "/closed/one"])
async def test_a_request_to_a_socket_is_told_what_is_there(served: Served, path: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()) == (400, {"error": 'Can "Upgrade" only to "WebSocket".'})
    head = served.head("POST", "/echo", *HANDSHAKE, "Connection: close", "Content-Length: 0")
    assert (await served.say(head)).startswith(b"HTTP/1.1 400 ")


ORIGINS = [
    (None, True),
    ("http://127.0.0.1:{port}", True),
    ("http://evil.example", False),
    ("http://127.0.0.1:1", False),
    ("https://127.0.0.1:{port}", True),  # TLS may end before us
    ("ws://127.0.0.1:{port}", True),  # a library, no page
    ("ws://evil.example", False),
    ("wss://127.0.0.1:1", False),
    ("null", False),
    ("http://127.0.0.1:{port}.evil.example", False),
    ("http://friend.example", True),
    ("http://friend.example:81", False),
    ("", False),
    ("file://127.0.0.1:{port}", False),
]


@pytest.mark.parametrize(("origin", "may"), ORIGINS)
async def test_a_foreign_page_may_not(tmp_path: Path, origin: str | None, may: bool) -> None:
    config = Config(access=Access(allow_origins=("http://friend.example",)))
    async with hosted(tmp_path, config=config) as one, serving(talking(one)) as (served, _):
        headers = {} if origin is None else {"Origin": origin.format(port=served.port)}
        if may:
            async with connect(f"{served.sockets}/echo", additional_headers=headers) as socket:
                await socket.send("")
                assert await socket.recv() == "None:one:"
        else:
            assert (await refused(served, "/echo", additional_headers=headers))[0] == 403


async def test_each_end_has_its_code(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    assert (await closing(served, "/echo", b"x" * ((1 << 20) + 1)))[0] == 1009
    assert (await closing(served, "/broken"))[0] == 1011
    assert "the socket /broken broke" in caplog.text
    assert "ZeroDivisionError" not in (await closing(served, "/broken"))[1]


async def test_an_address_has_so_many_and_the_host_so_many(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhost.web.application.Seats", lambda: Seats(in_all=2))
    async with serving(talking(one)) as (served, _):
        async with connect(f"{served.sockets}/echo"), connect(f"{served.sockets}/echo"):
            code, reason = await closing(served, "/echo")
            assert code == 1013
            assert "2 sockets are open" in reason
        async with connect(f"{served.sockets}/echo") as socket:
            await socket.send("there is room again")
            assert await socket.recv()


def test_seats_are_counted_for_each_address() -> None:
    seats = Seats(in_all=5, of_address=2)
    first, second = seats.take("a"), seats.take("a")
    with pytest.raises(Crowded):
        seats.take("a")
    for _ in range(2):
        seats.take("a", bounded=False)
    first.leave()
    first.leave()
    seats.take("b")
    seats.take("b")
    with pytest.raises(Crowded):
        seats.take("c")
    with second:
        pass
    seats.take("c")


async def test_who_does_not_answer_a_ping_is_dropped(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhost.web.server.PING_EVERY_S", 0.05)
    monkeypatch.setattr("polyhost.web.server.PONG_WITHIN_S", 0.05)
    async with serving(talking(one)) as (served, _):
        for path in ("/echo", "/flood"):
            _, writer = await served.open()
            writer.transport.pause_reading()
            writer.write(served.head("GET", path, *HANDSHAKE, key=False))
            await writer.drain()
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    while True:  # until the server has hung up
                        writer.write(b"\x8a\x80\0\0\0\0")  # a pong that nobody asked for
                        await writer.drain()
                        await asyncio.sleep(0.02)
            writer.close()


async def test_a_stopping_server_says_that_it_goes(one: Hosted) -> None:
    async with serving(talking(one)) as (served, stop):
        async with connect(f"{served.sockets}/echo") as socket, connect(f"{served.sockets}/flood"):
            stop.set()
            with pytest.raises(ConnectionClosed) as end:
                await asyncio.wait_for(socket.recv(), 5)
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1001


async def test_a_client_that_closes_and_stays_is_not_kept(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_connection, "CLOSE_WITHIN_S", 0.05)
    async with serving(talking(one)) as (served, _):
        reader, writer = await served.open()
        writer.write(served.head("GET", "/flood", *HANDSHAKE, key=False))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        await asyncio.sleep(0.05)
        writer.write(b"\x88\x80\0\0\0\0")
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while True:
                    writer.write(b"\x8a\x80\0\0\0\0")
                    await writer.drain()
                    await asyncio.sleep(0.02)
        writer.close()


BAD_HEADS = [
    ("Upgrade: websocket", "Connection: Upgrade"),
    (*HANDSHAKE[:3], "Sec-WebSocket-Key: short"),
    (*HANDSHAKE, "Sec-WebSocket-Version: 99"),
    (*HANDSHAKE, "Sec-WebSocket-Protocol: ,,;\x01"),
    (*HANDSHAKE, "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"),
    (*HANDSHAKE, "Origin: \xff\xfe"),
    (*HANDSHAKE, "Host: again"),
    (*HANDSHAKE, "Transfer-Encoding: chunked"),
    (*HANDSHAKE, "Content-Length: 5"),
    ("Upgrade: websocket, h2c", *HANDSHAKE[1:]),
    ("Upgrade: h2c", *HANDSHAKE[1:]),
]


@pytest.mark.parametrize("lines", BAD_HEADS)
async def test_a_bad_head_is_no_trouble(served: Served, lines: tuple[str, ...]) -> None:
    reader, writer = await served.open()
    writer.write(served.head("GET", "/echo", *lines, key=False).replace("\xff".encode(), b"\xff"))
    writer.write_eof()
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()
    async with connect(f"{served.sockets}/echo") as socket:
        await socket.send("still here")
        assert await socket.recv()


@pytest.mark.parametrize(
    "frame",
    [
        *(b"\x81\x05hello", b"\xf1\x80\0\0\0\0", b"\x83\x80\0\0\0\0", b"\x89\xfe\xff\xff" + b"\0" * 70000),
        *(b"\x80\x80\0\0\0\0", b"\x81\xff" + b"\xff" * 8 + b"\0" * 4),
        *(b"\x88\x83\0\0\0\0\x00\x01\xff", b"\x81\x81\0\0\0\0\xff"),
    ],
)
async def test_a_bad_frame_closes_the_socket_and_nothing_else(served: Served, frame: bytes) -> None:
    reader, writer = await served.open()
    writer.write(served.head("GET", "/echo", *HANDSHAKE, key=False))
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(frame)
    with contextlib.suppress(ConnectionResetError):
        assert (await asyncio.wait_for(reader.read(), 10)).startswith((b"\x88", b""))
    writer.close()


class Wire:
    """A connection whose client takes what the test says."""

    def __init__(self) -> None:
        self.is_writable = self.is_open = True
        self.on_writable: Callable[[], None] = lambda: None
        self.taken: list[bytes] = []

    def write(self, wire: bytes) -> None:
        self.taken.append(wire)

    def buffered(self) -> int:
        return 0

    def allow(self, at_once: int, in_a_second: float) -> None: ...

    def end(self, code: int, reason: str = "") -> None: ...


async def never() -> dict[str, object]:
    raise NotImplementedError


@given(st.lists(st.tuples(st.integers(0, 40_000), st.sampled_from(["", "", "current", "history"])), max_size=600))
def test_what_waits_is_bounded_and_in_order_and_snapshots_are_the_newest(sent: list[tuple[int, str]]) -> None:
    wire = Wire()
    socket = Socket(wire, never)
    wire.is_writable = False
    frames = [(text_frame(b"%d " % number + b"x" * size), latest) for number, (size, latest) in enumerate(sent)]
    for frame, latest in frames:
        socket.send(frame, latest=latest)
    wire.is_writable = True
    wire.on_writable()
    assert len(wire.taken) <= MAX_QUEUED + 2
    assert sum(map(len, wire.taken)) <= MAX_QUEUED_BYTES + 2 * 40_100
    assert len(wire.taken) + socket.lost == len(frames)
    order = [frame for frame, _ in frames]
    places = [order.index(frame) for frame in wire.taken]
    queued = [place for place in places if not (frames[place][1] and place == places[-1])]
    assert queued[:-2] == sorted(queued[:-2])
    for kind in ("current", "history"):
        newest = next((frame for frame, latest in reversed(frames) if latest == kind), None)
        assert newest is None or newest in wire.taken


def test_an_outbox_that_is_emptied_takes_again() -> None:
    outbox = Outbox()
    for n in range(300):
        outbox.put(b"%d" % n, "", 0)
    assert outbox.lost == 300 - MAX_QUEUED
    assert [outbox.take() for _ in range(MAX_QUEUED)] == [b"%d" % n for n in range(MAX_QUEUED)]
    assert not outbox
    outbox.put(b"again", "", 0)
    assert outbox.take() == b"again"


SMALL_FRAMES = {
    "texts": b"\x81\x80\0\0\0\0",
    "pings": b"\x89\x80\0\0\0\0",
    "pongs": b"\x8a\x80\0\0\0\0",
    "pieces": b"\x00\x80\0\0\0\0",
}


@pytest.mark.parametrize("kind", SMALL_FRAMES)
async def test_a_flood_of_small_frames_is_cut_short(served: Served, kind: str) -> None:
    reader, writer = await served.open()
    writer.write(served.head("GET", "/echo", *HANDSHAKE))
    await reader.readuntil(b"\r\n\r\n")
    begun = b"\x01\x80\0\0\0\0" if kind == "pieces" else b""
    writer.write(begun + SMALL_FRAMES[kind] * 40_000)
    said = await asyncio.wait_for(until_closed(reader), 10)
    writer.close()
    assert said.count(b"\x81") <= socket_connection.MAX_FRAMES
    assert b"\x03\xf0more than" in said or not said  # 1008; the rest of the flood may have broken the connection


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(65536):
            said += piece
    return said


async def test_a_client_that_talks_at_leisure_is_heard(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_connection.SocketConnection, "_in_a_second", 1e6)
    async with connect(f"{served.sockets}/echo") as socket:
        for _ in range(3):
            for _ in range(socket_connection.MAX_FRAMES // 2):
                await socket.send("x")
            for _ in range(socket_connection.MAX_FRAMES // 2):
                assert str(await socket.recv()).endswith(":x")
        await socket.send("x" * 900_000)
        assert len(await socket.recv()) > 900_000


async def test_a_flood_of_large_messages_is_cut_short(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_connection.SocketConnection, "_in_a_second", 0.0)
    heard = 0
    with contextlib.suppress(ConnectionClosed):
        async with connect(f"{served.sockets}/echo", max_size=None) as socket:
            while heard < 4:
                await socket.send("x" * 900_000)
                assert len(await socket.recv()) > 900_000
                heard += 1
    assert heard == 1
