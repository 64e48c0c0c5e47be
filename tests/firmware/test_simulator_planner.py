"""The planner's times against a planner that sees every move at once, written the long way."""

import gzip
import random
import re
from collections.abc import Sequence
from itertools import pairwise
from math import cos, inf, pi, sin, sqrt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.firmware.marlin.simulator import Machine, MotionLimits, Settings
from polyhost.firmware.marlin.simulator.planner import Place, Planner
from tests.firmware.simulated import Bench

LIMITS = MotionLimits()
SAMPLES = Path(__file__).parents[1] / "gcode" / "samples"

Move = tuple[Place, float]
"""Where to, and at what feedrate in mm/s."""


def brute_force(moves: Sequence[Move], limits: MotionLimits) -> float:
    """Seconds from rest to rest, by one backward and one forward pass over everything."""
    lengths, speeds, accelerations, velocities = [], [], [], []
    for (start, _), (end, feedrate) in pairwise([((0.0, 0.0, 0.0, 0.0), 0.0), *moves]):
        delta = [b - a for a, b in zip(start, end, strict=True)]
        length = sqrt(sum(part * part for part in delta[:3])) or abs(delta[3])
        if not length:
            continue
        unit = [part / length for part in delta]
        speed = min(
            [feedrate] + [most / abs(u) for u, most in zip(unit, limits.max_feedrate, strict=True) if abs(u) > 1e-12]
        )
        if not any(delta[:3]):
            wanted = limits.retract_acceleration
        else:
            wanted = limits.acceleration if delta[3] else limits.travel_acceleration
        wanted = min(
            [wanted] + [most / abs(u) for u, most in zip(unit, limits.max_acceleration, strict=True) if abs(u) > 1e-12]
        )
        lengths.append(length)
        speeds.append(speed)
        accelerations.append(wanted)
        velocities.append([u * speed for u in unit])

    def safe(index: int) -> float:
        factor = min([1.0] + [j / abs(v) for v, j in zip(velocities[index], limits.jerk, strict=True) if abs(v) > j])
        return speeds[index] * factor

    entries = [safe(0)]
    for index in range(1, len(lengths)):
        junction = min(speeds[index - 1], speeds[index])
        shrink = junction / speeds[index - 1]
        factor = 1.0
        for before, after, jerk in zip(velocities[index - 1], velocities[index], limits.jerk, strict=True):
            leaving = before * shrink
            jump = abs(after - leaving) if leaving * after > 0 else max(abs(after), abs(leaving))
            factor = min(factor, jerk / jump if jump > jerk else 1.0)
        junction *= factor
        if min(safe(index - 1), safe(index)) > 0.99 * junction:
            junction = safe(index)
        entries.append(junction)
    entries.append(0.0)
    for index in reversed(range(len(lengths))):
        entries[index] = min(entries[index], sqrt(entries[index + 1] ** 2 + 2 * accelerations[index] * lengths[index]))
    for index in range(len(lengths)):
        entries[index + 1] = min(
            entries[index + 1], sqrt(entries[index] ** 2 + 2 * accelerations[index] * lengths[index])
        )
    total = 0.0
    for index, (length, speed, acceleration) in enumerate(zip(lengths, speeds, accelerations, strict=True)):
        enter, leave = entries[index], entries[index + 1]
        peak = min(speed, sqrt(acceleration * length + (enter * enter + leave * leave) / 2))
        ramps = (2 * peak * peak - enter * enter - leave * leave) / (2 * acceleration)
        total += (2 * peak - enter - leave) / acceleration + max(length - ramps, 0.0) / peak
    return total


def planned(moves: Sequence[Move], limits: MotionLimits, blocks: int = 16) -> float:
    """Seconds by the planner, fed whenever it has room; it starts when it is full or has heard all."""
    planner = Planner(limits, blocks, first_move_delay_s=1e9)
    now = 0.0
    for place, feedrate in moves:
        while not planner.add(*place, feedrate, now):
            now = planner.busy_until
    planner.start(now)
    planner.advance(now)
    while planner.queued:
        now = planner.busy_until
        planner.advance(now)
    return now


def zigzag(seed: int) -> list[Move]:
    dice = random.Random(seed)
    e = 0.0
    moves: list[Move] = []
    for _ in range(300):
        e += dice.choice([0.0, dice.uniform(0.0, 1.0)])
        moves.append(((dice.uniform(0, 200), dice.uniform(0, 200), 0.2, e), dice.uniform(5, 250)))
    return moves


def circles(radius: float, segment: float, feedrate: float) -> list[Move]:
    """Ten layers of one circle in short segments, with a retraction and a travel in between."""
    moves: list[Move] = []
    e = 0.0
    steps = int(2 * pi * radius / segment)
    for layer in range(10):
        z = 0.2 * (layer + 1)
        moves.append(((100 + radius, 100.0, z, e - 2.0), 150.0))
        moves.append(((100 + radius, 100.0, z, e), 40.0))
        for step in range(1, steps + 1):
            angle = 2 * pi * step / steps
            e += segment * 0.03
            moves.append(((100 + radius * cos(angle), 100 + radius * sin(angle), z, e), feedrate))
    return moves


PATHS = {
    "one move": [((100.0, 0.0, 0.0, 0.0), 100.0)],
    "too short to reach its speed": [((1.0, 0.0, 0.0, 0.0), 300.0)],
    "there and back": [((50.0 * (n % 2), 0.0, 0.0, n * 0.5), 120.0) for n in range(1, 60)],
    "retractions": [((0.0, 0.0, 0.0, float(n % 2)), 40.0) for n in range(1, 40)],
    "only z": [((0.0, 0.0, 0.3 * n, 0.0), 20.0) for n in range(1, 40)],
    "zigzag 1": zigzag(1),
    "zigzag 2": zigzag(2),
    "circles of 1 mm": circles(20.0, 1.0, 80.0),
    "circles of 0.3 mm": circles(10.0, 0.3, 60.0),
    "slow circles of 0.05 mm": circles(3.0, 0.05, 30.0),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_with_room_for_everything_the_time_is_that_of_the_brute_force(path: list[Move]) -> None:
    assert planned(path, LIMITS, len(path) + 1) == pytest.approx(brute_force(path, LIMITS), rel=2e-3)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_with_sixteen_blocks_it_is_within_three_percent(path: list[Move]) -> None:
    assert planned(path, LIMITS) == pytest.approx(brute_force(path, LIMITS), rel=0.03)


@given(
    places=st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 5), st.integers(-20, 50)), min_size=1
    ),
    feedrate=st.sampled_from([1.0, 20.0, 100.0, 400.0]),
    junction_deviation=st.sampled_from([0.0, 0.02]),
)
def test_any_moves_end_and_none_faster_than_the_limits_allow(
    places: list[tuple[int, int, int, int]], feedrate: float, junction_deviation: float
) -> None:
    limits = MotionLimits(junction_deviation=junction_deviation)
    moves: list[Move] = [((x / 10, y / 10, z / 10, e / 10), feedrate) for x, y, z, e in places]
    least = 0.0
    for (start, _), (end, _) in pairwise([((0.0, 0.0, 0.0, 0.0), 0.0), *moves]):
        delta = [abs(b - a) for a, b in zip(start, end, strict=True)]
        least += max(
            sqrt(sum(part * part for part in delta[:3])) / feedrate,
            *(part / most for part, most in zip(delta, limits.max_feedrate, strict=True)),
        )
    took = planned(moves, limits)
    assert least - 1e-9 <= took < inf


def test_a_sharper_corner_takes_longer_by_junction_deviation_too() -> None:
    limits = MotionLimits(junction_deviation=0.02)

    def corner(degrees: float) -> float:
        turn = degrees * pi / 180
        return planned(
            [((50.0, 0.0, 0.0, 0.0), 100.0), ((50 + 50 * cos(turn), 50 * sin(turn), 0.0, 0.0), 100.0)], limits
        )

    times = [corner(degrees) for degrees in (0, 10, 30, 60, 90, 135, 180)]
    assert times == sorted(times)
    assert times[0] < times[2] < times[4] < times[6] + 1e-6


def test_a_short_travel_along_a_line_keeps_its_speed_by_junction_deviation() -> None:
    limits = MotionLimits(junction_deviation=0.02)
    in_parts = planned([((n / 10, 0.0, 0.0, 0.0), 20.0) for n in range(1, 500)], limits)
    assert in_parts == pytest.approx(planned([((49.9, 0.0, 0.0, 0.0), 20.0)], limits), rel=1e-3)


def limits_of(gcode: str) -> MotionLimits:
    """What the slicer wrote of the machine at the end of its file."""

    def setting(name: str) -> float:
        found = re.search(rf"^; machine_max_{name} = ([\d.]+)", gcode, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def axes(name: str) -> tuple[float, float, float, float]:
        return setting(f"{name}_x"), setting(f"{name}_y"), setting(f"{name}_z"), setting(f"{name}_e")

    return MotionLimits(
        max_feedrate=axes("feedrate"),
        max_acceleration=axes("acceleration"),
        acceleration=setting("acceleration_extruding"),
        retract_acceleration=setting("acceleration_retracting"),
        travel_acceleration=setting("acceleration_travel"),
        jerk=axes("jerk"),
    )


@pytest.mark.parametrize(
    ("sample", "slicer_says_s"),
    [("prusaslicer_small.gcode.gz", 19 * 60 + 16), ("prusaslicer_gui_small_thumbnails.gcode.gz", 13 * 60 + 46)],
)
def test_a_sliced_file_takes_the_time_its_slicer_planned(sample: str, slicer_says_s: float) -> None:
    """Without heating and homing, which the slicer does not count."""
    gcode = gzip.decompress((SAMPLES / sample).read_bytes()).decode()
    machine = Machine(settings=Settings(limits=limits_of(gcode)), homing_feedrate=(1e6, 1e6, 1e6))
    bench = Bench(machine, speed=1.0)
    bench.say("M302 P1")
    commands = (line.split(";")[0].strip() for line in gcode.splitlines())
    took = bench.run(line for line in commands if line and line[:4] not in {"M104", "M109", "M140", "M190"})
    assert took == pytest.approx(slicer_says_s, rel=0.03)
