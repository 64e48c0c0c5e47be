"""The printer's table and its profile."""

import pytest

from polyhost.core.errors import NotNow
from polyhost.core.printer import PRINTER, PrinterProfile, PrinterSignal, PrinterState, advance_printer


def test_every_state_is_in_the_table() -> None:
    assert set(PRINTER) == set(PrinterState)


@pytest.mark.parametrize("state", [state for state in PrinterState if state is not PrinterState.OFFLINE])
def test_a_person_can_always_close_the_link(state: PrinterState) -> None:
    assert advance_printer(state, PrinterSignal.DISCONNECT) is PrinterState.OFFLINE


def test_a_fault_stays_until_a_person_reconnects_even_when_the_link_goes() -> None:
    assert advance_printer(PrinterState.FAULTED, PrinterSignal.LINK_LOST) is PrinterState.FAULTED
    assert advance_printer(PrinterState.FAULTED, PrinterSignal.CONNECT) is PrinterState.CONNECTING
    with pytest.raises(NotNow, match="faulted"):
        advance_printer(PrinterState.FAULTED, PrinterSignal.GREETED)


@pytest.mark.parametrize(
    ("profile", "heaters"),
    [
        (PrinterProfile(), ("tool0", "bed")),
        (PrinterProfile(extruders=2, heated_chamber=True), ("tool0", "tool1", "bed", "chamber")),
        (PrinterProfile(extruders=2, shared_nozzle=True, heated_bed=False), ("tool0",)),
    ],
)
def test_the_heaters_of_a_shape(profile: PrinterProfile, heaters: tuple[str, ...]) -> None:
    assert profile.heaters() == heaters


def test_each_heater_has_its_own_limit() -> None:
    profile = PrinterProfile(max_hotend=260, max_bed=110, max_chamber=60)
    assert [profile.max_target(h) for h in ("tool0", "tool1", "bed", "chamber")] == [260, 260, 110, 60]
