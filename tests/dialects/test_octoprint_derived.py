"""Events that follow from commands: each command's, and what a whole batch makes."""

import pytest

from polyhost.core.events import ConsoleLine
from polyhost.core.printer import ToolPosition
from polyhost.dialects.octoprint.derived import Derived


def told(*lines: str, derived: Derived | None = None) -> list[tuple[str, object]]:
    """Of lines sent, and of those received, which begin with ``<``."""
    console = [ConsoleLine(0.0, not line.startswith("<"), line.lstrip("<")) for line in lines]
    return [(event.type, event.payload) for event in (derived or Derived()).heard(console)]


@pytest.mark.parametrize(
    ("line", "event"),
    [
        *(
            ("M0", "Waiting"),
            ("M1", "Waiting"),
            ("M226 P2 S1", "Waiting"),
            ("G4 P500", "Dwelling"),
            ("M245", "Cooling"),
        ),
        *(("M240", "Conveyor"), ("M40", "Eject"), ("M300 S440 P100", "Alert"), ("G28", "Home"), ("M112", "EStop")),
        *(("M80", "PowerOn"), ("M81", "PowerOff"), ("M600", "FilamentChange"), ("M701", "FilamentChange")),
        *(
            ("M702 U40", "FilamentChange"),
            ("N12 G28 X0*77", "Home"),
            ("N1 G028*4", "Home"),
            ("N5M600*1", "FilamentChange"),
        ),
    ],
)
def test_a_command_and_its_event(line: str, event: str) -> None:
    assert told(line) == [(event, None)]


@pytest.mark.parametrize(
    "line",
    [
        *("", "G1 X10", "M104 S200", "G38.2 Z-10", "G280", "M8", "M1000", "M117 G28", "; G28", "<ok", "<echo:G28", "g"),
        *(
            "G1 F300",
            "N7 M105*39",
            "G92 E0",
            "T",
            "Tx",
            "M117 Z5",
            "G",
            "\x00",
            "N",
            "N1*2",
            "T" + "9" * 5000,
            "<X:1.2.3 Y:4 Z:5",
            "<X:. Y:1 Z:1",
        ),
    ],
)
def test_other_lines_have_none(line: str) -> None:
    assert told(line) == []


def test_heights_are_told_when_they_change() -> None:
    assert told("G1 Z0.2", "G1 X1 Z.2", "G0 X5 Y5", "G1 Z0.4 F300", "G91", "G1 Z1", "G90", "G1Z0") == [
        ("ZChange", {"new": 0.2, "old": None}),
        ("ZChange", {"new": 0.4, "old": 0.2}),
        ("ZChange", {"new": 1.4, "old": 0.4}),
        ("ZChange", {"new": 0.0, "old": 1.4}),
    ]
    assert told("G91", "G1 Z1") == []  # from where, nobody knows
    assert told("G20", "G1 Z1") == [("ZChange", {"new": 25.4, "old": None})]
    assert told("G92 Z3", "G1 Z3") == []


def test_a_tool_is_told_with_the_one_before() -> None:
    assert told("T1", "N4 T0*9", "T10") == [
        ("ToolChange", {"old": 0, "new": 1}),
        ("ToolChange", {"old": 1, "new": 0}),
        ("ToolChange", {"old": 0, "new": 10}),
    ]


def test_a_position_that_is_told_is_told_on() -> None:
    [(event, where)] = told("<X:1.00 Y:-2.50 Z:0.30 E:12.00 Count X:80 Y:160 Z:120", derived=Derived(tool=1))
    assert event == "PositionUpdate"
    assert where == {"x": 1.0, "y": -2.5, "z": 0.3, "e": 12.0, "t": 1, "f": None, "reason": None}


def test_where_a_pause_was_is_told_once() -> None:
    derived = Derived()
    derived.told(ToolPosition(1.0, -2.5, 0.3))
    line = "X:1.00 Y:-2.50 Z:0.30 E:12.00 Count X:80 Y:160 Z:120"
    assert told("<" + line, derived=derived) == []
    assert [event for event, _ in told("<" + line, derived=derived)] == ["PositionUpdate"]  # asked again, told again


def test_state_lasts_from_batch_to_batch_and_ends_with_the_run() -> None:
    derived = Derived(z=0.4)
    assert told("G1 Z0.4", derived=derived) == []
    assert told("G1 Z0.6", derived=derived) == [("ZChange", {"new": 0.6, "old": 0.4})]
    derived.new_run()
    assert told("G1 Z0.6", derived=derived) == [("ZChange", {"new": 0.6, "old": None})]
