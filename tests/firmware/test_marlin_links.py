"""The same file arrives exactly once, and in order, over links that misbehave (R1).

`POLYHOST_SOAK=1` runs the whole amount: 20,000 lines, five seeds.
"""

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.firmware.marlin.replies import CommandsDone
from polyhost.firmware.marlin.session import Lane, Session
from tests.firmware.line_firmware import LineFirmware
from tests.firmware.links import (
    BadOks,
    Cutting,
    Dropping,
    Flipping,
    Late,
    LateResends,
    Perfect,
    Repeating,
    World,
)
from tests.soak import SOAK

COUNT = 20_000 if SOAK else 2_000
SEEDS = range(5 if SOAK else 2)
DAMAGING = (Flipping, Dropping, Repeating, Cutting, BadOks)
FIRMWARES = ((0, 0, False), (4, 0, False), (0, 4, True))  # slots told, window given, flushes what it has not read
PLAIN, ADVANCED, WINDOW = FIRMWARES
AMOUNTS = (
    list(product((1e-4, 1e-3, 1e-2), SEEDS, FIRMWARES))
    if SOAK
    else [
        (1e-3, 0, PLAIN),
        (1e-2, 0, PLAIN),
        (1e-2, 1, PLAIN),
        (1e-2, 0, ADVANCED),
        (1e-2, 1, WINDOW),
        (1e-3, 1, WINDOW),
    ]
)


def lines_of(count: int, seed: int = 0) -> list[bytes]:
    dice = Random(seed)
    lines = [b"G1 X%.3f Y%.3f E%.5f" % (dice.random() * 200, dice.random() * 200, dice.random()) for _ in range(count)]
    lines[::97] = [b"M117 Layer %d" % number for number in range(len(lines[::97]))]
    lines[::311] = [b"M105"] * len(lines[::311])
    return lines


def arrives(link: Perfect, lines: list[bytes], firmware: tuple[int, int, bool]) -> World:
    slots, window, flushes = firmware
    fake = LineFirmware(advanced_ok=slots, flushes=flushes)
    joined = World(Session(window_lines=window), fake, link)
    joined.print_file(lines)
    assert joined.dead == ""
    assert CommandsDone("end") in joined.replies
    assert fake.executed == [line for line in lines if line != b"M105"]
    assert joined.session.file_lines_acknowledged == len(lines)
    return joined


@pytest.mark.parametrize(("rate", "seed", "firmware"), AMOUNTS)
@pytest.mark.parametrize("link", DAMAGING, ids=lambda link: link.__name__)
def test_a_file_arrives_whole_and_once(
    link: type[Perfect], rate: float, seed: int, firmware: tuple[int, int, bool]
) -> None:
    lines = lines_of(COUNT, seed)
    joined = arrives(link(rate, seed), lines, firmware)
    assert joined.link.damaged > rate * len(lines)


@pytest.mark.parametrize("firmware", FIRMWARES, ids=("plain", "advanced_ok", "window"))
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("link", [Late, LateResends], ids=lambda link: link.__name__)
def test_a_file_arrives_whole_and_once_however_late_the_answers(
    link: type[Perfect], seed: int, firmware: tuple[int, int, bool]
) -> None:
    joined = arrives(link(2e-3, seed), lines_of(COUNT // 10, seed), firmware)
    assert joined.link.damaged > 0


def test_one_percent_of_damage_costs_less_than_thirty_milliseconds_a_line() -> None:
    lines = lines_of(1000)
    assert arrives(Flipping(1e-2, 1), lines, PLAIN).now < 0.03 * len(lines)


@pytest.mark.parametrize("firmware", FIRMWARES, ids=("plain", "advanced_ok", "window"))
def test_a_perfect_link_needs_no_line_twice(firmware: tuple[int, int, bool]) -> None:
    assert arrives(Perfect(0.0, 0), lines_of(1000), firmware).session.resends == 0


@given(
    st.lists(st.sampled_from(["lose", "double", "glue", "late", "resend", "keep"]), max_size=60),
    st.sampled_from(FIRMWARES),
)
def test_whatever_happens_to_the_answers_lines_arrive_once(fates: list[str], firmware: tuple[int, int, bool]) -> None:
    class Fated(Perfect):
        """Each answer has its fate, in turn; after the last all is well.  Of ten, three at most are lost or false."""

        delay_s = 0.0
        answers = 0
        ill_fated = (-10, -10, -10)

        def to_host(self, data: bytes) -> bytes:
            return b"".join(self.fated(line) for line in data.splitlines(keepends=True))

        def fated(self, line: bytes) -> bytes:
            fate = fates.pop() if fates else "keep"
            self.answers += 1
            if fate in ("lose", "glue", "resend"):
                if self.answers - self.ill_fated[0] < 10:
                    return line
                self.ill_fated = (*self.ill_fated[1:], self.answers)
            if fate == "late":
                self.delay_s = 0.7
            return {"lose": b"", "double": line + line, "glue": line[:-1], "resend": b"Resend: 7\n" + line}.get(
                fate, line
            )

        def late_s(self, data: bytes) -> float:
            delay_s, self.delay_s = self.delay_s, 0.0
            return delay_s

    slots, window, flushes = firmware
    fake = LineFirmware(advanced_ok=slots, flushes=flushes)
    joined = World(Session(window_lines=window), fake, Perfect(0.0, 0))
    joined.run_until(lambda: joined.session.idle, 60.0)
    joined.link = Fated(0.0, 0)
    lines = lines_of(80)
    joined.print_file(lines)
    assert joined.dead == ""
    assert fake.executed == [line for line in lines if line != b"M105"]


def test_the_count_of_lines_acknowledged_is_never_ahead_of_the_firmware_once_confirmed() -> None:
    firmware = LineFirmware()
    joined = World(Session(), firmware, Flipping(1e-2, 5))
    joined.run_until(lambda: joined.session.idle, 60.0)
    lines = [b"G1 X%d" % number for number in range(500)]
    joined.session.start_numbering()
    left = list(lines)
    before = 0
    while len(firmware.executed) < len(lines):
        if left and (room := joined.session.room()):
            joined.session.queue(left[:room], Lane.FILE)
            del left[:room]
        joined.turn()
        acknowledged = joined.session.file_lines_acknowledged
        assert before <= acknowledged <= len(firmware.executed) + 1
        before = acknowledged
