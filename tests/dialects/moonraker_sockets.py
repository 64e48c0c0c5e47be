"""A client of Moonraker on a WebSocket, for tests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import websockets

from tests.web.serving import Served

UNAUTHORIZED = {"code": -32602, "message": "Unauthorized"}


class Socket:
    """A client on a WebSocket: it asks, and keeps what it is told besides."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.asked = 0

    async def ask(self, method: str, **params: Any) -> Any:
        """The result, or the error."""
        self.asked += 1
        number = f"n{self.asked}"
        await self.socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number}))
        while True:
            answer = await self.heard()
            if answer.get("id") == number:
                return answer["error"] if "error" in answer else answer["result"]
            self.told.append(answer)

    async def heard(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            said: dict[str, Any] = json.loads(await self.socket.recv())
            return said

    async def until_told(self, name: str) -> Any:
        """The params of the next notification of that name."""
        while True:
            for number, one in enumerate(self.told):
                if one.get("method") == name:
                    del self.told[: number + 1]
                    return one.get("params")
            self.told.append(await self.heard())


@contextlib.asynccontextmanager
async def opened(
    served: Served, path: str = "/websocket", *, name: str = "127.0.0.1", port: int = 0, **headers: str
) -> AsyncIterator[Socket]:
    """A client that calls the host `name`, and may call at another `port`."""
    sent = {header.replace("_", "-"): value for header, value in headers.items()}
    port = port or served.port
    address = f"ws://{name}:{port}{path}"
    async with websockets.connect(
        address, additional_headers=sent, max_queue=None, host="127.0.0.1", port=port
    ) as socket:
        yield Socket(socket)
