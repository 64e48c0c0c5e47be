"""Printer objects, state by state, and the endpoints that answer with them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyhost.config import Config, Moonraker
from polyhost.config import Printer as PrinterSettings
from polyhost.core.file import NamedObject
from polyhost.core.job import Run, RunProgress, RunSignal, RunState
from polyhost.core.printer import (
    BedMesh,
    Firmware,
    MotionLimits,
    Position,
    PrinterProfile,
    PrinterState,
    Retraction,
    Snapshot,
    Temperature,
)
from polyhost.core.user import Role
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.objects import configfile, excluding, heaters, machine, motion, printing
from polyhost.dialects.moonraker.objects.view import Moments, RunFile, View
from polyhost.services.accounts import LOCAL
from polyhost.services.scripts import GcodeScripts
from tests.web.hosting import GCODE, Hosted, hosted

RUN = Run("r1", "one", "folder/a.gcode", "", 1000, RunState.PRINTING, "root", 1.0)
READY = Snapshot("one", PrinterState.READY)


def view_of(state: RunState | None = None, *, live: bool = True, now: float = 100.0, **more: Any) -> View:
    """A printer whose run is in `state`."""
    if state is None:
        return View("One", READY, PrinterProfile(), now, **more)
    progress = RunProgress(
        *("r1", state, 250, 1000), 10, 3, 20, 60.0, 50.0, 12.0, "it broke", filament_mm=7.5, extruding_s=40.0
    )
    run = msgspec.structs.replace(RUN, state=state, elapsed_s=61.0, printing_s=51.0, file_bytes=200, reason="gone")
    if not live:
        return View("One", READY, PrinterProfile(), now, run, **more)
    snapshot = msgspec.structs.replace(READY, run=progress)
    return View("One", snapshot, PrinterProfile(), now, run, progress, **more)


@pytest.mark.parametrize(
    ("state", "said", "active", "paused", "at"),
    [
        (None, "standby", False, False, 0),
        (RunState.STARTING, "printing", True, False, 250),
        (RunState.PRINTING, "printing", True, False, 250),
        (RunState.PAUSING, "paused", False, True, 250),
        (RunState.PAUSED, "paused", False, True, 250),
        (RunState.RESUMING, "printing", True, False, 250),
        (RunState.FINISHING, "printing", True, False, 250),
        (RunState.CANCELLING, "cancelled", False, False, 0),
        (RunState.COMPLETED, "complete", False, False, 1000),
        (RunState.CANCELLED, "cancelled", False, False, 0),
        (RunState.FAILED, "error", False, False, 250),
        (RunState.INTERRUPTED, "error", False, False, 250),
    ],
)
def test_a_run_in_klipper_s_words(state: RunState | None, said: str, active: bool, paused: bool, at: int) -> None:
    view = view_of(state)
    stats, card = printing.print_stats_of(view), printing.virtual_sdcard_of(view)
    assert (stats["state"], card["is_active"], card["file_position"]) == (said, active, at)
    assert printing.pause_resume_of(view) == {"is_paused": paused}
    closed = said in {"standby", "complete", "cancelled"}
    assert card["file_path"] == (None if closed else "/gcodes/folder/a.gcode")
    assert card["progress"] == at / 1000
    if state is not None:
        assert stats["filename"] == "folder/a.gcode"
        assert (stats["total_duration"], stats["print_duration"], stats["filament_used"]) == (60.0, 40.0, 7.5)
        assert stats["info"] == {"total_layer": 20, "current_layer": 3}


def test_what_was_reached_is_shown_when_only_the_history_knows_it() -> None:
    stats = printing.print_stats_of(view_of(RunState.FAILED, live=False))
    assert (stats["total_duration"], stats["print_duration"], stats["message"]) == (61.0, 51.0, "gone")
    assert stats["info"] == {"total_layer": None, "current_layer": None}
    assert printing.virtual_sdcard_of(view_of(RunState.FAILED, live=False))["file_position"] == 200


def test_before_filament_is_pushed_nothing_was_printed() -> None:
    view = view_of(RunState.PRINTING)
    assert view.progress is not None
    heating = View("One", READY, PrinterProfile(), 0.0, RUN, msgspec.structs.replace(view.progress, extruding_s=None))
    assert printing.print_stats_of(heating)["print_duration"] == 0.0


@pytest.mark.parametrize(("now", "progress"), [(100.0, 0.5), (104.9, 0.5), (105.0, 0.25)])
def test_what_a_file_tells_of_its_progress_counts_for_five_seconds(now: float, progress: float) -> None:
    view = view_of(RunState.PRINTING)
    told = msgspec.structs.replace(view.snapshot, told_progress=0.5, message="hello")
    shown = View("One", told, PrinterProfile(), now, view.run, view.progress, moments=Moments(progress_at=100.0))
    assert printing.display_status_of(shown) == {"progress": progress, "message": "hello"}


@pytest.mark.parametrize(
    ("moments", "state", "seconds"),
    [
        (Moments(busy_at=90.0, active_at=100.0), "Printing", 10.0),
        (Moments(active_at=95.0), "Ready", 0.0),
        (Moments(active_at=40.0), "Idle", 0.0),
    ],
)
def test_a_machine_without_work_becomes_idle(moments: Moments, state: str, seconds: float) -> None:
    told = printing.idle_timeout_of(view_of(moments=moments, idle_s=60.0))
    assert told == {"state": state, "printing_time": seconds, "idle_timeout": 60.0}


@pytest.mark.parametrize("state", PrinterState)
def test_a_state_is_told_with_the_way_out(state: PrinterState) -> None:
    for fault in ("", "Thermal runaway"):
        snapshot = Snapshot("one", state, fault=fault)
        message = machine.state_message_of("One", snapshot)
        assert message
        assert fault in message or state in {PrinterState.READY, PrinterState.OFFLINE, *_STARTING}
        if machine.STATES[state] in {"error", "shutdown"}:
            assert "FIRMWARE_RESTART" in message
    assert machine.state_message_of("One", READY) == "Printer is ready"


_STARTING = {PrinterState.DETECTING, PrinterState.CONNECTING}


def test_heaters_are_called_as_in_klipper() -> None:
    profile = PrinterProfile(extruders=2, heated_chamber=True)
    temperatures = {
        "tool0": Temperature(200.04, 210.0, 0.5),
        "tool1": Temperature(20.0),
        "bed": Temperature(60.0, 60.0, 0.1),
        "probe": Temperature(31.5),
    }
    snapshot = msgspec.structs.replace(READY, heaters=temperatures)
    there = heaters.heaters_of(snapshot, profile)
    assert there["available_heaters"] == ["extruder", "extruder1", "heater_bed", "heater_generic chamber"]
    assert there["available_sensors"] == [*there["available_heaters"], "temperature_sensor probe"]
    status = heaters.temperatures_of(View("One", snapshot, profile, 0.0))
    assert list(status) == there["available_sensors"]
    assert status["extruder"]["can_extrude"]
    assert not status["extruder1"]["can_extrude"]
    assert status["heater_generic chamber"] == {"temperature": 0.0, "target": 0.0, "power": 0.0}
    assert status["temperature_sensor probe"]["temperature"] == 31.5


def test_where_it_is_and_how_it_reads_gcode() -> None:
    snapshot = msgspec.structs.replace(
        *(READY,),
        position=Position(10.0, 20.0, 0.3, 5.0),
        z_offset=-0.05,
        homed="xy",
        feedrate_mm_s=25.0,
        feedrate_factor=1.5,
        limits=MotionLimits(velocity=200.0),
    )
    moves = motion.gcode_move_of(snapshot)
    assert (moves["position"], moves["gcode_position"]) == ([10.0, 20.0, 0.25, 5.0], [10.0, 20.0, 0.3, 5.0])
    assert (moves["homing_origin"], moves["speed"], moves["speed_factor"]) == ([0.0, 0.0, -0.05, 0.0], 1500.0, 1.5)
    view = View("One", snapshot, PrinterProfile(), 50.0, moments=Moments(ready_at=40.0, moved_at=42.0))
    head = motion.toolhead_of(view)
    assert (head["axis_minimum"], head["axis_maximum"]) == ([0.0, 0.0, 0.0, 0.0], [200.0, 200.0, 200.0, 0.0])
    assert (head["estimated_print_time"], head["print_time"]) == (10.0, 2.0)
    assert (head["max_velocity"], head["max_accel"], head["homed_axes"]) == (200.0, 1250.0, "xy")
    held = {"stepper_x": True, "stepper_y": True, "stepper_z": False, "extruder": True}
    assert motion.stepper_enable_of(view)["steppers"] == held


def test_a_mesh_that_is_not_used_is_a_profile_and_not_the_mesh() -> None:
    mesh = BedMesh(10.0, 10.0, 190.0, 190.0, ((0.1, 0.2), (0.0, -0.1)))
    used = motion.bed_mesh_of(mesh)
    assert (used["profile_name"], used["probed_matrix"]) == ("default", [[0.1, 0.2], [0.0, -0.1]])
    assert used["profiles"]["default"]["mesh_params"]["x_count"] == 2
    unused = motion.bed_mesh_of(msgspec.structs.replace(mesh, used=False))
    assert (unused["profile_name"], unused["probed_matrix"]) == ("", [[]])
    assert unused["profiles"] == used["profiles"]
    assert motion.bed_mesh_of(None)["profiles"] == {}


OBJECTS = (
    NamedObject("part one.stl", 10.0, 10.0, 20.0, 30.0, ((100, 200), (240, 260))),
    NamedObject("PART_ONE.STL", 50.0, 50.0, 60.0, 60.0, ((200, 240),)),
)


def test_objects_are_named_so_that_a_command_can_name_them() -> None:
    view = view_of(RunState.PRINTING, file=RunFile(OBJECTS))
    assert view.progress is not None
    told = excluding.exclude_object_of(view)
    assert [one["name"] for one in told["objects"]] == ["PART_ONE_STL", "PART_ONE_STL_2"]
    assert told["objects"][0]["center"] == [15.0, 20.0]
    assert told["objects"][0]["polygon"] == [[10.0, 10.0], [20.0, 10.0], [20.0, 30.0], [10.0, 30.0]]
    assert (told["current_object"], told["excluded_objects"]) == ("PART_ONE_STL", [])
    progress = msgspec.structs.replace(view.progress, file_bytes=239, excluded=("part one.stl", "unheard of"))
    later = View("One", READY, PrinterProfile(), 0.0, RUN, progress, RunFile(OBJECTS))
    told = excluding.exclude_object_of(later)
    assert (told["current_object"], told["excluded_objects"]) == ("PART_ONE_STL_2", ["PART_ONE_STL"])


@pytest.mark.parametrize(("byte", "drawn"), [(99, None), (100, "part one.stl"), (200, "PART_ONE.STL"), (260, None)])
def test_which_object_is_drawn_is_told_by_the_place_in_the_file(byte: int, drawn: str | None) -> None:
    assert RunFile(OBJECTS).drawn_at(byte) == drawn


def test_the_configuration_has_what_front_ends_ask_for() -> None:
    snapshot = msgspec.structs.replace(
        *(READY,),
        retraction=Retraction(0.8, 35.0),
        mesh=BedMesh(10.0, 10.0, 190.0, 190.0, ((0.0,),)),
        filament={"runout": True},
        firmware=Firmware("Marlin 2.1"),
    )
    view = View("One", snapshot, PrinterProfile(max_hotend=275.0), 0.0, macros={"Purge": "G1 E5", "pause": "M25"})
    told = configfile.configfile_of(view)
    config, settings = told["config"], told["settings"]
    wanted = {"virtual_sdcard", "pause_resume", "display_status", "gcode_macro CANCEL_PRINT", "gcode_macro PAUSE"}
    assert wanted | {"gcode_macro RESUME", "printer", "extruder", "heater_bed", "fan", "stepper_z"} <= set(config)
    assert {"bed_mesh", "firmware_retraction", "exclude_object", "filament_switch_sensor runout"} <= set(config)
    assert all(isinstance(value, str) for section in config.values() for value in section.values())
    assert config["extruder"]["max_temp"] == "275"
    assert settings["extruder"]["max_temp"] == 275.0
    assert all(name == name.lower() for name in settings)
    assert all("rename_existing" in settings[f"gcode_macro {name}"] for name in ("pause", "resume", "cancel_print"))
    assert settings["gcode_macro purge"]["gcode"] == "G1 E5"
    assert settings["gcode_macro pause"]["gcode"] == "PAUSE_BASE"  # a script of that name does not take its place
    assert [name for name in configfile.macros_of(view.macros) if name.lower() == "gcode_macro pause"] == [
        "gcode_macro PAUSE"
    ]


# Through the doors


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


async def status(one: Hosted, query: str) -> dict[str, Any]:
    async with one.client(role=Role.VIEWER) as client:
        answer = await client.get(f"/printer/objects/query?{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["result"]["status"]
        return found


async def test_every_object_that_is_listed_can_be_asked_for(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        listed = (await client.get("/printer/objects/list")).json()["result"]["objects"]
        answer = await client.post("/printer/objects/query", json={"objects": dict.fromkeys(listed)})
    found = answer.json()["result"]["status"]
    assert sorted(found) == sorted(listed)
    assert {"gcode", "webhooks", "configfile", "mcu", "heaters", "extruder", "heater_bed", "fan"} <= set(listed)
    assert {"gcode_macro PAUSE", "stepper_enable", "system_stats", "exclude_object", "motion_report"} <= set(listed)
    assert "busy" not in found["gcode"]
    assert "status" not in found["toolhead"]
    assert all(isinstance(number, int | float) for number in found["mcu"]["last_stats"].values())
    assert found["system_stats"]["memavail"] > 0


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("nonexistent", {"nonexistent": {}}),
        ("extruder=target,nonsense", {"extruder": {"target": 0.0, "nonsense": None}}),
        ("pause_resume&webhooks=state", {"pause_resume": {"is_paused": False}, "webhooks": {"state": "ready"}}),
        ("gcode_macro%20PAUSE", {"gcode_macro PAUSE": {}}),
        ("gcode=busy&toolhead=status", {"gcode": {"busy": False}, "toolhead": {"status": "Ready"}}),
        ("token=abc&_=5&edition=early", {}),
        ("", {}),
    ],
)
async def test_a_query_names_objects_and_fields(one: Hosted, query: str, found: dict[str, Any]) -> None:
    assert await status(one, query) == found


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"objects": 5}, "objects must be an object"),
        ({"objects": {"fan": 5}}, "of 'fan' a list of fields is wanted"),
        ({"objects": {"fan": [1]}}, "of 'fan' a list of fields is wanted"),
        ({"objects": dict.fromkeys(map(str, range(2001)))}, "2001 objects and fields of them; 2000 is the limit"),
    ],
)
async def test_what_is_no_selection_is_refused(one: Hosted, body: dict[str, Any], words: str) -> None:
    async with one.client(role=Role.VIEWER) as client:
        for path in ("/printer/objects/query", "/printer/objects/subscribe"):
            answer = await client.post(path, json=body)
            assert (answer.status_code, words in answer.json()["error"]["message"]) == (400, True)


async def test_a_body_s_objects_go_before_the_query_s_and_an_empty_list_is_all(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        answer = await client.post("/printer/objects/query?toolhead", json={"objects": {"pause_resume": []}})
        assert answer.json()["result"]["status"] == {"pause_resume": {"is_paused": False}}
        broken = await client.post(
            "/printer/objects/query?fan", content=b"{", headers={"Content-Type": "application/json"}
        )
        assert list(broken.json()["result"]["status"]) == ["fan"]


async def test_a_print_that_nobody_looked_at_has_gone_on_as_long_as_it_has(one: Hosted) -> None:
    await one.put("a.gcode")
    await one.host.runs.start(one.host.printers.default(), "a.gcode", LOCAL)
    one.machine.say(run=msgspec.structs.replace(one.machine.snapshot.run, elapsed_s=90.0))
    assert (await status(one, "idle_timeout"))["idle_timeout"]["printing_time"] >= 90.0
    one.machine.signal(RunSignal.PAUSE, RunSignal.PAUSE_DONE)
    assert (await status(one, "idle_timeout"))["idle_timeout"]["printing_time"] == 0.0
    one.machine.signal(RunSignal.RESUME, RunSignal.RESUME_DONE)
    assert (await status(one, "idle_timeout"))["idle_timeout"]["printing_time"] < 90.0


async def test_a_print_is_told_as_soon_as_it_goes_on(one: Hosted) -> None:
    await one.put("a.gcode")
    p = one.host.printers.default()
    await one.host.runs.start(p, "a.gcode", LOCAL)
    names = "print_stats&virtual_sdcard&idle_timeout=state&pause_resume"
    for signals, said in (((), "printing"), ((RunSignal.PAUSE, RunSignal.PAUSE_DONE), "paused")):
        one.machine.signal(*signals)
        one.machine.say(run=msgspec.structs.replace(one.machine.snapshot.run, file_bytes=100))
        found = await status(one, names)
        assert (found["print_stats"]["state"], found["print_stats"]["filename"]) == (said, "a.gcode")
        assert found["virtual_sdcard"]["file_position"] == 100
        assert found["virtual_sdcard"]["file_size"] == len(GCODE)
        assert found["pause_resume"]["is_paused"] == (said == "paused")
    one.machine.signal(RunSignal.RESUME, RunSignal.RESUME_DONE)
    assert (await status(one, names))["idle_timeout"] == {"state": "Printing"}
    one.machine.signal(RunSignal.END_OF_FILE, RunSignal.FINISH_DONE)
    await one.ended()
    found = await status(one, names)
    assert (found["print_stats"]["state"], found["idle_timeout"]["state"]) == ("complete", "Ready")


async def test_a_printer_that_is_off_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    async with hosted(tmp_path, connected=False) as one, one.client(role=Role.VIEWER) as client:
        answer = await client.get("/printer/info")
        info = answer.json()["result"]
        assert (answer.status_code, info["state"]) == (200, "error")
        assert "FIRMWARE_RESTART" in info["state_message"]
        found = await status(one, "webhooks&extruder=temperature")
        assert found["webhooks"] == {"state": "error", "state_message": info["state_message"]}
        assert found["extruder"] == {"temperature": 0.0}


async def test_who_asks_for_information_learns_no_path(one: Hosted, tmp_path: Path) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        info = (await client.get("/printer/info")).text
        listed = (await client.get("/printer/objects/list")).json()["result"]["objects"]
        everything = (await client.post("/printer/objects/query", json={"objects": dict.fromkeys(listed)})).text
    for text in (info, everything):
        assert str(tmp_path) not in text
        assert "/home" not in text


@pytest.mark.parametrize("edition", ["modern", "early"])
async def test_temperatures_of_twenty_minutes(tmp_path: Path, edition: Any) -> None:
    settings = (PrinterSettings("one", "virtual", profile=PrinterProfile(extruders=1)),)
    config = Config(moonraker=Moonraker(edition))
    async with hosted(tmp_path, printers=settings, config=config, connected=False) as one:
        p = one.host.printers.default()
        for second in range(3):
            heat = {"tool0": Temperature(20.0 + second, 200.0, 0.5), "bed": Temperature(), "probe": Temperature(30.0)}
            p.snapshot = msgspec.structs.replace(p.snapshot, heaters=heat)
            p.temperatures.note(heat, second, second)
        async with one.client(role=Role.VIEWER) as client:
            store = (await client.get("/server/temperature_store?include_monitors=true")).json()["result"]
    head = store["extruder"]
    assert list(store) == ["extruder", "heater_bed", "temperature_sensor probe"]
    assert head["temperatures"][-3:] == [20.0, 21.0, 22.0]
    assert (head["targets"][-1], head["powers"][-1]) == (200.0, 0.5)
    if edition == "early":
        assert [len(values) for sensor in store.values() for values in sensor.values()] == [1200] * 9
        assert head["temperatures"][0] == 0.0
    else:
        assert len(head["temperatures"]) < 10
        assert list(store["temperature_sensor probe"]) == ["temperatures"]


async def test_a_file_s_own_limits_do_not_change_the_configuration(one: Hosted) -> None:
    """Slicers set an acceleration every few lines, and a configuration is long."""
    one.machine.say(limits=MotionLimits(velocity=200.0, acceleration=2000.0))
    names = "configfile=settings&toolhead=max_accel"
    first = await status(one, names)
    one.machine.say(limits=MotionLimits(velocity=200.0, acceleration=500.0))
    then = await status(one, names)
    assert (first["toolhead"]["max_accel"], then["toolhead"]["max_accel"]) == (2000.0, 500.0)
    assert first["configfile"]["settings"]["printer"]["max_accel"] == 2000.0
    assert then["configfile"] == first["configfile"]


async def test_what_somebody_commands_keeps_the_machine_busy(one: Hosted) -> None:
    live = one.application.parts[Live]
    assert isinstance(live, Live)
    shown = live.feeds.synthesised(one.host.printers.default())
    with shown.working():
        assert (await status(one, "idle_timeout=state&gcode=busy")) == {
            "gcode": {"busy": True},
            "idle_timeout": {"state": "Printing"},
        }
    assert (await status(one, "idle_timeout=state"))["idle_timeout"] == {"state": "Ready"}


async def test_what_is_understood_is_listed_with_the_machine_s_own_scripts(one: Hosted) -> None:
    p = one.host.printers.default()
    before = await status(one, "gcode=commands")
    assert before["gcode"]["commands"]["PAUSE"]["help"]
    assert before["gcode"]["commands"]["G1"] == {}
    scripts = one.host.scripts.get(p)
    await one.host.scripts.put(p, GcodeScripts({**scripts.scripts, "purge": "G1 E5"}, scripts.snippets), LOCAL)
    found = await status(one, "gcode=commands&configfile=settings&gcode_macro%20PURGE")
    assert "PURGE" in found["gcode"]["commands"]
    assert found["gcode_macro PURGE"] == {}
    assert found["configfile"]["settings"]["gcode_macro purge"]["gcode"] == "G1 E5"


async def test_an_answer_is_made_once_for_all_who_ask_the_same(one: Hosted) -> None:
    live = one.application.parts[Live]
    assert isinstance(live, Live)
    feed = live.feeds.of(one.host.printers.default())
    selection = (("extruder", None), ("toolhead", None))
    first, second = await asyncio.gather(feed.answer(selection), feed.answer(selection))
    assert first is second
    one.machine.say(homed="xyz")
    assert await feed.answer(selection) is not first
