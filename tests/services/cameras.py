"""Cameras of every kind, as HTTP servers on loopback."""

import asyncio
import contextlib
import http.server
import io
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from PIL import Image

Answers = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class _StillCamera(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(jpeg())

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def camera_in_a_thread() -> Iterator[str]:
    """The address of a camera's picture, `jpeg()`, for processes to ask for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _StillCamera)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/shot.jpg"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def jpeg(shade: int = 90, size: tuple[int, int] = (64, 48)) -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", size, (shade, 40, 200 - shade)).save(kept, "JPEG")
    return kept.getvalue()


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode()


class Camera:
    """Answers every request as it is told to; `asked` has their heads."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.shots = 0
        self.answers: Answers = self.shows_a_picture
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/shot.jpg"

    async def shows_a_picture(self, _: bytes, out: asyncio.StreamWriter) -> None:
        self.shots += 1
        await says(jpeg(self.shots * 20 % 200))(_, out)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(asked)
            await self.answers(asked, writer)
        writer.close()


def says(body: bytes, status: str = "200 OK", *lines: str) -> Answers:
    async def answer(_: bytes, out: asyncio.StreamWriter) -> None:
        out.write(head(status, f"Content-Length: {len(body)}", *lines) + body)
        await out.drain()

    return answer


def redirects(to: str) -> Answers:
    return says(b"", "302 Found", f"Location: {to}")


async def hangs(_: bytes, out: asyncio.StreamWriter) -> None:
    out.write(head("200 OK", "Content-Length: 100") + b"\xff\xd8\xff")
    await out.drain()
    await asyncio.Event().wait()


async def never_ends(_: bytes, out: asyncio.StreamWriter) -> None:
    out.write(head("200 OK", f"Content-Length: {10_000_000_000}") + jpeg())
    while True:
        out.write(bytes(1 << 16))
        await out.drain()


@contextlib.asynccontextmanager
async def camera() -> AsyncIterator[Camera]:
    one = Camera()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await one.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            handlers.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        for task in list(handlers):
            task.cancel()
        server.close()
        await asyncio.gather(*list(handlers), return_exceptions=True)
        await server.wait_closed()
