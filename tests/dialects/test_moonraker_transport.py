"""Ways to ask: HTTP's arguments, JSON-RPC's envelopes and codes, WebSockets and their notifications."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from polyhost.core.user import Role
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


async def rpc(one: Hosted, said: Any, role: Role | None = Role.ADMINISTRATOR) -> Any:
    async with one.client(role=role) as client:
        content = said if isinstance(said, bytes) else json.dumps(said)
        answer = await client.post("/server/jsonrpc", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in {200, 204}, answer.text
        return answer.json() if answer.content else None


def asked(method: str, params: Any = None, number: Any = 1) -> dict[str, Any]:
    said = {"jsonrpc": "2.0", "method": method, "id": number}
    return said if params is None else said | {"params": params}


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (b"{", -32700, "Parse error"),
        (b"\xff", -32700, "Parse error"),
        ([], -32600, "Invalid Request"),
        (5, -32600, "Invalid Request"),
        ({"method": "server.info", "id": 1}, -32600, "Invalid Request"),
        ({"jsonrpc": "1.0", "method": "server.info", "id": 1}, -32600, "Invalid Request"),
        ({"jsonrpc": "2.0", "method": 5, "id": 1}, -32600, "Invalid Request"),
        (asked("no.such"), -32601, "Method not found"),
        (asked("server.connection.identify"), -32601, "Method not found"),  # it is about a connection
        (asked("server.info", []), -32602, "Invalid params"),
        (asked("server.info", "x"), -32602, "Invalid params"),
        ([asked("server.info")] * 1001, -32600, "a batch has at most 1000 requests"),
    ],
)
async def test_what_is_wrong_has_its_code(one: Hosted, said: Any, code: int, words: str) -> None:
    answer = await rpc(one, said)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"].startswith(words)


async def test_a_stranger_is_unauthorized(one: Hosted) -> None:
    answer = await rpc(one, asked("server.info", number="a"), role=None)
    assert answer == {"jsonrpc": "2.0", "error": {"code": -32602, "message": "Unauthorized"}, "id": "a"}
    async with one.client() as client:
        refused = await client.get("/server/info")
        assert (refused.status_code, refused.json()) == (401, {"error": {"code": 401, "message": "Unauthorized"}})


async def test_a_batch_is_answered_in_its_order_and_notifications_are_not(one: Hosted) -> None:
    batch = [asked("server.info", number=1), {"jsonrpc": "2.0", "method": "server.info"}, asked("nope", number="x")]
    answers = await rpc(one, batch)
    assert [answer["id"] for answer in answers] == [1, "x"]
    assert answers[0]["result"]["klippy_state"] == "ready"
    assert await rpc(one, [{"jsonrpc": "2.0", "method": "server.info", "id": None}]) is None


async def test_what_is_unknown_is_moonraker_s_own_404(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        for path in ("/server/nonexistent", "/printer/x", "/machine/x", "/access/x", "/debug/x"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404), path
        wrong = await client.post("/server/info")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, 405)


async def test_a_websocket_opens_for_everybody_and_owes_who_it_is(one: Hosted) -> None:
    async with serving(one) as (served, _):
        async with websockets.connect(f"{served.sockets}/websocket") as stranger:
            await stranger.send(json.dumps(asked("server.info")))
            assert json.loads(await stranger.recv())["error"] == {"code": -32602, "message": "Unauthorized"}
            who = {"client_name": "x", "version": "1", "type": "web", "url": "http://x"}
            await stranger.send(json.dumps(asked("server.connection.identify", who)))
            assert json.loads(await stranger.recv())["error"] == {"code": -32602, "message": "Unauthorized"}
        headers = {"X-Api-Key": one.keys[Role.VIEWER]}
        async with websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as client:
            await client.send(json.dumps(asked("server.connection.identify", who)))
            assert json.loads(await client.recv())["result"] == {"connection_id": 2}
            await client.send(json.dumps(asked("server.connection.identify", who)))
            assert json.loads(await client.recv())["error"]["code"] == 400
            await client.send(json.dumps(asked("server.websocket.id")).encode())
            answer = await client.recv()
            assert isinstance(answer, str)
            assert json.loads(answer)["result"] == {"websocket_id": 2}
            for number in range(50):
                await client.send(json.dumps(asked("server.info", number=number)))
            assert [json.loads(await client.recv())["id"] for _ in range(50)] == list(range(50))


async def test_who_reads_nothing_is_asked_for_no_more(one: Hosted) -> None:
    """Answers are never left out, and never pile up: no request is taken until the last answer is."""
    headers = {"X-Api-Key": one.keys[Role.VIEWER]}
    batch = json.dumps([asked("server.info", number=number) for number in range(300)])
    async with serving(one) as (served, _):
        address = f"{served.sockets}/websocket"
        async with websockets.connect(address, additional_headers=headers, max_queue=1, max_size=None) as client:
            sending = asyncio.create_task(send_all(client, batch, 50))
            answers: list[Any] = []
            while len(answers) < 50:
                said = json.loads(await client.recv())
                answers += [said] if isinstance(said, list) else []  # it is told other things, too
            await sending
    assert all(len(answer) == 300 for answer in answers)


async def send_all(client: Any, message: str, times: int) -> None:
    for _ in range(times):
        await client.send(message)


async def test_a_batch_is_bounded_by_what_it_answers(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhost.dialects.moonraker.rpc.MAX_BATCH_BYTES", 3000)
    answers = await rpc(one, [asked("server.info", number=number) for number in range(20)])
    assert [answer["id"] for answer in answers] == list(range(20))
    done = ["result" in answer for answer in answers]
    assert done == sorted(done, reverse=True)
    assert done[0]
    assert answers[-1]["error"]["code"] == 413
