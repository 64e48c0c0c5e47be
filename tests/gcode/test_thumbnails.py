"""Pictures in a file's header."""

import base64
import gzip
import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polyhost.gcode.metadata import metadata_of
from polyhost.gcode.thumbnails import MAX_COUNT, thumbnails_of

SAMPLES = Path(__file__).parent / "samples"


def picture(kind: str, width: int = 8, height: int = 6) -> bytes:
    if kind == "QOI":
        header = b"qoif" + struct.pack(">IIBB", width, height, 4, 0)
        return header + _qoi_pixels(width * height) + b"\0" * 7 + b"\1"
    data = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(data, kind)
    return data.getvalue()


def _qoi_pixels(count: int) -> bytes:
    """One red pixel, then runs of it."""
    runs = []
    left = count - 1
    while left > 0:
        runs.append(0xC0 | (min(left, 62) - 1))
        left -= 62
    return bytes([0xFE, 200, 30, 30, *runs])


def block(data: bytes, suffix: str = "", size: str = "8x6", length: int | None = None) -> bytes:
    text = base64.b64encode(data).decode()
    lines = "\n".join(f"; {text[at : at + 78]}" for at in range(0, len(text), 78))
    begin = f"; thumbnail{suffix} begin {size} {len(text) if length is None else length}"
    return f";\n{begin}\n{lines}\n; thumbnail{suffix} end\n;\n".encode()


@pytest.mark.parametrize(
    ("kind", "suffix", "shown_as"),
    [("PNG", "", "png"), ("PNG", "_PNG", "png"), ("JPEG", "_JPG", "jpg"), ("QOI", "_QOI", "png")],
)
def test_a_picture_is_read(kind: str, suffix: str, shown_as: str) -> None:
    (image,) = thumbnails_of(block(picture(kind), suffix))
    assert (image.width, image.height, image.format) == (8, 6, shown_as)
    with Image.open(io.BytesIO(image.data)) as shown:
        red, green, blue = shown.convert("RGB").getpixel((3, 3))
    assert abs(red - 200) + abs(green - 30) + abs(blue - 30) < 12
    assert image.thumbnail.size_bytes == len(image.data)


@pytest.mark.parametrize(
    "text",
    [
        block(picture("PNG"), length=12),
        block(picture("PNG"), size="9x6"),
        block(picture("JPEG")),
        block(picture("PNG"), "_JPG"),
        block(picture("PNG"), "_SVG"),
        block(b"<svg onload=alert(1)>"),
        block(picture("PNG")[:-20]),
        block(b""),
        block(picture("PNG"), size="99999x99999"),
        block(picture("PNG"))[:-40],
        block(picture("PNG")).replace(b"begin 8x6", b"begin 8x"),
        block(b"qoif" + struct.pack(">IIBB", 8, 6, 4, 0), "_QOI"),
        block(b"qoif" + struct.pack(">IIBB", 60000, 60000, 4, 0) + b"\xfd" * 900, "_QOI", "60000x60000"),
    ],
)
def test_what_is_not_quite_a_picture_is_left_out(text: bytes) -> None:
    good = block(picture("PNG", 4, 4), size="4x4")
    assert [(image.width, image.height) for image in thumbnails_of(good + text)] == [(4, 4)]


def test_real_pictures_and_what_is_said_of_them() -> None:
    data = gzip.decompress((SAMPLES / "prusaslicer_gui_small_thumbnails.gcode.gz").read_bytes())
    said, images = metadata_of(io.BytesIO(data), len(data))
    assert [(t.width, t.height, t.format, t.size_bytes) for t in said.thumbnails] == [
        (32, 32, "png", 643),
        (160, 120, "png", 2570),
    ]
    assert [image.thumbnail for image in images] == list(said.thumbnails)
    assert len({thumbnail.digest for thumbnail in said.thumbnails}) == 2


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ""), ("JPEG", "_JPG"), ("QOI", "_QOI")])
def test_an_icon_is_made_where_there_is_none(kind: str, suffix: str) -> None:
    data = block(picture(kind, 64, 48), suffix, "64x48") + block(picture("PNG"))
    said, images = metadata_of(io.BytesIO(data), len(data))
    assert [(image.width, image.height) for image in images] == [(32, 32), (64, 48), (8, 6)]
    assert [image.thumbnail for image in images] == list(said.thumbnails)
    with Image.open(io.BytesIO(images[0].data)) as icon:
        assert icon.size == (32, 32)
        assert icon.getpixel((16, 0))[3] == 0, "it is not stretched"
        assert abs(icon.getpixel((16, 16))[0] - 200) < 12


def test_there_are_never_too_many() -> None:
    assert len(thumbnails_of(block(picture("PNG")) * 100)) == MAX_COUNT


@given(st.binary(max_size=300), st.sampled_from(["", "_PNG", "_JPG", "_QOI"]))
def test_any_bytes_may_claim_to_be_a_picture(data: bytes, suffix: str) -> None:
    assert thumbnails_of(block(data, suffix)) == []
