"""S5: names are data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.errors import Malformed
from polyhost.core.file import checked_name, checked_path, is_gcode


@pytest.mark.parametrize(
    "name",
    ["a.gcode", "a b ü.gcode", "-rf", "a..b.gcode", "Benchy (2).gcode", "日本.gcode", "console.gcode", "x" * 255],
)
def test_names_that_are_stored_as_given(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (".", "dot"),
        ("..", "dot"),
        (".hidden", "dot"),
        ("a/b", "contain /"),
        ("a\\b", r"contain / or \\"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\u202eb.gcode", "direction"),
        ("a\u2028b", "control"),
        ("\ud800", "Unicode"),
        ("CON", "reserved"),
        ("com1.gcode", "reserved"),
        ("a.gcode.", "end with a dot"),
        (" a.gcode", "start or end with a space"),
        ("ü" * 128, "256 bytes long; 255"),
    ],
)
def test_names_that_are_refused_and_why(name: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        checked_name(name)


def test_two_ways_to_write_the_same_letter_are_one_name() -> None:
    assert checked_name("u\u0308.gcode") == "\u00fc.gcode"


@pytest.mark.parametrize(
    ("path", "stored"), [("", ""), ("/", ""), ("a.gcode", "a.gcode"), ("/sub/a.gcode", "sub/a.gcode"), ("sub/", "sub")]
)
def test_paths(path: str, stored: str) -> None:
    assert checked_path(path) == stored


@pytest.mark.parametrize("path", ["../a", "a/../b", "a//b", "//a", "a/./b", "a/b//", "/".join("a" * 33)])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(Malformed):
        checked_path(path)


@given(st.text(max_size=300))
def test_a_name_is_refused_or_judged_the_same_twice(name: str) -> None:
    try:
        stored = checked_name(name)
    except Malformed:
        return
    assert checked_name(stored) == stored
    assert len(stored.encode()) <= 255
    assert "/" not in stored


@pytest.mark.parametrize(("name", "yes"), [("a.GCODE", True), ("a.gco", True), ("a.g", True), ("a.stl", False)])
def test_which_names_are_gcode(name: str, yes: bool) -> None:
    assert is_gcode(name) is yes
