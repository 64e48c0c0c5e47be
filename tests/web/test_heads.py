"""Heads of answers as microcontrollers read them: letter by letter, and in the packet that brings the body."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from polyhost.web.heads import Outgoing, styled
from tests.web.hosting import Hosted
from tests.web.serving import Served, serving


@pytest.fixture
async def served(one: Hosted) -> AsyncIterator[Served]:
    async with serving(one) as (it, _):
        yield it


class Wire:
    """A transport that keeps what is written, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "shown"),
    [
        (b"HTTP/1.1 409 Conflict\r\n\r\n", b"HTTP/1.1 409 CONFLICT\r\n\r\n"),
        (
            b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: "aB"\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nEtag: "aB"\r\n\r\n',
        ),
        (
            b"HTTP/1.1 201 Created\r\nlocation: http://h:5/a\r\n\r\n",
            b"HTTP/1.1 201 CREATED\r\nLocation: http://h:5/a\r\n\r\n",
        ),
    ],
)
def test_a_head_is_written_as_small_clients_compare_it(head: bytes, shown: bytes) -> None:
    assert styled(head) == shown


@pytest.mark.parametrize(
    ("written", "pieces"),
    [
        ([HEAD, b"body", b"more"], [HEAD + b"body", b"more"]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, b"body"], [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"body"]),
        ([HEAD, b"x" * 100_000], [HEAD, b"x" * 100_000]),
        ([HEAD, b""], [HEAD]),
    ],
    ids=["short", "continued", "long", "empty"],
)
async def test_a_head_goes_with_the_beginning_of_its_body(written: list[bytes], pieces: list[bytes]) -> None:
    wire = Wire()
    out = Outgoing(wire, asyncio.get_running_loop())  # type: ignore[arg-type]  # as much of a transport as is used
    for piece in written:
        out.write(piece)
    assert wire.pieces == pieces


async def test_a_head_does_not_wait_for_a_body_that_takes_its_time() -> None:
    wire = Wire()
    out = Outgoing(wire, asyncio.get_running_loop())  # type: ignore[arg-type]
    out.write(HEAD)
    assert wire.pieces == []
    await asyncio.sleep(0)
    assert wire.pieces == [HEAD]


async def test_a_head_is_out_before_the_connection_is_closed() -> None:
    wire = Wire()
    out = Outgoing(wire, asyncio.get_running_loop())  # type: ignore[arg-type]
    out.write(HEAD)
    out.close()
    assert (wire.pieces, wire.closed, out.is_closing()) == ([HEAD], True, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/version", b"HTTP/1.1 200 OK"),
        ("GET", "/api/version/none", b"HTTP/1.1 404 NOT FOUND"),
        ("POST", "/api/logout", b"HTTP/1.1 200 OK"),
    ],
)
async def test_the_first_packet_has_all_of_a_short_answer(
    served: Served, method: str, path: str, status: bytes
) -> None:
    reader, writer = await served.open()
    writer.write(served.head(method, path, "Content-Length: 0"))
    head, _, body = (await asyncio.wait_for(reader.read(65536), 5)).partition(b"\r\n\r\n")
    writer.close()
    assert head.split(b"\r\n")[0] == status
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert body


async def test_an_answer_without_content_says_that_it_has_none(served: Served) -> None:
    body = b'{"command":"target","target":0}'
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: keep-alive")
    reader, writer = await served.open()
    # println() ends the body with a line that is none of it; the connection is good for the next request.
    writer.write(served.head("POST", "/api/printer/bed", *lines) + body + b"\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 204 NO CONTENT\r\n")
    assert b"\r\nContent-Length: 0\r\n" in head
    writer.write(served.head("GET", "/api/version"))
    assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 200 OK\r\n"
    writer.close()
