"""The file tree: where uploads arrive, are hashed, and get their place, whole or not at all.

Everything here blocks and is called from a thread.  Nothing below the root is reached through a link: a path of the
library is its own place on the disk, or it is not there.  Promises R4, R5, R13 and S4.
"""

import hashlib
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from polyhost.core.disk import disk
from polyhost.core.errors import Malformed, NotFound, NotNow
from polyhost.core.file import checked_name, checked_path
from polyhost.core.ports import Digests, OnDisk

log = logging.getLogger(__name__)

_PIECE: Final = 1 << 20
_second_thread: Final = ThreadPoolExecutor(2, "md5")


class _Hashes:
    def __init__(self) -> None:
        names = ("sha256", "sha1", "md5")
        self._sha256, self._sha1, self._md5 = (hashlib.new(name, usedforsecurity=False) for name in names)

    def update(self, data: bytes | bytearray) -> None:
        slowest = _second_thread.submit(self._md5.update, data)  # as slow as the other two together
        self._sha256.update(data)
        self._sha1.update(data)
        slowest.result()

    def digests(self) -> Digests:
        return Digests(*(each.hexdigest() for each in (self._sha256, self._sha1, self._md5)))


class StagedFile:
    """A file that arrives under a name of its own in the staging folder, hashed on the way."""

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(16)
        self.path = folder / self.name
        self._hashes = _Hashes()
        with disk("a new upload"):
            self._file = self.path.open("xb", buffering=0)

    def write(self, data: bytes | bytearray) -> None:
        with disk("the upload"):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        self._hashes.update(data)

    def finish(self) -> tuple[OnDisk, Digests]:
        with disk("the upload"):
            os.fsync(self._file.fileno())
            found = os.fstat(self._file.fileno())
            self._file.close()
        return _on_disk(found), self._hashes.digests()

    def discard(self) -> None:
        """Forget what arrived; nothing happens to a file that has its place already."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class Library:
    """The tree below `root`, with its staging and thumbnails beside it; all three on one file system."""

    def __init__(self, root: Path, staging: Path, thumbnails: Path) -> None:
        for folder in (root, staging, thumbnails):
            with disk(f"the folder {folder}"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root.resolve()
        self._staging = staging
        self._thumbnails = thumbnails
        self._left_out: set[str] = set()  # told once

    def on_disk(self, path: str) -> Path:
        """Where `path` is, or would be; `NotFound` when a link on the way leads elsewhere."""
        place = self._root / checked_path(path)
        with disk(path):
            if Path(os.path.realpath(place)) != place:
                raise NotFound(f"{path} is reached through a link, which is not followed")
        return place

    def scan(self) -> tuple[dict[str, OnDisk], dict[str, float]]:
        """All files and all folders, parents first; links and names that no client could say are left out."""
        files: dict[str, OnDisk] = {}
        folders: dict[str, float] = {}
        unread = [""]
        while unread:
            folder = unread.pop()
            with disk(f"reading {folder or 'the library'}"), os.scandir(self._root / folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if not _is_sayable(entry.name):
                        if path not in self._left_out:
                            self._left_out.add(path)
                            log.warning("%r in the library is left out: its name or depth is not allowed", path)
                    elif entry.is_dir(follow_symlinks=False):
                        folders[path] = entry.stat(follow_symlinks=False).st_mtime
                        unread.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        files[path] = _on_disk(entry.stat(follow_symlinks=False))
        return files, dict(sorted(folders.items()))

    def digests(self, path: str) -> Digests:
        hashes = _Hashes()
        with disk(path), self.on_disk(path).open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                hashes.update(piece)
        return hashes.digests()

    def empty_staging(self) -> None:
        with disk("emptying the staging folder"):
            for left in self._staging.iterdir():
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                else:
                    left.unlink()

    def stage(self) -> StagedFile:
        return StagedFile(self._staging)

    def is_staged(self, staged: str) -> OnDisk | None:
        """What still waits under the name `staged`, if anything does."""
        try:
            found = os.stat(self._staging / checked_name(staged), follow_symlinks=False)
        except (OSError, Malformed):
            return None
        return _on_disk(found) if stat.S_ISREG(found.st_mode) else None

    def place(self, staged: str, path: str) -> None:
        place = self.on_disk(path)
        with disk(path):
            os.replace(self._staging / staged, place)
            _sync(place.parent)

    def remove(self, path: str) -> None:
        place = self.on_disk(path)
        away = self._staging / secrets.token_hex(16)
        with disk(path):
            os.rename(place, away)  # at once, however much is in it
            _sync(place.parent)
        if away.is_dir():
            shutil.rmtree(away, ignore_errors=True)  # what is left goes at the next start
        else:
            with suppress(OSError):
                away.unlink()

    def make_folder(self, path: str) -> None:
        place = self.on_disk(path)
        with disk(path):
            place.mkdir(mode=0o700)
            _sync(place.parent)

    def move(self, path: str, to: str) -> None:
        source, place = self.on_disk(path), self.on_disk(to)
        if place.exists():
            raise NotNow(f"{to} is there already")
        with disk(f"moving {path} to {to}"):
            os.rename(source, place)
            _sync(place.parent)
            _sync(source.parent)

    def replace(self, path: str, to: str) -> None:
        source, place = self.on_disk(path), self.on_disk(to)
        with disk(f"moving {path} over {to}"):
            os.replace(source, place)
            _sync(place.parent)
            _sync(source.parent)

    def free_space(self) -> tuple[int, int]:
        with disk("asking for free space"):
            found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def keep_thumbnail(self, digest: str, image: bytes) -> None:
        """Keep a picture under its digest; the same one again is the same file."""
        place = self._thumbnails / checked_name(digest)
        with disk("a thumbnail"):
            partial = self._staging / secrets.token_hex(16)
            partial.write_bytes(image)
            os.replace(partial, place)

    def thumbnail(self, digest: str) -> bytes:
        with disk(f"thumbnail {digest}"):
            return (self._thumbnails / checked_name(digest)).read_bytes()

    def keep_thumbnails_of(self, digests: Collection[str]) -> None:
        """Remove every other thumbnail."""
        with disk("clearing thumbnails"):
            for kept in self._thumbnails.iterdir():
                if kept.name not in digests:
                    kept.unlink()


def _on_disk(found: os.stat_result) -> OnDisk:
    return OnDisk(found.st_size, found.st_mtime_ns, found.st_ino)


def _is_sayable(name: str) -> bool:
    """Whether a client can name it: stored names are NFC, valid Unicode and judged."""
    try:
        return checked_name(name) == name
    except Malformed:
        return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
