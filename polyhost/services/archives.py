"""Archives: what people ask for in one file, and slicers' packages with the one model that is wanted of them.

Bounds are those of the reliability rules: members, how much larger than it is an archive may say to be, names.
Nothing of an archive gets a place on the disk by the name that the archive gives it.
"""

import asyncio
import base64
import contextlib
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, cast

from polyhost.core.errors import Malformed, NotFound
from polyhost.services.uploads import PIECE, Upload

MAX_MEMBERS: Final = 200
MAX_TIMES: Final = 20
MAX_PICTURE: Final = 1 << 20
MAX_PACKED: Final = 1000
MODEL: Final = "3D/model.gcode"
PICTURE: Final = "Metadata/thumbnail.png"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LINE: Final = 78


async def pack(members: Sequence[tuple[str, Path]], upload: Upload, *, compress: bool) -> None:
    """Write the files, by name, as a ZIP into `upload`; `Malformed` for more than 1,000."""
    if len(members) > MAX_PACKED:
        raise Malformed(f"an archive has at most {MAX_PACKED} files, not {len(members)}")
    out = _Pipe()
    archive = zipfile.ZipFile(cast(IO[bytes], out), "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED)
    for name, place in members:
        try:
            file = await asyncio.to_thread(place.open, "rb")
        except OSError as error:
            raise NotFound(f"{name} cannot be read: {error.strerror}") from error
        with file:
            about = zipfile.ZipInfo(name, time.localtime()[:6])
            about.compress_type = archive.compression
            about.external_attr = 0o644 << 16
            with archive.open(about, "w", force_zip64=True) as member:
                while piece := await asyncio.to_thread(file.read, PIECE):
                    await asyncio.to_thread(member.write, piece)
                    upload.write(out.take())
                    await upload.drain()
    archive.close()
    upload.write(out.take())
    await upload.drain()


async def unpack_model(archive: Path, upload: Upload, max_bytes: int) -> None:
    """Write the G-code of a UFP package into `upload`, before it the package's picture as slicers write theirs.

    `Malformed` for what is none, or beyond a bound.
    """
    with contextlib.ExitStack() as stack:
        package, model, picture = await asyncio.to_thread(stack.enter_context, _opened(archive, max_bytes))
        if picture:
            upload.write(picture)
        left = model.file_size
        with package.open(model) as file:
            while piece := await asyncio.to_thread(_piece, file):
                left -= len(piece)
                if left < 0:
                    raise Malformed("the model is larger than its package says")
                upload.write(piece)
                await upload.drain()


def picture_block(png: bytes) -> bytes:
    """A PNG in comments of G-code; b"" for what is none."""
    if not png.startswith(_PNG) or len(png) < 24:
        return b""
    width, height = struct.unpack(">II", png[16:24])
    text = base64.b64encode(png)
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    begin = b"; thumbnail begin %dx%d %d\n" % (width, height, len(text))
    return begin + b"".join(b"; %b\n" % line for line in lines) + b"; thumbnail end\n"


class _Pipe:
    """What a ZIP is written to, and taken from; it cannot seek."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data


@contextlib.contextmanager
def _opened(archive: Path, max_bytes: int) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo, bytes]]:
    with _understood():
        package = zipfile.ZipFile(archive)
    with package:
        members = package.infolist()
        if len(members) > MAX_MEMBERS:
            raise Malformed(f"a package has at most {MAX_MEMBERS} members, not {len(members)}")
        whole = sum(member.file_size for member in members)
        if whole > min(max_bytes, MAX_TIMES * archive.stat().st_size):
            raise Malformed(f"the package would be {whole} bytes, more than {MAX_TIMES} times its size or than it may")
        by_name = {_name_of(member): member for member in members}
        model = by_name.get(MODEL)
        if model is None:
            raise Malformed(f"the package has no /{MODEL}")
        picture = by_name.get(PICTURE)
        with _understood():
            block = b""
            if picture is not None and picture.file_size <= MAX_PICTURE:
                block = picture_block(package.read(picture))
        yield package, model, block


def _name_of(member: zipfile.ZipInfo) -> str:
    """Its path in the package, which UFP begins with a slash; `Malformed` for one that leads out of it."""
    name = member.filename.removeprefix("/")
    is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
    if is_link or name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise Malformed(f"{member.filename!r} may not be in a package")
    if member.flag_bits & 1:
        raise Malformed("the package is encrypted")
    return name


def _piece(file: IO[bytes]) -> bytes:
    with _understood():
        return file.read(PIECE)


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, OSError, ValueError) as error:
        raise Malformed(f"the package cannot be read: {error}") from error
