"""What a command says and asks, and what it exits with.

Data goes to stdout, words to stderr.  Without a terminal nothing asks.  Colour is left to the terminal's own
bold and dim, and to none with ``NO_COLOR``.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

import typer

from polyhost.core.errors import (
    LinkLost,
    MachineFault,
    Malformed,
    NoSpace,
    NotAllowed,
    NotFound,
    NotNow,
    PolyhostError,
)


class Exit(IntEnum):
    """What the number that a command leaves behind means."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_ALLOWED = 4
    NOT_FOUND = 5
    NOT_NOW = 6
    PRINT_FAILED = 7
    TIMED_OUT = 8
    INTERRUPTED = 130


EXITS: Final[tuple[tuple[type[PolyhostError], Exit], ...]] = (
    (NotFound, Exit.NOT_FOUND),
    (NotAllowed, Exit.NOT_ALLOWED),
    (NotNow, Exit.NOT_NOW),
    (Malformed, Exit.USAGE),
    (NoSpace, Exit.NOT_NOW),
    (LinkLost, Exit.UNREACHABLE),
    (MachineFault, Exit.NOT_NOW),
)


def exit_of(error: PolyhostError) -> Exit:
    return next((code for kind, code in EXITS if isinstance(error, kind)), Exit.UNEXPECTED)


@contextmanager
def outcomes() -> Iterator[None]:
    """The end of the world for a command: what goes wrong inside becomes a sentence and an exit code."""
    try:
        yield
    except PolyhostError as error:
        say(f"polyhost: {error}")
        raise typer.Exit(exit_of(error)) from None
    except TimeoutError as error:
        say(f"polyhost: {error}")
        raise typer.Exit(Exit.TIMED_OUT) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def say(words: str = "") -> None:
    """Words for the person, on stderr."""
    print(words, file=sys.stderr, flush=True)


def show(data: str) -> None:
    """Data for whoever reads the output, on stdout."""
    print(data, flush=True)


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, yes: bool, *, word: str = "") -> None:
    """Return when the person agrees; leave with 6 when not.  With a `word`, that word must be typed.

    `Malformed` without a terminal: nothing asks there, so `--yes` has to be given.
    """
    if yes:
        return
    if not can_ask():
        raise Malformed(f"{question} There is no terminal to ask on: add --yes")
    sys.stderr.write(f"{question} {f'Type {word} to confirm: ' if word else '[y/N] '}")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    if answer != word if word else answer.lower() not in {"y", "yes"}:
        raise NotNow("nothing was done")


def styled(text: str, code: str) -> str:
    """`text` in the terminal's own style (``1`` bold, ``2`` dim), plain where styles are not wanted."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    return "\n".join([styled(line(heads), "1"), *map(line, cells)])


def printable(text: str) -> str:
    """`text` without characters that would move the cursor: names of files and printers' words are data."""
    return "".join(c if c.isprintable() else "�" for c in text)


def duration(seconds: float) -> str:
    """``0:48``, ``12:05``, ``3:12:05``."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def clock_time(at: float) -> str:
    """``14:20`` today, else with the date."""
    when = time.localtime(at)
    today = time.localtime()
    return time.strftime("%H:%M" if when[:3] == today[:3] else "%Y-%m-%d %H:%M", when)


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def bar(fraction: float, cells: int) -> str:
    full = round(max(0.0, min(1.0, fraction)) * cells)
    return "▓" * full + "░" * (cells - full)


_USUAL_COLUMNS: Final = 100


class Line:
    """One line that is drawn again and again: in place on a terminal, now and then where there is none."""

    PLAIN_EVERY_S: Final = 5.0

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._said_at: float | None = None
        self._open = False

    def draw(self, text: Callable[[int], str], *, last: bool = False) -> None:
        """Draw `text(columns)`; `last` ends the line and is never left out."""
        if self._terminal:
            columns = _columns()
            sys.stdout.write("\r" + text(columns)[: columns - 1] + "\x1b[K" + ("\n" if last else ""))
            sys.stdout.flush()
            self._open = not last
        elif last or self._said_at is None or self._now() - self._said_at >= self.PLAIN_EVERY_S:
            self._said_at = self._now()
            show(text(_USUAL_COLUMNS))

    def leave(self) -> None:
        """Let what follows begin on a line of its own."""
        if self._open:
            show("")
        self._open = False


def _columns() -> int:
    """Of the terminal; those that do not know it say 0."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS
