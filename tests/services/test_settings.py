from pathlib import Path

from polyhost.core.job import RunState
from polyhost.services.settings import AnalysisOptions, RunAt
from tests.services.world import ADMIN, World, living, until


async def test_files_are_analysed_when_the_owner_says(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p, asked = world.printers.default(), world.reader.asked
        await world.host.settings.put(p, [AnalysisOptions(RunAt.NEVER)], by=ADMIN)
        await world.upload("first.gcode")
        await until(lambda: asked == ["header of first.gcode"])
        await world.runs.start(p, "first.gcode", by=ADMIN)
        await world.host.settings.put(p, [AnalysisOptions(RunAt.IDLE)], by=ADMIN)
        await world.upload("second.gcode")
        await until(lambda: asked == ["header of first.gcode", "header of second.gcode"])
        assert not world.host.settings.may_analyse()
        world.driver.reach(RunState.COMPLETED)
        await until(world.host.settings.may_analyse)
        await world.host.settings.put(p, [AnalysisOptions(RunAt.ALWAYS)], by=ADMIN)
        await until(lambda: asked[2:] == ["whole first.gcode", "whole second.gcode"])
