from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.services.world import World, living


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with living(World(tmp_path)) as world:
        yield world
