"""``POST /server/files/upload``: a file with the form's parts in any order, and a print of it.

Upstream: docs/external_api/file_manager.md; specification, 2.9 and 6.  The answer comes when the file's header was
read, or after five seconds without what it says.
"""

import posixpath
import urllib.parse
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.errors import LinkLost, MachineFault, Malformed, NotAllowed, NotFound, NotNow
from polyhost.core.file import is_gcode
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.files import ON_ITS_WAY
from polyhost.dialects.moonraker.metadata import READ_WITHIN_S
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource, bare
from polyhost.dialects.moonraker.roots import GCODES, Item, Root, WireItem, found_at, is_listed, named, wire_item
from polyhost.services.archives import unpack_model
from polyhost.services.files import Upload
from polyhost.web.answers import Encoded
from polyhost.web.uploads import Destination, received

resource = Resource()

PACKAGE: Final = ".ufp"
_LATER: Final = Destination("", ON_ITS_WAY, True)


class Done(msgspec.Struct):
    """``print_…`` are told of G-code; ``result`` is what the early document has, beside the rest."""

    item: WireItem
    print_started: bool | UnsetType = UNSET
    print_queued: bool | UnsetType = UNSET
    action: str = "create_file"
    result: str | UnsetType = UNSET


def place_of(fields: Mapping[str, str], filename: str) -> str:
    """The path below its root; of a package, that of the model in it."""
    path = posixpath.join(fields.get("path", "").strip("/"), filename.removeprefix("/"))
    if is_package(fields, path):
        path = f"{path[: -len(PACKAGE)]}.gcode"
    return path


def is_package(fields: Mapping[str, str], filename: str) -> bool:
    return fields.get("root", GCODES) == GCODES and filename.lower().endswith(PACKAGE)


@resource.post("/server/files/upload", needs=Permission.UPLOAD, method="", reads_body=False)
async def upload(request: Request) -> Encoded:
    call, by = request.call, request.caller
    filename = ""

    def destination(fields: Mapping[str, str], name: str) -> Destination:
        nonlocal filename
        filename = name
        if fields.get("root", GCODES) != GCODES:
            return _LATER  # judged there
        _check_folder(request, fields, name)
        return Destination(*posixpath.split(place_of(fields, name)), overwrite=True)

    async with received(call, Permission.UPLOAD, destination, known_by=frozenset({"root", "path"})) as form:
        if form.upload is None:
            raise Malformed("No file name specified in upload form")
        fields = form.fields
        root = named(request, fields.get("root") or GCODES)
        path = place_of(fields, filename)
        was_there = await found_at(root, path, by) is not None
        sha256 = fields.get("checksum") or None
        if is_package(fields, filename):
            item = await _unpacked(request, root, form.upload, path, sha256)
        else:
            if root.name != GCODES and "/" in filename:
                await _check_plain_folder(root, path, request)
            item = await root.take(form.upload, path, by, sha256)
    started: bool | UnsetType = UNSET
    queued: bool | UnsetType = UNSET
    if root.name == GCODES and is_listed(item.name):
        await request.host.files.reading.until_read(item.path, READ_WITHIN_S)
        wanted = fields.get("print", "").lower() == "true" and is_gcode(item.name)
        started = wanted and await _started(request, item)
        queued = wanted and not started and await _queued(request, item)
    done = Done(wire_item(item), started, queued, "modify_file" if was_there else "create_file")
    if request.is_early:
        done.result = item.path
    location = f"{call.base}/server/files/{root.name}/{urllib.parse.quote(item.path)}"
    return bare(done, status=200 if request.is_early else 201, headers=[(b"location", location.encode("ascii"))])


def _check_folder(request: Request, fields: Mapping[str, str], filename: str) -> None:
    """A folder in the file's own name must be there; ``path`` is made if need be."""
    folder = posixpath.dirname(place_of(fields, filename))
    if "/" in filename.strip("/") and not request.host.files.exists(folder):
        raise Malformed(f"no folder {folder!r}; name it as `path` to have it made")


async def _check_plain_folder(root: Root, path: str, request: Request) -> None:
    folder = posixpath.dirname(path)
    if folder and await found_at(root, folder, request.caller) is None:
        raise Malformed(f"no folder {folder!r} in {root.name}; name it as `path` to have it made")


async def _unpacked(request: Request, root: Root, package: Upload, path: str, sha256: str | None) -> Item:
    """The model of a package, in the package's place."""
    place, _, _ = await package.settled(sha256)
    most = request.host.config.uploads.max_bytes
    async with request.host.files.upload(*posixpath.split(path), request.caller) as model:
        await unpack_model(place, model, most)
        return await root.take(model, path, request.caller)


async def _started(request: Request, item: Item) -> bool:
    """Print it if that may be and can be now; the upload is done either way."""
    try:
        p = request.printer
        if not p.is_operational or p.run_state is not None:
            return False
        await request.host.runs.start(p, item.path, by=request.caller)
    except LinkLost:
        return True  # it may have begun, so nothing starts it again, and it is not queued either
    except (NotAllowed, NotFound, NotNow, MachineFault):
        return False
    return True


async def _queued(request: Request, item: Item) -> bool:
    """Print it later, where the owner wants that of uploads that cannot be printed now."""
    if not request.host.config.moonraker.queue_uploads:
        return False
    try:
        await request.host.queue.add(request.printer, [item.path], by=request.caller)
    except (NotAllowed, NotFound, NotNow):
        return False
    return True
