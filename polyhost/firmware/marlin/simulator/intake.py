"""The receive buffer, and the check that a line passes on its way into a command slot.

As in Marlin 2.1: the number first, then whether there is a checksum, then whether it is right.  A line that fails is
reported with ``Error:``, the input is emptied, and ``Resend:`` asks for the line that should have come.
"""

import re
from collections import deque
from typing import Final

from polyhost.firmware.marlin.simulator.board import Board
from polyhost.firmware.marlin.simulator.faults import Misfortune

MAX_BACKLOG_BYTES: Final = 1 << 16  # where the link holds back what does not fit
REFUSED_SHARE: Final = 0.1  # of the lines, while a number of refusals is being used up

_ENDS_WRITING: Final = re.compile(rb"M29(?!\d)")
_NUMBERED: Final = re.compile(rb"N\s*(-?\d*)\s*(.*)", re.DOTALL)


class Intake:
    """What was received and has no command slot yet.  `refuse` befalls lines that are as they should be."""

    def __init__(self, board: Board, refuse: Misfortune) -> None:
        self._board = board
        self._refuse = refuse
        self._refused: int | None = None
        self._longest = board.machine.command_bytes
        self._lines: deque[bytes] = deque()
        self._lines_bytes = 0
        self._tail = b""
        self.asked_again = 0  # lines, ever

    def __bool__(self) -> bool:
        """Whether a whole line waits."""
        return bool(self._lines)

    @property
    def backlog(self) -> int:
        """Bytes that wait."""
        return self._lines_bytes + len(self._tail)

    @property
    def room(self) -> int:
        """Bytes that still fit; the beginning of a line is read out of the buffer while no whole line waits there."""
        machine = self._board.machine
        if not machine.strict_rx:
            return max(0, MAX_BACKLOG_BYTES - self._lines_bytes)
        return max(0, machine.rx_bytes - (self.backlog if self._lines else 0))

    def clear(self) -> None:
        self._lines.clear()
        self._lines_bytes = 0
        self._tail = b""

    def take(self, data: bytes) -> list[bytes]:
        """Keep `data`; the lines that it completed."""
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        if b"\n" not in data:
            self._tail = (self._tail + data)[: self._longest]
            return []
        *lines, tail = (self._tail + data).split(b"\n")
        self._tail = tail[: self._longest]
        for line in lines:
            self._lines.append(line)
            self._lines_bytes += len(line) + 1
        return lines

    def next_line(self) -> tuple[int | None, bytes] | None:
        """Number and body of the next line that is as it should be; what is not is asked for again."""
        board = self._board
        while self._lines:
            line = self._lines.popleft()
            self._lines_bytes -= len(line) + 1
            if len(line) > self._longest:
                line = line[: self._longest]
            if b";" in line:
                line = line.partition(b";")[0]
            if line[:1].isspace():
                line = line.lstrip()
            if line[:1] != b"N":
                if board.card.writing and line and not _ENDS_WRITING.search(line):
                    self._ask_again("No Checksum with line number")  # what has no number gets into no file
                    continue
                # Without a number a checksum is not looked at.
                body = line.partition(b"*")[0].strip()
                if body:
                    return None, body
                continue
            head, star, check = line.rpartition(b"*")
            number, body = _number_and_body(head if star else line)
            renumbering = b"M110" in body
            if renumbering and (named := body.find(b"N")) >= 0:
                number, _ = _number_and_body(body[named:])
            if number != board.last_line + 1 and not renumbering:
                self._ask_again("Line Number is not Last Line Number+1")
            elif not star:
                self._ask_again("No Checksum with line number")
            elif not _is_checksum(check, head) or self._refuses(number):
                self._ask_again("checksum mismatch")
            else:
                board.last_line = number
                body = body.strip()
                if body:
                    return number, body
        return None

    def _refuses(self, number: int) -> bool:
        """Whether a sound line is taken for a damaged one."""
        if self._refuse.counted and number == self._refused:
            self._refused = None
            return False
        if self._refuse.strikes(REFUSED_SHARE):
            self._refused = number
            return True
        return False

    def _ask_again(self, why: str) -> None:
        last = self._board.last_line
        self.asked_again += 1
        self.clear()
        self._board.say(f"Error:{why}, Last Line: {last}\nResend: {last + 1}\nok\n".encode())


def _number_and_body(text: bytes) -> tuple[int, bytes]:
    """Of ``N12 G28``; a number that is none is 0, as C reads it."""
    word, _, body = text.partition(b" ")
    try:
        return int(word[1:]), body
    except ValueError:
        match = _NUMBERED.match(text)
        assert match is not None
        digits = match[1].removeprefix(b"-")
        return int(match[1]) if digits else 0, match[2]


def _is_checksum(check: bytes, of: bytes) -> bool:
    """Whether `check` is the exclusive-or of all bytes of `of`, of which there are up to 128."""
    folded = int.from_bytes(of, "little")
    folded ^= folded >> 512
    folded ^= folded >> 256
    folded ^= folded >> 128
    folded ^= folded >> 64
    folded ^= folded >> 32
    folded ^= folded >> 16
    try:
        return int(check) == (folded ^ folded >> 8) & 0xFF
    except ValueError:
        return False
