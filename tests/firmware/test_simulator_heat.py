"""Heaters: how they warm, hold and cool, and the commands that wait for them."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.firmware.marlin.simulator import Machine
from polyhost.firmware.marlin.simulator.machine import AMBIENT_C, BED, CHAMBER, HOTEND, HeaterModel
from polyhost.firmware.marlin.simulator.thermal import WINDOW_C, Heater
from tests.firmware.simulated import Bench

MODELS = {"hotend": (HOTEND, 215.0), "bed": (BED, 60.0), "chamber": (CHAMBER, 45.0)}


def stepped(model: HeaterModel, start: float, target: float, seconds: float, fan: float = 0.0) -> float:
    """The same heater by small steps: a controller that asks for a slope, and power between none and full."""
    step = 0.01
    loss_s = model.loss_s / (1.0 + model.fan_effect * fan)
    temperature, goal = start, max(target, AMBIENT_C)
    for _ in range(round(seconds / step)):
        wanted = (goal - temperature) / model.approach_s + (temperature - AMBIENT_C) / loss_s
        power = min(max(wanted, 0.0), model.rise)
        temperature += step * (power - (temperature - AMBIENT_C) / loss_s)
    return temperature


@pytest.mark.parametrize(("model", "target"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("seconds", [1.0, 20.0, 60.0, 90.0, 300.0])
def test_heating_in_closed_form_is_heating_by_small_steps(model: HeaterModel, target: float, seconds: float) -> None:
    heater = Heater(model, instant=False)
    heater.aim(target, 0.0)
    assert heater.temperature(seconds) == pytest.approx(stepped(model, AMBIENT_C, target, seconds), abs=0.1)


@pytest.mark.parametrize("target", [0.0, 60.0, 180.0])
@pytest.mark.parametrize("fan", [0.0, 1.0])
@pytest.mark.parametrize("seconds", [5.0, 40.0, 200.0])
def test_cooling_in_closed_form_is_cooling_by_small_steps(target: float, fan: float, seconds: float) -> None:
    heater = Heater(HOTEND, instant=False)
    heater.aim(215.0, 0.0)
    start = heater.temperature(300.0)
    heater.blow(fan, 300.0)
    heater.aim(target, 300.0)
    assert heater.temperature(300.0 + seconds) == pytest.approx(stepped(HOTEND, start, target, seconds, fan), abs=0.1)


@given(
    changes=st.lists(
        st.tuples(st.floats(0.0, 300.0), st.floats(0.0, 300.0), st.sampled_from([0.0, 0.5, 1.0])), max_size=8
    )
)
def test_a_temperature_never_jumps_nor_leaves_the_possible(changes: list[tuple[float, float, float]]) -> None:
    heater = Heater(HOTEND, instant=False)
    now = 0.0
    for wait_s, target, fan in changes:
        before = heater.temperature(now)
        heater.aim(target, now)
        heater.blow(fan, now)
        assert heater.temperature(now) == pytest.approx(before)
        samples = [heater.temperature(now + wait_s * n / 20) for n in range(21)]
        step_s = wait_s / 20
        for one, other in pairwise(samples):
            assert other - one <= HOTEND.rise * step_s + 1e-6
            assert AMBIENT_C - 1e-6 <= other <= max(HOTEND.max_target, before) + 1e-6
        assert 0.0 <= heater.power(now + wait_s) <= 1.0
        now += wait_s


@pytest.mark.parametrize(("model", "target"), MODELS.values(), ids=MODELS)
def test_it_settles_when_it_says(model: HeaterModel, target: float) -> None:
    heater = Heater(model, instant=False)
    heater.aim(target, 5.0)
    at = heater.settled_at(5.0)
    assert heater.temperature(at) == pytest.approx(target - WINDOW_C, abs=1e-6)
    assert heater.settled_at(at + 1.0) == at + 1.0


def test_a_hotend_is_hot_in_a_minute_or_two_and_holds() -> None:
    bench = Bench(speed=1.0)
    began = bench.now
    heard = bench.say("M109 S215")
    assert 45.0 < bench.now - began < 150.0
    readings = [float(found[1]) for text in heard if (found := re.match(r" T:([\d.]+) /215\.00", text))]
    assert len(readings) == int(bench.now - began)
    assert readings == sorted(readings)
    assert readings[-1] == pytest.approx(215.0, abs=WINDOW_C)
    assert "echo:busy: processing" in heard
    assert heard[-2].split()[-1] in {"W:0", "W:1"}
    assert heard[0].endswith("@:127 B@:0 W:?")
    power = re.search(r" @:(\d+) ", bench.say("M105")[0])
    assert power is not None
    assert 30 < int(power[1]) < 90  # what holds it


@pytest.mark.parametrize(
    ("first", "then", "least_s", "most_s"),
    [
        ("M109 S200", "M109 S200", 0.0, 5.0),  # is there
        ("M109 S200", "M109 S100", 0.0, 0.0),  # S does not wait for cooling
        ("M109 S200", "M109 R100", 60.0, 300.0),
        ("M109 S200", "M109 R0", 60.0, 1500.0),  # gives up when it hardly cools any more
        ("M104 S0", "M109 S0", 0.0, 5.0),
        ("M104 S0", "M190 S60", 40.0, 200.0),
        ("M190 S60", "M190 R40", 40.0, 400.0),
        ("M104 S0", "M191 S40", 100.0, 600.0),
        ("M104 S0", "M109 T1 S180", 30.0, 120.0),
        ("M104 S0", "M109", 0.0, 0.0),
        ("M104 S0", "M109 T7 S200", 0.0, 0.0),
    ],
)
def test_how_long_a_wait_takes(first: str, then: str, least_s: float, most_s: float) -> None:
    bench = Bench(Machine(tools=2, heated_chamber=True), speed=1.0)
    bench.say(first)
    began = bench.now
    bench.say(then)
    assert least_s <= bench.now - began <= most_s


@pytest.mark.parametrize("speed", [1.0, 10.0, 200.0])
def test_speed_scales_heating(speed: float) -> None:
    bench = Bench(speed=speed)
    began = bench.now
    bench.say("M109 S200")
    alone = Bench(speed=1.0)
    began_alone = alone.now
    alone.say("M109 S200")
    assert (bench.now - began) * speed == pytest.approx(alone.now - began_alone, rel=1e-6)


def test_at_speed_nought_heat_is_there_at_once() -> None:
    bench = Bench()
    assert bench.say("M190 S60", "M109 S200") == ["ok", "ok"]
    assert bench.say("M105") == ["ok T:200.00 /200.00 B:60.00 /60.00 @:49 B@:32"]
    assert bench.now == 0.0


def test_m108_ends_a_wait_whatever_waits_behind_it() -> None:
    bench = Bench(speed=1.0)
    bench.feed(b"M109 S250\n" + b"M220 S99\n" * 6)
    bench.until(bench.now + 3.0)
    heard = bench.feed(b"M108\n")
    assert heard == ["ok"] * 8
    assert "T:" in bench.say("M105")[0]


def test_without_an_emergency_parser_m108_waits_for_a_slot() -> None:
    bench = Bench(Machine(emergency_parser=False), speed=1.0)
    bench.feed(b"M109 S250\n" + b"M220 S99\n" * 6)
    assert bench.feed(b"M108\n") == []
    bench = Bench(Machine(emergency_parser=False), speed=1.0)
    bench.feed(b"M109 S250\n")
    assert bench.feed(b"M108\n") == ["ok", "ok"]


def test_every_heater_is_reported_with_its_power() -> None:
    bench = Bench(Machine(tools=2, heated_chamber=True))
    assert bench.say("M104 T1 S200", "M105")[-1] == (
        "ok T:21.00 /0.00 B:21.00 /0.00 C:21.00 /0.00 T0:21.00 /0.00 T1:200.00 /200.00 @:0 B@:0 C@:0 @0:0 @1:49"
    )
    bare = Bench(Machine(heated_bed=False))
    assert bare.say("M140 S60", "M190 S60", "M105")[-1] == "ok T:21.00 /0.00 @:0"


def test_a_target_beyond_the_heater_is_kept_to_what_it_can() -> None:
    bench = Bench()
    assert bench.say("M104 S999", "M105")[-1].startswith(f"ok T:{HOTEND.max_target:.2f} /{HOTEND.max_target:.2f}")


def test_a_cold_hotend_does_not_extrude() -> None:
    bench = Bench(speed=1.0)
    assert bench.say("G1 X5 E5 F600") == ["echo: cold extrusion prevented", "ok"]
    assert bench.say("M302") == ["echo:Cold extrudes are disabled (min temp 170.00C)", "ok"]
    assert bench.say("M302 P1", "G1 E6") == ["ok", "ok"]
    assert bench.say("M302 P0", "M109 S200", "G1 E7")[-1] == "ok"
    bench.say("M109 R100")
    assert bench.say("G1 E8") == ["echo: cold extrusion prevented", "ok"]
    assert bench.say("M302 S90", "G1 E9") == ["ok", "ok"]


def test_a_fan_cools_the_hotend() -> None:
    def after_a_minute(fan: str) -> float:
        bench = Bench(speed=1.0)
        bench.say("M109 S200", fan, "M104 S0")
        bench.until(bench.now + 60.0)
        found = re.match(r"ok T:([\d.]+)", bench.say("M105")[0])
        assert found is not None
        return float(found[1])

    assert after_a_minute("M106 S255") < after_a_minute("M106 S100") < after_a_minute("M107") - 3.0
    assert after_a_minute("M106 P1 S255") == after_a_minute("M107")  # another fan


def test_reports_come_by_themselves_at_the_callers_pace() -> None:
    bench = Bench(speed=100.0)
    bench.say("M155 S2")
    began = bench.now
    heard = bench.until(began + 10.5)
    assert heard == [" T:21.00 /0.00 B:21.00 /0.00 @:0 B@:0"] * 5
    bench.say("M155 S0")
    assert bench.until(bench.now + 10.0) == []
    assert bench.simulator.next_deadline() is None


def test_who_comes_late_hears_the_same() -> None:
    script = b"M155 S1\nM109 S180\nG28\nG1 X100 F1200\nM400\nM190 S50\n"
    prompt, late = Bench(speed=1.0), Bench(speed=1.0)
    heard = prompt.feed(script) + prompt.until(500.0)
    late.simulator.receive(script, late.now)
    assert late.simulator.data_to_send(500.0).decode().splitlines() == heard
