"""What subscribers are told: only what changed, all that changed, and each of them what it asked for."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from polyhost.config import Config, Moonraker
from polyhost.core.printer import Temperature
from polyhost.core.user import GUEST, Role
from polyhost.dialects.moonraker.connections import Connections
from polyhost.dialects.moonraker.feeds import Feed
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.objects.tree import Selection, Tree, selected, union_of
from polyhost.dialects.moonraker.objects.view import Status
from polyhost.dialects.moonraker.request import Edition
from polyhost.services.accounts import LOCAL
from polyhost.web.sockets import Socket
from tests.web.hosting import Hosted, hosted
from tests.web.serving import Served, serving

# What a client knows, whatever it misses

NAMES, FIELDS = ("toolhead", "extruder", "gcode", "fan"), ("a", "b", "status", "busy")
statuses = st.dictionaries(
    st.sampled_from(NAMES), st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 2), min_size=1), min_size=1
)
selections = st.dictionaries(
    st.sampled_from((*NAMES, "unheard of")), st.none() | st.lists(st.sampled_from(FIELDS), min_size=1), min_size=1
).map(selected)


class Wire:
    """A connection that takes what it is given while it `is_writable`."""

    def __init__(self) -> None:
        self.is_open = self.is_writable = True
        self.written: list[Any] = []

    def write(self, wire: bytes) -> None:
        size = wire[1]
        self.written.append(json.loads(wire[{126: 4, 127: 10}.get(size, 2) :]))

    def buffered(self) -> int:
        return 0

    def allow(self, at_once: int, in_a_second: float) -> None: ...

    def end(self, code: int, reason: str = "") -> None: ...


class Scripted:
    """A source that says what it is told to."""

    def __init__(self) -> None:
        self.status: Status = {}
        self.at = 0.0
        self.followed: Selection = ()
        self.looks = 0

    async def names(self) -> Sequence[str]:
        return list(self.status)

    async def follow(self, wanted: Selection) -> None:
        self.followed = wanted

    def version(self) -> object:
        return self.status

    def shape(self) -> object:
        return frozenset(self.status)

    async def look(self, wanted: Selection) -> tuple[float, Status]:
        self.looks += 1
        return self.at, self.status

    def grow(self, changes: Status) -> None:
        self.at += 0.25
        merged = {name: {**self.status.get(name, {}), **fields} for name, fields in changes.items()}
        self.status = self.status | merged


class Clients:
    def __init__(self) -> None:
        self.source = Scripted()
        self.connections = Connections()
        self.feed = Feed("one", self.source, self.connections)

    @asynccontextmanager
    async def connected(self, edition: Edition = Edition.MODERN) -> AsyncIterator[tuple[Any, Wire]]:
        wire = Wire()

        async def receive() -> Any:
            raise AssertionError("nobody asks")

        call: Any = SimpleNamespace(caller=LOCAL, slug="one")
        with self.connections.opened(call, Socket(wire, receive), edition) as connection:
            yield connection, wire


async def answered(feed: Feed, connection: Any, selection: Selection) -> Status:
    status: Status = json.loads(bytes(await feed.subscribe(connection, selection)))["status"]
    return status


def applied(known: Status, told: Sequence[Any]) -> Status:
    for message in told:
        assert message["method"] == "notify_status_update"
        assert "id" not in message
        for name, fields in message["params"][0].items():
            known[name] = known.get(name, {}) | fields
    return known


def said_of(status: Status) -> Status:
    """Without fields that are null, since they are not there."""
    return {name: {field: value for field, value in at.items() if value is not None} for name, at in status.items()}


@given(
    before=statuses,
    selection=selections,
    steps=st.lists(st.tuples(statuses, st.booleans(), st.booleans()), max_size=12),
)
def test_whoever_applies_all_it_is_told_knows_what_is(
    before: Status, selection: Selection, steps: list[tuple[Status, bool, bool]]
) -> None:
    """However its reading and others' questions fall between the ticks."""

    async def all_of_it() -> None:
        clients = Clients()
        clients.source.grow(before)
        async with clients.connected() as (connection, wire):
            known = await answered(clients.feed, connection, selection)
            for changes, reads, asked in steps:
                clients.source.grow(changes)
                if asked:
                    await clients.feed.answer(selection)
                wire.is_writable = reads
                await clients.feed.tell()
            wire.is_writable = True
            await clients.feed.tell()
            known = applied(known, wire.written)
            whole = json.loads(bytes(await clients.feed.answer(selection)))["status"]
            assert said_of(known) == said_of(whole)
            times = [message["params"][1] for message in wire.written]
            assert times == sorted(set(times))

    asyncio.run(all_of_it())


@given(first=statuses, second=statuses, selection=selections)
def test_only_what_changed_is_told(first: Status, second: Status, selection: Selection) -> None:
    tree = Tree()
    tree.take(1.0, first)
    told_at = tree.tick
    tree.take(2.0, {**first, **second})
    for name, fields in tree.since(told_at, selection).items():
        assert fields
        for field, value in fields.items():
            assert name not in first or first[name].get(field) != value


@given(st.sets(selections, max_size=4))
def test_a_union_wants_what_any_of_them_wants(several: set[Selection]) -> None:
    union = dict(union_of(several))
    for selection in several:
        for name, fields in selection:
            assert union[name] is None or (fields is not None and set(fields) <= set(union[name]))


async def test_the_same_message_goes_to_all_who_want_the_same() -> None:
    clients = Clients()
    clients.source.grow({"fan": {"speed": 0.0}})
    wanted: Selection = (("fan", None),)
    async with clients.connected() as (one, first), clients.connected() as (other, second):
        await answered(clients.feed, one, wanted)
        await answered(clients.feed, other, wanted)
        clients.source.grow({"fan": {"speed": 1.0}})
        looks = clients.source.looks
        await clients.feed.tell()
        assert first.written == second.written
        assert first.written[0]["params"] == [{"fan": {"speed": 1.0}}, 0.5]
        assert clients.source.looks == looks + 1
        await clients.feed.tell()
        assert len(first.written) == 1  # nothing changed, nothing is told
    await clients.feed.tell()
    assert (clients.feed.is_wanted, clients.source.followed) == (False, ())


async def test_what_changes_while_a_batch_is_answered_comes_behind_it() -> None:
    clients = Clients()
    clients.source.grow({"fan": {"speed": 0.0}})
    async with clients.connected() as (connection, wire):
        await answered(clients.feed, connection, (("fan", None),))
        connection.batches = 1
        clients.source.grow({"fan": {"speed": 1.0}})
        await clients.feed.tell()
        assert not wire.written
        connection.batches = 0
        await clients.feed.tell()
        assert wire.written[0]["params"][0] == {"fan": {"speed": 1.0}}


async def test_clients_look_anew_at_a_machine_that_turns_out_to_have_more() -> None:
    """Once it is clear what: some of it comes in several answers."""
    clients = Clients()
    clients.source.grow({"webhooks": {"state": "ready"}})
    async with clients.connected() as (connection, wire):
        await clients.feed.names()
        await answered(clients.feed, connection, (("webhooks", None),))
        await clients.feed.tell()
        for changes in (
            {"firmware_retraction": {"a": 1}},
            {"bed_mesh": {"a": 1}},
            {"print_stats": {"state": "printing"}},
            {"print_stats": {"state": "paused"}},
            {"print_stats": {"state": "complete"}, "fan": {}},
        ):
            clients.source.grow(changes)
            await clients.feed.tell()
            assert not wire.written
        for _ in range(3):
            await clients.feed.tell()
        told = [message["method"] for message in wire.written]
        assert told == ["notify_klippy_disconnected", "notify_klippy_ready"]


async def test_early_clients_are_told_what_any_of_them_asked_for() -> None:
    clients = Clients()
    clients.source.grow({"fan": {"speed": 0.0}, "gcode": {"busy": False}, "toolhead": {"a": 1}})
    connected = clients.connected
    async with (
        connected(Edition.EARLY) as (early, told),
        connected(Edition.EARLY) as (_, silent),
        connected() as (modern, other),
    ):
        await clients.feed.join((("fan", None),))
        await answered(clients.feed, early, (("gcode", ("busy",)),))
        await answered(clients.feed, modern, (("toolhead", None),))
        await clients.feed.tell()
        clients.source.grow({"fan": {"speed": 1.0}, "gcode": {"busy": True}, "toolhead": {"a": 2}})
        await clients.feed.tell()
        both = {"fan": {"speed": 1.0}, "gcode": {"busy": True}}
        assert [message["params"][0] for message in told.written] == [both]
        assert [message["params"][0] for message in silent.written] == [both]
        assert [message["params"][0] for message in other.written] == [{"toolhead": {"a": 2}}]


# Through the doors


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


class Client:
    """A WebSocket that keeps apart what answers it and what it is told."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._last = 0
        self.told: list[Any] = []

    async def ask(self, method: str, **params: Any) -> Any:
        self._last += 1
        await self._socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": self._last}))
        while True:
            message = json.loads(await self._socket.recv())
            if message.get("id") == self._last:
                return message.get("result", message.get("error"))
            self._keep(message)

    async def hears(self, name: str, **fields: Any) -> dict[str, Any]:
        """The next update that has these fields of the object."""
        async with asyncio.timeout(10):
            while True:
                for number, message in enumerate(self.told):
                    found: dict[str, Any] = message["params"][0]
                    if fields.items() <= found.get(name, {}).items():
                        del self.told[: number + 1]
                        return found
                self._keep(json.loads(await self._socket.recv()))

    def _keep(self, message: Any) -> None:
        if message["method"] == "notify_status_update":
            self.told.append(message)


@asynccontextmanager
async def connected(served: Served, role: Role = Role.VIEWER, query: str = "") -> AsyncIterator[Client]:
    headers = {"X-Api-Key": served.one.keys[role]}
    async with websockets.connect(f"{served.sockets}/websocket{query}", additional_headers=headers) as socket:
        yield Client(socket)


async def test_a_subscriber_is_told_what_changes_until_it_says_otherwise(one: Hosted) -> None:
    async with serving(one) as (served, _), connected(served) as client:
        wanted = {"extruder": ["target"], "heater_bed": None, "no such thing": None, "fan": []}
        first = await client.ask("printer.objects.subscribe", objects=wanted)
        assert first["status"]["extruder"] == {"target": 0.0}
        assert set(first["status"]["heater_bed"]) == {"temperature", "target", "power"}
        assert (first["status"]["no such thing"], first["status"]["fan"]["speed"]) == ({}, 0.0)
        one.machine.say(heaters={"tool0": Temperature(30.0, 200.0), "bed": Temperature(20.0, 60.0)})
        assert await client.hears("heater_bed") == {"extruder": {"target": 200.0}, "heater_bed": {"target": 60.0}}
        await client.ask("printer.objects.subscribe", objects={"webhooks": ["state"]})
        await one.machine.disconnect()
        assert await client.hears("webhooks") == {"webhooks": {"state": "error"}}
        await one.machine.connect()  # a lost link ends no subscription
        assert await client.hears("webhooks") == {"webhooks": {"state": "ready"}}
        assert (await client.ask("printer.objects.subscribe", objects={}))["status"] == {}


async def test_a_clock_goes_on_for_clients_that_wait_for_one(one: Hosted) -> None:
    async with serving(one) as (served, _), connected(served) as client:
        await client.ask("printer.objects.subscribe", objects={"toolhead": None, "system_stats": None})
        times = [(await client.hears("toolhead"))["toolhead"]["estimated_print_time"] for _ in range(2)]
        assert times == sorted(set(times))


async def test_a_request_over_http_may_be_for_a_websocket(one: Hosted) -> None:
    viewer, operator = one.client(role=Role.VIEWER), one.client(role=Role.OPERATOR)
    async with serving(one) as (served, _), connected(served) as client, viewer, operator:
        number = (await client.ask("server.websocket.id"))["websocket_id"]
        path = f"/printer/objects/subscribe?connection_id={number}&fan=speed"
        assert (await viewer.post(path)).json()["result"]["status"] == {"fan": {"speed": 0.0}}
        one.machine.say(fan=0.5)
        assert await client.hears("fan") == {"fan": {"speed": 0.5}}
        body = {"objects": {"webhooks": ["state"]}, "connection_id": number}
        assert (await viewer.post("/printer/objects/subscribe", json=body)).status_code == 200
        for query in ("fan", "connection_id=99&fan", "connection_id=x&fan"):
            refused = await viewer.post(f"/printer/objects/subscribe?{query}")
            assert (refused.status_code, "connection" in refused.json()["error"]["message"]) == (400, True)


async def test_json_rpc_over_http_has_nothing_to_subscribe(one: Hosted) -> None:
    said = {"jsonrpc": "2.0", "method": "printer.objects.subscribe", "params": {"objects": {}}, "id": 1}
    async with one.client(role=Role.VIEWER) as client:
        assert (await client.post("/server/jsonrpc", json=said)).json()["error"]["code"] == -32601


async def test_an_early_client_subscribes_without_a_websocket(tmp_path: Path) -> None:
    async with (
        hosted(tmp_path, config=Config(moonraker=Moonraker("early"))) as one,
        one.client(role=Role.VIEWER) as http,
        serving(one) as (served, _),
        connected(served) as client,
    ):
        answer = await http.post("/printer/objects/subscribe?gcode=busy&extruder=target")
        assert answer.json()["result"]["status"] == {"gcode": {"busy": False}, "extruder": {"target": 0.0}}
        one.machine.say(heaters={"tool0": Temperature(30.0, 200.0)})
        assert await client.hears("extruder") == {"extruder": {"target": 200.0}}


async def test_who_logs_out_is_told_no_more(one: Hosted) -> None:
    async with serving(one) as (served, _), connected(served) as client, connected(served) as other:
        for listener in (client, other):
            await listener.ask("printer.objects.subscribe", objects={"fan": ["speed"]})
        live = one.application.parts[Live]
        assert isinstance(live, Live)
        (first, *_) = list(live.connections)
        first.call.caller = GUEST
        one.machine.say(fan=1.0)
        assert await other.hears("fan") == {"fan": {"speed": 1.0}}
        assert (await client.ask("server.info"))["message"] == "Unauthorized"
        assert not client.told
