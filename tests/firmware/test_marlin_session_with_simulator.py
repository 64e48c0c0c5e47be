"""Both halves of the conversation: the session and the simulated machine, on a clock of their own."""

from collections.abc import Callable

import pytest

from polyhost.firmware.marlin.replies import (
    Busy,
    CommandsDone,
    Dead,
    ErrorKind,
    FirmwareError,
    FirmwareRestarted,
    HostAction,
    Reply,
    SdFilesListed,
    SdReady,
    TemperaturesReported,
)
from polyhost.firmware.marlin.session import Lane, Session
from polyhost.firmware.marlin.simulator import Fault, Machine, Simulator

LINES = [b"G1 X%.2f Y%.2f E%.4f F6000" % (50 + n % 97, 60 + n % 83, n * 0.02) for n in range(1500)]


class Room:
    """A session and a simulator in one room; `executed` is what the machine did."""

    def __init__(self, speed: float = 0.0, machine: Machine | None = None) -> None:
        self.executed: list[bytes] = []
        self.session = Session()
        self.simulator = Simulator(machine or Machine(), speed=speed, record=self.executed.append)
        self.replies: list[Reply] = []
        self.now = 100.0
        self.simulator.open(self.now)
        self.session.opened(self.now)
        self.run_until(lambda: self.session.idle, 30.0)
        assert self.session.greeted

    def run_until(self, done: Callable[[], bool], limit_s: float) -> None:
        end, turns = self.now + limit_s, 0
        while not done() and self.now < end and not any(isinstance(reply, Dead) for reply in self.replies):
            turns += 1
            assert turns < 200_000, "a busy loop"
            if data := self.session.data_to_send(self.now):
                self.simulator.receive(data, self.now)
            if said := self.simulator.data_to_send(self.now):
                self.replies += self.session.receive(said, self.now)
            elif not data:
                deadlines = [
                    at for at in (self.session.next_deadline(), self.simulator.next_deadline()) if at is not None
                ]
                self.now = max(self.now, min(deadlines, default=end))
                self.replies += self.session.tick(self.now)

    def print_file(self, lines: list[bytes], limit_s: float = 3600.0) -> None:
        self.session.start_numbering()
        left = list(lines)

        def done() -> bool:
            if left and (room := self.session.room()):
                batch = left[:room]
                del left[:room]
                self.session.queue(batch, Lane.FILE, None if left else "end")
            return CommandsDone("end") in self.replies

        self.run_until(done, limit_s)

    def moves(self) -> list[bytes]:
        return [command for command in self.executed if command.startswith(b"G1")]


@pytest.mark.parametrize(
    ("fault", "argument"),
    [
        (None, 0.0),
        (Fault.CORRUPT, 1e-2),
        (Fault.DROP, 1e-2),
        (Fault.DELAY, 0.2),
        (Fault.LOSE_OK, 0.05),
        (Fault.DOUBLE_OK, 0.05),
        (Fault.RESEND, 50.0),
    ],
)
def test_a_file_is_executed_once_whatever_the_machine_does(fault: Fault | None, argument: float) -> None:
    room = Room()
    if fault is not None:
        room.simulator.misbehave(fault, argument, room.now)
    lines = LINES if fault is not Fault.DELAY else LINES[:200]
    room.print_file(lines)
    assert CommandsDone("end") in room.replies
    assert room.moves() == lines
    assert room.session.file_lines_acknowledged == len(lines)


def test_a_machine_that_takes_its_time_is_not_hurried() -> None:
    room = Room(speed=1.0)
    lines = [b"G28", b"M190 S40", b"M109 S60", b"G4 S20", *LINES[:100], b"G1 X0 F60", b"M400"]
    room.print_file(lines)
    assert CommandsDone("end") in room.replies
    assert room.session.resends == 0
    assert any(isinstance(reply, Busy) for reply in room.replies)
    heating = [reply.heaters for reply in room.replies if isinstance(reply, TemperaturesReported)]
    assert len(heating) > 10
    assert heating[-1]["tool0"].target == 60.0


def test_a_reset_in_a_run_is_heard() -> None:
    room = Room()
    room.session.queue(LINES[:200], Lane.FILE)
    room.run_until(lambda: room.session.file_lines_acknowledged >= 100, 60.0)
    room.simulator.misbehave(Fault.RESET, 0.0, room.now)
    room.run_until(lambda: FirmwareRestarted() in room.replies, 60.0)
    moved = room.moves()
    room.run_until(lambda: room.session.idle, 60.0)
    assert FirmwareRestarted() in room.replies
    assert room.moves() == moved


def test_a_thermal_fault_is_told_as_one() -> None:
    room = Room()
    room.session.queue(LINES[:200], Lane.FILE)
    room.run_until(lambda: room.session.file_lines_acknowledged >= 100, 60.0)
    room.simulator.misbehave(Fault.THERMAL, 0.0, room.now)
    room.run_until(lambda: False, 10.0)
    errors = [reply for reply in room.replies if isinstance(reply, FirmwareError)]
    assert errors[0].kind is ErrorKind.THERMAL
    assert errors[0].fatal


def test_silence_ends_it_within_a_minute() -> None:
    room = Room()
    room.session.queue(LINES, Lane.FILE)
    room.run_until(lambda: room.session.file_lines_acknowledged >= 100, 60.0)
    room.simulator.misbehave(Fault.SILENCE, 0.0, room.now)
    since = room.now
    room.run_until(lambda: False, 120.0)
    assert isinstance(room.replies[-1], Dead)
    assert room.now - since <= 60.0


def test_m112_stops_the_machine() -> None:
    room = Room(speed=1.0)
    room.session.queue([b"M109 S200", *LINES], Lane.FILE)
    room.run_until(lambda: b"M109 S200" in room.executed, 60.0)
    room.session.emergency(b"M112")
    room.run_until(lambda: room.simulator.halted, 5.0)
    assert room.simulator.halted
    assert room.moves() == []


def test_m108_ends_a_wait() -> None:
    room = Room(speed=1.0)
    room.session.queue([b"M109 S200", b"G1 X1"], Lane.HOST, "done")
    room.run_until(lambda: b"M109 S200" in room.executed, 60.0)
    room.session.emergency(b"M108")
    before = room.now
    room.run_until(lambda: CommandsDone("done") in room.replies, 60.0)
    assert room.now - before < 15.0


def test_the_card_and_the_host_action_commands() -> None:
    room = Room()
    room.session.queue([b"M21", b"M20", b"M118 A1 action:notification hello"], Lane.HOST, "asked")
    room.run_until(lambda: CommandsDone("asked") in room.replies, 60.0)
    assert any(isinstance(reply, SdFilesListed) for reply in room.replies)
    assert any(isinstance(reply, SdReady) for reply in room.replies)
    assert HostAction("notification", "hello") in room.replies


def test_a_line_that_the_firmware_cannot_hold_is_named() -> None:
    room = Room()
    room.session.start_numbering()
    room.session.queue([*LINES[:5], b"M117 " + b"far too long " * 13, *LINES[5:9]], Lane.FILE)
    since = room.now
    room.run_until(lambda: False, 120.0)
    (reason,) = [reply.reason for reply in room.replies if isinstance(reply, Dead)]
    assert reason == (
        "line 7 is 180 bytes long, with its number and checksum, and most firmware keeps 95: "
        "shorten it or remove it (N7 M117 far too long far too long far to…)"
    )
    assert room.now - since <= 60.0
    assert room.executed[-5:] == LINES[:5]


def test_a_long_line_that_the_firmware_holds_goes_through() -> None:
    room = Room(machine=Machine(command_bytes=128))
    line = b"M117 " + b"long" * 25
    room.print_file([line])
    assert line in room.executed
