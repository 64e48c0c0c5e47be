"""Clients' regular expressions: they find what `re` finds, in time that no client can stretch."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.errors import Malformed
from polyhost.web import patterns as module
from polyhost.web.patterns import Pattern

WELL_MADE = (
    *("", "a*b", "^Recv: T:", "(a|b)+c$", r"\bT0\b", "[^a-c]x{2,3}", "a{0}b", "x?", "(?i)send", "a{2,}", "[]a]", "a|"),
    *(
        "(?:ab)*?c",
        "{x}",
        r"\d+\.\d",
        r"[a-z.-]+",
        r"[a\-z]",
        "(?P<word>a)b",
        r"\x41",
        r"\Aab",
        r"\Bb",
        "a{2}",
    ),
    *("^(Send|Recv): .*M1?17", r"[äöü]\s", "(?i)[A-C]+1", "a.c", r"\.", "()", "(a|)b", "^$", "[^x]", r"\S+ü"),
)
LINES = (
    *("", "abc", "aabb", "Recv: T:20", "send", "SEND it", "T0", "xT0", "x T0 y", "xxx", "zxx", "ababc", "12.5", "{x}"),
    *("b", "a-z", "]", "Send: M117 hü", "ü ", "A", "x\ny", "a\nc", "ab", "\u0661", "\u2003", "BA1"),
)


@pytest.mark.parametrize("text", WELL_MADE)
def test_it_finds_what_re_finds(text: str) -> None:
    pattern = Pattern(text)
    wrong = [line for line in LINES if pattern.is_in(line) != bool(re.search(text, line))]
    assert wrong == []
    assert pattern == Pattern(text)
    assert hash(pattern) == hash(Pattern(text))


atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\b", "^", "$", "(a|b)", "(?:ab|c)", "x"])
pieces = st.builds(
    lambda atom, count: atom + count if atom[-1] not in "^$b" or atom == "b" else atom,
    atoms,
    st.sampled_from(["", "*", "+", "?", "{2}", "{1,2}", "*?"]),
)
patterns = st.lists(pieces, max_size=6).map("".join)


@given(patterns, st.text("abcx1 ", max_size=12))
def test_any_pattern_finds_what_re_finds(text: str, line: str) -> None:
    assert Pattern(text).is_in(line) == bool(re.search(text, line))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "(",
            "a)",
            "(?=x)",
            "(?!x)",
            "(?<=x)",
            "(?P=n)",
            "a**",
            "a*+",
            "[a",
            r"\1",
            r"\q",
            "*a",
            "|*",
        ),
        *(
            "a{3,2}",
            "(a{99}){99}",
            r"(?i)(\pL?){900}",
            "x" * 201,
            "ü" * 101,
            "[z-a]",
            "\\",
            r"\x4",
            "\ud800",
        ),
        *("(((a{20}){20}){20}){20}", "[]", "(?P<n"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Pattern(text)


def test_without_the_package_every_pattern_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "re2", None)
    with pytest.raises(Malformed, match="lacks the package google-re2"):
        Pattern("Recv")


def test_a_line_of_any_characters_is_searched() -> None:
    assert Pattern("b$").is_in("a\ud800b")
    assert Pattern("^Wärme: [0-9]+°").is_in("Wärme: 20°C")


@given(st.text("()[]{}|*+?\\^$.-ab0,:P<>=i", max_size=40))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        pattern = Pattern(text)
    except Malformed:
        return
    pattern.is_in("ab0")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("(a+)+$", "a" * 20_000 + "b"),
        ("(a|a)*b", "a" * 20_000),
        ("(.*)(.*)(.*)(.*)(.*)x", "y" * 20_000),
        ("(x|y)*x(x|y){60}z", "xyyxyxxxyxyyyx" * 2_000),
        ("(a?){90}a{90}", "a" * 5_000 + "b"),
        (".*a.{900}b$", "ab" * 2_000),
        ("(((a?b?){30}){30})x", "ab" * 2_000),
    ],
)
def test_no_pattern_takes_long(text: str, line: str) -> None:
    began = time.process_time()
    Pattern(text).is_in(line)
    assert time.process_time() - began < 1  # a backtracking engine would need years
