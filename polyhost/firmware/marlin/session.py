"""The host's half of the numbered-line conversation, for one open port.

Every line goes out as ``N<number> <command>*<checksum>``.  Numbers make a line exactly-once: firmware refuses a
damaged line and one that is not the next, and says which it wants, so that sending a line again is always safe and
skipping one is impossible.  What remains is to know how far the firmware is, from answers that can be lost, doubled,
late or damaged themselves.  Two counts say it:

- *acknowledged* counts ``ok``; it paces the sending and may be wrong by a few lines on a bad link;
- *confirmed* rests on answers that name a line (``ok N13``; a ``Resend`` and its error that agree; the ``ok T:…`` of
  an ``M105`` whose number is known).  It is never ahead of the firmware.  All that is claimed to be done is confirmed.

Where a firmware's ``ok`` names no line, an ``M105`` is sent as a checkpoint every few hundred lines, more often on a
link in doubt, and after the last line.  Numbering starts with ``M110 N0`` and such a checkpoint as line 1; no other
line is sent before that is confirmed, since a repeated ``M110`` would make the firmware take lines twice.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from polyhost.core.printer import Firmware
from polyhost.firmware.marlin.lines import numbered
from polyhost.firmware.marlin.patience import SILENCE_S, TROUBLE_S, allowance_s
from polyhost.firmware.marlin.polling import REPORT_EVERY_S, TemperaturePolling
from polyhost.firmware.marlin.quirks import Habits, habits_of
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
    SdFile,
    SdFilesListed,
    SdListBegan,
    SdListEnded,
    Started,
    TemperaturesReported,
    UnknownCommand,
    Waiting,
    parse_reply,
    parse_sd_entry,
)

BACKLOG_LINES: Final = 256  # lines of the file lane that are held ready
MAX_REPLY_BYTES: Final = 4096  # of one line of the firmware's; the rest is dropped
MAX_SD_FILES: Final = 10_000

_HISTORY: Final = 512  # lines kept to be sent again; a power of two
_SLOT: Final = _HISTORY - 1
_UNCONFIRMED: Final = 448  # no new line beyond so many unconfirmed ones: all of them must be in the history
_CHECKPOINT: Final = 200  # lines between two checkpoints
_CHECKPOINT_IN_DOUBT: Final = 32
_RECEIVE_BUFFER: Final = 127  # bytes that the smallest boards hold besides the line they work on

_BOOT_S: Final = 2.0  # how long a board may take to speak after its port was opened, until it is spoken to
_GREETING_S: Final = 12.0  # until when it must have answered
_GREETING_NOISE_S: Final = 6.0  # the same, when all that comes is unreadable
_PATIENCE_S: Final = 5.0  # for an ordinary line, on a link that was never seen to damage one
_PATIENCE_LONG_S: Final = 30.0  # for a line that takes long, between probes
_PATIENCE_BUSY_S: Final = 6.0  # the same, once the firmware is known to say that it is busy (every 2 s)
_PATIENCE_DAMAGED_S: Final = 0.1
_QUIET_S: Final = 0.01  # nothing more comes after so long
_MAX_WAIT_S: Final = 10.0
_MAX_WAIT_DAMAGED_S: Final = 2.0
_LULL_S: Final = 0.1  # nothing to send for so long: ask whether all arrived
_REPORTS_ALONE_S: Final = 300.0  # a line may stay unanswered for so long while other things are heard
_CAUTION_LINES: Final = 32  # two lines damaged among so many: one at a time loses less
_MEMORY_LINES: Final = 1000  # a link that damaged one of so many lines is one that damages
_INSISTENCE: Final = 3  # an impossible request is damage, until it is made so many times
_BLIND_TRIES: Final = 6

_NEVER: Final = float("inf")
_PLAIN_OK: Final = Ok()
_ASK_TEMPERATURES: Final = b"M105"
_ASK_FIRMWARE: Final = b"M115"
_RESET_NUMBERS: Final = b"M110 N0"


class Lane(Enum):
    """Where a line waits: those of the host go out before those of the file."""

    FILE = "file"
    HOST = "host"


class _Stage(Enum):
    CLOSED = "closed"
    BOOTING = "booting"  # waiting for the board to speak, or to have had time to
    NUMBERING = "numbering"  # M110 N0 and line 1 are on their way
    RUNNING = "running"
    DEAD = "dead"


class _Waiting:
    """Lines of one lane that were not sent yet, and the tags that wait behind them."""

    __slots__ = ("lines", "queued", "tags", "taken")

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self.tags: deque[tuple[int, object]] = deque()  # (how many lines were queued up to it, tag)
        self.queued = 0
        self.taken = 0

    def clear(self) -> int:
        dropped = len(self.lines)
        self.lines.clear()
        self.tags.clear()
        self.queued = self.taken
        return dropped


class Session:
    """The conversation with one firmware.  `now` is monotonic seconds, given by the caller.

    `window_lines` and `window_bytes` bound what is unanswered; 0 is what the firmware shows that it can: one line,
    and more once its answers say how many it has room for.  The bytes are those behind the line it works on.

    Feed `receive`, write `data_to_send`, call `tick` at `next_deadline`.  `on_line(sent, text)` hears each line.
    """

    def __init__(self, *, window_lines: int = 0, window_bytes: int = 0) -> None:
        self.on_line: Callable[[bool, str], None] | None = None
        self.greeted = False
        self.firmware = Firmware()
        self.lines_sent = 0
        self.resends = 0
        self._window_given = window_lines
        self._window_bytes = window_bytes or _RECEIVE_BUFFER
        self._waiting = {Lane.FILE: _Waiting(), Lane.HOST: _Waiting()}
        self._file = self._waiting[Lane.FILE]
        self._host = self._waiting[Lane.HOST]
        self._frames: list[bytes] = [b""] * _HISTORY
        self._file_counts = [0] * _HISTORY  # lines of the file up to the line in the same slot
        self._stage = _Stage.CLOSED
        self._reset(0.0)

    def _reset(self, now: float) -> None:
        """As new, for a port just opened; what is queued stays."""
        self._window = max(1, self._window_given)
        self._habits = Habits()
        self._own: deque[bytes] = deque()  # the session's own lines, before all others
        self._urgent: list[bytes] = []
        self._unread = b""
        self._discarding = False  # in a line that is too long
        self._polling = TemperaturePolling()
        self._listing: list[SdFile] | None = None
        self._capabilities: dict[str, bool] = {}
        self._asked_firmware: int | None = None  # the number of an M115 not answered yet
        self._said_ready: list[Reply] = []
        self._keeps_alive = False  # the firmware says when it is busy
        self._noise = 0
        self._damaged = 0
        self._damaged_at_line = self._damaged_before = -_MEMORY_LINES  # lines sent when the last two were damaged
        self._damage_told = False
        self._lines = 0  # sent since the port was opened
        self._opened_at = now
        self._round_trip_s = 0.05
        self._slowest_s = 0.05  # of late
        self._number_anew(now)

    def _number_anew(self, now: float) -> None:
        """Line numbers from 0: ``M110 N0`` itself, then a checkpoint as line 1."""
        self._frames[0] = numbered(0, _RESET_NUMBERS)
        self._frames[1] = numbered(1, _ASK_TEMPERATURES)
        self._file_counts[0] = self._file_counts[1] = 0
        self._next = 2  # the number of the next new line
        self._reached = 0  # above the highest number ever written
        self._unsent = 0  # the next line to write; behind `_next` while lines are sent again
        self._acknowledged = -1  # all lines up to it were answered, as far as counting tells
        self._confirmed = -1
        self._unanswered = 0  # lines written whose answer is still to come
        self._flight_bytes = 0
        self._file_taken = 0  # lines of the file that have a number
        self._file_done = 0
        self._renumbering = False
        self._checkpoints: deque[int] = deque([1])  # M105s whose ok T: was not heard yet
        self._tagged: deque[tuple[int, object]] = deque()
        self._strays: deque[int] = deque()  # an ok of no line is to come after the one of this line
        self._writing_to_card = False
        self._resend: int | None = None  # the line wanted, until it is sent again
        self._resend_answered = False  # its ok was heard
        self._refusal: LineRefused | None = None
        self._hold_until = 0.0
        self._last_resend = -1
        self._repeats = 0
        self._impossible = (-1, 0)  # a request that cannot be, and how often it was made
        self._tries = 0
        self._blind = 0
        self._probing = False
        self._garbled = False  # since the last line was written
        self._sent_at = now
        self._moved_at = now  # when something last happened to the lines on their way
        self._answered_at = now
        self._heard_at = now
        self._alive_at = now  # when a line was last known to have passed, or a long one to go on
        self._doubt_since = _NEVER

    # What the owner asks.

    @property
    def in_flight(self) -> int:
        """Lines written and not acknowledged."""
        return max(0, self._unsent - 1 - self._acknowledged)

    @property
    def idle(self) -> bool:
        """Nothing queued, and every line sent is confirmed."""
        return (
            self._stage is _Stage.RUNNING
            and self.greeted
            and self._confirmed == self._next - 1
            and not (self._host.lines or self._file.lines or self._own or self._urgent or self._renumbering)
        )

    @property
    def file_lines_acknowledged(self) -> int:
        """Lines of the file lane taken by the firmware since `start_numbering`; never goes back."""
        if self._renumbering:
            return 0
        sure = self._confirmed if self._doubt_since != _NEVER else self._acknowledged
        if sure >= 0:
            self._file_done = max(self._file_done, self._file_counts[sure & _SLOT])
        return self._file_done

    def room(self) -> int:
        """How many more lines of the file lane are welcome now."""
        return max(0, BACKLOG_LINES - len(self._file.lines))

    # What the owner does.

    def opened(self, now: float) -> None:
        """The port was opened: greet.  Boards that start anew with the port get time to say so."""
        self._reset(now)
        self.greeted = False
        self.firmware = Firmware()
        self._stage = _Stage.BOOTING
        self._hold_until = now + _BOOT_S

    def start_numbering(self) -> None:
        """A new run: once all lines sent are confirmed, lines count from 1 again, and those of the file from 0."""
        self._file_done = 0
        self._renumbering = True

    def queue(self, lines: Sequence[bytes], lane: Lane, tag: object | None = None) -> None:
        """Queue commands: without number, comment and line end, none empty.

        `CommandsDone(tag)` comes when the last of them is confirmed.  Raises `ValueError` for a line end in a line.
        """
        if lane is Lane.HOST and any(b"\n" in line or b"\r" in line for line in lines):
            raise ValueError("a command is one line")
        waiting = self._waiting[lane]
        waiting.lines.extend(lines)
        waiting.queued += len(lines)
        if tag is not None:
            if waiting.lines:
                waiting.tags.append((waiting.queued, tag))
            else:
                self._tagged.append((self._next - 1, tag))

    def drop(self, lane: Lane) -> int:
        """Forget the lines of `lane` that were not sent, and their tags; how many they were."""
        return self._waiting[lane].clear()

    def emergency(self, command: bytes) -> None:
        """``M112``, ``M108``, ``M410``: written unnumbered at the next `data_to_send`, ahead of everything.

        M112 goes out numbered too, for firmware that looks at whole lines only, and ends what is queued.
        """
        self._urgent.append(command)
        if command.startswith(b"M112"):
            for waiting in self._waiting.values():
                waiting.clear()
            self._own.clear()

    # Bytes out.

    def data_to_send(self, now: float) -> bytes:
        """What is to be written now; each call hands over what no earlier call did."""
        out = self._urgent_lines() if self._urgent else []
        if self._resend is not None and now >= self._hold_until:
            self._go_back(now)
        if self._resend is None and self._stage in (_Stage.NUMBERING, _Stage.RUNNING):
            if not self._open():
                if self._renumbering and not self._own:
                    self._number_anew(now)
                    self._stage = _Stage.NUMBERING
                self._heard_at = self._answered_at = self._alive_at = now  # from here on an answer is waited for
            self._fill(out, now)
        if not out:
            return b""
        self._sent_at = self._moved_at = now
        self._garbled = False
        if self.on_line is not None:
            for frame in out:
                self.on_line(True, frame[:-1].decode("utf-8", "replace"))
        return out[0] if len(out) == 1 else b"".join(out)

    def _urgent_lines(self) -> list[bytes]:
        out = []
        for command in self._urgent:
            out.append(command + b"\n")
            self._strays.append(self._unsent - 1)
            if command.startswith(b"M112") and self._stage is _Stage.RUNNING and self._unsent == self._next:
                out.append(self._take(command))
                self._count_sent(out[-1])
        self._urgent.clear()
        return out

    def _fill(self, out: list[bytes], now: float) -> None:
        """Append lines to `out` while the window has room."""
        window = self._window
        if window > 1 and (self._probing or self.lines_sent - self._damaged_before < _CAUTION_LINES):
            window = 1
        while (in_flight := self._unsent - 1 - self._acknowledged) < window:
            if self._unsent == self._next:
                command = self._next_command(now)
                if command is None:
                    return
                self._take(command)
            frame = self._frames[self._unsent & _SLOT]
            if in_flight > 0:
                worked_on = len(self._frames[self._acknowledged + 1 & _SLOT])
                if self._flight_bytes - worked_on + len(frame) > self._window_bytes:
                    return
            out.append(frame)
            self._count_sent(frame)

    def _count_sent(self, frame: bytes) -> None:
        number = self._unsent
        self._unsent = number + 1
        self._unanswered += 1
        self._flight_bytes += len(frame)
        self.lines_sent += 1
        if number < self._reached:
            self.resends += 1
        else:
            self._reached = number + 1

    def _take(self, command: bytes) -> bytes:
        """Give `command` the next number and a place in the history."""
        number = self._next
        if command.startswith(b"M1"):
            if command.startswith(_ASK_TEMPERATURES):
                self._checkpoints.append(number)
            elif command.startswith(b"M110"):
                # The numbering is ours: a file that sets it would make the firmware take lines twice.
                command = _ASK_TEMPERATURES
                self._checkpoints.append(number)
            elif command == _ASK_FIRMWARE:
                self._asked_firmware = number
        elif command.startswith(b"M2"):
            if command.startswith(b"M28 "):
                self._writing_to_card = True
            elif command.startswith(b"M29"):
                self._writing_to_card = False
        frame = numbered(number, command)
        slot = number & _SLOT
        self._frames[slot] = frame
        self._file_counts[slot] = self._file_taken
        self._next = number + 1
        return frame

    def _next_command(self, now: float) -> bytes | None:
        """The command to send next, by urgency; None when there is none, or when none may be sent."""
        if self._stage is not _Stage.RUNNING:
            return None
        unconfirmed = self._next - 1 - self._confirmed
        if unconfirmed >= _UNCONFIRMED:
            return None
        if not self._checkpoints and not self._writing_to_card:
            limit = _CHECKPOINT if self._doubt_since == _NEVER else _CHECKPOINT_IN_DOUBT
            if unconfirmed >= limit or now >= self._polling.due_at:
                self._polling.asked(now)
                return _ASK_TEMPERATURES
        if self._own:
            return self._own.popleft()
        if not self._renumbering and (command := self._from_lanes()) is not None:
            return command
        if unconfirmed and not self._checkpoints and not self._writing_to_card and self._lull_over(now):
            self._polling.asked(now)
            return _ASK_TEMPERATURES
        return None

    def _from_lanes(self) -> bytes | None:
        for waiting in (self._host, self._file):
            if not waiting.lines:
                continue
            command = waiting.lines.popleft()
            waiting.taken += 1
            self._file_taken += waiting is self._file
            while waiting.tags and waiting.tags[0][0] == waiting.taken:
                self._tagged.append((self._next, waiting.tags.popleft()[1]))
            return command
        return None

    def _lull_over(self, now: float) -> bool:
        """Whether it is time to ask if all lines arrived: somebody waits for it, or nothing else is to be done."""
        return self._renumbering or bool(self._tagged) or now >= self._moved_at + _LULL_S

    # Bytes in.

    def receive(self, data: bytes, now: float) -> list[Reply]:
        """Take what the port delivered, cut anywhere; what it said, but for the bookkeeping of lines."""
        replies: list[Reply] = []
        if self._stage in (_Stage.CLOSED, _Stage.DEAD):
            return replies
        self._heard_at = now
        if data == b"ok\n" and not self._unread and not self._discarding and self.on_line is None:
            self._hear_ok(_PLAIN_OK, now, replies)
            return replies
        lines = data.replace(b"\r", b"\n").split(b"\n")
        if self._discarding and len(lines) > 1:
            self._discarding = False
            lines[0] = b""
        elif self._unread:
            lines[0] = self._unread + lines[0]
        tail = lines.pop()
        if self._discarding or len(tail) > MAX_REPLY_BYTES:
            self._discarding, tail = True, b""
            self._noise += 1
        self._unread = tail
        for line in lines:
            if line:
                self._hear_line(line[:MAX_REPLY_BYTES], now, replies)
        return replies

    def _hear_line(self, line: bytes, now: float, replies: list[Reply]) -> None:
        text = line.decode("utf-8", "replace")
        if self.on_line is not None:
            self.on_line(False, text)
        heard = parse_reply(text)
        if len(heard) == 2 and isinstance(heard[0], Ok) and isinstance(heard[1], TemperaturesReported):
            self._hear_checkpoint(now, replies)
            self._hear(heard[1], now, replies)
            return
        for reply in heard:
            if self._listing is not None and isinstance(reply, Said):
                entry = parse_sd_entry(text)
                if entry is not None and len(self._listing) < MAX_SD_FILES:
                    self._listing.append(entry)
                    continue
            self._hear(reply, now, replies)
            if self._stage is _Stage.DEAD:
                return

    def _hear(self, reply: Heard, now: float, replies: list[Reply]) -> None:
        match reply:
            case Ok():
                self._hear_ok(reply, now, replies)
            case ResendRequested(number):
                self._hear_resend(number, now, replies)
            case LineRefused():
                self._refusal = reply
                self._garbled = True  # unless the Resend follows, it was
                if not reply.misnumbered:
                    self._note_damage(now, replies)
            case LineSkipped(number):
                self._refusal = LineRefused(True, number)
                self._hear_resend(number + 1, now, replies)
            case Started():
                self._hear_start(now, replies)
            case Waiting():
                if self.in_flight:
                    self._send_again(now, replies)  # it is idle: the line or its ok was lost
            case Busy():
                self._keeps_alive = True
                self._moved_at = self._alive_at = self._answered_at = now
                self._tries = 0
                replies.append(reply)
            case TemperaturesReported():
                self._polling.heard(reply, now)
                if self._allowance_s():
                    self._moved_at = self._alive_at = now
                replies.append(reply)
            case FirmwareNamed(name, machine, extruders):
                self.firmware = Firmware(name, machine, extruders, dict(self._capabilities))
                self._habits = habits_of(name)
            case CapabilityNamed(name, present):
                if len(self._capabilities) < 256:
                    self._capabilities[name] = present
            case SdListBegan():
                self._listing = []
            case SdListEnded():
                self._end_listing(replies)
            case Garbled():
                self._noise += 1
                self._garbled = True
                self._moved_at = now
                self._note_damage(now, replies)
            case FirmwareError(_, fatal, kind):
                replies.append(reply)
                if fatal and kind is not ErrorKind.MOTION:
                    self._drop_all()
            case Said():
                if self._damaging() and not self._allowance_s():
                    self._garbled = True  # what was an ok or a Resend may look like anything
                replies.append(reply)
            case UnknownCommand():
                self._doubt(now)  # a damaged line can look like one
                replies.append(reply)
            case _:
                replies.append(reply)
        if self._stage is _Stage.BOOTING and not isinstance(reply, Garbled | Started):
            self._hold_until = min(self._hold_until, now)

    def _hear_start(self, now: float, replies: list[Reply]) -> None:
        restarted = self.greeted
        self._drop_all()
        reached = self._next
        self._number_anew(now)
        self._own.clear()
        self._stage = _Stage.NUMBERING
        if restarted:
            if self._polling.reporting:
                self._own.append(b"M155 S%d" % REPORT_EVERY_S)
            if reached:
                replies.append(FirmwareRestarted())
        else:
            self._own.append(_ASK_FIRMWARE)

    def _drop_all(self) -> None:
        for waiting in self._waiting.values():
            waiting.clear()
        self._tagged.clear()

    def _end_listing(self, replies: list[Reply]) -> None:
        if self._listing is not None:
            replies.append(SdFilesListed(tuple(self._listing)))
            self._listing = None

    # How far the firmware is.

    def _hear_ok(self, ok: Ok, now: float, replies: list[Reply]) -> None:
        self._unanswered = max(0, self._unanswered - 1)
        self._answered_at = now
        if self._listing is not None:
            self._end_listing(replies)
        if ok.free_lines is not None and not self._window_given:
            self._window = max(self._window, min(ok.free_lines + 1, 16))
        if self._resend is not None and not self._resend_answered:
            # Marlin sends an ok after every Resend.  It acknowledges nothing: counting it would let us run one
            # line ahead.  transcripts/marlin-2.1/resend.txt
            self._resend_answered = True
            self._await_quiet(now)
            return
        if ok.line_number is not None:
            self._hear_numbered_ok(ok.line_number, now, replies)
            return
        if self._strays and self._acknowledged >= self._strays[0]:
            self._strays.popleft()
            return
        if self._acknowledged < self._unsent - 1:
            self._acknowledge(self._acknowledged + 1, now, replies)

    def _hear_numbered_ok(self, number: int, now: float, replies: list[Reply]) -> None:
        if self._acknowledged < number < self._unsent:
            self._acknowledge(number, now, replies)
            if number == self._confirmed + 1:  # a number that jumps may have a damaged digit
                self._confirm(number, now, replies)

    def _hear_checkpoint(self, now: float, replies: list[Reply]) -> None:
        """An ``ok T:``: the first M105 under way was done, and with it every line before it."""
        while self._checkpoints and self._checkpoints[0] < self._acknowledged - 2 * self._window - 8:
            self._checkpoints.popleft()  # its answer was lost
        if not self._checkpoints:
            self._hear_ok(_PLAIN_OK, now, replies)
            return
        number = self._checkpoints.popleft()
        self._unanswered = max(0, self._unanswered - 1)
        self._answered_at = now
        self._unsent = max(self._unsent, number + 1)
        self._acknowledge(number, now, replies)
        self._confirm(number, now, replies)

    def _acknowledge(self, number: int, now: float, replies: list[Reply]) -> None:
        """Count all lines up to `number`, and none after it, as answered."""
        if number == self._acknowledged + 1:
            if not self._tries:
                took_s = now - self._sent_at
                self._round_trip_s += (took_s - self._round_trip_s) / 8
                self._slowest_s = max(took_s, self._slowest_s * 0.99)
            self._flight_bytes -= len(self._frames[number & _SLOT])
            self._acknowledged = number
        else:
            self._acknowledged = number
            self._measure_flight()
        self._moved_at = now
        self._tries = 0
        self._probing = False
        self._garbled = False
        if self._resend is not None and number >= self._resend:
            # The line wanted was on its way already; that Resend was about another copy.
            self._resend = number + 1
            if self._resend >= self._unsent:
                self._resend = None
        if self._asked_firmware is not None and number >= self._asked_firmware:
            self._asked_firmware = None
            self._greet(now, replies)

    def _measure_flight(self) -> None:
        self._flight_bytes = sum(
            len(self._frames[number & _SLOT]) for number in range(self._acknowledged + 1, self._unsent)
        )

    def _confirm(self, number: int, now: float, replies: list[Reply]) -> None:
        """Line `number` was taken, and so all before it."""
        self._alive_at = now
        self._doubt_since = _NEVER
        self._blind = 0
        if number <= self._confirmed:
            return
        self._confirmed = number
        self._impossible = (-1, 0)
        while self._tagged and self._tagged[0][0] <= number:
            replies.append(CommandsDone(self._tagged.popleft()[1]))
        if self._stage is _Stage.NUMBERING and number >= 1:
            self._stage = _Stage.RUNNING
            if not self.greeted and _ASK_FIRMWARE not in self._own and self._asked_firmware is None:
                self._own.append(_ASK_FIRMWARE)

    def _greet(self, now: float, replies: list[Reply]) -> None:
        """The answer to M115 is whole."""
        self.firmware = Firmware(
            self.firmware.name, self.firmware.machine, self.firmware.extruders, dict(self._capabilities)
        )
        replies.append(FirmwareReported(self.firmware))
        if not self.greeted:
            self.greeted = True
            self._polling.start(now)
            if self._capabilities.get("AUTOREPORT_TEMP"):
                self._polling.reporting = True
                self._own.append(b"M155 S%d" % REPORT_EVERY_S)

    def _hear_resend(self, number: int, now: float, replies: list[Reply]) -> None:
        refusal, self._refusal = self._refusal, None
        self._answered_at = now
        if self._stage is _Stage.NUMBERING and number not in (1, 2):
            number = 0  # M110 did not arrive; it may be repeated, since no line was sent after it
        elif not self._confirmed < number <= self._next:
            self._hear_impossible(number, now, replies)
            return
        self._doubt(now)
        agrees = refusal is not None and refusal.last_line == number - 1
        if agrees and number > 0:
            self._confirm(number - 1, now, replies)
            self._doubt(now)
        self._resend = number
        self._ambiguous = refusal is None or refusal.misnumbered
        self._resend_answered = not self._habits.ok_after_resend
        self._hold_until = now + self._quiet_s()
        if self._resend_answered:
            self._unanswered = max(0, self._unanswered - 1)
            self._await_quiet(now)

    def _await_quiet(self, now: float) -> None:
        """A Resend is answered by its ok: send again at once, unless what it asks for may be on its way already."""
        wait = 0.0
        if self._unanswered or (self._ambiguous and self._resend == self._unsent - 1):
            wait = self._quiet_s()
        if self._repeats > _INSISTENCE and self._resend == self._last_resend:
            wait = max(wait, min(1.0, 0.01 * 2.0 ** min(self._repeats, 10)))
        self._hold_until = now + wait

    def _go_back(self, now: float) -> None:
        """Send again from the line that was asked for."""
        number, self._resend = self._resend, None
        assert number is not None
        self._repeats = self._repeats + 1 if number == self._last_resend else 0
        self._last_resend = number
        if self._window == 1 or self._probing or not self._unanswered or self._stage is _Stage.NUMBERING:
            self._acknowledged = number - 1
        self._acknowledged = min(self._acknowledged, number - 1)
        self._unsent = number
        self._unanswered = number - 1 - self._acknowledged
        self._probing = False
        self._garbled = False
        while self._checkpoints and self._checkpoints[0] <= self._acknowledged:
            self._checkpoints.popleft()
        if self._stage is _Stage.NUMBERING and not self._checkpoints:
            self._checkpoints.append(1)
        self._measure_flight()

    def _hear_impossible(self, number: int, now: float, replies: list[Reply]) -> None:
        """A request for a line that was confirmed, or never sent: a damaged digit, or a firmware that was reset."""
        self._doubt(now)
        self._garbled = True
        self._moved_at = now
        if self._resend is None:
            self._resend_answered = True
        times = self._impossible[1] + 1 if self._impossible[0] == number else 1
        self._impossible = (number, times)
        if times <= _INSISTENCE:
            return
        if number >= self._next:
            self._die(f"the firmware asks for line {number}, which was never sent", replies)
        else:
            self._die(f"the firmware asks for line {number} again, which it had taken: it was reset", replies)

    def _doubt(self, now: float) -> None:
        if self._doubt_since == _NEVER:
            self._doubt_since = now

    def _note_damage(self, now: float, replies: list[Reply]) -> None:
        self._doubt(now)
        self._damaged += 1
        self._damaged_before = self._damaged_at_line
        self._damaged_at_line = self.lines_sent
        if not self._damage_told and self._damaged >= 5 and self._damaged * 1000 > self.lines_sent:
            self._damage_told = True
            replies.append(DamagedLink(self._damaged, self.lines_sent))

    # Time.

    def _quiet_s(self) -> float:
        return min(0.5, max(_QUIET_S, 3.0 * self._round_trip_s))

    def _patience_s(self) -> float:
        """How long the lines on their way may go without an answer before one is sent again."""
        if not self.greeted and self._stage is _Stage.NUMBERING:
            return _BOOT_S
        growth = 2.0 ** min(self._tries, 8)
        if self._garbled:
            return min(_MAX_WAIT_DAMAGED_S, self._quiet_s() * growth)
        damaging = self._damaging()
        if self._acknowledged >= self._unsent - 1:
            return min(_MAX_WAIT_S, (_PATIENCE_DAMAGED_S if damaging else 0.5) * growth)  # only a checkpoint is open
        if self._allowance_s():
            base = _PATIENCE_BUSY_S if self._keeps_alive or damaging else _PATIENCE_LONG_S
            return base * growth if self._tries < 2 else _NEVER
        if damaging:
            return min(_MAX_WAIT_DAMAGED_S, max(_PATIENCE_DAMAGED_S, min(2.0, 2.0 * self._slowest_s)) * growth)
        return min(_MAX_WAIT_S, max(_PATIENCE_S, 8.0 * self._round_trip_s) * growth)

    def _damaging(self) -> bool:
        """Whether the link damaged something not long ago."""
        return self.lines_sent - self._damaged_at_line < _MEMORY_LINES

    def _allowance_s(self) -> float:
        """What the line that the firmware works on, as far as counting tells, may take."""
        return allowance_s(self._frames[self._acknowledged + 1 & _SLOT])

    def _open(self) -> bool:
        """Whether something sent is not answered, or not known to have been taken."""
        return self._confirmed < self._next - 1

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, should nothing happen before; None: never."""
        if self._stage in (_Stage.CLOSED, _Stage.DEAD):
            return None
        if self._stage is _Stage.BOOTING or self._resend is not None:
            return self._hold_until
        if self._own or self._host.lines or self._file.lines or self._renumbering:
            wake = _NEVER
        else:
            wake = self._polling.due_at if not self._checkpoints else _NEVER
        if self._open():
            if self.in_flight or self._checkpoints:
                patience_s = self._patience_s()
                # Waits between tries are short beside the time to give up, which `tick` looks at each time.
                wake = min(wake, self._gives_up_at()[0] if patience_s == _NEVER else self._moved_at + patience_s)
            else:
                wake = min(wake, self._moved_at + _LULL_S)
        return wake if wake != _NEVER else None

    def tick(self, now: float) -> list[Reply]:
        """Act on deadlines that passed."""
        replies: list[Reply] = []
        if self._stage in (_Stage.CLOSED, _Stage.DEAD):
            return replies
        while self._tagged and self._tagged[0][0] <= self._confirmed:
            replies.append(CommandsDone(self._tagged.popleft()[1]))
        if self._stage is _Stage.BOOTING:
            if now >= self._hold_until:
                self._number_anew(now)
                self._stage = _Stage.NUMBERING
            return replies
        if not self._open():
            return replies
        gives_up_at, reason = self._gives_up_at()
        if now >= gives_up_at:
            self._die(reason, replies)
        elif self._resend is None and now >= self._moved_at + self._patience_s():
            self._send_again(now, replies)
        return replies

    def _send_again(self, now: float, replies: list[Reply]) -> None:
        """No answer in time: send the oldest unanswered line again, or the checkpoint that told nothing."""
        if self._unsent <= self._acknowledged + 1:
            if not self._checkpoints:
                return
            self._blind += 1
            if self._blind > _BLIND_TRIES and not self._damaged:
                # It answers ok to a line sent so often and never says that it had it: it does not count.
                self._checkpoints.clear()
                self._confirm(self._acknowledged, now, replies)
                return
            self._acknowledged = self._next - 2
        self._tries += 1
        self._probing = True
        self._unsent = max(0, self._acknowledged + 1)
        if self._stage is _Stage.NUMBERING and self._acknowledged < 0:
            self._unsent = 0
        if self._garbled or self._damaged:
            self._unanswered = 0
        self._garbled = False
        self._moved_at = now
        self._doubt(now)
        self._measure_flight()

    def _gives_up_at(self) -> tuple[float, str]:
        """When the conversation is over if nothing changes, and why."""
        if not self.greeted and self._stage is _Stage.NUMBERING:
            if self._noise:
                return self._opened_at + _GREETING_NOISE_S, "what the firmware says is unreadable at this rate"
            return self._opened_at + _GREETING_S, "the firmware does not answer"
        allowance = 0.0
        if not self._garbled and self.in_flight:
            allowance = self._allowance_s()
        line = max(0, self._confirmed + 1)
        silent = self._heard_at + max(SILENCE_S, allowance)
        unanswered = self._answered_at + max(_REPORTS_ALONE_S, allowance)
        troubled = max(self._doubt_since, self._alive_at) + max(TROUBLE_S, allowance)
        return min(
            (silent, f"nothing heard for {SILENCE_S:.0f} s, with line {line} unanswered"),
            (unanswered, f"line {line} unanswered for {_REPORTS_ALONE_S:.0f} s"),
            (troubled, f"line {line} does not get through: the link damages what is sent"),
        )

    def _die(self, reason: str, replies: list[Reply]) -> None:
        self._stage = _Stage.DEAD
        self._drop_all()
        replies.append(Dead(reason))
