"""A whole host in this process, with an engine of its own and a virtual printer, for captures to be replayed on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from polyhost.app import App
from polyhost.config import Config, Doors
from polyhost.config import Printer as PrinterSettings
from polyhost.core.events import PrinterStateChanged
from polyhost.core.printer import PrinterProfile, PrinterState
from polyhost.core.user import Role
from polyhost.services.accounts import LOCAL
from polyhost.web.listening import listen
from tests.captures.machines import PASSWORDS, SPEED, Machine

ROLES = {"operator": Role.OPERATOR, "reader": Role.VIEWER}
STRANGER = "0123456789ABCDEF0123456789ABCDEF"


@contextlib.asynccontextmanager
async def polyhost(data: Path, machine: Machine) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A running host: its URL, and the key of each caller."""
    profile = PrinterProfile(
        name="Default",
        extruders=machine.extruders,
        extruder_offsets=((0.0, 0.0),) * machine.extruders,
        heated_chamber=machine.chamber,
    )
    printer = PrinterSettings("one", "virtual", speed=SPEED, autoconnect=machine.connected, profile=profile)
    settings = Config(doors=Doors(0, 0), printers=(printer,))
    listening = listen("127.0.0.1", 0)
    app = await App.open(settings, data, listening)
    try:
        keys = await _keys(app)
        running = asyncio.create_task(app.run(cancel_runs=True))
        await app.started.wait()
        try:
            if machine.connected:
                await _ready(app)
            yield app.url, keys
        finally:
            app.stop()
            await running
    finally:
        listening.close()
        # Its engine is a child of this process, which outlives the server and has to see it end.
        await asyncio.to_thread(psutil.wait_procs, psutil.Process().children(), 20)


async def _ready(app: App) -> None:
    with app.host.bus.listen(PrinterStateChanged) as changes:
        while app.host.printers.get("one").snapshot.state is not PrinterState.READY:
            await asyncio.wait_for(anext(changes), 20)


async def _keys(app: App) -> dict[str, str]:
    accounts = app.host.accounts
    await accounts.first_administrator("admin", PASSWORDS["admin"])
    for name, role in ROLES.items():
        await accounts.add_user(name, role, PASSWORDS[name], LOCAL)
    keys = {"guest": "", "stranger": STRANGER}
    for name in PASSWORDS:
        keys[name] = (await accounts.add_key(name, None, "", (), None, LOCAL))[1]
    return keys
