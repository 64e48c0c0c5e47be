"""Who a printer is to programs that look for it."""

import uuid
from pathlib import Path

from tests.services.world import World, living


async def test_a_printer_keeps_its_uuid_over_restarts(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        async with living(World(tmp_path, printers=("mk3", "ender"))) as world:
            seen.append([world.host.discovery.uuid_of(printer) for printer in world.printers.all()])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2
    assert all(str(uuid.UUID(one)) == one for one in seen[0])


async def test_another_host_has_others(tmp_path: Path) -> None:
    found = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        async with living(World(tmp_path / name)) as world:
            found.add(world.host.discovery.uuid_of(world.printers.default()))
    assert len(found) == 2
