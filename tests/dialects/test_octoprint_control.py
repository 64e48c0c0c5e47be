"""Job and machine commands: what is taken in which state, what reaches the machine, what is refused how."""

from pathlib import Path

import httpx
import pytest

from polyhost.config import Config, OctoPrint
from polyhost.core.job import RunSignal, RunState
from polyhost.core.printer import PrinterState, Temperature
from polyhost.core.user import Role
from tests.web.hosting import Hosted, hosted

JOG = {"command": "jog", "x": 10}
HOME = {"command": "home", "axes": ["x", "y"]}
TARGET = {"command": "target", "targets": {"tool0": 200}}

CALLS = {
    "GET printer": ("GET", "/api/printer", None),
    "GET tool": ("GET", "/api/printer/tool", None),
    "GET job": ("GET", "/api/job", None),
    "GET connection": ("GET", "/api/connection", None),
    "GET files": ("GET", "/api/files", None),
    "start": ("POST", "/api/job", {"command": "start"}),
    "restart": ("POST", "/api/job", {"command": "restart"}),
    "pause": ("POST", "/api/job", {"command": "pause", "action": "pause"}),
    "resume": ("POST", "/api/job", {"command": "pause", "action": "resume"}),
    "toggle": ("POST", "/api/job", {"command": "pause"}),
    "cancel": ("POST", "/api/job", {"command": "cancel"}),
    "jog": ("POST", "/api/printer/printhead", JOG),
    "home": ("POST", "/api/printer/printhead", HOME),
    "feedrate": ("POST", "/api/printer/printhead", {"command": "feedrate", "factor": 105}),
    "extrude": ("POST", "/api/printer/tool", {"command": "extrude", "amount": 5}),
    "target": ("POST", "/api/printer/tool", TARGET),
    "offset": ("POST", "/api/printer/tool", {"command": "offset", "offsets": {"tool0": 5}}),
    "flowrate": ("POST", "/api/printer/tool", {"command": "flowrate", "factor": 0.95}),
    "bed": ("POST", "/api/printer/bed", {"command": "target", "target": 60}),
    "heater": ("POST", "/api/printer/heater", {"command": "temp", "temps": {"bed": 60}}),
    "feeder": ("POST", "/api/printer/feeder", {"command": "extrude", "amount": 1}),
    "command": ("POST", "/api/printer/command", {"command": "M117 hi"}),
    "sd": ("POST", "/api/printer/sd", {"command": "init"}),
    "select": ("POST", "/api/files/local/b.gcode", {"command": "select"}),
    "select and print": ("POST", "/api/files/local/b.gcode", {"command": "select", "print": True}),
    "delete": ("DELETE", "/api/files/local/a.gcode", None),
    "move": ("POST", "/api/files/local/a.gcode", {"command": "move", "destination": "c.gcode"}),
    "delete another": ("DELETE", "/api/files/local/b.gcode", None),
}

#                    offline, idle, printing, paused
GUARDS = {
    "GET printer": (409, 200, 200, 200),
    "GET tool": (409, 200, 200, 200),
    "GET job": (200, 200, 200, 200),
    "GET connection": (200, 200, 200, 200),
    "GET files": (200, 200, 200, 200),
    "start": (409, 204, 409, 409),
    "restart": (409, 409, 409, 204),
    "pause": (409, 409, 204, 204),
    "resume": (409, 409, 204, 204),
    "toggle": (409, 409, 204, 204),
    "cancel": (409, 409, 204, 204),
    "jog": (409, 204, 409, 204),
    "home": (409, 204, 409, 204),
    "feedrate": (409, 204, 204, 204),
    "extrude": (409, 204, 409, 204),
    "target": (409, 204, 204, 204),
    "offset": (409, 204, 204, 204),
    "flowrate": (409, 204, 204, 204),
    "bed": (409, 204, 204, 204),
    "heater": (409, 204, 204, 204),
    "feeder": (409, 204, 409, 204),
    "command": (409, 204, 204, 204),
    "sd": (409, 204, 409, 409),
    "select": (409, 204, 409, 409),
    "select and print": (409, 204, 409, 409),
    "delete": (204, 204, 409, 409),
    "move": (201, 201, 409, 409),
    "delete another": (204, 204, 204, 204),
}


async def ask(client: httpx.AsyncClient, name: str) -> httpx.Response:
    method, path, body = CALLS[name]
    return await client.request(method, path, json=body)


async def come_to(one: Hosted, client: httpx.AsyncClient, state: str) -> None:
    """Bring the printer, with a.gcode selected, from wherever it is into `state`."""
    if one.machine.snapshot.run is not None and not one.machine.snapshot.run.ended:
        await one.machine.cancel("")
    await one.machine.connect()
    await one.ended()
    for path in ("a.gcode", "b.gcode"):
        await one.put(path)
    for path in list(one.host.files.tree().files):
        if path not in {"a.gcode", "b.gcode"}:
            assert (await client.delete(f"/api/files/local/{path}")).status_code == 204
    assert (await client.post("/api/files/local/a.gcode", json={"command": "select"})).status_code == 204
    if state in {"printing", "paused"}:
        assert (await ask(client, "start")).status_code == 204
    if state == "paused":
        assert (await ask(client, "pause")).status_code == 204
    if state == "offline":
        await one.machine.disconnect()


@pytest.mark.parametrize(("column", "state"), list(enumerate(("offline", "idle", "printing", "paused"))))
async def test_the_guard_table(one: Hosted, column: int, state: str) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        for name, statuses in GUARDS.items():
            await come_to(one, client, state)
            answer = await ask(client, name)
            assert answer.status_code == statuses[column], (name, answer.text)
            if answer.status_code == 204:
                assert answer.content == b""
            if answer.status_code == 409:
                assert answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "sent"),
    [
        ("printhead", {"command": "jog", "x": 10, "y": -5, "z": 0.02}, ["G91", "G0 X10 Y-5 Z0.02 F200", "G90"]),
        ("printhead", {"command": "jog", "x": 1.5, "absolute": True, "speed": 600}, ["G90", "G0 X1.5 F600"]),
        ("printhead", {"command": "jog", "x": 1.5, "absolute": "false", "speed": 600}, ["G91", "G0 X1.5 F600", "G90"]),
        ("printhead", {"command": "home", "axes": ["y", "x"]}, ["G28 X Y"]),
        ("printhead", {"command": "feedrate", "factor": 105}, ["M220 S105"]),
        ("printhead", {"command": "feedrate", "factor": 1.05}, ["M220 S105"]),
        ("tool", {"command": "select", "tool": "tool0"}, ["T0"]),
        ("tool", {"command": "target", "targets": {"tool0": 220}}, ["M104 T0 S220"]),
        ("tool", {"command": "target", "targets": {"tool": 220.5}}, ["M104 T0 S220.5"]),
        ("tool", {"command": "flowrate", "factor": 95}, ["M221 S95"]),
        ("tool", {"command": "extrude", "amount": -3, "speed": 120}, ["G91", "M83", "G1 E-3 F120", "M82", "G90"]),
        ("tool", {"command": "offset", "offsets": {"tool0": -50}}, []),
        ("tool", {"command": "target", "targets": {}}, []),
        ("bed", {"command": "target", "target": 75}, ["M140 S75"]),
        ("bed", {"command": "offset", "offset": 50}, []),
        ("sd", {"command": "init"}, ["M21"]),
        ("heater", {"command": "temp", "temps": {"hotend": 220, "bed": 75}}, ["M104 T0 S220", "M140 S75"]),
        ("heater", {"command": "temp", "temps": {}}, []),
        ("heater", {"command": "offset", "offsets": {"hotend": 10, "bed": -5}}, []),
        ("feeder", {"command": "extrude", "amount": -3}, ["G91", "M83", "G1 E-3 F300", "M82", "G90"]),
        ("command", {"command": "M106"}, ["M106"]),
        ("command", {"commands": ["M18", "M106 S0"]}, ["M18", "M106 S0"]),
        ("command", {"commands": []}, []),
        ("command", {"command": "M104 S%(t)s", "parameters": {"t": 200}}, ["M104 S200"]),
        ("command", {"command": "M117 100%"}, ["M117 100%"]),
    ],
)
async def test_what_reaches_the_machine(one: Hosted, path: str, body: dict[str, object], sent: list[str]) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post(f"/api/printer/{path}", json=body)
    assert (answer.status_code, answer.text) == (204, "")
    assert one.machine.sent == sent


WRONG = {
    "printhead": [
        *({}, {"command": "fly"}, {"command": None}, {"command": ["jog"]}, {"command": "jog"}, {"command": "home"}),
        *({"command": "jog", "x": value} for value in (True, "1", [], {}, float("1e300"))),
        *({"command": "jog", "x": 1, "speed": value} for value in (0, -1, "fast", True)),
        *({"command": "home", "axes": value} for value in ([], ["q"], "x", ["x", 1], [["x"]], None)),
        *({"command": "feedrate"}, {"command": "feedrate", "factor": "105"}, {"command": "feedrate", "factor": True}),
    ],
    "tool": [
        *({"command": "target"}, {"command": "target", "targets": {"tool9": 1}}, {"command": "target", "targets": []}),
        *({"command": "target", "targets": {name: 1}} for name in ("bed", "Tool0", "tool-1", "tool0 ", "", "tool٠")),
        *({"command": "target", "targets": {"tool0": value}} for value in (True, "200", None, 10_000, -1)),
        *({"command": "offset", "offsets": {"tool0": value}} for value in (51, -50.1, True, "1")),
        *({"command": "extrude"}, {"command": "extrude", "amount": "5"}, {"command": "extrude", "amount": True}),
        *({"command": "select"}, {"command": "select", "tool": "tool7"}, {"command": "select", "tool": 0}),
        {"command": "select", "tool": "tool"},
        {"command": "flowrate", "factor": None},
    ],
    "bed": [
        *({"command": "target"}, {"command": "target", "target": "60"}, {"command": "target", "target": True}),
        *({"command": "target", "target": 1000}, {"command": "offset", "offset": 51}, {"command": "temp"}),
    ],
    "command": [
        *({}, {"command": "M1", "commands": []}, {"commands": "M1"}, {"commands": [1]}, {"command": None}),
        *({"command": "M104 S1\nM112"}, {"command": "M117 \x00"}, {"command": "M1" * 200}, {"commands": ["M1"] * 1001}),
        {"command": "M104 S%(t)s", "parameters": {"u": 1}},
        {"command": "M104 S%(t)s", "parameters": {"t": "1\nM112"}},
    ],
    "sd": [{}, {"command": "eject"}],
    "heater": [
        *({}, {"command": "temp"}, {"command": "target", "targets": {}}, {"command": "temp", "temps": {"tool0": 1}}),
        *({"command": "temp", "temps": {"hotend": value}} for value in (True, "200", None, 10_000)),
        *({"command": "offset", "offsets": {"bed": value}} for value in (51, -51, "1")),
    ],
    "feeder": [{}, {"command": "extrude"}, {"command": "extrude", "amount": "1"}, {"command": "retract", "amount": 1}],
}


async def test_wrong_values_are_refused_and_nothing_is_sent(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        for path, bodies in WRONG.items():
            for body in bodies:
                answer = await client.post(f"/api/printer/{path}", json=body)
                assert answer.status_code == 400, (path, body, answer.status_code, answer.text)
                assert list(answer.json()) == ["error"]
        unknown = await client.post("/api/printer/command", json={"script": "no such script"})
        assert unknown.status_code == 404
        cold = await client.post("/api/printer/chamber", json={"command": "target", "target": 40})
        assert cold.status_code == 409
    assert not one.machine.sent


async def test_the_rule_of_2013_keeps_heaters_from_a_print(tmp_path: Path) -> None:
    config = Config(octoprint=OctoPrint(heater_while_printing=False))
    async with hosted(tmp_path, config=config) as one, one.client(role=Role.OPERATOR) as client:
        await come_to(one, client, "printing")
        assert (await ask(client, "heater")).status_code == 409
        assert (await ask(client, "bed")).status_code == 204
        await come_to(one, client, "idle")
        assert (await ask(client, "heater")).status_code == 204


async def test_a_command_is_judged_before_the_state_and_its_values_after(one: Hosted) -> None:
    await one.machine.disconnect()
    async with one.client(role=Role.OPERATOR) as client:
        for body, status in [
            ({"command": "fly"}, 400),
            ({"command": "home"}, 400),
            ({"command": "home", "axes": ["q"]}, 409),
        ]:
            assert (await client.post("/api/printer/printhead", json=body)).status_code == status


@pytest.mark.parametrize("body", [b'{"command": "fly"}', b"{}", b"[1]", b"{"])
async def test_an_offline_printer_is_told_before_what_is_wrong_with_the_command(one: Hosted, body: bytes) -> None:
    await one.machine.disconnect()
    async with one.client(role=Role.OPERATOR) as client:
        for path in ("job", "printer/tool", "printer/bed", "printer/chamber", "printer/command", "printer/sd"):
            answer = await client.post(f"/api/{path}", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 409, path


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_commands_are_json_and_say_so(one: Hosted, kind: str | None) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        headers = {"Content-Type": kind} if kind else {}
        for path in ("/api/job", "/api/printer/printhead", "/api/printer/command", "/api/connection"):
            answer = await client.post(path, content=b'{"command": "x"}', headers=headers)
            assert answer.status_code == 415, path


async def test_a_body_beyond_100_kb_is_too_large(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post("/api/printer/command", json={"commands": ["M117 " + "x" * 200] * 600})
    assert answer.status_code == 413


async def test_m112_is_an_emergency_stop_by_any_way(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        assert (await client.post("/api/printer/command", json={"command": "M112"})).status_code == 204
        assert one.machine.stopped
        answer = await client.get("/api/printer/error")
    assert answer.json()["error"] == "stopped by a person"


async def test_a_print_from_start_to_end(one: Hosted) -> None:
    await one.put("a.gcode")
    async with one.client(role=Role.OPERATOR) as client:
        empty = (await client.get("/api/job")).json()
        assert (empty["job"]["file"]["path"], empty["progress"]["completion"]) == (None, None)
        assert (await client.post("/api/job", json={"command": "start"})).status_code == 409
        await client.post("/api/files/local/a.gcode", json={"command": "select", "print": "yes"})
        size = one.machine.order.size_bytes if one.machine.order else 0
        run = one.machine.snapshot.run
        assert run is not None
        assert run.state is RunState.PRINTING
        one.machine.signal(RunSignal.PAUSE, RunSignal.PAUSE_DONE, file_bytes=size // 4, printing_s=60.0, elapsed_s=61.0)
        paused = (await client.get("/api/job")).json()
        assert (paused["state"], paused["progress"]["completion"], paused["progress"]["printTime"]) == (
            "Paused",
            25.0,
            60,
        )
        assert paused["job"]["user"] == "root"
        await client.post("/api/job", json={"command": "pause", "action": "resume"})
        one.machine.signal(RunSignal.END_OF_FILE, RunSignal.FINISH_DONE, file_bytes=size, printing_s=240.0)
        await one.ended()
        done = (await client.get("/api/job")).json()
        assert done["state"] == "Operational"
        assert (done["progress"]["completion"], done["progress"]["printTimeLeft"]) == (100.0, 0)
        assert (done["job"]["averagePrintTime"], done["job"]["lastPrintTime"]) == (240.0, 240.0)
        entry = (await client.get("/api/files/local/a.gcode")).json()
        assert entry["prints"]["success"] == 1
        assert (await client.post("/api/files/local/current", json={"command": "unselect"})).status_code == 204
        assert (await client.get("/api/job")).json()["job"]["file"]["path"] is None
        assert (await client.post("/api/files/local/current", json={"command": "unselect"})).status_code == 409


async def test_a_paused_print_starts_over(one: Hosted) -> None:
    await one.put("a.gcode")
    async with one.client(role=Role.OPERATOR) as client:
        await client.post("/api/files/local/a.gcode", json={"command": "select", "print": True})
        first = one.machine.order
        await client.post("/api/job", json={"command": "pause"})
        assert (await client.post("/api/job", json={"command": "restart"})).status_code == 204
        assert one.machine.order is not first
        assert (await client.get("/api/job")).json()["state"] == "Printing"
        assert (await client.post("/api/job", json={"command": "pause", "action": "jump"})).status_code == 400


async def test_nothing_is_told_of_how_far_a_cancelled_print_came(one: Hosted) -> None:
    await one.put("a.gcode")
    async with one.client(role=Role.OPERATOR) as client:
        for body in ({"command": "pause", "action": "jump"}, {"command": "pause", "action": 5}):
            assert (await client.post("/api/job", json=body)).status_code == 409  # nothing is printing
        await client.post("/api/files/local/a.gcode", json={"command": "select", "print": True})
        one.machine.signal(RunSignal.PAUSE, RunSignal.PAUSE_DONE, file_bytes=2, printing_s=60.0, elapsed_s=61.0)
        assert (await client.get("/api/job")).json()["progress"]["filepos"] == 2
        await one.machine.cancel("")
        await one.ended()
        cancelled = (await client.get("/api/job")).json()
        assert cancelled["job"]["file"]["path"] == "a.gcode"
        assert set(cancelled["progress"].values()) == {None}
        assert (cancelled["job"]["averagePrintTime"], cancelled["job"]["lastPrintTime"]) == (None, None)


class TestPrinterState:
    async def test_exclude_and_history(self, one: Hosted) -> None:
        one.machine.say(sd_ready=True, heaters={"tool0": Temperature(200.0, 210.0)})
        async with one.client(role=Role.VIEWER) as client:
            whole = (await client.get("/api/printer")).json()
            assert whole["temperature"]["tool0"] == {"actual": 200.0, "target": 210.0, "offset": 0.0}
            assert whole["sd"] == {"ready": True}
            assert whole["state"]["flags"]["sdReady"]
            less = (await client.get("/api/printer?exclude=temperature,sd")).json()
            assert list(less) == ["state"]
            past = (await client.get("/api/printer?history=true&limit=1&exclude=state,sd")).json()
            assert len(past["temperature"]["history"]) == 1
            assert (await client.get("/api/printer/bed?history=yes")).json()["history"]
            every = (await client.get("/api/printer?history=true&limit=0")).json()
            assert every["temperature"]["history"]
            assert (await client.get("/api/printer?limit=x&history=1")).status_code == 400
            assert (await client.get("/api/printer/chamber")).status_code == 409

    async def test_what_changed_is_told_at_once(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            for celsius in (20.0, 21.0, 20.0):
                one.machine.say(heaters={"tool0": Temperature(celsius, 0.0)})
                assert (await client.get("/api/printer")).json()["temperature"]["tool0"]["actual"] == celsius
            await client.post("/api/printer/tool", json={"command": "offset", "offsets": {"tool0": 7}})
            assert (await client.get("/api/printer")).json()["temperature"]["tool0"]["offset"] == 7

    async def test_sd_tells_strangers_one_bit(self, one: Hosted) -> None:
        async with one.client() as client:
            assert (await client.get("/api/printer/sd")).json() == {"ready": False}


class TestConnection:
    async def test_connect_and_disconnect(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            assert (await client.post("/api/connection", json={"command": "disconnect"})).status_code == 204
            closed = (await client.get("/api/connection")).json()["current"]
            assert closed == {"state": "Closed", "port": None, "baudrate": None, "printerProfile": "_default"}
            assert (await client.get("/api/job")).json()["state"] == "Offline"
            body = {
                "command": "connect",
                "port": "VIRTUAL",
                "baudrate": 250000,
                "printerprofile": "_default",
                "save": 1,
            }
            assert (await client.post("/api/connection", json=body)).status_code == 204
            opened = (await client.get("/api/connection")).json()["current"]
            assert (opened["state"], opened["port"], opened["baudrate"]) == ("Operational", "VIRTUAL", 250000)
            one.machine.say(baud=0)
            assert (await client.get("/api/connection")).json()["current"]["baudrate"] == 115200
            assert (await client.post("/api/connection", json={"command": "fake_ack"})).status_code == 204

    @pytest.mark.parametrize(
        "body",
        [
            *({}, {"command": "open"}, {"command": "connect", "port": "/dev/none"}, {"command": "connect", "port": 1}),
            *({"command": "connect", "baudrate": 300}, {"command": "connect", "baudrate": "115200"}),
            {"command": "connect", "printerProfile": "other"},
        ],
    )
    async def test_wrong_values(self, one: Hosted, body: dict[str, object]) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            assert (await client.post("/api/connection", json=body)).status_code == 400
        assert one.machine.snapshot.state is PrinterState.READY


class TestLogin:
    async def test_passive(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            record = (await client.post("/api/login", json={"passive": True})).json()
            again = (await client.post("/api/login", data={"passive": "true"})).json()
        assert (record["name"], record["admin"], record["groups"]) == ("root", False, ["users"])
        assert record["apikey"] is None
        assert record["_login_mechanism"] == "apikey"
        assert one.host.accounts.session(record["session"])
        assert again["name"] == "root"

    async def test_a_guest(self, one: Hosted) -> None:
        async with one.client() as client:
            assert (await client.post("/api/login", json={"passive": True})).json() == {"needs": {"group": ["guests"]}}
            assert (await client.get("/api/currentuser")).json() == {
                "name": None,
                "permissions": [],
                "groups": ["guests"],
            }

    @pytest.mark.parametrize("body", [{}, {"user": "root"}, {"pass": "x"}, {"user": 1, "pass": 2}, {"passive": False}])
    async def test_neither(self, one: Hosted, body: dict[str, object]) -> None:
        async with one.client() as client:
            assert (await client.post("/api/login", json=body)).status_code == 400

    async def test_who_is_unknown_hears_what_who_is_wrong_hears(self, one: Hosted) -> None:
        async with one.client() as client:
            answers = [
                await client.post("/api/login", json={"user": user, "pass": "wrong"}) for user in ("root", "nobody")
            ]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert answers[0].content == answers[1].content
