"""What the engine's journal keeps of a machine, and the way back from it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.gcode.modal import ModalState, heating, resume_script


def after(*commands: str) -> ModalState:
    state = ModalState()
    state.advance(command.encode() for command in commands)
    return state


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (["G1 X1 Y2 Z3 E4 F600"], {"x": 1.0, "y": 2.0, "z": 3.0, "e": 4.0, "feedrate_mm_s": 10.0}),
        (["G1X1Y-2.5"], {"x": 1.0, "y": -2.5}),
        (["g1 x.5 Y+2"], {"x": 0.5, "y": 2.0}),
        (["N12 G1 X5*71"], {"x": 5.0}),
        (["G01 X5"], {"x": 5.0}),
        (["G91", "G1 X1 E1", "G1 X1 E1"], {"x": 2.0, "e": 2.0, "absolute": False}),
        (["M83", "G1 X1 E1", "G1 X1 E1"], {"x": 1.0, "e": 2.0}),
        (["G20", "G1 X1 F60", "G21", "G1 Y1"], {"x": 25.4, "y": 1.0, "feedrate_mm_s": 25.4}),
        (["G28", "G1 X10", "G92 X2 E9", "G1 X3"], {"x": 3.0, "shift_x": 8.0, "e": 9.0}),
        (["G28", "G1 X10 Y5 Z2", "G92"], {"x": 0.0, "shift_x": 10.0, "shift_z": 2.0}),
        (["G28", "G1 X10", "G92 X2", "G28 X"], {"x": 0.0, "shift_x": 0.0, "homed": "XYZ"}),
        (["G1 Z5", "G92 Z2"], {"z": 2.0, "shift_z": 0.0}),
        (["G28 W"], {"homed": "XYZ"}),
        (["G28", "M84"], {"homed": ""}),
        (["G28", "M84 S60"], {"homed": "XYZ"}),
        (["G3 X5 Y6 I1 J1 E2"], {"x": 5.0, "y": 6.0, "e": 2.0}),
        (["G10"], {"retracted": True}),
        (["G10", "G11"], {"retracted": False}),
        (["G10 P1 S200"], {"retracted": False}),
        (
            ["M104 S210", "M109 T1 R190", "M140 S60", "M191 S45"],
            {"hotends": {0: 210.0, 1: 190.0}, "bed": 60.0, "chamber": 45.0},
        ),
        (["T1", "M104 S210", "M190 R70"], {"hotends": {1: 210.0}, "tool": 1, "bed": 70.0}),
        (["M104 S210", "M109"], {"hotends": {0: 210.0}}),
        (["M106 S127.5"], {"fan": 0.5}),
        (["M106"], {"fan": 1.0}),
        (["M106 S255", "M106 P1 S0", "M107 P1"], {"fan": 1.0}),
        (["M106 S255", "M107"], {"fan": 0.0}),
        (["M220 S50", "M221 S95"], {"speed_factor": 0.5, "flow_factor": 0.95}),
        (["M204 P800 T1000", "M204 P500"], {"settings": {"M204": {"P": "500", "T": "1000"}}}),
        (["G1 Xnan", "G1 X" + "9" * 400, "T99999999", "M104 T-3 S200", "", "%$&"], {}),
    ],
)
def test_what_commands_leave_behind(commands: list[str], expected: dict[str, object]) -> None:
    state = after(*commands)
    for name, value in expected.items():
        assert getattr(state, name) == (pytest.approx(value) if isinstance(value, float) else value)
    if not expected:
        assert state == ModalState()


@given(
    st.lists(
        st.one_of(st.binary(max_size=20), st.from_regex(rb"[GMT]\d{1,3}( [A-Z][-\d.e]{0,6}){0,4}", fullmatch=True))
    )
)
def test_any_commands_leave_a_state_that_a_journal_can_hold(commands: list[bytes]) -> None:
    state = ModalState()
    state.advance(commands)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ModalState) == state
    assert msgspec.json.decode(msgspec.json.encode(state), type=ModalState) == state
    script, doubts = resume_script(state)
    assert "nan" not in " ".join(script)
    assert doubts


def test_a_copy_stays_as_it_was() -> None:
    state = after("M104 S200", "M204 P500")
    copy = state.copy()
    state.advance([b"M104 S0", b"M204 P100", b"G1 X9"])
    assert (copy.hotends, copy.settings, copy.x) == ({0: 200.0}, {"M204": {"P": "500"}}, 0.0)


@pytest.mark.parametrize(
    "command",
    [
        *["M104 S200", "M109 R180", "M140 S60", "M190 R60", "M141 S40", "M191 S40", "M303 E0 C8", "m104 s200"],
        *["M104S200", "M104 T1 S200", "M0104 S0200", "N5 M104 S200*33", "M104 S0.5", "M104 I2"],
    ],
)
def test_a_heater_told_on_is_noticed(command: str) -> None:
    assert heating([b"G1 X1", command.encode(), b"G1 X2"])


@pytest.mark.parametrize(
    "command", ["M104 S0", "M140 S0.0", "M109 R0", "M105", "M1040 S5", "M104", "G1 X104", "M106 S255"]
)
def test_what_heats_nothing_is_let_pass(command: str) -> None:
    assert not heating([b"G1 X1", command.encode(), b"G1 X2 S5"])


def assert_alike(resumed: ModalState, before: ModalState) -> None:
    """The same in all but how X, Y and Z came to be known, and which way the filament went."""
    for name in ModalState.__struct_fields__:
        if name not in {"homed", "pushed", "pulled"}:
            value = getattr(before, name)
            assert getattr(resumed, name) == (pytest.approx(value) if isinstance(value, float) else value), name


def test_a_resume_script_leads_back() -> None:
    """Whatever the state was, a machine that carries the script out is in it."""
    before = after(
        *["M140 S60", "M104 T0 S210", "M104 T1 S190", "M190 S60", "T1", "M109 S190", "G28", "M204 P500", "M83"],
        *["G1 X50 Y60 Z5.2 F3000", "G92 X0", "G1 X10 E2 F1800", "M106 S128", "M220 S80", "G10"],
    )
    script, doubts = resume_script(before)
    resumed = after(*script)
    assert_alike(resumed, before)
    assert not any("G28" in line and "Z" in line for line in script)
    assert script.index("M190 S60") < script.index("M109 S190") < script.index("G28 X Y")
    assert any("homed" in doubt for doubt in doubts)


@pytest.mark.parametrize("mode", [[], ["G91"], ["G20"], ["G20", "G91"], ["M83"]])
def test_a_resume_script_restores_the_modes(mode: list[str]) -> None:
    before = after("G28", "G1 X50 Y60 Z5.2 E3 F3000", *mode, "G1 X1 Y2 E1")
    resumed = after(*resume_script(before)[0])
    assert_alike(resumed, before)
