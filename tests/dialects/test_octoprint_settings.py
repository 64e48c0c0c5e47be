"""``/api/settings``, read and set as a live 1.11.8 has it, and what it says no to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from polyhost.config import Printer as PrinterSettings
from polyhost.core.controls import MAX_CONTROLS, MAX_DEPTH
from polyhost.core.handling import OnError
from polyhost.core.user import Role
from polyhost.dialects.octoprint.settings import hash_of, laid_over
from polyhost.services.settings import MAX_PRESETS
from tests.dialects.test_octoprint_push import app
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

PATH = "/api/settings"
SECTIONS = {
    *("accessControl", "api", "appearance", "controls", "devel", "feature", "folder", "gcodeAnalysis", "plugins"),
    *("scripts", "serial", "server", "slicing", "system", "temperature", "terminalFilters", "webcam"),
}
BUTTON: dict[str, Any] = {
    "name": "Fan",
    "command": "M106 S%(speed)s",
    "input": [{"name": "Speed", "parameter": "speed", "default": 255, "slider": {"min": 0, "max": 255, "step": 5}}],
    "confirm": "Sure?",
    "additionalClasses": "btn-danger",
}
CONTROLS: list[dict[str, Any]] = [
    {
        "name": "Box",
        "layout": "horizontal",
        "children": [BUTTON, {"children": [{"name": "Home", "commands": ["G28"]}]}],
    },
    {"name": "Here", "regex": "X:([0-9.]+)", "template": "X={0}", "default": "unknown"},
    {"name": "Script", "script": "mine", "javascript": "alert(1)", "enabled": "true"},
]


@pytest.fixture
async def client(own: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with own.client(role=Role.ADMINISTRATOR) as client:
        yield client


def found(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def as_tree(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


async def test_the_tree(client: httpx.AsyncClient) -> None:
    tree = (await client.get(PATH)).json()
    assert tree.keys() == SECTIONS
    assert tree["api"] == {"key": None, "allowCrossOrigin": False}
    assert (tree["serial"]["port"], tree["serial"]["baudrate"]) == ("/dev/ttyUSB77", 115200)
    assert tree["serial"]["portOptions"] == ["/dev/ttyUSB77"]
    assert tree["temperature"]["profiles"] == [
        {"name": "ABS", "extruder": 210, "bed": 100},
        {"name": "PLA", "extruder": 180, "bed": 60},
    ]
    assert tree["plugins"]["tracking"]["unique_id"] == tree["plugins"]["discovery"]["upnpUuid"]


@pytest.mark.parametrize(
    ("role", "hidden", "controls"),
    [(Role.VIEWER, True, []), (Role.OPERATOR, True, CONTROLS), (Role.ADMINISTRATOR, False, CONTROLS)],
)
async def test_what_a_role_sees(
    own: Hosted, client: httpx.AsyncClient, role: Role, hidden: bool, controls: list[Any]
) -> None:
    await client.post(PATH, json={"controls": CONTROLS, "webcam": {"snapshotUrl": "http://ada:secret@cam/shot.jpg"}})
    async with own.client(role=role) as theirs:
        answer = await theirs.get(PATH)
        tree = answer.json()
        assert tree["controls"] == controls
        assert ("accessControl" not in tree) == hidden
        assert (tree["plugins"]["tracking"]["unique_id"] is None) == hidden
        assert ("secret" not in answer.text) == hidden
        custom = await theirs.get("/api/printer/command/custom")
        assert custom.status_code == (403 if role is Role.VIEWER else 200)
        for method, path in (("POST", PATH), ("GET", f"{PATH}/templates"), ("POST", f"{PATH}/apikey")):
            assert (await theirs.request(method, path, json={})).status_code == (403 if hidden else 200)


SET = [
    ("appearance.name", "Prusa <b>MK3</b>", "Prusa <b>MK3</b>"),
    ("appearance.color", "red", "red"),
    ("appearance.fuzzyTimes", "no", False),
    ("appearance.showFahrenheitAlso", 1, True),
    ("feature.printStartConfirmation", "yes", True),
    ("feature.autoUppercaseBlacklist", ["M117"], ["M117"]),
    ("feature.modelSizeDetection", False, False),
    ("gcodeAnalysis.runAt", "never", "never"),
    ("gcodeAnalysis.runAt", "idle", "idle"),
    ("temperature.cutoff", "45", 45),
    ("temperature.sendAutomatically", True, True),
    ("temperature.sendAutomaticallyAfter", 30, 30),
    (
        "temperature.profiles",
        [{"name": "PETG", "extruder": "230", "bed": 80.5, "chamber": None}, {"name": "PC", "chamber": 60, "new": 1}],
        [
            {"name": "PETG", "extruder": 230, "bed": 80.5, "chamber": None},
            {"name": "PC", "extruder": None, "bed": None, "chamber": 60},
        ],
    ),
    ("temperature.profiles", [], []),
    ("terminalFilters", [{"name": "a", "regex": "b+"}], [{"name": "a", "regex": "b+"}]),
    ("terminalFilters", [], []),
    ("controls", CONTROLS, CONTROLS),
    ("serial.port", "/dev/ttyUSB78", "/dev/ttyUSB78"),
    ("serial.baudrate", 250000, 250000),
    ("serial.baudrate", None, None),
    ("serial.autoconnect", False, False),
    ("serial.ackMax", 4, 4),
    ("serial.log", True, True),
    ("serial.additionalPorts", ["/dev/nul?"], ["/dev/nul?"]),
    ("serial.additionalBaudrates", [76800], [76800]),
    ("serial.blacklistedBaudrates", [9600], [9600]),
    ("feature.sdSupport", "false", False),
    ("serial.disconnectOnErrors", False, False),
    ("serial.ignoreErrorsFromFirmware", True, True),
    ("serial.logPositionOnPause", False, False),
    ("serial.logPositionOnCancel", True, True),
    ("scripts.gcode.afterPrintDone", "M84\r\nM106 S0", "M84\nM106 S0"),
    ("scripts.gcode.afterPrintCancelled", "", ""),
    ("scripts.gcode.mine", "G28\n{% snippet 'disable_bed' %}", "G28\n{% snippet 'disable_bed' %}"),
    ("webcam.streamUrl", "http://cam/stream", "http://cam/stream"),
    ("webcam.flipH", True, True),
    ("plugins.classicwebcam.snapshot", "http://cam/shot.jpg", "http://cam/shot.jpg"),
]


@pytest.mark.parametrize(("path", "given", "told"), SET, ids=lambda value: str(value)[:30])
async def test_what_is_set_is_told_and_outlives_the_server(
    tmp_path: Path, own: Hosted, client: httpx.AsyncClient, path: str, given: Any, told: Any
) -> None:
    before = hash_of(own.host, own.host.printers.default())
    answer = await client.post(PATH, json=as_tree(path, given))
    assert answer.status_code == 200, answer.text
    assert found(answer.json(), path) == told
    assert (await client.get(PATH)).json() == answer.json()
    assert hash_of(own.host, own.host.printers.default()) != before or path == "controls"  # told to some alone
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("polyhost.db*"):
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "secret.key").write_bytes((tmp_path / "secret.key").read_bytes())
    async with (
        hosted(copy, printers=(), set_up=False) as later,
        later.client(key=own.keys[Role.ADMINISTRATOR]) as again,
    ):
        assert found((await again.get(PATH)).json(), path) == told


UNCHANGEABLE: list[dict[str, Any]] = [
    {},
    {"nonsense": {"a": 1}, "plugins": {"nonsense": {"x": 1}}, "appearance": {"nonsense": 1}},
    {"folder": {"uploads": "/etc"}, "server": {"commands": {"systemRestartCommand": "reboot"}}},
    {"system": {"actions": [{"action": "a", "name": "b", "command": "rm"}]}},
    {"api": {"key": "mine", "allowCrossOrigin": True}, "serial": {"helloCommand": "M110", "timeoutConnection": 3}},
    {"serial": {"portOptions": ["/dev/null"], "port": "AUTO"}},
]


@pytest.mark.parametrize("given", UNCHANGEABLE, ids=str)
async def test_what_cannot_be_set_is_left_as_it_is(client: httpx.AsyncClient, given: dict[str, Any]) -> None:
    before = (await client.get(PATH)).json()
    answer = await client.post(PATH, json=given)
    assert (answer.status_code, answer.json()) == (200, before)


WRONG: list[tuple[str, Any]] = [
    *(
        (path, 5)
        for path in ("appearance", "feature", "serial", "temperature", "webcam", "plugins", "scripts", "controls")
    ),
    ("appearance.name", 5),
    ("appearance.name", "line\nbreak"),
    ("appearance.name", "x" * 300),
    ("appearance.color", ["red"]),
    ("appearance.fuzzyTimes", {}),
    ("appearance.defaultLanguage", 7),
    ("feature.sdSupport", []),
    ("feature.autoUppercaseBlacklist", "M117"),
    ("feature.autoUppercaseBlacklist", [5]),
    ("feature.autoUppercaseBlacklist", ["M1"] * 101),
    ("gcodeAnalysis.runAt", "sometimes"),
    ("temperature.cutoff", 0),
    ("temperature.cutoff", "abc"),
    ("temperature.cutoff", True),
    ("temperature.sendAutomaticallyAfter", 31),
    ("temperature.profiles", 5),
    ("temperature.profiles", [{"extruder": 200}]),
    ("temperature.profiles", [{"name": "x", "extruder": "hot"}]),
    ("temperature.profiles", [{"name": "x", "bed": -1}]),
    ("temperature.profiles", [{"name": "x", "chamber": 1e9}]),
    ("temperature.profiles", [{"name": "x"}] * (MAX_PRESETS + 1)),
    ("terminalFilters", 5),
    ("terminalFilters", [{"name": "a"}]),
    ("terminalFilters", [{"name": "a", "regex": "b" * 2000}]),
    ("terminalFilters", [{"name": "a", "regex": "b"}] * 101),
    ("controls", [5]),
    ("controls", [{"nothing": 1}]),
    ("controls", [{"name": "a", "command": "G28", "commands": ["G28"]}]),
    ("controls", [{"name": "a", "command": 28}]),
    ("controls", [{"name": "a", "commands": ["G28", 1]}]),
    ("controls", [{"name": "a", "command": "x" * 5000}]),
    ("controls", [{"name": "a", "input": [{"name": "b"}]}]),
    ("controls", [{"name": "a", "layout": "diagonal", "children": []}]),
    ("controls", [{"name": "a"}] * (MAX_CONTROLS + 1)),
    ("serial.port", 5),
    ("serial.port", "ttyUSB0"),
    ("serial.baudrate", "fast"),
    ("serial.baudrate", -1),
    ("serial.ackMax", 0),
    ("serial.ackMax", 65),
    ("serial.ackMax", "x"),
    ("serial.log", {}),
    ("serial.additionalPorts", "/dev/x"),
    ("serial.additionalPorts", ["tty*"]),
    ("serial.additionalPorts", ["/*/tty*"]),
    ("serial.additionalPorts", ["/dev/x"] * 21),
    ("serial.additionalBaudrates", [0]),
    ("serial.additionalBaudrates", ["x"]),
    ("serial.helloCommand", 5),
    ("scripts.gcode", []),
    ("scripts.gcode.afterPrintDone", 5),
    ("scripts.gcode.afterPrintDone", "{{ nothing"),
    ("scripts.gcode.afterPrintDone", "x" * 20_000),
    ("webcam.streamUrl", "javascript:alert(1)"),
    ("webcam.snapshotTimeout", -5),
    ("webcam.flipH", {}),
    ("plugins.classicwebcam", []),
    ("plugins.classicwebcam.snapshot", "file:///etc/passwd"),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_is_refused_and_nothing_else_is_set(
    own: Hosted, client: httpx.AsyncClient, path: str, value: Any
) -> None:
    before = (await client.get(PATH)).json()
    good = {"appearance": {"color": "green"}, "webcam": {"streamRatio": "4:3"}, "serial": {"autoconnect": False}}
    wrong = as_tree(path, value)
    both = {
        name: ({**good.get(name, {}), **part} if isinstance(part, dict) else part)
        for name, part in (good | wrong).items()
    }
    answer = await client.post(PATH, json=both)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    assert (await client.get(PATH)).json() == before


async def test_controls_have_a_depth(client: httpx.AsyncClient) -> None:
    deep: dict[str, Any] = {"name": "a"}
    for _ in range(MAX_DEPTH):
        deep = {"children": [deep]}
    assert (await client.post(PATH, json={"controls": deep["children"]})).status_code == 200
    assert (await client.post(PATH, json={"controls": [deep]})).status_code == 400


async def test_the_name_of_a_printer_of_the_settings_file(one: Hosted) -> None:
    """It may be shown under another name; what else the file says of it stays."""
    async with one.client(role=Role.ADMINISTRATOR) as client:
        named = await client.post(PATH, json={"appearance": {"name": "Mine"}})
        assert named.json()["appearance"]["name"] == "Mine"
        assert one.host.printers.default().name == "Mine"
        locked = await client.post(PATH, json={"serial": {"autoconnect": False}, "appearance": {"color": "red"}})
        assert locked.status_code == 409
        assert "settings file" in locked.json()["error"]
        assert (await client.get(PATH)).json()["appearance"] == named.json()["appearance"]
        await client.post(PATH, json={"appearance": {"name": ""}})
        assert one.host.printers.default().name == "one"


async def test_what_is_set_of_one_printer_is_not_set_of_another(tmp_path: Path) -> None:
    printers = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=printers) as host, host.client(role=Role.ADMINISTRATOR) as client:
        await client.post(f"/p/two{PATH}", json={"appearance": {"color": "blue"}, "gcodeAnalysis": {"runAt": "idle"}})
        first, second = (await client.get(PATH)).json(), (await client.get(f"/p/two{PATH}")).json()
        assert (first["appearance"]["color"], second["appearance"]["color"]) == ("default", "blue")
        assert first["gcodeAnalysis"] == second["gcodeAnalysis"] == {"runAt": "idle", "bedZ": 0.0}
        assert first["plugins"]["discovery"] != second["plugins"]["discovery"]
        bound = await host.key_of(Role.ADMINISTRATOR, "two")
        async with host.client(key=bound) as theirs:
            assert (await theirs.post(f"/p/two{PATH}", json={"appearance": {"color": "red"}})).status_code == 200
            assert (await theirs.post(f"/p/two{PATH}", json={"gcodeAnalysis": {"runAt": "never"}})).status_code == 403
            assert (await theirs.post(f"/p/one{PATH}", json={"appearance": {"color": "red"}})).status_code == 403


async def test_settings_that_are_known_are_not_sent_again(client: httpx.AsyncClient) -> None:
    etag = (await client.get(PATH)).headers["etag"]
    known = {"If-None-Match": etag}
    assert (await client.get(PATH, headers=known)).status_code == 304
    assert (await client.get(f"{PATH}?force=true", headers=known)).status_code == 200
    await client.post(PATH, json={"appearance": {"color": "red"}})
    assert (await client.get(PATH, headers=known)).status_code == 200


async def test_a_key_for_everything_is_made_anew(own: Hosted, client: httpx.AsyncClient) -> None:
    first = (await client.post(f"{PATH}/apikey")).json()["apikey"]
    second = (await client.post(f"{PATH}/apikey")).json()["apikey"]
    async with own.client(key=first) as gone, own.client(key=second) as new:
        assert (await gone.get("/api/version")).status_code == 403
        assert (await new.post(PATH, json={})).status_code == 200
        assert (await new.get(PATH)).json()["api"]["key"] is None
        assert (await client.delete(f"{PATH}/apikey")).status_code == 204
        assert (await new.get("/api/version")).status_code == 403
    assert (await client.get(f"{PATH}/templates")).json() == {"order": {}}


async def test_a_new_name_reaches_the_machine_and_its_link(own: Hosted, client: httpx.AsyncClient) -> None:
    serial = {"port": "/dev/ttyUSB79", "baudrate": 9600, "ackMax": 2, "autoconnect": False}
    assert (await client.post(PATH, json={"serial": serial})).status_code == 200
    link = msgspec.structs.asdict(own.machine.link)
    assert link == {
        "port": "/dev/ttyUSB79",
        "baud": 9600,
        "autoconnect": False,
        "window_lines": 2,
        "window_bytes": 0,
        "speed": 1.0,
    }


async def test_options_of_the_machine_reach_its_holder(own: Hosted, client: httpx.AsyncClient) -> None:
    for serial, on_error in (
        ({"disconnectOnErrors": False}, OnError.CANCEL),
        ({"ignoreErrorsFromFirmware": True}, OnError.IGNORE),
        ({"ignoreErrorsFromFirmware": False, "disconnectOnErrors": True}, OnError.DISCONNECT),
    ):
        await client.post(PATH, json={"serial": serial})
        handling = await own.host.treatment.handling_of(own.host.printers.default())
        assert handling.on_error is on_error
    await client.post(PATH, json={"feature": {"sdSupport": False}})
    assert not own.machine.handling.card
    assert (await client.get("/api/printer/sd")).status_code == 404
    assert "sd" not in (await client.get("/api/printer")).json()


async def test_further_ports_are_offered(client: httpx.AsyncClient) -> None:
    ports = {"additionalPorts": ["/dev/nul?", "/dev/zero"], "blacklistedPorts": ["/dev/ze*"]}
    await client.post(PATH, json={"serial": {**ports, "additionalBaudrates": [76800], "blacklistedBaudrates": [9600]}})
    options = (await client.get("/api/connection")).json()["options"]
    assert options["ports"] == ["/dev/null", "/dev/ttyUSB77"]
    assert 76800 in options["baudrates"]
    assert 9600 not in options["baudrates"]
    connect = {"command": "connect", "port": "/dev/null", "baudrate": 76800}
    assert (await client.post("/api/connection", json=connect)).status_code == 204


@pytest.mark.parametrize(
    ("base", "over", "both"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": True}, {"a": "no"}, {"a": False}),
        ({"a": False}, {"a": "Yes"}, {"a": True}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ],
)
def test_laid_over(base: Any, over: Any, both: Any) -> None:
    assert laid_over(base, over) == both


async def test_who_listens_hears_once_that_settings_changed(one: Hosted) -> None:
    async with serving(one) as (served, _), app(served) as listener, one.client(role=Role.ADMINISTRATOR) as client:
        first = (await listener.until("connected"))["config_hash"]
        await listener.auth()
        await listener.until("history")
        changes = {"appearance": {"color": "red"}, "temperature": {"cutoff": 60}, "gcodeAnalysis": {"runAt": "idle"}}
        await client.post(PATH, json=changes)
        await client.post(PATH, json=changes)  # which changes nothing
        told = await listener.until_event("SettingsUpdated")
        assert told["config_hash"] == told["effective_hash"] != first
        await client.post("/api/printerprofiles", json={"profile": {"id": "a", "name": "A"}})
        assert await listener.until_event("PrinterProfileAdded") == {"identifier": "a"}
        assert listener.events().count("SettingsUpdated") == 1
        async with app(served) as other:
            assert (await other.until("connected"))["config_hash"] == told["config_hash"]
