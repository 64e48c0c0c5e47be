"""The reader the engine streams from: commands whole and in order, offsets that can be gone on from."""

import io
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.errors import Malformed
from polyhost.gcode.reader import BLOCK, MAX_LINE, LineReader


def read_all(data: bytes, start: int = 0, limit: int = 7) -> list[tuple[bytes, int]]:
    reader = LineReader(io.BytesIO(data), start)
    found: list[tuple[bytes, int]] = []
    while (batch := reader.read(limit)).commands:
        assert len(batch.commands) == len(batch.ends) <= limit
        found += zip(batch.commands, batch.ends, strict=True)
    return found


def plainly(data: bytes) -> list[tuple[bytes, int]]:
    """The same, written for the eye: one pass over whole lines."""
    found = []
    for line in re.finditer(rb"([^\r\n]*)(\r\n|\r|\n|\Z)", data):
        command = line[1].replace(b"\0", b" ").split(b";")[0].strip()
        if command and not re.fullmatch(rb"\([^)]*\)", command):
            found.append((command, line.end()))
    return found


@pytest.mark.parametrize(
    ("data", "commands"),
    [
        (b"", []),
        (b"G28", [(b"G28", 3)]),
        (b"G28\n", [(b"G28", 4)]),
        (b"G28 ; home\r\nM105\r\n", [(b"G28", 12), (b"M105", 18)]),
        (b"G28\rM105\r", [(b"G28", 4), (b"M105", 9)]),
        (b"; only\n\n  \n;;\n", []),
        (b"(a note)\nG1 X1 (inside) Y2\n(a) G1 (b)\n", [(b"G1 X1 (inside) Y2", 27), (b"(a) G1 (b)", 38)]),
        (b"\0\0G28\0\n\0\n", [(b"G28", 7)]),
        (b"  N1 G1 X1*99  \n", [(b"N1 G1 X1*99", 16)]),
    ],
)
def test_what_is_a_command(data: bytes, commands: list[tuple[bytes, int]]) -> None:
    assert read_all(data) == commands


@given(
    st.lists(st.sampled_from([b"G1 X1", b";c", b"\n", b"\r\n", b"\r", b"\0", b" ", b"(n)", b"M117 a;b"])),
    st.integers(1, 9),
)
def test_it_reads_what_a_plain_reading_gives(pieces: list[bytes], limit: int) -> None:
    data = b"".join(pieces)
    assert read_all(data, limit=limit) == plainly(data)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_blocks_cut_nothing(line_end: bytes) -> None:
    lines = [b"G1 X%d Y%d ; %s" % (n, n, b"c" * (n % 90)) for n in range(9000)]
    data = line_end.join(lines)
    assert len(data) > 5 * BLOCK
    assert read_all(data, limit=256) == plainly(data)


@given(st.integers(0, 400))
def test_reading_goes_on_from_any_offset_it_gave(index: int) -> None:
    data = b"".join(b"G1 X%d ; c\r\n\n" % n for n in range(401))
    found = read_all(data)
    assert read_all(data, start=found[index][1]) == found[index + 1 :]


def test_a_comment_may_be_as_long_as_it_likes_and_costs_no_memory() -> None:
    data = b"G28\n; " + b"x" * (64 * BLOCK) + b"\nG1 X1 ;" + b"y" * (3 * BLOCK) + b"\nM105\n"
    file = io.BytesIO(data)
    tracemalloc.start()
    try:
        reader = LineReader(file)
        found = []
        while (batch := reader.read(9)).commands:
            found += zip(*batch, strict=True)
        assert tracemalloc.get_traced_memory()[1] < 8 * BLOCK
    finally:
        tracemalloc.stop()
    assert found == plainly(data)


@pytest.mark.parametrize("size", [MAX_LINE + 1, BLOCK + 5, 5 * BLOCK])
def test_a_command_too_long_is_named_after_all_before_it(size: int) -> None:
    reader = LineReader(io.BytesIO(b"G28\n\nG1 X1\n" + b"X" * size + b"\nM105\n"))
    assert reader.read(99).commands == [b"G28", b"G1 X1"]
    for _ in range(2):
        with pytest.raises(Malformed, match="line 4 "):
            reader.read(99)


def test_a_file_without_line_ends_is_refused_in_constant_memory() -> None:
    reader = LineReader(io.BytesIO(b"\xff" * (100 * BLOCK)))
    with pytest.raises(Malformed, match="line 1 "):
        reader.read(1)


def test_nothing_but_nul_is_nothing() -> None:
    assert read_all(b"\0" * (10 * BLOCK)) == []
