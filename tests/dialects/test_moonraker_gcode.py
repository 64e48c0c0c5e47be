"""Klipper's commands on a machine that speaks Marlin: what reaches it, what changes, what is refused."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.config import Printer as PrinterSettings
from polyhost.core.errors import Malformed
from polyhost.core.file import Analysis, LayerIndex, NamedObject
from polyhost.core.job import RunState
from polyhost.core.printer import (
    Firmware,
    MotionLimits,
    Position,
    PrinterProfile,
    PrinterState,
    Retraction,
    Temperature,
)
from polyhost.core.user import Role
from polyhost.dialects.moonraker.gcode.grammar import Command, command_in, commands_of, parsed
from polyhost.dialects.moonraker.gcode.motion import restored
from polyhost.dialects.moonraker.gcode.registry import COMMANDS, help_of, names_of
from polyhost.dialects.moonraker.gcode.upkeep import REFUSED
from polyhost.gcode.modal import ModalState
from polyhost.services.accounts import LOCAL
from polyhost.services.scripts import GcodeScripts
from tests.web.hosting import Hosted, hosted

MARLIN = Firmware("Marlin", capabilities={"BABYSTEPPING": True, "AUTOLEVEL": True, "Z_PROBE": True})


async def run(one: Hosted, script: str, role: Role = Role.OPERATOR) -> tuple[int, Any]:
    """Status, and the result or the words of the error."""
    async with one.client(role=role) as client:
        answer = await client.post("/printer/gcode/script", json={"script": script})
    body = answer.json()
    return answer.status_code, body["result"] if "result" in body else body["error"]["message"]


async def seen(one: Hosted) -> Any:
    async with one.client(role=Role.VIEWER) as client:
        answer = await client.get("/printer/objects/query?print_stats")
    return answer.json()["result"]["status"]


async def console(one: Hosted) -> list[str]:
    async with one.client(role=Role.VIEWER) as client:
        entries = (await client.get("/server/gcode_store")).json()["result"]["gcode_store"]
    return [entry["message"] for entry in entries if entry["type"] == "response"]


# --- the grammar


@pytest.mark.parametrize(
    ("line", "name", "rest"),
    [
        ("G1 X5 Y5 F3000", "G1", "X5 Y5 F3000"),
        ("g1x5", "G1", "x5"),
        ("G28", "G28", ""),
        ("  g28 x ; home", "G28", "x"),
        ("M104S200", "M104", "S200"),
        ("G92.1", "G92.1", ""),
        ("T0", "T0", ""),
        ("M117 a;b #c", "M117", "a;b #c"),
        ("set_fan_speed fan=part # slow", "SET_FAN_SPEED", "fan=part"),
        ('RESPOND MSG="a;b#c" ; x', "RESPOND", 'MSG="a;b#c"'),
        ("GARBAGE", "GARBAGE", ""),
        ("M600_FILAMENT X=1", "M600_FILAMENT", "X=1"),
        ("T0_MACRO", "T0_MACRO", ""),
        ("TESTZ Z=-1", "TESTZ", "Z=-1"),
    ],
)
def test_a_line_is_read_as_klipper_reads_it(line: str, name: str, rest: str) -> None:
    command = command_in(line)
    assert command is not None
    assert (command.name, command.rest) == (name, rest)


@pytest.mark.parametrize("line", ["", "   ", "; G28", "# G28", "\t;"])
def test_comments_are_no_commands(line: str) -> None:
    assert command_in(line) is None


@pytest.mark.parametrize("rest", ["A", "A=1 B", "=1", "A='x", "1A=1", "A-B=1", "A =1"])
def test_what_is_no_parameter_is_malformed(rest: str) -> None:
    with pytest.raises(Malformed, match="Malformed command 'X"):
        parsed(Command("X", rest, f"X {rest}"))


@given(st.text(max_size=300))
def test_any_text_is_commands_or_malformed(text: str) -> None:
    for command in commands_of(text):
        assert command.name
        assert "\n" not in command.line
        with contextlib.suppress(Malformed):
            parsed(command)


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_parameters_come_back_as_they_were_quoted(values: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    written = " ".join(f"{name.lower()}={quoted(value)}" for name, value in values.items())
    assert parsed(Command("X", written, f"X {written}")) == values


# --- what becomes of commands

BABYSTEPS = ["M290 P0 Z0.1", "M290 P0 Z0.1", "M290 P0 Z0.05"]


@pytest.mark.parametrize(
    ("script", "sent"),
    [
        ("G28\nG1 X5 ; go\n\n; nothing", ["G28", "G1 X5"]),
        ("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=210", ["M104 T0 S210"]),
        ("set_heater_temperature heater=heater_bed target=60.5", ["M140 S60.5"]),
        ("SET_HEATER_TEMPERATURE HEATER=extruder", ["M104 T0 S0"]),
        ("TURN_OFF_HEATERS", ["M104 T0 S0", "M140 S0"]),
        ("SET_FAN_SPEED FAN=fan SPEED=0.5", ["M106 S128"]),
        ("SET_FAN_SPEED FAN=fan1 SPEED=1", ["M106 P1 S255"]),
        ("PID_CALIBRATE HEATER=extruder TARGET=200", ["M303 E0 S200 C8 U1"]),
        ("PID_CALIBRATE HEATER=heater_bed TARGET=60", ["M303 E-1 S60 C8 U1"]),
        ("SET_GCODE_OFFSET Z=0.2 MOVE=1", ["M290 P0 Z0.2"]),
        ("SET_GCODE_OFFSET Z_ADJUST=-0.05 MOVE=1", ["M290 P0 Z-0.05"]),
        ("SET_GCODE_OFFSET Z=0", []),
        ("SET_GCODE_OFFSET Z=0.1\nSET_GCODE_OFFSET Z_ADJUST=0.1\nSET_GCODE_OFFSET Z=0.25", BABYSTEPS),
        ("SET_VELOCITY_LIMIT VELOCITY=200", ["M203 X200 Y200"]),
        ("SET_VELOCITY_LIMIT ACCEL=3000", ["M204 P3000 T3000"]),
        ("SET_VELOCITY_LIMIT SQUARE_CORNER_VELOCITY=8", ["M205 X8 Y8"]),
        ("SET_PRESSURE_ADVANCE ADVANCE=0.05", ["M900 K0.05"]),
        ("SET_PRESSURE_ADVANCE EXTRUDER=extruder ADVANCE=0.05", ["M900 K0.05"]),
        ("SET_RETRACTION RETRACT_LENGTH=0.8 RETRACT_SPEED=35", ["M207 S0.8 F2100"]),
        ("SET_RETRACTION UNRETRACT_EXTRA_LENGTH=0.1 UNRETRACT_SPEED=10", ["M208 S0.1 F600"]),
        ("BED_MESH_CALIBRATE", ["G29", "M420 S1 V"]),
        ("BED_MESH_CLEAR", ["M420 S0"]),
        ("BED_MESH_PROFILE LOAD=default", ["M420 S1 V"]),
        ("BED_MESH_PROFILE SAVE=default", ["M500"]),
        ("QUERY_PROBE", ["M119"]),
        ("PROBE", ["G30"]),
        ("SAVE_CONFIG", ["M500"]),
        ("GET_POSITION", ["M114"]),
        ("SET_FILAMENT_SENSOR SENSOR=x ENABLE=0", ["M412 S0", "M412"]),
        ("LOAD_FILAMENT", ["M701"]),
        ("SET_LED LED=x RED=1 GREEN=0.5 BLUE=0 TRANSMIT=1", ["M150 R255 U128 B0 W0"]),
        ("SET_PIN PIN=12 VALUE=1", ["M42 P12 S255"]),
        ("SET_DISPLAY_TEXT MSG='hello there'", ["M117 hello there"]),
        ("M117 hello; there", ["M117 hello; there"]),
        ("M118 A1 action:pause", ["M118 A1 action:pause"]),
        ("ACTIVATE_EXTRUDER EXTRUDER=extruder", ["T0"]),
        ("T0", ["T0"]),
        ("M600", ["M600"]),
        ("SET_IDLE_TIMEOUT TIMEOUT=60", ["M84 S60"]),
        ("EXCLUDE_OBJECT_DEFINE NAME=x CENTER=1,2", []),
        ("SET_STEPPER_ENABLE STEPPER=stepper_x ENABLE=0", ["M18 X"]),
        ("SET_INPUT_SHAPER SHAPER_FREQ_X=40", ["M593 X F40"]),
        ("CLEAR_PAUSE", []),
        ("SET_PAUSE_NEXT_LAYER ENABLE=0\nSET_PAUSE_AT_LAYER ENABLE=0 LAYER=0", []),
        ("PAUSE\nRESUME\nCANCEL_PRINT\nSDCARD_RESET_FILE", []),
        ("FROBNICATE now", ["FROBNICATE now"]),
    ],
)
async def test_what_reaches_the_machine(one: Hosted, script: str, sent: list[str]) -> None:
    one.machine.say(firmware=MARLIN, homed="xyz")
    assert await run(one, script) == (200, "ok")
    assert one.machine.sent == sent


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "SET_HEATER_TEMPERATURE HEATER=nozzle TARGET=1",
            "The value 'nozzle' is not valid for HEATER; there are",
        ),
        ("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=999", "Requested temperature (999.0) out of range (0.0:300.0)"),
        (
            "SET_HEATER_TEMPERATURE HEATER=extruder TARGET=nan",
            "Error on 'SET_HEATER_TEMPERATURE HEATER=extruder",
        ),
        ("SET_HEATER_TEMPERATURE TARGET=1", "Error on 'SET_HEATER_TEMPERATURE TARGET=1': missing HEATER"),
        ("SET_HEATER_TEMPERATURE extruder", "Malformed command 'SET_HEATER_TEMPERATURE extruder'"),
        ("SET_FAN_SPEED FAN=fan SPEED=2", "Error on 'SET_FAN_SPEED FAN=fan SPEED=2': SPEED must have maximum of 1"),
        ("SET_FAN_SPEED FAN=exhaust", "The value 'exhaust' is not valid for FAN"),
        ("SET_VELOCITY_LIMIT VELOCITY=0", "Error on 'SET_VELOCITY_LIMIT VELOCITY=0': VELOCITY must be above 0"),
        ("SET_VELOCITY_LIMIT MINIMUM_CRUISE_RATIO=0.5", "Marlin has no MINIMUM_CRUISE_RATIO"),
        ("SET_GCODE_OFFSET X=1", "Marlin moves Z alone"),
        ("SET_GCODE_OFFSET Z_ADJUST=11", "the nozzle is moved by at most 10 mm at once"),
        ("TEMPERATURE_WAIT SENSOR=extruder", "Error on 'TEMPERATURE_WAIT': missing MINIMUM"),
        ("TEMPERATURE_WAIT SENSOR=extruder MINIMUM=60 MAXIMUM=50", "Error on 'TEMPERATURE_WAIT"),
        ("BED_MESH_CALIBRATE", "Must home axis first"),
        ("BED_MESH_PROFILE LOAD=pei", "bed_mesh: Unknown profile [pei]"),
        ("BED_MESH_PROFILE REMOVE=default", "Marlin keeps one mesh"),
        ("RESTORE_GCODE_STATE NAME=nope", "nothing is saved as 'nope'; SAVE_GCODE_STATE NAME=… saves it"),
        ("SDCARD_PRINT_FILE FILENAME=nope.gcode", "Unable to open file"),
        ("SDCARD_PRINT_FILE", "Error on 'SDCARD_PRINT_FILE': missing FILENAME"),
        ("ACTIVATE_EXTRUDER EXTRUDER=extruder1", "The value 'extruder1' is not valid for EXTRUDER"),
        ("T1", "there is no tool 1: the profile has 1"),
        ("SET_PIN PIN=my_led VALUE=1", "The value 'my_led' is not valid for PIN"),
        ("RESPOND TYPE=shout MSG=x", "The value 'shout' is not valid for TYPE"),
        ("SET_PAUSE_AT_LAYER ENABLE=1", "Error on 'SET_PAUSE_AT_LAYER': missing LAYER"),
        ("SET_PAUSE_NEXT_LAYER", "one is not printing"),
        ("M104 S999", "M104 S999: the hotend of this printer may be heated to 300 °C"),
        ("M28 x.gco", "'M28 x.gco' has the printer write"),
        ("G1 X5*77", "'G1 X5*77': line numbers and checksums"),
        (
            "FORCE_MOVE STEPPER=stepper_x DISTANCE=1 VELOCITY=1",
            "FORCE_MOVE is not possible on a printer that speaks Marlin",
        ),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_sent(one: Hosted, script: str, words: str) -> None:
    one.machine.say(firmware=MARLIN)
    status, said = await run(one, f"SET_DISPLAY_TEXT MSG=first\n{script}\nM84")
    assert (status, said[: len(words)]) == (400, words)
    assert one.machine.sent in ([], ["M117 first"])
    assert "M84" not in one.machine.sent


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_what_marlin_cannot_do_says_so_and_what_to_do(one: Hosted, name: str) -> None:
    status, said = await run(one, name)
    assert status == 400
    assert said == f"{name} is not possible on a printer that speaks Marlin: {REFUSED[name]}"
    assert one.machine.sent == []


@pytest.mark.parametrize(
    ("script", "capability"),
    [("SET_GCODE_OFFSET Z=0.1", "BABYSTEPPING"), ("PROBE", "Z_PROBE"), ("BED_MESH_CLEAR", "AUTOLEVEL")],
)
async def test_what_the_firmware_denies_is_refused_and_not_listed(one: Hosted, script: str, capability: str) -> None:
    one.machine.say(firmware=Firmware("Marlin", capabilities={capability: False, "EEPROM": True}))
    assert await run(one, script) == (
        400,
        f"{script.split()[0]}: the firmware of one has no {capability} (M115 says so)",
    )
    p = one.host.printers.default()
    assert script.split()[0] not in {*names_of(p), *help_of(p)}
    one.machine.say(firmware=Firmware("something else"))  # it does not say what it has
    assert script.split()[0] in names_of(p)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("M118 hi; there", "echo: hi; there"),
        ("RESPOND MSG='a b'", "echo: a b"),
        ('RESPOND TYPE=command MSG="action:prompt_begin Ready?"', "// action:prompt_begin Ready?"),
        ("respond type=error msg=no", "!! no"),
        ("RESPOND PREFIX=tip MSG=x", "tip x"),
        ("RESPOND TYPE=echo_no_space MSG=x", "echo:x"),
        ("RESUME", "// nothing is paused, so there is nothing to go on with"),
        ("STATUS", "// Klipper state: Ready"),
        ("GET_RETRACTION", "// RETRACT_LENGTH=0.80000 RETRACT_SPEED=35.00000 UNRETRACT_EXTRA_LENGTH=0.00000"),
        (
            "SET_VELOCITY_LIMIT",
            "// max_velocity: 300.000000\n// max_accel: unknown\n// square_corner_velocity",
        ),
        ("HELP", "// Besides plain G-code there are:\n// ACTIVATE_EXTRUDER: Print with EXTRUDER"),
    ],
)
async def test_what_is_said_at_the_console(one: Hosted, script: str, said: str) -> None:
    one.machine.say(retraction=Retraction(0.8, 35.0), limits=MotionLimits(velocity=300.0))
    assert await run(one, script) == (200, "ok")
    assert [message[: len(said)] for message in await console(one)] == [said]
    assert one.machine.sent == []


@pytest.mark.parametrize(
    ("script", "before", "sent"),
    [
        # Mainsail's and Fluidd's jogs
        (
            "SAVE_GCODE_STATE NAME=_ui_movement\nG91\nG1 X10 F6000\nRESTORE_GCODE_STATE NAME=_ui_movement",
            {"feedrate_mm_s": 50.0},
            ["G91", "G1 X10 F6000", "G90", "M82", "G1 F3000"],
        ),
        (
            "SAVE_GCODE_STATE\nG90\nG1 X10\nRESTORE_GCODE_STATE",
            {"absolute": False, "absolute_e": False},
            ["G90", "G1 X10", "G91", "M83"],
        ),
        (
            "SAVE_GCODE_STATE NAME=a\nG1 X90 F100\nRESTORE_GCODE_STATE NAME=a MOVE=1 MOVE_SPEED=20",
            {"position": Position(1.0, 2.0, 3.0, 0.0), "homed": "xyz"},
            ["G1 X90 F100", "G90", "G1 X1 Y2 Z3 F1200", "G90", "M82"],
        ),
        (
            "SAVE_GCODE_STATE NAME=a\nM220 S50\nM83\nG1 E5 F300\nRESTORE_GCODE_STATE NAME=a",
            {"position": Position(1.0, 2.0, 3.0, 7.0)},
            ["M220 S50", "M83", "G1 E5 F300", "G90", "M82", "G92 E7", "M220 S100"],
        ),
    ],
)
async def test_a_state_is_as_it_was_saved(one: Hosted, script: str, before: dict[str, Any], sent: list[str]) -> None:
    one.machine.say(**before)
    assert await run(one, script) == (200, "ok")
    assert one.machine.sent == sent


@pytest.mark.parametrize(
    ("homed", "script"),
    [
        ("", "SAVE_GCODE_STATE\nG1 X9\nRESTORE_GCODE_STATE MOVE=1"),
        ("xyz", "G28\nSAVE_GCODE_STATE\nG1 X9\nRESTORE_GCODE_STATE MOVE=1"),  # its endstops may be anywhere
    ],
)
async def test_nobody_is_sent_back_to_a_place_that_was_not_known(one: Hosted, homed: str, script: str) -> None:
    one.machine.say(homed=homed)
    status, words = await run(one, script)
    assert (status, words[:20]) == (400, "Must home axis first")
    assert one.machine.sent == []


MODES = st.builds(
    ModalState,
    absolute=st.booleans(),
    extruder_absolute=st.booleans(),
    feedrate_mm_s=st.integers(0, 500).map(float),
    x=st.integers(-200, 200).map(float),
    y=st.integers(-200, 200).map(float),
    homed=st.just("XYZ"),
    z=st.integers(0, 200).map(float),
    e=st.integers(-50, 50).map(float),
    speed_factor=st.integers(10, 300).map(lambda percent: percent / 100),
    flow_factor=st.integers(10, 300).map(lambda percent: percent / 100),
)


@given(MODES, MODES, st.booleans())
def test_restoring_leads_back_from_anywhere(now: ModalState, then: ModalState, move: bool) -> None:
    if not then.feedrate_mm_s:  # nobody has said one: whatever is stays
        then.feedrate_mm_s = now.feedrate_mm_s
    after = now.copy()
    after.advance(line.encode() for line in restored(now, then, move, 0.0))
    for name in ("absolute", "extruder_absolute", "feedrate_mm_s", "e", "speed_factor", "flow_factor"):
        assert getattr(after, name) == pytest.approx(getattr(then, name)), name
    place = then if move else now
    assert (after.x, after.y, after.z) == (place.x, place.y, place.z)


async def test_states_are_kept_for_each_printer_and_bounded(tmp_path: Path) -> None:
    two = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=two) as one:
        tuning, (p, other) = one.host.tuning, one.host.printers.all()
        for number in range(40):
            tuning.put_aside(p, f"s{number}", ModalState(x=float(number)))
        assert tuning.taken_up(p, "s39").x == 39.0
        for gone, where in (("s7", p), ("s39", other)):
            with pytest.raises(Malformed, match="nothing is saved as"):
                tuning.taken_up(where, gone)


async def test_a_machine_with_junction_deviation_is_told_in_its_way(one: Hosted) -> None:
    one.machine.say(
        firmware=Firmware("Marlin", motion=("M205 B20000.00 S0.00 T0.00 J0.01",)),
        limits=MotionLimits(acceleration=1000.0),
    )
    assert await run(one, "SET_VELOCITY_LIMIT SQUARE_CORNER_VELOCITY=5") == (200, "ok")
    assert one.machine.sent == ["M205 J0.0104"]


async def test_a_wait_ends_when_the_temperature_is_there(one: Hosted) -> None:
    waiting = asyncio.create_task(run(one, "TEMPERATURE_WAIT SENSOR=extruder MINIMUM=100\nM117 hot"))
    while not any(listener.kinds for listener in one.host.bus._listeners if len(listener.kinds) == 1):
        await asyncio.sleep(0)
    one.machine.say(heaters={"tool0": Temperature(50.0, 200.0)})
    await asyncio.sleep(0)
    assert one.machine.sent == []
    one.machine.say(heaters={"tool0": Temperature(101.0, 200.0)})
    assert await waiting == (200, "ok")
    assert one.machine.sent == ["M117 hot"]


async def test_a_machine_s_own_scripts_are_called_as_macros(one: Hosted) -> None:
    p = one.host.printers.default()
    scripts = GcodeScripts({"Park_Head": "G28\nG1 X{{ parameters.X }} Y{{ parameters.y or 0 }}"})
    await one.host.scripts.put(p, scripts, LOCAL)
    assert await run(one, "park_head x=10 Y=20") == (200, "ok")
    assert one.machine.sent == ["G28", "G1 X10 Y20"]
    async with one.client(role=Role.VIEWER) as client:
        told = (await client.get("/printer/gcode/help")).json()["result"]
    assert told["PARK_HEAD"] == "A script of this printer"
    assert told["SET_HEATER_TEMPERATURE"] == "Give HEATER the target TARGET, in °C"
    assert "G28" not in told
    assert "M117" not in told


async def test_an_emergency_stop_in_a_script_is_all_that_happens(one: Hosted) -> None:
    assert await run(one, "G28\nM112\nFROBNICATE A=") == (200, "ok")
    assert one.machine.stopped
    assert one.machine.sent == []


@pytest.mark.parametrize(
    ("body", "words"), [({}, "Missing Argument [script]"), ({"script": 5}, "Invalid Argument Type [script]")]
)
async def test_a_script_is_a_text(one: Hosted, body: dict[str, Any], words: str) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post("/printer/gcode/script", json=body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, words)


async def test_scripts_are_bounded(one: Hosted) -> None:
    assert (await run(one, "M117 x\n" * 1001))[0] == 400
    assert (await run(one, ";" * (65 << 10)))[0] == 400
    assert one.machine.sent == []


async def test_who_may_only_look_commands_nothing(one: Hosted) -> None:
    assert (await run(one, "M118 hi", Role.VIEWER))[0] == 403
    assert (await run(one, "M118 hi", Role.UPLOADER))[0] == 403


async def test_an_offline_machine_says_so(tmp_path: Path) -> None:
    async with hosted(tmp_path, connected=False) as one:
        assert await run(one, "G28") == (400, "one is offline; connect it first")
        assert await run(one, "RESTART") == (200, "ok")
        assert one.machine.snapshot.state is PrinterState.READY


async def test_a_layer_pauses_the_print(one: Hosted) -> None:
    await one.put("a.gcode")
    assert await run(one, "SDCARD_PRINT_FILE FILENAME=a.gcode\nSET_PAUSE_AT_LAYER LAYER=3") == (200, "ok")
    p = one.host.printers.default()

    async def at_layer(layer: int) -> None:
        live = one.machine.snapshot.run
        assert live is not None
        one.machine.say(run=msgspec.structs.replace(live, layer=layer))
        for _ in range(20):
            await asyncio.sleep(0)

    await at_layer(2)
    assert p.run_state is RunState.PRINTING
    await at_layer(3)
    assert p.run_state is RunState.PAUSED
    assert await run(one, "RESUME\nSET_PAUSE_NEXT_LAYER") == (200, "ok")
    assert one.host.layers.get(p).pause_at == 4
    assert await run(one, "SET_PAUSE_NEXT_LAYER ENABLE=0") == (200, "ok")
    await at_layer(4)
    assert p.run_state is RunState.PRINTING
    assert (await run(one, "SET_PAUSE_AT_LAYER LAYER=4"))[0] == 400
    assert await run(one, "SET_PRINT_STATS_INFO TOTAL_LAYER=10\nSET_PRINT_STATS_INFO CURRENT_LAYER=4") == (200, "ok")
    assert (await seen(one))["print_stats"]["info"] == {"total_layer": 10, "current_layer": 4}
    assert await run(one, "SET_PAUSE_AT_LAYER LAYER=9\nCANCEL_PRINT") == (200, "ok")
    assert (await seen(one))["print_stats"]["state"] == "cancelled"
    for _ in range(20):
        await asyncio.sleep(0)
    assert one.host.layers.get(p).pause_at is None
    assert await run(one, "SDCARD_RESET_FILE") == (200, "ok")
    assert (await seen(one))["print_stats"]["state"] == "standby"


async def test_several_extruders_have_their_names(tmp_path: Path) -> None:
    many = PrinterSettings("one", "virtual", profile=PrinterProfile(extruders=2, heated_chamber=True))
    async with hosted(tmp_path, printers=(many,)) as one:
        script = "ACTIVATE_EXTRUDER EXTRUDER=extruder1\nT1\nSET_HEATER_TEMPERATURE HEATER=extruder1 TARGET=200\n"
        script += "SET_HEATER_TEMPERATURE HEATER='heater_generic chamber' TARGET=50"
        assert await run(one, script) == (200, "ok")
        assert one.machine.sent == ["T1", "T1", "M104 T1 S200", "M141 S50"]
        assert {"T0", "T1"} <= set(names_of(one.host.printers.default()))


async def test_a_script_goes_on_behind_a_word_that_the_firmware_does_not_know(one: Hosted) -> None:
    """As a live one: 200, and what the machine says to it is at the console."""
    one.machine.unknown = {"NOSUCH", "FROB"}
    assert await run(one, "G28\nNOSUCH now\nG1 X5\nFROB\nM84") == (200, "ok")
    assert one.machine.sent == ["G28", "NOSUCH now", "G1 X5", "FROB", "M84"]


async def test_a_command_whose_line_the_firmware_does_not_know_is_not_possible(one: Hosted) -> None:
    one.machine.unknown = {"M701"}
    words = "LOAD_FILAMENT is not possible on one: its firmware has no M701"
    assert await run(one, "LOAD_FILAMENT\nM117 loaded") == (400, words)
    assert one.machine.sent == ["M701"]


async def test_what_was_wrong_is_told_at_the_console(one: Hosted) -> None:
    assert (await run(one, "T5"))[0] == 400
    assert await console(one) == ["!! there is no tool 5: the profile has 1"]


async def test_temperatures_are_told_to_who_asks_for_them(one: Hosted) -> None:
    one.machine.answers = {"M105": ["T:20.5 /0.0 B:20.0 /0.0 @:0"], "M115": ["FIRMWARE_NAME:x"]}
    assert await run(one, "M105\nM115") == (200, "ok")
    assert await console(one) == ["T:20.5 /0.0 B:20.0 /0.0 @:0"]


@pytest.mark.parametrize(
    ("asked", "answer", "script", "told", "says"),
    [
        ("M851", "echo:M851 X-10.00 Y5.00 Z-1.20 ; (mm)", "Z_OFFSET_APPLY_PROBE", "M851 Z-1.3", "-1.300"),
        ("M851", "M851 Z-0.5", "Z_OFFSET_APPLY_PROBE", "M851 Z-0.6", "-0.600"),
        ("M851", "Probe Z Offset: -0.5", "Z_OFFSET_APPLY_PROBE", "M851 Z-0.6", "-0.600"),
        ("M851", "echo:Probe Offset X0.00 Y0.00 Z-0.50", "Z_OFFSET_APPLY_PROBE", "M851 Z-0.6", "-0.600"),
        ("M206", "echo:  M206 X0.00 Y0.00 Z0.20", "Z_OFFSET_APPLY_ENDSTOP", "M206 Z0.3", "0.300"),
    ],
)
async def test_babysteps_become_the_machine_s_own_offset_once(
    one: Hosted, asked: str, answer: str, script: str, told: str, says: str
) -> None:
    one.machine.say(firmware=MARLIN, z_offset=-0.1, lines_sent=10)
    one.machine.answers = {asked: [answer]}
    assert await run(one, script) == (200, "ok")
    assert one.machine.sent == [asked, told]
    assert says in (await console(one))[-1]
    new = f"{asked} X0.00 Y0.00 Z{told.partition('Z')[2]}"
    one.machine.answers = {asked: [new]}
    assert await run(one, script) == (200, "ok")
    assert one.machine.sent == [asked, told, asked]
    one.machine.say(z_offset=-0.3, lines_sent=3)  # the machine began anew, and was moved again
    assert await run(one, script) == (200, "ok")
    assert len(one.machine.sent) == 5


async def test_a_machine_that_does_not_say_its_offset_is_not_guessed_at(one: Hosted) -> None:
    one.machine.say(firmware=MARLIN, z_offset=-0.1)
    status, words = await run(one, "Z_OFFSET_APPLY_PROBE")
    assert (status, one.machine.sent) == (400, ["M851"])
    assert "M851" in words


M119 = [
    "Reporting endstop status",
    "x_min: open",
    "x_max: TRIGGERED",
    "y_min: open",
    "z_probe: TRIGGERED",
    "filament: open",
]


async def test_endstops_are_asked_for(one: Hosted) -> None:
    one.machine.answers = {"M119": M119}
    said = {"x": "TRIGGERED", "y": "open", "z_probe": "TRIGGERED"}  # a filament sensor is none
    async with one.client(role=Role.OPERATOR) as client:
        assert (await client.get("/printer/query_endstops/status")).json() == {"result": said}
    one.machine.answers = {"M119": ["z_min: TRIGGERED"]}
    assert await run(one, "QUERY_ENDSTOPS") == (200, "ok")
    async with one.client(role=Role.VIEWER) as client:
        seen = (await client.get("/printer/objects/query?query_endstops")).json()["result"]["status"]
    assert seen["query_endstops"] == {"last_query": {"z": True}}


async def test_an_object_is_left_out_of_what_is_printed(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    await one.put("a.gcode")
    there = (NamedObject("Cube 1.stl", 0, 0, 9, 9, ((0, 10),)), NamedObject("ring", 20, 20, 29, 29, ((10, 10_000),)))
    analysis = Analysis(1.0, 1, 1, {}, None, None, LayerIndex((0,), (0.2,), (0.0,), 1.0), objects=there)

    file = one.host.files.get("a.gcode")

    async def analysed(path: str) -> Analysis:
        return analysis

    monkeypatch.setattr(one.host.files, "analysis", analysed)
    monkeypatch.setattr(one.host.files, "get", lambda path: msgspec.structs.replace(file, analysis=analysis.outline()))
    assert (await run(one, "EXCLUDE_OBJECT NAME=RING"))[0] == 400
    assert await run(one, "SDCARD_PRINT_FILE FILENAME=a.gcode\nEXCLUDE_OBJECT NAME=cube_1_stl") == (200, "ok")
    live = one.machine.snapshot.run
    assert live is not None
    assert live.excluded == ("Cube 1.stl",)
    status, words = await run(one, "EXCLUDE_OBJECT NAME=hat")
    assert (status, words) == (400, "There is no object HAT in what is printed; there are: CUBE_1_STL, RING")
    one.machine.say(run=msgspec.structs.replace(live, file_bytes=50))
    assert await run(one, "EXCLUDE_OBJECT CURRENT=1\nEXCLUDE_OBJECT") == (200, "ok")
    assert (await console(one))[-1] == "// left out: CUBE_1_STL RING"
    assert (await run(one, "EXCLUDE_OBJECT RESET=1"))[0] == 400


def test_every_command_says_what_becomes_of_it() -> None:
    assert not COMMANDS.keys() & REFUSED.keys()
    for entry in COMMANDS.values():
        assert entry.name == entry.name.upper()
        assert entry.help
        assert entry.marlin
