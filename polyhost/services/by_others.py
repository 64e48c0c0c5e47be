"""What other hands do to the library's folder: put, change, move and remove files, beside the server.

`rescan` holds what is on the disk against what is known.  Since what is known of the server's own files is what the
disk says of them, these are no news.  A file that is new or changed is taken once it has been quiet for a while, for
somebody may still be writing it.
"""

import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

import msgspec

from polyhost.core.errors import NoSpace, NotFound, PolyhostError
from polyhost.core.events import FileAdded, FileMoved, FileRemoved, FilesChanged, FolderAdded, FolderRemoved
from polyhost.core.ports import Clock, FileRecords, FileStore, OnDisk, StoredFile
from polyhost.core.user import Caller
from polyhost.services.tree import Tree, above
from polyhost.services.unbroken import unbroken

if TYPE_CHECKING:
    from polyhost.services.files import Files

log = logging.getLogger(__name__)

QUIET_S: Final = 2.0
ROOT: Final = "gcodes"


class ByOthers:
    """`places` is what was on the disk where each listed file is, when it was taken; `unhashed` what `load` found."""

    def __init__(
        self, files: "Files", tree: Tree, records: FileRecords, store: FileStore, clock: Clock, *, quiet_s: float
    ) -> None:
        self.places: dict[str, OnDisk] = {}
        self.quiet_s = quiet_s
        self._files = files
        self._tree = tree
        self._records = records
        self._store = store
        self._clock = clock
        self.unhashed: dict[str, OnDisk] = {}
        self._waiting: dict[str, tuple[OnDisk, float]] = {}  # as they were seen, and since when

    async def load(self) -> None:
        """Bring the database and the disk to agree, as the server's last end or other hands left them."""
        rows = self._records.load_files()
        found, folders = await self._files.in_thread(self._store.scan)
        kept: list[StoredFile] = []
        lost: dict[OnDisk, StoredFile] = {}
        for row in rows:
            path = row.file.path
            if found.get(path) == row.on_disk:
                del found[path]
            elif row.staged and self._store.is_staged(row.staged) == row.on_disk:
                for folder in above(path):
                    if folder not in folders:
                        await self._files.in_thread(self._store.make_folder, folder)
                        folders[folder] = self._clock.now()
                await self._files.in_thread(self._store.place, row.staged, path)
                found.pop(path, None)
                log.info("finished the upload of %s, which was cut short", path)
            else:
                lost[row.on_disk] = row
                continue
            kept.append(row)
        moved = {lost.pop(on_disk).file.path: path for path, on_disk in found.items() if on_disk in lost}
        by_path = {row.file.path: row for row in rows}
        for path, to in moved.items():
            kept.append(
                msgspec.structs.replace(by_path[path], file=msgspec.structs.replace(by_path[path].file, path=to))
            )
            del found[to]
        await self._records.drop_files([row.file.path for row in lost.values()])
        await self._records.move_files(moved)
        await self._files.in_thread(self._store.empty_staging)
        for folder, modified_at in folders.items():
            self._tree.make_folder(folder, modified_at)
        for row in kept:
            self._files.put(row.file, row.on_disk)
        pictures = {picture.digest for row in kept if row.file.metadata for picture in row.file.metadata.thumbnails}
        await self._files.in_thread(self._store.keep_thumbnails_of, pictures)
        self.unhashed = found

    async def take_in_what_was_found(self) -> None:
        """Hash what `load` found and nobody knew."""
        for path, on_disk in self.unhashed.items():
            await self._try_to_take_in(path, on_disk)
        self.unhashed = {}

    async def rescan(self) -> bool:
        """Take what others did; False when something has to be looked at again, after `quiet_s`."""
        try:
            found = await unbroken(self._compare())
        except NotFound:  # it changed while it was read
            return False
        now = self._clock.monotonic()
        new = {path: on_disk for path, on_disk in found.items() if self.places.get(path) != on_disk}
        seen = {
            path: self._waiting[path] if self._waiting.get(path, (None,))[0] == on_disk else (on_disk, now)
            for path, on_disk in new.items()
        }
        ready = {path: on_disk for path, (on_disk, since) in seen.items() if now - since >= self.quiet_s}
        self._waiting = {path: waiting for path, waiting in seen.items() if path not in ready}
        for path, on_disk in ready.items():
            await self._try_to_take_in(path, on_disk)
        return not self._waiting

    async def _try_to_take_in(self, path: str, on_disk: OnDisk) -> None:
        try:
            await self._take_in(path, on_disk)
        except PolyhostError as error:
            log.warning("%s is on the disk and could not be taken into the library: %s", path, error)

    async def _take_in(self, path: str, on_disk: OnDisk) -> None:
        """List a file that other hands put there, unless somebody uploads over it meanwhile."""
        before = self.places.get(path)
        digests = await self._files.in_thread(self._store.digests, path)

        async def take() -> None:
            async with self._files.unchanging():
                if self.places.get(path) != before or self._tree.is_folder(path):
                    return
                is_known = self._tree.is_file(path)
                stored = self._files.stored(path, on_disk, digests, Caller())
                await self._records.keep_file(stored)
                if is_known:
                    self._files.drop(self._tree.file(path))
                self._files.put(stored.file, on_disk)
            self._files.announce(FileAdded(path, replaced=is_known))
            self._files.announce(FilesChanged(ROOT, path, "modified" if is_known else "created"))

        await unbroken(take())

    async def _compare(self) -> dict[str, OnDisk]:
        """Take what moved or went, and new folders; what is on the disk."""
        async with self._files.unchanging():
            found, folders = await self._files.in_thread(self._store.scan)
            gone = {path: on_disk for path, on_disk in self.places.items() if path not in found}
            if gone:
                by_content = {on_disk: path for path, on_disk in gone.items()}
                for to, on_disk in found.items():
                    if self.places.get(to) != on_disk and on_disk in by_content:
                        path = by_content.pop(on_disk)
                        del gone[path]
                        await self._moved(path, to, on_disk)
            there = {*folders}
            for folder, modified_at in folders.items():
                if not self._tree.is_folder(folder):
                    self._tree.make_folder(folder, modified_at)
                    self._files.announce(FolderAdded(folder))
                    self._files.announce(FilesChanged(ROOT, folder, "created", is_folder=True))
            lost = [folder.path for folder in self._tree.folder("").all_folders() if folder.path not in there]
            outermost = [path for path in lost if not any(folder in lost for folder in above(path))]
            await self._removed(outermost, list(gone))
            return found

    async def _moved(self, path: str, to: str, on_disk: OnDisk) -> None:
        file = self._tree.file(path)
        if self._tree.is_file(to):
            self._files.drop(self._tree.file(to))
        self._files.drop(file)
        self._files.put(msgspec.structs.replace(file, path=to), on_disk)
        await self._written_down("moved", path, self._records.move_files({path: to}))
        self._files.announce(FileMoved(path, to))
        self._files.announce(FilesChanged(ROOT, to, "moved", source=path, source_root=ROOT))

    async def _removed(self, folders: list[str], files: list[str]) -> None:
        for path in files:
            if self._tree.is_file(path):
                self._files.drop(self._tree.file(path))
        for folder in folders:
            self._tree.drop_folder(folder)
        if files:
            await self._written_down("removed", files[0], self._records.drop_files(files))
        for path in files:
            self._files.announce(FileRemoved(path))
            if not any(path.startswith(f"{folder}/") for folder in folders):
                self._files.announce(FilesChanged(ROOT, path, "removed"))
        for folder in folders:
            self._files.announce(FolderRemoved(folder))
            self._files.announce(FilesChanged(ROOT, folder, "removed", is_folder=True))

    @staticmethod
    async def _written_down(what: str, path: str, change: Coroutine[None, None, None]) -> None:
        try:
            await change
        except NoSpace as error:
            log.warning("%s is %s by other hands; the database will notice at the next start: %s", path, what, error)
