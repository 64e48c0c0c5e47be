from pathlib import Path

import msgspec
import pytest

from polyhost import config
from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotNow, PolyhostError
from polyhost.core.events import ProfileChanged
from polyhost.core.job import DEFAULT_PROFILE, RunState, Times
from polyhost.core.ports import LinkSettings
from polyhost.core.printer import (
    MAX_EXTRUDERS,
    Axis,
    PrinterProfile,
    PrinterState,
    Reach,
    checked_profile,
)
from polyhost.core.user import Caller
from polyhost.services.profiles import MAX_PROFILES, checked_id
from tests.services.world import ADMIN, OPERATOR, UPLOADER, VIEWER, World, living, until

TWO = PrinterProfile(name="Two", extruders=2, heated_bed=False, heated_chamber=True)
SERIAL = config.Printer("ender", "serial", port="/dev/ttyUSB7")


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0.0},
        {"depth": -1.0},
        {"height": 10_000.0},
        {"width": float("nan")},
        {"extruders": 0},
        {"extruders": MAX_EXTRUDERS + 1},
        {"nozzle_diameter": 0.0},
        {"default_extrusion_length": -1.0},
        {"x": Axis(0.0)},
        {"e": Axis(float("inf"))},
        {"name": "x" * 256},
        {"model": "line\nbreak"},
        {"extruder_offsets": ((0.0, float("nan")),)},
        {"extruder_offsets": ((0.0, 0.0),) * 33},
        {"custom_box": Reach(-1e9, 1, 0, 1, 0, 1)},
        {"max_bed": 0.0},
    ],
    ids=str,
)
def test_no_machine_has_such_a_shape(wrong: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        checked_profile(msgspec.structs.replace(PrinterProfile(), **wrong))


def test_a_shape_is_made_consistent() -> None:
    profile = checked_profile(
        PrinterProfile(
            *("Round", "", "default", 180.0, 90.0, 100.0),
            circular=True,
            shared_nozzle=True,
            extruders=3,
            extruder_offsets=((1.0, 2.0),) * 3,
            custom_box=Reach(-10.0, 95.0, -95.0, 20.0, 5.0, 120.0),
        )
    )
    assert (profile.depth, profile.origin_at_center, profile.extruder_offsets) == (180.0, True, ((0.0, 0.0),))
    assert profile.custom_box == Reach(-90.0, 95.0, -95.0, 90.0, 0.0, 120.0)
    assert checked_profile(profile) == profile
    small = msgspec.structs.replace(profile, custom_box=Reach(0.0, 1.0, 0.0, 1.0, 0.0, 1.0))
    assert checked_profile(small).custom_box is None


@pytest.mark.parametrize(("given", "kept"), [("a b", "a_b"), (" Mk3.(9)-x ", "Mk3.(9)-x"), ("_default", "_default")])
def test_ids(given: str, kept: str) -> None:
    assert checked_id(given) == kept


@pytest.mark.parametrize("given", ["", "  ", "a/b", "a\\b", "ä", "x" * 65, "a\n"])
def test_what_no_id_may_be(given: str) -> None:
    with pytest.raises(Malformed):
        checked_id(given.replace("\n", "\0"))


async def test_a_profile_chosen_at_connect_reaches_the_machine_and_outlives_the_server(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p = world.printers.default()
        with world.bus.listen() as heard:
            assert await world.host.profiles.add(p, "two heads", TWO, by=ADMIN) == "two_heads"
            events = [await anext(heard), await anext(heard)]
        assert ProfileChanged("mk3", "two_heads", "added") in events
        assert p.profile == PrinterProfile()
        with pytest.raises(NotFound):
            await world.steering.select_tool(p, 1, by=OPERATOR)
        await world.printers.connect(p, None, None, by=OPERATOR, profile="two_heads", save=True)
        assert world.driver.handling.profile == TWO
        assert p.profile_id == "two_heads"
        await world.steering.select_tool(p, 1, by=OPERATOR)
        with pytest.raises(NotFound, match="tool0, tool1, chamber"):
            await world.steering.set_targets(p, {"bed": 60.0}, by=OPERATOR)
    async with living(World(tmp_path)) as world:
        p = world.printers.default()
        assert (p.profile_id, p.profile) == ("two_heads", TWO)
        await until(lambda: world.driver.handling.profile == TWO)  # before anybody asked
        await world.printers.connect(p, None, None, by=OPERATOR, profile=DEFAULT_PROFILE)
        assert p.profile == PrinterProfile()
        await world.printers.disconnect(p, by=OPERATOR)
        assert (p.profile_id, world.driver.handling.profile) == ("two_heads", TWO)  # the preferred one


async def test_the_profile_of_a_connected_printer_stays_when_another_becomes_preferred(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p = world.printers.default()
        await world.host.profiles.add(p, "two", TWO, prefer=True, by=ADMIN)
        assert (p.book.preferred_id, p.profile_id) == ("two", DEFAULT_PROFILE)
        world.driver.say(state=PrinterState.OFFLINE)
        await world.host.profiles.change(p, DEFAULT_PROFILE, p.profile, prefer=True, by=ADMIN)
        assert (p.book.preferred_id, p.profile_id) == (DEFAULT_PROFILE, DEFAULT_PROFILE)


async def test_changing_the_current_profile_reaches_the_machine(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p = world.printers.default()
        await world.host.profiles.add(p, "two", TWO, by=ADMIN)
        await world.printers.connect(p, None, None, by=OPERATOR, profile="two")
        three = msgspec.structs.replace(TWO, extruders=3)
        await world.host.profiles.change(p, "two", three, by=ADMIN)
        assert world.driver.handling.profile == three
        assert p.profile == three


async def test_what_cannot_be_removed(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p, profiles = world.printers.default(), world.host.profiles
        await profiles.add(p, "two", TWO, by=ADMIN)
        await profiles.add(p, "three", TWO, prefer=True, by=ADMIN)
        await world.printers.connect(p, None, None, by=OPERATOR, profile="two")
        for identifier in ("two", "three", DEFAULT_PROFILE):
            with pytest.raises(NotNow):
                await profiles.remove(p, identifier, by=ADMIN)
        await world.printers.connect(p, None, None, by=OPERATOR)
        assert p.profile_id == "three"
        await profiles.remove(p, "two", by=ADMIN)
        await profiles.remove(p, "two", by=ADMIN)  # is gone already
        assert list(profiles.all(p)) == [DEFAULT_PROFILE, "three"]


async def test_bounds_and_doubles(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p, profiles = world.printers.default(), world.host.profiles
        await profiles.add(p, "one", TWO, by=ADMIN)
        for taken in (DEFAULT_PROFILE, "one"):
            with pytest.raises(Malformed, match="already"):
                await profiles.add(p, taken, TWO, by=ADMIN)
        for n in range(1, MAX_PROFILES):
            await profiles.add(p, f"p{n}", TWO, by=ADMIN)
        with pytest.raises(NotNow, match="limit"):
            await profiles.add(p, "one more", TWO, by=ADMIN)
        with pytest.raises(NotFound, match="no profile 'none'"):
            await profiles.change(p, "none", TWO, by=ADMIN)
        with pytest.raises(NotFound, match="no profile 'none'"):
            await world.printers.connect(p, None, None, by=ADMIN, profile="none")


@pytest.mark.parametrize("by", [VIEWER, UPLOADER, OPERATOR], ids=lambda by: by.name)
async def test_profiles_are_the_administrators(tmp_path: Path, by: Caller) -> None:
    async with living(World(tmp_path)) as world:
        p, profiles = world.printers.default(), world.host.profiles
        with pytest.raises(NotAllowed):
            await profiles.add(p, "two", TWO, by=by)
        with pytest.raises(NotAllowed):
            await profiles.change(p, DEFAULT_PROFILE, TWO, by=by)
        with pytest.raises(NotAllowed):
            await profiles.remove(p, "two", by=by)
        with pytest.raises(NotAllowed):
            await world.printers.change(p, p.settings, by)


async def test_a_printer_of_the_settings_file_keeps_its_own_profile(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p = world.printers.default()
        with pytest.raises(NotNow, match="settings file"):
            await world.host.profiles.change(p, DEFAULT_PROFILE, TWO, by=ADMIN)
        with pytest.raises(NotNow, match="settings file"):
            await world.printers.change(p, msgspec.structs.replace(p.settings, name="Other"), ADMIN)
        with pytest.raises(NotNow, match="settings file"):
            await world.printers.connect(p, None, None, by=ADMIN, autoconnect=False, save=True)
        assert not world.driver.told
        assert p.profile == PrinterProfile()


async def test_the_settings_of_a_printer_that_a_person_added_are_changed_and_kept(tmp_path: Path) -> None:
    wanted = config.Printer(
        "ender", "serial", "Ender 3", "/dev/ttyUSB8", 115200, autoconnect=False, window_lines=4, profile=TWO
    )
    async with living(World(tmp_path)) as world:
        p = await world.printers.add(SERIAL, ADMIN)
        driver = world.drivers["ender"]
        await world.printers.change(p, msgspec.structs.replace(SERIAL, name="Ender 3", window_lines=4), ADMIN)
        await world.printers.connect(p, "/dev/ttyUSB8", 115200, by=OPERATOR, save=True, autoconnect=False)
        await world.host.profiles.change(p, DEFAULT_PROFILE, TWO, by=ADMIN)
        assert p.name == "Ender 3"
        assert p.settings == wanted
        assert driver.link == LinkSettings("/dev/ttyUSB8", 115200, False, 4, 0)
        assert driver.handling.profile == TWO
        assert driver.told == [("connect", "/dev/ttyUSB8", 115200)]
    async with living(World(tmp_path)) as world:
        assert world.printers.get("ender").settings == wanted


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"port": "/dev/ttyUSB9"}, NotNow),
        ({"port": ""}, Malformed),
        ({"name": "a\nb"}, Malformed),
        ({"baud": -1}, Malformed),
        ({"slug": "other2"}, Malformed),
        ({"driver": "virtual"}, Malformed),
    ],
    ids=str,
)
async def test_settings_that_no_printer_can_have_change_nothing(
    tmp_path: Path, wrong: dict[str, object], error: type[PolyhostError]
) -> None:
    async with living(World(tmp_path)) as world:
        p = await world.printers.add(SERIAL, ADMIN)
        await world.printers.add(config.Printer("other", "serial", port="/dev/ttyUSB9"), ADMIN)
        with pytest.raises(error):
            await world.printers.change(p, msgspec.structs.replace(SERIAL, **wrong), ADMIN)
        assert p.settings == SERIAL
        assert world.drivers["ender"].link == LinkSettings()


async def test_a_jog_by_hand_heeds_axes_that_run_backwards(tmp_path: Path) -> None:
    backwards = PrinterProfile(y=Axis(100.0, inverted=True))
    async with living(World(tmp_path)) as world:
        p = world.printers.default()
        await world.host.profiles.add(p, "backwards", backwards, by=ADMIN)
        await world.printers.connect(p, None, None, by=OPERATOR, profile="backwards")
        world.driver.told.clear()
        await world.steering.jog(p, 1.0, 2.0, by_hand=True, by=OPERATOR)
        await world.steering.jog(p, 1.0, 2.0, by=OPERATOR)  # a program that turns them round itself
        assert [told[2] for told in world.driver.told] == ["G0 X1 Y-2 F6000", "G0 X1 Y2 F6000"]


async def test_a_printer_that_was_removed_leaves_nothing_to_one_that_is_called_so_later(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p = await world.printers.add(SERIAL, ADMIN)
        await world.host.profiles.add(p, "two", TWO, prefer=True, by=ADMIN)
        await world.printers.remove("ender", ADMIN)
        p = await world.printers.add(SERIAL, ADMIN)
        assert list(world.host.profiles.all(p)) == [DEFAULT_PROFILE]
    async with living(World(tmp_path)) as world:
        assert list(world.host.profiles.all(world.printers.get("ender"))) == [DEFAULT_PROFILE]


async def test_how_long_prints_take_is_told_by_the_profile_they_were_made_with(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        p = world.printers.default()
        await world.upload("a.gcode")
        await world.host.profiles.add(p, "two", TWO, by=ADMIN)
        for profile, printing_s in ((DEFAULT_PROFILE, 50.0), ("two", 20.0), ("two", 30.0), (DEFAULT_PROFILE, 60.0)):
            await world.printers.connect(p, None, None, by=OPERATOR, profile=profile)
            run = await world.runs.start(p, "a.gcode", OPERATOR)
            world.driver.reach(RunState.COMPLETED, elapsed_s=printing_s, printing_s=printing_s)
            await until(lambda run=run: p.run is not None and p.run.id == run.id and p.run.ended)
            assert (await world.runs.get(run.id)).profile == profile
        counted = world.runs.statistics("a.gcode")
        assert counted.times == {DEFAULT_PROFILE: Times(2, 55.0, 60.0), "two": Times(2, 25.0, 30.0)}
    async with living(World(tmp_path)) as world:
        assert world.runs.statistics("a.gcode") == counted
