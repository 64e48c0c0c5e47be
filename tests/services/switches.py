"""Switches as real HTTP servers on loopback, which speak as Tasmota, Shelly, Home Assistant and a plain one do."""

import asyncio
import contextlib
import json
import urllib.parse
from collections.abc import AsyncIterator


class Switchboard:
    def __init__(self) -> None:
        self.on = False
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.answer: tuple[str, str] | None = None  # said instead of what is so
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = (await reader.readexactly(int(fields.get("content-length", "0")))).decode()
            self.asked.append(f"{method} {target} {body}".strip())
            self.heads.append(head)
            status, said = self.answer or ("200 OK", self.say(method, target))
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n{said}".encode()
            )
            await writer.drain()
        writer.close()

    def say(self, method: str, target: str) -> str:
        parts = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(parts.query))
        wanted = (
            query.get("cmnd", "").partition(" ")[2] or query.get("turn", "") or parts.path.rpartition("_")[2]
        ).lower()
        self.on = {"on": True, "off": False}.get(wanted, self.on)
        state = "on" if self.on else "off"
        if parts.path == "/cm":
            return json.dumps({query["cmnd"].partition(" ")[0].upper(): state.upper()})
        if parts.path.startswith("/relay/"):
            return json.dumps({"ison": self.on})
        if parts.path.startswith("/api/states/"):
            return json.dumps({"entity_id": parts.path.rpartition("/")[2], "state": state})
        return f"<b>the light is {state}</b>"


@contextlib.asynccontextmanager
async def switchboard() -> AsyncIterator[Switchboard]:
    board = Switchboard()
    listening = await asyncio.start_server(board.serve, "127.0.0.1", 0)
    board.port = listening.sockets[0].getsockname()[1]
    try:
        yield board
    finally:
        listening.close()
        await listening.wait_closed()
