from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.errors import Malformed, TooLarge
from polyhost.web.uploads import MAX_FIELD, MAX_PARTS, Field, FileBegan, FileData, FormReader, names_of


def part(disposition: str, content: bytes) -> bytes:
    return f"--X\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


FILE = b"G28\r\n--Y\r\n\r\n--\r\nG1 --X\n--X\r\r\n\x00\xff\r\n-"
FORM = part('name="print"', b"true") + part('name="file"; filename="a.gcode"', FILE) + part('name="path"', "ü".encode())
WHOLE = FORM + b"--X--\r\n"


def read(pieces: Sequence[bytes]) -> tuple[dict[str, str], str, bytes]:
    """Fields, name of the file, its content."""
    reader, fields, name, content = FormReader(b"X"), {}, "", b""
    for piece in pieces:
        for found in reader.feed(piece):
            match found:
                case Field(field, value):
                    fields[field] = value
                case FileBegan(filename):
                    name = filename
                case FileData(data):
                    content += data
    reader.finish()
    return fields, name, content


@given(cuts=st.sets(st.integers(1, len(WHOLE) - 1)))
def test_how_the_network_cuts_a_form_never_changes_it(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in pairwise(edges)]
    assert read(pieces) == ({"print": "true", "path": "ü"}, "a.gcode", FILE)


@given(st.data())
def test_half_a_form_is_no_form(data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(FORM) + len("--X-")))
    with pytest.raises(Malformed):
        read([WHOLE[:end]])


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    with pytest.raises(Malformed):
        read([noise, b"\r\n--Y"])


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        (b'form-data; name="file"; filename="a.gcode"', ("file", "a.gcode")),
        (b"form-data; name=file; filename=a.gcode", ("file", "a.gcode")),
        (b'form-data; NAME="file" ; Filename = "a b.gcode"', ("file", "a b.gcode")),
        (b'form-data; name="file"; filename="a;b=\\"c\\".gcode"', ("file", 'a;b="c".gcode')),
        ('form-data; name="file"; filename="ü.gcode"'.encode(), ("file", "ü.gcode")),
        (b'form-data; name="file"; filename="\xfc.gcode"', ("file", "ü.gcode")),
        (b'form-data; name="file"; filename="x"; filename*=UTF-8\'\'%e2%82%ac.gcode', ("file", "€.gcode")),
        (b"form-data; name=\"file\"; filename*=iso-8859-1'en'%FC.gcode; filename=x", ("file", "ü.gcode")),
        (b'form-data; name="file"; filename="x"; filename*=UTF-8\'\'%ff', ("file", "x")),
        (b'form-data; name="file"; filename="x"; filename*=EBCDIC\'\'a', ("file", "x")),
        (b'form-data; name="path"', ("path", None)),
        (b"form-data", ("", None)),
        (b"", ("", None)),
    ],
)
def test_names_in_all_their_spellings(disposition: bytes, expected: tuple[str, str | None]) -> None:
    assert names_of(disposition) == expected


def test_a_field_without_a_file_name_is_no_file() -> None:
    assert read([part('name="file"', b"G28"), b"--X--"]) == ({"file": "G28"}, "", b"")


def test_a_file_under_another_name_is_passed_over() -> None:
    """Scripts of `requests` send what they name beside the file as files, too; upstream overlooks those."""
    other = part('name="filename"; filename="filename"', b"/home/me/a.gcode" * MAX_FIELD)
    named = part('name="file"; filename="a.gcode"', FILE)
    assert read([other, named, other, b"--X--"]) == ({}, "a.gcode", FILE)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        (part('name="file"; filename="a"', b"") * 2 + b"--X--", Malformed),
        (part('name="a"', b"") * (MAX_PARTS + 1) + b"--X--", Malformed),
        (part('name="a"', bytes(MAX_FIELD + 1)) + b"--X--", TooLarge),
        (part(f'name="{"a" * 9000}"', b"") + b"--X--", Malformed),
        (b"--X\r\n" + b"H: v\r\n" * 2000 + b"\r\n\r\n--X--", Malformed),
        (b"G28", Malformed),
    ],
)
def test_a_form_beyond_its_bounds_is_refused(form: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read([form])


def test_a_boundary_has_a_bound() -> None:
    with pytest.raises(Malformed):
        FormReader(b"X" * 300)
