"""Deleting from the history: who may, what is left, and that a restart finds the same."""

from pathlib import Path
from typing import Any

import pytest

from polyhost.core.errors import LinkLost, NotAllowed, NotFound, NotNow
from polyhost.core.events import RunAdded, RunEnded
from polyhost.core.job import RunState, Totals
from polyhost.core.ports import Page
from polyhost.core.user import GUEST
from tests.services.world import LOST, OPERATOR, REFUSED, UPLOADER, VIEWER, World, living, until

ENDS = (RunState.COMPLETED, RunState.CANCELLED, RunState.COMPLETED, RunState.FAILED)


async def print_(world: World, path: str, end: RunState | None = None) -> None:
    p = world.printers.default()
    await world.runs.start(p, path, OPERATOR)
    if end is not None:
        world.driver.reach(end, elapsed_s=60.0, printing_s=50.0, extruding_s=40.0, filament_mm=12.5)
        await until(lambda: p.run is not None and p.run.ended)


async def printed(world: World) -> None:
    for path in ("a.gcode", "b.gcode"):
        await world.upload(path, path.encode())
    for number, end in enumerate(ENDS):
        await print_(world, "ab"[number % 2] + ".gcode", end)


def seen(world: World) -> Any:
    """What others show of the history."""
    counts = [world.runs.statistics(path) for path in ("a.gcode", "b.gcode")]
    last = world.runs.last(world.printers.default())
    return [(one.success, one.failure, one.times) for one in counts], None if last is None else last.ordinal


@pytest.mark.parametrize("gone", [[1], [2], [4], [3, 4], [1, 2, 3], [4, 3, 2, 1], None], ids=str)
async def test_what_is_left_is_what_the_next_start_finds(tmp_path: Path, gone: list[int] | None) -> None:
    async with living(World(tmp_path)) as world:
        await printed(world)
        p, past = world.printers.default(), world.runs.past
        if gone is None:
            assert await past.delete_all(p, OPERATOR) == (1, 2, 3, 4)
        for ordinal in gone or ():
            await past.delete(p, ordinal, OPERATOR)
        left = [one.run.ordinal for one in await past.page(p, Page(10, oldest_first=True))]
        assert left == [n for n in (1, 2, 3, 4) if gone is not None and n not in gone]
        before = seen(world)
        assert before[1] == (left[-1] if left else None)
        assert await past.totals(p) == Totals(4, 240.0, 160.0, 50.0, 60.0, 40.0)
    async with living(World(tmp_path)) as world:
        assert seen(world) == before


async def test_only_who_may_delete_changes_it(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await printed(world)
        p, past = world.printers.default(), world.runs.past
        for by in (GUEST, VIEWER, UPLOADER):
            for work in (past.delete(p, 1, by), past.delete_all(p, by), past.reset_totals(p, by)):
                with pytest.raises(NotAllowed, match="may not change the history of mk3"):
                    await work
        assert len(await past.page(p, Page(10))) == 4


async def test_what_goes_on_stays(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await printed(world)
        await print_(world, "a.gcode")
        p, past = world.printers.default(), world.runs.past
        with pytest.raises(NotNow, match="run 5 of mk3 has not ended"):
            await past.delete(p, 5, OPERATOR)
        with pytest.raises(NotNow, match="is printing"):
            await past.reset_totals(p, OPERATOR)
        with pytest.raises(NotFound, match="no run 6"):
            await past.delete(p, 6, OPERATOR)
        assert await past.delete_all(p, OPERATOR) == (1, 2, 3, 4)
        world.driver.reach(RunState.COMPLETED)
        await until(lambda: p.run is not None and p.run.ended)
        assert [one.run.state for one in await past.page(p, Page(10))] == [RunState.COMPLETED]
        assert world.runs.statistics("a.gcode").success == 1


async def test_an_entry_is_told_of_when_it_is_there_to_stay(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.upload("a.gcode")
        p = world.printers.default()
        with world.bus.listen(RunAdded, RunEnded) as heard:
            world.driver.refuses = REFUSED
            with pytest.raises(NotNow):
                await world.runs.start(p, "a.gcode", OPERATOR)
            world.driver.refuses = LOST
            with pytest.raises(LinkLost):
                await world.runs.start(p, "a.gcode", OPERATOR)
            world.runs.attached("mk3", frozenset())
            told = [await anext(heard), await anext(heard)]
        assert [(type(one), one.run.ordinal) for one in told if isinstance(one, RunAdded | RunEnded)] == [
            (RunAdded, 2),
            (RunEnded, 2),
        ]
