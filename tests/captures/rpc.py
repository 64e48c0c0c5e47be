"""Conversations in JSON-RPC over WebSockets: what is asked, and what comes unasked."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect

AS_TIME_GOES: Final = frozenset(
    {
        *("notify_proc_stat_update", "notify_status_update", "notify_gcode_response", "notify_service_state_changed"),
        "notify_metadata_update",  # which upstream no longer sends, and clients still read
    }
)
"""These come when they come, so they are listed only where they are waited for."""

SILENCE_S: Final = 2.0
"""So long there may be no answer to what is no request, until there is none."""

HEARING_S: Final = 8.0
"""So long something may not come of itself, until it does not."""


def of_pictures(said: Any) -> bool:
    """Whether it tells of the folder of thumbnails, which comes to be when it is first needed."""
    return isinstance(said, dict) and isinstance(item := said.get("item"), dict) and ".thumbs" in str(item.get("path"))


class Conversation:
    """One open WebSocket."""

    def __init__(self, socket: ClientConnection, patience_s: float) -> None:
        self._socket = socket
        self._patience_s = patience_s
        self._numbers = itertools.count(1)
        self._answers: dict[Any, asyncio.Future[Any]] = {}
        self._unasked: list[dict[str, Any]] = []
        self._passed: list[dict[str, Any]] = []  # of those that nobody waited for, the newest
        self._more = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for text in self._socket:
            said = json.loads(text)
            if isinstance(said, dict) and "method" in said and "id" not in said:
                async with self._more:
                    self._unasked.append(said)
                    self._more.notify_all()
                continue
            number = said.get("id") if isinstance(said, dict) else None
            number = number if isinstance(number, int) else None
            waiting = self._answers.pop(number if number in self._answers else None, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(said)

    async def ask(self, method: str, params: Any = msgspec.UNSET) -> Any:
        """What is answered, without the envelope's ``jsonrpc`` and ``id``."""
        number = next(self._numbers)
        said = {"jsonrpc": "2.0", "method": method, "id": number}
        if params is not msgspec.UNSET:
            said["params"] = params
        answer = await self._say(number, json.dumps(said), self._patience_s)
        return {name: value for name, value in answer.items() if name not in {"jsonrpc", "id"}}

    async def say(self, text: str) -> Any:
        """The next message that is no notification, whole; ``<silence>`` when there is none."""
        try:
            return await self._say(None, text, SILENCE_S)
        except TimeoutError:
            return "<silence>"

    async def _say(self, number: int | None, text: str, patience_s: float) -> Any:
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(text)
        try:
            return await asyncio.wait_for(waiting, patience_s)
        except TimeoutError as error:
            error.add_note(f"no answer to {text[:200]}")
            raise

    async def heard(self, names: Sequence[str]) -> list[list[Any]]:
        """Names and params of what came since the last time, until those called `names` have come, in this order."""
        found: list[list[Any]] = []
        waiting = list(names)
        try:
            async with asyncio.timeout(HEARING_S):
                while waiting:
                    async with self._more:
                        await self._more.wait_for(lambda: bool(self._unasked))
                        said = self._unasked.pop(0)
                    if any(of_pictures(each) for each in said.get("params", [])):
                        continue
                    if said["method"] in names or said["method"] not in AS_TIME_GOES:
                        found.append([said["method"], *said.get("params", [])])
                    else:
                        self._passed = [*self._passed[-99:], said]
                    if said["method"] == waiting[0]:
                        del waiting[0]
        except TimeoutError:
            found.append(["<silence>", *waiting])
        return found

    def take(self, name: str) -> list[list[Any]]:
        """The params of what came under this name so far."""
        taken = [said["params"] for said in self._passed if said["method"] == name]
        self._passed = [said for said in self._passed if said["method"] != name]
        return taken

    async def close(self) -> None:
        await self._socket.close()
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening


class Conversations:
    """One for each caller, opened when first spoken with."""

    def __init__(self, base: str, keys: Mapping[str, str], patience_s: float) -> None:
        self._url = base.replace("http", "ws", 1) + "/websocket"
        self._keys = keys
        self._patience_s = patience_s
        self._open: dict[str, Conversation] = {}

    async def ask(self, by: str, method: str, params: Any) -> Any:
        return await (await self._with(by)).ask(method, params)

    async def say(self, by: str, text: str) -> Any:
        return await (await self._with(by)).say(text)

    async def heard(self, by: str, names: Sequence[str]) -> list[list[Any]]:
        return await (await self._with(by)).heard(names)

    async def leave(self, by: str) -> None:
        await self._open.pop(by).close()

    async def close(self) -> None:
        for conversation in self._open.values():
            await conversation.close()

    async def _with(self, by: str) -> Conversation:
        if by not in self._open:
            key = self._keys[by]
            headers = {"X-Api-Key": key} if key else {}
            # Whatever it was told and nobody read: a client that stops reading is ten seconds about its end.
            socket = await connect(self._url, additional_headers=headers, max_size=None, max_queue=None)
            self._open[by] = Conversation(socket, self._patience_s)
        return self._open[by]
