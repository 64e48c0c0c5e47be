"""What people type: commands in their order, @-commands for the run, what is never sent."""

import pytest

from polyhost.core.errors import Malformed, NotAllowed, NotFound
from polyhost.core.events import AtCommandSeen, CommandSuppressed
from polyhost.core.job import RunState
from polyhost.services.scripts import GcodeScripts
from tests.services.world import ADMIN, OPERATOR, UPLOADER, World


async def test_commands_and_at_commands_are_carried_out_in_order(world: World) -> None:
    p, terminal = world.printers.default(), world.host.terminal
    await world.upload("a.gcode")
    run = await world.runs.start(p, "a.gcode", OPERATOR)
    await terminal.send(p, ["M117 a", "M117 b", "@Pause", "G28", "@resume now", "M117 c", "@abort"], OPERATOR)
    assert world.driver.told[1:] == [
        *(("send", "M117 a", "M117 b"), ("pause", run.id), ("send", "G28"), ("resume", run.id), ("send", "M117 c")),
        ("cancel", run.id),
    ]


async def test_what_the_host_keeps_is_announced(world: World) -> None:
    p = world.printers.default()
    with world.bus.listen() as heard:
        await world.host.terminal.send(p, ["@pause", "@OBJECT it", "M0 look", "M01", "M25", "M10"], OPERATOR)
        events = [await anext(heard) for _ in range(4)]
    assert events[:2] == [AtCommandSeen("mk3", "@pause"), AtCommandSeen("mk3", "@OBJECT it")]
    assert [event.command for event in events[2:] if isinstance(event, CommandSuppressed)] == ["M0 look", "M01"]
    assert world.driver.told == [("send", "M25", "M10")]


@pytest.mark.parametrize("command", ["M0", "M1 ok?", "M25"])
async def test_what_would_wait_for_a_button_pauses_the_print(world: World, command: str) -> None:
    p = world.printers.default()
    await world.upload("a.gcode")
    await world.runs.start(p, "a.gcode", OPERATOR)
    await world.host.terminal.send(p, [command], OPERATOR)
    assert p.run_state is RunState.PAUSED
    assert [told[0] for told in world.driver.told] == ["start", "pause"]


@pytest.mark.parametrize("line", ["M104 S301", "m109 t0 r400", "M140 S131", "M303 E0 S999"])
async def test_nothing_of_what_is_too_hot_is_sent(world: World, line: str) -> None:
    with pytest.raises(Malformed, match=r"may be heated to \d+ °C"):
        await world.host.terminal.send(world.printers.default(), ["G28", line], OPERATOR)
    assert world.driver.told == []


async def test_an_emergency_stop_goes_before_all_that_is_wrong_with_the_rest(world: World) -> None:
    await world.host.terminal.send(world.printers.default(), ["M104 S999", "m112"], OPERATOR)
    assert world.driver.told == [("M112",)]


async def test_scripts_are_called_by_who_may(world: World) -> None:
    p, terminal = world.printers.default(), world.host.terminal
    template = "G1 X{{ parameters.x }}\n@OBJECT {{ context.name }}\nM117 {{ script.name }}"
    await world.host.scripts.put(p, GcodeScripts({"move": template, "hot": "M104 S{{ parameters.x }}"}), ADMIN)
    await terminal.call(p, "move", {"x": 5}, {"name": "a"}, OPERATOR)
    assert world.driver.told == [("send", "G1 X5"), ("send", "M117 move")]
    with pytest.raises(NotFound):
        await terminal.call(p, "nothing", {}, {}, OPERATOR)
    with pytest.raises(Malformed, match="300 °C"):
        await terminal.call(p, "hot", {"x": 999}, {}, OPERATOR)
    with pytest.raises(NotAllowed):
        await terminal.call(p, "move", {"x": 5}, {"name": "a"}, UPLOADER)
