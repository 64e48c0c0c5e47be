from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.hosting import Hosted, hosted


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    """A host with one printer, connected, and a key for each role."""
    async with hosted(tmp_path) as host:
        yield host
