"""``/server/files/metadata`` and pictures: what a slicer said of its file, and how its last print went.

Upstream: docs/external_api/file_manager.md; specification, 2.9 and 4.  A picture is served without a credential, since
browsers bring none for it, under a name that only this host can make.
"""

import base64
import hmac
import posixpath
import uuid
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from polyhost.core.errors import NotFound
from polyhost.core.file import File, Metadata, Thumbnail
from polyhost.core.job import Run
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.job_ids import id_of
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web.answers import Encoded, not_modified, unchanged

resource = Resource()

READ_WITHIN_S: Final = 5.0
"""How long an answer waits for a header to be read; then it goes without what that says."""
THUMBS: Final = ".thumbs"
_JOBS: Final = uuid.UUID("6c3f1c5e-2f57-4bb2-9a31-0d6d7a3a8f10")
_ALWAYS: Final = ("filament_colors", "extruder_colors", "filament_temps", "referenced_tools")


class Asked(msgspec.Struct):
    filename: str


class Picture(msgspec.Struct):
    width: int
    height: int
    size: int
    thumbnail_path: str


def metadata_of(host: Host, file: File, p: Printer) -> dict[str, Any]:
    """All that is known, and its last print on `p`; what is not is left out.  mm, seconds, grams, °C, bytes."""
    said = content_of(host, file)
    if file.metadata is not None:
        last = last_print(host, file, p)
        said["print_start_time"] = None if last is None else last.started_at
        said["job_id"] = None if last is None else id_of(last.ordinal)
    return said


def last_print(host: Host, file: File, p: Printer) -> Run | None:
    """The one going on, too; None where the last was another printer's, in whose history it is."""
    now, last = p.run, host.runs.statistics(file.path).last
    if now is not None and not now.on_card and now.file_sha256 == file.sha256:
        return now
    return last if last is not None and last.printer == p.slug else None


def content_of(host: Host, file: File) -> dict[str, Any]:
    """What is known of it, whether it is still there or not."""
    said: dict[str, Any] = {"size": file.size_bytes, "modified": file.modified_at}
    if (metadata := file.metadata) is None:
        return said
    said |= {"uuid": str(uuid.uuid5(_JOBS, f"{file.path}\n{file.sha256}")), "file_processors": []}
    said |= fields_of(metadata)
    if metadata.thumbnails:
        said["thumbnails"] = [
            {
                "width": picture.width,
                "height": picture.height,
                "size": picture.size_bytes,
                "relative_path": f"{THUMBS}/{picture_name(host, file, picture)}",
            }
            for picture in metadata.thumbnails
        ]
    return said


def fields_of(metadata: Metadata) -> dict[str, Any]:
    """What the slicer said, as upstream spells it.

    >>> fields_of(Metadata(slicer="Cura", filament_type=("PLA", "PETG"), estimated_time=60.0))["filament_type"]
    '["PLA", "PETG"]'
    """
    said = {key: value for key, value in msgspec.structs.asdict(metadata).items() if value is not None and value != ()}
    said.pop("thumbnails", None)
    if metadata.slicer != "Unknown":
        said |= {key: said.get(key, ()) for key in _ALWAYS}
    if metadata.filament_type:
        words = metadata.filament_type
        quoted = ", ".join(msgspec.json.encode(word).decode() for word in words)
        said["filament_type"] = words[0] if len(words) == 1 else f"[{quoted}]"
    if metadata.mmu_print is not None:
        said["mmu_print"] = int(metadata.mmu_print)
    if metadata.estimated_time is not None and metadata.estimated_time.is_integer():
        said["estimated_time"] = int(metadata.estimated_time)
    return said


def picture_name(host: Host, file: File, picture: Thumbnail) -> str:
    stem = posixpath.splitext(file.name)[0]
    secret = host.accounts.unguessable(f"picture {picture.digest}")
    return f"{stem}-{picture.width}x{picture.height}-{secret}.{picture.format}"


async def whole_metadata(host: Host, file: File, p: Printer, *, early: bool) -> dict[str, Any]:
    """With the name that it is asked by, and for the early edition the pictures themselves."""
    said = metadata_of(host, file, p)
    if early and file.metadata is not None:
        for shown, picture in zip(said.get("thumbnails", ()), file.metadata.thumbnails, strict=True):
            data, _ = await host.files.thumbnail(picture.digest)
            shown["data"] = base64.b64encode(data).decode()
            shown["size"] = len(shown["data"])
    return said | {"filename": file.path}


@resource.get("/server/files/metadata", needs=Permission.LOOK)
async def metadata(request: Request) -> dict[str, Any]:
    file = request.host.files.get(request.read(Asked).filename)
    return await whole_metadata(request.host, file, request.printer, early=request.is_early)


@resource.post("/server/files/metascan", needs=Permission.UPLOAD, waits=True)
async def metascan(request: Request) -> dict[str, Any]:
    path = request.read(Asked).filename
    file = await request.host.files.read_again(path, request.caller, READ_WITHIN_S)
    return await whole_metadata(request.host, file, request.printer, early=request.is_early)


@resource.get("/server/files/thumbnails", needs=Permission.LOOK)
async def thumbnails(request: Request) -> list[Picture]:
    file = request.host.files.get(request.read(Asked).filename)
    pictures = file.metadata.thumbnails if file.metadata is not None else ()
    return [
        Picture(
            *(picture.width, picture.height, picture.size_bytes),
            posixpath.join(file.folder, THUMBS, picture_name(request.host, file, picture)),
        )
        for picture in pictures
    ]


@resource.get(f"/server/files/gcodes/{THUMBS}/{{picture}}", open_door=True, method="")
@resource.get(f"/server/files/gcodes/{{folder:path}}/{THUMBS}/{{picture}}", open_door=True, method="")
async def picture(request: Request) -> Encoded:
    params, host = request.call.params, request.host
    try:
        files: Iterable[File] = host.files.folder(params.get("folder", "")).files.values()
    except NotFound:
        files = ()
    found = _picture_called(host, files, params["picture"])
    if found is None:
        raise NotFound("no such picture")
    etag = f'"{params["picture"].rpartition("-")[2]}"'
    headers = [(b"etag", etag.encode("latin-1", "replace"))]
    if unchanged(request.call.headers, etag):
        return not_modified(headers)
    body, kind = await host.files.thumbnail(found.digest)
    return Encoded(200, [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body)), *headers], body)


def _picture_called(host: Host, files: Iterable[File], name: str) -> Thumbnail | None:
    """Asked for by who knows nothing, so nothing is told of the files by the way, nor by the time it takes."""
    asked = name.encode("utf-8", "replace")
    for file in files:
        stem = posixpath.splitext(file.name)[0]
        if file.metadata is None or not name.startswith(f"{stem}-"):
            continue
        for picture in file.metadata.thumbnails:
            if hmac.compare_digest(picture_name(host, file, picture).encode(), asked):
                return picture
    return None
