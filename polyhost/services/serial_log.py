"""The serial log: what was said on a printer's link, kept in a file for as long as somebody wants it.

Off by default.  Lines are taken from the bus and written in batches by a thread; lines for which there is no room are
counted, and the count stands in the file where they would.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from polyhost.core.errors import NotAllowed
from polyhost.core.events import ConsoleLine, ConsoleLines
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus, Listener
from polyhost.services.log_files import RotatingFile
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)

MAX_BYTES: Final = 5_000_000
KEPT: Final = 2
NOTICES: Final = 4096
WAITING_BYTES: Final = 2_000_000  # of one printer
WRITE_EVERY_S: Final = 0.5


class SerialLog(msgspec.Struct, frozen=True):
    """Whether a printer's conversation is written to its serial log."""

    enabled: bool = False


class _Waiting:
    """Lines of one printer on their way to its file."""

    def __init__(self) -> None:
        self.lines: list[ConsoleLine] = []
        self.lost = 0
        self._size = 0

    def add(self, lines: Iterable[ConsoleLine]) -> None:
        for line in lines:
            if self._size < WAITING_BYTES:
                self.lines.append(line)
                self._size += len(line.text)
            else:
                self.lost += 1

    def text(self) -> str:
        said = "".join(map(text_of, self.lines))
        return said + (f"{self.lost} lines were lost here\n" if self.lost else "")


class SerialLogs:
    def __init__(self, folder: Path, printers: Printers, preferences: Preferences, bus: Bus) -> None:
        self._folder = folder
        self._printers = printers
        self._preferences = preferences
        self._bus = bus
        self._wanted = asyncio.Event()
        self._listener: Listener | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._refused: set[str] = set()  # printers whose file the disk refuses

    def enabled(self, p: Printer) -> bool:
        return self._preferences.get(SerialLog, p.slug).enabled

    def path_of(self, p: Printer) -> Path:
        return self._folder / f"serial-{p.slug}.log"

    async def enable(self, p: Printer, enabled: bool, by: Caller) -> None:
        """Begin, or end, to write what `p` and the host say to each other from now on."""
        if not by.may(Permission.SETTINGS, p.slug):
            raise NotAllowed(f"{by.name or 'a guest'} may not {Permission.SETTINGS.value} on {p.slug}")
        if enabled != self.enabled(p):
            await self._preferences.put(SerialLog(enabled), p.slug)
            log.info("%s: its serial log is %s", p.slug, "on" if enabled else "off")
        if enabled:
            self._listen()
            self._wanted.set()

    async def run(self) -> None:
        """Write until cancelled.  While no printer has its log on, nothing listens and nothing wakes."""
        while True:
            while self._any():
                with self._listen() as listener:
                    try:
                        await self._follow(listener)
                    finally:
                        self._listener = None
            self._wanted.clear()
            await self._wanted.wait()

    def _any(self) -> bool:
        return any(self.enabled(printer) for printer in self._printers.all())

    def _listen(self) -> Listener:
        if self._listener is None:
            self._listener = self._bus.listen(ConsoleLines, bound=NOTICES)
        return self._listener

    async def _follow(self, listener: Listener) -> None:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._collect(listener), name="serial log")
            passed_by = 0
            try:
                while self._any():
                    await asyncio.sleep(WRITE_EVERY_S)
                    self._count_lost(listener.lost - passed_by)
                    passed_by = listener.lost
                    if batches := self._taken():
                        self._note(batches, await unbroken(asyncio.to_thread(self._write, batches)))
            finally:
                reader.cancel()
                self._write(self._taken())  # the end of the server, or of the log: a batch at the most

    async def _collect(self, listener: Listener) -> None:
        async for notice in listener:
            if isinstance(notice, ConsoleLines) and self._preferences.get(SerialLog, notice.printer).enabled:
                self._waiting.setdefault(notice.printer, _Waiting()).add(notice.lines)

    def _count_lost(self, notices: int) -> None:
        """Notices that nobody could take in time may have been anybody's lines."""
        for printer in self._printers.all() if notices else ():
            if self.enabled(printer):
                self._waiting.setdefault(printer.slug, _Waiting()).lost += notices

    def _taken(self) -> dict[str, _Waiting]:
        taken, self._waiting = self._waiting, {}
        return taken

    def _write(self, batches: dict[str, _Waiting]) -> dict[str, OSError]:
        """In the caller's thread; the printers whose file the disk refused, and why."""
        refused = {}
        for slug, waiting in batches.items():
            try:
                RotatingFile(self._folder / f"serial-{slug}.log", max_bytes=MAX_BYTES, kept=KEPT).append(waiting.text())
            except OSError as error:
                refused[slug] = error
        return refused

    def _note(self, batches: dict[str, _Waiting], refused: dict[str, OSError]) -> None:
        """What was refused is lost, and one warning; that it is taken again is one line."""
        for slug, waiting in batches.items():
            error = refused.get(slug)
            if error is not None:
                self._waiting.setdefault(slug, _Waiting()).lost += len(waiting.lines) + waiting.lost
                if slug not in self._refused:
                    log.warning("%s: its serial log cannot be written: %s", slug, error)
                    self._refused.add(slug)
            elif slug in self._refused:
                log.info("%s: its serial log can be written again", slug)
                self._refused.discard(slug)


def text_of(line: ConsoleLine) -> str:
    """A line of the file: local time to the millisecond, who spoke, what."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at))
    return f"{at},{int(line.at % 1 * 1000):03} - {'Send' if line.sent else 'Recv'}: {line.text}\n"
