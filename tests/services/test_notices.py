"""Notices hold as long as their facts do, stay put away across restarts, and wake in time."""

from pathlib import Path

import msgspec
import pytest

from polyhost.config import Config, Uploads
from polyhost.core.errors import Malformed, NotAllowed, NotFound
from polyhost.core.events import NoticeDismissed, NoticesChanged, NoticeWoke
from polyhost.core.printer import Firmware, PrinterState, Snapshot
from polyhost.services.notices import CABLE, DISK, HEAT, facts_of
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, living

ROOMY = Config(uploads=Uploads(keep_free_bytes=0))  # whatever disk this runs on
GB = 1_000_000_000
UNPROTECTED = Firmware(capabilities={"THERMAL_PROTECTION": False})


@pytest.mark.parametrize(
    ("changes", "free", "holds", "not_so"),
    [
        ({}, 90 * GB, {}, {DISK}),
        ({}, 1_100_000_000, {}, set()),  # between: as it was
        ({}, 900_000_000, {DISK: False}, set()),
        ({}, 400_000_000, {DISK: True}, set()),
        ({"firmware": UNPROTECTED}, 90 * GB, {HEAT: True}, {DISK}),
        ({"firmware": Firmware(capabilities={"THERMAL_PROTECTION": True})}, 90 * GB, {}, {DISK, HEAT}),
        ({"lines_sent": 9_999, "resends": 9_999}, 90 * GB, {}, {DISK}),
        ({"lines_sent": 10_000, "resends": 11}, 90 * GB, {CABLE: False}, {DISK}),
        ({"lines_sent": 10_000, "resends": 8}, 90 * GB, {}, {DISK}),
        ({"lines_sent": 10_000, "resends": 4}, 90 * GB, {}, {DISK, CABLE}),
    ],
)
def test_what_holds(changes: dict[str, object], free: int, holds: dict[str, bool], not_so: set[str]) -> None:
    snapshot = msgspec.structs.replace(Snapshot("mk3"), **changes)
    facts = facts_of(snapshot, free, 100 * GB, Uploads())
    assert {name: fact.urgent for name, fact in facts.items() if fact is not None} == holds
    assert {name for name, fact in facts.items() if fact is None} == not_so


async def test_a_notice_is_told_put_away_and_woken(tmp_path: Path) -> None:
    async with living(World(tmp_path, settings=ROOMY)) as world:
        notices, mk3 = world.host.notices, world.printers.get("mk3")
        assert not await notices.look(mk3, by=VIEWER)
        assert notices.all(mk3, by=VIEWER) == []
        with world.bus.listen(NoticesChanged, NoticeDismissed, NoticeWoke) as heard:
            world.driver.say(firmware=UNPROTECTED)
            assert await notices.look(mk3, by=VIEWER)
            assert await anext(heard) == NoticesChanged("mk3")
            assert not await notices.look(mk3, by=VIEWER)
            began = world.clock.now()
            world.clock.pass_s(100)
            await notices.dismiss(mk3, HEAT, 3600.0, by=OPERATOR)
            assert await anext(heard) == NoticeDismissed("mk3", HEAT)
            (notice,) = notices.all(mk3, by=VIEWER)
            assert (notice.since, notice.dismissed_at, notice.wakes_at) == (began, began + 100, began + 3700)
            world.clock.pass_s(3599)
            await notices.look(mk3, by=VIEWER)
            assert notices.all(mk3, by=VIEWER)[0].dismissed
            world.clock.pass_s(1)
            await notices.look(mk3, by=VIEWER)
            assert await anext(heard) == NoticeWoke("mk3", HEAT)
            assert not notices.all(mk3, by=VIEWER)[0].dismissed


async def test_what_is_put_away_stays_so_until_the_fact_is_gone(tmp_path: Path) -> None:
    async with living(World(tmp_path, settings=ROOMY)) as world:
        notices, mk3 = world.host.notices, world.printers.get("mk3")
        world.driver.say(firmware=UNPROTECTED)
        await notices.look(mk3, by=VIEWER)
        await notices.dismiss(mk3, HEAT, None, by=OPERATOR)
        world.driver.say(state=PrinterState.OFFLINE, firmware=Firmware())
        await notices.look(mk3, by=VIEWER)
        assert [notice.id for notice in notices.all(mk3, by=VIEWER)] == [HEAT]  # nobody knows better
    async with living(World(tmp_path, settings=ROOMY)) as world:
        notices, mk3 = world.host.notices, world.printers.get("mk3")
        world.driver.say(firmware=UNPROTECTED)
        await notices.look(mk3, by=VIEWER)
        assert notices.all(mk3, by=VIEWER)[0].dismissed
        world.driver.say(firmware=Firmware(capabilities={"THERMAL_PROTECTION": True}))
        assert await notices.look(mk3, by=VIEWER)
        assert notices.all(mk3, by=VIEWER) == []
        world.driver.say(firmware=UNPROTECTED)
        await notices.look(mk3, by=VIEWER)
        assert not notices.all(mk3, by=VIEWER)[0].dismissed


async def test_who_may_put_away_and_what(tmp_path: Path) -> None:
    async with living(World(tmp_path, settings=ROOMY)) as world:
        notices, mk3 = world.host.notices, world.printers.get("mk3")
        world.driver.say(firmware=UNPROTECTED)
        await notices.look(mk3, by=VIEWER)
        with pytest.raises(NotAllowed):
            await notices.dismiss(mk3, HEAT, None, by=VIEWER)
        with pytest.raises(NotFound):
            await notices.dismiss(mk3, DISK, None, by=ADMIN)
        for seconds in (0.0, -1.0, float("nan"), float("inf"), 1e12):
            with pytest.raises(Malformed):
                await notices.dismiss(mk3, HEAT, seconds, by=ADMIN)
