"""``/api/files``: lists and entries, commands on files, deletion, downloads, thumbnails.

Upstream: OctoPrint 1.11, docs/api/files.rst.  Uploads are in `uploads`.
"""

import hashlib
import posixpath
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

import msgspec

from polyhost.core.errors import Malformed, NotFound, NotNow, Unsupported
from polyhost.core.file import checked_path, is_gcode
from polyhost.core.job import Prints
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.card import card_entries_of, card_entry_of, card_path, card_url
from polyhost.dialects.octoprint.commands import Asked, Commands, Flag, check_idle, check_operational
from polyhost.dialects.octoprint.metadata import (
    THUMBNAILS,
    FileEntry,
    PrintCounts,
    Refs,
    entry_of,
    last_print_of,
    refs_of,
    resource_url,
)
from polyhost.services.files import Folder
from polyhost.services.host import Host
from polyhost.web.answers import Encoded, Headers, Stored, created, encoded, no_content, not_modified, unchanged
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()

LOCATIONS: Final = frozenset({"local", "sdcard"})


class FolderEntry(msgspec.Struct, rename="camel"):
    name: str
    display: str
    path: str
    origin: str
    size: int
    date: int
    children: "list[FolderEntry | FileEntry]"
    prints: PrintCounts
    refs: Refs
    type: str = "folder"
    type_path: tuple[str, ...] = ("folder",)


class FileList(msgspec.Struct, omit_defaults=True):
    """`files` is encoded already; free and total bytes of the disk are None for the printer's card."""

    files: msgspec.Raw
    free: int | None = None
    total: int | None = None


class Moved(msgspec.Struct):
    name: str
    path: str
    origin: str
    refs: Refs


class Select(msgspec.Struct, tag_field="command", tag="select"):
    print: Flag = False


class Unselect(msgspec.Struct, tag_field="command", tag="unselect"):
    pass


class Slice(msgspec.Struct, tag_field="command", tag="slice"):
    pass


class Analyse(msgspec.Struct, tag_field="command", tag="analyse"):
    pass


class Copy(msgspec.Struct, tag_field="command", tag="copy"):
    destination: str


class Move(msgspec.Struct, tag_field="command", tag="move"):
    destination: str


class UploadSd(msgspec.Struct, tag_field="command", tag="uploadSd"):
    select: Flag = False
    print: Flag = False


FileCommand = Select | Unselect | Slice | Analyse | Copy | Move | UploadSd
COMMANDS: Final = Commands[FileCommand](Select, Unselect, Slice, Analyse, Copy, Move, UploadSd)


class SentToCard(msgspec.Struct, rename="camel"):
    """``effective…``: what is done once the file is on the card."""

    file: Moved
    effective_select: bool
    effective_print: bool


class Sanitize(msgspec.Struct, tag_field="command", tag="sanitize"):
    storage: str
    path: str
    filename: str


class Exists(msgspec.Struct, tag_field="command", tag="exists"):
    storage: str
    path: str
    filename: str


TESTS: Final = Commands[Sanitize | Exists](Sanitize, Exists)


class Sanitized(msgspec.Struct):
    sanitized: str


class Existing(msgspec.Struct, omit_defaults=True):
    exists: bool
    suggestion: str = ""
    size: int | None = None
    date: int | None = None


class Listing(msgspec.Struct, frozen=True):
    """A list's entries, encoded once for many requests."""

    files: bytes
    etag: str
    made_at: int  # seconds since the epoch

    def headers(self, now: float) -> Headers:
        """Without ``Last-Modified`` in the second it was made: another change may still fall into it."""
        headers: Headers = [(b"etag", self.etag.encode())]
        if now >= self.made_at + 1:
            headers.append((b"last-modified", formatdate(self.made_at, usegmt=True).encode()))
        return headers


def entries_of(
    host: Host, folder: Folder, base: str, *, deep: bool, has_gcode: bool = True
) -> list[FolderEntry | FileEntry]:
    """What is in `folder`; only its folders unless G-code is wanted, for every file of ours is that."""
    entries: list[FolderEntry | FileEntry] = [
        folder_entry_of(
            host, child, base, entries_of(host, child, base, deep=True, has_gcode=has_gcode) if deep else []
        )
        for child in folder.folders.values()
    ]
    if has_gcode:
        entries += [entry_of(file, host.runs.statistics(file.path), base) for file in folder.files.values()]
    return entries


def folder_entry_of(host: Host, folder: Folder, base: str, children: list[FolderEntry | FileEntry]) -> FolderEntry:
    prints = prints_of(host, folder)
    return FolderEntry(
        folder.name,
        folder.name,
        folder.path,
        "local",
        folder.size_bytes,
        int(folder.modified_at),
        children,
        PrintCounts(
            prints.success, prints.failure, last_print_of(prints.last) if prints.last is not None else msgspec.UNSET
        ),
        Refs(resource_url(base, folder.path)),
    )


def prints_of(host: Host, folder: Folder) -> Prints:
    """Of everything below `folder`."""
    counted = [host.runs.statistics(file.path) for file in folder.files.values()]
    counted += [prints_of(host, child) for child in folder.folders.values()]
    return Prints(
        sum(prints.success for prints in counted),
        sum(prints.failure for prints in counted),
        last=max((p.last for p in counted if p.last is not None), key=lambda run: run.started_at, default=None),
    )


def _answer(call: Call, listing: Listing, body: msgspec.Struct) -> Encoded:
    now = call.host.clock.now()
    headers = listing.headers(now)
    if not (call.flag("force") or call.flag("_refresh")):
        since = call.header(b"if-modified-since")
        if b"if-none-match" in call.headers:
            if unchanged(call.headers, listing.etag):
                return not_modified(headers)
        elif since and len(headers) > 1 and _seconds_of(since) >= listing.made_at:
            return not_modified(headers)
    return encoded(body, headers=headers)


def _seconds_of(http_date: str) -> float:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _listing(call: Call, entries: object) -> Listing:
    files = msgspec.json.encode(entries)
    return Listing(files, f'"{hashlib.sha1(files, usedforsecurity=False).hexdigest()}"', int(call.host.clock.now()))


@routes.get("/api/files", needs=Permission.LOOK)
async def library(call: Call) -> Encoded:
    return await _library(call, with_card=True)


@routes.get("/api/files/{location}", needs=Permission.LOOK)
async def location(call: Call) -> Encoded:
    if _location(call) == "sdcard":
        call.require(Permission.LOOK)
        await _look_again(call)
        entries = card_entries_of(call.host, call.printer, call.base) if _wants_gcode(call) else []
        listing = _listing(call, entries)
        return _answer(call, listing, FileList(msgspec.Raw(listing.files)))
    return await _library(call)


async def _library(call: Call, *, with_card: bool = False) -> Encoded:
    files, base = call.host.files, call.base
    deep, has_gcode = call.flag("recursive"), _wants_gcode(call)
    printer = call.printer if with_card and call.host.printers.all() else None
    if printer is not None and not call.caller.may(Permission.LOOK, printer.slug):
        printer = None  # a key for another printer: the library is everybody's, this card is not
    if printer is not None:
        await _look_again(call)
    made_of = (files.revision, printer and (printer.card, printer.snapshot.sd_ready, printer.uses_card))

    def make() -> Listing:
        entries: list[object] = [*entries_of(call.host, files.tree(), base, deep=deep, has_gcode=has_gcode)]
        if printer is not None and has_gcode:
            entries += card_entries_of(call.host, printer, base)
        return _listing(call, entries)

    key = ("octoprint files", base, deep, has_gcode, printer and printer.slug)
    listing = call.lists.get(key, made_of, make)
    free, total = files.free_space()
    return _answer(call, listing, FileList(msgspec.Raw(listing.files), free, total))


def _wants_gcode(call: Call) -> bool:
    return call.query.get("filter", "") in {"", "machinecode", "gcode"}


async def _look_again(call: Call) -> None:
    """``force`` has the card listed again."""
    if call.flag("force") or call.flag("_refresh"):
        await call.host.cards.look_again(call.printer)


@routes.get("/api/files/{location}/{path:path}", needs=Permission.LOOK)
async def entry(call: Call) -> Encoded:
    if _location(call) == "sdcard":
        call.require(Permission.LOOK)
        await _look_again(call)
        file_there = card_entry_of(call.host.cards.get(call.printer, call.params["path"]), call.base)
        return _answer(call, _listing(call, file_there), file_there)
    path, files = _canonical(call), call.host.files
    if not files.exists(path):
        raise NotFound(f"no file or folder {path!r}")
    try:
        file = files.get(path)
    except NotFound:
        folder = files.folder(path)
        children = entries_of(call.host, folder, call.base, deep=call.flag("recursive"))
        found: FileEntry | FolderEntry = folder_entry_of(call.host, folder, call.base, children)
    else:
        found = entry_of(file, call.host.runs.statistics(path), call.base)
    listing = _listing(call, found)
    return _answer(call, listing, found)


@routes.post("/api/files/test", needs=Permission.LOOK)
async def test(call: Call) -> Sanitized | Existing:
    asked = (await TESTS.asked(call)).values()
    if asked.storage != "local":
        raise Malformed(f"no storage {asked.storage!r}")
    path = checked_path(posixpath.join(asked.path, asked.filename))
    if isinstance(asked, Sanitize):
        return Sanitized(path)
    try:
        file = call.host.files.get(path)
    except NotFound:
        return Existing(False)
    return Existing(True, posixpath.basename(_free_name(call.host, path)), file.size_bytes, int(file.modified_at))


def _free_name(host: Host, path: str) -> str:
    """`path` with the first number behind its stem that nobody has."""
    stem, suffix = posixpath.splitext(path)
    taken = host.files.folder(posixpath.dirname(path)).files
    number = 1
    while posixpath.basename(f"{stem}_{number}{suffix}") in taken:
        number += 1
    return f"{stem}_{number}{suffix}"


@routes.post("/api/files/{location}/{path:path}", needs=Permission.UPLOAD)
async def command(call: Call) -> Encoded:
    location = _location(call)
    asked = await COMMANDS.asked(call)
    if location == "sdcard":
        return await _command_on_card(call, asked)
    path, host, by = _canonical(call), call.host, call.caller
    match asked.values():
        case Select(print_it):
            call.require(Permission.PRINT)
            host.files.get(path)
            if not is_gcode(path):
                raise Unsupported(f"{path} is no machine code")
            _check_ready(call)
            if truth_of(print_it):
                await host.runs.start(call.printer, path, by=by)
            else:
                await host.runs.select(call.printer, path, by=by)
        case Unselect():
            call.require(Permission.PRINT)
            _check_ready(call)
            await _unselect(call, path)
        case Slice():
            host.files.get(path)
            raise Unsupported(f"{path} cannot be sliced: this host has no slicer")
        case Analyse():
            if not is_gcode(host.files.get(path).name):
                raise Malformed(f"{path} cannot be analysed")
            # Every file is read as soon as it is there, so the wish is granted already.
        case Copy(destination):
            _check_type(host, path, destination)
            return _moved(call, path, await host.files.copy(path, destination, by))
        case Move(destination):
            call.require(Permission.DELETE)
            _check_type(host, path, destination)
            return _moved(call, path, await host.files.move(path, destination, by))
        case UploadSd(select, print_it):
            return await _upload_to_card(call, path, truth_of(select), truth_of(print_it))
    return no_content()


async def _command_on_card(call: Call, asked: Asked[FileCommand]) -> Encoded:
    name, host, printer, by = call.params["path"], call.host, call.printer, call.caller
    match asked.values():
        case Select(print_it):
            call.require(Permission.PRINT)
            file = host.cards.get(printer, name)
            _check_ready(call)
            if truth_of(print_it):
                await host.runs.start_from_card(printer, file, by=by)
            else:
                await host.runs.select_on_card(printer, file, by=by)
        case Unselect():
            call.require(Permission.PRINT)
            _check_ready(call)
            await _unselect(call, name)
        case Slice():
            host.cards.get(printer, name)
            raise Unsupported(f"{name} cannot be sliced: this host has no slicer")
        case Analyse() | Copy() | Move() | UploadSd():
            raise Malformed(
                f"{asked.values().__struct_config__.tag} cannot be done with files on the printer's own card"
            )
    return no_content()


async def _unselect(call: Call, path: str) -> None:
    printer = call.printer
    selected = card_path(printer.selected) if printer.selected_on_card else printer.selected
    if not selected:
        raise NotNow("No file is selected")
    if path not in {"current", selected}:
        raise Malformed(f"{path} is not selected; {selected} is")
    await call.host.runs.unselect(printer, by=call.caller)


async def _upload_to_card(call: Call, path: str, select: bool, print_it: bool) -> Encoded:
    cards, printer = call.host.cards, call.printer
    if not printer.uses_card:
        raise Malformed("Invalid command, SD support is disabled")
    cards.check_upload(printer, call.caller)
    may = call.caller.may(Permission.PRINT, printer.slug)
    select, print_it = select and may, print_it and may
    name = card_path(await cards.send(printer, path, call.caller, select=select, print_it=print_it))
    url = card_url(call.base, name)
    return created(url, SentToCard(Moved(name, name, "sdcard", Refs(url)), select, print_it))


def _check_ready(call: Call) -> None:
    check_operational(call.printer)
    check_idle(call.printer)


def _check_type(host: Host, path: str, destination: str) -> None:
    """`Unsupported` when the file `path` would become one of a type that no upload may have."""
    if is_gcode(path) and not is_gcode(destination) and not host.files.exists(checked_path(destination)):
        raise Unsupported(f"{path} cannot be called {destination!r}: it would no longer be machine code")


def _moved(call: Call, path: str, to: str) -> Encoded:
    try:
        refs = refs_of(call.base, call.host.files.get(to).path)
    except NotFound:  # a folder, which cannot be downloaded
        refs = Refs(resource_url(call.base, to))
    return created(refs.resource, Moved(posixpath.basename(path), to, "local", refs))


@routes.delete("/api/files/{location}/{path:path}", needs=Permission.DELETE)
async def delete(call: Call) -> Encoded:
    if _location(call) == "sdcard":
        await call.host.cards.delete(call.printer, call.params["path"], by=call.caller)
        return no_content()
    await call.host.files.delete(_canonical(call), by=call.caller)
    return no_content()


@routes.get("/downloads/files/local/{path:path}", needs=Permission.LOOK)
async def download(call: Call) -> Stored:
    file = call.host.files.get(_canonical(call))
    return Stored(
        call.host.files.on_disk(file.path),
        name=file.name,
        etag=f'"{file.sha1}"',
        content_type="text/plain; charset=utf-8",
    )


@routes.get(f"/{THUMBNAILS}/{{picture}}", open_door=True)
async def thumbnail(call: Call) -> Encoded:
    """Under the digest of the picture, which nobody can guess who has not seen its file's entry."""
    body, kind = await call.host.files.thumbnail(call.params["picture"].partition(".")[0])
    return Encoded(200, [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))], body)


def _location(call: Call) -> str:
    location = call.params["location"]
    if location not in LOCATIONS:
        raise NotFound(f"no location {location!r}; there are {' and '.join(sorted(LOCATIONS))}")
    return location


def _canonical(call: Call) -> str:
    """The path of a stored thing; `NotFound` when it is written in a way that no path is."""
    path = call.params["path"]
    try:
        is_canonical = checked_path(path) == path
    except Malformed:
        is_canonical = False
    if not is_canonical:
        raise NotFound(f"no file or folder {path!r}")
    return path
