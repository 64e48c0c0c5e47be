"""A server to be killed: attaches to the engines of a data folder, starts a run if it is given one, and says so.

python stand_in.py DATA PORT [ORDER.json]
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from polyhost import config
from polyhost.core.events import ConsoleLines, DriverEvent
from polyhost.core.ports import RunOrder
from polyhost.core.printer import PrinterState, Snapshot
from polyhost.drivers.engines import EnginePool


class Ear:
    def __init__(self) -> None:
        self.news = asyncio.Event()

    def heard(self, notice: Snapshot | ConsoleLines | DriverEvent) -> None:
        self.news.set()


async def main() -> None:
    ear = Ear()
    pool = EnginePool(Path(sys.argv[1]), ear, lambda run: None)
    driver = pool.driver_for("mk3", config.Printer("mk3", "serial", port=sys.argv[2], baud=115200))
    async with asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        group.create_task(driver.run())
        while driver.snapshot.state is not PrinterState.READY:
            ear.news.clear()
            await ear.news.wait()
        if len(sys.argv) > 3:
            await driver.start(msgspec.json.decode(Path(sys.argv[3]).read_bytes(), type=RunOrder))
        run = driver.snapshot.run
        print(f"attached {run.lines if run is not None else 0}", flush=True)


asyncio.run(main())
