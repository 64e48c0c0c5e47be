"""The simulator's half of the numbered-line protocol: what it takes, what it refuses, and how it asks again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.firmware.marlin.simulator import Machine, Simulator
from tests.firmware.simulated import Bench, numbered

RESEND_3 = ["Resend: 3", "ok"]


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        (numbered(3, "G1 X1"), ["ok"]),
        (b"  " + numbered(3, "G1 X1"), ["ok"]),
        (numbered(3, "G1 X1 "), ["ok"]),
        (b"G1 X1\n", ["ok"]),
        (b"G1 X1 ; a comment\r\n", ["ok"]),
        (b"\n\r\n  \n; nothing\n", []),
        (numbered(4, "G1 X1"), ["Error:Line Number is not Last Line Number+1, Last Line: 2", *RESEND_3]),
        (numbered(2, "G1 X1"), ["Error:Line Number is not Last Line Number+1, Last Line: 2", *RESEND_3]),
        (b"Nx G1 X1*3\n", ["Error:Line Number is not Last Line Number+1, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1\n", ["Error:No Checksum with line number, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1*99\n", ["Error:checksum mismatch, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1*\n", ["Error:checksum mismatch, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1*9x\n", ["Error:checksum mismatch, Last Line: 2", *RESEND_3]),
        (numbered(3, "M117 " + "x" * 90), ["Error:No Checksum with line number, Last Line: 2", *RESEND_3]),
    ],
)
def test_a_line_after_number_two_is_taken_or_asked_for_again(line: bytes, heard: list[str]) -> None:
    bench = Bench()
    assert bench.say("M110 N2") == ["ok"]
    assert bench.feed(line) == heard
    assert len(bench.recorded) == 1 + (heard == ["ok"])
    assert bench.simulator.resends == (heard[-2:] == RESEND_3)


def test_m110_sets_the_number_from_a_numbered_line_too() -> None:
    bench = Bench()
    assert bench.feed(numbered(0, "M110 N41") + numbered(42, "G4 P0")) == ["ok", "ok"]
    assert bench.simulator.last_line == 42


def test_a_bad_line_empties_the_input() -> None:
    bench = Bench()
    heard = bench.feed(numbered(5, "G1 X1") + numbered(1, "G1 X2") + numbered(2, "G1 X3"))
    assert heard == ["Error:Line Number is not Last Line Number+1, Last Line: 0", "Resend: 1", "ok"]
    assert bench.recorded == []


@pytest.mark.parametrize("length", range(1, 97))
def test_a_checksum_of_any_length_is_the_same_as_byte_by_byte(length: int) -> None:
    bench = Bench()
    body = "M117 " + "".join(chr(33 + n * 7 % 25) for n in range(length))
    line = numbered(1, body)
    if len(line) <= Machine().command_bytes + 1:
        assert bench.feed(line) == ["ok"]


def test_the_body_is_recorded_once_without_number_checksum_and_comment() -> None:
    bench = Bench()
    bench.feed(numbered(1, "G1 X1 Y2") + b"M105 ; hello\n")
    bench.feed(numbered(1, "G1 X1 Y2"))
    assert bench.recorded == [b"G1 X1 Y2", b"M105"]
    assert bench.simulator.executed == 2


def test_the_digest_is_that_of_the_recorded_bodies_however_often_it_is_read() -> None:
    often, once = Bench(), Bench()
    digests = set()
    for number in range(1, 1500):
        for bench in (often, once):
            bench.feed(numbered(number, f"G1 X{number}"))
        digests.add(often.simulator.digest)
    assert often.simulator.digest == once.simulator.digest
    assert len(digests) == 1499


@pytest.mark.parametrize("slots", [2, 4, 8])
def test_commands_behind_a_slow_one_wait_in_the_slots_and_bytes_behind_those_in_the_buffer(slots: int) -> None:
    bench = Bench(Machine(command_slots=slots, rx_bytes=32, strict_rx=True), speed=1.0)
    assert bench.feed(b"G4 S1\n" + b"M220 S99\n" * (slots - 1)) == []
    assert bench.simulator.backlog == 0
    assert bench.feed(b"M220 S90\n") == []
    assert bench.simulator.backlog == len(b"M220 S90\n")
    bench.feed(b"M220 S91\nM220 S92\nM220 S93\n")  # of the 36 bytes 32 fit
    heard = bench.until(bench.now + 1.5)
    assert heard == ["ok"] * (slots + 3)
    assert bench.feed(b"\n") == ["FR:92%", "ok"]  # what is left of the last one asks instead of setting


def test_without_a_strict_buffer_nothing_is_lost_and_the_backlog_shows() -> None:
    bench = Bench(speed=1.0)
    bench.feed(b"G4 S1\n" + b"M220 S50\n" * 100)
    assert bench.simulator.backlog == 97 * len(b"M220 S50\n")
    assert bench.until(bench.now + 1.5) == ["ok"] * 101


def test_advanced_ok_tells_line_planner_and_slots() -> None:
    bench = Bench(Machine(advanced_ok=True), speed=1.0)
    assert bench.feed(numbered(1, "G1 X10 F6000")) == ["ok N1 P14 B3"]
    assert bench.feed(numbered(2, "G1 X20") + numbered(3, "G1 X30") + b"G90\n") == [
        "ok N2 P13 B3",
        "ok N3 P12 B3",
        "ok P12 B3",
    ]
    assert bench.feed(b"M105\n")[0].startswith("ok T:")
    bench.feed(numbered(4, "M400") + numbered(5, "M400"))
    assert bench.until(bench.now + 10.0) == ["ok N4 P15 B2", "ok N5 P15 B3"]


def test_a_move_is_acknowledged_when_the_planner_has_room() -> None:
    bench = Bench(Machine(planner_blocks=4), speed=1.0)
    assert bench.feed(b"".join(b"G1 X%d F600\n" % (10 * n) for n in range(1, 8))) == ["ok"] * 4
    assert bench.until(bench.now + 1.2) == ["ok"]  # one block of a second has ended
    assert bench.until(bench.now + 2.0) == ["ok"] * 2


STREAM = b"".join(
    [
        b"M110 N0\n",
        *(numbered(n, f"G1 X{n} Y{n * 7 % 31} E{n * 0.1:.2f} F1200") for n in range(1, 12)),
        b"M105\n; a comment\nM114\nM115\r\nG99\n",
        numbered(12, "M109 S60"),
        numbered(13, "M118 E1 hello"),
        b"G28\nM20\n",
        numbered(14, "M400"),
        b"M503\n",
    ]
)


@given(cuts=st.sets(st.integers(1, len(STREAM) - 1)), speed=st.sampled_from([0.0, 1.0, 50.0]))
def test_how_the_port_cuts_the_bytes_never_changes_what_is_said(cuts: set[int], speed: float) -> None:
    def said(edges: list[int]) -> tuple[list[str], str]:
        bench = Bench(speed=speed)
        heard: list[str] = []
        for begin, end in pairwise(edges):
            heard += bench.feed(STREAM[begin:end])
        return heard + bench.until(bench.now + 400.0), bench.simulator.digest

    assert said([0, *sorted(cuts), len(STREAM)]) == said([0, len(STREAM)])


@given(noise=st.binary(max_size=400), speed=st.sampled_from([0.0, 1.0]))
def test_any_bytes_at_all_leave_it_answering(noise: bytes, speed: float) -> None:
    bench = Bench(speed=speed)
    bench.feed(noise)
    bench.until(bench.now + 1000.0)
    bench.feed(b"\nM108\nM29\n")
    bench.until(bench.now + 2000.0)
    if not bench.simulator.halted and not bench.simulator.board.asked:
        assert "ok" in bench.feed(b"\nM110 N0\n")


def test_memory_is_bounded_when_nobody_listens() -> None:
    simulator = Simulator(speed=0.0)
    simulator.open(0.0)
    for _ in range(3000):
        simulator.receive(b"M503\n", 1.0)
    assert len(simulator.data_to_send(1.0)) <= 1 << 20
