"""Numbered lines on their way: what to write next, what was taken, what to write again, when to give up.

Numbers make a line exactly-once: firmware refuses a damaged line and one that is not the next, and says which it
wants, so that writing a line again is always safe and skipping one is impossible.  What remains is to know how far
the firmware is, from answers that can be lost, doubled, late or damaged themselves.  Two counts say it:

- *acknowledged* counts ``ok``; it paces the writing and may be wrong by a few lines on a bad link, in either way;
- *confirmed* rests on answers that name a line: an ``ok N13`` that is the next; a ``Resend`` and its error that
  agree; the ``ok T:…`` of an ``M105`` whose number is known.  What is claimed to be done rests on it.

Where a firmware's ``ok`` names no line, an ``M105`` is the *checkpoint*; the owner sends one when `checkpoint_due`.
Numbering starts with ``M110 N0`` and a checkpoint as line 1.  No other line is written before that is confirmed,
since a repeated ``M110`` would make the firmware take lines twice.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from polyhost.firmware.marlin.lines import numbered
from polyhost.firmware.marlin.patience import SILENCE_S, TROUBLE_S, UNANSWERED_S, allowance_s
from polyhost.firmware.marlin.quirks import Habits
from polyhost.firmware.marlin.replies import LineRefused, Ok

CHECKPOINT: Final = b"M105"
FIRST_LINE: Final = 2  # the first that is not part of the numbering itself

_RESET_NUMBERS: Final = b"M110 N0"
_HISTORY: Final = 512  # lines kept to be written again; a power of two
_SLOT: Final = _HISTORY - 1
_MAX_UNCONFIRMED: Final = 448  # all of them must be in the history
_CHECKPOINT_LINES: Final = 200  # lines between two checkpoints
_CHECKPOINT_LINES_IN_DOUBT: Final = 32
_MAX_WINDOW: Final = 16  # lines, whatever a firmware says
_KEPT_BYTES: Final = 95  # of a line, without its end (Marlin's MAX_CMD_SIZE of 96); the rest of a longer one is lost
_RECEIVE_BUFFER: Final = 127  # bytes that the smallest boards hold besides the line they work on
_CAUTION_LINES: Final = 32  # so many go one at a time after lines had to be written again
_MEMORY_LINES: Final = 1000  # a link that damaged one of so many lines is one that damages
_INSISTENCE: Final = 3  # an impossible request is damage, until it is made more often than this
_BLIND_TRIES: Final = 6

_PATIENCE_S: Final = 5.0  # for an ordinary line, on a link that was not seen to damage one
_PATIENCE_NEW_S: Final = 2.0  # for the first line of all
_PATIENCE_LONG_S: Final = 30.0  # for a line that takes long, between two tries
_PATIENCE_BUSY_S: Final = 6.0  # the same, once the firmware is known to say that it is busy (every 2 s)
_PATIENCE_CHECKPOINT_S: Final = 0.5  # for the report of a checkpoint whose ok came without it
_PATIENCE_DAMAGED_S: Final = 0.05
_LONG_TRIES: Final = 2  # what a board that does not read can hold besides
_QUIET_S: Final = 0.01  # nothing more comes after so long, or three round trips
_MAX_QUIET_S: Final = 0.5
_MAX_WAIT_S: Final = 10.0
_MAX_WAIT_DAMAGED_S: Final = 2.0
_LULL_S: Final = 0.1  # nothing to write for so long: ask whether all arrived
_NEVER: Final = float("inf")


class Transmission:
    """The lines of one connection.

    `window_lines` and `window_bytes` bound what is unanswered; 0 is what the firmware shows that it can: one line,
    and more once its answers say how many it has room for.  The bytes are those behind the line it works on.
    """

    def __init__(self, now: float, *, window_lines: int = 0, window_bytes: int = 0) -> None:
        self.habits = Habits()
        self.written = 0  # lines, those written again included
        self.written_again = 0
        self.damaged = 0  # lines, either way
        self.dead = ""  # why it is over
        self.dead_of_resends = False  # and whether it was asked for lines too often
        self.proven = False  # the firmware answered, once
        self._window_given = window_lines
        self._window = max(1, window_lines)
        self._window_bytes = window_bytes or _RECEIVE_BUFFER
        self._frames = [b""] * _HISTORY
        self._marks = [0] * _HISTORY
        self._damaged_at = -_MEMORY_LINES  # lines written by then
        self._cautious_until = 0  # lines written by then
        self._says_busy = False
        self._round_trip_s = 0.05
        self._slowest_s = 0.05  # of late
        self.number_anew(now)

    def number_anew(self, now: float) -> None:
        """Lines count from 0 again: ``M110 N0`` itself, then a checkpoint."""
        self.next = FIRST_LINE  # the number of the next new line
        self.confirmed = -1
        self.acknowledged = -1
        self._frames[0] = numbered(0, _RESET_NUMBERS)
        self._frames[1] = numbered(1, CHECKPOINT)
        self._marks[0] = self._marks[1] = 0
        self._unsent = 0  # the next line to write; behind `next` while lines are written again
        self._reached = 0  # above the highest number written
        self._unanswered = 0  # lines written whose answer is still to come
        self._flight_bytes = 0
        self._checkpoints: deque[int] = deque([1])  # numbers of those whose report was not heard yet
        self._strays: deque[int] = deque()  # an ok of no line is to come after the one of this line
        self._wanted: int | None = None  # the line a Resend asks for, until it is written again
        self._wanted_answered = False  # the ok of that Resend was heard
        self._ambiguous = False  # that Resend may be about an earlier copy of a line
        self._refusal: LineRefused | None = None
        self._hold_until = now
        self._gone_back_to = -1
        self._repeats = 0  # how often in a row
        self._impossible = (-1, 0)  # a request that cannot be, and how often it was made in a row
        self._tries = 0
        self._blind = 0
        self._probing = False  # one line only, until it is answered
        self._repeating = False  # the last line was written again, to be refused by name
        self._garbled = False  # an answer, since the last line was written
        self._sent_at = now
        self._moved_at = now  # when something last happened to lines on their way
        self._heard_at = now
        self._answered_at = now
        self._alive_at = now  # when a line was last known to have passed, or a long one to go on
        self._doubt_since = _NEVER

    # What the owner asks.

    @property
    def settled(self) -> bool:
        """The numbering is known to have begun: new lines may be taken."""
        return self.confirmed >= 1

    @property
    def open(self) -> bool:
        """Something written is not confirmed."""
        return self.confirmed < self.next - 1

    @property
    def in_flight(self) -> int:
        return max(0, self._unsent - 1 - self.acknowledged)

    @property
    def asking(self) -> bool:
        """A checkpoint is on its way."""
        return bool(self._checkpoints)

    @property
    def quiet(self) -> bool:
        """Nothing is on its way, and nothing is held back: what is taken now is written at once."""
        return not (self.in_flight or self._checkpoints or self._wanted is not None)

    @property
    def full(self) -> bool:
        """No new line, since the history holds no more."""
        return self.next - 1 - self.confirmed >= _MAX_UNCONFIRMED

    @property
    def checkpoint_due(self) -> bool:
        limit = _CHECKPOINT_LINES if self._doubt_since == _NEVER else _CHECKPOINT_LINES_IN_DOUBT
        return self.next - 1 - self.confirmed >= limit

    def lull_at(self) -> float:
        """When nothing happened for long enough to ask whether all arrived."""
        return self._moved_at + _LULL_S

    @property
    def sure(self) -> int:
        """The number of the last line that is taken; in doubt, of the last confirmed."""
        return self.confirmed if self._doubt_since != _NEVER else max(self.acknowledged, self.confirmed)

    def mark_reached(self) -> int:
        """The mark of that line."""
        sure = self.sure
        return self._marks[sure & _SLOT] if sure >= 0 else 0

    # Lines out.

    def take(self, command: bytes, mark: int) -> int:
        """Give `command` the next number and a place in the history, with `mark` for `mark_reached`; its number."""
        number = self.next
        if command.startswith(b"M110"):
            command = CHECKPOINT  # a file that sets the numbers would make the firmware take lines twice
        if command.startswith(CHECKPOINT):
            self._checkpoints.append(number)
        slot = number & _SLOT
        self._frames[slot] = numbered(number, command)
        self._marks[slot] = mark
        self.next = number + 1
        return number

    def lines_to_write(self, now: float, take_next: Callable[[float], bool]) -> list[bytes]:
        """Frames to write now.  `take_next(now)` is to `take` one more line; False when there is none."""
        out: list[bytes] = []
        if self._wanted is not None:
            if now < self._hold_until:
                return out
            self._go_back(self._wanted)
        if not self.open or self._reached == 0:
            self._heard_at = self._answered_at = self._alive_at = now  # from here on an answer is waited for
        window = self._window
        if window > 1 and (self._probing or not self.settled or self.written < self._cautious_until):
            window = 1
        while (in_flight := self._unsent - 1 - self.acknowledged) < window:
            if self._unsent == self.next and not take_next(now):
                break
            frame = self._frames[self._unsent & _SLOT]
            if in_flight > 0:
                worked_on = len(self._frames[self.acknowledged + 1 & _SLOT])
                if self._flight_bytes - worked_on + len(frame) > self._window_bytes:
                    break
            out.append(frame)
            self._count(frame)
        if out:
            self._sent_at = self._moved_at = now
            self._garbled = False
        return out

    def ask_by_repeating(self) -> None:
        """Write the last line again once all are answered: the refusal names the last one taken, and changes nothing.

        This is the checkpoint where a question would become part of what is written to a card.
        """
        if self.in_flight or self._wanted is not None or not self.open:
            return
        self._repeating = True
        self.acknowledged = self.next - 2
        self._unsent = self.next - 1
        self.written_again -= 1
        self._measure_flight()

    def stray(self) -> None:
        """A line without number was written: an ok for it comes after those of the lines before it."""
        self._strays.append(self._unsent - 1)

    def write_now(self, now: float) -> list[bytes]:
        """The line just taken, without regard to the window; nothing while older lines are to be written again."""
        if self._unsent != self.next - 1:
            return []
        frame = self._frames[self._unsent & _SLOT]
        self._count(frame)
        self._sent_at = self._moved_at = now
        return [frame]

    def _count(self, frame: bytes) -> None:
        number = self._unsent
        self._unsent = number + 1
        self._unanswered += 1
        self._flight_bytes += len(frame)
        self.written += 1
        if number < self._reached:
            self.written_again += 1
        else:
            self._reached = number + 1

    # Answers in.

    def hear_anything(self, now: float) -> None:
        self._heard_at = now

    def hear_ok(self, ok: Ok, now: float) -> None:
        if self._unanswered:
            self._unanswered -= 1
        self._answered_at = now
        if ok.free_lines is not None and not self._window_given:
            self._window = max(self._window, min(ok.free_lines + 1, _MAX_WINDOW))
        if self._wanted is not None and not self._wanted_answered:
            # Marlin sends an ok after every Resend.  It acknowledges nothing: counting it would let us run one
            # line ahead.  transcripts/marlin-2.1/resend.txt
            self._wanted_answered = True
            self._hold(now)
        elif (number := ok.line_number) is not None:
            if self.acknowledged < number < self._unsent:
                self._acknowledge(number, now)
                if number == self.confirmed + 1:  # a number that jumps may have a damaged digit
                    self._confirm(number, now)
        elif self._strays and self.acknowledged >= self._strays[0]:
            self._strays.popleft()
        elif self.acknowledged < self._unsent - 1:
            self._acknowledge(self.acknowledged + 1, now)
        else:
            self.doubt(now)  # one too many: now or before

    def hear_report(self, now: float) -> None:
        """An ``ok T:…``: the first checkpoint on its way was done, and so every line before it."""
        while self._checkpoints and self._checkpoints[0] < self.acknowledged - 2 * self._window - 8:
            self._checkpoints.popleft()  # its report was lost
        if not self._checkpoints or self._checkpoints[0] >= self._reached:
            self.hear_ok(Ok(), now)
            return
        number = self._checkpoints.popleft()
        self._unanswered = max(0, self._unanswered - 1)
        self._answered_at = now
        self._unsent = max(self._unsent, number + 1)
        self._acknowledge(number, now)
        self._confirm(number, now)

    def hear_refusal(self, refusal: LineRefused, now: float) -> None:
        """The error before a Resend."""
        self._refusal = refusal
        self._garbled = True  # unless the Resend follows, it was
        if not refusal.misnumbered:
            self.hear_damage(now)

    def hear_resend(self, number: int, now: float) -> None:
        refusal, self._refusal = self._refusal, None
        self._answered_at = now
        if not self.settled and number not in (1, 2):
            number = 0  # M110 did not arrive; it may be written again, since no line was written after it
        elif not self.confirmed < number <= self.next:
            self._hear_impossible(number, now)
            return
        if refusal is not None and refusal.last_line == number - 1 and number > 0:
            self._confirm(number - 1, now)
        self.doubt(now)
        if self._repeating and self.confirmed == number - 1 == self.next - 1:
            self._doubt_since = _NEVER  # as it was meant to be
        self._repeating = False
        if self._tries and number > self.acknowledged + 1:
            self.hear_damage(now)  # the line written again was taken at once, and its ok lost
        if number != self._wanted:
            self._ambiguous = True
        if refusal is not None and not refusal.misnumbered:
            self._ambiguous = False  # a damaged line is missing for certain
        self._wanted = number
        self._wanted_answered = not self.habits.ok_after_resend
        if self._wanted_answered:
            self._unanswered = max(0, self._unanswered - 1)
            self._hold(now)
        else:
            self._hold_until = now + self._quiet_s()

    def hear_skip(self, number: int, now: float) -> None:
        """Line `number` was a repetition: the next is wanted."""
        self._refusal = LineRefused(True, number)
        self.hear_resend(number + 1, now)

    def hear_busy(self, now: float) -> None:
        self._says_busy = True
        self._moved_at = self._alive_at = self._answered_at = now
        self._tries = 0

    def hear_heating(self, now: float) -> None:
        """A report that no checkpoint asked for: a sign of life while a line takes long."""
        if self._allowance_s():
            self._moved_at = self._alive_at = self._answered_at = now

    def hear_idle(self, now: float) -> None:
        """The firmware waits for a line: one on its way, or the ok for it, was lost."""
        if self.in_flight and self._wanted is None:
            self._write_again(now)

    def hear_damage(self, now: float) -> None:
        self.doubt(now)
        self.damaged += 1
        self._damaged_at = self.written

    def hear_garbled(self, now: float) -> None:
        """What was heard may have been an answer."""
        self.hear_damage(now)
        self._garbled = True
        self._moved_at = now

    def hear_text(self, now: float) -> None:
        """Something else was said; on a link that damages, it may have been an answer."""
        if self._damaging() and not self._allowance_s():
            self._garbled = True
            self._moved_at = now

    def doubt(self, now: float) -> None:
        """Counting may be wrong until the next confirmation."""
        if self._doubt_since == _NEVER:
            self._doubt_since = now

    def _acknowledge(self, number: int, now: float) -> None:
        """Count all lines up to `number`, and none after it, as answered."""
        if number == self.acknowledged + 1:
            if not self._tries:
                took_s = now - self._sent_at
                self._round_trip_s += (took_s - self._round_trip_s) / 8
                self._slowest_s = max(took_s, self._slowest_s * 0.99)
            self._flight_bytes -= len(self._frames[number & _SLOT])
            self.acknowledged = number
        else:
            self.acknowledged = number
            self._measure_flight()
        self._moved_at = now
        self._tries = 0
        self._probing = False
        self._garbled = False
        if self._wanted is not None and number >= self._wanted:
            # The line wanted was on its way already; that Resend was about another copy.
            self._wanted = number + 1 if number + 1 < self._unsent else None

    def _confirm(self, number: int, now: float) -> None:
        """Line `number` was taken, and so all before it."""
        if number <= self.confirmed:
            return
        self.confirmed = number
        self.proven = True
        self._alive_at = now
        self._doubt_since = _NEVER
        self._blind = 0
        self._impossible = (-1, 0)

    def _hold(self, now: float) -> None:
        """A Resend is answered: write again at once, unless what it asks for may be on its way already."""
        wait = 0.0
        if self._unanswered or (self._ambiguous and self._wanted == self._unsent - 1):
            wait = self._quiet_s()
            if self._ambiguous:
                wait = max(wait, min(_MAX_WAIT_DAMAGED_S, self._slowest_s))
        if self._repeats > _INSISTENCE and self._wanted == self._gone_back_to:
            wait = max(wait, min(1.0, 0.01 * 2.0 ** min(self._repeats, 10)))
        self._hold_until = now + wait

    def _go_back(self, number: int) -> None:
        """Write again from the line that was asked for."""
        self._wanted = None
        self._cautious_until = self.written + _CAUTION_LINES
        self._repeats = self._repeats + 1 if number == self._gone_back_to else 0
        self._gone_back_to = number
        if self._window == 1 or self._probing or not self._unanswered or not self.settled:
            self.acknowledged = number - 1
        else:
            # Lines before it may wait in the firmware's queue, their oks to come.
            self.acknowledged = min(self.acknowledged, number - 1)
        self._unsent = number
        self._unanswered = number - 1 - self.acknowledged
        self._probing = False
        self._garbled = False
        while self.settled and self._checkpoints and self._checkpoints[0] <= self.acknowledged:
            self._checkpoints.popleft()  # its report was lost
        self._measure_flight()

    def _hear_impossible(self, number: int, now: float) -> None:
        """A request for a line that was confirmed, or never written: a damaged digit, or a firmware that was reset."""
        self.doubt(now)
        self._garbled = True
        self._moved_at = now
        times = self._impossible[1] + 1 if self._impossible[0] == number else 1
        self._impossible = (number, times)
        if times <= _INSISTENCE:
            return
        self.dead_of_resends = True
        if number > self.next:
            self.dead = f"the firmware asks for line {number}, which was never sent"
        else:
            self.dead = f"the firmware asks for line {number} again, which it had taken: it was reset"

    def _measure_flight(self) -> None:
        self._flight_bytes = sum(
            len(self._frames[number & _SLOT]) for number in range(self.acknowledged + 1, self._unsent)
        )

    # Time.

    def deadline(self) -> float:
        """When `tick` has something to do, should nothing be heard; infinity: never."""
        if self._wanted is not None:
            return self._hold_until
        if not (self.in_flight or (self._checkpoints and self.open)):
            return _NEVER
        patience_s = self._patience_s()
        # Waits between tries are short beside the time to give up, which `tick` looks at each time.
        return self._gives_up()[0] if patience_s == _NEVER else self._moved_at + patience_s

    def tick(self, now: float) -> None:
        """Act on deadlines that passed."""
        gives_up_at, reason, of_resends = self._gives_up()
        if self.open and now >= gives_up_at:
            self.dead, self.dead_of_resends = reason, of_resends
        elif (
            self._wanted is None
            and (self.in_flight or self._checkpoints)
            and now >= self._moved_at + self._patience_s()
        ):
            self._write_again(now)

    def _write_again(self, now: float) -> None:
        """No answer in time: write the oldest unanswered line again, or the checkpoint that told nothing."""
        if self.confirmed > self.acknowledged:
            self.acknowledged = self.confirmed  # taken, and their oks lost
            self._measure_flight()
            self._moved_at = now
            return
        if not self.in_flight:
            self._blind += 1
            if self._blind > _BLIND_TRIES and not self.damaged:
                # It says ok to a line written so often, and never that it had it before: it does not count lines.
                self._checkpoints.clear()
                self._confirm(self.acknowledged, now)
                return
            self.acknowledged = self.next - 2
        self._tries += 1
        self._cautious_until = self.written + _CAUTION_LINES
        self._probing = True
        self._strays.clear()
        self._unsent = self.acknowledged + 1
        if self._garbled or self.damaged:
            self._unanswered = 0
        self._garbled = False
        self._moved_at = now
        self.doubt(now)
        self._measure_flight()

    def _quiet_s(self) -> float:
        return min(_MAX_QUIET_S, max(_QUIET_S, 3.0 * self._round_trip_s))

    def _damaging(self) -> bool:
        """Whether the link damaged something not long ago."""
        return self.written - self._damaged_at < _MEMORY_LINES

    def _allowance_s(self) -> float:
        """What the line that the firmware works on, as far as counting tells, may take."""
        return allowance_s(self._frames[self.acknowledged + 1 & _SLOT])

    def _patience_s(self) -> float:
        """How long lines on their way may go without an answer before one is written again."""
        if not self.proven:
            return _PATIENCE_NEW_S
        growth = 2.0 ** min(self._tries, 8)
        if self._garbled:
            return min(_MAX_WAIT_DAMAGED_S, self._quiet_s() * growth)
        damaging = self._damaging()
        if not self.in_flight:
            return min(_MAX_WAIT_S, (_PATIENCE_DAMAGED_S if damaging else _PATIENCE_CHECKPOINT_S) * growth)
        if self._allowance_s():
            base = _PATIENCE_BUSY_S if self._says_busy or damaging else _PATIENCE_LONG_S
            return base * growth if self._tries < _LONG_TRIES else _NEVER
        if damaging:
            return min(_MAX_WAIT_DAMAGED_S, max(_PATIENCE_DAMAGED_S, 2.0 * self._slowest_s) * growth)
        return min(_MAX_WAIT_S, max(_PATIENCE_S, 8.0 * self._round_trip_s) * growth)

    def _gives_up(self) -> tuple[float, str, bool]:
        """When it is over if nothing changes, why, and whether that is for lines written again and again."""
        allowance = self._allowance_s() if self.in_flight and not self._garbled else 0.0
        line = max(0, self.confirmed + 1)
        return min(
            (
                self._heard_at + max(SILENCE_S, allowance),
                f"nothing heard for {max(SILENCE_S, allowance):.0f} s, with line {line} unanswered",
                False,
            ),
            (
                self._answered_at + max(UNANSWERED_S, allowance),
                f"line {line} unanswered for {max(UNANSWERED_S, allowance):.0f} s",
                False,
            ),
            (
                max(self._doubt_since, self._alive_at) + max(TROUBLE_S, allowance),
                self._trouble(line),
                True,
            ),
        )

    def _trouble(self, line: int) -> str:
        """Why `line` does not get through, while other things do."""
        text = self._frames[line & _SLOT].rstrip(b"\n")
        if len(text) <= _KEPT_BYTES or self._gone_back_to != line or self._repeats <= _INSISTENCE:
            return f"line {line} does not get through: the link damages what is sent"
        return (
            f"line {line} is {len(text)} bytes long, with its number and checksum, and most firmware keeps "
            f"{_KEPT_BYTES}: shorten it or remove it ({text[:40].decode('utf-8', 'replace')}…)"
        )
