"""What is read of the kernel's files."""

from pathlib import Path

import pytest

from polyhost.services import computer
from polyhost.services.clock import SystemClock
from polyhost.services.computer import Computer


@pytest.mark.parametrize(
    ("said", "words"),
    [("0", ()), ("50005", ("Under-Voltage Detected", "Currently Throttled", "Previously Under-Volted"))],
)
def test_what_throttles_a_raspberry_pi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "throttled").write_text(said + "\n")
    (tmp_path / "thermal").write_text("51234\n")
    monkeypatch.setattr(computer, "_THROTTLED", tmp_path / "throttled")
    monkeypatch.setattr(computer, "_THERMAL", tmp_path / "thermal")
    vitals = Computer(SystemClock()).look()
    assert vitals.temperature == 51.234
    assert vitals.throttled is not None
    bits, flags = vitals.throttled
    assert bits == int(said, 16)
    assert set(words) <= set(flags)


def test_two_looks_at_once_are_one() -> None:
    here = Computer(SystemClock())
    assert here.look() is here.look()
    assert len(here.samples) == 1
