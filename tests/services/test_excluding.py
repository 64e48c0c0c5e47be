"""Which objects of a run's file may be left out, and by whom."""

import msgspec
import pytest

from polyhost.core.errors import NotAllowed, NotFound, NotNow
from polyhost.core.file import NamedObject
from tests.services.test_runs import ANALYSIS, mk3
from tests.services.world import OPERATOR, VIEWER, World, until

CUBE = NamedObject("cube", 0, 0, 10, 10, ((0, 3),))
RING = NamedObject("ring", 20, 0, 30, 10, ((3, 6),))


@pytest.fixture
async def printing(world: World) -> World:
    world.reader.analyses["b.gcode"] = msgspec.structs.replace(ANALYSIS, objects=(CUBE, RING))
    await world.upload("b.gcode", b"G28\nG1\n")
    await until(lambda: world.files.get("b.gcode").analysis)
    await world.runs.start(mk3(world), "b.gcode", OPERATOR)
    return world


async def test_objects_are_left_out_by_their_names(printing: World) -> None:
    run = mk3(printing).run
    assert run is not None
    await printing.runs.exclude(mk3(printing), ["ring", "ring"], OPERATOR)
    assert printing.driver.told[-1] == ("exclude", run.id, RING)
    assert printing.driver.snapshot.run is not None
    assert printing.driver.snapshot.run.excluded == ("ring",)


async def test_what_is_not_there_is_refused_with_what_is(printing: World) -> None:
    with pytest.raises(NotFound, match=r"no object .cone. in b\.gcode; there are: cube, ring"):
        await printing.runs.exclude(mk3(printing), ["ring", "cone"], OPERATOR)
    assert not any(words[0] == "exclude" for words in printing.driver.told)


async def test_only_who_may_print_leaves_objects_out_and_only_in_a_run(printing: World) -> None:
    with pytest.raises(NotAllowed):
        await printing.runs.exclude(mk3(printing), ["ring"], VIEWER)
    await printing.runs.cancel(mk3(printing), OPERATOR)
    with pytest.raises(NotNow, match="not printing"):
        await printing.runs.exclude(mk3(printing), ["ring"], OPERATOR)


async def test_a_file_that_was_not_read_yet_has_no_known_objects(world: World) -> None:
    await world.upload("c.gcode")
    await world.runs.start(mk3(world), "c.gcode", OPERATOR)
    with pytest.raises(NotNow, match="not read to its end"):
        await world.runs.exclude(mk3(world), ["ring"], OPERATOR)
