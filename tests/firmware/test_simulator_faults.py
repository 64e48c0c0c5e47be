"""What goes wrong on command, and that a patient host still gets every line executed once and in order."""

from functools import reduce
from itertools import pairwise
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.firmware.marlin.simulator import Fault, Machine
from polyhost.firmware.marlin.simulator.faults import BadCable
from tests.firmware.simulated import Bench, numbered

FILE = [f"G1 X{n % 200} Y{n * 7 % 190} F3000" for n in range(400)]


def print_patiently(bench: Bench, commands: list[str]) -> int:
    """Send the line that the board wants until it has taken all; how many lines were sent."""
    sent = 0
    while (last := bench.simulator.last_line) < len(commands):
        sent += 1
        assert sent < 40 * len(commands), "the link is too bad"
        bench.feed(numbered(last + 1, commands[last]))
    return sent


@pytest.mark.parametrize(
    ("fault", "argument"),
    [
        (Fault.CORRUPT, 0.001),
        (Fault.CORRUPT, 0.01),
        (Fault.DROP, 0.01),
        (Fault.LOSE_OK, 0.3),
        (Fault.DOUBLE_OK, 0.3),
        (Fault.RESEND, 0.3),
        (Fault.RESEND, 50),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_patient_host_gets_every_line_executed_once(fault: Fault, argument: float, seed: int) -> None:
    bench = Bench(seed=seed)
    bench.simulator.misbehave(fault, argument)
    print_patiently(bench, FILE)
    assert bench.recorded == [command.encode() for command in FILE]


def test_counted_resends_are_all_used_and_never_refuse_a_line_twice() -> None:
    bench = Bench()
    bench.simulator.misbehave(Fault.RESEND, 30)
    sent = print_patiently(bench, FILE)
    assert bench.simulator.resends == 30
    assert sent == len(FILE) + 30


def test_the_same_seed_does_the_same_wrong() -> None:
    def said(seed: int) -> list[str]:
        bench = Bench(seed=seed)
        for fault in (Fault.CORRUPT, Fault.DROP):
            bench.simulator.misbehave(fault, 0.01)
        heard: list[str] = []
        for number, command in enumerate(FILE, 1):
            bench.simulator.receive(numbered(number, command), 0.0)
            heard.append(bench.simulator.data_to_send(0.0).hex())
        return heard

    assert said(1) == said(1) != said(2)


@given(data=st.binary(max_size=200), cuts=st.sets(st.integers(0, 200)))
def test_a_bad_cable_harms_the_same_bytes_however_they_are_cut(data: bytes, cuts: set[int]) -> None:
    def carried(parts: list[bytes]) -> bytes:
        cable = BadCable(7)
        cable.drop, cable.corrupt = 0.1, 0.1
        return b"".join(cable.carry(part) for part in parts)

    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert carried([data[a:b] for a, b in pairwise(edges)]) == carried([data])


def test_no_harm_escapes_the_checksum() -> None:
    cable = BadCable(0)
    cable.corrupt = cable.drop = 0.03
    wrong = 0
    for number in range(3000):
        line = numbered(number, f"G1 X{number} Y7")
        for arrived in cable.carry(line).split(b"\n")[:-1]:
            head, star, check = arrived.rpartition(b"*")
            if star and check.isdigit() and int(check) == reduce(xor, head, 0):
                assert arrived + b"\n" == line
            else:
                wrong += 1
    assert wrong > 1000


def test_a_fraction_of_the_bytes_is_lost_or_flipped() -> None:
    cable = BadCable(0)
    assert cable.carry(b"all well") == b"all well"
    cable.corrupt = 0.01
    flipped = cable.carry(bytes(100_000))
    assert 800 < sum(byte != 0 for byte in flipped) < 1200
    assert all(byte.bit_count() <= 1 for byte in flipped)
    cable.corrupt, cable.drop = 0.0, 0.01
    assert 98_800 < len(cable.carry(bytes(100_000))) < 99_200
    cable.drop = 0.0
    assert cable.carry(b"whole again") == b"whole again"


def test_a_reset_in_mid_print_forgets_number_targets_modes_and_moves() -> None:
    bench = Bench(speed=1.0)
    bench.say("M109 S200", "M83", "M155 S1", "M220 S50")
    bench.feed(b"".join(numbered(n, f"G1 X{10 * n} F600") for n in range(1, 22)))
    bench.simulator.misbehave(Fault.RESET, now=bench.now + 0.5)
    assert bench.feed(b"M105\n") == []
    heard = bench.until(bench.now + 2.0)
    assert heard[0] == "start"
    assert not [text for text in heard if text.startswith(("ok", " T:"))]
    assert bench.feed(numbered(22, "G1 X1"))[1:] == ["Resend: 1", "ok"]
    report = bench.say("M105")[0]
    assert " /0.00 " in report
    assert float(report.split("T:")[1].split()[0]) > 150.0  # what was hot is still hot
    assert bench.say("M220") == ["FR:100%", "ok"]
    assert bench.say("M114")[0].startswith("X:0.00")


@pytest.mark.parametrize(("argument", "heater"), [(0.0, "0"), (1.0, "1"), (-1.0, "bed")])
def test_thermal_runaway_stops_the_firmware(argument: float, heater: str) -> None:
    bench = Bench(speed=1.0)
    bench.say("M104 S200")
    bench.simulator.misbehave(Fault.THERMAL, argument, bench.now)
    assert bench.until(bench.now) == [
        f"Error:Thermal Runaway, system stopped! Heater_ID: {heater}",
        "Error:Printer halted. kill() called!",
    ]
    assert bench.feed(b"M105\n") == []
    assert bench.simulator.board.heaters()["tool0"].target == 0.0


def test_silence_lasts_until_it_is_reset() -> None:
    bench = Bench()
    bench.say("M155 S1")
    bench.simulator.misbehave(Fault.SILENCE, now=bench.now)
    assert bench.feed(b"M105\n") == []
    assert bench.until(bench.now + 30.0) == []
    bench.simulator.open(bench.now)
    assert bench.until(bench.now)[0] == "start"


def test_silence_for_some_seconds_ends_by_itself() -> None:
    bench = Bench()
    bench.simulator.misbehave(Fault.SILENCE, 5.0, bench.now)
    assert bench.feed(b"M105\n") == []
    bench.until(bench.now + 5.0)
    assert bench.feed(b"M110 N0\n") == ["ok"]


def test_unplugged_it_hears_and_says_nothing_until_it_is_opened_again() -> None:
    bench = Bench(speed=1.0)
    bench.say("M104 S200")
    bench.simulator.misbehave(Fault.UNPLUG, now=bench.now)
    assert bench.simulator.unplugged
    assert bench.feed(b"M104 S0\n") == []
    assert bench.simulator.board.heaters()["tool0"].target == 200.0  # nobody told it off
    bench.simulator.replug()
    assert bench.feed(b"M105\n")[0].startswith("ok T:")
    bench.simulator.misbehave(Fault.UNPLUG, now=bench.now)
    bench.simulator.open(bench.now)
    assert not bench.simulator.unplugged
    assert bench.until(bench.now + 2.0)[0] == "start"


def test_what_is_said_comes_late() -> None:
    bench = Bench()
    bench.simulator.misbehave(Fault.DELAY, 2.0, bench.now)
    assert bench.feed(b"M110 N0\n") == []
    assert bench.simulator.next_deadline() == bench.now + 2.0
    assert bench.until(bench.now + 1.0) == []
    bench.feed(b"M220\n")
    assert bench.until(bench.now + 1.0) == ["ok"]
    assert bench.until(bench.now + 1.0) == ["FR:100%", "ok"]
    bench.simulator.misbehave(Fault.DELAY, 0.0, bench.now)
    assert bench.feed(b"M110 N0\n") == ["ok"]


def test_oks_are_lost_and_doubled_as_often_as_told() -> None:
    bench = Bench()
    bench.simulator.misbehave(Fault.LOSE_OK, 3)
    assert bench.feed(b"M110 N0\n" * 5) == ["ok"] * 2
    bench.simulator.misbehave(Fault.DOUBLE_OK, 2)
    assert bench.feed(b"M110 N0\n" * 5) == ["ok"] * 7
    bench.simulator.misbehave(Fault.LOSE_OK, 3)
    bench.simulator.misbehave(Fault.LOSE_OK, 0)
    assert bench.feed(b"M110 N0\n" * 5) == ["ok"] * 5


def test_what_was_executed_is_remembered_over_resets() -> None:
    bench = Bench()
    bench.say("G1 X1")
    bench.simulator.misbehave(Fault.RESET, now=bench.now)
    bench.until(bench.now)
    bench.say("G1 X2")
    assert bench.recorded == [b"G1 X1", b"G1 X2"]
    assert bench.simulator.executed == 2
    assert bench.simulator.boots == 2


def test_every_fault_has_the_name_it_is_asked_for_by() -> None:
    names = "drop corrupt delay reset thermal silence unplug lose_ok double_ok resend card_full card_out"
    assert {fault.value for fault in Fault} == set(names.split())


def test_an_overflowing_buffer_harms_the_line_it_cuts() -> None:
    bench = Bench(Machine(strict_rx=True, rx_bytes=64), speed=1.0)
    lines = b"".join(numbered(n, "G4 P100") for n in range(1, 30))
    bench.feed(lines)
    heard = bench.until(bench.now + 10.0)
    assert heard.count("ok") < 29
    assert bench.feed(b"\n" + numbered(20, "G4 P0"))[-2].startswith("Resend: ")
