"""What a listener at the raw socket hears while a list of requests is played: the pictures, and the events in order."""

import asyncio
import contextlib
import difflib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx
from websockets.asyncio.client import connect

from tests.captures.playing import Player, Step

OF_A_PRINT: Final = (
    *("Connecting", "Connected", "Disconnecting", "Disconnected", "PrinterStateChanged", "FileSelected"),
    *("PrintStarted", "PrintDone", "PrintPaused", "PrintResumed", "PrintCancelling", "PrintCancelled", "PrintFailed"),
    "ChartMarked",
)
"""The events whose order clients follow; others come as their threads and files please."""
QUIET_S: Final = 0.6
_VARIES: Final = frozenset({"plugins", "temps", "filament", "printTimeLeftOrigin"})
"""Of no shape yet in one picture, and of one in the next."""


def unlike(theirs: list[Any], ours: list[Any]) -> list[str]:
    """Lines of a difference: first of the events, then of the pictures."""
    pictures, events = zip(theirs, ours, strict=True)
    lines = [[json.dumps(event) for event in each] for each in events]
    trees = [json.dumps(each, indent=1, sort_keys=True).replace(",\n", "\n").splitlines() for each in pictures]
    compared = [*difflib.unified_diff(*lines, n=0, lineterm=""), *difflib.unified_diff(*trees, n=0, lineterm="")]
    return [line for line in compared if not line.startswith(("---", "+++", "@@"))]


async def heard(base: str, keys: dict[str, str], steps: Iterator[Step]) -> tuple[dict[str, Any], list[list[Any]]]:
    """Play `steps` at `base`, listening."""
    pictures: dict[str, Any] = {}
    events: list[list[Any]] = []
    player = Player(base, keys)
    try:
        async with _listener(base, keys["admin"], pictures, events):
            for step in steps:
                answer = await player.play(step)
                assert answer is None or answer.status < 300, (step, answer)
            seen = -1
            while seen != len(events):
                seen = len(events)
                await asyncio.sleep(QUIET_S)
    finally:
        await player.close()
    return pictures, events


@contextlib.asynccontextmanager
async def _listener(base: str, key: str, pictures: dict[str, Any], events: list[list[Any]]) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=base, headers={"X-Api-Key": key}) as client:
        session = (await client.post("/api/login", json={"passive": True})).json()
    async with connect(base.replace("http", "ws") + "/sockjs/websocket") as socket:
        await socket.send(json.dumps({"auth": f"{session['name']}:{session['session']}"}))
        listening = asyncio.create_task(_listen(socket, pictures, events))
        try:
            yield
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening


async def _listen(socket: Any, pictures: dict[str, Any], events: list[list[Any]]) -> None:
    async for text in socket:
        for kind, payload in json.loads(text).items():
            if kind == "event":
                if payload["type"] in OF_A_PRINT:
                    shown = payload["payload"]
                    if payload["type"] in {"PrinterStateChanged", "ChartMarked"}:
                        events.append([payload["type"], shown.get("state_id") or shown.get("type")])
                    else:
                        events.append([payload["type"], sorted(shown) if isinstance(shown, dict) else None])
            elif kind in {"connected", "history", "current"}:
                pictures.setdefault(kind, _shape(payload))


def _shape(value: Any) -> Any:
    """The names in `value`; what is null now and a value later counts as neither."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in sorted(value.items()) if name not in _VARIES}
    return "list" if isinstance(value, list) else "value"
