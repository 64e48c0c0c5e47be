"""Agents: clients that extend the server are listed, asked, heard, and missed when they go."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets

from polyhost.config import Printer
from polyhost.core.user import Role
from polyhost.dialects.moonraker import agents
from tests.dialects.test_moonraker_transport import asked, rpc
from tests.web.hosting import Hosted, hosted
from tests.web.serving import Served, serving

WHO = {"client_name": "obico", "version": "1.2", "type": "agent", "url": "https://obico.example"}
DESCRIBED = {"name": "obico", "version": "1.2", "type": "agent", "url": "https://obico.example"}


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path, printers=(Printer("one", "virtual"), Printer("two", "virtual"))) as host:
        yield host


class Client:
    """A connection; what answers no request of its own is kept for `next_of`."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def call(self, method: str, params: Any = None) -> Any:
        await self.say(asked(method, params, number="mine"))
        answer = await self.next_of(lambda said: said.get("id") == "mine")
        return answer["error"] if "error" in answer else answer["result"]

    async def say(self, said: Any) -> None:
        await self.socket.send(json.dumps(said))

    async def next_of(self, wanted: Any) -> Any:
        async with asyncio.timeout(5):
            while not wanted(said := json.loads(await self.socket.recv())):
                pass
            return said

    async def event(self) -> Any:
        [event] = (await self.next_of(lambda said: said.get("method") == "notify_agent_event"))["params"]
        return event

    async def request(self) -> Any:
        return await self.next_of(lambda said: "method" in said and "id" in said)


@asynccontextmanager
async def connected(one: Hosted, served: Served, role: Role = Role.OPERATOR, path: str = "") -> AsyncIterator[Client]:
    headers = {"X-Api-Key": one.keys[role]}
    async with websockets.connect(f"{served.sockets}{path}/websocket", additional_headers=headers) as socket:
        yield Client(socket)


async def test_an_agent_is_listed_asked_and_heard(one: Hosted) -> None:
    async with serving(one) as (served, _), connected(one, served, Role.VIEWER) as viewer:
        assert await viewer.call("server.extensions.list") == {"agents": []}
        async with connected(one, served) as agent:
            await agent.call("server.connection.identify", WHO)
            assert await viewer.event() == {"agent": "obico", "event": "connected", "data": DESCRIBED}
            assert await viewer.call("server.extensions.list") == {"agents": [DESCRIBED]}
            async with one.client(role=Role.OPERATOR) as client:
                body = {"agent": "obico", "method": "move", "arguments": {"x": [1, 2]}}
                asking = asyncio.create_task(client.post("/server/extensions/request", json=body))
                request = await agent.request()
                assert (request["method"], request["params"]) == ("move", {"x": [1, 2]})
                await agent.say({"jsonrpc": "2.0", "id": request["id"], "result": {"moved": True}})
                assert (await asking).json() == {"result": {"moved": True}}
                body = {"agent": "obico", "method": "move"}
                asking = asyncio.create_task(client.post("/server/extensions/request", json=body))
                request = await agent.request()
                assert "params" not in request
                error = {"code": 5, "message": "no way", "data": [1]}
                await agent.say({"jsonrpc": "2.0", "id": request["id"], "error": error})
                refused = await asking
                assert refused.status_code == 424
                assert refused.json()["error"] == {"code": 424, "message": "Agent obico RPC error", "data": error}
            assert await agent.call("connection.send_event", {"event": "seen", "data": {"spaghetti": 0.9}}) == "ok"
            assert await viewer.event() == {"agent": "obico", "event": "seen", "data": {"spaghetti": 0.9}}
            assert await agent.call("connection.send_event", {"event": "bare"}) == "ok"
            assert await viewer.event() == {"agent": "obico", "event": "bare"}
        assert await viewer.event() == {"agent": "obico", "event": "disconnected"}
        assert await viewer.call("server.extensions.list") == {"agents": []}


async def test_an_agent_may_ask_while_it_is_asked_and_others_do_not_wait(one: Hosted) -> None:
    async with serving(one) as (served, _), connected(one, served) as client, connected(one, served) as agent:
        await agent.call("server.connection.identify", WHO)
        await client.say(asked("server.extensions.request", {"agent": "obico", "method": "m"}, number="slow"))
        request = await agent.request()
        assert (await agent.call("server.info"))["klippy_state"] == "ready"
        assert (await client.call("server.info"))["klippy_state"] == "ready"
        await agent.say({"jsonrpc": "2.0", "id": request["id"] + 1, "result": "nobody asked"})
        await agent.say({"jsonrpc": "2.0", "id": "x", "error": "nobody asked"})
        await agent.say({"jsonrpc": "2.0", "id": request["id"], "result": None})
        answer = await client.next_of(lambda said: said.get("id") == "slow")
        assert answer == {"jsonrpc": "2.0", "result": None, "id": "slow"}


async def test_who_goes_or_is_silent_fails_who_asked(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(one) as (served, _), connected(one, served) as client:
        async with connected(one, served) as agent:
            await agent.call("server.connection.identify", WHO)
            await client.say(asked("server.extensions.request", {"agent": "obico", "method": "m"}, number="lost"))
            await agent.request()
        answer = await client.next_of(lambda said: said.get("id") == "lost")
        assert answer["error"] == {"code": 424, "message": "Agent obico is gone"}
        monkeypatch.setattr(agents, "ANSWERS_WITHIN_S", 0.05)
        async with connected(one, served) as agent:
            await agent.call("server.connection.identify", WHO)
            refused = await client.call("server.extensions.request", {"agent": "obico", "method": "m"})
            assert (refused["code"], refused["message"]) == (424, "Agent obico did not answer within 0.05 s")


async def test_bounds_and_names(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "MAX_ASKED", 1)
    monkeypatch.setattr(agents, "MAX_METHODS", 2)
    monkeypatch.setattr(agents, "MAX_AGENTS", 2)
    async with (
        serving(one) as (served, _),
        connected(one, served) as client,
        connected(one, served) as agent,
        connected(one, served) as other,
        connected(one, served, path="/p/two") as elsewhere,
    ):
        await agent.call("server.connection.identify", WHO)
        refused = await other.call("server.connection.identify", WHO)
        assert refused == {"code": 400, "message": "Agent 'obico' already registered and connected"}
        await elsewhere.call("server.connection.identify", WHO)  # of another printer
        await other.call("server.connection.identify", WHO | {"client_name": "other"})
        refused = await client.call("server.connection.identify", WHO | {"client_name": "third"})
        assert (refused["code"], refused["message"]) == (400, "there are 2 agents, which is the limit")
        assert await agent.call("connection.register_remote_method", {"method_name": "m1"}) == "ok"
        assert (await other.call("connection.register_remote_method", {"method_name": "m1"}))["code"] == 400
        assert await elsewhere.call("connection.register_remote_method", {"method_name": "m1"}) == "ok"
        assert await agent.call("connection.register_remote_method", {"method_name": "m2"}) == "ok"
        assert (await agent.call("connection.register_remote_method", {"method_name": "m3"}))["code"] == 400
        for event in ("connected", "disconnected"):
            assert (await agent.call("connection.send_event", {"event": event}))["message"].endswith("is reserved")
        await client.say(asked("server.extensions.request", {"agent": "obico", "method": "m"}, number="first"))
        await agent.request()
        refused = await client.call("server.extensions.request", {"agent": "obico", "method": "m"})
        assert (refused["code"], "owes 1 answers" in refused["message"]) == (400, True)
        await agent.socket.close()
        await client.next_of(lambda said: said.get("id") == "first")
        assert await other.call("connection.register_remote_method", {"method_name": "m1"}) == "ok"


async def test_who_may(one: Hosted) -> None:
    async with serving(one) as (served, _):
        async with websockets.connect(f"{served.sockets}/websocket") as socket:
            refused = await Client(socket).call("server.connection.identify", WHO)
            assert refused == {"code": -32602, "message": "Unauthorized"}
        async with connected(one, served, Role.VIEWER) as viewer:
            assert (await viewer.call("server.connection.identify", WHO))["code"] == 403
            assert (await viewer.call("server.extensions.request", {"agent": "x", "method": "m"}))["code"] == 403
        async with connected(one, served) as client:
            assert (await client.call("connection.send_event", {"event": "x"}))["code"] == 400
            assert (await client.call("connection.register_remote_method", {"method_name": "x"}))["code"] == 400
    refused = await rpc(one, asked("server.extensions.request", {"agent": "nobody", "method": "m"}))
    assert refused["error"] == {"code": 400, "message": "Agent nobody not connected"}
    for arguments in ("x", 5):
        params = {"agent": "nobody", "method": "m", "arguments": arguments}
        assert (await rpc(one, asked("server.extensions.request", params)))["error"]["code"] == 400
    over_http = await rpc(one, asked("connection.send_event", {"event": "x"}))
    assert over_http["error"]["code"] == -32601
