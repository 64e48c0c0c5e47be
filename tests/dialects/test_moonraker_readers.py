"""Clients decode what a printer says, as their public sources do (`moonraker_readers`)."""

import hashlib
import io
import urllib.parse
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyhost.config import Access, Config
from polyhost.core.events import PrinterStateChanged
from polyhost.core.file import NamedObject
from polyhost.core.job import Run, RunProgress, RunState
from polyhost.core.printer import BedMesh, Firmware, PrinterProfile, PrinterState, Retraction, Snapshot, Temperature
from polyhost.core.user import Role
from polyhost.dialects.moonraker.klippy import KlippyNews
from polyhost.dialects.moonraker.objects import configfile, heaters, motion, status
from polyhost.dialects.moonraker.objects.view import RunFile, View
from polyhost.services.accounts import LOCAL
from polyhost.services.scripts import GcodeScripts
from tests.dialects import moonraker_readers as readers
from tests.dialects.test_moonraker_front_ends import talking
from tests.web.hosting import GCODE, Hosted, hosted
from tests.web.serving import serving

ROWS = ((0.1, 0.2, 0.0), (0.0, -0.1, -0.25))
RICH = Snapshot(
    *("one", PrinterState.READY),
    homed="xyz",
    heaters={"tool0": Temperature(210.0, 210.0), "bed": Temperature(60.0, 60.0), "board": Temperature(41.5)},
    firmware=Firmware("Marlin 2.1.2", "Ender", {"AUTOLEVEL": True}),
    retraction=Retraction(0.8, 40.0, 0.1, 30.0),
    mesh=BedMesh(10.0, 20.0, 190.0, 180.0, ROWS),
    filament={"runout": True},
    run=RunProgress("r1", RunState.PRINTING, 250, 1000),
)
S = PrinterState
PROFILE = PrinterProfile(extruders=2, heated_chamber=True)


def view_of(snapshot: Snapshot = RICH) -> View:
    run = Run("r1", "one", "folder/a.gcode", "", 1000, RunState.PRINTING, "root", 1.0)
    file = RunFile((NamedObject("part.stl", 0.0, 0.0, 10.0, 10.0, ((0, 500),)),))
    return View(
        *("One", snapshot, PROFILE, 100.0, run, snapshot.run, file),
        macros={"CLEAN": "G1 X{{ params.X }}"},
        endstops={"x": "open", "y": "TRIGGERED"},
    )


def test_mobileraker_decodes_every_section() -> None:
    sections = readers.decoded_sections(configfile.configfile_of(view_of())["settings"])
    assert {"extruder", "extruder1", "heater_bed", "heater_generic chamber", "stepper_z", "fan", "printer"} <= set(
        sections
    )
    assert sections["gcode_macro clean"].gcode == "G1 X{{ params.X }}"


def test_klipperscreen_makes_its_numbers_of_the_text_of_sections() -> None:
    config = configfile.configfile_of(view_of())["config"]
    assert readers.klipperscreen_s_mesh(config["bed_mesh default"]) == [list(row) for row in ROWS]
    assert all(number >= 0 for number in readers.klipperscreen_s_panels(config))


def test_fluidd_decodes_every_object() -> None:
    view = view_of()
    objects = readers.decoded_objects(status.of_shape(view) | status.of_machine(view) | status.of_clock(view))
    assert objects.keys() >= {
        "bed_mesh",
        "firmware_retraction",
        "exclude_object",
        "temperature_sensor board",
        "extruder1",
    }
    assert objects["query_endstops"].last_query == {"x": 0, "y": 1}
    assert objects["exclude_object"].current_object == "PART_STL"


@pytest.mark.parametrize(("homed", "held"), [("", False), ("x", True), ("xyz", True)])
def test_motors_are_let_go_of_where_one_is_held(homed: str, held: bool) -> None:
    view = view_of(msgspec.structs.replace(RICH, homed=homed))
    steppers = motion.motion_report_of(view)["steppers"]
    assert readers.motors_may_be_let_go(steppers, motion.stepper_enable_of(view)["steppers"]) is held


def test_a_filament_sensor_that_is_switched_off_stays_and_says_so() -> None:
    """Mainsail (store/printer/getters.ts) and Fluidd take the second word of an object for its name."""
    off = msgspec.structs.replace(RICH, filament={"filament": True, "filament 2": False}, filament_watched=False)
    sensors = heaters.filament_of(off)
    assert [name.split(" ")[1] for name in sensors] == ["filament", "filament_2"]
    assert {sensor["enabled"] for sensor in sensors.values()} == {False}
    assert sensors.keys() <= configfile.sections_of(view_of(off)).keys()


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


@pytest.mark.parametrize("address", readers.EXPORTER)
async def test_an_exporter_for_prometheus_takes_whole_numbers_where_go_does(one: Hosted, address: str) -> None:
    async with one.client(role=Role.VIEWER) as client:
        answer = await client.get(address)
    assert answer.status_code == 200, answer.text
    msgspec.convert(answer.json()["result"], readers.EXPORTER[address])


async def test_a_sensor_says_how_cold_and_how_hot_it_was(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        for degrees in (30.0, 25.0, 41.0, 33.0):
            heaters_now = {**one.machine.snapshot.heaters, "board": Temperature(degrees)}
            one.machine.say(heaters=heaters_now)
            asked = await client.get("/printer/objects/query?temperature_sensor%20board")
        sensor: dict[str, Any] = asked.json()["result"]["status"]["temperature_sensor board"]
    assert sensor == {"temperature": 33.0, "measured_min_temp": 25.0, "measured_max_temp": 41.0}
    assert heaters.temperatures_of(view_of())["temperature_sensor board"]["measured_min_temp"] == 41.5


# moonraker-telegram-bot, bot/klippy.py: no content type, a body of ``null``, commands with GET.

BOT = {"User-Agent": "python-requests/2.32.3", "Accept": "*/*"}


async def test_a_bot_sends_commands_as_a_klippy_takes_them(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        for verb in ("GET", "POST"):
            asked = client.build_request(
                verb, "/printer/gcode/script?script=M117 hello%23", content=b"null", headers=BOT
            )
            answer = await client.send(asked)
            assert (answer.status_code, answer.json()) == (200, {"result": "ok"}), verb
        for path in ("/printer/info", "/printer/objects/list", "/printer/gcode/help"):
            assert (await client.post(path)).json() == (await client.get(path)).json()
        assert (await client.get("/printer/emergency_stop")).status_code == 200
    assert one.machine.sent[:2] == ["M117 hello#", "M117 hello#"]
    assert one.machine.stopped


@pytest.mark.parametrize("path", ["/printer/gcode/script?script=G28", "/printer/emergency_stop"])
async def test_a_link_commands_no_machine(tmp_path: Path, path: str) -> None:
    """A page may have a browser send its cookie, or its address, to any URL."""
    config = Config(access=Access(trusted={"127.0.0.0/8": "operator"}))
    async with hosted(tmp_path, config=config) as one, one.client() as client:
        browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
        refused = await client.get(path, headers=browser)
        assert (refused.status_code, "POST" in refused.json()["error"]["message"]) == (403, True)
        assert (await client.post(path, headers=browser)).status_code == 200
        assert (await client.get(path, headers=BOT)).status_code == 200


async def test_a_session_s_cookie_commands_nothing_by_a_link(one: Hosted) -> None:
    async with one.client() as client:
        login = await client.post("/api/login", json={"user": "root", "pass": "correct horse"})
        assert login.status_code == 200, login.text
        assert (await client.get("/printer/info")).status_code == 200
        assert (await client.get("/printer/gcode/script?script=G28")).status_code == 403
    assert one.machine.sent == []


# What a machine's ups and downs make clients do: each word is a restart to KlipperScreen, notification_handler.py.


def test_a_port_out_of_reach_that_is_tried_again_is_told_once() -> None:
    news = KlippyNews()
    states = (S.CONNECTING, S.READY, S.UNREACHABLE, S.CONNECTING, S.UNREACHABLE, S.DETECTING, S.CONNECTING, S.READY)
    told = [(name.name, name.printer) for state in states for name in news.of(PrinterStateChanged("one", state))]
    assert told == [(f"klippy_{word}", "one") for word in ("disconnected", "ready", "disconnected", "ready")]
    stopped = [
        one.name
        for state in (S.FAULTED, S.OFFLINE, S.CONNECTING, S.READY)
        for one in news.of(PrinterStateChanged("one", state))
    ]
    assert stopped == ["klippy_shutdown", "klippy_disconnected", "klippy_ready"]
    assert [one.printer for one in news.of(PrinterStateChanged("two", S.READY))] == ["two"]


# Macros with parameters: Mainsail, src/plugins/helpers.ts; Fluidd, src/util/gcode-macro-params.ts.


@pytest.mark.parametrize("word", ["params", "parameters"])
async def test_front_ends_ask_for_the_parameters_of_a_script(one: Hosted, word: str) -> None:
    script = f"M104 S{{{{ {word}.TEMP|default(200)|int }}}}\nG1 X{{{{ {word}.x }}}}"
    await one.host.scripts.put(one.host.printers.default(), GcodeScripts({"Prime": script}), LOCAL)
    async with one.client(role=Role.OPERATOR) as client:
        asked = await client.get("/printer/objects/query?configfile=settings")
        shown = asked.json()["result"]["status"]["configfile"]["settings"]["gcode_macro prime"]["gcode"]
        assert readers.mainsail_s_parameters(shown) == {"TEMP": "200", "x": None}
        assert readers.fluidd_s_parameters(shown) == ["TEMP", "x"]
        done = await client.post("/printer/gcode/script", json={"script": "PRIME TEMP=210 X=5"})
        assert done.status_code == 200, done.text
    assert one.machine.sent == ["M104 S210", "G1 X5"]


# Files: Mainsail, src/store/editor/actions.ts, src/pages and panels of its configuration; Fluidd, src/api.


def encode_uri(path: str) -> str:
    """JavaScript's ``encodeURI``."""
    return urllib.parse.quote(path, safe=";,/?:@&=+$-_.!~*'()#")


@pytest.mark.parametrize(
    "name", ["two words.gcode", "50%.gcode", "Größe ÄÖ.gcode", "a+b&c=d;e.gcode", "(1)~'x'!.gcode", "日本.gcode"]
)
@pytest.mark.parametrize("folder", ["", "sub folder/tiefer"])
async def test_odd_names_are_found_as_browsers_ask(one: Hosted, name: str, folder: str) -> None:
    path = f"{folder}/{name}".lstrip("/")
    async with one.client(role=Role.OPERATOR) as client:
        form = {"root": "gcodes", "path": folder}
        sent = await client.post(
            "/server/files/upload", data=form, files={"file": (name, GCODE, "application/octet-stream")}
        )
        assert (sent.status_code, sent.json()["item"]["path"]) == (201, path)
        listing = await client.get("/server/files/directory", params={"path": f"gcodes/{folder}".rstrip("/")})
        assert [file["filename"] for file in listing.json()["result"]["files"]] == [name]
        said = await client.get(f"/server/files/metadata?filename={urllib.parse.quote(path)}")
        assert said.json()["result"]["filename"] == path
        for query in ("", "?1763690000000", "?date=1763690000000"):
            got = await client.get(f"/server/files/{encode_uri(f'gcodes/{path}')}{query}")
            assert (got.status_code, got.content) == (200, GCODE), query
        assert (await client.post("/printer/print/start", json={"filename": path})).status_code == 200


async def test_mainsail_edits_files_of_the_configuration(one: Hosted) -> None:
    async with serving(one) as (served, _), one.client(role=Role.ADMINISTRATOR) as http, talking(served) as (ask, _):

        async def save(path: str, name: str, text: bytes) -> int:
            form = {"root": "config", "path": path, "checksum": hashlib.sha256(text).hexdigest()}
            saved = await http.post("/server/files/upload", data=form, files={"file": (name, text, "text/plain")})
            return saved.status_code

        listing = (await ask("server.files.get_directory", {"path": "config"}))["result"]
        [cfg] = [file for file in listing["files"] if file["filename"] == "printer.cfg"]
        assert cfg["permissions"] == "r", "it is shown with a lock"
        opened = await http.get("/server/files/config/printer.cfg?1763690000000")
        assert opened.status_code == 200
        assert await save("", "printer.cfg", b"[x]\n") == 403
        assert "result" in await ask("server.files.post_directory", {"path": "config/macros"})
        assert await save("macros", "neu.cfg", b"") == 201
        assert await save("macros", "neu.cfg", "# Größe\n".encode()) == 201
        moved = await ask("server.files.move", {"source": "config/macros/neu.cfg", "dest": "config/macros/alt.cfg"})
        assert moved["result"]["item"]["path"] == "macros/alt.cfg"
        again = await http.get("/server/files/config/macros/alt.cfg?1763690000001")
        assert again.content == "# Größe\n".encode()
        items = ["/config/printer.cfg", "/config/macros/alt.cfg"]
        packed = (await ask("server.files.zip", {"items": items, "dest": "config/config-20261121-021500.zip"}))[
            "result"
        ]
        place = f"{packed['destination']['root']}/{encode_uri(packed['destination']['path'])}"
        archive = zipfile.ZipFile(io.BytesIO((await http.get(f"/server/files/{place}")).content))
        assert sorted(archive.namelist()) == ["config/macros/alt.cfg", "config/printer.cfg"]
        assert "result" in await ask("server.files.delete_file", {"path": "config/config-20261121-021500.zip"})
        assert "result" in await ask("server.files.delete_directory", {"path": "config/macros", "force": True})
        assert await save(".theme", "custom.css", b"body{}") == 201
        theme = (await ask("server.files.get_directory", {"path": "config/.theme"}))["result"]
        assert [file["filename"] for file in theme["files"]] == ["custom.css"]
        assert (await http.get("/server/files/config/.theme/custom.css")).text == "body{}"
        missing = await http.get("/server/files/config/.theme/maintenance.json?time=1763690000000")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, 404)
