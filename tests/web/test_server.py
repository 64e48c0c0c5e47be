"""Over real sockets: what only bytes on a connection can show."""

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from polyhost.web import bodies, connection, server
from tests.web.hosting import GCODE, Hosted, hosted
from tests.web.serving import Served, serving


@pytest.fixture
async def served(one: Hosted) -> AsyncIterator[Served]:
    async with serving(one) as (it, _):
        yield it


def form(*parts: tuple[str, bytes]) -> bytes:
    pieces = [f"--X\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body for head, body in parts]
    return b"\r\n".join([*pieces, b"--X--\r\n"])


SLICED = form(('name="print"', b"false"), ('name="path"', b""), ('name="file"; filename="a.gcode"', GCODE))


def multipart(served: Served, body: bytes, *lines: str, key: bool = True) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=X"
    return served.head("POST", "/api/files/local", kind, f"Content-Length: {len(body)}", *lines, key=key)


async def test_doubled_slashes_reach_their_route(served: Served) -> None:
    answer = await served.say(served.head("GET", "//api/printer//bed", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["bed"]["actual"] == 20.0


async def test_a_slicer_that_expects_to_be_told_is_told(served: Served) -> None:
    reader, writer = await served.open()
    writer.write(multipart(served, SLICED, "Expect: 100-continue", "Connection: close"))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(SLICED)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert served.one.host.files.on_disk("a.gcode").read_bytes() == GCODE


async def test_a_stranger_is_refused_before_the_body(served: Served) -> None:
    lines = ("Content-Type: application/json", "Content-Length: 1000000000", "Expect: 100-continue")
    reader, writer = await served.open()
    writer.write(served.head("POST", "/api/job", *lines, key=False))
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 403 ")
    writer.close()


async def test_an_upload_that_is_too_long_is_refused_before_it_comes(served: Served) -> None:
    kind = "Content-Type: multipart/form-data; boundary=X"
    head = served.head("POST", "/api/files/local", kind, f"Content-Length: {5 << 30}", "Expect: 100-continue")
    reader, writer = await served.open()
    writer.write(head)
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize("cut", [1, 40, 150, len(SLICED) - 12, len(SLICED) - 1])
async def test_half_an_upload_leaves_nothing(served: Served, tmp_path: Path, cut: int) -> None:
    reader, writer = await served.open()
    writer.write(multipart(served, SLICED) + SLICED[:cut])
    await writer.drain()
    writer.write_eof()
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        assert b" 201 " not in await asyncio.wait_for(reader.read(), 5)
    async with asyncio.timeout(5):
        while any((tmp_path / "staging").iterdir()):
            await asyncio.sleep(0.01)
    assert not served.one.host.files.tree().files


async def test_two_uploads_of_one_name_leave_one_whole_file(served: Served) -> None:
    contents = [bytes([letter]) * 300_000 for letter in b"ab"]
    bodies_ = [form(('name="file"; filename="same.gcode"', content)) for content in contents]
    halves = [(multipart(served, body, "Connection: close"), body) for body in bodies_]
    opened = [await served.open() for _ in halves]
    for (_, writer), (head, body) in zip(opened, halves, strict=True):
        writer.write(head + body[:150_000])
        await writer.drain()
    for (_, writer), (_, body) in zip(opened, halves, strict=True):
        writer.write(body[150_000:])
    for reader, writer in opened:
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 201 ")
        writer.close()
    assert served.one.host.files.on_disk("same.gcode").read_bytes() in contents


@pytest.mark.parametrize(
    "lines",
    [
        ["X: " + "a" * 9000],
        [f"X-{number}: 1" for number in range(101)],
        [f"X-{number}: " + "a" * 4000 for number in range(9)],
    ],
    ids=["long line", "many fields", "long head"],
)
async def test_a_head_beyond_its_bounds_is_431(served: Served, lines: list[str]) -> None:
    assert (await served.say(served.head("GET", "/api/version", *lines))).startswith(b"HTTP/1.1 431 ")


async def test_a_long_request_line_is_431_but_for_data(served: Served) -> None:
    long = "a" * 9000
    assert (await served.say(served.head("GET", f"/api/version?x={long}"))).startswith(b"HTTP/1.1 431 ")
    close = "Connection: close"
    assert (await served.say(served.head("GET", f"/api/version?data={long}", close))).startswith(b"HTTP/1.1 200 ")


async def test_a_head_without_end_is_431(served: Served) -> None:
    answer = await served.say(b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # the rest may have met a closed socket


async def test_a_head_that_does_not_come_is_not_waited_for(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_WAIT_S", 0.05)
    async with serving(one) as (served, _):
        assert await served.say(b"") == b""
        assert await served.say(b"GET / HTT") == b""
        whole = served.head("GET", "/api/version")
        answer = await served.say(whole + b"GET /api/vers")
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_does_not_come_is_not_waited_for(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE_S", 0.05)
    async with serving(one) as (served, _):
        answer = await served.say(
            served.head("POST", "/api/job", "Content-Type: application/json", "Content-Length: 100") + b"{"
        )
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_body_nobody_reads_is_not_waited_for(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    async with serving(one) as (served, _):
        answer = await served.say(served.head("POST", "/api/job", "Content-Length: 1000000", key=False) + b"x" * 1000)
        assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "noise", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"]
)
async def test_what_is_not_http_is_told_so(served: Served, noise: bytes) -> None:
    assert (await served.say(noise)).startswith(b"HTTP/1.1 400 ")


async def test_a_connection_is_used_again(served: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        for _ in range(3):
            response = await client.get("/api/version", headers={"X-Api-Key": served.key})
            assert response.status_code == 200
            assert "connection" not in response.headers


async def test_the_local_socket_is_the_administrators(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_bytes(b"left by a dead server")
    async with hosted(tmp_path / "data", local_socket=str(path)) as one:
        async with serving(one, server.unix_socket(path)):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
                users = await client.get("http://localhost/native/v1/users")
        assert [user["name"] for user in users.json()] == ["root"]


async def test_stopping_ends_streams_and_sockets(one: Hosted) -> None:
    loop = asyncio.get_running_loop()
    async with serving(one) as (served, stop):
        reader, writer = await served.open()
        writer.write(served.head("GET", "/native/v1/printers/one/follow"))
        await asyncio.wait_for(reader.readuntil(b"}\n"), 5)
        began = loop.time()
        stop.set()
        rest = await asyncio.wait_for(reader.read(), 10)
        assert rest.endswith(b"0\r\n\r\n")
        writer.close()
    assert loop.time() - began < 5
    with pytest.raises(ConnectionRefusedError):
        await served.open()


async def test_a_taken_port_is_an_error(one: Hosted) -> None:
    with contextlib.closing(server.tcp_socket("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        server.tcp_socket("127.0.0.1", taken.getsockname()[1])
