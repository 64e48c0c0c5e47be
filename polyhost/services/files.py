"""The library: folders and files as everybody sees them, and how they come, move and go.

The tree is held in memory and kept current, so listing costs no disk.  An upload is committed by its row in the
database, written after its bytes are synced and before they get their place: if the server dies between the two, the
next start finishes the rename.  Promises R4, R5, R7, R13, S4 and S5.
"""

import asyncio
import functools
import logging
import posixpath
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from io import FileIO
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from polyhost.config import Uploads
from polyhost.core.errors import (
    InUse,
    Malformed,
    NoSpace,
    NotAllowed,
    NotFound,
    NotNow,
    PolyhostError,
    TooLarge,
    TooMany,
)
from polyhost.core.events import Event, FileAdded, FileMoved, FileRemoved, FilesChanged, FolderAdded, FolderRemoved
from polyhost.core.file import Analysis, File, checked_name, checked_path, is_gcode
from polyhost.core.ports import Clock, Digests, FileRecords, FileStore, OnDisk, Staged, StoredFile
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.by_others import QUIET_S, ROOT, ByOthers
from polyhost.services.reading_queue import Reader, ReadingQueue
from polyhost.services.tree import Folder, Tree, above
from polyhost.services.unbroken import unbroken
from polyhost.services.uploads import PIECE, Upload

__all__ = ["FileUser", "Files", "Folder", "Upload"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class FileUser(Protocol):
    """Who prints the files."""

    def uses(self, path: str) -> str:
        """The printer whose run reads `path`; "" for none."""

    def motion(self) -> tuple[str, ...]:
        """How fast the machine moves that most files are for, in its own words; () when it did not say."""

    def noticed(self, event: Event) -> None:
        """Something happened to a file; returns at once."""


class Files:
    """`load` comes first; `run` then reads what is new until it is cancelled."""

    def __init__(
        self, records: FileRecords, store: FileStore, bus: Bus, clock: Clock, settings: Uploads, reader: Reader
    ) -> None:
        self.user: FileUser | None = None
        self._records = records
        self._store = store
        self._bus = bus
        self._settings = settings
        self._tree = Tree(clock)
        self.reading = ReadingQueue(self, self._tree, records, store, reader)
        self.by_others = ByOthers(self, self._tree, records, store, clock, quiet_s=QUIET_S)
        self._uploads: set[Upload] = set()
        self._changing = asyncio.Lock()
        self._threads = ThreadPoolExecutor(4, "files")

    async def load(self) -> None:
        """Bring the database and the disk to agree, as the server's last end or other hands left them."""
        await self.by_others.load()

    async def run(self) -> None:
        """Hash files that other hands brought, then read what is new."""
        await self.by_others.take_in_what_was_found()
        await self.reading.run()

    # Looking

    @property
    def revision(self) -> int:
        """Grows whenever anything changes that is shown with the files."""
        return self._tree.revision

    def tree(self, folder: str = "") -> Folder:
        """The folder, `NotFound` when there is none; of the library itself for ""."""
        return self.folder(folder)

    def folder(self, path: str) -> Folder:
        return self._tree.folder(_asked(path))

    def get(self, path: str) -> File:
        return self._tree.file(_asked(path))

    def exists(self, path: str) -> bool:
        """Whether a file or folder of that path is there."""
        return self._tree.exists(path)

    def on_disk(self, path: str) -> Path:
        return self._store.on_disk(self.get(path).path)

    def free_space(self) -> tuple[int, int]:
        """Bytes free and in all, of the disk that has the library."""
        return self._store.free_space()

    def check_unused(self, path: str) -> None:
        """`InUse` when a run reads the file, or one of the folder."""
        self._check_unused(self._tree.files_at(self._thing(path)))

    def unchanging(self) -> AbstractAsyncContextManager[None]:
        """``async with`` this, nothing is put, moved or removed."""
        return self._changing

    async def analysis(self, path: str) -> Analysis | None:
        """The whole of it, layers and objects included; None until the file was read."""
        return await self._records.analysis(self.get(path).path)

    async def thumbnail(self, digest: str) -> tuple[bytes, str]:
        """A picture and its content type."""
        image = await self.in_thread(self._store.thumbnail, checked_name(digest))
        return image, "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"

    def touch(self) -> None:
        """Something that is shown with the files changed."""
        self._tree.revision += 1

    # Changing

    async def rescan(self) -> bool:
        """As `ByOthers.rescan`: take what other hands did to the folder."""
        return await self.by_others.rescan()

    async def read_again(self, path: str, by: Caller, timeout_s: float) -> File:
        """`path` once its header was read anew; `Malformed` for what is no G-code."""
        _needs(by, Permission.UPLOAD)
        file = self.get(path)
        if not is_gcode(file.name):
            raise Malformed(f"{path} is no G-code, so nothing is known of it")
        self._tree.put(msgspec.structs.replace(file, metadata=None))
        self.reading.add(self.get(path))
        await self.reading.until_read(file.path, timeout_s)
        return self.get(path)

    def upload(
        self,
        folder: str,
        name: str,
        by: Caller,
        *,
        expected_bytes: int | None = None,
        overwrite: bool = True,
        quiet: bool = False,
    ) -> Upload:
        """Begin an upload; the folder is made when it is committed, if need be.

        `NotAllowed`, `Malformed`, `NotNow` (in use, or there and not to be overwritten), `TooLarge`, `TooMany` and
        `NoSpace` are raised here, before a byte is read.
        """
        path = self.checked_target(folder, name, by, overwrite)
        self.check_size(expected_bytes or 0)
        self._check_count()
        self._check_space(expected_bytes or 0)
        return Upload(self, path, by, overwrite, quiet)

    async def make_folder(self, path: str, by: Caller, *, quiet: bool = False) -> Folder:
        """A new folder, and those it is in; `NotNow` when something of that name is there."""
        _needs(by, Permission.UPLOAD)
        path = checked_path(path)
        if not path:
            raise Malformed("a folder needs a name")

        async def make() -> Folder:
            async with self._changing:
                if self.exists(path):
                    raise NotNow(f"{path} is there already")
                return await self._make_folders(path, quiet=quiet)

        return await unbroken(make())

    async def delete(self, path: str, by: Caller, *, only_empty: bool = False) -> None:
        """A file, or a folder and all in it; `NotNow` when a run reads any of it, or it should be empty and is not."""
        _needs(by, Permission.DELETE)
        path = self._thing(path)

        async def delete() -> None:
            async with self._changing:
                files = self._tree.files_at(path)
                self._check_unused(files)
                if only_empty and self._tree.is_folder(path) and (files or self._tree.folder(path).folders):
                    raise NotNow(f"{path} is not empty")
                await self.in_thread(self._store.remove, path)
                await self._forget(path, files)

        await unbroken(delete())

    async def move(self, path: str, to: str, by: Caller, *, overwrite: bool = False) -> str:
        """Move or rename a file or folder; `to` is its new path, or a folder to put it into.  Its new path.

        With `overwrite` a file may take the place of another, which no run may read.
        """
        _needs(by, Permission.UPLOAD)
        _needs(by, Permission.DELETE)
        path = self._thing(path)
        place = self._destination(path, to)

        async def move() -> None:
            async with self._changing:
                files = self._tree.files_at(path)
                self._check_unused(files)
                old = self._tree.file(place) if self._tree.is_file(place) else None
                if f"{place}/".startswith(f"{path}/"):
                    reason = "cannot be moved into itself" if self._tree.is_folder(path) else "is there already"
                    raise (Malformed if self._tree.is_folder(path) else NotNow)(f"{path} {reason}")
                if self.exists(place) and (old is None or not overwrite or self._tree.is_folder(path)):
                    raise NotNow(f"{place} is there already")
                self._check_unused([old] if old is not None else [])
                if not self._tree.is_folder(posixpath.dirname(place)):
                    raise NotFound(f"no folder {posixpath.dirname(place)!r} to move {path} into")
                await self.in_thread(self._store.move if old is None else self._store.replace, path, place)
                await self._moved(path, place, files, old)

        await unbroken(move())
        return place

    async def copy(self, path: str, to: str, by: Caller, *, overwrite: bool = False) -> str:
        """Copy a file or folder; `to` and `overwrite` as in `move`.  The path of the copy."""
        _needs(by, Permission.UPLOAD)
        path = self._thing(path)
        place = self._destination(path, to)
        was_there = self.exists(place)
        if was_there and (not overwrite or path == place or not self._tree.is_file(path)):
            raise NotNow(f"{place} is there already")
        if f"{place}/".startswith(f"{path}/"):
            raise Malformed(f"{path} cannot be copied into itself")
        files = self._tree.files_at(path)
        self._check_space(sum(file.size_bytes for file in files))
        if self._tree.is_folder(path):
            for folder in [path, *(folder.path for folder in self.folder(path).all_folders())]:
                await self.make_folder(f"{place}{folder[len(path) :]}", by, quiet=True)
        for file in files:
            copy = f"{place}{file.path[len(path) :]}"
            where = posixpath.split(copy)
            async with self.upload(*where, by, overwrite=overwrite, quiet=True) as upload:
                await self.pour(self._store.on_disk(file.path), upload)
                await upload.commit(file.userdata)
        is_folder = self._tree.is_folder(path)
        self.announce(FilesChanged(ROOT, place, "copied", is_folder, path, ROOT, replaced=was_there))
        return place

    # What uploads and reading need

    def in_thread(self, work: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(work, *arguments))

    def checked_target(self, folder: str, name: str, by: Caller, overwrite: bool) -> str:
        """The path that `name` in `folder` is, if `by` may put a file there now."""
        _needs(by, Permission.UPLOAD)
        folder = checked_path(folder)
        path = f"{folder}/{checked_name(name)}" if folder else checked_name(name)
        checked_path(path)
        self._check_target(path, by, overwrite)
        return path

    def announce(self, event: Event) -> None:
        if self.user is not None:
            self.user.noticed(event)
        self._bus.publish(event)

    def motion(self) -> tuple[str, ...]:
        """As `FileUser.motion`."""
        return self.user.motion() if self.user is not None else ()

    async def begin(self, upload: Upload) -> Staged:
        self._check_count()
        self._uploads.add(upload)
        try:
            return await self.in_thread(self._store.stage)
        except BaseException:
            self._uploads.discard(upload)
            raise

    def ended(self, upload: Upload) -> None:
        self._uploads.discard(upload)

    def check_size(self, size_bytes: int) -> None:
        if size_bytes > self._settings.max_bytes:
            raise TooLarge(f"an upload is at most {self._settings.max_bytes} bytes")

    def write_piece(self, staged: Staged, piece: bytearray) -> None:
        self._check_space(len(piece))
        staged.write(piece)

    def stored(
        self, path: str, on_disk: OnDisk, digests: Digests, by: Caller, userdata: str = "", staged: str = ""
    ) -> StoredFile:
        file = File(
            *(path, on_disk.size_bytes, on_disk.mtime_ns / 1e9, digests.sha256, digests.sha1, digests.md5),
            by=by.name,
            userdata=userdata,
        )
        return StoredFile(file, on_disk, staged)

    async def take(self, stored: StoredFile, by: Caller, overwrite: bool, quiet: bool) -> File:
        """Give what was staged its place."""
        path = stored.file.path
        async with self._changing:
            self._check_target(path, by, overwrite)
            old = self.get(path) if self.exists(path) else None
            await self._records.keep_file(stored)
            try:
                await self._make_folders(posixpath.dirname(path), quiet=quiet)
                await self.in_thread(self._store.place, stored.staged, path)
            except PolyhostError:
                await self._records.drop_files([path])  # the next start finds the old one again, if there is one
                raise
            self.put(stored.file, stored.on_disk)
            self.announce(FileAdded(path, replaced=old is not None))
            if not quiet:
                self.announce(FilesChanged(ROOT, path, "created" if old is None else "modified"))
            return stored.file

    def put(self, file: File, on_disk: OnDisk) -> None:
        """Show `file`, and have it read as far as it has not been."""
        self._tree.put(file)
        self.by_others.places[file.path] = on_disk
        self.reading.add(file)

    def drop(self, file: File) -> None:
        self._tree.drop(file)
        self.by_others.places.pop(file.path, None)
        self.reading.discard(file)

    async def pour(self, source: Path, upload: Upload) -> None:
        """What is in a file of the disk."""
        try:
            file = await self.in_thread(FileIO, source)
        except OSError as error:
            raise NotFound(f"{source.name} cannot be read: {error.strerror}") from error
        with file:
            while piece := await self.in_thread(file.read, PIECE):
                upload.write(piece)
                await upload.drain()

    # Inside

    def _check_target(self, path: str, by: Caller, overwrite: bool) -> None:
        for folder in above(path):
            if self._tree.is_file(folder):
                raise NotNow(f"{folder} is a file, not a folder")
        if self._tree.is_folder(path):
            raise NotNow(f"{path} is a folder")
        if self._tree.is_file(path):
            if not overwrite:
                raise NotNow(f"{path} is there already")
            if not by.may(Permission.DELETE):
                who = by.name or "a guest"
                raise NotAllowed(f"{path} is there already, and {who} may not replace it; give it another name")
            self._check_unused([self._tree.file(path)])

    def _check_unused(self, files: list[File]) -> None:
        for file in files:
            if self.user is not None and (printer := self.user.uses(file.path)):
                raise InUse(f"{file.path} is being printed on {printer}")

    def _check_count(self) -> None:
        if len(self._uploads) >= self._settings.max_at_once:
            raise TooMany(f"{len(self._uploads)} uploads are under way, which is the limit", retry_after_s=2.0)

    def _check_space(self, size_bytes: int) -> None:
        free, total = self._store.free_space()
        kept = self._settings.kept_free(total)
        if free - size_bytes < kept:
            raise NoSpace(
                f"{free} bytes are free; {size_bytes} more would leave less than the {kept} that are kept free"
            )

    def _thing(self, path: str) -> str:
        """The path of a file or folder that is there; not the library itself."""
        asked = _asked(path)
        if not asked or not self.exists(asked):
            raise NotFound(f"no file or folder {path!r}")
        return asked

    def _destination(self, path: str, to: str) -> str:
        to = checked_path(to)
        if self._tree.is_folder(to):
            return f"{to}/{posixpath.basename(path)}" if to else posixpath.basename(path)
        return to

    async def _make_folders(self, path: str, *, quiet: bool = False) -> Folder:
        """The folder `path`, made with those it is in as far as they are missing."""
        for folder in [*above(path), path] if path else []:
            if self._tree.is_file(folder):
                raise NotNow(f"{folder} is a file, not a folder")
            if not self._tree.is_folder(folder):
                await self.in_thread(self._store.make_folder, folder)
                self._tree.make_folder(folder)
                self.announce(FolderAdded(folder))
                if not quiet:
                    self.announce(FilesChanged(ROOT, folder, "created", is_folder=True))
        return self._tree.folder(path)

    async def _forget(self, path: str, files: list[File]) -> None:
        """What was at `path` is gone from the disk: say so everywhere."""
        was_folder = self._tree.is_folder(path)
        for file in files:
            self.drop(file)
        if was_folder:
            self._tree.drop_folder(path)
        try:
            await self._records.drop_files([file.path for file in files])
        except NoSpace as error:
            log.warning("%s is deleted; the database will notice at the next start: %s", path, error)
        for file in files:
            self.announce(FileRemoved(file.path))
        if was_folder:
            self.announce(FolderRemoved(path))
        self.announce(FilesChanged(ROOT, path, "removed", was_folder))

    async def _moved(self, path: str, to: str, files: list[File], replaced: File | None) -> None:
        was_folder = self._tree.is_folder(path)
        folders = [folder.path for folder in self._tree.folder(path).all_folders()] if was_folder else []
        places = {file.path: f"{to}{file.path[len(path) :]}" for file in files}
        on_disk = {file.path: self.by_others.places[file.path] for file in files}
        for file in [*files, *([replaced] if replaced is not None else ())]:
            self.drop(file)
        if was_folder:
            self._tree.drop_folder(path)
            for folder in [path, *folders]:
                self._tree.make_folder(f"{to}{folder[len(path) :]}")
        for file in files:
            self.put(msgspec.structs.replace(file, path=places[file.path]), on_disk[file.path])
        try:
            await self._records.move_files(places)
        except NoSpace as error:
            log.warning("%s is moved; the database will notice at the next start: %s", path, error)
        for old, new in places.items():
            self.announce(FileMoved(old, new))
        if was_folder:
            self.announce(FolderRemoved(path))
            self.announce(FolderAdded(to))
        self.announce(FilesChanged(ROOT, to, "moved", was_folder, path, ROOT))


def _needs(by: Caller, permission: Permission) -> None:
    if not by.may(permission):
        raise NotAllowed(f"{by.name or 'a guest'} may not {permission.value}")


def _asked(path: str) -> str:
    """The path of something that may be there; what cannot be a path names nothing."""
    try:
        return checked_path(path)
    except Malformed as error:
        raise NotFound(str(error)) from None
