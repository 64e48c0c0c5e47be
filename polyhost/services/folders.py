"""Plain folders: a printer's own files (its ``config``), and our documents; shown, changed, and kept inside.

A path is judged part by part before it is joined, and nothing is reached through a link (S4, S5).  What is written has
its place whole and synced, or not at all.  The one name with a leading dot that is taken is ``.theme``, where web
front ends look for their looks.
"""

import asyncio
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from polyhost.config import Uploads
from polyhost.core.disk import disk
from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, NotNow
from polyhost.core.events import FilesChanged
from polyhost.core.file import MAX_DEPTH, checked_name
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.unbroken import unbroken

T = TypeVar("T")

MAX_ENTRIES: Final = 5000
"""Files and folders of one root; what is beyond is not shown, and no more can be added."""
DOTTED: Final = frozenset({".theme"})

Rendered = Callable[[], Mapping[str, str]]
"""Files that the host writes: their names, and what they say now."""


class Entry(msgspec.Struct, frozen=True):
    """A file or folder; `modified_ns` is since the epoch."""

    path: str
    size_bytes: int
    modified_ns: int
    is_folder: bool = False
    writable: bool = True

    @property
    def modified_at(self) -> float:
        return self.modified_ns / 1e9


def checked_plain_path(path: str) -> str:
    """`path` inside a plain folder, each part judged; "" is the folder itself."""
    path = path.removeprefix("/").removesuffix("/")
    if not path:
        return ""
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise Malformed(f"the path is {len(parts)} folders deep; {MAX_DEPTH} is the limit")
    first = parts[0] if parts[0] in DOTTED else checked_name(parts[0])
    return "/".join([first, *map(checked_name, parts[1:])])


class PlainFolder:
    """One folder of the disk.  `needs` is what changing it takes, of `printer`; None: nobody may."""

    def __init__(
        self,
        place: Path,
        root: str,
        bus: Bus,
        settings: Uploads,
        *,
        printer: str = "",
        needs: Permission | None = None,
        rendered: Rendered = dict,
    ) -> None:
        self.root = root
        self.needs = needs
        self._place = place
        self._bus = bus
        self._settings = settings
        self._printer = printer
        self._rendered = rendered
        self._said: dict[str, str] = {}  # of what is rendered, as it is on the disk
        self._known: dict[str, Entry] | None = None  # as it was when somebody looked last
        self._changing = asyncio.Lock()

    # Looking

    async def all(self) -> dict[str, Entry]:
        """Everything in it by path, folders before what is in them."""
        async with self._changing:
            return await self._current()

    async def entries(self, path: str) -> list[Entry]:
        """What is right in the folder `path`; `NotFound` when it is none."""
        asked, found = _asked(path), await self.all()
        if asked and (asked not in found or not found[asked].is_folder):
            raise NotFound(f"no folder {path!r} in {self.root}")
        return [entry for entry in found.values() if entry.path.rpartition("/")[0] == asked]

    async def entry(self, path: str) -> Entry:
        return _found(await self.all(), path, self.root)

    async def exists(self, path: str) -> bool:
        try:
            await self.entry(path)
        except NotFound:
            return False
        return True

    async def on_disk(self, path: str) -> Path:
        """Where the file is; `NotFound` when there is none, or it is reached through a link."""
        entry = await self.entry(path)
        if entry.is_folder:
            raise NotFound(f"{path} is a folder")
        return self._on_disk(entry.path)

    async def read(self, path: str) -> bytes:
        """A file that is small enough to be held in memory."""
        place = await self.on_disk(path)

        def read() -> bytes:
            with disk(path):
                return place.read_bytes()

        return await asyncio.to_thread(read)

    # Changing

    async def write(self, path: str, content: bytes, by: Caller) -> Entry:
        """A file, whole and synced; over one of that path."""
        self._may(by)
        if len(content) > self._settings.max_bytes:
            raise Malformed(f"a file is at most {self._settings.max_bytes} bytes")
        return await self._change(lambda: self._write(self._judged(path), content))

    async def take(self, staged: Path, path: str, by: Caller) -> Entry:
        """Give a file that lies on the same disk, synced, its place here; over one of that path."""
        self._may(by)
        return await self._change(lambda: self._take(self._judged(path), staged))

    async def make_folder(self, path: str, by: Caller) -> Entry:
        """A new folder; those it is in are made, too."""
        self._may(by)
        return await self._change(lambda: self._make_folder(self._judged(path)))

    async def delete(self, path: str, by: Caller, *, only_empty: bool = False) -> None:
        """A file, or a folder and, unless it should be empty, all in it."""
        self._may(by)
        await self._change(lambda: self._delete(_asked(path), only_empty))

    async def move(self, path: str, to: str, by: Caller) -> Entry:
        """Onto a folder: into it; a file onto a file takes its place."""
        self._may(by)
        return await self._change(lambda: self._move(_asked(path), self._judged(to)))

    async def copy(self, path: str, to: str, by: Caller) -> Entry:
        """As `move`."""
        self._may(by)
        return await self._change(lambda: self._copy(_asked(path), self._judged(to)))

    async def rescan(self) -> None:
        """Tell what other hands did since somebody looked last."""
        async with self._changing:
            before = self._known
            if before is None:
                await self._current()
                return
            after = await self._current()
        for path, entry in before.items():
            if path not in after and not _is_below(path, before, after):
                self._tell(path, "removed", entry.is_folder)
        for path, entry in after.items():
            if path not in before:
                self._tell(path, "created", entry.is_folder)
            elif not entry.is_folder and entry != before[path]:
                self._tell(path, "modified")

    # Inside

    def _may(self, by: Caller) -> None:
        if self.needs is None:
            raise NotAllowed(f"{self.root} is for reading only")
        by.require(self.needs, self._printer or None)

    def _judged(self, path: str) -> str:
        judged = checked_plain_path(path)
        if not judged:
            raise Malformed(f"name a file or folder in {self.root}")
        if judged in self._rendered():
            raise NotAllowed(f"{judged} is written by this host; give yours another name")
        return judged

    def _tell(
        self, path: str, change: str, is_folder: bool = False, *, source: str = "", replaced: bool = False
    ) -> None:
        source_root = self.root if source else ""
        self._bus.publish(
            FilesChanged(self.root, path, change, is_folder, source, source_root, replaced, self._printer)
        )

    async def _current(self) -> dict[str, Entry]:
        rendered = self._rendered()
        self._known = await asyncio.to_thread(self._look, dict(rendered))
        return self._known

    async def _change(self, work: Callable[[], Callable[[], T]]) -> T:
        """Do `work` in a thread, nobody else changing anything; what it returns tells of it and gives the answer."""

        async def change() -> T:
            async with self._changing:
                done = await asyncio.to_thread(work)
                await self._current()
                return done()

        return await unbroken(change())

    def _on_disk(self, path: str) -> Path:
        place = self._place.resolve() / path
        with disk(path):
            if Path(os.path.realpath(place)) != place:
                raise NotFound(f"{path} is reached through a link, which is not followed")
        return place

    def _answer(self, path: str) -> Entry:
        return _found(self._known or {}, path, self.root)

    # In a thread

    def _look(self, rendered: dict[str, str]) -> dict[str, Entry]:
        if self.needs is not None:
            with disk(self.root):
                self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, said in rendered.items():
            if self._said.get(name) != said or not (self._place / name).is_file():
                self._put(self._on_disk(name), said.encode(), unless_same=True)
                self._said[name] = said
        found: dict[str, Entry] = {}
        unread = [""]
        while unread and len(found) < MAX_ENTRIES:
            folder = unread.pop(0)
            with disk(folder or self.root), os.scandir(self._place / folder) as entries:
                for one in sorted(entries, key=lambda one: one.name.lower()):
                    path = f"{folder}/{one.name}" if folder else one.name
                    if len(found) >= MAX_ENTRIES or not _is_sayable(path):
                        continue
                    with suppress(FileNotFoundError):
                        status = one.stat(follow_symlinks=False)
                        is_folder = stat.S_ISDIR(status.st_mode)
                        if is_folder:
                            unread.append(path)
                        elif not stat.S_ISREG(status.st_mode):
                            continue
                        writable = self.needs is not None and path not in rendered
                        found[path] = Entry(path, status.st_size, status.st_mtime_ns, is_folder, writable)
        return found

    def _write(self, path: str, content: bytes) -> Callable[[], Entry]:
        self._check_room(len(content), 0 if self._on_disk(path).exists() else 1)
        return self._placed(path, lambda place: self._put(place, content))

    def _take(self, path: str, staged: Path) -> Callable[[], Entry]:
        self._check_room(0, 0 if self._on_disk(path).exists() else 1)

        def put(place: Path) -> None:
            with disk(path):
                os.replace(staged, place)
                _sync(place.parent)

        return self._placed(path, put)

    def _placed(self, path: str, put: Callable[[Path], None]) -> Callable[[], Entry]:
        place = self._on_disk(path)
        if place.is_dir():
            raise NotNow(f"{path} is a folder")
        is_new = not place.exists()
        made = self._make_parents(path)
        put(place)

        def done() -> Entry:
            for folder in made:
                self._tell(folder, "created", is_folder=True)
            self._tell(path, "created" if is_new else "modified")
            return self._answer(path)

        return done

    def _make_parents(self, path: str) -> list[str]:
        """Make the folders that `path` is in, as far as they are missing; those."""
        parts = path.split("/")[:-1]
        made = []
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            place = self._on_disk(folder)
            if place.is_dir():
                continue
            if place.exists():
                raise NotNow(f"{folder} is a file, not a folder")
            with disk(folder):
                place.mkdir(mode=0o700)
                _sync(place.parent)
            made.append(folder)
        return made

    def _make_folder(self, path: str) -> Callable[[], Entry]:
        if self._on_disk(path).exists():
            raise NotNow(f"{path} is there already")
        self._check_room(0)
        made = self._make_parents(f"{path}/.")

        def done() -> Entry:
            for folder in made:
                self._tell(folder, "created", is_folder=True)
            return self._answer(path)

        return done

    def _delete(self, path: str, only_empty: bool) -> Callable[[], None]:
        place = self._there(path)
        is_folder = place.is_dir()
        with disk(path):
            if only_empty and is_folder:
                if any(place.iterdir()):
                    raise NotNow(f"{path} is not empty")
                place.rmdir()
            else:
                away = self._away()
                os.rename(place, away)  # at once, however much is in it
                shutil.rmtree(away, ignore_errors=True) if is_folder else away.unlink()
            _sync(place.parent)
        return lambda: self._tell(path, "removed", is_folder)

    def _move(self, path: str, to: str) -> Callable[[], Entry]:
        source = self._there(path)
        to, place, is_folder = self._destination(path, source, to)
        with disk(f"moving {path} to {to}"):
            os.replace(source, place)
            _sync(place.parent)
            _sync(source.parent)

        def done() -> Entry:
            self._tell(to, "moved", is_folder, source=path)
            return self._answer(to)

        return done

    def _copy(self, path: str, to: str) -> Callable[[], Entry]:
        source = self._there(path, changing=False)
        to, place, is_folder = self._destination(path, source, to)
        below = [path, *(one for one in self._known or {} if one.startswith(f"{path}/"))]
        self._check_room(sum((self._known or {})[one].size_bytes for one in below), len(below))
        was_there = place.exists()
        away = self._away()
        try:
            with disk(f"copying {path} to {to}"):
                if is_folder:
                    away.mkdir(mode=0o700)
                for one in below[is_folder:]:
                    copy = Path(f"{away}{one[len(path) :]}")
                    if (self._place / one).is_dir():
                        copy.mkdir(mode=0o700)
                    else:
                        shutil.copyfile(self._on_disk(one), copy)
                        _sync(copy)
                os.replace(away, place)
                _sync(place.parent)
        finally:
            shutil.rmtree(away, ignore_errors=True) if away.is_dir() else away.unlink(missing_ok=True)

        def done() -> Entry:
            self._tell(to, "copied", is_folder, source=path, replaced=was_there)
            return self._answer(to)

        return done

    def _destination(self, path: str, source: Path, to: str) -> tuple[str, Path, bool]:
        """Where the thing `path` goes, and whether it is a folder."""
        is_folder = source.is_dir()
        if self._on_disk(to).is_dir():
            to = self._judged(f"{to}/{source.name}")
        place = self._on_disk(to)
        if f"{to}/".startswith(f"{path}/"):
            raise Malformed(f"{path} cannot be put into or over itself")
        if place.exists() and (is_folder or place.is_dir()):
            raise NotNow(f"{to} is there already")
        if not place.parent.is_dir():
            raise NotFound(f"no folder to put {path} into at {to}")
        return to, place, is_folder

    def _there(self, path: str, *, changing: bool = True) -> Path:
        """Where a thing of `path` is that may be changed."""
        if not path:
            raise Malformed(f"name a file or folder in {self.root}")
        place = self._on_disk(path)
        if not place.exists():
            raise NotFound(f"no file or folder {path!r} in {self.root}")
        if changing and path in self._said:
            raise NotAllowed(f"{path} is written by this host")
        return place

    def _away(self) -> Path:
        """A place on the same disk that nobody sees."""
        return self._place.parent / f".{secrets.token_hex(16)}.partial"

    def _check_room(self, size_bytes: int, count: int = 1) -> None:
        if len(self._look({})) + count > MAX_ENTRIES:
            raise NotNow(f"{self.root} may have {MAX_ENTRIES} files and folders; remove some first")
        usage = shutil.disk_usage(self._place)
        kept = self._settings.kept_free(usage.total)
        if usage.free - size_bytes < kept:
            raise NoSpace(f"{usage.free} bytes are free; {size_bytes} more would leave less than {kept}")

    def _put(self, place: Path, content: bytes, *, unless_same: bool = False) -> None:
        with disk(place.name):
            if unless_same and place.is_file() and place.read_bytes() == content:
                return
            away = self._away()
            try:
                with open(os.open(away, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(away, place)
            finally:
                away.unlink(missing_ok=True)
            _sync(place.parent)


def clear_partial(folder: Path) -> None:
    """Remove what a server that died left beside a plain folder."""
    for left in folder.glob(".*.partial"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _found(known: Mapping[str, Entry], path: str, root: str) -> Entry:
    entry = known.get(_asked(path))
    if entry is None:
        raise NotFound(f"no file or folder {path!r} in {root}")
    return entry


def _asked(path: str) -> str:
    """The path of something that may be there; what cannot be a path names nothing."""
    try:
        return checked_plain_path(path)
    except Malformed as error:
        raise NotFound(str(error)) from None


def _is_sayable(path: str) -> bool:
    try:
        return checked_plain_path(path) == path
    except Malformed:
        return False


def _is_below(path: str, before: Mapping[str, Entry], after: Mapping[str, Entry]) -> bool:
    """Whether `path` went with a folder."""
    above = path.rpartition("/")[0]
    return bool(above) and above in before and above not in after


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
