"""What is sent of a file: targets raised and bounded, tools that are there, scripts around a change of tool."""

from collections.abc import Iterable, Mapping, Sequence

import pytest

from polyhost.core.errors import Malformed
from polyhost.core.handling import Handling, ScriptName
from polyhost.core.placeholders import Values
from polyhost.core.printer import PrinterProfile
from polyhost.engine.intake import Intake, taken_from_person
from polyhost.engine.points import commands_of
from polyhost.gcode.vetting import refusal_of

BY = {"tool0": 10.0, "tool1": -5.0, "bed": 2.5}
TWO = Handling(PrinterProfile(extruders=2, heated_chamber=True))
WITH_SCRIPTS = Handling(
    PrinterProfile(extruders=3),
    before_tool_change=("M117 T{old} to T{new}", "G1 X{x}"),
    after_tool_change=("M117 T{new} at last",),
)


class Owner:
    def __init__(self, offsets: Mapping[str, float] = BY, handling: Handling = TWO) -> None:
        self.offsets = offsets
        self.handling = handling
        self.left_out: list[tuple[str, str]] = []
        self.heard: list[str] = []
        self.ran: list[tuple[ScriptName, bool]] = []

    def values(self) -> Values:
        return {"x": None}

    def lines_of(self, script: Iterable[str], values: Values) -> list[bytes]:
        return commands_of(script, values)

    def script_ran(self, script: ScriptName, *, finished: bool) -> None:
        self.ran.append((script, finished))

    def suppressed(self, command: bytes, reason: str) -> None:
        self.left_out.append((command.decode(), reason))

    def at_command(self, command: bytes) -> None:
        self.heard.append(command.decode())


def taken(intake: Intake, *lines: bytes, start: int = 0) -> tuple[Sequence[bytes], Sequence[int]]:
    """Every line is ten bytes long."""
    return intake.taken(lines, [start + 10 * n for n in range(1, len(lines) + 1)], start, b"\n".join(lines))


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
    assert list(taken(Intake(Owner()), line)[0]) == [sent]


def test_a_target_without_a_tool_is_for_the_one_selected_batches_ago() -> None:
    intake = Intake(Owner())
    assert taken(intake, b"G28", b"T1") == ([b"G28", b"T1"], [10, 20])
    assert taken(intake, b"M104 S200", b"T0", b"M104 S200")[0] == [b"M104 S195", b"T0", b"M104 S210"]


def test_without_offsets_the_lines_are_the_files_own() -> None:
    assert taken(Intake(Owner({})), b"M104 S200", b"G1 X1")[0] == [b"M104 S200", b"G1 X1"]


def test_an_offset_raises_no_target_beyond_the_profile() -> None:
    assert taken(Intake(Owner()), b"M104 S295")[0] == [b"M104 S300"]


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"M104 S301",
            b"M109 R300.5",
            b"m104 s999",
            b"M 104 S 301",
            b"N5 M104 S301*12",
            b"M0104 T1 S400",
            b"M104 S+400",
        ),
        *(b"M140 S131", b"M190 R131", b"M141 S91", b"M191 S91", b"M303 E0 S400 C8", b"M303 E-1 S200", b"M109 S20 R400"),
    ],
)
def test_a_target_that_the_machine_must_not_have_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed, match="may be heated to"):
        taken(Intake(Owner()), b"G28", line)
    assert "may be heated to" in refusal_of(["G28", line.decode()], TWO.profile)


@pytest.mark.parametrize("line", ["M104 S300", "M140 S130", "M303 E-1 S100", "M117 M104 S999", "G1 S999", "M1040 S999"])
def test_other_commands_are_not_refused(line: str) -> None:
    assert refusal_of([line], TWO.profile) == ""


def test_a_tool_that_is_not_there_is_left_out_and_said_so() -> None:
    owner = Owner()
    assert taken(Intake(owner), b"G28", b"T2", b"M104 T7 S200", b"T?", b"G1") == ([b"G28", b"T?", b"G1"], [30, 40, 50])
    assert [command for command, _ in owner.left_out] == ["T2", "M104 T7 S200"]
    assert "no tool 2: the profile has 2" in owner.left_out[0][1]


def test_scripts_stand_around_a_change_of_tool() -> None:
    owner = Owner({}, WITH_SCRIPTS)
    lines, ends = taken(Intake(owner, 1), b"G28", b"T1", b"T2", b"G1", start=100)
    assert lines == [b"G28", b"T1", b"M117 T1 to T2", b"T2", b"M117 T2 at last", b"G1"]
    assert ends == [110, 120, 120, 120, 130, 140]  # an interrupted run does all of the change again
    assert owner.ran == [
        *((ScriptName.BEFORE_TOOL_CHANGE, over) for over in (False, True)),
        *((ScriptName.AFTER_TOOL_CHANGE, over) for over in (False, True)),
    ]


def test_what_a_person_sends_is_sent_as_it_is_but_for_tools() -> None:
    owner = Owner(BY, WITH_SCRIPTS)
    assert taken_from_person([b"M104 S200", b"T0", b"T9", b"T2"], 0, owner) == [
        *(b"M104 S200", b"T0", b"M117 T0 to T2", b"T2", b"M117 T2 at last"),
    ]
    assert [command for command, _ in owner.left_out] == ["T9"]


def test_at_commands_are_heard_and_never_sent() -> None:
    owner = Owner()
    assert taken(Intake(owner), b"@OBJECT cube", b"G28", b"@TIMELAPSE STOP") == ([b"G28"], [30])
    assert owner.heard == ["@OBJECT cube", "@TIMELAPSE STOP"]


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b"EXCLUDE_OBJECT_START NAME=cube", []),
        (b"EXCLUDE_OBJECT_DEFINE NAME=cube POLYGON=[[" + b"1,2],[" * 50 + b"]]", []),
        (b"SET_PRINT_STATS_INFO CURRENT_LAYER=3", []),
        (b"TIMELAPSE_TAKE_FRAME", []),
        (b"SET_VELOCITY_LIMIT ACCEL=3000 SQUARE_CORNER_VELOCITY=5", [b"M204 P3000 T3000", b"M205 X5 Y5"]),
        (b"set_velocity_limit velocity=150", [b"M203 X150 Y150"]),
        (b"SET_VELOCITY_LIMIT ACCEL_TO_DECEL=1500", []),
        (b"SET_PRESSURE_ADVANCE ADVANCE=0.045 EXTRUDER=extruder", [b"M900 K0.045"]),
        (b"START_PRINT " + b"A" * 90 + b"=1", []),
    ],
)
def test_what_is_for_klipper_is_left_out_or_said_in_marlins_words(line: bytes, sent: list[bytes]) -> None:
    owner = Owner()
    lines, ends = taken(Intake(owner), b"G28", line, line, b"G1 X1")
    assert lines == [b"G28", *sent, *sent, b"G1 X1"]
    assert ends[-1] == 40
    assert [command for command, _ in owner.left_out] == [line[:200].decode()]


def test_what_the_firmware_may_know_is_sent_as_it_is() -> None:
    owner = Owner()
    lines = [b"START_PRINT BED=60", b"PRINT_END", b"_CLIENT_X", b"M117 " + b"Layer " * 20, b"G1 X1"]
    text, _ = taken(Intake(owner), *lines)
    assert text == [*lines[:3], (b"M117 " + b"Layer " * 20)[:83].rstrip(), b"G1 X1"]
    assert owner.left_out == []
