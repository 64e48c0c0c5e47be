"""The driver contract, on the simulator in memory."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyhost import config
from polyhost.core.errors import NotFound
from polyhost.core.handling import Handling
from polyhost.core.ports import LinkSettings
from polyhost.core.printer import PrinterProfile
from polyhost.drivers.virtual import VirtualDriver
from polyhost.engine.messages import VirtualLink
from tests.drivers.card_contract import CardContract
from tests.drivers.contract import DriverContract
from tests.drivers.rigs import QUESTIONS, Ear, pool_in, ready, running

_FRAME = re.compile(r"N(\d+) (.*)\*\d+$")


class VirtualRig:
    def __init__(self, driver: VirtualDriver, ear: Ear) -> None:
        self.driver = driver
        self.ear = ear

    async def misbehave(self, fault: str, argument: float = 0.0) -> None:
        if fault != "replug":  # the virtual link is plugged in again by being opened
            await self.driver.misbehave(fault, argument)

    async def sent(self) -> list[str]:
        commands = [found[2] if (found := _FRAME.match(line)) else line for line in self.ear.sent()]
        return [command for command in commands if not command.startswith(QUESTIONS)]

    async def on_card(self, name: str) -> list[str] | None:
        return None


class TestVirtualDriver(DriverContract, CardContract):
    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[VirtualRig]:
        ear = Ear()
        async with pool_in(tmp_path / "data", ear) as pool:
            driver = pool.driver_for("one", config.Printer("one", "virtual", speed=300))
            assert isinstance(driver, VirtualDriver)
            async with running(driver):
                await ready(driver, ear)
                yield VirtualRig(driver, ear)

    async def test_an_unknown_fault_names_those_that_are(self, rig: VirtualRig) -> None:
        with pytest.raises(NotFound, match="thermal"):
            await rig.misbehave("bad luck")

    async def test_the_machine_has_the_shape_of_its_profile_from_the_next_connect(self, rig: VirtualRig) -> None:
        profile = PrinterProfile(extruders=2, heated_chamber=True)
        await rig.driver.configure(Handling(profile))
        await rig.driver.connect()
        await rig.ear.until(lambda: {"tool0", "tool1", "chamber"} <= rig.driver.snapshot.heaters.keys())

    async def test_what_is_set_of_the_link_is_told_to_who_holds_it(self, rig: VirtualRig) -> None:
        await rig.driver.relink(LinkSettings(autoconnect=False, window_lines=3, speed=200.0))
        machine = rig.driver.machine
        assert (machine.autoconnect, machine.window_lines) == (False, 3)
        assert machine.link == VirtualLink(200.0)
        await rig.driver.connect()
        await ready(rig.driver, rig.ear)
