"""Filament is counted for the spool that it is drawn from, once, and reported when Spoolman can be reached."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from polyhost.config import Config, Moonraker
from polyhost.core.errors import LinkLost, Malformed, NotAllowed, NotFound
from polyhost.core.events import RunEnded
from polyhost.core.job import Run, RunState
from polyhost.services import spoolman
from polyhost.services.spoolman import SpoolUse, drawn
from tests.services.spool_server import SpoolServer, spool_server
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, living, until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoolman, "CHECK_EVERY_S", 0.02)


@contextlib.asynccontextmanager
async def world_of(data: Path, url: str) -> AsyncIterator[World]:
    settings = msgspec.structs.replace(Config(), moonraker=Moonraker(spoolman=url))
    async with living(World(data, settings=settings)) as world:
        going = asyncio.create_task(world.host.spoolman.run())
        try:
            yield world
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)


def ends(world: World, run_id: str, filament_mm: float | None) -> None:
    run = Run(run_id, "mk3", "a.gcode", "", 1, RunState.COMPLETED, "ada", 1.0, 2.0, filament_mm=filament_mm)
    world.bus.publish(RunEnded("mk3", run))


@pytest.mark.parametrize(
    ("before", "run", "mm", "after"),
    [
        (SpoolUse(1), "a", 10.0, SpoolUse(1, {1: 10.0}, "a", 10.0)),
        (SpoolUse(1, {1: 5.0}), "a", 10.0, SpoolUse(1, {1: 15.0}, "a", 10.0)),
        (SpoolUse(None), "a", 10.0, SpoolUse(None, {}, "a", 10.0)),
        (SpoolUse(2, {1: 4.0}, "a", 4.0), "a", 10.0, SpoolUse(2, {1: 4.0, 2: 6.0}, "a", 10.0)),
        (SpoolUse(1, {}, "a", 10.0), "a", 10.0, SpoolUse(1, {}, "a", 10.0)),
        (SpoolUse(1, {}, "a", 10.0), "a", 9.5, SpoolUse(1, {}, "a", 10.0)),  # pulled back a little
        (SpoolUse(1, {}, "a", 10.0), "b", 3.0, SpoolUse(1, {1: 3.0}, "b", 3.0)),
    ],
)
def test_what_was_drawn_is_counted_once(before: SpoolUse, run: str, mm: float, after: SpoolUse) -> None:
    assert drawn(before, run, mm) == after


async def test_what_runs_drew_is_reported_and_kept_until_it_can_be(tmp_path: Path) -> None:
    server = SpoolServer()
    async with spool_server(server), world_of(tmp_path, server.url) as world:
        counted, mk3 = world.host.spoolman, world.printers.get("mk3")
        await until(lambda: counted.connected)
        await counted.set_spool(mk3, 1, by=OPERATOR)
        ends(world, "a", 12.5)
        ends(world, "b", None)
        await until(lambda: server.spools[1] == 987.5 and not counted.use(mk3).pending)
    async with world_of(tmp_path, server.url) as world:
        counted, mk3 = world.host.spoolman, world.printers.get("mk3")
        ends(world, "c", 100.0)
        await until(lambda: counted.use(mk3).pending == {1: 100.0})
        assert not counted.connected
    async with world_of(tmp_path, server.url) as world:
        counted, mk3 = world.host.spoolman, world.printers.get("mk3")
        assert counted.use(mk3) == SpoolUse(1, {1: 100.0}, "c", 100.0)
        async with spool_server(server):
            await until(lambda: server.spools[1] == 887.5 and not counted.use(mk3).pending)
        await until(lambda: not counted.connected)
    uses = [body for method, _, body in server.asked if method == "PUT"]
    assert uses == [{"use_length": 12.5}, {"use_length": 100.0}]


async def test_a_spool_changed_in_mid_run_has_its_part(tmp_path: Path) -> None:
    async with spool_server() as server, world_of(tmp_path, server.url) as world:
        counted, mk3 = world.host.spoolman, world.printers.get("mk3")
        await counted.set_spool(mk3, 1, by=OPERATOR)
        await world.upload("a.gcode")
        run = await world.runs.start(mk3, "a.gcode", by=ADMIN)
        assert world.driver.snapshot.run is not None
        world.driver.say(run=msgspec.structs.replace(world.driver.snapshot.run, filament_mm=30.0))
        await counted.set_spool(mk3, 2, by=OPERATOR)
        ends(world, run.id, 50.0)
        await until(lambda: server.spools == {1: 970.0, 2: 1980.0})


async def test_a_spool_that_is_gone_is_no_more_the_printer_s(tmp_path: Path) -> None:
    async with spool_server() as server, world_of(tmp_path, server.url) as world:
        counted, mk3 = world.host.spoolman, world.printers.get("mk3")
        await counted.set_spool(mk3, 7, by=OPERATOR)
        ends(world, "a", 5.0)
        await until(lambda: counted.use(mk3).spool_id is None)
        assert counted.use(mk3).pending == {}


async def test_what_is_not_taken_is_sent_again(tmp_path: Path) -> None:
    async with spool_server() as server, world_of(tmp_path, server.url) as world:
        counted, mk3 = world.host.spoolman, world.printers.get("mk3")
        server.answers["/api/v1/spool/1/use"] = ("500 Broken", b"{}")
        await counted.set_spool(mk3, 1, by=OPERATOR)
        ends(world, "a", 5.0)
        await until(lambda: len(server.asked) >= 2)
        assert counted.use(mk3).pending == {1: 5.0}
        del server.answers["/api/v1/spool/1/use"]
        await until(lambda: server.spools[1] == 995.0)


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/v1", None, None),
        ("GET", "/v2/spool", None, None),
        ("GET", "v1/spool", None, None),
        ("GET", "/v1/../../secret", None, None),
        ("GET", "/v1/./x", None, None),
        ("GET", "/v1/%2e%2e/x", None, None),
        ("GET", "/v1//x", None, None),
        ("GET", "/v1/spool?x#y", None, None),
        ("GET", "/v1?x", None, None),
        ("GET", "/v1/spool#x", None, None),
        ("GET", "/v1/spool\r\nX: y", None, None),
        ("GET", "/v1/spool\n", None, None),
        ("GET", "/v1/spool", "a b", None),
        ("GET", "/v1/spool", "a#b", None),
        ("GET", "/v1/spool", "ä", None),
        ("GET", "/v1/spool", "x" * 8193, None),
        ("GET", "/v1/spool", None, {}),
        ("TRACE", "/v1/spool", None, None),
        ("get", "/v1/spool", None, None),
    ],
)
async def test_nothing_odd_is_passed_on(
    tmp_path: Path, method: str, path: str, query: str | None, body: object
) -> None:
    async with spool_server() as server, world_of(tmp_path, server.url) as world:
        with pytest.raises(Malformed):
            await world.host.spoolman.proxy(world.printers.get("mk3"), method, path, query, body, by=ADMIN)
        assert server.asked == []


async def test_who_may_ask_and_change(tmp_path: Path) -> None:
    async with spool_server() as server, world_of(tmp_path, server.url) as world:
        counted, mk3 = world.host.spoolman, world.printers.get("mk3")
        answer = await counted.proxy(mk3, "GET", "/v1/spool", "limit=5&sort=a%3Aasc", None, by=VIEWER)
        assert [spool["id"] for spool in answer.body] == [1, 2]
        assert server.asked == [("GET", "/api/v1/spool?limit=5&sort=a%3Aasc", None)]
        await counted.proxy(mk3, "GET", "/v1/spool?allow_archived=True", None, None, by=VIEWER)
        assert server.asked[-1] == ("GET", "/api/v1/spool?allow_archived=True", None)
        await counted.proxy(mk3, "GET", "/v1/spool?a=1", "b=2", None, by=VIEWER)
        assert server.asked[-1] == ("GET", "/api/v1/spool?a=1&b=2", None)
        assert b"authorization" not in server.head.lower()
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            with pytest.raises(NotAllowed):
                await counted.proxy(mk3, method, "/v1/spool/1", None, None, by=VIEWER)
        with pytest.raises(NotAllowed):
            await counted.set_spool(mk3, 1, by=VIEWER)
        for spool in (-1, 1 << 31):
            with pytest.raises(Malformed):
                await counted.set_spool(mk3, spool, by=ADMIN)


@pytest.mark.parametrize("answer", [("200 OK", b"<html>"), ("200 OK", b"[" + b"0," * (3 << 20) + b"0]")])
async def test_an_answer_that_is_none_is_a_lost_link(tmp_path: Path, answer: tuple[str, bytes]) -> None:
    async with spool_server() as server, world_of(tmp_path, server.url) as world:
        server.answers["/api/v1/x"] = answer
        with pytest.raises(LinkLost):
            await world.host.spoolman.proxy(world.printers.get("mk3"), "GET", "/v1/x", None, None, by=ADMIN)


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    async with spool_server() as server, world_of(tmp_path, server.url) as world:
        server.answers["/api/v1/x"] = ("302 Found", b"")
        answer = await world.host.spoolman.proxy(world.printers.get("mk3"), "GET", "/v1/x", None, None, by=ADMIN)
        assert (answer.status, answer.is_error) == (302, True)


async def test_without_one_there_is_nothing(world: World) -> None:
    mk3 = world.printers.get("mk3")
    for asked in (
        world.host.spoolman.set_spool(mk3, 1, by=ADMIN),
        world.host.spoolman.proxy(mk3, "GET", "/v1/spool", None, None, by=ADMIN),
    ):
        with pytest.raises(NotFound):
            await asked
