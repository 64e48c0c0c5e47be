"""What a script's line becomes when it is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.placeholders import Term, filled

VALUES = {
    "x": 10.5,
    "y": 20.0,
    "z": 0.2,
    "e": None,
    "f": 1800.0,
    "tool": 1,
    "fan": 128,
    "port": "/dev/tty",
    "last_z": 5.0,
}


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("G28", "G28"),
        ("G1 X{x} Y{y} F{f}", "G1 X10.5 Y20 F1800"),
        ("G1 Z{z+10} Z{last_z}", "G1 Z10.2 Z5"),
        ("G1 X{x*-2-1.5} X{x:0} X{x*100000000}", "G1 X-22.5 X10 X1050000000"),
        ("G92 E{e}", None),
        ("G92 E{e|0}", "G92 E0"),
        ("G92 E{e*2+1|-3.5}", "G92 E-3.5"),
        ("M117 {port}", "M117 /dev/tty"),
        ("M117 {who} is {} here", "M117 {who} is {} here"),
        ("M104 S{target3}", None),
        ("{?z<0.3}G28", "G28"),
        ("{?-z<0.3}G28", None),
        ("{?x>=10.5&y=20&-fan>128}G1 X{x}", "G1 X10.5"),
        ("{?e!}G28", None),
        ("{?-e!}G28", "G28"),
        ("{?e>0}G28", None),  # no comparison with what is not known holds
        ("{?-e>0}G28", "G28"),
        ("{?nonsense}G28", None),
    ],
)
def test_a_line_is_filled_or_left_out(line: str, sent: str | None) -> None:
    assert filled(line, VALUES) == sent


@given(
    st.floats(-1e6, 1e6),
    st.floats(-1e4, 1e4).map(lambda x: round(x, 5)),
    st.floats(-100, 100).map(lambda x: round(x, 5)),
)
def test_a_term_says_what_it_is(value: float, offset: float, scale: float) -> None:
    text = filled(f"{{{Term('x', scale, offset)}}}", {"x": value})
    assert text is not None
    assert float(text) == pytest.approx(value * scale + offset, abs=1e-4)


@given(st.text(max_size=60))
def test_no_line_breaks_it(line: str) -> None:
    filled(line, VALUES)
