"""``/native/v1/files``: the library."""

import posixpath
from urllib.parse import quote

import msgspec

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.user import Permission
from polyhost.dialects.native.views import FileView, view_of_file, view_of_folder
from polyhost.web.answers import Encoded, Stored, created, encoded, no_content
from polyhost.web.bodies import length_of
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)


class Change(msgspec.Struct):
    """One of the two: a new path, or a folder to put it into."""

    move_to: str | None = None
    copy_to: str | None = None


@routes.get("/native/v1/files", needs=Permission.LOOK)
async def library(call: Call) -> Encoded:
    files, deep, path = call.host.files, call.flag("recursive"), call.query.get("folder", "")
    folder = files.folder(path)
    return call.lists.get(
        ("native files", folder.path, deep),
        (files.revision,),
        lambda: encoded(view_of_folder(call.host, folder, deep=deep)),
    )


@routes.get("/native/v1/files/{path:path}", needs=Permission.LOOK)
async def file(call: Call) -> FileView | Stored:
    found = call.host.files.get(call.params["path"])
    if not call.flag("download"):
        return view_of_file(found, call.host.runs.statistics(found.path))
    return Stored(
        call.host.files.on_disk(found.path),
        name=found.name,
        etag=f'"{found.sha256}"',
        content_type="application/octet-stream",
    )


@routes.put("/native/v1/files/{path:path}", needs=Permission.UPLOAD)
async def upload(call: Call) -> Encoded:
    """The body is the file."""
    files = call.host.files
    folder, name = posixpath.split(call.params["path"])
    overwrite = "overwrite" not in call.query or call.flag("overwrite")
    expected = length_of(call.headers, 0)
    async with files.upload(folder, name, call.caller, expected_bytes=expected, overwrite=overwrite) as upload:
        async for chunk in call.chunks():
            upload.write(chunk)
            await upload.drain()
        stored = await upload.commit(sha256=call.header(b"x-sha256") or None)
    view = view_of_file(stored, call.host.runs.statistics(stored.path))
    return created(f"{call.base}/native/v1/files/{quote(stored.path)}", view)


@routes.post("/native/v1/files/{path:path}", needs=Permission.UPLOAD)
async def change(call: Call) -> FileView | Encoded:
    wanted = await call.body(Change)
    files, path = call.host.files, call.params["path"]
    if (wanted.move_to is None) == (wanted.copy_to is None):
        raise Malformed("give either move_to or copy_to")
    if wanted.move_to is not None:
        place = await files.move(path, wanted.move_to, by=call.caller)
    else:
        place = await files.copy(path, wanted.copy_to or "", by=call.caller)
    try:
        moved = files.get(place)
    except NotFound:
        return encoded(view_of_folder(call.host, files.folder(place), deep=False))
    return view_of_file(moved, call.host.runs.statistics(place))


@routes.delete("/native/v1/files/{path:path}", needs=Permission.DELETE)
async def delete(call: Call) -> Encoded:
    await call.host.files.delete(call.params["path"], by=call.caller)
    return no_content()
