from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyhost.config import Printer as PrinterSettings
from polyhost.services.accounts import LOCAL
from tests.web.hosting import Hosted, hosted


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    """A host with one printer, connected, and a key for each role."""
    async with hosted(tmp_path) as host:
        yield host


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Hosted]:
    """A host whose printer was added by a person, so that nothing about it is locked."""
    async with hosted(tmp_path, printers=()) as host:
        await host.host.printers.add(PrinterSettings("one", "serial", port="/dev/ttyUSB77", baud=115200), LOCAL)
        await host.machine.connect()
        yield host
