"""Listening to a host as OctoPrint's apps do, over real sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from polyhost.config import Printer as PrinterSettings
from polyhost.core.events import (
    AppKeyRequested,
    ConsoleLine,
    ConsoleLines,
    FolderAdded,
    LoggedIn,
    LoggedOut,
    PrinterStateChanged,
)
from polyhost.core.job import RunSignal
from polyhost.core.printer import PrinterState
from polyhost.core.user import Role
from polyhost.services.accounts import LOCAL
from tests.web.hosting import GCODE, Hosted, hosted
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
        await self.say(auth=await served_session(self.served, role, key))

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


async def served_session(served: Served, role: Role, key: str = "") -> str:
    """What ``auth`` wants."""
    headers = {"X-Api-Key": key or served.one.keys[role]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", headers=headers) as client:
        user = (await client.post("/api/login", json={"passive": True})).json()
    return f"{user['name']}:{user['session']}"


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


async def test_who_listens_hears_the_next_printer_of_that_name(served: Served) -> None:
    printers, two = served.one.host.printers, PrinterSettings("two", "virtual")
    await printers.add(two, LOCAL)
    async with app(served, "/p/two/sockjs/websocket") as listener:
        await listener.auth()
        assert (await listener.until("history"))["state"]["text"] == "Offline"
        await printers.remove("two", LOCAL)
        await printers.add(two, LOCAL)
        await served.one.machines["two"].connect()
        while (await listener.until("current"))["state"]["text"] != "Operational":
            pass


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
        session = (await served_session(served, Role.VIEWER)).partition(":")[2]
        await client.say(auth=said.replace("{session}", session))
        await client.auth()
        kinds = []
        while "history" not in kinds:
            kinds.append((await client.next())[0])
    assert kinds in (["connected", "history"], ["connected", "reauthRequired", "history"])


# The order of things, as a live 1.11.8 has it


async def started(one: Hosted) -> None:
    await one.put("a.gcode")
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post("/api/files/local/a.gcode", json={"command": "select", "print": True})
        assert answer.status_code == 204, answer.text


async def test_a_whole_print_is_told_in_the_originals_order(served: Served) -> None:
    async with app(served) as client:
        await client.auth()
        await client.until("history")
        await started(served.one)
        served.one.machine.signal(RunSignal.END_OF_FILE, file_bytes=600)
        served.one.machine.signal(RunSignal.FINISH_DONE, printing_s=12.5)
        done = await client.until_event("PrintDone")
        assert done == {
            "name": "a.gcode",
            "path": "a.gcode",
            "origin": "local",
            "size": len(GCODE),
            "owner": "root",
            "user": "root",
            "time": 12.5,
        }
        await client.until_event("PrinterStateChanged")
    order = client.events()
    assert order[order.index("FileSelected") :] == [
        *("FileSelected", "STARTING", "PrintStarted", "ChartMarked", "PRINTING"),
        *("FINISHING", "ChartMarked", "PrintDone", "MetadataStatisticsUpdated", "OPERATIONAL"),
    ]


async def test_an_upload_that_prints_is_told_after_what_it_began(served: Served) -> None:
    async with app(served) as client:
        await client.auth(Role.VIEWER)
        await client.until("history")
        async with served.one.client(role=Role.OPERATOR) as operator:
            form = {"print": "true", "userdata": '{"a": 1}'}
            answer = await operator.post("/api/files/local", data=form, files={"file": ("u.gcode", GCODE)})
            assert answer.status_code == 201
        told = await client.until_event("Upload")
    wish = {"select": False, "print": True, "effective_select": False, "effective_print": True}
    assert told == {"name": "u.gcode", "path": "u.gcode", "target": "local", **wish, "userdata": {"a": 1}}
    order = client.events()
    assert order.index("FileAdded") < order.index("FileSelected") < order.index("PrintStarted") < order.index("Upload")


async def test_a_pause_a_resume_and_a_cancel_are_told_in_the_originals_order(served: Served) -> None:
    async with app(served) as client:
        await client.auth(Role.VIEWER)
        await client.until("history")
        await started(served.one)
        async with served.one.client(role=Role.OPERATOR) as operator:
            for command in ({"command": "pause"}, {"command": "pause"}, {"command": "cancel"}):
                assert (await operator.post("/api/job", json=command)).status_code == 204
        cancelled = await client.until_event("PrintCancelled")
        failed = await client.until_event("PrintFailed")
        await client.until_event("MetadataStatisticsUpdated")
        await client.until_event("PrinterStateChanged")
    assert cancelled["reason"] == failed["reason"] == "cancelled"
    assert cancelled["position"].keys() == set("xyzetf")
    order = client.events()
    assert order[order.index("PRINTING") + 1 :] == [
        *("PAUSING", "PrintPaused", "ChartMarked", "PAUSED"),
        *("RESUMING", "PrintResumed", "ChartMarked", "PRINTING"),
        *("PrintCancelling", "CANCELLING", "PrintCancelled", "ChartMarked", "PrintFailed"),
        *("MetadataStatisticsUpdated", "OPERATIONAL"),
    ]


async def test_the_link_is_told_in_the_originals_order(served: Served) -> None:
    one = served.one
    async with app(served) as client:
        await client.auth(Role.VIEWER)
        await client.until("history")
        for state in (PrinterState.OFFLINE, PrinterState.CONNECTING):
            one.machine.say(state=state)
            one.host.printers.heard(PrinterStateChanged("one", state))
        await one.machine.connect()
        assert await client.until_event("Connected") == {"port": "VIRTUAL", "baudrate": 115200}
        await one.machine.emergency_stop()
        one.host.printers.heard(PrinterStateChanged("one", PrinterState.FAULTED, "stopped by a person"))
        error = await client.until_event("Error")
        await client.until_event("PrinterStateChanged")
    assert error == {"error": "stopped by a person", "reason": "firmware", "consequence": "disconnect"}
    assert client.events()[client.events().index("Disconnecting") :] == [
        *("Disconnecting", "Disconnected", "OFFLINE", "Connecting", "CONNECTING", "OPERATIONAL", "Connected"),
        *("Error", "Disconnected", "CLOSED_WITH_ERROR"),
    ]


async def test_marks_of_a_chart_come_with_the_state(served: Served) -> None:
    await started(served.one)
    async with app(served) as client:
        await client.auth()
        history = await client.until("history")
    kinds = [(mark["type"], mark["label"]) for mark in history["markings"]]
    assert kinds == [("connected", "Connected"), ("print", "Start")]
    assert history["busyFiles"] == [{"origin": "local", "path": "a.gcode"}]
    assert history["state"]["text"] == "Printing"


async def test_commands_that_are_sent_become_events(served: Served) -> None:
    async with app(served) as client:
        await client.auth(Role.VIEWER)
        await client.until("history")
        say(served.one, "N3 G28*18", "N4 G1 Z0.2*9", "T1", "<ok", "M600")
        await client.until_event("FilamentChange")
        assert client.events()[-4:] == ["Home", "ZChange", "ToolChange", "FilamentChange"]


# Who hears what


async def test_who_came_and_went_is_for_administrators(served: Served) -> None:
    async with app(served) as boss, app(served) as viewer:
        await viewer.auth(Role.VIEWER)
        await viewer.until("history")
        await boss.auth()
        assert await boss.until_event("ClientAuthed") == {"username": "root", "remoteAddress": "127.0.0.1"}
        assert await viewer.until_event("ClientAuthed") == {}
        served.one.host.bus.publish(LoggedIn("somebody"))
        served.one.host.bus.publish(FolderAdded("somewhere"))
        assert await boss.until_event("UserLoggedIn") == {"username": "somebody"}
        await viewer.until_event("FolderAdded")
        assert "UserLoggedIn" not in viewer.events()


async def test_requests_for_keys_are_for_those_who_may_grant_them(served: Served) -> None:
    async with app(served) as late, app(served) as viewer, app(served) as operator:
        await viewer.auth(Role.VIEWER)
        await operator.auth(Role.OPERATOR)
        for client in (viewer, operator):
            await client.until("history")
        served.one.host.bus.publish(AppKeyRequested("token", "App", "", "10.0.0.7"))
        served.one.host.bus.publish(FolderAdded("somewhere"))
        said = await operator.until("plugin")
        data = {"type": "request_access", "app_name": "App", "user_token": "token", "user_id": None}
        assert said == {"plugin": "appkeys", "data": {**data, "remote_address": "10.0.0.7"}}
        await viewer.until_event("FolderAdded")
        assert all(kind != "plugin" for kind, _ in viewer.heard)
        await late.auth(Role.OPERATOR)
        assert (await late.until("plugin"))["data"] == said["data"]  # kept until it was known who this is


async def test_a_key_bound_to_a_printer_hears_that_one(tmp_path: Path) -> None:
    printers = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=printers) as host, serving(host) as (served, _):
        key = await host.key_of(Role.OPERATOR, "two")
        async with app(served) as bound, app(served, "/p/one/sockjs/websocket") as astray:
            await bound.auth(key=key)
            await bound.until("history")
            say(host, "M117 of one", slug="one")
            say(host, "M117 of two", slug="two")
            current = await bound.until("current")
            while not current["logs"]:
                current = await bound.until("current")
            assert current["logs"] == ["Send: M117 of two"]
            await astray.auth(key=key)
            assert (await astray.next())[0] == "connected"
            say(host, "M117 of one", slug="one")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(astray.socket.recv(), 0.05)


async def test_a_printer_that_is_added_meanwhile_is_heard(served: Served) -> None:
    async with app(served) as first:
        await first.auth()
        await first.until("history")
        await served.one.host.printers.add(PrinterSettings("new", "virtual"), LOCAL)
        async with app(served, "/p/new/sockjs/websocket") as second:
            await second.auth(Role.VIEWER)
            await second.until("history")
            say(served.one, "M600", slug="new")
            await second.until_event("FilamentChange")
        assert "FilamentChange" not in first.events()


async def test_whose_rights_end_must_say_again_who_it_is(served: Served) -> None:
    async with app(served) as client:
        session = await served_session(served, Role.VIEWER)
        await client.say(auth=session)
        await client.until("history")
        await served.one.host.accounts.log_out(session.partition(":")[2])
        served.one.host.bus.publish(LoggedOut("root"))
        assert await client.until("reauthRequired") == {"reason": "logout"}
        served.one.machine.say(fan=0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.socket.recv(), 0.05)
        await client.auth(Role.VIEWER)
        await client.until("history")


# What a client wants to hear


async def test_a_subscription_is_what_is_heard_and_nothing_else(served: Served) -> None:
    async with app(served) as client:
        wanted = {"state": {"logs": r"M\d+", "messages": False}, "plugins": [], "events": ["Home"]}
        await client.say(subscribe=wanted)
        await client.auth(Role.OPERATOR)
        await client.until("history")
        served.one.host.bus.publish(AppKeyRequested("token", "App", "", "10.0.0.7"))
        say(served.one, "N1 G28*18", "N2 M104 S20*3", "<ok M105", "T1")
        current = await client.until("current")
        while not current["logs"]:
            current = await client.until("current")
        assert current["logs"] == ["Send: N2 M104 S20*3", "Recv: ok M105"]
        assert current["messages"] == []
        assert client.events() == ["Home"]
        await client.say(subscribe={"events": True})
        await client.say(subscribe={"events": True, "state": True})
        await client.until("history")
        say(served.one, "M600")
        await client.until_event("FilamentChange")


@pytest.mark.parametrize(("factor", "least_s"), [(1, 0.4), (3, 1.4)])
async def test_the_state_is_told_so_often_and_no_oftener(served: Served, factor: int, least_s: float) -> None:
    loop = asyncio.get_running_loop()
    told_at = []
    async with app(served) as client:
        await client.say(throttle=factor)
        await client.auth(Role.VIEWER)
        await client.until("history")
        while len(told_at) < 2:
            served.one.machine.say(fan=len(client.heard) / 100)
            await client.until("current")
            told_at.append(loop.time())
    assert least_s <= told_at[1] - told_at[0] < least_s + 1


NONSENSE = (
    *("", "{", "[]", "null", '"x"', "0", "{}", '{"auth": 1}', '{"auth": null}', '{"auth": {}}'),
    *(
        '{"throttle": 0}',
        '{"throttle": -1}',
        '{"throttle": "x"}',
        '{"throttle": 1e400}',
        '{"throttle": ' + "9" * 70 + "}",
    ),
    *('{"subscribe": 1}', '{"subscribe": {"state": []}}', '{"subscribe": {"state": {"logs": "("}}}'),
    *('{"subscribe": {"state": {"logs": "' + "(a|a)*" * 60 + '"}}}', '{"subscribe": {"events": "Home"}}'),
    *('{"subscribe": {"plugins": [1]}}', '{"subscribe": {"events": ["' + '","'.join(map(str, range(600))) + '"]}}'),
    *("[" * 1000, '{"unknown": true}', b"\xff\xfe", b'{"auth": "root:x"}'),
)


async def test_nonsense_is_ignored(served: Served) -> None:
    async with app(served) as client:
        for message in NONSENSE:
            await client.socket.send(message, text=False if isinstance(message, bytes) else None)
        await client.auth()
        await client.until("history")


# Bounds


async def test_who_never_reads_costs_the_others_nothing(served: Served) -> None:
    """A few dozen that stop reading; what waits for each is bounded, and who reads hears everything at once."""
    one = served.one
    deaf = []
    for _ in range(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        lines = (key, "Sec-WebSocket-Version: 13", "Upgrade: websocket", "Connection: Upgrade")
        writer.write(served.head("GET", "/sockjs/websocket", *lines, key=False))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        auth = json.dumps({"auth": await served_session(served, Role.VIEWER)}).encode()
        writer.write(b"\x81" + bytes([0x80 | 126]) + len(auth).to_bytes(2, "big") + b"\0\0\0\0" + auth)
        writer.transport.pause_reading()
        deaf.append(writer)
    async with app(served, max_queue=None) as client:
        await client.auth(Role.VIEWER)
        await client.until("history")
        loop = asyncio.get_running_loop()
        began = loop.time()
        for n in range(200):
            for _ in range(20):
                one.host.bus.publish(FolderAdded("x" * 2000 + str(n)))
            await asyncio.sleep(0)
        while (await client.until_event("FolderAdded"))["path"] != "x" * 2000 + "199":
            pass
        took = loop.time() - began
        heard = client.events().count("FolderAdded")
    assert heard > 3900
    assert took < 8
    for writer in deaf:
        writer.transport.abort()
