"""The off list, modes set again, time by layers: rules that need no machine."""

import pytest

from polyhost.core.file import LayerIndex
from polyhost.core.printer import Temperature
from polyhost.engine.heaters import all_off, heat_list, off_list
from polyhost.engine.layer_times import time_at
from polyhost.engine.messages import MachineSettings, VirtualLink
from polyhost.engine.points import again
from polyhost.gcode.modal import ModalState


def test_the_modes_that_a_file_counts_on_are_set_again() -> None:
    relative = ModalState(absolute=False, extruder_absolute=False, feedrate_mm_s=30.0, e=5.0)
    assert again(relative) == [b"G91", b"M83", b"G1 F1800"]
    assert again(ModalState(e=12.5)) == [b"G90", b"M82", b"G92 E12.50000"]


@pytest.mark.parametrize(
    ("tools", "bed", "chamber", "commands"),
    [
        (1, True, False, (b"M104 S0", b"M140 S0")),
        (2, True, True, (b"M104 T0 S0", b"M104 T1 S0", b"M140 S0", b"M141 S0")),
        (1, False, False, (b"M104 S0",)),
    ],
)
def test_the_off_list_names_every_heater(tools: int, bed: bool, chamber: bool, commands: tuple[bytes, ...]) -> None:
    machine = MachineSettings(VirtualLink(), tools=tools, heated_bed=bed, heated_chamber=chamber)
    assert off_list(machine) == commands


def test_what_was_switched_off_is_heated_all_at_once_and_then_waited_for() -> None:
    targets = {"tool0": 210.0, "tool1": 0.0, "bed": 60.0, "chamber": 0.0}
    assert heat_list(targets, 0) == (b"M140 S60", b"M104 T0 S210", b"M190 S60", b"M109 T0 S210")
    assert heat_list({"tool0": 210.0, "tool1": 190.5}, 1)[-3:] == (b"M109 T0 S210", b"M109 T1 S190.5", b"T1")
    assert heat_list({}, 0) == ()


def test_a_printer_that_says_nothing_is_not_believed_cold() -> None:
    assert not all_off({})
    assert not all_off({"tool0": Temperature(25.0)})
    assert not all_off({"tool0": Temperature(25.0, 0.0), "bed": Temperature(60.0, 60.0)})
    assert all_off({"tool0": Temperature(25.0, 0.0), "bed": Temperature(60.0, 0.0)})


@pytest.mark.parametrize(
    ("at", "seconds"), [(0, 0.0), (50, 5.0), (100, 10.0), (150, 25.0), (200, 40.0), (300, 70.0), (400, 100.0)]
)
def test_planned_time_is_spread_over_the_bytes_of_a_layer(at: int, seconds: float) -> None:
    layers = LayerIndex((100, 200), (0.2, 0.4), (10.0, 40.0), 100.0)
    assert time_at(layers, at, 400) == pytest.approx(seconds)
