"""Targets of a file are raised by what the owner set, and nothing else is touched."""

import pytest

from polyhost.engine.offsets import Offsets

BY = {"tool0": 10.0, "tool1": -5.0, "bed": 2.5}


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b"M104 S200", b"M104 S210"),
        (b"M104 T1 S200", b"M104 T1 S195"),
        (b"M109 R180", b"M109 R190"),
        (b"M140 S60", b"M140 S62.5"),
        (b"M190 S60.5", b"M190 S63"),
        (b"M141 S40", b"M141 S40"),
        (b"M104 S0", b"M104 S0"),
        (b"M104 T1 S3", b"M104 T1 S0"),
        (b"M104", b"M104"),
        (b"M1040 S5", b"M1040 S5"),
        (b"G1 X104 S200", b"G1 X104 S200"),
        (b"m109 s200", b"m109 s210"),
    ],
)
def test_one_line(line: bytes, sent: bytes) -> None:
    assert list(Offsets().raised([line], BY)) == [sent]


def test_a_target_without_a_tool_is_for_the_one_selected_batches_ago() -> None:
    offsets = Offsets()
    assert list(offsets.raised([b"G28", b"T1"], BY)) == [b"G28", b"T1"]
    assert list(offsets.raised([b"M104 S200", b"T0", b"M104 S200"], BY)) == [b"M104 S195", b"T0", b"M104 S210"]


def test_without_offsets_the_lines_are_the_files_own() -> None:
    lines = [b"M104 S200", b"G1 X1"]
    assert list(Offsets().raised(lines, {})) == lines
