"""A small Spoolman: a real HTTP server on loopback that keeps spools and remembers what it was asked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any


class SpoolServer:
    """`spools` are the remaining mm of each; `answers` overrides what a path is answered: status and raw body."""

    def __init__(self) -> None:
        self.spools: dict[int, float] = {1: 1000.0, 2: 2000.0}
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.port = 0
        self.head = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = self.head.split(b"\r\n", 1)[0].decode().split(" ")
            fields = dict(line.lower().split(b": ", 1) for line in self.head.split(b"\r\n")[1:] if line)
            body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
            status, said = self.answer(method, path, json.loads(body) if body else None)
            head = f"HTTP/1.1 {status}\r\nX-Total-Count: {len(self.spools)}\r\nContent-Length: {len(said)}\r\n"
            more = "Location: http://127.0.0.2/\r\n" if status.startswith("3") else ""
            writer.write(f"{head}{more}Connection: close\r\n\r\n".encode() + said)
            await writer.drain()
        writer.close()

    def answer(self, method: str, path: str, body: Any) -> tuple[str, bytes]:
        if path == "/api/v1/health":
            return "200 OK", b'{"status": "healthy"}'
        self.asked.append((method, path, body))
        if path in self.answers:
            return self.answers[path]
        words = path.split("?")[0].removeprefix("/api/v1/").split("/")
        if words[0] == "spool" and len(words) == 1:
            return "200 OK", json.dumps([{"id": spool, "remaining": mm} for spool, mm in self.spools.items()]).encode()
        if words[0] == "spool" and words[1].isdigit() and int(words[1]) in self.spools:
            if method == "PUT":
                self.spools[int(words[1])] -= body["use_length"]
            return "200 OK", json.dumps({"id": int(words[1]), "remaining": self.spools[int(words[1])]}).encode()
        return "404 Not Found", b'{"message": "No spool with that ID"}'


@contextlib.asynccontextmanager
async def spool_server(server: SpoolServer | None = None) -> AsyncIterator[SpoolServer]:
    """It answers from here to the end of the block, at the port that it had before, if it had one."""
    server = server or SpoolServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", server.port)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
