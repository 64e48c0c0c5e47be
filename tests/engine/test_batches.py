"""A run's file, read in batches: this version to its end, or not on."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from polyhost.core.errors import Malformed
from polyhost.core.ports import RunOrder
from polyhost.engine.batches import Batches, opened
from polyhost.engine.intake import Intake

GCODE = b"G1 X10 Y10 F6000\n" * 100_000


class AsItIs(Intake):
    """Nothing is changed of what is read."""

    def __init__(self) -> None:
        pass

    def taken(
        self, lines: Sequence[bytes], ends: Sequence[int], start: int, text: bytes
    ) -> tuple[Sequence[bytes], Sequence[int]]:
        return lines, ends


def read_from(place: Path) -> tuple[Batches, int]:
    """The batches of the file there, of which some are read, and how many lines."""
    order = RunOrder("r1", str(place), place.name, len(GCODE), "")
    batches = Batches(order, opened(order), AsItIs())
    return batches, sum(len(batches.read()[0]) for _ in range(3))


def rest_of(batches: Batches) -> int:
    """How many lines there are till the end."""
    lines = 0
    while not batches.whole:
        lines += len(batches.read()[0])
    return lines


@pytest.mark.parametrize("other", [b"", GCODE[:-17], GCODE + b"M104 S299\n"], ids=["emptied", "shorter", "longer"])
def test_a_file_that_others_write_into_is_no_longer_printed(tmp_path: Path, other: bytes) -> None:
    """As ``cp`` and Samba do.  One that was emptied was printed to its new end, and then counted as completed."""
    place = tmp_path / "a.gcode"
    place.write_bytes(GCODE)
    batches, _ = read_from(place)
    place.write_bytes(other)
    with pytest.raises(Malformed, match=r"a\.gcode was changed on the disk while it was printed"):
        rest_of(batches)
    assert not batches.whole
    batches.close()


@pytest.mark.parametrize("how", ["replaced", "removed", "touched"])
def test_what_leaves_the_file_itself_alone_does_not_end_its_print(tmp_path: Path, how: str) -> None:
    place = tmp_path / "a.gcode"
    place.write_bytes(GCODE)
    batches, lines = read_from(place)
    match how:
        case "replaced":
            (tmp_path / "new").write_bytes(b"M104 S299\n")
            (tmp_path / "new").replace(place)
        case "removed":
            place.unlink()
        case _:
            place.touch()
    lines += rest_of(batches)
    assert lines == GCODE.count(b"\n")
    batches.close()
