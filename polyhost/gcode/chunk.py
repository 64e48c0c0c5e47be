"""From bytes to columns: the lines of a chunk that move the toolhead as numbers, the few others that matter as text.

Nothing here runs once per line.  Every character that cannot be part of a number is found in one scan; what lies
between two of them is a number, and eight characters of it are read at once as one integer.
"""

import re
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyhost.gcode.modal import ABSURD

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MAX_LINE: Final = 1 << 16
"""Bytes; longer lines are comments or garbage."""
MAX_INDENT: Final = 64

SET_POSITION: Final = 92
HOME: Final = 28
RETRACT: Final = 10
RECOVER: Final = 11
_ROW_KINDS: Final = (0, 1, 2, 3, 5, RETRACT, RECOVER, HOME, SET_POSITION)

# Of the lines that are not rows, those that may matter: by the number of an M command, and by how a comment begins.
_M_CODES: Final = (
    *(0, 1, 73, 82, 83, 109, 190, 191, 200, 201, 203, 204, 205, 207, 208, 220, 221),
    *(226, 400, 486, 566, 600, 601),
)
COMMENT_STARTS: Final = (
    *(b";LAYER_C", b"; LAYER_", b";LAYER:", b"; layer ", b";layer ", b"; CHANGE", b"; BEGIN_", b";; --- l"),
    *(b"; printi", b"; stop p", b";MESH:", b";PRINTIN"),
)

_NUMBERED = re.compile(rb"[Nn]\d+\s*")
_WORD = re.compile(rb"([A-Z])\s*([-+]?\d*\.?\d*)", re.IGNORECASE)

_IS_ROW = np.zeros(100, np.bool_)
_IS_ROW[list(_ROW_KINDS)] = True
_IS_M = np.zeros(1000, np.bool_)
_IS_M[[*_M_CODES]] = True
_CAPITAL = np.uint8(0xDF)
_BLANKS = np.array([0, 9, 11, 12, 13, 32], np.uint8)
_OTHER_LETTERS = np.frombuffer(b"GTES", np.uint8)
"""Of lines that are neither rows, nor M, nor comments: modes, tools, EXCLUDE_OBJECT_…, SET_VELOCITY_LIMIT."""
_COMMENTS = [
    (np.uint64(int.from_bytes(start, "little")), np.uint64((1 << 8 * len(start)) - 1)) for start in COMMENT_STARTS
]
_POWERS = 10.0 ** np.arange(17)
_PAD: Final = b"\n" * 8

# Of eight characters as one integer.
_ONE, _U2E, _U7, _U8, _U16, _U32, _U56 = (np.uint64(n) for n in (1, 0x2E, 7, 8, 16, 32, 56))
_DOTS, _LOWEST, _HIGHEST, _NIBBLES = (np.uint64(n * 0x0101010101010101) for n in (0x2E, 0x01, 0x80, 0x0F))
_PAIRS, _FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_BY_TEN, _BY_HUNDRED, _BY_TEN_THOUSAND = (np.uint64((n << s) + 1) for n, s in ((10, 8), (100, 16), (10000, 32)))
_FOLLOWING = np.uint64(0x0706050403020100)
"""Its byte n is n: shifted up by the dot's byte, its highest byte is how many bytes are above the dot's."""


class Event(NamedTuple):
    """A line that is not a row: how many rows come before it, where it begins and ends in the file, what it says."""

    row: int
    start: int
    end: int
    text: bytes


class Chunk(NamedTuple):
    """Whole lines of a file.

    A row is a line with one of G0 to G3, G5, G10, G11, G28, G92; `kind` has that number, `start` its byte offset in the
    file.  Words of rows are (letter, row, value) in `letters`, `rows`, `values`, ordered by row; a letter without a
    number has 0.
    """

    lines: int
    kind: NDArray[np.uint8]
    start: Ints
    letters: NDArray[np.uint8]
    rows: Ints
    values: Floats
    events: list[Event]
    absurd: int  # words left out, since no machine could mean them
    overlong: int  # lines left out

    def column(self, letter: str) -> tuple[Ints, Floats]:
        """The rows that have `letter`, and its values."""
        found = np.flatnonzero(self.letters == ord(letter))
        return self.rows[found], self.values[found]


def read_chunk(data: bytes, offset: int) -> Chunk:
    """The lines in `data`, which begins at byte `offset` of the file and ends with a line feed."""
    text = _Text(data)
    starts, head = _past_prefixes(text)
    code = head.view(np.uint8).reshape(-1, 8)
    digit1, digit2, digit3 = code[:, 1] - 48, code[:, 2] - 48, code[:, 3] - 48
    two = digit2 < 10
    kind = np.where(two, digit1 * 10 + digit2, digit1)
    is_row = ((code[:, 0] & 0xDF) == 71) & (digit1 < 10) & (kind < 100)
    is_row &= ~(two & (digit3 < 10)) & (np.where(two, code[:, 3], code[:, 2]) != 46)
    is_row &= _IS_ROW[np.minimum(kind, 99)]
    too_long = text.ends - text.starts > MAX_LINE
    overlong = int(np.count_nonzero(too_long))
    if overlong:
        is_row &= ~too_long

    row_of = np.cumsum(is_row) - is_row  # rows before each line
    letters, rows, values, absurd = _words(text, starts, is_row, row_of)
    return Chunk(
        lines=len(text.ends),
        kind=kind[is_row],
        start=text.starts[is_row] + offset,
        letters=letters,
        rows=rows,
        values=values,
        events=_events(text, offset, starts, head, ~(is_row | too_long), row_of),
        absurd=absurd,
        overlong=overlong,
    )


class _Text:
    """The bytes of a chunk, and what one scan of them shows."""

    def __init__(self, data: bytes) -> None:
        padded = b"".join((_PAD, data, _PAD))
        size = len(data)
        self.data = data
        self.windows: NDArray[np.uint64] = np.ndarray(size + 1, np.uint64, padded, 8, (1,))
        """The 8 bytes from any offset on."""
        self.windows_before: NDArray[np.uint64] = np.ndarray(size + 1, np.uint64, padded, 0, (1,))
        """The 8 bytes that end before any offset."""
        characters = np.frombuffer(data, np.uint8)
        after_dot = characters - 46  # 0 is the dot, 1 the slash, 2 to 11 the digits
        self.stops = np.flatnonzero((after_dot > 11) | (after_dot == 1))
        """Where a character is that cannot be part of an unsigned number."""
        self.marks = characters[self.stops]
        """Those characters."""
        is_end = np.flatnonzero(self.marks == 10)
        self.line_of = np.repeat(np.arange(len(is_end)), np.diff(is_end, prepend=-1))
        """The line that each stop is in."""
        self.ends = self.stops[is_end]
        self.starts = np.empty_like(self.ends)
        self.starts[0] = 0
        self.starts[1:] = self.ends[:-1] + 1


def _past_prefixes(text: _Text) -> tuple[Ints, NDArray[np.uint64]]:
    """Where the command of each line begins, past indentation and line numbers, and its first eight bytes."""
    starts, windows = text.starts, text.windows
    head = windows[starts]
    first = head.astype(np.uint8)
    odd = np.flatnonzero((first <= 32) & (first != 10) | ((first & 0xDF) == 78))
    if len(odd):
        starts = starts.copy()
        blank = odd
        for _ in range(MAX_INDENT):
            blank = blank[np.isin(windows[starts[blank]].astype(np.uint8), _BLANKS)]
            if not len(blank):
                break
            starts[blank] += 1
        for line in odd[(windows[starts[odd]].astype(np.uint8) & 0xDF) == 78].tolist():
            if match := _NUMBERED.match(text.data, int(starts[line])):
                starts[line] = match.end()
        head = windows[starts]
    return starts, head


def _words(text: _Text, starts: Ints, is_row: Bools, row_of: Ints) -> tuple[NDArray[np.uint8], Ints, Floats, int]:
    """Letters, rows and values of the words of all rows, and how many words were left out as absurd."""
    stops, marks, line_of = text.stops, text.marks, text.line_of
    found = np.flatnonzero((marks | 0x20) - 97 < 26)
    lines = line_of[found]
    keep = is_row[lines] & (marks[found] & _CAPITAL != 71)  # the G itself is no word
    semicolons = np.flatnonzero(marks == 59)
    semicolons = semicolons[is_row[line_of[semicolons]]]
    if len(semicolons):
        cut = text.ends.copy()
        cut[line_of[semicolons][::-1]] = stops[semicolons][::-1]  # the first of a line is written last
        keep &= stops[found] < cut[lines]
    kept = np.flatnonzero(keep)
    found, lines = found[kept], lines[kept]

    begin = stops[found] + 1
    end = stops[found + 1]
    sign = marks[found + 1]
    signed = np.flatnonzero(((sign == 45) | (sign == 43)) & (end == begin))
    if len(signed):
        begin[signed] += 1
        end[signed] = stops[found[signed] + 2]
    values, odd = _numbers(text.windows_before, end, end - begin)
    negative = signed[sign[signed] == 45]
    values[negative] = -values[negative]
    letters = marks[found] & _CAPITAL
    if odd.any():
        letters, lines, values = _reread(text, starts, np.unique(lines[odd]), letters, lines, values)
    rows = row_of[lines]
    sane = np.abs(values) < ABSURD
    absurd = len(values) - int(np.count_nonzero(sane))
    if absurd:
        letters, rows, values = letters[sane], rows[sane], values[sane]
    return letters, rows, values, absurd


def _numbers(before: NDArray[np.uint64], end: Ints, length: Ints) -> tuple[Floats, Bools]:
    """The unsigned decimals of `length` characters before `end`, and which of them cannot be read this way."""
    digits, dot = _eight(before[end], np.minimum(length, 8))
    odd = (dot & (dot - _ONE)) != 0
    odd |= length == 0
    places = _places(dot)
    long = np.flatnonzero(length > 8)
    if len(long):
        upper, upper_dot = _eight(before[end[long] - 8], np.minimum(length[long] - 8, 8))
        # A dot among the lower eight takes the room of a digit.
        low_digits = np.where(dot[long] != 0, 7, 8)
        digits[long] += upper * _POWERS[low_digits]
        places[long] += np.where(upper_dot != 0, _places(upper_dot) + low_digits, 0)
        odd[long] |= ((upper_dot & (upper_dot - _ONE)) != 0) | ((upper_dot != 0) & (dot[long] != 0))
        odd |= length > 16
    return digits / _POWERS[np.minimum(places, 16)], odd


def _eight(window: NDArray[np.uint64], length: Ints) -> tuple[Floats, NDArray[np.uint64]]:
    """The last `length` (0 to 8) characters of each window: their digits as one number, and 0x80 where a dot is.

    The characters are one integer, the last of them its highest byte; its bytes are worked on all at once.
    """
    cut = ((8 - length) << 3).astype(np.uint64)
    digits = window >> cut
    digits <<= cut
    dot = digits ^ _DOTS
    spare = np.bitwise_not(dot, out=cut)
    dot -= _LOWEST
    dot &= spare
    dot &= _HIGHEST  # 0x80 in each byte that is a dot
    one = dot >> _U7
    digits ^= np.multiply(one, _U2E, out=spare)  # the dot's byte is 0 now
    one -= dot != 0  # all bits of what is written before the dot
    one &= digits
    digits ^= one
    one <<= _U8  # which moves into the dot's place
    digits |= one
    digits &= _NIBBLES
    # Each step joins neighbours: digits to pairs, to fours, to eight.
    digits *= _BY_TEN
    digits >>= _U8
    digits &= _PAIRS
    digits *= _BY_HUNDRED
    digits >>= _U16
    digits &= _FOURS
    digits *= _BY_TEN_THOUSAND
    digits >>= _U32
    return digits.astype(np.float64), dot


def _places(dot: NDArray[np.uint64]) -> Ints:
    """How many characters follow the dot; 0 when there is none."""
    return (((dot >> _U7) * _FOLLOWING) >> _U56).astype(np.int64)


def _reread(
    text: _Text, starts: Ints, odd: Ints, letters: NDArray[np.uint8], lines: Ints, values: Floats
) -> tuple[NDArray[np.uint8], Ints, Floats]:
    """The words with those of the lines `odd` read again, one by one."""
    kept = ~np.isin(lines, odd)
    more: list[tuple[int, int, float]] = []
    for line, start, end in zip(odd.tolist(), starts[odd].tolist(), text.ends[odd].tolist(), strict=True):
        command = text.data[start:end].partition(b";")[0]
        for letter, number in _WORD.findall(command)[1:]:
            try:
                more.append((letter[0] & 0xDF, line, float(number or 0)))
            except ValueError:  # a sign or a dot alone
                more.append((letter[0] & 0xDF, line, 0.0))
    more_letters, more_lines, more_values = zip(*more, strict=True) if more else ((), (), ())
    lines = np.concatenate((lines[kept], np.array(more_lines, np.int64)))
    order = np.argsort(lines, kind="stable")
    letters = np.concatenate((letters[kept], np.array(more_letters, np.uint8)))
    values = np.concatenate((values[kept], np.array(more_values, np.float64)))
    return letters[order], lines[order], values[order]


def _events(
    text: _Text, offset: int, starts: Ints, head: NDArray[np.uint64], candidates: Bools, row_of: Ints
) -> list[Event]:
    """The lines among `candidates` that something may want to read."""
    lines = np.flatnonzero(candidates)
    head = head[lines]
    code = head.view(np.uint8).reshape(-1, 8)
    first = code[:, 0]
    keep = np.zeros(len(lines), np.bool_)
    comments = np.flatnonzero(first == 59)
    if len(comments):
        beginnings = head[comments]
        for value, mask in _COMMENTS:
            keep[comments] |= (beginnings & mask) == value
    letter = first & 0xDF
    number = np.zeros(len(lines), np.int64)
    going = letter == 77
    for column in (1, 2, 3):
        digit = code[:, column] - 48
        going &= digit < 10
        number = np.where(going, number * 10 + digit, number)
    keep |= (letter == 77) & _IS_M[number]
    keep |= np.isin(letter, _OTHER_LETTERS)
    found = lines[keep]
    return [
        Event(row, offset + start, offset + end, text.data[start:end].rstrip())
        for row, start, end in zip(
            row_of[found].tolist(), starts[found].tolist(), text.ends[found].tolist(), strict=True
        )
    ]
