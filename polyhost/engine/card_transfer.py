"""A file on its way to the machine's own card: how far it is, and whether what is there now is that file."""

from enum import Enum
from typing import BinaryIO, Final

from polyhost.core.card import CardOrder
from polyhost.gcode.reader import LineReader

OPEN_S: Final = 10.0  # for the firmware to say that it writes
_LONGEST_LINE: Final = 97  # bytes that most firmware writes of one, with its end


class Stage(Enum):
    OPENING = "opening"
    WRITING = "writing"
    CLOSING = "closing"
    CHECKING = "checking"


class Transfer:
    """`file` on its way, in one try after another."""

    def __init__(self, order: CardOrder, file: BinaryIO, now: float) -> None:
        self.order = order
        self.file = file
        self.began = now
        self.tries = 0
        self.damaged_before = 0
        self.start(now)

    def start(self, now: float) -> None:
        """From the beginning of the file."""
        self.file.seek(0)
        self.reader = LineReader(self.file, start=0)
        self.tries += 1
        self.stage = Stage.OPENING
        self.deadline = now + OPEN_S
        self.ends: list[int] = []  # the byte behind each line that was given to the session and not accounted for
        self.base = 0  # lines accounted for
        self.fed = 0
        self.written_bytes = 0  # without line ends
        self.sent_bytes = 0
        self.looks = 0  # at the list, for what was written

    def is_whole(self, size_bytes: int | None, damaged: int) -> bool:
        """Whether a file of so many bytes is it, after so many lines were `damaged` on their way.

        Each numbered line is in it once.  Marlin writes nothing without a number; firmware that does may have a line
        in it besides, as it came without its N, and the file is longer by that.  Lines end with one byte or with two,
        so a longer file may be that as well: not if what was damaged could make up for it.  A firmware that tells no
        size is believed if nothing was damaged.
        """
        one = self.written_bytes + self.fed
        if size_bytes is None:
            return not damaged
        return size_bytes == one or (size_bytes == one + self.fed and damaged * _LONGEST_LINE < self.fed)
