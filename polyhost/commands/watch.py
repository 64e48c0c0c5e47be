"""The live screen of `status --watch`."""

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.live import Live
from rich.table import Table
from rich.text import Text

from polyhost.commands.client import Client
from polyhost.commands.printers import STATUS_HEADS, some_printers, status_row
from polyhost.core.errors import LinkLost, Malformed

_EVERY_S: Final = 1.0


def watch_printers(client: Client, slugs: Sequence[str]) -> None:
    """The farm as a table, once a second, until q."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Malformed("--watch needs a terminal; without one ask again and again: polyhost status --json")
    heard_at = time.monotonic()
    rows = [status_row(view) for view in some_printers(client, slugs)[0]]
    with _keys(), Live(_screen(rows, 0.0), screen=True, auto_refresh=False) as live:
        while not _pressed("q", _EVERY_S):
            try:
                rows = [status_row(view) for view in some_printers(client, slugs)[0]]
                heard_at = time.monotonic()
            except (LinkLost, TimeoutError):
                pass  # the screen says how old it is
            live.update(_screen(rows, time.monotonic() - heard_at), refresh=True)


def _screen(rows: Sequence[Sequence[str]], age_s: float) -> Table:
    stale = age_s > 5
    caption = f"connection lost, last heard {age_s:.0f} s ago, trying again · q quits" if stale else "q quits"
    screen = Table(*STATUS_HEADS, box=None, caption=caption, caption_justify="left", style="dim" if stale else "")
    for row in rows:
        screen.add_row(*map(Text, row))
    return screen


@contextmanager
def _keys() -> Iterator[None]:
    """Keys arrive as they are pressed, and are not shown."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(key: str, within_s: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], within_s)
    return bool(ready) and sys.stdin.read(1).lower() == key
