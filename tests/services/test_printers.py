"""Printers: what a person may tell one, as G-code; which there are; what they said."""

import asyncio
from pathlib import Path

import pytest

from polyhost import config
from polyhost.core.errors import LinkLost, Malformed, NotAllowed, NotFound, NotNow
from polyhost.core.events import ConsoleLine, ConsoleLines, PrinterAdded, PrinterRemoved
from polyhost.core.printer import PrinterProfile, PrinterState, Temperature
from polyhost.core.user import GUEST, ApiKey, Caller, Role
from polyhost.services import commands
from polyhost.services.history import TemperatureHistory
from tests.services.world import ADMIN, OPERATOR, UPLOADER, VIEWER, World, living, until

PROFILE = PrinterProfile(extruders=2, heated_chamber=True)


@pytest.mark.parametrize(
    ("made", "sent"),
    [
        (commands.jog(PROFILE, {"x": 10.0, "y": -5.25}, False, None), ["G91", "G0 X10 Y-5.25 F6000", "G90"]),
        (commands.jog(PROFILE, {"z": 0.02, "x": 1.0}, False, None), ["G91", "G0 Z0.02 X1 F200", "G90"]),
        (commands.jog(PROFILE, {"z": 5.0}, True, 2.5), ["G90", "G0 Z5 F150"]),
        (commands.home(frozenset("yx")), ["G28 X Y"]),
        (commands.home(frozenset("xyz")), ["G28 X Y Z"]),
        (commands.target(PROFILE, "tool1", 215.5), "M104 T1 S215.5"),
        (commands.target(PROFILE, "bed", 60.0), "M140 S60"),
        (commands.target(PROFILE, "chamber", 0.0), "M141 S0"),
        (commands.extrude(PROFILE, -3.0, None), ["G91", "M83", "G1 E-3 F300", "M82", "G90"]),
        (commands.extrude(PROFILE, 3.0, 100.0), ["G91", "M83", "G1 E3 F300", "M82", "G90"]),
        (commands.extrude(PROFILE, 3.0, 1.5), ["G91", "M83", "G1 E3 F90", "M82", "G90"]),
        (commands.select_tool(PROFILE, 1), "T1"),
        (commands.feedrate(1.05), "M220 S105"),
        (commands.flow(5.0), "M221 S500"),
        (commands.number(-0.00001), "0"),
        (commands.number(1e-4), "0.0001"),
    ],
)
def test_what_a_wish_is_in_gcode(made: object, sent: object) -> None:
    assert made == sent


NAN = float("nan")


@pytest.mark.parametrize(
    "wish",
    [
        lambda: commands.jog(PROFILE, {}, False, None),
        lambda: commands.jog(PROFILE, {"x": NAN}, False, None),
        lambda: commands.jog(PROFILE, {"x": float("inf")}, False, None),
        lambda: commands.jog(PROFILE, {"x": 1.0}, False, 0.0),
        lambda: commands.jog(PROFILE, {"x": 1.0}, False, NAN),
        lambda: commands.home(frozenset()),
        lambda: commands.home(frozenset("xa")),
        lambda: commands.target(PROFILE, "tool0", 300.5),
        lambda: commands.target(PROFILE, "bed", -1.0),
        lambda: commands.target(PROFILE, "bed", NAN),
        lambda: commands.extrude(PROFILE, NAN, None),
        lambda: commands.extrude(PROFILE, 1.0, -1.0),
        lambda: commands.feedrate(0.0),
        lambda: commands.flow(NAN),
        lambda: commands.checked_offset(50.5),
        lambda: commands.checked_offset(NAN),
    ],
)
def test_wishes_beyond_the_machine_are_malformed(wish: object) -> None:
    assert callable(wish)
    with pytest.raises(Malformed):
        wish()


@pytest.mark.parametrize("heater", ["tool2", "hotend", "tool", ""])
def test_an_unknown_heater_names_those_there_are(heater: str) -> None:
    with pytest.raises(NotFound, match="tool0, tool1, bed, chamber"):
        commands.target(PROFILE, heater, 20.0)
    with pytest.raises(NotFound):
        commands.select_tool(PROFILE, 2)


@pytest.mark.parametrize(
    "lines",
    [
        *([], [""], [" "], ["G28\nM112"], ["G28\rM112"], ["M117 \0"], ["x" * 256], ["G28"] * 1001),
        *(["N5 G28"], ["n 5G28"], ["G28*33"], ["m028 x.gco"], ["M117 \ud800"], ["M117 \u2028 M112"]),
    ],
)
async def test_lines_that_are_no_command_are_malformed(world: World, lines: list[str]) -> None:
    with pytest.raises(Malformed):
        await world.steering.send(world.printers.default(), lines, OPERATOR)
    assert world.driver.told == []


async def test_lines_go_out_as_they_are(world: World) -> None:
    await world.steering.send(world.printers.default(), ["  G28 X ", "M117 Grüße", "M1120"], OPERATOR)
    assert world.driver.told == [("send", "G28 X", "M117 Grüße", "M1120")]


@pytest.mark.parametrize("line", ["M112", "m112 ; now", "M112 "])
async def test_a_stop_among_commands_passes_everything(world: World, line: str) -> None:
    world.driver.say(state=PrinterState.UNREACHABLE)
    await world.steering.send(world.printers.default(), ["G28", line], OPERATOR)
    assert world.driver.told == [("M112",)]


async def test_who_may_what(world: World) -> None:
    p = world.printers.default()
    bound = Caller("oz", Role.OPERATOR, ApiKey("k", "oz", Role.OPERATOR, printers=("ender",)))
    settings = config.Printer("new", "virtual")
    for nobody in (GUEST, VIEWER, UPLOADER, bound):
        for attempt in (
            world.steering.send(p, ["G28"], nobody),
            world.steering.jog(p, 1.0, by=nobody),
            world.steering.home(p, frozenset("x"), nobody),
            world.steering.extrude(p, 1.0, None, nobody),
            world.steering.select_tool(p, 0, nobody),
            world.steering.set_targets(p, {"bed": 60.0}, nobody),
            world.steering.set_offsets(p, {"bed": 6.0}, nobody),
            world.steering.set_feedrate(p, 1.0, nobody),
            world.steering.set_flow(p, 1.0, nobody),
            world.printers.connect(p, None, None, nobody),
            world.printers.disconnect(p, nobody),
            world.steering.emergency_stop(p, nobody),
            world.printers.add(settings, nobody),
            world.printers.remove("mk3", nobody),
        ):
            with pytest.raises(NotAllowed):
                await attempt
    assert world.driver.told == []
    with pytest.raises(NotAllowed):
        await world.printers.add(settings, OPERATOR)


async def test_targets_are_all_judged_before_one_is_sent(world: World) -> None:
    p = world.printers.default()
    with pytest.raises(Malformed):
        await world.steering.set_targets(p, {"tool0": 200.0, "bed": 500.0}, OPERATOR)
    with pytest.raises(NotFound):
        await world.steering.set_targets(p, {"tool0": 200.0, "chamber": 20.0}, OPERATOR)
    assert world.driver.told == []
    await world.steering.set_targets(p, {"tool0": 200.0, "bed": 60.0}, OPERATOR)
    assert world.driver.told == [("send", "M104 T0 S200", "M140 S60")]


async def test_offsets_are_kept(world: World) -> None:
    p = world.printers.default()
    await world.steering.set_offsets(p, {"bed": -5.0}, OPERATOR)
    assert world.printers.offsets(p) == {"tool0": 0.0, "bed": -5.0}
    with pytest.raises(NotFound):
        await world.steering.set_offsets(p, {"chamber": 1.0}, OPERATOR)


async def test_the_link(world: World) -> None:
    p = world.printers.default()
    await world.printers.disconnect(p, OPERATOR)
    await world.printers.connect(p, "/dev/ttyUSB0", 250000, OPERATOR)
    await world.printers.connect(p, "", 0, OPERATOR)
    assert world.driver.told == [("disconnect",), ("connect", "/dev/ttyUSB0", 250000), ("connect", None, None)]
    with pytest.raises(Malformed):
        await world.printers.connect(p, None, -1, OPERATOR)


async def test_a_port_is_one_printers_also_when_it_is_connected_there(tmp_path: Path) -> None:
    async with living(World(tmp_path, printers=())) as world:
        one = await world.printers.add(config.Printer("one", "serial", port="/dev/tty-one"), ADMIN)
        two = await world.printers.add(config.Printer("two", "serial", port="/dev/tty-two"), ADMIN)
        for taken, of in (("/dev/tty-one", two), ("/dev/../dev/tty-two", one)):
            with pytest.raises(NotNow, match="is that of the printer"):
                await world.printers.connect(of, taken, None, OPERATOR)
        world.drivers["one"].say(port="/dev/tty-three")  # a person connected it there
        with pytest.raises(NotNow, match="'one'"):
            await world.printers.connect(two, "/dev/tty-three", None, OPERATOR)
        assert world.drivers["two"].told == []
        await world.printers.connect(two, "/dev/tty-two", None, OPERATOR)


async def test_a_printer_that_comes_later_is_treated_as_one_of_the_start(tmp_path: Path) -> None:
    settings = config.Config(scripts=config.Scripts(after_connect="M117 hello"))
    async with living(World(tmp_path, settings=settings)) as world:
        added = await world.printers.add(config.Printer("ender", "virtual"), ADMIN)
        assert world.drivers["ender"].handling.after_connect == ("M117 hello",)
        assert added.handling == world.drivers["ender"].handling


async def test_printers_come_and_go(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        with world.bus.listen() as heard:
            added = await world.printers.add(config.Printer("ender", "serial", port="/dev/ttyUSB0"), ADMIN)
            assert await anext(heard) == PrinterAdded("ender")
        assert not added.locked
        assert [p.slug for p in world.printers.all()] == ["mk3", "ender"]
        with pytest.raises(NotNow, match="already"):
            await world.printers.add(config.Printer("ender", "virtual"), ADMIN)
        with pytest.raises(NotNow, match="is that of the printer 'ender' already"):
            await world.printers.add(config.Printer("other", "serial", port="/dev/../dev/ttyUSB0"), ADMIN)
        for wrong in (
            *(config.Printer("No Slug", "virtual"), config.Printer("x", "serial"), config.Printer("", "virtual")),
            *(config.Printer("x", "virtual", name="a\nb"), config.Printer("x", "virtual", name="\ud800")),
            *(config.Printer("x", "virtual", speed=NAN), config.Printer("x", "virtual", speed=-1.0)),
            config.Printer("x", "virtual", profile=PrinterProfile(extruders=10**9)),
        ):
            with pytest.raises(Malformed):
                await world.printers.add(wrong, ADMIN)
        with pytest.raises(NotNow, match="settings file"):
            await world.printers.remove("mk3", ADMIN)
        with pytest.raises(NotFound, match="there are: mk3, ender"):
            world.printers.get("other")
    async with living(World(tmp_path)) as world:
        assert world.printers.get("ender").settings.port == "/dev/ttyUSB0"
        assert world.printers.default().slug == "mk3"
        await world.upload("a.gcode")
        ender = world.printers.get("ender")
        await world.runs.start(ender, "a.gcode", ADMIN)
        with pytest.raises(NotNow, match="printing"):
            await world.printers.remove("ender", ADMIN)
        await world.runs.cancel(ender, ADMIN)
        await until(lambda: world.runs.current(ender) is None)
        with world.bus.listen() as heard:
            await world.printers.remove("ender", ADMIN)
            assert await anext(heard) == PrinterRemoved("ender")
        assert world.drivers["ender"].told[-1] == ("remove",)
    async with living(World(tmp_path)) as world:
        assert [p.slug for p in world.printers.all()] == ["mk3"]
        [run] = await world.runs.history()
        assert run.printer == "ender"  # its history stays


async def test_no_printer_is_said(tmp_path: Path) -> None:
    async with living(World(tmp_path, printers=())) as world:
        with pytest.raises(NotFound, match="add one first"):
            world.printers.default()
        with pytest.raises(NotFound, match="none yet"):
            world.printers.get("mk3")


async def test_temperatures_are_sampled_once_a_second_for_half_an_hour(world: World) -> None:
    p = world.printers.default()
    for n in range(4000):
        world.driver.say(heaters={"tool0": Temperature(n / 10, 210.0, 0.5), "bed": Temperature(None, None)})
        world.clock.pass_s(0.5)
    samples = world.printers.temperatures(p)
    assert len(samples) == 1800
    assert samples[-1].heaters == {"tool0": Temperature(399.8, 210.0, 0.5), "bed": Temperature()}
    assert samples[-1].at - samples[-2].at == pytest.approx(1.0)
    assert world.printers.temperatures(p, 3) == samples[-3:]
    assert world.printers.temperatures(p, 0) == []


async def test_a_clock_that_is_set_back_samples_on(world: World) -> None:
    p = world.printers.default()
    world.driver.say()
    world.clock.wall -= 7200
    world.clock.steady += 1
    world.driver.say()
    assert len(world.printers.temperatures(p)) == 2


async def test_the_console_is_bounded(world: World) -> None:
    for n in range(300):
        lines = tuple(ConsoleLine(1.0, True, f"{n} {m}") for m in range(10))
        world.printers.heard(ConsoleLines("mk3", lines))
    kept = world.printers.console(world.printers.default())
    assert (len(kept), kept[0].text, kept[-1].text) == (2000, "100 0", "299 9")


async def test_a_driver_that_loses_its_machine_is_run_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("polyhost.services.printers.RETRY_S", 0.001)
    added = asyncio.Event()
    ran = 0

    async def run() -> None:
        nonlocal ran
        ran += 1
        if ran == 5:
            added.set()
            await asyncio.Event().wait()
        raise LinkLost("the engine is gone")

    driver_for = world.printers._driver_for

    def failing(settings: config.Printer) -> object:
        driver = driver_for(settings)
        driver.run = run  # type: ignore[method-assign]
        return driver

    monkeypatch.setattr(world.printers, "_driver_for", failing)
    await world.printers.add(config.Printer("ender", "virtual"), ADMIN)
    async with asyncio.timeout(5):
        await added.wait()
    assert caplog.text.count("ender is out of reach: the engine is gone") == 1


@pytest.mark.parametrize(
    ("times", "now", "kept"),
    [
        ([0.0, 1.0, 2.0], 3.0, [0, 1, 2]),
        ([0.0, 2.0, 4.0], 5.0, [0, 0, 1, 1, 2]),
        ([0.0, 1.5, 3.0], 4.5, [0, 0, 1, 2, 2]),
        ([0.0, 1.0, 500.0], 501.0, [0, 1, 2]),
        ([0.0, 1.0], 20.0, [0] + [1] * 19),
        ([10.0, 5.0], 6.0, [0, 1]),
    ],
    ids=["each second", "each other", "between", "a long silence", "still now", "the clock jumped"],
)
def test_temperatures_second_by_second(times: list[float], now: float, kept: list[int]) -> None:
    history = TemperatureHistory()
    for n, at in enumerate(times):
        history.note({"bed": Temperature(n, 60.0, 0.5)}, at, n * 10.0)
    column = history.columns(1200, now)["bed"]
    assert column.actual == kept
    assert column.power == [0.5] * len(kept)
    assert history.columns(2, now)["bed"].actual == kept[-2:]
