"""How long moves take, against a planner that goes from move to move, and against the simulated machine."""

import gzip
import io
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.file import Analysis
from polyhost.firmware.marlin.simulator import Machine, MotionLimits, Settings
from polyhost.gcode.analysis import analyse
from polyhost.gcode.limits import Limits
from tests.firmware.simulated import Bench
from tests.gcode.plain_planner import moves_of, times_of

SAMPLES = Path(__file__).parent / "samples"

MACHINES = {
    "jerk": Limits(),
    "stiff": Limits(jerk=(0.5, 0.5, 0.1, 0.2), acceleration=400.0, max_acceleration=(300.0, 900.0, 50.0, 100.0)),
    "deviation": Limits(junction_deviation=0.013),
    "corner": Limits(corner_velocity=5.0, acceleration=3000.0, max_acceleration=(3e3, 3e3, 1e2, 5e3)),
    "never slow": Limits(min_feedrate=20.0, min_travel_feedrate=30.0),
}


def analysed(text: str | bytes, limits: Limits = MACHINES["jerk"], **how: Any) -> Analysis:
    data = text.encode() if isinstance(text, str) else text
    return analyse(io.BytesIO(data), len(data), limits, **how)


def sample(name: str) -> bytes:
    opened = lzma.open if name.endswith("xz") else gzip.open
    with opened(SAMPLES / name) as file:
        return bytes(file.read())


def number(low: float, high: float) -> st.SearchStrategy[str]:
    return st.floats(low, high).map(lambda value: f"{value:.3f}")


def words(**axes: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.fixed_dictionaries({}, optional=axes).map(
        lambda given: " ".join(["G1", *(letter + text for letter, text in given.items())])
    )


MOVES = st.one_of(
    words(X=number(-20, 200), Y=number(0, 200), Z=number(0, 20), E=number(-5, 50), F=number(60, 20000)),
    words(X=number(100, 100.3), Y=number(100, 100.3), E=number(0, 0.1)),
    st.sampled_from(["G92 E0", "G92 X5", "G91", "G90", "M82", "M83", "G20", "G21", "G4 P0", "M400", "T1", "T0"]),
    st.sampled_from(["M220 S50", "M221 S110"]),
)


@given(st.lists(MOVES, max_size=60), st.sampled_from(sorted(MACHINES)))
def test_moves_take_what_a_plain_planner_says(commands: list[str], machine: str) -> None:
    expected = times_of(moves_of(commands), MACHINES[machine])
    found = analysed("\n".join(commands), MACHINES[machine])
    assert found.moves == len(expected)
    assert found.duration_s == pytest.approx(sum(expected), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "name", ["prusaslicer_small.gcode.gz", "prusaslicer_medium_cut.gcode.xz", "cura_small.gcode.gz"]
)
def test_a_real_file_takes_what_a_plain_planner_says(name: str, machine: str) -> None:
    commands = [line.partition(b";")[0].strip().decode() for line in sample(name).splitlines()[:3000]]
    commands = [command for command in commands if command]
    expected = sum(times_of(moves_of(commands), MACHINES[machine]))
    assert analysed("\n".join(commands), MACHINES[machine]).duration_s == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "printed_s"), [("prusaslicer_small.gcode.gz", 1156), ("prusaslicer_gui_small_thumbnails.gcode.gz", 826)]
)
def test_prusaslicer_comes_to_the_same_time(name: str, printed_s: float) -> None:
    found = analysed(sample(name))
    assert found.duration_s == pytest.approx(printed_s, rel=0.01)
    assert found.limits_from == "slicer"


def seconds_on(machine: Machine, commands: list[str]) -> float:
    """Machine seconds from the first command to the end of the last move."""
    bench = Bench(machine, speed=1.0)
    bench.say("M302 P1")  # cold, since heating is not the planner's
    return bench.run(commands)


@pytest.mark.parametrize("deviation", [0.0, 0.013])
@pytest.mark.parametrize(
    "name", ["prusaslicer_small.gcode.gz", "cura_small.gcode.gz", "prusaslicer_medium_cut.gcode.xz"]
)
def test_the_simulated_machine_takes_as_long(name: str, deviation: float) -> None:
    lines = sample(name).splitlines()[:2500]
    commands = [line.partition(b";")[0].strip().decode() for line in lines]
    commands = [command for command in commands if command and command[:3] not in ("M10", "M14", "M19", "G28")]
    machine = Machine(settings=Settings(limits=MotionLimits(junction_deviation=deviation)))
    expected = analysed("\n".join(commands), Limits(junction_deviation=deviation)).duration_s
    assert seconds_on(machine, commands) == pytest.approx(expected, rel=0.005, abs=0.2)


ARCS = """G21
G90
M83
G1 X50 Y50 Z0.2 F6000
G2 X60 Y60 I10 J0 E1 F2400
G3 X50 Y50 R14 E1
G3 X50 Y50 I5 J5 E2
G2 X70 Y50 R-12
G4 P1500
M204 P500 T800
G1 X10 Y10 E.5
M205 X3 Y3
G3 X20 Y10 I5 J0
M203 X30 Y30
G1 X120 Y10
G10
G1 X10 Y10
G11
G91
G1 X5
G2 X4 Y4 I4 J0
G90
M220 S50
G1 X100 Y100 F9000
M201 X100 Y100
G1 X0 Y0
T0
G92 X5 Y5
G1 X0 Y0
"""


@pytest.mark.parametrize("deviation", [0.0, 0.02])
def test_arcs_dwells_limits_and_retractions_take_as_long_as_on_the_simulated_machine(deviation: float) -> None:
    settings = Settings(limits=MotionLimits(junction_deviation=deviation), recover_feedrate=8.0)
    found = analysed(ARCS, Limits(junction_deviation=deviation))
    assert found.limits_from == "file"
    assert seconds_on(Machine(settings=settings), ARCS.split("\n")[:-1]) == pytest.approx(found.duration_s, rel=0.02)


def test_more_moves_than_are_ever_needed_to_stop_are_planned_in_bounded_memory() -> None:
    """A machine that could never stop: the planner settles what it has after so many moves."""
    slow = Limits(max_acceleration=(0.1, 0.1, 0.1, 0.1), acceleration=0.1)
    found = analysed("G91\n" + "G1 X0.01 F99999\n" * 100_000, slow)
    assert found.moves == 100_000
    assert 0 < found.duration_s < 1e5
