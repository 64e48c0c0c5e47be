"""The roots of files: one library for all printers, and each printer's own files, logs and documents.

Upstream: docs/external_api/file_manager.md; specification, 2.9.  Clients write ``<root>/<path>``; a `Root` is a way to
what a service has, in the same words for all of them.
"""

import mimetypes
import posixpath
from typing import Final, Protocol

import msgspec

from polyhost.core.errors import Malformed, NotAllowed, NotFound
from polyhost.core.file import File
from polyhost.core.user import Caller, Permission
from polyhost.dialects.moonraker.request import Request
from polyhost.services.files import Folder, Upload
from polyhost.services.folders import Entry, PlainFolder
from polyhost.services.host import Host
from polyhost.services.log_files import HOST_LOG
from polyhost.services.logs import LogFile
from polyhost.services.printer import Printer
from polyhost.web.answers import Stored

GCODES: Final = "gcodes"
LISTED: Final = (".gcode", ".g", ".gco", ".ufp", ".nc")
_TEXT: Final = (".log", ".gcode", ".cfg")


class Item(msgspec.Struct, frozen=True):
    """A file or folder as lists have it; `modified` in seconds since the epoch."""

    path: str
    root: str
    modified: float
    size: int
    permissions: str
    is_folder: bool = False

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)


class WireItem(msgspec.Struct):
    """``item`` and ``destination`` of answers and notifications."""

    path: str
    root: str
    modified: float
    size: int
    permissions: str


def wire_item(item: Item) -> WireItem:
    return WireItem(item.path, item.root, item.modified, item.size, item.permissions)


def gone(root: str, path: str) -> WireItem:
    """What is not there any more."""
    return WireItem(path, root, 0, 0, "")


class Root(Protocol):
    """`NotFound` for what is not there, `NotAllowed` for what `by` may not; paths are below the root."""

    name: str

    def permissions(self, by: Caller) -> str:
        """``rw``, ``r`` or ""."""

    async def files(self, by: Caller) -> list[Item]:
        """All of them, however deep."""

    async def folder(self, path: str, by: Caller) -> list[Item]:
        """What is right in it."""

    async def item(self, path: str, by: Caller) -> Item: ...

    async def stored(self, path: str, by: Caller) -> Stored:
        """A file to be sent."""

    async def make_folder(self, path: str, by: Caller) -> Item: ...

    async def delete(self, path: str, by: Caller, *, only_empty: bool = False) -> None: ...

    async def move(self, path: str, to: str, by: Caller) -> Item: ...

    async def copy(self, path: str, to: str, by: Caller) -> Item: ...

    async def take(self, upload: Upload, path: str, by: Caller, sha256: str | None = None) -> Item:
        """Give an upload its place, over what is there."""

    async def check_unused(self, path: str) -> None:
        """`InUse` when a run reads any of it."""


class LibraryRoot:
    name = GCODES

    def __init__(self, host: Host) -> None:
        self._files = host.files

    def permissions(self, by: Caller) -> str:
        return "rw" if by.may(Permission.UPLOAD) else "r"

    async def files(self, by: Caller) -> list[Item]:
        listed = [file for file in self._files.tree().all_files() if is_listed(file.name)]
        return [file_item(file) for file in sorted(listed, key=lambda file: file.path.lower())]

    async def folder(self, path: str, by: Caller) -> list[Item]:
        folder = self._files.folder(path)
        return [*map(folder_item, folder.folders.values()), *map(file_item, folder.files.values())]

    async def item(self, path: str, by: Caller) -> Item:
        return library_item(self._files.get(path) if self._is_file(path) else self._files.folder(path))

    async def stored(self, path: str, by: Caller) -> Stored:
        file = self._files.get(path)
        return Stored(
            self._files.on_disk(file.path), name=file.name, etag=f'"{file.sha1}"', content_type=kind_of(file.name)
        )

    async def make_folder(self, path: str, by: Caller) -> Item:
        return folder_item(await self._files.make_folder(path, by))

    async def delete(self, path: str, by: Caller, *, only_empty: bool = False) -> None:
        await self._files.delete(path, by, only_empty=only_empty)

    async def move(self, path: str, to: str, by: Caller) -> Item:
        return await self.item(await self._files.move(path, to, by, overwrite=True), by)

    async def copy(self, path: str, to: str, by: Caller) -> Item:
        return await self.item(await self._files.copy(path, to, by, overwrite=True), by)

    async def take(self, upload: Upload, path: str, by: Caller, sha256: str | None = None) -> Item:
        upload.aim(*posixpath.split(path), overwrite=True)
        return file_item(await upload.commit(sha256=sha256))

    async def check_unused(self, path: str) -> None:
        self._files.check_unused(path)

    def _is_file(self, path: str) -> bool:
        try:
            self._files.get(path)
        except NotFound:
            return False
        return True


class PlainRoot:
    """A plain folder: a printer's ``config``, the documents."""

    def __init__(self, folder: PlainFolder) -> None:
        self.name = folder.root
        self._folder = folder

    def permissions(self, by: Caller) -> str:
        return "rw" if self._folder.needs is not None and by.may(self._folder.needs) else "r"

    async def files(self, by: Caller) -> list[Item]:
        entries = (await self._folder.all()).values()
        listed = [self._item(entry) for entry in entries if not entry.is_folder]
        return sorted(listed, key=lambda item: item.path.lower())

    async def folder(self, path: str, by: Caller) -> list[Item]:
        return [self._item(entry) for entry in await self._folder.entries(path)]

    async def item(self, path: str, by: Caller) -> Item:
        return self._item(await self._folder.entry(path))

    async def stored(self, path: str, by: Caller) -> Stored:
        entry = await self._folder.entry(path)
        etag = f'"{entry.size_bytes:x}-{entry.modified_ns:x}"'
        name = posixpath.basename(entry.path)
        return Stored(await self._folder.on_disk(path), name=name, etag=etag, content_type=kind_of(name))

    async def make_folder(self, path: str, by: Caller) -> Item:
        return self._item(await self._folder.make_folder(path, by))

    async def delete(self, path: str, by: Caller, *, only_empty: bool = False) -> None:
        await self._folder.delete(path, by, only_empty=only_empty)

    async def move(self, path: str, to: str, by: Caller) -> Item:
        return self._item(await self._folder.move(path, to, by))

    async def copy(self, path: str, to: str, by: Caller) -> Item:
        return self._item(await self._folder.copy(path, to, by))

    async def take(self, upload: Upload, path: str, by: Caller, sha256: str | None = None) -> Item:
        staged, _, _ = await upload.settled(sha256)
        return self._item(await self._folder.take(staged, path, by))

    async def check_unused(self, path: str) -> None:
        pass

    def _item(self, entry: Entry) -> Item:
        permissions = "rw" if entry.writable else "r"
        return Item(entry.path, self.name, entry.modified_at, entry.size_bytes, permissions, entry.is_folder)


class LogsRoot:
    """The host's logs, for who may manage the host; a printer's serial log also by the name that clients know."""

    name = "logs"

    def __init__(self, host: Host, p: Printer) -> None:
        self._logs = host.logs
        self._known = {"klippy.log": host.serial_logs.path_of(p).name, "moonraker.log": HOST_LOG}

    def permissions(self, by: Caller) -> str:
        return "r" if by.may(Permission.SYSTEM) else ""

    async def files(self, by: Caller) -> list[Item]:
        return [_log_item(log) for log in await self._logs.all(by)]

    async def folder(self, path: str, by: Caller) -> list[Item]:
        if path:
            raise NotFound(f"no folder {path!r} in {self.name}")
        return await self.files(by)

    async def item(self, path: str, by: Caller) -> Item:
        for item in await self.files(by):
            if item.path == self._known.get(path, path):
                return item
        raise NotFound(f"no log {path!r}")

    async def stored(self, path: str, by: Caller) -> Stored:
        place = await self._logs.on_disk(self._known.get(path, path), by)
        return Stored(place, name=path, etag=f'"{place.stat().st_mtime_ns:x}"', content_type=kind_of(f"{path}.log"))

    async def make_folder(self, path: str, by: Caller) -> Item:
        raise self._refused()

    async def delete(self, path: str, by: Caller, *, only_empty: bool = False) -> None:
        raise self._refused()

    async def move(self, path: str, to: str, by: Caller) -> Item:
        raise self._refused()

    async def copy(self, path: str, to: str, by: Caller) -> Item:
        raise self._refused()

    async def take(self, upload: Upload, path: str, by: Caller, sha256: str | None = None) -> Item:
        raise self._refused()

    async def check_unused(self, path: str) -> None:
        raise self._refused()

    def _refused(self) -> NotAllowed:
        return NotAllowed(f"{self.name} is for reading only")


def roots_of(host: Host, p: Printer) -> list[Root]:
    """Those that a client of printer `p` sees."""
    roots: list[Root] = [PlainRoot(host.printer_files.config(p)), LogsRoot(host, p), LibraryRoot(host)]
    to_read = (host.printer_files.examples, host.printer_files.docs)
    return roots + [PlainRoot(folder) for folder in to_read if folder is not None]


def named(request: Request, name: str) -> Root:
    for root in roots_of(request.host, request.printer):
        if root.name == name:
            return root
    raise Malformed(f"Invalid root directory ({name})")


def located(request: Request, path: str) -> tuple[Root, str]:
    """The root that `path` begins with, and the rest."""
    name, _, rest = path.strip("/").partition("/")
    return named(request, name), rest


async def there(root: Root, path: str, by: Caller) -> Item:
    """What is at `path`; `Malformed` when nothing is, for here that is a fault of the request."""
    found = await found_at(root, path, by)
    if found is None:
        raise Malformed(f"nothing is at {root.name}/{path}")
    return found


async def found_at(root: Root, path: str, by: Caller) -> Item | None:
    try:
        return await root.item(path, by)
    except NotFound:
        return None


def is_listed(name: str) -> bool:
    """Whether lists of G-code have it."""
    return name.lower().endswith(LISTED)


def kind_of(name: str) -> str:
    """The content type that a file is sent with."""
    if name.lower().endswith(_TEXT):
        return "text/plain"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def file_item(file: File) -> Item:
    return Item(file.path, GCODES, file.modified_at, file.size_bytes, "rw")


def folder_item(folder: Folder) -> Item:
    return Item(folder.path, GCODES, folder.modified_at, folder.size_bytes, "rw", is_folder=True)


def library_item(found: File | Folder) -> Item:
    return file_item(found) if isinstance(found, File) else folder_item(found)


def _log_item(log: LogFile) -> Item:
    return Item(log.name, "logs", log.changed_at, log.size_bytes, "r")
