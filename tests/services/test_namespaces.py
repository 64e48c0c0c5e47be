"""Namespaces: what is put is there, also after a restart; what is not allowed, or too much, changes nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotNow, TooLarge
from polyhost.core.namespaces import MAX_BACKUPS, MAX_NAMESPACES, MAX_RECORD_BYTES
from polyhost.core.user import GUEST, Caller
from polyhost.services.namespaces import Key, Namespaces
from polyhost.storage import namespaces as rows
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, living


async def whole(world: World, name: str, printer: str = "mk3") -> Any:
    return json.loads(await world.host.namespaces.whole(world.printers.get(printer), name, by=VIEWER))


async def test_what_is_kept_outlives_the_server_and_is_the_printer_s_own(tmp_path: Path) -> None:
    async with living(World(tmp_path, printers=("mk3", "mini"))) as world:
        kept, mk3, mini = world.host.namespaces, world.printers.get("mk3"), world.printers.get("mini")
        await kept.put(mk3, "fluidd", "uiSettings.dashboard.tools", {}, by=OPERATOR)
        await kept.put(mk3, "fluidd", ["macros", "a.b"], [1, None, "ü", 10**30], by=OPERATOR)
        await kept.put(mini, "mainsail", "initVersion", "2.14.0", by=ADMIN)
    async with living(World(tmp_path, printers=("mk3", "mini"))) as world:
        kept, mk3 = world.host.namespaces, world.printers.get("mk3")
        assert await kept.all(mk3, by=VIEWER) == ["fluidd"]
        tools = {"uiSettings": {"dashboard": {"tools": {}}}, "macros": {"a.b": [1, None, "ü", 10**30]}}
        assert await whole(world, "fluidd") == tools
        assert await kept.get(mk3, "fluidd", "uiSettings.dashboard", by=VIEWER) == b'{"tools":{}}'
        assert await whole(world, "mainsail", "mini") == {"initVersion": "2.14.0"}
        assert await kept.remove(mk3, "fluidd", ["macros", "a.b"], by=OPERATOR) == [1, None, "ü", 10**30]
        assert await whole(world, "fluidd") == {"uiSettings": {"dashboard": {"tools": {}}}}  # nothing empty is left
        await kept.remove(mk3, "fluidd", "uiSettings", by=OPERATOR)
        assert await kept.all(mk3, by=VIEWER) == []
        with pytest.raises(NotFound, match="Namespace fluidd not found"):
            await whole(world, "fluidd")


@pytest.mark.parametrize("key", ["x", "a.x", "a.b.c", "list.0", "word.length", ["a.b"], ["a", "b", "c"]])
async def test_what_is_not_there_is_not_found(world: World, key: Key) -> None:
    kept, mk3 = world.host.namespaces, world.printers.get("mk3")
    await kept.put(mk3, "n", "a.b", 5, by=ADMIN)
    await kept.put(mk3, "n", "list", [1], by=ADMIN)
    await kept.put(mk3, "n", "word", "ward", by=ADMIN)
    for asked in (kept.get(mk3, "n", key, by=ADMIN), kept.remove(mk3, "n", key, by=ADMIN)):
        with pytest.raises(NotFound) as refused:
            await asked
        assert str(refused.value) == f"Key '{key}' in namespace 'n' not found"
    assert await whole(world, "n") == {"a": {"b": 5}, "list": [1], "word": "ward"}


@pytest.mark.parametrize("key", ["", ".", "a..b", "a.", [], [""], ["a", ""], ".".join("x" * 33), "x" * 256])
async def test_a_key_that_is_none_is_refused(world: World, key: Key) -> None:
    kept, mk3 = world.host.namespaces, world.printers.get("mk3")
    for asked in (
        kept.put(mk3, "n", key, 1, by=ADMIN),
        kept.get(mk3, "n", key, by=ADMIN),
        kept.remove(mk3, "n", key, by=ADMIN),
    ):
        with pytest.raises(Malformed):
            await asked


async def test_bounds_are_kept_and_nothing_is_changed_beyond(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, mk3 = world.host.namespaces, world.printers.get("mk3")
    for name in ("", "x" * 256, "a\nb"):
        with pytest.raises(Malformed):
            await kept.put(mk3, name, "k", 1, by=ADMIN)
    half = "x" * (MAX_RECORD_BYTES // 2)
    await kept.put(mk3, "n", "record.one", half, by=ADMIN)
    with pytest.raises(TooLarge, match="1048576 bytes"):
        await kept.put(mk3, "n", "record.two", half, by=ADMIN)
    assert await whole(world, "n") == {"record": {"one": half}}
    with pytest.raises(Malformed, match="not an object"):
        await kept.put(mk3, "n", "record.one.two.three", 1, by=ADMIN)
    await asyncio.gather(*(kept.put(mk3, f"n{n}", "k", n, by=ADMIN) for n in range(MAX_NAMESPACES - 1)))
    with pytest.raises(TooLarge, match="200 namespaces"):
        await kept.put(mk3, "one more", "k", 1, by=ADMIN)
    monkeypatch.setattr(rows, "MAX_TOTAL_BYTES", MAX_RECORD_BYTES)
    with pytest.raises(TooLarge, match="delete some"):
        await kept.put(mk3, "n", "other", half, by=ADMIN)
    assert len(await kept.all(mk3, by=ADMIN)) == MAX_NAMESPACES


async def test_two_who_write_into_one_record_at_once_lose_nothing(world: World) -> None:
    kept, mk3 = world.host.namespaces, world.printers.get("mk3")
    await asyncio.gather(*(kept.put(mk3, "n", ["shared", f"k{n}"], n, by=ADMIN) for n in range(100)))
    assert await whole(world, "n") == {"shared": {f"k{n}": n for n in range(100)}}


@pytest.mark.parametrize(("by", "looks", "writes"), [(GUEST, 0, 0), (VIEWER, 1, 0), (OPERATOR, 1, 1), (ADMIN, 1, 1)])
async def test_who_may(world: World, by: Caller, looks: int, writes: int) -> None:
    kept, mk3 = world.host.namespaces, world.printers.get("mk3")
    await kept.put(mk3, "n", "k", 1, by=ADMIN)
    for asked in (kept.all(mk3, by=by), kept.whole(mk3, "n", by=by), kept.get(mk3, "n", "k", by=by)):
        assert await is_done(asked) == bool(looks)
    assert kept.may_change(mk3, by) == bool(writes)
    for asked in (kept.put(mk3, "n", "k", 1, by=by), kept.remove(mk3, "n", "k", by=by)):
        assert await is_done(asked) == bool(writes)
    if by is not ADMIN:
        for copied in (kept.back_up(mk3, "b", by=by), kept.restore(mk3, "b", by=by), kept.compact(by=by)):
            assert not await is_done(copied)


async def is_done(asked: Any) -> bool:
    try:
        await asked
    except NotAllowed:
        return False
    return True


async def test_a_backup_brings_all_of_it_back(world: World, tmp_path: Path) -> None:
    kept, mk3 = world.host.namespaces, world.printers.get("mk3")
    await fill(kept, world, {"a": 1, "b": {"c": {}}})
    await kept.back_up(mk3, "x?y #%.db", by=ADMIN)
    assert await kept.backups(mk3, by=ADMIN) == ["x?y #%.db"]
    with pytest.raises(NotNow, match="already"):
        await kept.back_up(mk3, "x?y #%.db", by=ADMIN)
    await kept.put(mk3, "other", "k", 1, by=ADMIN)
    await kept.put(mk3, "n", "a", 2, by=ADMIN)
    assert await kept.restore(mk3, "x?y #%.db", by=ADMIN) == ["n"]
    assert await whole(world, "n") == {"a": 1, "b": {"c": {}}}
    assert await kept.all(mk3, by=ADMIN) == ["n"]
    (tmp_path / "backups" / "namespaces" / "mk3" / "wrong").write_bytes(b"no database" * 100)
    with pytest.raises(Malformed, match="not a backup"):
        await kept.restore(mk3, "wrong", by=ADMIN)
    for name in ("none", "../mk3", ".."):
        with pytest.raises((NotFound, Malformed)):
            await kept.restore(mk3, name, by=ADMIN)
        with pytest.raises((NotFound, Malformed)):
            await kept.drop_backup(mk3, name, by=ADMIN)
    for number in range(MAX_BACKUPS - 2):
        await kept.back_up(mk3, f"b{number}", by=ADMIN)
    with pytest.raises(NotNow, match="limit"):
        await kept.back_up(mk3, "one more", by=ADMIN)
    await kept.drop_backup(mk3, "b0", by=ADMIN)
    await kept.back_up(mk3, "one more", by=ADMIN)
    assert await whole(world, "n") == {"a": 1, "b": {"c": {}}}


async def fill(kept: Namespaces, world: World, records: dict[str, Any]) -> None:
    for key, value in records.items():
        await kept.put(world.printers.get("mk3"), "n", [key], value, by=ADMIN)


async def test_compacting_gives_room_back_and_waits_for_prints(world: World) -> None:
    kept, mk3 = world.host.namespaces, world.printers.get("mk3")
    await kept.put(mk3, "n", "k", "x" * 900_000, by=ADMIN)
    await kept.remove(mk3, "n", "k", by=ADMIN)
    before, after = await kept.compact(by=ADMIN)
    assert after < before - 800_000
    await world.upload("a.gcode")
    await world.runs.start(mk3, "a.gcode", by=ADMIN)
    with pytest.raises(NotNow, match="mk3 prints"):
        await kept.compact(by=ADMIN)
    with pytest.raises(NotNow, match="printing"):
        await kept.restore(mk3, "b", by=ADMIN)


async def test_a_printer_that_goes_takes_its_namespaces_along(world: World) -> None:
    kept = world.host.namespaces
    await kept.put(world.printers.get("mk3"), "n", "k", 1, by=ADMIN)
    await world.records.drop_printer("mk3")
    assert await kept.all(world.printers.get("mk3"), by=ADMIN) == []
