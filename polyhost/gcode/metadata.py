"""What the slicer says of its file, from the first and the last MiB.

Fields and keys are those of Moonraker's metadata; a field that does not parse is left out.
"""

import re
from typing import BinaryIO, Final

import msgspec

from polyhost.core.file import Metadata
from polyhost.gcode import slicers
from polyhost.gcode.comments import Comments
from polyhost.gcode.thumbnails import ThumbnailImage, thumbnails_of, with_icon

PART: Final = 1 << 20

_COMMAND = re.compile(rb"^[GM]\d", re.MULTILINE)


def metadata_of(file: BinaryIO, size: int) -> tuple[Metadata, list[ThumbnailImage]]:
    """The metadata of `file`, which is `size` bytes long, and its pictures, in the order of `Metadata.thumbnails`.

    Reads no more than two MiB, whatever the file is; any bytes give an answer.
    """
    head, tail, tail_at = ends_of(file, size)
    images = with_icon(thumbnails_of(head))
    found = slicers.read(comments_of(head, tail))
    first = _COMMAND.search(head)
    return (
        msgspec.structs.replace(
            found,
            gcode_start_byte=first.start() if first else None,
            gcode_end_byte=_last_command_end(tail, tail_at),
            thumbnails=tuple(image.thumbnail for image in images),
        ),
        images,
    )


def ends_of(file: BinaryIO, size: int) -> tuple[bytes, bytes, int]:
    """The first and the last MiB, and where the last begins; both are the whole of a file of no more than two MiB."""
    file.seek(0)
    if size <= 2 * PART:
        whole = file.read(2 * PART)
        return whole, whole, 0
    head = file.read(PART)
    file.seek(size - PART)
    return head, file.read(PART), size - PART


def comments_of(head: bytes, tail: bytes) -> Comments:
    text = _text(head)
    return Comments(text, text if tail is head else _text(tail))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")


def _last_command_end(tail: bytes, tail_at: int) -> int | None:
    end = len(tail)
    while end > 0:
        start = tail.rfind(b"\n", 0, end) + 1
        if _COMMAND.match(tail, start, end):
            return tail_at + end
        end = start - 1
    return None
