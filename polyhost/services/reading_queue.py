"""Which files of the library are still to be read, and what reading them showed.

Headers go first: they are quick, and people wait for the pictures.  Whole files are read when `may_analyse` says so.
What was read of a file that was replaced or removed meanwhile is thrown away.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from polyhost.core.errors import Malformed, NoSpace, NotFound, NotNow
from polyhost.core.events import FileAnalysed
from polyhost.core.file import Analysis, File, Metadata, is_gcode
from polyhost.core.ports import FileRecords, FileStore
from polyhost.services.tree import Tree
from polyhost.services.unbroken import unbroken

if TYPE_CHECKING:
    from polyhost.services.files import Files

log = logging.getLogger(__name__)

IDLE_READER_S: Final = 60.0


class Reader(Protocol):
    """Who reads G-code for us, somewhere else; `Malformed` says why a file could not be read."""

    async def metadata(self, file: Path) -> tuple[Metadata, dict[str, bytes]]:
        """And the pictures, by digest."""

    async def analysis(self, file: Path, motion: tuple[str, ...]) -> Analysis:
        """`motion` says how fast a machine moves, for a file that does not say it (`core.printer.Firmware`)."""

    async def rest(self) -> None:
        """Nothing is to be read for a while."""


class ReadingQueue:
    """`run` reads what is added until it is cancelled; everything else returns at once."""

    def __init__(self, files: "Files", tree: Tree, records: FileRecords, store: FileStore, reader: Reader) -> None:
        self.may_analyse: Callable[[], bool] = lambda: True  # asked again at least once a minute
        self._files = files
        self._tree = tree
        self._records = records
        self._store = store
        self._reader = reader
        self._unread: dict[str, None] = {}
        self._unanalysed: dict[str, None] = {}
        self._work = asyncio.Event()
        self._tried = asyncio.Event()  # one header more

    def add(self, file: File) -> None:
        """Have `file`, which the tree has, read as far as it has not been."""
        if is_gcode(file.name):
            if file.metadata is None:
                self._unread[file.path] = None
            if file.analysis is None:
                self._unanalysed[file.path] = None
            self._work.set()

    async def until_read(self, path: str, timeout_s: float) -> None:
        """Return when the header of `path` was read, or will not be, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while path in self._unread:
                    await self._tried.wait()

    def discard(self, file: File) -> None:
        """The tree has `file` no longer."""
        self._unread.pop(file.path, None)
        self._tell_who_waits()
        self._unanalysed.pop(file.path, None)

    def reconsider(self) -> None:
        """Ask `may_analyse` again now."""
        self._work.set()

    async def run(self) -> None:
        """Read headers and whole files, headers first; let the reader go when there is nothing for it."""
        try:
            while True:
                self._work.clear()
                if self._unread:
                    try:
                        await self._read_metadata(next(iter(self._unread)))
                    finally:
                        self._tell_who_waits()
                elif self._unanalysed and self.may_analyse():
                    await self._analyse(next(iter(self._unanalysed)))
                else:
                    try:
                        async with asyncio.timeout(IDLE_READER_S):
                            await self._work.wait()
                    except TimeoutError:
                        await self._reader.rest()
                        if not self._unanalysed:
                            await self._work.wait()
        finally:
            await unbroken(self._reader.rest())

    def _tell_who_waits(self) -> None:
        self._tried.set()
        self._tried = asyncio.Event()

    async def _read_metadata(self, path: str) -> None:
        file = self._tree.file(path)
        try:
            metadata, pictures = await self._reader.metadata(self._store.on_disk(path))
            for digest, picture in pictures.items():
                await self._files.in_thread(self._store.keep_thumbnail, digest, picture)
            await _keep(self._records.keep_metadata(path, file.sha256, metadata))
        except (Malformed, NoSpace, NotFound) as error:
            log.warning("the header of %s could not be read: %s", path, error)
            return
        finally:
            is_same = self._was_read_as(file, self._unread)
        if is_same:
            self._tree.put(msgspec.structs.replace(self._tree.file(path), metadata=metadata))
            self._files.announce(FileAnalysed(path, whole=False))

    async def _analyse(self, path: str) -> None:
        file = self._tree.file(path)
        try:
            analysis = await self._reader.analysis(self._store.on_disk(path), self._files.motion())
            await _keep(self._records.keep_analysis(path, file.sha256, analysis))
        except (Malformed, NoSpace, NotFound) as error:
            log.warning("%s could not be analysed: %s", path, error)
            return
        finally:
            is_same = self._was_read_as(file, self._unanalysed)
        if is_same:
            self._tree.put(msgspec.structs.replace(self._tree.file(path), analysis=analysis.outline()))
            self._files.announce(FileAnalysed(path, whole=True))

    def _was_read_as(self, file: File, waiting: dict[str, None]) -> bool:
        """Whether `file` was neither replaced nor removed while it was read; then it waits no longer, read or not."""
        if not self._tree.is_file(file.path) or self._tree.file(file.path).sha256 != file.sha256:
            return False
        waiting.pop(file.path, None)
        return True


async def _keep(change: Coroutine[None, None, None]) -> None:
    try:
        await change
    except (NoSpace, NotNow) as error:
        log.warning("what reading a file showed is not written; it will be read again: %s", error)
