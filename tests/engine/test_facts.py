"""What a machine says of itself, and what it is told, as a snapshot shows it."""

import pytest

from polyhost.core.printer import MotionLimits, PrinterProfile, Retraction
from polyhost.engine.facts import Facts
from polyhost.gcode.modal import ModalState

PROFILE = PrinterProfile()


def heard(*lines: str) -> Facts:
    facts = Facts()
    for line in lines:
        facts.hear(line, PROFILE)
    return facts


def told(*lines: str) -> ModalState:
    modal = ModalState()
    modal.advance(line.encode() for line in lines)
    return modal


M503 = (
    "echo:  M203 X300.00 Y250.00 Z12.00 E120.00",
    "echo:  M201 X1500.00 Y1400.00 Z200.00 E5000.00",
    "echo:  M204 P1250.00 R1000.00 T1100.00",
    "echo:  M205 B20000.00 S0.00 T0.00 X8.00 Y9.00 Z0.40 E4.50",
    "echo:  M207 S3.00 W13.00 F2700.00 Z0.20",
    "echo:  M208 S0.10 W0.00 F480.00",
)


def test_nothing_is_known_of_a_machine_that_says_nothing() -> None:
    facts, modal = heard("echo:busy doing nothing"), told()
    assert facts.limits(modal) == MotionLimits()
    assert (facts.retraction(modal), facts.mesh, facts.filament) == (None, None, {})


def test_limits_are_what_was_said_and_told_since() -> None:
    facts = heard(*M503)
    assert facts.limits(told()) == MotionLimits(250.0, 1250.0, 12.0, 200.0, 8.0)
    assert facts.limits(told("M204 S900", "M203 Z5 X100")).velocity == 100.0
    after = facts.limits(told("M204 P900", "M203 Z5"))
    assert (after.acceleration, after.z_velocity, after.velocity) == (900.0, 5.0, 250.0)
    assert facts.limits(told("M205 J0.02", "M204 P1000")).corner_velocity == pytest.approx(6.9489, abs=1e-3)


def test_retraction_is_what_was_said_and_told_since() -> None:
    facts = heard(*M503)
    assert facts.retraction(told()) == Retraction(3.0, 45.0, 0.1, 8.0, 0.2)
    assert facts.retraction(told("M207 S1.5 F1800")) == Retraction(1.5, 30.0, 0.1, 8.0, 0.2)


def test_a_mesh_is_used_as_far_as_the_machine_says() -> None:
    facts = heard("Bilinear Leveling Grid:", " 0 +0.1 +0.2", " 1 +0.3 +0.4", "echo:Bed Leveling OFF")
    assert facts.mesh is not None
    assert (facts.mesh.max_x, facts.mesh.heights, facts.mesh.used) == (200.0, ((0.1, 0.2), (0.3, 0.4)), False)
    facts.hear("echo:Bed Leveling ON", PROFILE)
    assert facts.mesh.used


def test_filament_sensors() -> None:
    facts = heard("echo:Filament runout ON")
    assert facts.filament == {"filament": True}
    facts.hear_action("paused", "filament_runout 0")
    assert facts.filament == {"filament": False}
    facts.hear_action("resumed", "")
    assert facts.filament == {"filament": True}
    facts.hear("filament: open", PROFILE)
    assert facts.filament == {"filament": False}
    assert facts.filament_watched
    facts.hear("echo:Filament runout OFF", PROFILE)
    assert (facts.filament, facts.filament_watched) == ({"filament": False}, False), (
        "who switched it off may switch it on"
    )
    facts.hear("echo:  M412 S1", PROFILE)
    assert (facts.filament, facts.filament_watched) == ({"filament": False}, True)
    assert heard("echo:Filament runout OFF").filament == {}, "nobody knows of a sensor"


def test_what_a_file_tells_a_machine() -> None:
    modal = told("M117 Layer 3 of 9", "M73 P25 R10", "M290 Z0.05", "M290 Z-0.02", "M206 Z1", "M851 Z-2")
    assert (modal.message, modal.told_progress, modal.z_offset) == ("Layer 3 of 9", 0.25, pytest.approx(0.03))
    modal.advance([b"M117"])
    assert modal.message == ""


def test_filament_is_counted_less_what_was_pulled_back() -> None:
    modal = told("M83", "G1 X1 E5", "G1 E-2", "M82", "G92 E0", "G1 X2 E3", "G1 E2.5")
    assert (modal.pushed, modal.pulled) == (pytest.approx(5.5), pytest.approx(0.5))
    modal.advance([b"T1", b"G1 E1.5"])
    assert (modal.pulled, modal.parked) == (pytest.approx(1.0), {0: pytest.approx(0.5)})
    modal.advance([b"T0"])
    assert (modal.pulled, modal.parked) == (pytest.approx(0.5), {1: pytest.approx(1.0)})
