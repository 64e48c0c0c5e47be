"""G-code as commands to send: comments and blank lines gone, each command with the byte where the next line begins.

What the engine streams from.  Memory is constant whatever the file is: one block, and one line of at most
`MAX_LINE` bytes.  Line ends are LF, CRLF or CR; NUL counts as a space; the last line needs no end.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import BinaryIO, Final, NamedTuple

from polyhost.core.errors import Malformed

MAX_LINE: Final = 4096
BLOCK: Final = 1 << 16

_LINE_ENDS = bytes.maketrans(b"\r\0", b"\n ")


def blocks_of(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The rest of `file` in blocks of about `size` bytes, with LF for every line end and a space for NUL.

    No byte moves: the CR of a CRLF becomes a space.
    """
    held = b""  # a CR, which an LF may follow
    while block := file.read(size):
        block = held + block
        held = b"\r" if block.endswith(b"\r") else b""
        block = block[: len(block) - len(held)]
        if b"\r" in block or b"\0" in block:
            block = block.replace(b"\r\n", b" \n").translate(_LINE_ENDS)
        yield block
    if held:
        yield b"\n"


class Batch(NamedTuple):
    """Commands in file order, and for each the byte offset just after its line."""

    commands: list[bytes]
    ends: list[int]


class LineReader:
    """The commands of `file` from byte `start` on, which must be the beginning of a line.

    `line` is how many lines of the file lie before `start`; it only serves messages.

        reader = LineReader(file)
        while batch := reader.read(256).commands:
            ...

    A command is the line without its comment (`;` to the end, or a line that is nothing but `(…)`) and without
    space around it; it is never empty.  Reading from an offset in `ends` goes on with the very next line.
    """

    def __init__(self, file: BinaryIO, start: int = 0, *, line: int = 0) -> None:
        file.seek(start)
        self._blocks = blocks_of(file, BLOCK)
        self._rest = b""  # the beginning of a line whose end is not read yet
        self._dropped = 0  # bytes of that line left out of `_rest`: the comment of a line longer than a block
        self._at = start  # the offset where that line begins
        self._lines = line
        self._ready = Batch([], [])
        self._taken = 0
        self._refusal = ""
        self._finished = False

    def read(self, limit: int) -> Batch:
        """The next commands, at most `limit`, as many as are at hand; none at the end of the file.

        `Malformed` names a line whose command is longer than `MAX_LINE`, once all before it are handed over.
        """
        while self._taken >= len(self._ready.commands):
            if self._refusal:
                raise Malformed(self._refusal)
            if self._finished:
                return Batch([], [])
            self._fill()
        part = slice(self._taken, self._taken + limit)
        self._taken += limit
        return Batch(self._ready.commands[part], self._ready.ends[part])

    def _fill(self) -> None:
        block = next(self._blocks, None)
        self._finished = block is None
        lines = (self._rest + (block or b"")).split(b"\n")
        rest = b"" if self._finished else lines.pop()
        sizes = [len(line) + 1 for line in lines]
        if self._dropped and sizes:
            sizes[0] += self._dropped
            self._dropped = 0
        if self._finished:
            sizes[0] -= 1  # this line has no end
        offsets = list(accumulate(sizes, initial=self._at))
        commands: list[bytes] = []
        ends: list[int] = []
        for number, (line, end) in enumerate(zip(lines, offsets[1:], strict=True), self._lines + 1):
            command = line.partition(b";")[0].strip() if b";" in line else line.strip()
            if not command or (command[0] == 40 and command.find(b")") == len(command) - 1):
                continue
            if len(command) > MAX_LINE:
                self._refuse(number)
                break
            commands.append(command)
            ends.append(end)
        self._ready, self._taken = Batch(commands, ends), 0
        self._rest = self._shortened(rest) if len(rest) > MAX_LINE else rest
        self._at = offsets[-1]
        self._lines += len(lines)
        if len(self._rest) > MAX_LINE:
            self._refuse(self._lines + 1)

    def _shortened(self, rest: bytes) -> bytes:
        """`rest` without what cannot be part of its command: its comment, or space at its start."""
        before, semicolon, _ = rest.partition(b";")
        short = before.lstrip() + semicolon
        self._dropped += len(rest) - len(short)
        return short

    def _refuse(self, line: int) -> None:
        if not self._refusal:
            self._refusal = f"line {line} is longer than {MAX_LINE} bytes; this is no G-code a printer could take"
