"""Power devices are asked in their own words, are what they say, and are left alone while they are locked."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyhost.config import Config
from polyhost.config import Power as PowerSettings
from polyhost.core.errors import LinkLost, Malformed, NotAllowed, NotFound, NotNow
from polyhost.core.events import PowerChanged
from polyhost.services import power
from tests.services.switches import switchboard
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, living, until


@contextlib.asynccontextmanager
async def world_of(data: Path, *devices: PowerSettings) -> AsyncIterator[World]:
    settings = msgspec.structs.replace(Config(), power=devices)
    async with living(World(data, printers=("mk3", "mini"), settings=settings)) as world:
        yield world


KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "tasmota": (
        {"output": 2, "password": "s3cr&t"},
        [
            "GET /cm?user=admin&password=s3cr%26t&cmnd=Power2",
            "GET /cm?user=admin&password=s3cr%26t&cmnd=Power2%20on",
        ],
    ),
    "shelly": ({}, ["GET /relay/0", "GET /relay/0?turn=on"]),
    "homeassistant": (
        {"entity": "light.shelf", "token": "s3cr&t"},
        [
            "GET /api/states/light.shelf",
            'POST /api/services/light/turn_on {"entity_id":"light.shelf"}',
            "GET /api/states/light.shelf",
        ],
    ),
    "http": ({"on_text": "is on"}, ["GET /x", "GET /x_on", "GET /x"]),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_in_its_own_words(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    more, words = KINDS[kind]
    async with switchboard() as board:
        urls: dict[str, Any] = {"url": board.url}
        if kind == "http":
            urls = {"url": f"{board.url}/x", "on_url": f"{board.url}/x_on", "off_url": f"{board.url}/x_off"}
        async with world_of(tmp_path, PowerSettings("psu", kind, **urls, **more)) as world:  # type: ignore[arg-type]
            switches, mk3 = world.host.power, world.printers.get("mk3")
            assert switches.get(mk3, "psu", by=VIEWER).status == "init"
            with world.bus.listen(PowerChanged) as heard:
                assert await switches.status(mk3, "psu", by=VIEWER) == "off"
                assert await anext(heard) == PowerChanged("psu", "off")
                assert await switches.switch(mk3, "psu", "on", by=OPERATOR) == "on"
                assert await anext(heard) == PowerChanged("psu", "on")
                assert board.asked == words
                assert await switches.switch(mk3, "psu", "toggle", by=OPERATOR) == "off"
                assert await anext(heard) == PowerChanged("psu", "off")
                assert not board.on
                board.answer = ("500 Broken", "")
                with pytest.raises(LinkLost, match="the power device psu answers 500"):
                    await switches.switch(mk3, "psu", "on", by=OPERATOR)
                assert await anext(heard) == PowerChanged("psu", "error")
                assert await switches.status(mk3, "psu", by=VIEWER) == "error"
            if more.get("token"):
                assert "authorization: Bearer s3cr&t" in board.heads[0]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("polyhost")]
    assert "s3cr" not in " ".join(ours)  # httpx, which tells whole addresses, is silenced where logs are set up


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"POWER1": 1}', '{"POWER1": "maybe"}', "x" * 70_000])
async def test_what_makes_no_sense_is_an_error(tmp_path: Path, said: str) -> None:
    async with switchboard() as board, world_of(tmp_path, PowerSettings("psu", "tasmota", board.url)) as world:
        board.answer = ("200 OK", said)
        assert await world.host.power.status(world.printers.get("mk3"), "psu", by=VIEWER) == "error"


async def test_one_that_cannot_be_asked_is_what_it_was_told(tmp_path: Path) -> None:
    async with switchboard() as board:
        plain = PowerSettings("fan", "http", on_url=f"{board.url}/on", off_url=f"{board.url}/off")
        async with world_of(tmp_path, plain) as world:
            switches, mk3 = world.host.power, world.printers.get("mk3")
            assert await switches.status(mk3, "fan", by=VIEWER) == "init"
            assert await switches.switch(mk3, "fan", "toggle", by=OPERATOR) == "on"
            assert await switches.status(mk3, "fan", by=VIEWER) == "on"


async def test_a_locked_one_is_left_alone_while_its_printer_prints(tmp_path: Path) -> None:
    async with switchboard() as board:
        locked = PowerSettings("psu", "shelly", board.url, printers=("mk3",), locked_while_printing=True)
        free = PowerSettings("light", "shelly", board.url)
        async with world_of(tmp_path, locked, free) as world:
            switches, mk3, mini = world.host.power, world.printers.get("mk3"), world.printers.get("mini")
            assert [switch.name for switch in switches.all(mini, by=VIEWER)] == ["light"]
            with pytest.raises(NotFound):
                await switches.switch(mini, "psu", "on", by=ADMIN)
            await world.upload("a.gcode")
            await world.runs.start(mini, "a.gcode", by=ADMIN)
            assert await switches.switch(mk3, "psu", "on", by=OPERATOR) == "on"
            await world.runs.start(mk3, "a.gcode", by=ADMIN)
            for action in ("off", "on", "toggle"):
                with pytest.raises(NotNow, match="psu is left alone while"):
                    await switches.switch(mk3, "psu", action, by=ADMIN)
            assert board.on
            assert await switches.switch(mk3, "light", "off", by=OPERATOR) == "off"


async def test_who_may_and_what(tmp_path: Path) -> None:
    async with switchboard() as board, world_of(tmp_path, PowerSettings("psu", "shelly", board.url)) as world:
        switches, mk3 = world.host.power, world.printers.get("mk3")
        with pytest.raises(NotAllowed):
            await switches.switch(mk3, "psu", "on", by=VIEWER)
        for action in ("", "ON", "explode"):
            with pytest.raises(Malformed):
                await switches.switch(mk3, "psu", action, by=ADMIN)
        assert board.asked == []


async def test_they_are_asked_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "LOOK_EVERY_S", 0.01)
    async with switchboard() as board, world_of(tmp_path, PowerSettings("psu", "shelly", board.url)) as world:
        going = asyncio.create_task(world.host.power.run())
        switch = world.host.power.get(world.printers.get("mk3"), "psu", by=VIEWER)
        await until(lambda: switch.status == "off")
        board.on = True  # by a hand at the switch itself
        await until(lambda: switch.status == "on")
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
