"""Clients decode what a printer says, as their public sources do (`moonraker_readers`)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyhost.core.file import NamedObject
from polyhost.core.job import Run, RunProgress, RunState
from polyhost.core.printer import BedMesh, Firmware, PrinterProfile, PrinterState, Retraction, Snapshot, Temperature
from polyhost.core.user import Role
from polyhost.dialects.moonraker.objects import configfile, heaters, motion, status
from polyhost.dialects.moonraker.objects.view import RunFile, View
from tests.dialects import moonraker_readers as readers
from tests.web.hosting import Hosted, hosted

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
