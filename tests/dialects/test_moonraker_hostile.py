"""What a hostile, an unlucky or a careless client of Moonraker's does, and what must hold then: bounds, and turns."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from polyhost.config import Printer as PrinterSettings
from polyhost.core.user import Role
from polyhost.dialects.moonraker.connections import Connections
from polyhost.dialects.moonraker.gcode import store
from polyhost.dialects.moonraker.objects.tree import MAX_NAMES
from polyhost.services.accounts import LOCAL
from polyhost.web import bodies, connection
from polyhost.web.addressing import Peers
from tests.dialects.moonraker_sockets import opened
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


def asked(method: str, number: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": number}


async def said_by(client: httpx.AsyncClient, said: Any) -> Any:
    answer = await client.post("/server/jsonrpc", json=said)
    assert answer.status_code == 200, answer.text
    return answer.json()


class Slow:
    """A machine that does nothing that it is asked for, until it is let go."""

    def __init__(self, one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.go = asyncio.Event()

        async def send(commands: Any, *, until_done: bool = False) -> tuple[str, ...]:
            self.asked += 1
            await self.go.wait()
            return ()

        monkeypatch.setattr(one.machine, "send", send)


STOPS = [
    asked("printer.emergency_stop", "stop"),
    asked("printer.gcode.script", "stop", script="M112"),
    asked("printer.gcode.script", "stop", script="G28\n m 0112 ; now"),
    [asked("printer.gcode.script", "slow", script="G4 S60"), asked("printer.emergency_stop", "stop")],
]


@pytest.mark.parametrize("stop", STOPS, ids=["its method", "M112", "written otherwise", "behind a script of its batch"])
async def test_an_emergency_stop_waits_for_no_script(one: Hosted, monkeypatch: pytest.MonkeyPatch, stop: Any) -> None:
    """Also where a connection has as many requests under way as it may have."""
    slow = Slow(one, monkeypatch)
    async with serving(one) as (served, _), opened(served, X_Api_Key=served.key) as client:
        for number in range(70):
            await client.socket.send(json.dumps(asked("printer.gcode.script", number, script="G4 S60")))
        while slow.asked < 64:
            await asyncio.sleep(0)
        await client.socket.send(json.dumps(stop))
        async with asyncio.timeout(5):
            while not one.machine.stopped:
                await asyncio.sleep(0)
        assert not slow.go.is_set()
        slow.go.set()


async def test_a_batch_that_only_stops_is_answered_in_its_order(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        batch = [asked("server.info", 1), asked("printer.emergency_stop", 2), asked("printer.gcode.script", 3)]
        answers = await said_by(client, batch)
        assert [answer["id"] for answer in answers] == [1, 2, 3]
        assert answers[1]["result"] == "ok"
        assert answers[2]["error"]["code"] == 400
        assert one.machine.stopped


@pytest.mark.parametrize("rest", ["G28\n" * 1001, "x" * 5000, "SET_FAN_SPEED 'A", "G28\n" * 20_000, "NO_SUCH"])
async def test_a_stop_counts_whatever_is_wrong_with_its_script(one: Hosted, rest: str) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        said = await said_by(client, asked("printer.gcode.script", script=f"{rest}\nM112"))
        assert said["result"] == "ok"
        assert one.machine.stopped
        assert one.machine.sent == []


async def test_who_may_not_stop_a_machine_does_not_by_a_batch(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        answers = await said_by(client, [asked("printer.emergency_stop"), asked("printer.gcode.script", script="M112")])
        assert [answer["error"]["code"] for answer in answers] == [403, 403]
        assert not one.machine.stopped


async def test_others_have_their_turn_while_a_script_is_judged(one: Hosted) -> None:
    """A thousand lines with parameters took a third of a second."""
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with one.client(role=Role.OPERATOR) as client:
        await said_by(client, asked("printer.gcode.script", script="M117"))
        task = asyncio.create_task(another())
        await asyncio.sleep(0)
        before = turns
        said = await said_by(client, asked("printer.gcode.script", script='RESPOND MSG="x"\n' * 1000))
        task.cancel()
    assert said["result"] == "ok"
    assert turns - before > 100


async def test_a_line_of_a_script_has_a_bound(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        for line, code in (("M117 " + "x" * 4091, None), ("M117 " + "x" * 4092, 400), ("A='" * 20_000, 400)):
            said = await said_by(client, asked("printer.gcode.script", script=line))
            assert said.get("error", {}).get("code") == code, line[:20]
            assert len(str(said)) < 1000


async def test_a_stranger_sends_as_few_messages_as_on_any_socket(one: Hosted) -> None:
    """Only who is known asks thousands of times; a stranger's socket is closed for that."""
    async with serving(one) as (served, _):
        async with opened(served) as stranger:
            for number in range(1000):
                await stranger.socket.send(json.dumps(asked("access.info", number)))
            async with asyncio.timeout(10):
                await stranger.socket.wait_closed()
            assert stranger.socket.close_code in {1006, 1008}
        async with opened(served, X_Api_Key=served.key) as client:
            for number in range(1000):
                await client.socket.send(json.dumps(asked("access.info", number)))
            assert "result" in [await client.heard() for _ in range(1000)][-1]
        async with opened(served) as latecomer:
            who = {"client_name": "a", "version": "1", "type": "bot", "url": "u", "api_key": served.key}
            assert "connection_id" in await latecomer.ask("server.connection.identify", **who)
            for number in range(1000):
                await latecomer.socket.send(json.dumps(asked("access.info", number)))
            assert "result" in [await latecomer.heard() for _ in range(1000)][-1]


async def test_what_a_client_says_of_itself_is_short(one: Hosted) -> None:
    """It is kept as long as the connection, and told to others."""
    who = {"client_name": "a", "version": "1", "type": "agent", "url": "u"}
    async with serving(one) as (served, _), opened(served, X_Api_Key=served.key) as client:
        for name in ("client_name", "version", "url"):
            answer = await client.ask("server.connection.identify", **who | {name: "é" * 128})
            assert answer["code"] == 400, name
        assert "connection_id" in await client.ask("server.connection.identify", **who | {"url": "é" * 127})


@pytest.mark.parametrize(
    "objects",
    [
        {str(number): None for number in range(MAX_NAMES + 1)},
        {"toolhead": [str(number) for number in range(MAX_NAMES)]},
        {"x" * 256: None},
        {"toolhead": ["x" * 256]},
    ],
    ids=["objects", "fields", "long name of an object", "long name of a field"],
)
async def test_what_is_subscribed_to_has_a_bound(one: Hosted, objects: dict[str, Any]) -> None:
    async with serving(one) as (served, _), opened(served, X_Api_Key=served.key) as client:
        answer = await client.ask("printer.objects.subscribe", objects=objects)
        assert answer["code"] == 400
        assert len(answer["message"]) < 200


async def test_early_clients_together_have_a_bound(one: Hosted) -> None:
    """They subscribe without a connection, so nothing that is theirs ends it."""
    async with one.client(role=Role.VIEWER) as client:
        client.headers["X-Polyhost-Edition"] = "early"
        codes = []
        for part in range(MAX_NAMES // 500 + 1):
            objects = {f"{part} {number}": None for number in range(500)}
            answer = await client.post("/printer/objects/subscribe", json={"objects": objects})
            codes.append(answer.status_code)
        assert codes == [200] * (MAX_NAMES // 500) + [500]
        assert (await client.post("/printer/objects/subscribe", json={"objects": {}})).status_code == 200
        again = await client.post("/printer/objects/subscribe", json={"objects": {"toolhead": None}})
        assert again.status_code == 200


async def test_a_key_of_the_same_person_does_not_subscribe_for_another(one: Hosted) -> None:
    who = {"client_name": "a", "version": "1", "type": "web", "url": "u"}
    async with serving(one) as (served, _), opened(served, X_Api_Key=one.keys[Role.ADMINISTRATOR]) as client:
        number = (await client.ask("server.connection.identify", **who))["connection_id"]
        wish = {"objects": {"toolhead": None}, "connection_id": number}
        by_itself, by_another = [
            (await each.post("/printer/objects/subscribe", json=wish)).status_code
            for role in (Role.ADMINISTRATOR, Role.VIEWER)
            async for each in once(one, role)
        ]
        assert (by_itself, by_another) == (200, 403)


async def once(one: Hosted, role: Role) -> AsyncIterator[httpx.AsyncClient]:
    async with one.client(role=role) as client:
        yield client


def test_a_console_is_kept_within_its_bound(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.GcodeStore(one.host, Connections())
    for number in range(200):
        kept.commanded("one", f"{number} " + "x" * store.MAX_MESSAGE)
    entries = kept.entries("one")
    assert sum(len(entry.message) for entry in entries) <= store.MAX_KEPT
    assert entries[-1].message.startswith("199 ")
    for number in range(store.KEPT + 5):
        kept.commanded("one", str(number))
    assert len(kept.entries("one")) == store.KEPT


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("::ffff:192.168.1.5", b"203.0.113.9", "203.0.113.9"),
        ("192.168.1.5", b"203.0.113.9", "203.0.113.9"),
        ("::ffff:192.168.1.5", b"203.0.113.9, ::ffff:192.168.1.5", "203.0.113.9"),
        ("::ffff:192.168.1.6", b"203.0.113.9", "192.168.1.6"),
        ("::ffff:127.0.0.1", b"", "127.0.0.1"),
    ],
)
def test_a_proxy_is_one_whichever_way_its_address_is_written(client: str, forwarded: bytes, address: str) -> None:
    """A socket that listens for both kinds of addresses sees 192.168.1.5 as ::ffff:192.168.1.5.

    If that were not the proxy that the settings name, it would be a neighbour whom the network is trusted for, and
    with it everybody who comes by the proxy.
    """
    peers = Peers(["192.168.1.5"])
    assert peers.peer(client, ("::", 80), "http", {b"x-forwarded-for": forwarded}).address == address


@pytest.mark.parametrize("opened", [1, 63, 64, 65, 400_000])
def test_depth_is_counted_however_many_brackets_there_are(opened: int) -> None:
    text = b"[" * opened + b"]" * opened
    for data in (text, b"[0," + text + b"]" if opened < 64 else text, b'{"a": "[[[\\"{{", "b": ' + text[1:-1] + b"}"):
        try:
            bodies.check_json(data)
        except bodies.Malformed:
            assert opened > 64
        else:
            assert opened <= 64


def test_a_body_of_nothing_but_lists_is_refused() -> None:
    """A megabyte of them held up everybody else for half a second; in texts they are nothing special."""
    bodies.check_json(b"[" + b"[]," * (bodies.MAX_LISTS - 1) + b"1]")
    bodies.check_json(b'["' + b"[" * 1_000_000 + b'"]')
    with pytest.raises(bodies.Malformed):
        bodies.check_json(b"[" + b"{}," * bodies.MAX_LISTS + b"1]")


def test_brackets_that_close_first_hide_none_that_open() -> None:
    with pytest.raises(bodies.Malformed):
        bodies.check_json(b"[" * 65 + b"1")
    depths = itertools.chain([b"]" * 10 + b"[" * 65], [b"[]" * 10 + b"[" * 65])
    for data in depths:
        try:
            bodies.decoded(data, list)
        except bodies.Malformed:
            continue
        raise AssertionError(data)


async def test_whose_printer_was_removed_keeps_no_news_from_others(tmp_path: Path) -> None:
    """One connection left over from a printer that is gone had all clients hear nothing more of new files."""
    async with hosted(tmp_path) as one, serving(one) as (served, _):
        await one.host.printers.add(PrinterSettings("two", "virtual"), LOCAL)
        key = one.keys[Role.ADMINISTRATOR]
        async with opened(served, "/p/two/websocket", X_Api_Key=key) as left, opened(served, X_Api_Key=key) as client:
            await left.ask("server.info")
            await one.host.printers.remove("two", LOCAL)
            assert (await left.ask("server.info"))["code"] == -32601
            await one.put("new.gcode")
            told = await client.until_told("notify_filelist_changed")
            assert told[0]["item"]["path"] == "new.gcode"
            assert (await client.until_told("notify_metadata_update"))[0]["filename"] == "new.gcode"


async def test_an_answer_over_http_may_take_as_long_as_the_machine(
    one: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a head went on while its request was answered: what took ten seconds was cut off."""
    monkeypatch.setattr(connection, "HEAD_WAIT_S", 0.05)
    slow = Slow(one, monkeypatch)
    async with serving(one) as (served, _), httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        client.headers["X-Api-Key"] = served.key
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.post("/printer/gcode/script", json={"script": "G28"}))
            while not slow.asked:
                await asyncio.sleep(0)
            _, writer = await served.open()  # whose head never comes is closed after that wait
            await asyncio.wait_for(_.read(), 5)
            writer.close()
            slow.go.set()
        assert task.result().json() == {"result": "ok"}


async def test_a_head_that_begins_behind_another_request_is_waited_for_no_longer(
    one: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_WAIT_S", 0.05)
    async with serving(one) as (served, _):
        reader, writer = await served.open()
        writer.write(served.head("GET", "/server/info") + b"GET /server/info HTTP/1.1\r\nHost")
        answered = await asyncio.wait_for(reader.read(), 5)
        assert answered.count(b"HTTP/1.1 200") == 1
        writer.close()
