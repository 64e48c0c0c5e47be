"""Where limits are said, and what each way of saying them means."""

import subprocess
import sys

import pytest

from polyhost.gcode.limits import Limits, limits_from_m503, limits_from_settings

M503 = """\
echo:; Linear Units:
echo:  G21    ; (mm)
echo:; Maximum feedrates (units/s):
echo:  M203 X500.00 Y400.00 Z5.00 E25.00
echo:; Maximum Acceleration (units/s2):
echo:  M201 X3000.00 Y2000.00 Z100.00 E10000.00
echo:; Acceleration (units/s2): P<print_accel> R<retract_accel> T<travel_accel>
echo:  M204 P500.00 R1000.00 T700.00
echo:; Advanced: B<min_segment_time_us> S<min_feedrate> T<min_travel_feedrate> J<junc_dev>
""".splitlines()
JERK = "echo:  M205 B20000.00 S1.00 T2.00 X8.00 Y9.00 Z0.40 E5.00"
DEVIATION = "echo:  M205 B20000.00 S0.00 T0.00 J0.01"


def test_what_a_machine_answers() -> None:
    limits = limits_from_m503([*M503, JERK])
    assert limits == Limits(
        max_feedrate=(500, 400, 5, 25),
        max_acceleration=(3000, 2000, 100, 10000),
        acceleration=500,
        retract_acceleration=1000,
        travel_acceleration=700,
        jerk=(8, 9, 0.4, 5),
        min_feedrate=1,
        min_travel_feedrate=2,
        source="machine",
    )
    assert limits_from_m503([*M503, DEVIATION]).junction_deviation == 0.01
    assert limits_from_m503([*M503, JERK], Limits(junction_deviation=0.02)).junction_deviation == 0
    assert limits_from_m503(["ok", "echo:Unknown command: M503"]) == Limits()


@pytest.mark.parametrize(
    ("code", "words", "changed"),
    [
        ("M201", {"X": 500}, {"max_acceleration": (500, 1500, 200, 5000)}),
        ("M203", {"Z": 5, "E": 0}, {"max_feedrate": (300, 300, 5, 120)}),
        ("M204", {"S": 900}, {"acceleration": 900, "travel_acceleration": 900}),
        (
            "M204",
            {"P": 800, "R": 700, "T": 600},
            {"acceleration": 800, "retract_acceleration": 700, "travel_acceleration": 600},
        ),
        ("M205", {"X": 5, "J": 0.03}, {"jerk": (5, 8, 0.4, 4.5), "junction_deviation": 0.03}),
        ("M205", {"S": 0, "T": 3}, {"min_travel_feedrate": 3}),
        ("M566", {"X": 600}, {"jerk": (10, 8, 0.4, 4.5)}),
        ("M204", {"P": -5}, {}),
        ("M106", {"S": 255}, {}),
    ],
)
def test_what_commands_set(code: str, words: dict[str, float], changed: dict[str, object]) -> None:
    after = Limits().after(code, words)
    assert {
        name: getattr(after, name)
        for name in Limits.__struct_fields__
        if getattr(after, name) != getattr(Limits(), name)
    } == changed


def test_reprapfirmware_counts_in_minutes() -> None:
    assert Limits().after("M203", {"X": 6000}, per_minute=True).max_feedrate[0] == 100


def test_klipper() -> None:
    after = Limits().after_velocity_limit({"VELOCITY": 200, "ACCEL": 4000, "SQUARE_CORNER_VELOCITY": 6})
    assert after.max_feedrate == (200, 200, 12, 120)
    assert (after.acceleration, after.travel_acceleration, after.corner_velocity) == (4000, 4000, 6)


def test_a_slicers_settings() -> None:
    settings = {
        "machine_limits_usage": "time_estimate_only",
        "machine_max_acceleration_x": "9000,1000",
        "machine_max_acceleration_extruding": "1500,1250",
        "machine_max_acceleration_travel": "0",
        "machine_max_feedrate_z": "12;11",
        "machine_max_speed_e": "99",
        "machine_max_jerk_e": "2.5",
        "machine_min_travel_rate": "nonsense",
    }
    limits = limits_from_settings(settings, Limits())
    assert limits.max_acceleration == (9000, 1500, 200, 5000)
    assert (limits.acceleration, limits.travel_acceleration) == (1500, 1500)
    assert limits.max_feedrate == (300, 300, 12, 99)
    assert limits.jerk == (8, 8, 0.4, 2.5)
    assert limits.source == "slicer"


def test_what_the_engine_imports_brings_no_numpy() -> None:
    code = "import polyhost.gcode.reader, polyhost.gcode.modal, polyhost.gcode.limits, polyhost.gcode.metadata, sys"
    check = f"{code}; assert not {{'numpy', 'PIL'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=30)
