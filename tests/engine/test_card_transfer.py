"""When a file on the card is believed to be the one that was sent."""

import io

import pytest

from polyhost.core.card import CardOrder
from polyhost.engine.card_transfer import Transfer


@pytest.mark.parametrize(
    ("size_bytes", "damaged", "whole"),
    [
        (4100, 0, True),
        (4200, 0, True),  # lines that end with two bytes
        (4150, 0, False),
        (4099, 5, False),
        (4100, 5, True),
        (4200, 1, True),  # one line cannot make up for a byte of each
        (4200, 2, False),
        (4138, 1, False),  # a line that came without its N is in it besides
        (None, 0, True),
        (None, 1, False),
    ],
)
def test_a_file_is_whole_or_it_is_not(size_bytes: int | None, damaged: int, whole: bool) -> None:
    transfer = Transfer(CardOrder("a.gcode", "/a.gcode", "A.GCO", 5000), io.BytesIO(), 0.0)
    transfer.fed, transfer.written_bytes = 100, 4000
    assert transfer.is_whole(size_bytes, damaged) is whole
