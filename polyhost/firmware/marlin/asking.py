"""Lines of which the host wants to know how they ended, and what the firmware said to them.

They go out one at a time, each once the one before it is answered, and nothing else between them: what is heard
meanwhile belongs to the line that the firmware works on, and what follows a line that it refused is never sent.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from polyhost.firmware.marlin.replies import (
    Busy,
    ErrorKind,
    FirmwareError,
    Garbled,
    Heard,
    LineRefused,
    LineSkipped,
    Ok,
    ResendRequested,
    SdFailed,
    Started,
    TemperaturesReported,
    UnknownCommand,
    WaitingForLine,
)

MAX_LINES: Final = 200  # of what is heard, over all that is asked; the rest is dropped
MAX_LINE: Final = 500  # characters of one

_NOISE: Final = (Busy, Garbled, LineRefused, LineSkipped, Ok, ResendRequested, Started, WaitingForLine)
_HEADS: Final = ("echo:", "Error:")


class Asked:
    """`lines` on their way.  `then` is called when all are answered, one was refused, or they will not be sent.

    `sent` is called with each line as it goes out.  `heard` is what the firmware said, `fault` its words when it
    refused one, and `lost` whether nobody will ever know.
    """

    def __init__(self, lines: Sequence[bytes], sent: Callable[[bytes], None], then: Callable[[], None]) -> None:
        self.heard: list[str] = []
        self.fault = ""
        self.lost = False
        self.over = False
        self._doubtful = False  # the error heard last may have been none of the command's
        self._left = deque(lines)
        self._sent = sent
        self._then = then
        self._line = b""  # that is on its way
        self._number: int | None = None  # of that line

    @property
    def ready(self) -> bool:
        """Whether the next line may go out."""
        return self._number is None and bool(self._left)

    def next_line(self) -> bytes:
        self._line = self._left.popleft()
        self._sent(self._line)
        return self._line

    def numbered(self, number: int) -> None:
        """The line just given is line `number`."""
        self._number = number

    def overhear(self, text: str, replies: Sequence[Heard], acknowledged: int, *, damaged: bool) -> None:
        """A line of the firmware's, while all up to number `acknowledged` are answered; `damaged`: the link does that.

        An error that none of our tables knows may be a damaged one about a damaged line: what follows is a `Resend`.
        """
        if self._number is None or acknowledged < self._number - 1:
            return
        reply = replies[-1] if replies else None
        if isinstance(reply, ResendRequested) and self._doubtful:
            self.fault = ""
        if reply is None or isinstance(reply, _NOISE):
            return
        if isinstance(reply, TemperaturesReported) and not self._line.startswith(b"M105"):
            return  # it comes by itself
        text = text.strip()
        if len(replies) > 1 and text.startswith("ok"):
            text = text[2:].lstrip(" :")
        if len(self.heard) < MAX_LINES:
            self.heard.append(text[:MAX_LINE])
        self._doubtful = isinstance(reply, FirmwareError) and reply.kind is ErrorKind.OTHER and not reply.fatal
        if not self.fault and self._refuses(reply) and not (damaged and self._doubtful):
            for head in _HEADS:
                text = text.removeprefix(head).strip()
            self.fault = text[:MAX_LINE]

    def _refuses(self, reply: Heard) -> bool:
        match reply:
            case UnknownCommand(text):
                # A damaged number makes a firmware take something else for a command.
                words = text.rpartition('"')[0].rpartition('"')[2] if text.endswith('"') else text
                return words.split(" ")[0].upper().encode("utf-8", "replace") == self._line.split(b" ")[0].upper()
            case FirmwareError() | SdFailed():
                return True
            case _:
                return False

    def answered(self, sure: int) -> bool:
        """All lines up to number `sure` are known to be taken; whether that was the last of these."""
        if self._number is None or sure < self._number:
            return False
        self._number = None
        if self._left and not self.fault:
            return False
        self._end()
        return True

    def lose(self) -> None:
        """What was not sent will not be, and what was may never be answered."""
        if not self.over:
            self.lost = True
            self._end()

    def _end(self) -> None:
        self.over = True
        self._left.clear()
        self._then()
