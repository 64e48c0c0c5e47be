"""Modes put aside and babysteps, pauses at layers: who may, and what is kept."""

from pathlib import Path

import pytest

from polyhost.core.errors import Malformed, NotAllowed, NotNow
from polyhost.gcode.modal import ModalState
from tests.services.world import OPERATOR, VIEWER
from tests.web.hosting import hosted


async def test_babysteps_are_bounded_and_for_those_who_may(tmp_path: Path) -> None:
    async with hosted(tmp_path) as one:
        p, tuning = one.host.printers.default(), one.host.tuning
        with pytest.raises(NotAllowed):
            await tuning.move_z(p, 0.1, VIEWER)
        for far in (10.1, -11.0, float("nan"), float("inf")):
            with pytest.raises(Malformed):
                await tuning.move_z(p, far, OPERATOR)
        await tuning.move_z(p, 0.00001, OPERATOR)  # nothing that could be told
        assert one.machine.sent == []
        await tuning.move_z_to(p, -0.2, OPERATOR)
        assert tuning.z_offset(p) == -0.2
        one.machine.say(z_offset=-0.15)  # what its holder says counts
        assert tuning.z_offset(p) == -0.15


async def test_what_is_put_aside_is_a_copy(tmp_path: Path) -> None:
    async with hosted(tmp_path) as one:
        p, modes = one.host.printers.default(), ModalState(x=1.0)
        one.host.tuning.put_aside(p, "a", modes)
        modes.x = 2.0
        assert one.host.tuning.taken_up(p, "a").x == 1.0
        with pytest.raises(Malformed):
            one.host.tuning.put_aside(p, "n" * 65, modes)


async def test_a_pause_at_a_layer_is_for_those_who_print(tmp_path: Path) -> None:
    async with hosted(tmp_path) as one:
        p, layers = one.host.printers.default(), one.host.layers
        with pytest.raises(NotAllowed):
            layers.pause_at(p, 3, VIEWER)
        with pytest.raises(NotNow):
            layers.pause_next(p, True, OPERATOR)
        layers.pause_at(p, 3, OPERATOR)
        assert layers.get(p).pause_at == 3
        layers.pause_at(p, None, OPERATOR)
        assert layers.get(p).pause_at is None
