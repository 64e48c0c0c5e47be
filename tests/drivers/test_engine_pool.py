"""Engines and the host that starts them."""

import asyncio
from pathlib import Path

import psutil

from polyhost.config import Printer
from polyhost.core.events import ConsoleLines, DriverEvent
from polyhost.core.printer import Snapshot
from polyhost.drivers.engines import EnginePool


class Deaf:
    def heard(self, notice: Snapshot | ConsoleLines | DriverEvent) -> None: ...


def engines_below(folder: Path) -> list[psutil.Process]:
    def is_one(process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and str(folder) in " ".join(process.cmdline())
        except psutil.Error:
            return False

    return [process for process in psutil.Process().children() if is_one(process)]


async def test_an_engine_that_has_just_been_started_ends_with_its_host(tmp_path: Path) -> None:
    """It was met by nobody yet, and nobody would ever have ended it."""
    pool = EnginePool(tmp_path, Deaf(), lambda run: None)
    driver = pool.driver_for("one", Printer("one", "virtual"))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pool.run()), group.create_task(driver.run())]
        while not (started := engines_below(tmp_path)):
            await asyncio.sleep(0)
        assert not pool.processes()
        await pool.stop(cancel_runs=False)
        _, left = psutil.wait_procs(started, timeout=5)
        for task in tasks:
            task.cancel()
    assert not left
