"""What a firmware asks of people and tells them: bounded, plain, answered once."""

from typing import Any

import pytest

from polyhost.core.errors import Malformed, NotAllowed, NotNow
from polyhost.core.events import FirmwareNotified, HostActionRequested, PrinterStateChanged, PromptClosed, PromptShown
from polyhost.core.printer import PrinterState
from polyhost.services.prompts import MAX_CHOICES, MAX_NOTIFICATIONS, MAX_TEXT
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, until


def say(world: World, *actions: tuple[str, str]) -> None:
    for action, text in actions:
        world.printers.heard(HostActionRequested("mk3", action, text))


QUESTION = (("prompt_begin", "Filament?"), ("prompt_choice", "Load"), ("prompt_button", "Skip"), ("prompt_show", ""))


async def test_a_question_is_shown_when_it_is_whole_and_answered_once(world: World) -> None:
    p, prompts = world.printers.default(), world.host.prompts
    with world.bus.listen() as heard:
        say(world, *QUESTION[:3])
        say(world, ("prompt_show", ""))
        events: list[Any] = []
        while not events or events[-1] != PromptShown("mk3", "Filament?", ("Load", "Skip")):
            events.append(await anext(heard))
        asked = prompts.open_prompt(p)
        assert asked is not None
        assert asked.choices == ("Load", "Skip")
        for wrong in (-1, 2):
            with pytest.raises(Malformed, match="0 to 1"):
                await prompts.answer(p, wrong, OPERATOR)
        with pytest.raises(NotAllowed):
            await prompts.answer(p, 1, VIEWER)
        await prompts.answer(p, 1, OPERATOR)
        assert world.driver.told == [("send", "M876 S1")]
        while events[-1] != PromptClosed("mk3"):
            events.append(await anext(heard))
        with pytest.raises(NotNow):
            await prompts.answer(p, 1, OPERATOR)


@pytest.mark.parametrize(
    "end", [HostActionRequested("mk3", "prompt_end"), PrinterStateChanged("mk3", PrinterState.OFFLINE)]
)
async def test_a_question_ends_with_the_firmwares_word_and_with_the_link(world: World, end: Any) -> None:
    p = world.printers.default()
    say(world, *QUESTION)
    await until(lambda: world.host.prompts.open_prompt(p))
    world.printers.heard(end)
    await until(lambda: world.host.prompts.open_prompt(p) is None)


async def test_what_a_firmware_says_is_bounded_and_plain(world: World) -> None:
    p, prompts = world.printers.default(), world.host.prompts
    say(world, ("prompt_begin", "\x1b[2J<b>" + "x" * 2000), *[("prompt_choice", "c")] * (MAX_CHOICES + 5))
    say(world, ("prompt_show", ""), *[("notification", f"n{n}\u202e") for n in range(MAX_NOTIFICATIONS + 5)])
    await until(lambda: (heard := prompts.notifications(p)) and heard[-1].text == f"n{MAX_NOTIFICATIONS + 4}")
    asked = prompts.open_prompt(p)
    assert asked is not None
    assert asked.text.startswith("[2J<b>x")
    assert len(asked.text) < MAX_TEXT
    assert (len(asked.choices), len(prompts.notifications(p))) == (MAX_CHOICES, MAX_NOTIFICATIONS)
    with pytest.raises(NotAllowed):
        prompts.clear(p, VIEWER)
    prompts.clear(p, OPERATOR)
    assert prompts.notifications(p) == ()


async def test_a_notice_is_told_and_has_its_time(world: World) -> None:
    with world.bus.listen() as heard:
        say(world, ("notification", "Door open"))
        while await anext(heard) != FirmwareNotified("mk3", "Door open"):
            pass
    [notice] = world.host.prompts.notifications(world.printers.default())
    assert (notice.at, notice.text) == (world.clock.now(), "Door open")


async def test_somebody_at_the_machine_may_start_the_chosen_file_and_not_shut_the_host_down(world: World) -> None:
    p = world.printers.default()
    say(world, ("shutdown", ""), ("start", ""))  # nothing is chosen: nothing begins
    await world.upload("a.gcode")
    await world.runs.select(p, "a.gcode", ADMIN)
    say(world, ("start", ""))
    await until(lambda: world.driver.orders)
    run = world.runs.current(p)
    assert run is not None
    assert (run.path, run.by) == ("a.gcode", "the printer")
