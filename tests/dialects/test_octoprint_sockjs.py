"""The transports of SockJS, byte for byte, and clients that speak them."""

import asyncio
import contextlib
import json
import queue
from collections.abc import AsyncIterator
from typing import Any

import httpx
import octorest
import pytest
import requests
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from polyhost.core.events import FolderAdded
from polyhost.core.user import Role
from polyhost.dialects.octoprint import sockjs, sockjs_sessions
from polyhost.web.sockets import Seats
from tests.dialects.test_octoprint_push import served_session
from tests.web.hosting import Hosted
from tests.web.serving import Served, serving


@pytest.fixture
async def served(one: Hosted) -> AsyncIterator[Served]:
    async with serving(one) as (it, _):
        yield it


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", timeout=10) as it:
        yield it


async def auth(served: Served, role: Role = Role.VIEWER) -> str:
    """What a client sends to say who it is: a list of one message."""
    return json.dumps([json.dumps({"auth": await served_session(served, role)})])


def objects(frame: str) -> list[tuple[str, Any]]:
    """The messages of an ``a`` frame."""
    assert frame.startswith("a["), frame[:50]
    return [next(iter(one.items())) for one in json.loads(frame[1:])]


async def test_it_says_what_it_can(client: httpx.AsyncClient) -> None:
    for path in ("/sockjs", "/sockjs/"):
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (200, "Welcome to SockJS!\n")
    first, second = [(await client.get("/p/one/sockjs/info")).json() for _ in range(2)]
    assert first.pop("entropy") != second.pop("entropy")
    assert first == second == {"websocket": True, "cookie_needed": False, "origins": ["*:*"]}
    answer = await client.get("/sockjs/1/abc/websocket")
    assert (answer.status_code, answer.json()["error"]) == (400, 'Can "Upgrade" only to "WebSocket".')


async def test_a_framed_socket(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockjs, "HEARTBEAT_S", 0.05)
    async with connect(f"{served.sockets}/sockjs/000/abcdefgh/websocket") as socket:
        assert await socket.recv() == "o"
        assert objects(str(await socket.recv()))[0][0] == "connected"
        assert await socket.recv() == "h"
        await socket.send(await auth(served))
        while (frame := str(await socket.recv())) == "h":
            pass
        assert objects(frame)[0][0] == "history"
        await socket.send("")
        await socket.send("[nonsense")
        while (frame := str(await socket.recv())) != 'c[3000,"Go away!"]':
            assert frame[0] in "ah"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_polling(served: Served, client: httpx.AsyncClient) -> None:
    url = "/sockjs/111/abc"
    answer = await client.post(f"{url}/xhr")
    assert (answer.status_code, answer.text) == (200, "o\n")
    assert answer.headers["content-type"] == "application/javascript; charset=UTF-8"
    assert objects((await client.post(f"{url}/xhr")).text)[0][0] == "connected"
    both = [asyncio.create_task(client.post(f"{url}/xhr")) for _ in range(2)]
    [refused], [waiting] = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    assert refused.result().text == 'c[2010,"Another connection still open"]\n'
    answer = await client.post(f"{url}/xhr_send", content=await auth(served), headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert objects((await waiting).text)[0][0] == "history"
    for n in range(3):
        served.one.host.bus.publish(FolderAdded(str(n)))
    paths: list[str] = []
    while len(paths) < 3:
        told = objects((await client.post(f"{url}/xhr")).text)
        paths += [
            payload["payload"]["path"] for kind, payload in told if kind == "event" and payload["type"] == "FolderAdded"
        ]
    assert paths == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *(
            ("", 400),
            ("{", 400),
            ("[", 400),
            ("[1]", 204),
            ("[]", 204),
            ('["x"]', 204),
            (json.dumps(["{}"] * 101), 400),
        ),
        *(("[" * 100 + "]" * 100, 400), ("x" * (1 << 21), 413)),
    ],
)
async def test_what_is_sent_is_judged(served: Served, client: httpx.AsyncClient, body: str, status: int) -> None:
    await client.post("/sockjs/1/s/xhr")
    assert (await client.post("/sockjs/1/s/xhr_send", content=body)).status_code == status
    assert (await client.post("/sockjs/1/other/xhr_send", content=body)).status_code == 404


async def test_sessions_of_others_are_not_there(served: Served, client: httpx.AsyncClient) -> None:
    await client.post("/p/one/sockjs/1/s/xhr")
    assert (
        await client.post("/sockjs/1/s/xhr_send", content="[]")
    ).status_code == 404  # that of another printer's path
    for name in ("a.b", "x" * 300):
        assert (await client.post(f"/sockjs/1/{name}/xhr")).status_code == 404
    assert (await client.post("/sockjs/1/s/xhr", headers={"Origin": "http://evil.example"})).status_code == 403


async def test_a_stream_ends_when_it_is_long(
    served: Served, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockjs, "STREAM_BYTES", 3000)
    async with client.stream("POST", "/sockjs/1/s/xhr_streaming") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "h" * 2048
        assert await anext(lines) == "o"
        assert objects(await anext(lines))[0][0] == "connected"
        assert [line async for line in lines] == []  # `connected` alone is longer than that
    assert (await client.post("/sockjs/1/s/xhr_send", content=await auth(served))).status_code == 204
    async with client.stream("POST", "/sockjs/1/s/xhr_streaming") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "h" * 2048
        assert objects(await anext(lines))[0][0] == "history"


async def test_an_event_source(served: Served, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/sockjs/1/s/eventsource") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=UTF-8"
        lines = answer.aiter_lines()
        assert await anext(lines) == ""
        assert await anext(lines) == "data: o"
        assert await anext(lines) == ""
        assert objects((await anext(lines)).removeprefix("data: "))[0][0] == "connected"


async def test_who_stays_away_is_forgotten(
    served: Served, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockjs_sessions, "LEFT_S", 0.1)
    monkeypatch.setattr(sockjs_sessions, "SWEEP_EVERY_S", 0.05)
    async with client.stream("POST", "/sockjs/1/stays/xhr_streaming"):
        await client.post("/sockjs/1/goes/xhr")
        async with asyncio.timeout(10):
            while (await client.post("/sockjs/1/goes/xhr_send", content="[]")).status_code == 204:
                await asyncio.sleep(0.02)
        assert (await client.post("/sockjs/1/stays/xhr_send", content="[]")).status_code == 204
    async with asyncio.timeout(10):
        while (await client.post("/sockjs/1/stays/xhr_send", content="[]")).status_code == 204:
            await asyncio.sleep(0.02)


async def test_sessions_take_the_seats_of_sockets(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one.application._kit.seats, "_in_all", 2)
    async with serving(one) as (served, _), httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        assert isinstance(one.application._kit.seats, Seats)
        for name in ("a", "b", "a"):
            assert (await client.post(f"/sockjs/1/{name}/xhr")).status_code == 200
        assert (await client.post("/sockjs/1/c/xhr")).status_code == 503


async def test_a_heartbeat_says_that_all_is_well(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockjs_sessions, "HEARTBEAT_S", 0.02)
    texts = [(await client.post("/sockjs/1/s/xhr")).text for _ in range(3)]
    assert texts[0] == "o\n"
    assert texts[2] == "h\n"


async def test_octorest_listens_to_a_stream(served: Served) -> None:
    """Its generator, as it is: it sends no `auth`, for upstream's never took any from it, so we do in its name."""
    stream = octorest.XHRStreamingGenerator(f"http://127.0.0.1:{served.port}/", requests.Session())
    said = await auth(served)

    def listen() -> list[str]:
        assert stream.info()["websocket"] is True
        heard = []
        with contextlib.closing(stream.read_loop()) as messages:
            for message in messages:
                heard += list(message)
                if heard == ["connected"]:
                    stream.session.post(stream.url + "/xhr_send", data=said).raise_for_status()
                if "history" in heard:
                    stream.session.close()
                    return heard
        return heard

    assert await asyncio.wait_for(asyncio.to_thread(listen), 10) == ["connected", "history"]


async def test_octorest_listens_to_a_socket(served: Served) -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    handler = octorest.WebSocketEventHandler(
        f"http://127.0.0.1:{served.port}", on_message=lambda _, message: heard.put(next(iter(message)))
    )
    handler.run()
    assert await asyncio.to_thread(heard.get, True, 10) == "connected"
    handler.send({"auth": await served_session(served, Role.VIEWER)})
    assert await asyncio.to_thread(heard.get, True, 10) == "history"
    connection = handler.socket.sock
    connection.send_close()
    await asyncio.to_thread(handler.thread.join, 10)
    connection.shutdown()


async def test_a_page_that_is_logged_in_listens_without_websockets(client: httpx.AsyncClient) -> None:
    """No client of SockJS can send the token against forgery that a cookie's session owes elsewhere (S8)."""
    logged_in = await client.post("/api/login", json={"user": "root", "pass": "correct horse"})
    assert logged_in.status_code == 200
    url, session = "/sockjs/111/cookie", logged_in.json()["session"]
    assert (await client.post(f"{url}/xhr")).text == "o\n"
    assert objects((await client.post(f"{url}/xhr")).text)[0][0] == "connected"
    said = json.dumps([json.dumps({"auth": f"root:{session}"})])
    assert (await client.post(f"{url}/xhr_send", content=said)).status_code == 204
    for way in ("xhr", "xhr_streaming", "xhr_send"):
        foreign = await client.post(f"{url}/{way}", content=said, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
