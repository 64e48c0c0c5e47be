"""The driver contract, on a real pty with the simulated machine behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyhost.drivers.engine_driver import EngineDriver
from tests.drivers.card_contract import CardContract
from tests.drivers.contract import DriverContract
from tests.drivers.rigs import Ear, PtyPrinter, pool_in, ready, running, serial_settings


class SerialRig:
    def __init__(self, driver: EngineDriver, ear: Ear, printer: PtyPrinter) -> None:
        self.driver = driver
        self.ear = ear
        self.printer = printer

    async def misbehave(self, fault: str, argument: float = 0.0) -> None:
        await self.printer.tell(fault if fault in ("unplug", "replug") else f"fault {fault} {argument}")

    async def sent(self) -> list[str]:
        return await self.printer.executed()

    async def on_card(self, name: str) -> list[str] | None:
        card = (await self.printer.stats())["card"]
        assert isinstance(card, dict)
        return str(card[name]).splitlines()


class TestSerialDriver(DriverContract, CardContract):
    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[SerialRig]:
        ear = Ear()
        async with (
            PtyPrinter(tmp_path / "printer", "--speed", "300") as printer,
            pool_in(tmp_path / "data", ear) as pool,
        ):
            driver = pool.driver_for("mk3", serial_settings(printer.port))
            async with running(driver):
                await ready(driver, ear)
                yield SerialRig(driver, ear, printer)
