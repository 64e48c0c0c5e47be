"""The host's half of the conversation with a Marlin-family firmware, for one open port.

A session greets, sends what is queued as numbered lines, asks for temperatures now and then, and turns what is heard
into replies.  How lines get through exactly once is `transmission`'s matter.  Protocol: Marlin's G-code reference
(M105, M110, M112, M115, M155) and its serial conventions (``ok``, ``Resend:``, ``echo:busy:``, ``start``).
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from polyhost.core.printer import Cause, Firmware
from polyhost.firmware.marlin.asking import Asked
from polyhost.firmware.marlin.lanes import Lane, Waiting
from polyhost.firmware.marlin.polling import REPORT_EVERY_S, TemperaturePolling
from polyhost.firmware.marlin.quirks import habits_of
from polyhost.firmware.marlin.replies import (
    Busy,
    CapabilityNamed,
    CommandsDone,
    DamagedLink,
    Dead,
    ErrorKind,
    FirmwareError,
    FirmwareNamed,
    FirmwareReported,
    FirmwareRestarted,
    Garbled,
    Heard,
    LineRefused,
    LineSkipped,
    Ok,
    Reply,
    ResendRequested,
    Said,
    SdFailed,
    SdFile,
    SdFilesListed,
    SdListBegan,
    SdListEnded,
    Started,
    TemperaturesReported,
    UnknownCommand,
    WaitingForLine,
    parse_reply,
    parse_sd_entry,
)
from polyhost.firmware.marlin.transmission import CHECKPOINT, FIRST_LINE, Transmission

__all__ = ["Lane", "Session"]

BACKLOG_LINES: Final = 256  # lines of the file that are held ready
MAX_REPLY_BYTES: Final = 4096  # of one line of the firmware's; the rest is dropped
MAX_SD_FILES: Final = 5000
MAX_CAPABILITIES: Final = 256

_BOOT_S: Final = 2.0  # a board that starts anew with its port may take so long to speak, until it is spoken to
_GREETING_S: Final = 12.0  # until when it must have answered
_GREETING_NOISE_S: Final = 6.0  # the same, when all that comes is unreadable
_BAD_CABLE: Final = (5, 1000)  # so many damaged lines at least, and one of so many
_NEVER: Final = float("inf")
_ASK_FIRMWARE: Final = b"M115"
_PLAIN_OK: Final = Ok()


class _Stage(Enum):
    CLOSED = "closed"
    BOOTING = "booting"  # waiting for the board to speak, or to have had time to
    RUNNING = "running"
    DEAD = "dead"


class Session:
    """The conversation with one firmware.  `now` is monotonic seconds, given by the caller.

    Feed `receive`, write `data_to_send` after anything happened, call `tick` at `next_deadline`.  `window_lines` and
    `window_bytes` are `Transmission`'s.  `on_line(sent, text)` hears each line as it was written or heard.
    """

    def __init__(self, *, window_lines: int = 0, window_bytes: int = 0) -> None:
        self.on_line: Callable[[bool, str], None] | None = None
        self._window = (window_lines, window_bytes)
        self._file = Waiting()
        self._host = Waiting()
        self._asked: Asked | None = None  # what is under way; nothing else goes out until it is answered
        self._reset(0.0)
        self._stage = _Stage.CLOSED

    def _reset(self, now: float) -> None:
        """As new, for a port just opened; what is queued stays."""
        lines, size = self._window
        self._stage = _Stage.BOOTING
        self._transmission = Transmission(now, window_lines=lines, window_bytes=size)
        self.greeted = False
        self.firmware = Firmware()
        self._opened_at = now
        self._own: deque[bytes] = deque([_ASK_FIRMWARE])  # the session's own lines, before all others
        self._urgent: list[bytes] = []
        self._tagged: deque[tuple[int, object]] = deque()  # (number of the line, tag)
        self._polling = TemperaturePolling()
        self._unread = b""
        self._discarding = False  # inside a line that is too long
        self._noisy = False
        self._listing: list[SdFile] | None = None
        self._capabilities: dict[str, bool] = {}
        self._firmware_asked: int | None = None  # the number of an M115 not answered yet
        self._writing_to_card = False
        self._damage_told = False
        self._renumbering = False
        self._file_lines = 0  # lines of the file that have a number
        self._file_lines_done = 0
        self._lose_asked()

    # What the owner asks.

    @property
    def lines_sent(self) -> int:
        """Since the port was opened, those sent again included."""
        return self._transmission.written

    @property
    def resends(self) -> int:
        return self._transmission.written_again

    @property
    def damaged(self) -> int:
        """Lines that were damaged on their way, since the port was opened."""
        return self._transmission.damaged

    @property
    def in_flight(self) -> int:
        """Lines sent and not acknowledged."""
        return self._transmission.in_flight

    @property
    def idle(self) -> bool:
        """Nothing queued, and every line sent is known to have been taken."""
        return (
            self.greeted
            and self._stage is _Stage.RUNNING
            and not self._transmission.open
            and not (self._host.lines or self._file.lines or self._own or self._urgent or self._renumbering)
            and self._asked is None
        )

    @property
    def file_lines_acknowledged(self) -> int:
        """Lines of the file lane taken by the firmware since `start_numbering`; never goes back."""
        if not self._renumbering:
            self._file_lines_done = max(self._file_lines_done, self._transmission.mark_reached())
        return self._file_lines_done

    def room(self) -> int:
        """How many more lines of the file lane are welcome now."""
        return max(0, BACKLOG_LINES - len(self._file.lines))

    # What the owner does.

    def opened(self, now: float) -> None:
        """The port was opened: greet.  Boards that start anew with the port get time to say so."""
        self._reset(now)

    def start_numbering(self) -> None:
        """A new run: lines count from 1 again once all that were sent are confirmed, those of the file from 0."""
        self._file_lines_done = 0
        self._renumbering = True

    def queue(self, lines: Sequence[bytes], lane: Lane, tag: object | None = None) -> None:
        """Queue commands: no comment, no line number, none empty.  `ValueError` for a line end in one of the host's.

        `CommandsDone(tag)` comes when the last of them is known to have been taken.
        """
        if lane is Lane.HOST and any(b"\n" in line or b"\r" in line for line in lines):
            raise ValueError("a command is one line")
        waiting = self._lane(lane)
        if lines or waiting.lines:
            waiting.add(lines, tag)
        elif tag is not None:
            self._tagged.append((self._transmission.next - 1, tag))

    def ask(self, asked: Asked) -> None:
        """Queue `asked` with the lines of the host's: when it begins, all before it are out, and none go between it."""
        self._host.add([b""], asked)

    def drop(self, lane: Lane) -> int:
        """Forget the lines of `lane` that were not sent, and their tags; how many they were."""
        if lane is Lane.HOST:
            self._lose_asked()
        dropped, tags = self._lane(lane).drop()
        for tag in tags:
            if isinstance(tag, Asked):
                tag.lose()
        return dropped

    def forsake(self) -> None:
        """The link is gone, or another session takes it: nobody will know what became of what was asked."""
        self.drop(Lane.HOST)

    def _lose_asked(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.lose()

    def emergency(self, command: bytes) -> None:
        """``M112``, ``M108``, ``M410``: sent unnumbered at the next `data_to_send`, ahead of everything.

        ``M112`` goes out numbered as well, for firmware that looks at whole lines only, and drops what is queued.
        """
        self._urgent.append(command)
        if command.startswith(b"M112"):
            self._drop_all()

    def _lane(self, lane: Lane) -> Waiting:
        return self._file if lane is Lane.FILE else self._host

    def _drop_all(self) -> None:
        self.drop(Lane.HOST)
        self.drop(Lane.FILE)
        self._own.clear()
        self._tagged.clear()

    # Bytes out.

    def data_to_send(self, now: float) -> bytes:
        """What is to be written now; each call hands over what no earlier call did."""
        out = self._urgent_lines(now) if self._urgent else []
        if self._stage is _Stage.RUNNING:
            if self._renumbering and not self._transmission.open and not self._own:
                self._number_anew(now)
            if self._writing_to_card and self._transmission.checkpoint_due:
                self._transmission.ask_by_repeating()
            out += self._transmission.lines_to_write(now, self._take_next)
        if self.on_line is not None:
            for frame in out:
                self.on_line(True, frame[:-1].decode("utf-8", "replace"))
        return out[0] if len(out) == 1 else b"".join(out)

    def _urgent_lines(self, now: float) -> list[bytes]:
        out = []
        for command in self._urgent:
            out.append(command + b"\n")
            self._transmission.stray()
            if command.startswith(b"M112") and self._transmission.settled:
                self._transmission.take(command, self._file_lines)
                out += self._transmission.write_now(now)
        self._urgent.clear()
        return out

    def _number_anew(self, now: float) -> None:
        self._transmission.number_anew(now)
        # Tags still here stood behind no lines: the numbers they were given mean nothing any more.
        self._tagged = deque((FIRST_LINE - 1, tag) for _, tag in self._tagged)
        self._renumbering = False
        self._file_lines = 0
        self._firmware_asked = None

    def _take_next(self, now: float) -> bool:
        """Have the most urgent line numbered; False when there is none, or none may go."""
        transmission = self._transmission
        if not transmission.settled or transmission.full:
            return False
        if self._writing_to_card and transmission.checkpoint_due:
            return False  # until `Transmission.ask_by_repeating` could ask
        may_ask = not transmission.asking and not self._writing_to_card
        if may_ask and (now >= self._polling.due_at or transmission.checkpoint_due):
            self._ask(now)
        elif self._own:
            command = self._own.popleft()
            number = transmission.take(command, self._file_lines)
            if command == _ASK_FIRMWARE:
                self._firmware_asked = number
        elif self._asked is not None:
            return self._take_asked(self._asked, now)
        elif self._host.lines and not self._renumbering:
            return self._take_from(self._host) or self._take_next(now)
        elif self._file.lines and not self._renumbering:
            self._file_lines += 1
            return self._take_from(self._file)
        elif may_ask and transmission.open and self._someone_waits(now):
            self._ask(now)
        else:
            return False
        return True

    def _ask(self, now: float) -> None:
        self._polling.asked(now)
        self._transmission.take(CHECKPOINT, self._file_lines)

    def _take_asked(self, asked: Asked, now: float) -> bool:
        """Have the next line of what is asked numbered, once the one before it is answered."""
        if asked.ready and not self._renumbering:
            asked.numbered(self._number(asked.next_line()))
        elif self._transmission.open and not (self._transmission.asking or self._writing_to_card):
            if not self._someone_waits(now):
                return False
            self._ask(now)
        else:
            return False
        return True

    def _take_from(self, waiting: Waiting) -> bool:
        """Whether that was a line; what is asked for only begins."""
        command, tags = waiting.take()
        # An empty line stands for what is asked.
        number = self._number(command) if command else self._transmission.next - 1
        for tag in tags:
            if isinstance(tag, Asked):
                self._asked = tag
            else:
                self._tagged.append((number, tag))
        return bool(command)

    def _number(self, command: bytes) -> int:
        number = self._transmission.take(command, self._file_lines)
        if command.startswith(b"M2"):
            if command.startswith(b"M28 "):
                self._writing_to_card = True  # what is sent now goes into a file: send nothing of our own
            elif command.startswith(b"M29"):
                self._writing_to_card = False
        return number

    def _someone_waits(self, now: float) -> bool:
        """Whether it is time to ask if all lines arrived."""
        return self._renumbering or bool(self._tagged) or now >= self._transmission.lull_at()

    # Bytes in.

    def receive(self, data: bytes, now: float) -> list[Reply]:
        """Take what the port delivered, cut anywhere; what it said, but for the bookkeeping of lines."""
        replies: list[Reply] = []
        if self._stage in (_Stage.CLOSED, _Stage.DEAD):
            return replies
        transmission = self._transmission
        transmission.hear_anything(now)
        if data == b"ok\n" and not self._unread and not self._discarding and self._stage is _Stage.RUNNING:
            if self.on_line is not None:
                self.on_line(False, "ok")
            self._hear(_PLAIN_OK, now, replies)
        else:
            for line in self._lines_in(data):
                self._hear_line(line, now, replies)
        self._conclude(replies)
        return replies

    def _lines_in(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, none empty."""
        lines = data.replace(b"\r", b"\n").split(b"\n")
        if self._discarding:
            lines[0] = b""
            self._discarding = len(lines) == 1
        elif self._unread:
            lines[0] = self._unread + lines[0]
        self._unread = lines.pop()
        if len(self._unread) > MAX_REPLY_BYTES:
            self._unread, self._discarding, self._noisy = b"", True, True
        return [line[:MAX_REPLY_BYTES] for line in lines if line]

    def _hear_line(self, line: bytes, now: float, replies: list[Reply]) -> None:
        text = line.decode("utf-8", "replace")
        if self.on_line is not None:
            self.on_line(False, text)
        heard = parse_reply(text)
        if self._asked is not None:
            transmission = self._transmission
            damaged = bool(transmission.damaged or transmission.written_again)
            self._asked.overhear(text, heard, transmission.acknowledged, damaged=damaged)
        if self._stage is _Stage.BOOTING:
            self._hear_boot(heard)
        if len(heard) == 2 and isinstance(heard[0], Ok) and isinstance(heard[1], TemperaturesReported):
            self._transmission.hear_report(now)
            self._hear(heard[1], now, replies)
            return
        if self._listing is not None and len(heard) == 1 and isinstance(heard[0], Said):
            entry = parse_sd_entry(text)
            if entry is not None and len(self._listing) < MAX_SD_FILES:
                self._listing.append(entry)
                return
        for reply in heard:
            self._hear(reply, now, replies)

    def _hear(self, reply: Heard, now: float, replies: list[Reply]) -> None:
        transmission = self._transmission
        match reply:
            case Ok():
                if self._listing is not None:
                    self._end_listing(replies)
                transmission.hear_ok(reply, now)
            case ResendRequested(number):
                transmission.hear_resend(number, now)
            case LineRefused():
                transmission.hear_refusal(reply, now)
            case LineSkipped(number):
                transmission.hear_skip(number, now)
            case Started():
                self._hear_start(now, replies)
            case WaitingForLine():
                transmission.hear_idle(now)
            case Garbled():
                self._noisy = True
                transmission.hear_garbled(now)
            case FirmwareNamed(name, machine, extruders):
                self.firmware = Firmware(name, machine, extruders, self._capabilities)
                transmission.habits = habits_of(name)
            case CapabilityNamed(name, present):
                if len(self._capabilities) < MAX_CAPABILITIES:
                    self._capabilities[name] = present
            case SdListBegan():
                self._listing = []
            case SdListEnded():
                self._end_listing(replies)
            case Busy():
                transmission.hear_busy(now)
                replies.append(reply)
            case TemperaturesReported():
                self._polling.heard(reply, now)
                transmission.hear_heating(now)
                replies.append(reply)
            case Said():
                transmission.hear_text(now)
                replies.append(reply)
            case SdFailed():
                self._writing_to_card = False  # what M28 opens is not open: lines would be done, not written
                replies.append(reply)
            case UnknownCommand():
                transmission.doubt(now)  # a damaged line can look like one
                replies.append(reply)
            case FirmwareError(_, fatal, kind):
                if fatal and kind is not ErrorKind.MOTION:
                    self._drop_all()
                replies.append(reply)
            case _:
                replies.append(reply)

    def _hear_boot(self, heard: Sequence[Heard]) -> None:
        """Before it was spoken to: anything readable is a firmware that is there."""
        if any(not isinstance(reply, Garbled) for reply in heard):
            self._stage = _Stage.RUNNING

    def _hear_start(self, now: float, replies: list[Reply]) -> None:
        if self.greeted:
            self._drop_all()
            replies.append(FirmwareRestarted())
            if self._polling.reporting:
                self._own.append(b"M155 S%d" % REPORT_EVERY_S)
        else:
            self._own = deque([_ASK_FIRMWARE])
        self._writing_to_card = False
        self._number_anew(now)

    def _end_listing(self, replies: list[Reply]) -> None:
        if self._listing is not None:
            replies.append(SdFilesListed(tuple(self._listing)))
            self._listing = None

    def _conclude(self, replies: list[Reply]) -> None:
        """What follows from how far the lines are."""
        transmission = self._transmission
        if self._firmware_asked is not None and transmission.acknowledged >= self._firmware_asked:
            self._firmware_asked = None
            self._greet(replies)
        if self._asked is not None and self._asked.answered(transmission.sure):
            self._asked = None
        while self._tagged and self._tagged[0][0] <= transmission.confirmed:
            replies.append(CommandsDone(self._tagged.popleft()[1]))
        if transmission.damaged and not self._damage_told:
            at_least, one_of = _BAD_CABLE
            if transmission.damaged >= at_least and transmission.damaged * one_of > transmission.written:
                self._damage_told = True
                replies.append(DamagedLink(transmission.damaged, transmission.written))
        if transmission.dead and self._stage is not _Stage.DEAD:
            self._die(transmission.dead, replies, Cause.RESEND if transmission.dead_of_resends else Cause.TIMEOUT)

    def _greet(self, replies: list[Reply]) -> None:
        """The answer to M115 is whole."""
        named = self.firmware
        self.firmware = Firmware(named.name, named.machine, named.extruders, dict(self._capabilities))
        replies.append(FirmwareReported(self.firmware))
        if self.greeted:
            return
        self.greeted = True
        self._polling.start()
        if self._capabilities.get("AUTOREPORT_TEMP"):
            self._polling.reporting = True
            self._own.append(b"M155 S%d" % REPORT_EVERY_S)

    def _die(self, reason: str, replies: list[Reply], cause: Cause = Cause.CONNECTION) -> None:
        self._stage = _Stage.DEAD
        self._drop_all()
        replies.append(Dead(reason, cause))

    # Time.

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, should nothing happen before; None: never."""
        if self._stage in (_Stage.CLOSED, _Stage.DEAD):
            return None
        if self._stage is _Stage.BOOTING:
            return self._opened_at + _BOOT_S
        transmission = self._transmission
        wake = transmission.deadline()
        if transmission.quiet and transmission.settled and not self._writing_to_card:
            wake = min(wake, self._polling.due_at)
            if transmission.open:
                wake = min(wake, transmission.lull_at())
        if not self.greeted:
            wake = min(wake, self._greeting_ends_at())
        if self._tagged and self._tagged[0][0] <= transmission.confirmed:
            wake = self._opened_at
        return None if wake == _NEVER else wake

    def tick(self, now: float) -> list[Reply]:
        """Act on deadlines that passed; `data_to_send` may have something then."""
        replies: list[Reply] = []
        if self._stage is _Stage.BOOTING and now >= self._opened_at + _BOOT_S:
            self._stage = _Stage.RUNNING
        elif self._stage is _Stage.RUNNING:
            if not self.greeted and now >= self._greeting_ends_at():
                unreadable = "what the firmware says is unreadable at this rate"
                self._die(unreadable if self._noisy else "the firmware does not answer", replies)
                return replies
            self._transmission.tick(now)
            self._conclude(replies)
        return replies

    def _greeting_ends_at(self) -> float:
        if self._transmission.proven:
            return _NEVER
        return self._opened_at + (_GREETING_NOISE_S if self._noisy else _GREETING_S)
