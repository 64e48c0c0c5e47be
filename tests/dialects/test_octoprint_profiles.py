"""``/api/printerprofiles`` and what ``/api/connection`` does with them, as a live 1.11.8 answers."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from polyhost.core.printer import Axis, PrinterProfile
from polyhost.core.user import Role
from polyhost.dialects.octoprint.profiles import merged_profile, shape_of
from tests.web.hosting import Hosted

PATH = "/api/printerprofiles"
DEFAULT: dict[str, Any] = {
    "id": "_default",
    "name": "Default",
    "model": "Generic RepRap Printer",
    "color": "default",
    "current": True,
    "default": True,
    "resource": f"http://127.0.0.1:8080{PATH}/_default",
    "volume": {
        "formFactor": "rectangular",
        "origin": "lowerleft",
        "width": 200.0,
        "depth": 200.0,
        "height": 200.0,
        "custom_box": False,
    },
    "heatedBed": True,
    "heatedChamber": False,
    "extruder": {
        "count": 1,
        "offsets": [[0.0, 0.0]],
        "nozzleDiameter": 0.4,
        "sharedNozzle": False,
        "defaultExtrusionLength": 5,
    },
    "axes": {
        axis: {"speed": speed, "inverted": False} for axis, speed in (("x", 6000), ("y", 6000), ("z", 200), ("e", 300))
    },
}


@pytest.fixture
async def client(own: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with own.client(role=Role.ADMINISTRATOR) as client:
        yield client


async def test_the_profile_that_every_printer_has(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).json() == {"profiles": {"_default": DEFAULT}}
    assert (await client.get(f"{PATH}/_default")).json() == DEFAULT
    assert (await client.get(f"{PATH}/none")).status_code == 404


async def test_a_profile_from_its_making_to_its_end(own: Hosted, client: httpx.AsyncClient) -> None:
    wanted = {
        "id": "big one",
        "name": "Big",
        "model": "B1",
        "color": "red",
        "heatedBed": False,
        "heatedChamber": True,
        "volume": {"width": 300, "depth": "310.5", "origin": "center", "custom_box": {"x_min": -200, "z_max": None}},
        "extruder": {"count": 2, "offsets": [[0, 0], [18.5, -1]], "nozzleDiameter": 0.6, "defaultExtrusionLength": 7.5},
        "axes": {"y": {"speed": 4321, "inverted": True}},
        "unknown": {"to": "us"},
    }
    answer = await client.post(PATH, json={"profile": wanted, "basedOn": "_default"})
    assert answer.status_code == 200
    made = answer.json()["profile"]
    assert made == {
        **DEFAULT,
        "id": "big_one",
        "name": "Big",
        "model": "B1",
        "color": "red",
        "heatedBed": False,
        "heatedChamber": True,
        "current": False,
        "default": False,
        "resource": f"http://127.0.0.1:8080{PATH}/big_one",
        "volume": {
            "formFactor": "rectangular",
            "origin": "center",
            "width": 300.0,
            "depth": 310.5,
            "height": 200.0,
            "custom_box": {
                "x_min": -200.0,
                "x_max": 150.0,
                "y_min": -155.25,
                "y_max": 155.25,
                "z_min": 0.0,
                "z_max": 200.0,
            },
        },
        "extruder": {
            "count": 2,
            "offsets": [[0.0, 0.0], [18.5, -1.0]],
            "nozzleDiameter": 0.6,
            "sharedNozzle": False,
            "defaultExtrusionLength": 7.5,
        },
        "axes": DEFAULT["axes"] | {"y": {"speed": 4321, "inverted": True}},
    }
    assert (await client.get(f"{PATH}/big_one")).json() == made
    changed = (await client.patch(f"{PATH}/big_one", json={"profile": {"volume": {"custom_box": False}}})).json()
    assert changed["profile"]["volume"] == {**made["volume"], "custom_box": False}
    assert (await client.delete(f"{PATH}/big_one")).status_code == 204
    assert (await client.get(f"{PATH}/big_one")).status_code == 404
    assert (await client.delete(f"{PATH}/big_one")).status_code == 204


async def test_what_a_profile_decides(own: Hosted, client: httpx.AsyncClient) -> None:
    """A machine that is said to have two hotends and no bed has them, to every route, and is told so."""
    two = {"id": "two", "name": "Two", "heatedBed": False, "heatedChamber": True, "extruder": {"count": 2}}
    slow = {"axes": {"x": {"speed": 600, "inverted": True}, "e": {"speed": 60}}}
    await client.post(PATH, json={"profile": {**two, **slow}})
    target = {"command": "target", "targets": {"tool1": 200}}
    assert (await client.post("/api/printer/tool", json=target)).status_code == 400
    assert (await client.post("/api/printer/bed", json={"command": "target", "target": 60})).status_code == 204
    connect = {"command": "connect", "printerProfile": "two"}
    assert (await client.post("/api/connection", json=connect)).status_code == 204
    assert own.machine.handling.profile.extruders == 2
    assert (await client.post("/api/printer/tool", json=target)).status_code == 204
    assert (await client.post("/api/printer/bed", json={"command": "target", "target": 60})).status_code == 409
    assert (await client.post("/api/printer/chamber", json={"command": "target", "target": 40})).status_code == 204
    own.machine.sent.clear()
    await client.post("/api/printer/printhead", json={"command": "jog", "x": 10, "absolute": True})
    await client.post("/api/printer/printhead", json={"command": "jog", "x": 1000, "y": 2})
    await client.post("/api/printer/tool", json={"command": "extrude", "amount": 5, "speed": 300})
    assert own.machine.sent == [
        *("G90", "G0 X10 F600"),  # clients turn inverted axes round themselves
        *("G91", "G0 X1000 Y2 F600", "G90"),
        *("G91", "M83", "G1 E5 F60", "M82", "G90"),
    ]
    temperatures = (await client.get("/api/printer")).json()["temperature"]
    assert temperatures.keys() == {"tool0", "tool1", "chamber"}
    current = (await client.get("/api/connection")).json()
    assert current["current"]["printerProfile"] == "two"
    assert current["options"]["printerProfilePreference"] == "_default"
    assert current["options"]["printerProfiles"] == [
        {"id": "_default", "name": "Default"},
        {"id": "two", "name": "Two"},
    ]
    profiles = (await client.get(PATH)).json()["profiles"]
    assert {name: (each["current"], each["default"]) for name, each in profiles.items()} == {
        "_default": (False, True),
        "two": (True, False),
    }


async def test_the_current_and_the_default_profile_stay(client: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await client.post(PATH, json={"profile": {"id": name, "name": name}})
    made = await client.patch(f"{PATH}/a", json={"profile": {"default": True}})
    assert made.json()["profile"]["default"]
    await client.post("/api/connection", json={"command": "connect", "printerProfile": "b"})
    for name in ("a", "b", "_default"):
        answer = await client.delete(f"{PATH}/{name}")
        assert answer.status_code == 409
        assert name in answer.json()["error"]
    await client.post("/api/connection", json={"command": "disconnect"})
    assert (await client.get("/api/connection")).json()["current"]["printerProfile"] == "_default"  # as upstream
    assert (await client.get(f"{PATH}/a")).json()["current"]
    assert (await client.delete(f"{PATH}/b")).status_code == 204
    await client.post("/api/connection", json={"command": "connect", "printerProfile": "_default", "save": True})
    assert (await client.get(f"{PATH}/_default")).json()["default"]


@pytest.mark.parametrize(
    "profile",
    [
        {"name": "no id"},
        {"id": "no_name"},
        {"id": 5, "name": "n"},
        {"id": None, "name": "n"},
        {"id": "a/b", "name": "n"},
        {"id": "_default", "name": "there already"},
        {"id": "n", "name": 7},
        {"id": "n", "name": "\x07"},
        {"id": "n", "name": "n" * 300},
        {"id": "n", "name": "n", "model": {}},
        {"id": "n", "name": "n", "color": []},
        {"id": "n", "name": "n", "heatedBed": "no"},
        {"id": "n", "name": "n", "heatedChamber": 7},
        {"id": "n", "name": "n", "volume": 5},
        {"id": "n", "name": "n", "volume": {"width": "abc"}},
        {"id": "n", "name": "n", "volume": {"width": 0}},
        {"id": "n", "name": "n", "volume": {"depth": 10000}},
        {"id": "n", "name": "n", "volume": {"height": True}},
        {"id": "n", "name": "n", "volume": {"formFactor": "square"}},
        {"id": "n", "name": "n", "volume": {"origin": "upperleft"}},
        {"id": "n", "name": "n", "volume": {"custom_box": True}},
        {"id": "n", "name": "n", "volume": {"custom_box": [1]}},
        {"id": "n", "name": "n", "volume": {"custom_box": {"x_min": "left"}}},
        {"id": "n", "name": "n", "extruder": []},
        {"id": "n", "name": "n", "extruder": {"count": 0}},
        {"id": "n", "name": "n", "extruder": {"count": 33}},
        {"id": "n", "name": "n", "extruder": {"count": 1.5}},
        {"id": "n", "name": "n", "extruder": {"offsets": [[0, 0], [3]]}},
        {"id": "n", "name": "n", "extruder": {"offsets": [["a", 0]]}},
        {"id": "n", "name": "n", "extruder": {"nozzleDiameter": 0}},
        {"id": "n", "name": "n", "extruder": {"sharedNozzle": "x"}},
        {"id": "n", "name": "n", "extruder": {"defaultExtrusionLength": "x"}},
        {"id": "n", "name": "n", "axes": {"x": 5}},
        {"id": "n", "name": "n", "axes": {"x": {"speed": -5}}},
        {"id": "n", "name": "n", "axes": {"e": {"speed": 0}}},
        {"id": "n", "name": "n", "axes": {"z": {"inverted": "upside down"}}},
    ],
    ids=str,
)
async def test_no_profile_is_made_of_this(own: Hosted, client: httpx.AsyncClient, profile: dict[str, Any]) -> None:
    answer = await client.post(PATH, json={"profile": profile})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    if "name" in profile and profile.get("id") == "n":
        changes = {name: value for name, value in profile.items() if name != "id"}
        assert (await client.patch(f"{PATH}/_default", json={"profile": changes})).status_code == 400
    assert (await client.get(PATH)).json() == {"profiles": {"_default": DEFAULT}}


@pytest.mark.parametrize(
    ("body", "status"),
    [("{", 400), ("5", 400), ("[]", 400), ("{}", 400), ('{"profile": 5}', 400), ('{"profile": null}', 400)],
)
async def test_bodies_that_are_none(client: httpx.AsyncClient, body: str, status: int) -> None:
    json = {"Content-Type": "application/json"}
    assert (await client.post(PATH, content=body, headers=json)).status_code == status
    assert (await client.patch(f"{PATH}/_default", content=body, headers=json)).status_code == status
    assert (await client.post(PATH, content=body, headers={"Content-Type": "text/plain"})).status_code == 415


async def test_a_profile_keeps_its_id(client: httpx.AsyncClient) -> None:
    assert (await client.patch(f"{PATH}/_default", json={"profile": {"id": "b", "name": "B"}})).status_code == 400
    assert (await client.patch(f"{PATH}/none", json={"profile": {"name": "B"}})).status_code == 404
    renamed = await client.patch(f"{PATH}/_default", json={"profile": {**DEFAULT, "name": "Mine"}})
    assert renamed.json()["profile"] == {**DEFAULT, "name": "Mine"}


async def test_a_list_that_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    etag = (await client.get(PATH)).headers["etag"]
    known = {"If-None-Match": etag}
    assert (await client.get(PATH, headers=known)).status_code == 304
    assert (await client.get(f"{PATH}?force=true", headers=known)).status_code == 200
    await client.post(PATH, json={"profile": {"id": "a", "name": "a"}})
    answer = await client.get(PATH, headers=known)
    assert answer.status_code == 200
    assert answer.headers["etag"] != etag


async def test_the_profile_of_a_printer_of_the_settings_file_is_locked(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        answer = await client.patch(f"{PATH}/_default", json={"profile": {"name": "Mine"}})
        assert answer.status_code == 409
        assert "settings file" in answer.json()["error"]
        made = await client.post(PATH, json={"profile": {"id": "a", "name": "Mine"}})
        assert made.status_code == 200
        save = {"command": "connect", "printerProfile": "a", "save": True, "port": "VIRTUAL", "baudrate": 115200}
        assert (await client.post("/api/connection", json=save)).status_code == 204
        assert one.host.printers.default().profile.name == "Mine"


async def test_a_printer_of_the_settings_file_connects_for_clients_that_always_name_autoconnect(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        said = {"command": "connect", "save": False, "autoconnect": False}  # as go-octoprint does
        assert (await client.post("/api/connection", json=said)).status_code == 204
        assert one.host.printers.default().settings.autoconnect
        assert (await client.post("/api/connection", json={**said, "save": True})).status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [
        {"printerProfile": "none"},
        {"printerProfile": 5},
        {"port": "/dev/none"},
        {"port": 5},
        {"baudrate": 7},
        {"baudrate": "x"},
    ],
    ids=str,
)
async def test_a_connection_that_cannot_be_saves_nothing(
    own: Hosted, client: httpx.AsyncClient, wrong: dict[str, Any]
) -> None:
    await client.post(PATH, json={"profile": {"id": "a", "name": "a"}})
    right = {"command": "connect", "printerProfile": "a", "save": True, "autoconnect": False}
    assert (await client.post("/api/connection", json={**right, **wrong})).status_code == 400
    printer = own.host.printers.default()
    assert (printer.profile_id, printer.book.preferred_id, printer.settings.autoconnect) == (
        "_default",
        "_default",
        True,
    )


async def test_autoconnect_is_kept(own: Hosted, client: httpx.AsyncClient) -> None:
    await client.post("/api/connection", json={"command": "connect", "autoconnect": "false"})
    assert not own.host.printers.default().settings.autoconnect
    assert not own.machine.link.autoconnect
    await client.post("/api/connection", json={"command": "connect"})
    assert not own.host.printers.default().settings.autoconnect


@pytest.mark.parametrize("speed_mm_s", [100.0, 200 / 60, 1 / 3, 12.34567])
def test_a_speed_that_nobody_changes_stays_what_it_is(speed_mm_s: float) -> None:
    profile = PrinterProfile(x=Axis(speed_mm_s), max_hotend=285.0)
    assert merged_profile({"name": "Default"}, profile) == profile
    assert merged_profile({"axes": {"x": {"inverted": True}}}, profile).x.inverted
    assert shape_of(profile).axes.e.speed == 300
