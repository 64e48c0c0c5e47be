"""The firmware's half of the numbered-line protocol, and the clock of the machine behind it.

Follows Marlin 2.1: a receive buffer (`intake`) and a few command slots; a command is acknowledged when it is done, and
a move is done when the planner has taken it.

Two clocks: the conversation's own habits (``busy``, automatic reports) go by the caller's seconds, the machine's
(moves, heat, dwell, boot) run `speed` times as fast, or take no time at all when `speed` is 0.
"""

import re
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from math import inf
from typing import Final

from polyhost.firmware.marlin.simulator import heat
from polyhost.firmware.marlin.simulator.board import Board, Taking, Until, Wait, line
from polyhost.firmware.marlin.simulator.dispatch import execute
from polyhost.firmware.marlin.simulator.faults import BadCable, Fault, Misfortune
from polyhost.firmware.marlin.simulator.intake import Intake
from polyhost.firmware.marlin.simulator.machine import Machine

MAX_SAID_BYTES: Final = 1 << 20  # kept while nobody listens
CARD_LINES_AT_ONCE: Final = 200  # before the caller is given a turn

_EMERGENCY: Final = re.compile(rb"\s*(?:N-?\d+\s*)?(M(?:108|112|410|876))(?!\d)(.*)", re.DOTALL)
_CODES: Final = frozenset(b"GMTgmt")
_DEFAULT: Final = Machine()

Command = tuple[int | None, bytes, bool]
"""Line number, body, and whether it came from the card."""


class Simulator:
    """A Marlin machine at the other end of a link.  `now` is the caller's monotonic clock, in seconds.

    `record` hears the body of every command (without number, checksum and comment) when its execution begins;
    a G, M or T code that this machine does not know is one too.
    """

    def __init__(
        self,
        machine: Machine = _DEFAULT,
        *,
        speed: float = 1.0,
        seed: int = 0,
        record: Callable[[bytes], None] | None = None,
    ) -> None:
        self.machine = machine
        self.board = Board(machine, self._say, instant=speed <= 0.0, seed=seed)
        self.record = record
        self.executed = 0
        self.boots = 0
        self.halted = False
        self.unplugged = False
        self._speed = speed
        self._digest = blake2b(digest_size=32)
        self._undigested: list[bytes] = []
        self._to_board, self._from_board = BadCable(seed), BadCable(seed + 1)
        self._lose_ok, self._double_ok, self._refuse = (Misfortune(seed + n) for n in (2, 3, 4))
        self._intake = Intake(self.board, self._refuse)
        self._delay_s = 0.0
        self._late: deque[tuple[float, bytes]] = deque()
        self._said: list[bytes] = []
        self._said_bytes = 0
        self._now = 0.0
        self._origin = 0.0  # the caller's time at machine time 0
        self._boots_at = inf
        self._silent_until = 0.0
        self._forget()

    def open(self, now: float) -> None:
        """The port was opened: DTR resets the board."""
        self.unplugged = False
        self._reset(now)

    def replug(self) -> None:
        """The link is back; the board kept its own power."""
        self.unplugged = False

    @property
    def last_line(self) -> int:
        """The number of the last line taken."""
        return self.board.last_line

    @property
    def resends(self) -> int:
        """Lines asked for again since the simulator was made."""
        return self._intake.asked_again

    @property
    def digest(self) -> str:
        """Over all bodies executed, each with a newline behind it."""
        if self._undigested:
            self._undigested.append(b"")
            self._digest.update(b"\n".join(self._undigested))
            self._undigested.clear()
        return self._digest.hexdigest()

    @property
    def backlog(self) -> int:
        """Bytes received that found no command slot yet."""
        return self._intake.backlog

    def receive(self, data: bytes, now: float) -> None:
        """Take what arrives at `now`, cut anywhere."""
        self._advance(now)
        if self.unplugged or self.halted or self._deaf:
            return
        data = self._to_board.carry(data)
        while data and not self.halted and (room := self._intake.room):  # what does not fit is lost
            self._take_in(data[:room])
            data = data[room:]

    def data_to_send(self, now: float) -> bytes:
        """What the machine says until `now`; each call hands over what no earlier call did."""
        self._advance(now)
        if self.unplugged:
            self._unsay()
            self._late.clear()
            return b""
        if not self._said and not self._late:
            return b""
        data = self._from_board.carry(b"".join(self._said))
        self._unsay()
        if not self._delay_s and not self._late:
            return data
        if data:
            self._late.append((now + self._delay_s, data))
        due = []
        while self._late and self._late[0][0] <= now:
            due.append(self._late.popleft()[1])
        return b"".join(due)

    def next_deadline(self) -> float | None:
        """When `data_to_send` would have something new, or something to do, without further input."""
        if self._said:
            return self._now
        at = self._wake_at if self._wake_at < self._tick_at else self._tick_at
        if self._late:
            at = min(at, self._late[0][0])
        return None if at == inf else at

    def misbehave(self, fault: Fault, argument: float = 0.0, now: float = 0.0) -> None:
        """Do something wrong from now on, or at once; an `argument` of 0 ends what goes on."""
        self._advance(now)
        match fault:
            case Fault.DROP:
                self._to_board.drop = self._from_board.drop = argument
            case Fault.CORRUPT:
                self._to_board.corrupt = self._from_board.corrupt = argument
            case Fault.DELAY:
                self._delay_s = argument
            case Fault.RESET:
                self._reset(self._now)
            case Fault.THERMAL:
                heater = "bed" if argument < 0 else f"{argument:.0f}"
                self._kill(f"Error:Thermal Runaway, system stopped! Heater_ID: {heater}\n".encode())
            case Fault.SILENCE:
                self._silent_until = self._now + argument if argument else inf
            case Fault.UNPLUG:
                self.unplugged = True
            case Fault.LOSE_OK:
                self._lose_ok.set(argument)
            case Fault.DOUBLE_OK:
                self._double_ok.set(argument)
            case Fault.RESEND:
                self._refuse.set(argument)
            case Fault.CARD_FULL:
                self.board.card.free_bytes = int(argument)
            case Fault.CARD_OUT:
                card = self.board.card
                card.inserted = card.mounted = argument > 0
                card.printing = False
                self._say(b"//action:sd_inserted\n" if card.inserted else b"//action:sd_ejected\n")

    def _forget(self) -> None:
        self._intake.clear()
        self._slots: deque[Command] = deque()
        self._taking: Taking | None = None
        self._taken: Command = (None, b"", False)
        self._wait: Wait = 0.0
        self._wake_at = self._tick_at = inf
        self._busy_at = self._heat_at = self._temperatures_at = self._position_at = self._card_at = inf
        self._idle_at = inf

    def _reset(self, now: float) -> None:
        """Forget what a reset forgets; ``start`` comes when the board has booted."""
        self.board.now = self._machine_time(now)
        self.board.reset()
        self._origin = self._now = now
        self._silent_until = 0.0
        self.halted = False
        self._forget()
        self.boots += 1
        self._boots_at = now + (self.machine.boot_s / self._speed if self._speed > 0.0 else 0.0)
        self._tick_at = self._boots_at

    def _greet(self) -> None:
        self._boots_at = inf
        machine = self.machine
        self._say(b"start\n")
        self._say(line(f"echo:{machine.firmware}"))
        self._say(b"echo: Last Updated: 2023-03-01 | Author: (Polyhost)\n")
        self._say(b"echo: Free Memory: 5381  PlannerBufferBytes: 1472\n")
        stored = "V88 stored settings retrieved (673 bytes; crc 8192)"
        self._say(line(f"echo:{stored if self.board.stored else 'Hardcoded Default Settings Loaded'}"))
        if self.board.card.inserted:
            self._say(b"echo:SD card ok\n")

    def _kill(self, reason: bytes) -> None:
        self._forget()
        self._catch_up()
        board = self.board
        board.card.printing = False
        for heater in board.heaters().values():
            heater.aim(0.0, board.now)
        if not board.instant:
            board.planner.stop(board.now)
        self._say(reason)
        self._say(b"Error:Printer halted. kill() called!\n")
        self.halted = True

    @property
    def _deaf(self) -> bool:
        return self._boots_at < inf or self._silent_until > self._now

    def _say(self, data: bytes) -> None:
        if self._silent_until > self._now:
            return
        self._said.append(data)
        self._said_bytes += len(data)
        if self._said_bytes > MAX_SAID_BYTES:
            self._unsay()

    def _unsay(self) -> None:
        self._said.clear()
        self._said_bytes = 0

    def _take_in(self, data: bytes) -> None:
        for text in self._intake.take(data):
            if self.machine.emergency_parser and b"M" in text:
                self._emergency(text)
                if self.halted:
                    return
        if self._intake:
            self._pump()

    def _emergency(self, text: bytes) -> None:
        """Do at once what must not wait for its turn."""
        match = _EMERGENCY.match(text)
        if match is None:
            return
        board = self.board
        match match[1]:
            case b"M112":
                self._note(b"M112")
                self._kill(b"")
                return
            case b"M410":
                if not board.instant:
                    board.planner.stop(self._catch_up())
                    if self._wait is Until.ROOM:  # the move that found no room is dropped with the others
                        self._taking = _nothing_more() if self._taking is not None else None
            case b"M876" if not board.asked:
                return
            case _:
                board.interrupted = True
        if self._taking is not None and (match[1] == b"M410" or isinstance(self._wait, Until)):
            self._step()

    def _next_line(self) -> Command | None:
        taken = self._intake.next_line()
        if taken is None:
            return None
        number, body = taken
        if not self.machine.emergency_parser and body[:1] == b"M":
            self._emergency(body)
            if self.halted:
                return None
        return number, body, False

    def _pump(self) -> None:
        """Execute what has come, up to the first command that takes time; fill the slots behind that."""
        card = self.board.card
        card_lines = 0
        while True:
            if self._taking is not None:
                if not self._intake or len(self._slots) >= self.machine.command_slots - 1:
                    break
                if (queued := self._next_line()) is not None:
                    self._slots.append(queued)
                continue
            command = self._slots.popleft() if self._slots else self._next_line()
            if command is None:
                if not card.printing:
                    break
                card_lines += 1
                if card_lines > CARD_LINES_AT_ONCE:
                    self._wake_at = self._now
                    return
                if (command := self._card_line()) is None:
                    continue
            self._begin(command)
        self._schedule()

    def _begin(self, command: Command) -> None:
        body = command[1]
        board = self.board
        if body[0] in _CODES:  # not what damage to a line's N makes of it: that is refused as unknown
            self._note(body)
        self._idle_at = inf
        if self._speed > 0.0:
            self._catch_up()
        taking = execute(board, body)
        if taking is None:
            self._done(command)
            return
        self._taking, self._taken = taking, command
        self._busy_at = self._now + board.keepalive_s if board.keepalive_s else inf
        self._advance_taking()

    def _note(self, body: bytes) -> None:
        self.executed += 1
        self._undigested.append(body)
        if len(self._undigested) >= 512:
            _ = self.digest
        if self.record is not None:
            self.record(body)

    def _step(self) -> None:
        """Give the command in progress another look, and go on when it is done."""
        self._catch_up()
        self._advance_taking()
        if self._taking is None:
            self._pump()

    def _advance_taking(self) -> None:
        taking = self._taking
        assert taking is not None
        try:
            self._wait = wait = next(taking)
        except StopIteration:
            self._taking = None
            self._wake_at = inf
            self._busy_at = self._heat_at = inf
            self._done(self._taken)
            return
        self._wake_machine = self.board.wake_at(wait)
        self._wake_at = self._host_time(self._wake_machine)
        if wait is Until.HEAT and self._heat_at == inf:
            self._heat_at = self._now + 1.0
        self._schedule()

    def _done(self, command: Command) -> None:
        """Acknowledge a command, unless it came from the card."""
        number, _, from_card = command
        if from_card or self._lose_ok.strikes():
            self.board.ok_text = b""
            return
        board = self.board
        if board.ok_text:
            said = b"ok" + board.ok_text + b"\n"
            board.ok_text = b""
        elif self.machine.advanced_ok:
            if not board.instant:
                board.planner.advance(board.now)
            named = b"" if number is None else b" N%d" % number
            moves = max(self.machine.planner_blocks - 1 - board.planner.queued, 0)
            slots = self.machine.command_slots - 1 - len(self._slots)
            said = b"ok%b P%d B%d\n" % (named, moves, slots)
        else:
            said = b"ok\n"
        self._say(said)
        if self._double_ok.strikes():
            self._say(said)

    def _card_line(self) -> Command | None:
        """The next command of the card's file; None when there is none on that line."""
        card = self.board.card
        text = card.read_line()
        if text is None:
            card.printing = False
            self._say(b"Done printing file\n")
            return None
        body = text.partition(b";")[0].strip()
        return (None, body, True) if body else None

    def _machine_time(self, now: float) -> float:
        return (now - self._origin) * self._speed

    def _host_time(self, machine_time: float) -> float:
        if machine_time == inf:
            return inf
        return self._origin + machine_time / self._speed if self._speed > 0.0 else self._now

    def _catch_up(self) -> float:
        """Set the board's clock to the present."""
        board = self.board
        board.now = max(board.now, (self._now - self._origin) * self._speed)
        return board.now

    def _advance(self, now: float) -> None:
        """Let everything happen that happens until `now`, in order."""
        while self._wake_at <= now or self._tick_at <= now:
            if self._wake_at <= self._tick_at:
                self._now = max(self._now, self._wake_at)
                self._wake_at = inf
                if self._taking is None:
                    self._pump()  # a card that prints at any speed
                else:
                    self.board.now = max(self.board.now, self._wake_machine)
                    self._step()
                if self._wake_at <= self._now and self._taking is None:
                    break
            else:
                self._now = max(self._now, self._tick_at)
                self._tick()
                self._schedule()
        if now > self._now:
            self._now = now

    def _schedule(self) -> None:
        """Work out when the next habit is due."""
        board = self.board
        now = self._now
        if self._boots_at < inf or self.halted:
            self._tick_at = self._boots_at
            return
        self._temperatures_at = _due(self._temperatures_at, board.report_temperatures_s, now)
        self._position_at = _due(self._position_at, board.report_position_s, now)
        self._card_at = _due(self._card_at, board.report_card_s, now)
        if not self.machine.wait_s or self._taking is not None:
            self._idle_at = inf
        elif self._idle_at == inf:
            self._idle_at = now + self.machine.wait_s
        self._tick_at = min(
            self._busy_at, self._heat_at, self._temperatures_at, self._position_at, self._card_at, self._idle_at
        )

    def _tick(self) -> None:
        """Do what is due now."""
        now, board = self._now, self.board
        if self._boots_at <= now:
            self._greet()
            return
        self._catch_up()
        if self._busy_at <= now:
            self._say(b"echo:busy: paused for user\n" if self._wait is Until.PERSON else b"echo:busy: processing\n")
            self._busy_at = now + board.keepalive_s if board.keepalive_s else inf
        if self._heat_at <= now:
            self._say(heat.waiting_report(board))
            self._heat_at = now + 1.0
        if self._temperatures_at <= now:
            self._say(line(f" {board.temperatures()}"))
            self._temperatures_at = now + board.report_temperatures_s
        if self._position_at <= now:
            self._say(line(board.position()))
            self._position_at = now + board.report_position_s
        if self._card_at <= now:
            if board.card.printing:  # Marlin reports by itself only then
                self._say(line(board.card.status()))
            self._card_at = now + board.report_card_s
        if self._idle_at <= now:
            self._say(b"wait\n")
            self._idle_at = inf


def _nothing_more() -> Taking:
    yield from ()


def _due(at: float, every_s: float, now: float) -> float:
    """When a habit is due next, given when it was to be and how often it is now wanted."""
    if not every_s:
        return inf
    return at if at < inf and at <= now + every_s else now + every_s
