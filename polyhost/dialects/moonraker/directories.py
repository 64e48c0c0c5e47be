"""``/server/files/directory``: what is in a folder; making and removing one.

Upstream: docs/external_api/file_manager.md; specification, 2.9.
"""

from typing import Any

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.files import Change
from polyhost.dialects.moonraker.metadata import metadata_of
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import OK, Resource
from polyhost.dialects.moonraker.roots import GCODES, Item, found_at, gone, located, wire_item

resource = Resource()


class Which(msgspec.Struct):
    path: str = GCODES
    extended: bool = False


class Made(msgspec.Struct):
    path: str


class Removed(msgspec.Struct):
    path: str
    force: bool = False


@resource.get("/server/files/directory", needs=Permission.LOOK)
async def directory(request: Request) -> dict[str, Any]:
    asked, by, host = request.read(Which), request.caller, request.host
    root, path = located(request, asked.path)
    if path and not ((found := await found_at(root, path, by)) and found.is_folder):
        raise Malformed(f"Directory does not exist ({asked.path})")
    is_library = root.name == GCODES
    p = request.printer
    # What is told of a file's last print is the printer's own.
    key = ("moonraker folder", path, p.slug if asked.extended else None)
    made_of = (host.files.revision, p.run.id if asked.extended and p.run is not None else "")
    kept: tuple[msgspec.Raw, msgspec.Raw] | None = request.call.lists.find(key, made_of) if is_library else None
    if kept is None:
        items = await root.folder(path, by)
        dirs = [_words(item, "dirname") for item in items if item.is_folder]
        files = [_words(item, "filename") for item in items if not item.is_folder]
        if asked.extended and is_library:
            for words, item in zip(files, [item for item in items if not item.is_folder], strict=True):
                words |= metadata_of(host, host.files.get(item.path), p)
        kept = msgspec.Raw(msgspec.json.encode(dirs)), msgspec.Raw(msgspec.json.encode(files))
        if is_library:
            request.call.lists.keep(key, made_of, kept)
    free, total = host.files.free_space()
    return {
        "dirs": kept[0],
        "files": kept[1],
        "disk_usage": {"total": total, "used": total - free, "free": free},
        "root_info": {"name": root.name, "permissions": root.permissions(by)},
    }


def _words(item: Item, name: str) -> dict[str, Any]:
    return {"modified": item.modified, "size": item.size, "permissions": item.permissions, name: item.name}


@resource.post("/server/files/directory", needs=Permission.UPLOAD)
async def make_directory(request: Request) -> Any:
    root, path = located(request, request.read(Made).path)
    if not path:
        raise Malformed("a folder needs a name")
    above = path.rstrip("/").rpartition("/")[0]
    if above and await found_at(root, above, request.caller) is None:
        raise Malformed(f"no folder {above!r} in {root.name}, so none can be made in it")
    item = await root.make_folder(path, request.caller)
    return OK if request.is_early else Change(wire_item(item), "create_dir")


@resource.delete("/server/files/directory", needs=Permission.DELETE, waits=True)
async def remove_directory(request: Request) -> Any:
    asked, by = request.read(Removed), request.caller
    root, path = located(request, asked.path)
    found = await found_at(root, path, by) if path else None
    if found is None or not found.is_folder:
        raise Malformed(f"Directory does not exist ({asked.path})")
    await root.delete(path, by, only_empty=not asked.force)
    return OK if request.is_early else Change(gone(root.name, found.path), "delete_dir")
