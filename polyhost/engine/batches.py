"""A run's file in batches of lines, up to each command that the host obeys itself.

Host behaviour after OctoPrint's, section 7 of its specification: comments and blanks never reach the wire; M0, M1
and M25 pause and are not sent.
"""

import os
import re
from collections.abc import Sequence
from typing import BinaryIO, Final

from polyhost.core.errors import Malformed, NotFound, NotNow
from polyhost.core.ports import RunOrder
from polyhost.engine.intake import Intake
from polyhost.gcode.reader import LineReader

_BATCH: Final = 256  # lines
_STOPS: Final = re.compile(
    rb"^(?:(?:N\d+\s*)?M0*(0|1|25|28|112)(?![\d.])|@(pause|cancel|abort)(?!\w))", re.IGNORECASE | re.MULTILINE
)
BREAKS: Final = {  # of the stops, those that end a run
    b"112": "the file asks for an emergency stop (M112); it was not sent",
    # What follows would go into a file of the card, the off list too.
    b"28": "the file asks the printer to write to its card (M28); it was not sent",
}
_NO_GCODE: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def opened(order: RunOrder) -> BinaryIO:
    """The file of `order`: this version, whatever is put in its place.  `NotFound` when it is not there."""
    try:
        file = open(order.file, "rb", buffering=0)  # noqa: SIM115 - closed when the run ends
    except FileNotFoundError:
        raise NotFound(f"no file {order.name} ({order.file})") from None
    except OSError as error:
        raise NotNow(f"{order.name} cannot be read: {error.strerror}") from error
    size = os.fstat(file.fileno()).st_size
    if size != order.size_bytes:
        file.close()
        raise NotNow(f"{order.name} has {size} bytes on the disk instead of {order.size_bytes}; upload it again")
    return file


class Batches:
    """`stop` is the command behind the lines read, M's number or @'s word, and None while there is none;
    `whole` when there is nothing behind them.
    """

    def __init__(self, order: RunOrder, file: BinaryIO, intake: Intake) -> None:
        self.stop: bytes | None = None
        self.whole = False
        self._name = order.name
        self._size = order.size_bytes
        self._file = file
        self._reader = LineReader(file, start=order.start_byte)
        self._intake = intake
        self._read_to = order.start_byte
        self._rest: tuple[Sequence[bytes], Sequence[int]] = ([], [])  # of a batch, behind a stop
        self._empty = order.start_byte == 0  # no command was read yet

    @property
    def over(self) -> bool:
        """Nothing more is read: it was all, or a stop has to be obeyed first."""
        return self.whole or self.stop is not None

    def read(self) -> tuple[Sequence[bytes], Sequence[int]]:
        """The next lines to send, and the byte behind each.  `Malformed` for what is no G-code; raises `OSError`."""
        lines, ends = self._rest
        if lines:
            self._rest = ([], [])
        else:
            lines, ends = self._reader.read(_BATCH)
            self._check_whole()
            if not lines:
                self.whole = True
                if self._empty:
                    raise Malformed(f"{self._name} holds no command: there is nothing to print")
                return [], []
            self._empty = False
        text = b"\n".join(lines)
        if _NO_GCODE.search(text):
            raise Malformed(f"{self._name} holds bytes that no G-code has, near byte {ends[0]}: is it a G-code file?")
        behind = ends[-1]
        found = _STOPS.search(text)
        if found is not None:
            index = text.count(b"\n", 0, found.start())
            self._rest = (lines[index + 1 :], ends[index + 1 :])
            self.stop = (found[1] or found[2]).lower()
            text = text[: found.start()]
            behind = ends[index]
            lines, ends = lines[:index], ends[:index]
        start, self._read_to = self._read_to, behind
        return self._intake.taken(lines, ends, start, text)

    def _check_whole(self) -> None:
        """`Malformed` when other hands write into the very file that is printed: its end would be none of the run."""
        size = os.fstat(self._file.fileno()).st_size
        if size != self._size:
            raise Malformed(
                f"{self._name} was changed on the disk while it was printed: {size} bytes, not {self._size}"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._rest = ([], [])
        self._file.close()
