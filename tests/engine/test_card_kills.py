"""A machine's own card, with servers and engines that are killed while it is used (reliability, R8 and R9)."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from polyhost.core.errors import NotFound
from polyhost.core.job import RunState
from polyhost.core.printer import PrinterState
from polyhost.drivers.engines import EnginePool
from tests.drivers.card_contract import from_card, size_of, to_card
from tests.drivers.rigs import HEADER, Ear, PtyPrinter, moves, pool_in, ready, running, serial_settings
from tests.engine.test_kills import engine_of


async def test_a_print_from_the_card_ends_with_its_engine(tmp_path: Path) -> None:
    ear = Ear()
    slow = [*HEADER, *moves(20000, length_mm=20)]
    async with (
        PtyPrinter(tmp_path / "printer", "--speed", "300", "--no-reset") as printer,
        pool_in(tmp_path / "data", ear) as pool,
    ):
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with running(driver):
            await ready(driver, ear)
            await ear.until(lambda: driver.snapshot.sd_ready)
            await driver.send_to_card(to_card(tmp_path, "SLOW.GCO", slow))
            await ear.until(lambda: driver.snapshot.transfer is None and driver.snapshot.sd_ready)
            await driver.start(from_card("SLOW.GCO"))
            await ear.until(lambda: (run := driver.snapshot.run) is not None and run.file_bytes > 500)
            before = len(await printer.heard())
            os.kill(engine_of(pool), signal.SIGKILL)
            await ear.until(lambda: ear.ends, "the end of the run", 15)
            assert (ear.ends[0].run_id, ear.ends[0].state) == ("run-1", RunState.INTERRUPTED)
            await ready(driver, ear)
            await ear.until(lambda: not driver.snapshot.hot, "a cold printer", 15)
            after = [line for line in (await printer.heard())[before:] if not line.startswith(("G1", "M105", "M27"))]
            assert after[:5] == ["M108", "M25", "M26 S0", "M104 S0", "M140 S0"]
            assert (await printer.stats())["targets"] == {"tool0": 0.0, "bed": 0.0}
            done = len([line for line in await printer.heard() if line.startswith("G1")])
            await driver.send(["M400", "M117 still"])
            await ear.until(lambda: any("still" in line for line in ear.sent()))
            assert len([line for line in await printer.heard() if line.startswith("G1")]) == done
            with pytest.raises(NotFound, match="card"):
                await driver.resume_plan("run-1")


async def test_a_part_of_a_file_does_not_outlive_its_engine(tmp_path: Path) -> None:
    ear = Ear()
    async with (
        PtyPrinter(tmp_path / "printer", "--baud", "115200", "--no-reset") as printer,
        pool_in(tmp_path / "data", ear) as pool,
    ):
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with running(driver):
            await ready(driver, ear)
            await ear.until(lambda: driver.snapshot.sd_ready)
            await driver.send_to_card(to_card(tmp_path, "PART.GCO", moves(20000)))
            await ear.until(lambda: (t := driver.snapshot.transfer) is not None and t.sent_bytes > 1000)
            os.kill(engine_of(pool), signal.SIGKILL)
            await ear.until(lambda: driver.snapshot.state is PrinterState.UNREACHABLE)
            await ready(driver, ear)
            await ear.until(lambda: "M30 PART.GCO" in " ".join(ear.sent()), "the part deleted")
            await ear.until(lambda: driver.snapshot.sd_ready)
            await driver.refresh_card()
            assert (await printer.stats())["card"] == {}


async def test_a_file_goes_on_to_the_card_with_no_server(tmp_path: Path) -> None:
    commands = moves(1500)
    async with PtyPrinter(tmp_path / "printer", "--baud", "115200") as printer:
        ear = Ear()
        pool = EnginePool(tmp_path / "data", ear, ear.ended, ear.was_attached)
        first = asyncio.create_task(pool.run())
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with running(driver):
            await ready(driver, ear)
            await ear.until(lambda: driver.snapshot.sd_ready)
            await driver.send_to_card(to_card(tmp_path, "PART.GCO", commands))
            await ear.until(lambda: driver.snapshot.transfer is not None)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        again = Ear()
        async with pool_in(tmp_path / "data", again) as pool:
            driver = pool.driver_for("mk3", serial_settings(printer.port))
            async with running(driver):
                await again.until(lambda: again.attached)
                transfer = driver.snapshot.transfer
                assert transfer is not None, "it was over before it could be found"
                assert (transfer.name, transfer.path) == ("PART.GCO", "PART.GCO.gcode")
                await again.until(lambda: driver.snapshot.transfer is None)
                card = (await printer.stats())["card"]
                assert isinstance(card, dict)
                assert len(card["PART.GCO"]) == size_of(commands)
                assert card["PART.GCO"].splitlines() == commands
