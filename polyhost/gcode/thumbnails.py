"""Pictures in a file's header: ``; thumbnail begin WxH LENGTH``, base64 in comments, ``; thumbnail end``.

The picture is in PNG (also ``thumbnail_PNG``), JPEG (``thumbnail_JPG``) or QOI (``thumbnail_QOI``, converted to PNG).
What is not really such a picture, or not as long as it says, is left out.
"""

import binascii
import hashlib
import io
import re
import warnings
from typing import Final

import msgspec

from polyhost.core.file import Thumbnail

MAX_COUNT: Final = 32
MAX_BYTES: Final = 8 << 20  # of all pictures of a file
MAX_PIXELS: Final = 4 << 20  # of one picture
MAX_QOI_PIXELS: Final = 1 << 20  # of all of a file, since decoding them is slow
MAX_BLOCKS: Final = 256  # looked at
ICON: Final = 32  # pixels

_BEGIN = re.compile(rb"^; thumbnail(|_PNG|_JPG|_QOI) begin (\d{1,5})[x ](\d{1,5}) (\d{1,8})\s*$", re.MULTILINE)
_KINDS: Final = {b"": "PNG", b"_PNG": "PNG", b"_JPG": "JPEG", b"_QOI": "QOI"}


class ThumbnailImage(msgspec.Struct, frozen=True):
    """A picture, ready to be shown: `format` is ``png`` or ``jpg``, `data` its bytes."""

    width: int
    height: int
    format: str
    data: bytes

    @property
    def thumbnail(self) -> Thumbnail:
        """What is said of it in the metadata; the digest is the SHA-256 of its bytes."""
        digest = hashlib.sha256(self.data).hexdigest()
        return Thumbnail(self.width, self.height, self.format, len(self.data), digest)


def thumbnails_of(head: bytes) -> list[ThumbnailImage]:
    """The pictures whose blocks lie in `head`, in file order, at most `MAX_COUNT` and `MAX_BYTES`."""
    images: list[ThumbnailImage] = []
    room = MAX_BYTES
    qoi_pixels = MAX_QOI_PIXELS
    at = 0
    for _ in range(MAX_BLOCKS):
        begin = _BEGIN.search(head, at)
        if begin is None or len(images) == MAX_COUNT:
            break
        at = begin.end()
        end = head.find(b"; thumbnail%s end" % begin[1], at)
        if end < 0:
            break
        width, height = int(begin[2]), int(begin[3])
        pixels = width * height
        data = _decoded(head[at:end], int(begin[4]))
        if data is None or pixels > (qoi_pixels if begin[1] == b"_QOI" else MAX_PIXELS):
            continue
        at = end
        if begin[1] == b"_QOI":
            qoi_pixels -= pixels
        image = _checked(data, _KINDS[begin[1]], width, height)
        if image is not None and len(image.data) <= room:
            room -= len(image.data)
            images.append(image)
    return images


def with_icon(images: list[ThumbnailImage]) -> list[ThumbnailImage]:
    """The pictures, the one of 32x32 first; where there is none, it is made of the largest."""
    if not images:
        return images
    icon = next((image for image in images if (image.width, image.height) == (ICON, ICON)), None)
    if icon is None:
        icon = _icon_of(max(images, key=lambda image: image.width * image.height))
    rest = [image for image in images if image is not icon]
    return rest if icon is None else [icon, *rest]


def _icon_of(image: ThumbnailImage) -> ThumbnailImage | None:
    """Its middle on a clear square, as large as fits."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image.data), formats=["PNG", "JPEG"]) as whole:
            small = whole.convert("RGBA")
        small.thumbnail((ICON, ICON))
        square = Image.new("RGBA", (ICON, ICON))
        square.paste(small, ((ICON - small.width) // 2, (ICON - small.height) // 2))
        png = io.BytesIO()
        square.save(png, "PNG")
        return ThumbnailImage(ICON, ICON, "png", png.getvalue())
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError):
        return None  # its header was right, its body is not


def _decoded(block: bytes, length: int) -> bytes | None:
    """The bytes of a block of comments whose base64 is `length` long; None when it is not."""
    text = b"".join(line.strip().removeprefix(b";").strip() for line in block.split(b"\n"))
    if len(text) != length:
        return None
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None


def _checked(data: bytes, kind: str, width: int, height: int) -> ThumbnailImage | None:
    """`data` as a picture of that kind and size, None when it is not one."""
    from PIL import Image  # heavy, and only the worker comes here

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                if image.size != (width, height):
                    return None
                if kind == "PNG":
                    image.verify()
                    return ThumbnailImage(width, height, "png", data)
                image.load()
                if kind == "JPEG":
                    return ThumbnailImage(width, height, "jpg", data)
                png = io.BytesIO()
                image.save(png, "PNG")
                return ThumbnailImage(width, height, "png", png.getvalue())
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
