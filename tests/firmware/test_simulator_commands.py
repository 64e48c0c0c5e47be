"""What each command answers and does."""

import re
from math import pi

import pytest

from polyhost.firmware.marlin.simulator import Machine, MotionLimits, Settings
from tests.firmware.simulated import Bench

ANSWERS: dict[str, tuple[list[str], list[str]]] = {
    "a move": (["G1 X1 Y2 F3000"], []),
    "no space after the code": (["G1X10Y20", "M114"], ["X:10.00 Y:20.00 Z:0.00 E:0.00 Count X:800 Y:1600 Z:0"]),
    "leading zeros and small letters": (["g01 x10 y-5.5", "M114"], [
        "X:10.00 Y:-5.50 Z:0.00 E:0.00 Count X:800 Y:-440 Z:0",
    ]),
    "two spaces, and words that mean nothing": (["G0  X10 S5 Q", "M114"], [
        "X:10.00 Y:0.00 Z:0.00 E:0.00 Count X:800 Y:0 Z:0",
    ]),
    "relative": (["G1 X5 Y5", "G91", "G1 X5 Y-1 E2", "M114"], ["X:10.00 Y:4.00 Z:0.00 E:2.00 Count X:800 Y:320 Z:0"]),
    "relative E alone": (["M83", "G1 X5 E1", "G1 X5 E1", "M114"], ["X:5.00 Y:0.00 Z:0.00 E:2.00 Count X:400 Y:0 Z:0"]),
    "M82 after M83": (["M83", "M82", "G1 E1", "G1 E1", "M114"], ["X:0.00 Y:0.00 Z:0.00 E:1.00 Count X:0 Y:0 Z:0"]),
    "inches": (["G20", "G1 X1", "G21", "M114"], ["X:25.40 Y:0.00 Z:0.00 E:0.00 Count X:2032 Y:0 Z:0"]),
    "G92 of one axis": (["G1 X5 E9", "G92 E0", "M114"], ["X:5.00 Y:0.00 Z:0.00 E:0.00 Count X:400 Y:0 Z:0"]),
    "G92 alone": (["G1 X5 E9", "G92", "M114"], ["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"]),
    "arcs": (["G2 X10 Y0 I5 J0", "G3 X0 Y0 R5", "M114"], ["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"]),
    "an arc without a centre": (["G2 X10 Y0"], ["echo:G2/G3 bad parameters"]),
    "an arc too wide for its radius": (["G3 X100 Y0 R5"], ["echo:G2/G3 bad parameters"]),
    "dwell": (["G4 P1000", "G4 S1"], []),
    "firmware retraction": (["G10", "G10", "G11", "G11", "M114"], ["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"]),
    "home": (["G1 X50 Y50 Z5", "G28 X", "G28 Y0 Z0"], [
        "X:0.00 Y:50.00 Z:5.00 E:0.00 Count X:0 Y:4000 Z:2000",
        "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0",
    ]),
    "probing before homing": (["G29", "M48"], ["echo:Home XYZ First", "echo:Home XYZ First"]),
    "probing where the probe cannot be": (["G30 X0 Y0", "G28", "M48 X249 Y0"], [
        "Z Probe Past Bed", "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0",
        "M48 Z-Probe Repeatability Test", "? (X,Y) out of bounds.",
    ]),
    "a test of too few": (["G28", "M48 P3", "M48 V9"], [
        "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0",
        "M48 Z-Probe Repeatability Test", "?Sample size not plausible (4-50).", "?(V)erbose level implausible (0-4).",
    ]),
    "aligning with what cannot be": (["G34 I0.5", "G34 I31", "G34 T2"], [
        "?(I)teration out of bounds (1-30).", "?(I)teration out of bounds (1-30).",
        "?(T)arget accuracy out of bounds (0.01-1.0).",
    ]),
    "filament": (["M701 L20", "M114", "M702 U30", "M114"], [
        "X:0.00 Y:0.00 Z:0.00 E:20.00 Count X:0 Y:0 Z:0", "X:0.00 Y:0.00 Z:0.00 E:-10.00 Count X:0 Y:0 Z:0",
    ]),
    "filament into a cold hotend": (["M302 P0", "M701", "M702"], ["echo:Hotend too cold", "echo:Hotend too cold"]),
    "pins and lights": (["M42 P33 S128", "M42 P999 S1", "M42 P4 S1", "M42 P4 S1 I", "M150 R255 U128"], [
        "Error:Protected Pin",
    ]),
    "input shaping": (["M593", "M593 F40 D0.2", "M593 X F55", "M593 F3", "M593 D2", "M593"], [
        "echo:  M593 X F0.00 D0.15", "echo:  M593 Y F0.00 D0.15",
        "?Frequency (F) must be greater than 7.63 or 0 to disable", "echo:?Zeta (D) value out of range (0-1)",
        "echo:  M593 X F55.00 D0.20", "echo:  M593 Y F40.00 D0.20",
    ]),
    "levelling": (["M420 S1"], ["echo:Bed Leveling ON", "echo:Fade Height 10.00"]),
    "motors": (["M17", "M84", "M18 X", "M84 S10"], []),
    "progress and messages": (["M73 P10 R50", "M117 Hello there"], []),
    "timer": (["M75", "M76", "M31", "M77"], ["echo:Print time: 0s"]),
    "M108 with nobody waiting": (["M108"], []),
    "M110": (["M110 N5"], []),
    "M111": (["M111 S7", "M111 S0"], ["echo:DEBUG:ECHO,INFO,ERRORS", "echo:DEBUG:off"]),
    "M113": (["M113", "M113 S5", "M113"], ["echo:M113 S2", "echo:M113 S5"]),
    "M118": (["M118 hello", "M118 E1 hello", "M118 A1 action:cancel", "M118 P0 E hi"], [
        "hello", "echo:hello", "//action:cancel", "E hi",
    ]),
    "M119": (["G28", "M119"], [
        "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0",
        "Reporting endstop status", "x_min: TRIGGERED", "y_min: TRIGGERED", "z_min: TRIGGERED", "z_probe: open",
        "filament: TRIGGERED",
    ]),
    "M119 before homing": (["M119"], [
        "Reporting endstop status", "x_min: open", "y_min: open", "z_min: open", "z_probe: open", "filament: TRIGGERED",
    ]),
    "feedrate factor": (["M220", "M220 S50", "M220"], ["FR:100%", "FR:50%"]),
    "flow factor": (["M221", "M221 S95", "M221", "M221 T3"], [
        "echo:E0 Flow: 100%", "echo:E0 Flow: 95%", "echo:M221 Invalid extruder 3",
    ]),
    "limits": (["M201 X900 E3000", "M201", "M203 Z10", "M203", "M204 P800 T2000", "M204", "M204 S500", "M204"], [
        "echo:  M201 X900.00 Y1500.00 Z200.00 E3000.00",
        "echo:  M203 X300.00 Y300.00 Z10.00 E120.00",
        "echo:  M204 P800.00 R1250.00 T2000.00",
        "echo:  M204 P500.00 R1250.00 T500.00",
    ]),
    "jerk": (["M205 X10 Y10 S1", "M205"], ["echo:  M205 B20000.00 S1.00 T0.00 X10.00 Y10.00 Z0.40 E4.50"]),
    "limits that cannot be": (["M204 P0", "M205 X-1", "M204", "M205"], [
        "echo:  M204 P1250.00 R1250.00 T1250.00",
        "echo:  M205 B20000.00 S0.00 T0.00 X8.00 Y8.00 Z0.40 E4.50",
    ]),
    "offsets": (["M851 Z-1.5", "M851", "M206 X1", "M206"], [
        "echo:  M851 X23.00 Y5.00 Z-1.50", "echo:  M206 X1.00 Y0.00 Z0.00",
    ]),
    "steps": (["M92 E400", "M92"], ["echo:  M92 X80.00 Y80.00 Z400.00 E400.00"]),
    "retraction settings": (["M207 S1 F3000", "M207", "M208 F1800", "M208"], [
        "echo:  M207 S1.00 F3000.00", "echo:  M208 F1800.00",
    ]),
    "PID": (["M301 P20", "M304 I6"], ["echo: p:20.00 i:1.08 d:114.00", "echo: p:54.00 i:6.00 d:382.00"]),
    "linear advance": (["M900 K0.05", "M900"], ["echo:Advance K=0.05"]),
    "EEPROM": (["M92 E100", "M500", "M92 E200", "M501", "M92", "M502", "M92", "M504"], [
        "echo:Settings Stored (673 bytes; crc 8192)",
        "echo:V88 stored settings retrieved (673 bytes; crc 8192)",
        "echo:  M92 X80.00 Y80.00 Z400.00 E100.00",
        "echo:Hardcoded Default Settings Loaded",
        "echo:  M92 X80.00 Y80.00 Z400.00 E93.00",
        "echo:EEPROM OK",
    ]),
    "an EEPROM never written": (["M501"], [
        "echo:EEPROM version mismatch (EEPROM=? Marlin=V88)", "echo:Hardcoded Default Settings Loaded",
    ]),
    "tools": (["T0", "T1", "T2"], ["echo:Active Extruder: 0", "echo:Active Extruder: 1", "echo:T2 Invalid extruder"]),
    "unknown": (["G99", "M9999 X1", "hello", "M862.3 P\"MK3S\"", "X10"], [
        'echo:Unknown command: "G99"', 'echo:Unknown command: "M9999 X1"', 'echo:Unknown command: "hello"',
        'echo:Unknown command: "M862.3 P"MK3S""', 'echo:Unknown command: "X10"',
    ]),
}  # fmt: skip


@pytest.mark.parametrize(("commands", "answers"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("speed", [0.0, 100.0])
def test_what_commands_answer(commands: list[str], answers: list[str], speed: float) -> None:
    bench = Bench(Machine(tools=2), speed=speed)
    bench.say("M302 P1")
    heard = [text for command in commands for text in bench.say(command, "M400")]
    assert [text for text in heard if not text.startswith(("ok", "echo:busy"))] == answers
    assert heard.count("ok") == 2 * len(commands)


def test_every_code_that_a_session_relies_on_is_known() -> None:
    bench = Bench()
    codes = "G0 G1 G4 G10 G11 G20 G21 G28 G29 G90 G91 G92 M17 M18 M20 M21 M22 M23 M24 M25 M26 M27 M29 M30 M31 M73 M75"
    codes += " M76 M77 M82 M83 M84 M92 M104 M105 M106 M107 M108 M109 M110 M111 M113 M114 M115 M117 M118 M119 M140"
    codes += " M141 M154 M155 M190 M191 M201 M203 M204 M205 M220 M221 M302 M400 M410 M420 M500 M501 M502 M503 M504"
    codes += " M851 M876 T0"
    heard = [text for code in codes.split() for text in bench.say(code)]
    assert not [text for text in heard if "Unknown" in text]


def test_m115_names_firmware_machine_and_capabilities() -> None:
    heard = Bench(Machine(name="Tester", tools=2, emergency_parser=False)).say("M115")
    assert heard[0].startswith("FIRMWARE_NAME:Marlin 2.1")
    assert "MACHINE_TYPE:Tester EXTRUDER_COUNT:2 " in heard[0]
    capabilities = dict(text.removeprefix("Cap:").split(":") for text in heard if text.startswith("Cap:"))
    assert capabilities["EMERGENCY_PARSER"] == "0"
    assert capabilities["AUTOREPORT_TEMP"] == "1"
    assert capabilities["SDCARD"] == "1"
    assert heard[-1] == "ok"


def test_m503_tells_everything_as_commands_that_set_it() -> None:
    limits = MotionLimits(max_feedrate=(400.0, 350.0, 9.0, 60.0), junction_deviation=0.02)
    told = Bench(Machine(settings=Settings(limits=limits))).say("M503")
    assert "echo:  M203 X400.00 Y350.00 Z9.00 E60.00" in told
    assert "echo:  M205 B20000.00 S0.00 T0.00 J0.02" in told
    assert [text for text in told if text.startswith("echo:; ")]
    other = Bench()
    for text in told:
        if text.startswith("echo:  M"):
            other.say(text.removeprefix("echo:  "))
    assert other.say("M503 S0")[1:] == [text for text in told if not text.startswith("echo:; ")][1:]


def test_stored_settings_outlive_a_reset() -> None:
    bench = Bench()
    bench.say("M92 E415", "M500", "M92 E500")
    bench.simulator.open(1.0)
    banner = bench.until(1.0)
    assert "echo:V88 stored settings retrieved (673 bytes; crc 8192)" in banner
    assert bench.say("M92")[0].endswith("E415.00")


def test_the_mesh_is_the_same_for_the_same_seed() -> None:
    def mesh(seed: int) -> list[str]:
        return Bench(seed=seed).say("G28", "G29")

    assert mesh(1) == mesh(1) != mesh(2)
    assert "Bilinear Leveling Grid:" in mesh(1)
    bench = Bench(seed=1)
    bench.say("G28", "G29")
    assert mesh(1)[2:-1] == bench.say("M420 V")[: len(mesh(1)) - 3]


def test_the_probe_finds_the_bed_where_the_mesh_has_it() -> None:
    bench = Bench(seed=4)
    rows = [text.split()[1:] for text in bench.say("G28", "G29") if re.match(r" \d [+-]", text)]
    for x, y, height in ((124.99, 105, rows[2][2]), (249, 209, rows[4][4])):
        bed, place, _ = bench.say(f"G30 X{x} Y{y}")
        found = re.fullmatch(rf"Bed X: {x:.2f} Y: {y:.2f} Z: (-?\d\.\d\d)", bed)
        assert found is not None, bed
        assert float(found[1]) == pytest.approx(float(height), abs=0.01)
        assert place.startswith(f"X:{x:.2f} Y:{y:.2f} Z:10.00 ")
    told = bench.say("G1 X100 Y100", "M48 P5 V2")
    samples = [float(text.split("z: ")[1]) for text in told if " of 5: z: " in text]
    assert len(samples) == 5
    last = next(text for text in told if text.startswith("Mean: "))
    assert f" Min: {min(samples):.3f} Max: {max(samples):.3f} Range: " in last
    deviation = next(float(text.split(": ")[1]) for text in told if text.startswith("Standard Deviation: "))
    assert 0.0 < deviation < 0.004


def test_pins_and_lights_are_as_they_were_told_and_the_firmware_s_own_are_not() -> None:
    bench = Bench()
    bench.say("M42 P33 S128", "M42 P4 S1", "M150 R255 U128 B999")
    assert (bench.simulator.board.pins, bench.simulator.board.light) == ({33: 128}, (255, 128, 255, 0))


def test_a_gantry_is_level_when_it_was_aligned() -> None:
    bench = Bench(seed=2)
    slopes = [float(text.removeprefix("Z2-Z1=")) for text in bench.say("G34") if text.startswith("Z2-Z1=")]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[0] >= 0.2 > 0.02 >= slopes[-1]
    assert bench.simulator.board.homed == {*"XYZ"}
    told = bench.say("G34")
    assert {"G34 Iteration: 1", "Target accuracy achieved.", "Did 1 of 5", "Accuracy: 0.00"} <= {*told}
    assert "G34 Iteration: 2" not in told
    assert 'echo:Unknown command: "G34"' in Bench(Machine(z_motors=1)).say("G34")


@pytest.mark.parametrize(
    ("commands", "seconds"),
    [
        (["G4 S2"], 2.0),
        (["M302 P1", "M701 L60"], 10.0),
        (["G4 P500"], 0.5),
        (["M0 S3"], 3.0),
        (["M1 P1500"], 1.5),
        (["G1 X100 F6000"], 1.0 + 100 / 1250),
        (["M220 S50", "G1 X100 F6000"], 2.0 + 50 / 1250),
        (["G1 Z10 F6000"], 10 / 12 + 12 / 200),  # no faster than the axis can
        (["G1 X100 F6000", "M105", "G4 S1"], 2.0 + 100 / 1250),
        (["G92 X0", "G1 X0"], 0.0),
        (["G2 X20 Y0 I10 J0 F600"], pi),
        (["G3 X20 Y0 I10 J0 F600"], pi),
        (["G2 X0 Y0 I10 J0 F600"], 2 * pi),  # a full circle
        (["G3 X0 Y0 I10 J0 F600"], 2 * pi),
        (["G2 X10 Y10 I10 J0 F600"], pi / 2),
        (["G3 X10 Y10 I10 J0 F600"], 3 * pi / 2),
        (["G2 X10 Y10 R10 F600"], pi / 2),
        (["G2 X10 Y10 R-10 F600"], 3 * pi / 2),
        (["G3 X10 Y10 R10 F600"], pi / 2),
    ],
)
@pytest.mark.parametrize("speed", [1.0, 25.0])
def test_how_long_it_takes(commands: list[str], seconds: float, speed: float) -> None:
    bench = Bench(Machine(first_move_delay_s=0.0), speed=speed)
    assert bench.run(commands) * speed == pytest.approx(seconds, rel=0.03, abs=1e-6)


def test_homing_takes_longer_from_farther_away_and_for_all_axes() -> None:
    def home(*commands: str) -> float:
        bench = Bench(speed=1.0)
        bench.say("G28")
        bench.run(commands[:-1])
        return bench.run(commands[-1:])

    near, far = home("G1 X10 F6000", "G28 X"), home("G1 X200 F6000", "G28 X")
    assert 0.0 < near < far < home("G1 X200 F6000", "G28")
    assert far - near == pytest.approx(190 / 50)


def test_the_first_move_waits_a_moment_for_others() -> None:
    bench = Bench(speed=1.0)
    bench.feed(b"G1 X1 F600\n")
    bench.until(bench.now + 0.09)
    assert "Count X:0 " in bench.feed(b"M114\n")[0]
    bench.until(bench.now + 0.5)
    assert "Count X:80 " in bench.feed(b"M114\n")[0]


def test_m114_tells_the_goal_and_where_the_steppers_are() -> None:
    bench = Bench(Machine(first_move_delay_s=0.0), speed=1.0)
    bench.feed(b"G1 X100 F600\n")
    bench.until(bench.now + 5.0)
    told = bench.feed(b"M114\n")[0]
    assert told.startswith("X:100.00 Y:0.00")
    assert 3900 < int(told.split("Count X:")[1].split()[0]) < 4100


def test_m410_stops_where_it_is_and_forgets_the_queue() -> None:
    bench = Bench(Machine(first_move_delay_s=0.0), speed=1.0)
    bench.feed(b"".join(b"G1 X%d F600\n" % (100 * n) for n in range(1, 18)))
    bench.until(bench.now + 5.0)
    heard = bench.feed(b"M410\n")
    assert heard == ["ok"] * 2  # the move that found no room, and M410 itself
    assert bench.feed(b"M400\n") == ["ok"]
    x = float(bench.feed(b"M114\n")[0].split()[0].removeprefix("X:"))
    assert 45.0 < x < 55.0


@pytest.mark.parametrize("command", ["M0", "M1 Please look", "M600"])
@pytest.mark.parametrize("answer", ["M108", "M876 S0"])
def test_a_person_is_waited_for(command: str, answer: str) -> None:
    bench = Bench(speed=1.0)
    bench.feed(command.encode() + b"\n")
    heard = bench.until(bench.now + 20.0)
    assert "ok" not in heard
    assert heard.count("echo:busy: paused for user") >= 6
    assert "//action:prompt_show" in heard or command != "M600"
    heard = bench.feed(answer.encode() + b"\n")
    assert heard.count("ok") == 2
    assert "//action:prompt_end" in heard


def test_an_answer_to_nothing_that_was_asked_changes_nothing() -> None:
    bench = Bench(speed=1.0)
    bench.feed(b"M109 S200\n")
    assert bench.feed(b"M876 S0\n") == []
    assert "ok" not in bench.until(bench.now + 5.0)


def test_m112_stops_everything_at_once_and_for_good() -> None:
    bench = Bench(speed=1.0)
    bench.feed(b"M109 S200\n" + b"G1 X10\n" * 10)
    assert bench.feed(b"M112\n") == ["Error:Printer halted. kill() called!"]
    assert bench.recorded == [b"M109 S200", b"M112"]
    assert bench.simulator.halted
    assert bench.feed(b"M105\n") == []
    assert bench.simulator.next_deadline() is None
    assert all(heater.target == 0.0 for heater in bench.simulator.board.heaters().values())
    bench.simulator.open(bench.now)
    assert bench.until(bench.now + 2.0)[0] == "start"
    assert bench.say("M105")[0].startswith("ok T:2")


def test_busy_comes_at_its_interval_until_the_command_is_done() -> None:
    bench = Bench(speed=1.0)
    bench.feed(b"G4 S7\n")
    assert bench.until(bench.now + 8.0) == ["echo:busy: processing"] * 3 + ["ok"]
    bench.feed(b"M113 S0\nG4 S7\n")
    assert bench.until(bench.now + 8.0) == ["ok"]


def test_position_is_reported_by_itself() -> None:
    bench = Bench()
    bench.say("M154 S1")
    assert bench.until(bench.now + 3.5) == ["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"] * 3


def test_an_idle_machine_says_wait_if_it_is_of_that_kind() -> None:
    bench = Bench(Machine(wait_s=1.0))
    bench.say("M110 N0")
    assert bench.until(bench.now + 3.5) == ["wait"] * 3
    assert Bench().simulator.next_deadline() is None


def test_while_it_boots_it_hears_nothing() -> None:
    bench = Bench(speed=1.0)
    bench.simulator.open(10.0)
    bench.simulator.receive(b"M105\n", 10.5)
    assert bench.simulator.next_deadline() == 11.0
    assert bench.until(20.0)[0] == "start"
    assert bench.recorded == []
