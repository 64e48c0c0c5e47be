"""Names on a printer's own card."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.card import CardFile, card_name, found_on

THERE = (CardFile("CUBE.GCO", 1, "cube.gcode"), CardFile("/DIR/PART~1.GCO", 2, "part with a name.gcode"))


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("a.gcode", "A.GCO"),
        ("sub/a.gcode", "A.GCO"),
        ("a.g", "A.G"),
        ("a.gco", "A.GCO"),
        ("cube.gcode", "CUBE~1.GCO"),
        ("twelve chars.gcode", "TWELVE~1.GCO"),
        ("ünïcödé.gcode", "NCD.GCO"),
        ("日本.gcode", "FILE.GCO"),
        ("a.b.c.gcode", "ABC.GCO"),
    ],
)
def test_what_a_file_is_called_on_the_card(name: str, short: str) -> None:
    assert card_name(name, THERE) == short


@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda name: "/" not in name), max_size=40))
def test_no_two_files_get_one_name_and_each_is_8_3(names: list[str]) -> None:
    there: list[CardFile] = []
    for name in names:
        there.append(CardFile(card_name(f"{name}.gcode", there)))
    shorts = [file.name for file in there]
    assert len(set(shorts)) == len(shorts)
    for short in shorts:
        stem, _, suffix = short.partition(".")
        assert 1 <= len(stem) <= 8
        assert suffix == "GCO"
        assert short.isascii()


@pytest.mark.parametrize(
    ("name", "found"),
    [("cube.gco", 0), ("/CUBE.GCO", 0), ("Cube.gcode", 0), ("dir/part~1.gco", 1), ("Part with a name.gcode", 1)],
)
def test_a_file_is_found_by_either_name(name: str, found: int) -> None:
    assert found_on(THERE, name) is THERE[found]
    assert found_on(THERE, f"{name}x") is None
