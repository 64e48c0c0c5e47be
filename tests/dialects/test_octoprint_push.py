"""Listening to a host as OctoPrint's apps do, over real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from polyhost.core.events import ConsoleLine, ConsoleLines
from polyhost.core.user import Role
from tests.web.hosting import Hosted
from tests.web.serving import Served, serving

WITHIN_S = 10.0


class App:
    """A client of the raw socket."""

    def __init__(self, served: Served, socket: ClientConnection) -> None:
        self.served = served
        self.socket = socket
        self.heard: list[tuple[str, Any]] = []

    async def say(self, **message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def auth(self, role: Role = Role.ADMINISTRATOR, key: str = "") -> None:
        await self.say(auth=await self.served_session(role, key))

    async def served_session(self, role: Role, key: str = "") -> str:
        base = f"http://127.0.0.1:{self.served.port}"
        headers = {"X-Api-Key": key or self.served.one.keys[role]}
        async with httpx.AsyncClient(base_url=base, headers=headers) as client:
            user = (await client.post("/api/login", json={"passive": True})).json()
        return f"{user['name']}:{user['session']}"

    async def next(self) -> tuple[str, Any]:
        text = await asyncio.wait_for(self.socket.recv(), WITHIN_S)
        [(kind, payload)] = json.loads(text).items()
        self.heard.append((kind, payload))
        return kind, payload

    async def until(self, *kinds: str) -> Any:
        """The payload of the next message of one of `kinds`."""
        while True:
            kind, payload = await self.next()
            if kind in kinds:
                return payload

    async def until_event(self, name: str) -> Any:
        while True:
            event = await self.until("event")
            if event["type"] == name:
                return event["payload"]

    def events(self) -> list[str]:
        """Names of the events heard so far; states with their id."""
        return [
            f"{told['payload']['state_id']}" if told["type"] == "PrinterStateChanged" else told["type"]
            for kind, told in self.heard
            if kind == "event"
        ]


@contextlib.asynccontextmanager
async def app(served: Served, path: str = "/sockjs/websocket", **options: Any) -> AsyncIterator[App]:
    async with connect(served.sockets + path, compression=None, **options) as socket:
        yield App(served, socket)


@pytest.fixture
async def served(one: Hosted) -> AsyncIterator[Served]:
    async with serving(one) as (it, _):
        yield it


def say(one: Hosted, *lines: str, slug: str = "one") -> None:
    """Lines of the console; those of the firmware begin with ``<``."""
    told = tuple(ConsoleLine(1.0, not line.startswith("<"), line.lstrip("<")) for line in lines)
    one.host.printers.heard(ConsoleLines(slug, told))


async def test_a_stranger_hears_that_it_is_connected_and_nothing_else(served: Served) -> None:
    async with app(served) as stranger, app(served) as known:
        kind, connected = await stranger.next()
        assert kind == "connected"
        assert connected["version"] == "1.11.8"
        assert {record["key"] for record in connected["permissions"]} >= {"STATUS", "ADMIN", "PLUGIN_APPKEYS_GRANT"}
        await known.auth()
        await known.until("history")
        served.one.machine.say(fan=0.5)
        await known.until("current")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stranger.socket.recv(), 0.05)


async def test_who_says_who_it_is_hears_history_and_then_what_is_now(served: Served) -> None:
    say(served.one, "N1 G28*18", "<ok")
    async with app(served) as client:
        await client.auth(Role.VIEWER)
        history = await client.until("history")
        assert history["state"]["text"] == "Operational"
        assert history["state"]["flags"]["ready"] is True
        assert history["logs"] == ["Send: N1 G28*18", "Recv: ok"]
        assert history["messages"] == ["ok"]
        assert history["temps"][-1]["tool0"] == {"actual": 21.5, "target": 0.0}
        assert history["temps"][-1]["chamber"] == {"actual": None, "target": None}
        assert history["job"]["file"]["name"] is None
        say(served.one, "G0 X1")
        current = await client.until("current")
        while not current["logs"]:
            current = await client.until("current")
        assert current["logs"] == ["Send: G0 X1"]
        assert current["temps"] == []
        assert current.keys() == history.keys()


@pytest.mark.parametrize("said", ["root:wrong", "nobody:{session}", "root", "", ":", "{session}:root"])
async def test_a_wrong_name_or_session_is_told_so_or_ignored(served: Served, said: str) -> None:
    async with app(served) as client:
        session = (await client.served_session(Role.VIEWER)).partition(":")[2]
        await client.say(auth=said.replace("{session}", session))
        await client.auth()
        kinds = []
        while "history" not in kinds:
            kinds.append((await client.next())[0])
    assert kinds in (["connected", "history"], ["connected", "reauthRequired", "history"])
