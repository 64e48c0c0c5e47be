"""A file on its way in: to the disk and through the hashes in a thread, in pieces, in constant memory."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from polyhost.core.errors import NotIntact, PolyhostError
from polyhost.core.file import File
from polyhost.core.ports import Digests, OnDisk, Staged
from polyhost.core.user import Caller
from polyhost.services.unbroken import unbroken

if TYPE_CHECKING:
    from polyhost.services.files import Files

PIECE: Final = 1 << 20
"""Bytes that go to the disk at a time; at most three such pieces of an upload are in memory."""


class Upload:
    """A file that arrives, as ``async with files.upload(…) as upload``; gone at the end unless committed."""

    def __init__(self, files: "Files", path: str, by: Caller, overwrite: bool, quiet: bool = False) -> None:
        """`quiet`: a part of something larger, which is told when it is done."""
        self.path = path
        self.received = 0
        self._files = files
        self._by = by
        self._overwrite = overwrite
        self._quiet = quiet
        self._staged: Staged
        self._buffer = bytearray()
        self._writing: asyncio.Future[None] | None = None
        self._failed: PolyhostError | None = None

    async def __aenter__(self) -> Self:
        self._staged = await self._files.begin(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await unbroken(self._discard())

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; returns at once.  Await `drain` before reading more from the network."""
        if self._failed is not None:
            raise self._failed
        self.received += len(chunk)
        self._files.check_size(self.received)
        self._buffer += chunk
        if self._writing is None and len(self._buffer) >= PIECE:
            self._hand_over()

    async def drain(self) -> None:
        """Return when there is room for more."""
        while self._writing is not None and len(self._buffer) >= PIECE:
            await asyncio.wait([self._writing])
        if self._failed is not None:
            raise self._failed

    def aim(self, folder: str, name: str, *, overwrite: bool) -> None:
        """Another place than it began with, since what came after the file says so; raises what `Files.upload` does."""
        self.path = self._files.checked_target(folder, name, self._by, overwrite)
        self._overwrite = overwrite

    async def commit(self, userdata: str = "", sha256: str | None = None) -> File:
        """The file, listed and durable.

        `NotIntact` when its content is not `sha256`; `NotNow` when a run reads the file it would replace, or when
        one is there and may not be replaced; `NoSpace` when the disk refuses.
        """
        _, on_disk, digests = await self.settled(sha256)
        stored = self._files.stored(self.path, on_disk, digests, self._by, userdata, self._staged.name)
        return await unbroken(self._files.take(stored, self._by, self._overwrite, self._quiet))

    async def settled(self, sha256: str | None = None) -> tuple[Path, OnDisk, Digests]:
        """Where all of it is, synced, for whoever gives it another place than one in the library.

        It is removed from there at the end.  Raises as `commit` does.
        """
        while self._failed is None and (self._writing is not None or self._buffer):
            await asyncio.wait([self._writing or self._hand_over()])
        if self._failed is not None:
            raise self._failed
        on_disk, digests = await self._files.in_thread(self._staged.finish)
        if sha256 is not None and sha256.lower() != digests.sha256:
            raise NotIntact(f"{self.path} arrived with the SHA-256 {digests.sha256}, not with {sha256}; send it again")
        return self._staged.path, on_disk, digests

    def _hand_over(self) -> asyncio.Future[None]:
        piece, self._buffer = self._buffer, bytearray()
        self._writing = writing = self._files.in_thread(self._files.write_piece, self._staged, piece)
        writing.add_done_callback(self._handed_over)
        return writing

    def _handed_over(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        error = writing.exception()
        if isinstance(error, PolyhostError):
            self._failed = error
        elif error is not None:
            raise error
        elif len(self._buffer) >= PIECE:
            self._hand_over()

    async def _discard(self) -> None:
        while self._writing is not None:
            self._buffer.clear()
            await asyncio.wait([self._writing])
        await self._files.in_thread(self._staged.discard)
        self._files.ended(self)
