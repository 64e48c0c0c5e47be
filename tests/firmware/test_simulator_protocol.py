"""The simulator's half of the numbered-line protocol: what it takes, what it refuses, and how it asks again."""

from collections.abc import Iterable
from functools import reduce
from operator import xor

import pytest

from polyhost.firmware.marlin.simulator import Fault, Machine, Simulator


def numbered(number: int, body: str) -> bytes:
    text = f"N{number} {body}".encode()
    return text + b"*%d\n" % reduce(xor, text)


def booted(machine: Machine | None = None, speed: float = 0.0, seed: int = 0, **more: object) -> Simulator:
    simulator = Simulator(machine or Machine(), speed=speed, seed=seed, **more)  # type: ignore[arg-type]
    simulator.open(0.0)
    simulator.data_to_send(2.0)
    return simulator


def answers(simulator: Simulator, lines: Iterable[bytes], now: float = 2.0) -> list[str]:
    for text in lines:
        simulator.receive(text, now)
    return simulator.data_to_send(now).decode().splitlines()


RESEND_3 = ["Resend: 3", "ok"]


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        (numbered(3, "G1 X1"), ["ok"]),
        (b"  " + numbered(3, "G1 X1"), ["ok"]),
        (b"G1 X1\n", ["ok"]),
        (b"\n\r\n  \n; nothing\n", []),
        (numbered(4, "G1 X1"), ["Error:Line Number is not Last Line Number+1, Last Line: 2", *RESEND_3]),
        (numbered(2, "G1 X1"), ["Error:Line Number is not Last Line Number+1, Last Line: 2", *RESEND_3]),
        (b"Nx G1 X1*3\n", ["Error:Line Number is not Last Line Number+1, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1\n", ["Error:No Checksum with line number, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1*99\n", ["Error:checksum mismatch, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1*\n", ["Error:checksum mismatch, Last Line: 2", *RESEND_3]),
        (b"N3 G1 X1*9x\n", ["Error:checksum mismatch, Last Line: 2", *RESEND_3]),
    ],
)
def test_a_line_after_number_two_is_taken_or_asked_for_again(line: bytes, heard: list[str]) -> None:
    simulator = booted()
    assert answers(simulator, [b"M110 N2\n"]) == ["ok"]
    assert answers(simulator, [line]) == heard


def test_m110_sets_the_number_from_a_numbered_line_too() -> None:
    simulator = booted()
    assert answers(simulator, [numbered(0, "M110 N41"), numbered(42, "G4 P0")]) == ["ok", "ok"]
    assert simulator.last_line == 42


def test_a_bad_line_empties_the_input() -> None:
    simulator = booted()
    heard = answers(simulator, [numbered(5, "G1 X1") + numbered(1, "G1 X2") + numbered(2, "G1 X3")])
    assert heard == ["Error:Line Number is not Last Line Number+1, Last Line: 0", "Resend: 1", "ok"]
    assert simulator.executed == 0


def test_a_reset_in_mid_print_forgets_number_targets_and_modes() -> None:
    simulator = booted()
    answers(simulator, [numbered(1, "G91"), numbered(2, "M104 S200")])
    simulator.misbehave(Fault.RESET, now=3.0)
    assert answers(simulator, [], 3.0)[0] == "start"
    assert answers(simulator, [numbered(3, "G1 X1")], 3.0)[1:] == ["Resend: 1", "ok"]
    assert " /0.00 " in answers(simulator, [b"M105\n"], 3.0)[0]
