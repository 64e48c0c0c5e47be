"""``/server/files/…``: lists and roots; moving, copying and deleting files; archives.

Upstream: docs/external_api/file_manager.md; specification, 2.9.  Folders, uploads, downloads and metadata have modules
of their own.
"""

import posixpath
import time
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotAllowed
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.request import Request, listed
from polyhost.dialects.moonraker.resource import OK, Resource
from polyhost.dialects.moonraker.roots import (
    GCODES,
    Item,
    Root,
    WireItem,
    found_at,
    gone,
    located,
    named,
    roots_of,
    there,
    wire_item,
)
from polyhost.services.archives import pack
from polyhost.services.files import Upload

resource = Resource("file_manager")

ON_ITS_WAY: Final = "a file on its way"
"""What an upload is called that will have its place later."""


class Listed(msgspec.Struct):
    path: str
    filename: str  # as the early document calls it
    modified: float
    size: int
    permissions: str


class RootWords(msgspec.Struct):
    name: str
    path: str
    permissions: str


class Change(msgspec.Struct, omit_defaults=True):
    item: WireItem
    action: str
    source_item: dict[str, str] | None = None


class Packed(msgspec.Struct):
    destination: WireItem
    action: str = "zip_files"


class WhichRoot(msgspec.Struct):
    root: str = GCODES


class FromTo(msgspec.Struct):
    source: str
    dest: str


class WhichFile(msgspec.Struct):
    path: str
    root: str = ""  # of a URL


class WhatToPack(msgspec.Struct):
    items: list[str] | str
    dest: str = ""
    store_only: bool = False


@resource.get("/server/files/list", needs=Permission.LOOK)
async def file_list(request: Request) -> Any:
    root, by = named(request, request.read(WhichRoot).root), request.caller
    if root.name != GCODES:
        return list(map(_listed, await root.files(by)))
    made_of = (request.host.files.revision,)
    kept = request.call.lists.find("moonraker files", made_of)
    if kept is None:
        kept = msgspec.Raw(msgspec.json.encode(list(map(_listed, await root.files(by)))))
        request.call.lists.keep("moonraker files", made_of, kept)
    return kept


def _listed(item: Item) -> Listed:
    return Listed(item.path, item.path, item.modified, item.size, item.permissions)


@resource.get("/server/files/roots", needs=Permission.LOOK)
async def roots(request: Request) -> list[RootWords]:
    """``path`` is where it is in URLs: where it is on the disk is nobody's business."""
    return [
        RootWords(root.name, f"/server/files/{root.name}", root.permissions(request.caller))
        for root in roots_of(request.host, request.printer)
    ]


@resource.post("/server/files/move", needs=Permission.DELETE, waits=True)
async def move(request: Request) -> Any:
    asked, by = request.read(FromTo), request.caller
    (source, path), (dest, to) = located(request, asked.source), located(request, asked.dest)
    item = await there(source, path, by)
    if source.name == dest.name:
        moved = await source.move(path, to, by)
    else:
        await source.check_unused(path)
        _check_writable(source, request)
        moved = await _copied_across(request, source, item, dest, to)
        await source.delete(path, by)
    action = "move_dir" if moved.is_folder else "move_file"
    return _told(request, Change(wire_item(moved), action, {"path": item.path, "root": source.name}))


@resource.post("/server/files/copy", needs=Permission.UPLOAD, waits=True)
async def copy(request: Request) -> Any:
    asked, by = request.read(FromTo), request.caller
    (source, path), (dest, to) = located(request, asked.source), located(request, asked.dest)
    item = await there(source, path, by)
    was_there = await found_at(dest, await _place_of(dest, item, to, request), by) is not None
    if source.name == dest.name:
        copied = await source.copy(path, to, by)
    else:
        copied = await _copied_across(request, source, item, dest, to)
    action = "create_dir" if copied.is_folder else "modify_file" if was_there else "create_file"
    return _told(request, Change(wire_item(copied), action))


@resource.delete(
    "/server/files/{root}/{path:path}",
    needs=Permission.DELETE,
    method="server.files.delete_file",
    waits=True,
)
async def delete_file(request: Request) -> Any:
    asked = request.read(WhichFile)
    root, path = located(request, posixpath.join(asked.root, asked.path))
    if (await there(root, path, request.caller)).is_folder:
        raise Malformed(f"{path} is a folder, not a file")
    await root.delete(path, request.caller)
    return path if request.is_early else Change(gone(root.name, path), "delete_file")


@resource.post("/server/files/zip", needs=Permission.UPLOAD, waits=True)
async def pack_files(request: Request) -> Packed:
    asked, by = request.read(WhatToPack), request.caller
    dest, to = located(request, asked.dest or time.strftime("config/collection-%Y%m%d-%H%M%S.zip"))
    if not to.lower().endswith(".zip"):
        raise Malformed(f"{to or dest.name}: the archive must be called .zip")
    _check_writable(dest, request)
    members: list[tuple[Root, str]] = []
    for one in listed(asked.items):
        root, path = located(request, one)
        item = await there(root, path, by) if path else Item("", root.name, 0, 0, "", is_folder=True)
        members += [(root, one.path) for one in await _all_of(root, item, request) if not one.is_folder]
    if not members:
        raise Malformed("no files to put into an archive")
    places = [(f"{root.name}/{path}", (await root.stored(path, by)).path) for root, path in members]
    async with _staged(request) as upload:
        await pack(places, upload, compress=not asked.store_only)
        return Packed(wire_item(await dest.take(upload, to, by)))


def _told(request: Request, change: Change) -> Change | str:
    return OK if request.is_early else change


def _staged(request: Request) -> Upload:
    """A file of ours on its way, of whose end `Root.take` decides."""
    return request.host.files.upload("", ON_ITS_WAY, request.caller)


def _check_writable(root: Root, request: Request) -> None:
    if root.permissions(request.caller) != "rw":
        raise NotAllowed(f"you may not write to {root.name}")


async def _all_of(root: Root, item: Item, request: Request) -> list[Item]:
    """The file, or all that is in the folder, folders before what is in them."""
    if not item.is_folder:
        return [item]
    found: list[Item] = []
    for one in await root.folder(item.path, request.caller):
        found += [one, *(await _all_of(root, one, request))] if one.is_folder else [one]
    return found


async def _place_of(dest: Root, item: Item, to: str, request: Request) -> str:
    """Where `item` goes: into a folder that is there, else to that path."""
    found = await found_at(dest, to, request.caller) if to else None
    if not to or (found is not None and found.is_folder):
        return posixpath.join(to, item.name)
    return to


async def _copied_across(request: Request, source: Root, item: Item, dest: Root, to: str) -> Item:
    """A copy of `item` in another root; of a folder, with all its files."""
    by, host = request.caller, request.host
    _check_writable(dest, request)
    place = await _place_of(dest, item, to, request)
    if item.is_folder:
        if await found_at(dest, place, by) is not None:
            raise Malformed(f"{dest.name}/{place} is there already")
        await dest.make_folder(place, by)
    for one in await _all_of(source, item, request):
        to = f"{place}{one.path[len(item.path) :]}"
        if one.is_folder:
            await dest.make_folder(to, by)
            continue
        stored = await source.stored(one.path, by)
        async with _staged(request) as upload:
            await host.files.pour(stored.path, upload)
            await dest.take(upload, to, by)
    return await there(dest, place, by)
