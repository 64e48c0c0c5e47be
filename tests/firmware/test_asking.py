"""Lines that somebody waits for, on both halves of the conversation."""

import pytest

from polyhost.firmware.marlin.asking import MAX_LINES, Asked
from polyhost.firmware.marlin.session import Lane
from polyhost.firmware.marlin.simulator import Fault
from tests.firmware.test_marlin_session_with_simulator import LINES, Room


def asked_in(room: Room, *lines: bytes) -> Asked:
    asked = Asked(lines, lambda line: None, lambda: None)
    room.session.ask(asked)
    return asked


@pytest.mark.parametrize("fault", [None, Fault.DROP, Fault.CORRUPT])
def test_what_is_asked_is_done_once_and_in_one_piece_on_any_link(fault: Fault | None) -> None:
    room = Room()
    if fault is not None:
        room.simulator.misbehave(fault, 0.01, room.now)
    room.session.queue(LINES[:150], Lane.FILE)
    script = [b"G91", b"M114", *[b"M117 %d" % n for n in range(40)], b"G90"]
    asked = asked_in(room, *script)
    later = asked_in(room, b"M117 later")
    room.session.queue([b"M117 last"], Lane.HOST)
    room.run_until(lambda: later.over and room.session.idle, 3000.0)
    assert (asked.over, asked.fault, asked.lost) == (True, "", False)
    own = [line for line in room.executed if line in script or line.startswith(b"M117")]
    assert own == [*script, b"M117 later", b"M117 last"]
    between = room.executed[room.executed.index(b"G91") : room.executed.index(b"G90")]
    assert not any(line.startswith(b"G1") for line in between)


def test_what_is_heard_is_bounded() -> None:
    room = Room()
    asked = asked_in(room, *[b"M503"] * 30)
    room.run_until(lambda: asked.over, 100.0)
    assert len(asked.heard) == MAX_LINES
    assert not any(line.startswith("ok") for line in asked.heard)


def test_what_is_dropped_is_lost() -> None:
    room = Room()
    first, second = asked_in(room, b"M0", b"M117 never"), asked_in(room, b"M117 nor this")
    room.run_until(lambda: b"M0" in room.executed, 10.0)
    room.session.drop(Lane.HOST)
    assert (first.lost, second.lost) == (True, True)
    room.session.emergency(b"M108")
    room.run_until(lambda: room.session.idle, 30.0)
    assert not any(line.startswith(b"M117") for line in room.executed)
