"""What other hands do to the library's folder: taken once it is quiet, told once, and never what is our own."""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from polyhost.core.errors import NoSpace
from polyhost.core.events import FilesChanged
from polyhost.services.watching import Watching, told_by_kernel
from tests.services.world import ADMIN, World, living, until


def changes(heard: Any) -> list[tuple[str, str, str]]:
    """What was told so far: change, path and source."""
    told = []
    while heard._events:
        notice = heard._events.popleft()
        assert isinstance(notice, FilesChanged)
        told.append((notice.change, notice.path, notice.source))
    return told


async def settled(world: World) -> None:
    """Look until all is taken, the clock going on."""
    while not await world.files.rescan():
        world.clock.pass_s(world.files.by_others.quiet_s)


async def test_what_others_put_change_move_and_remove_is_taken(world: World) -> None:
    root = world.data / "files"
    await world.upload("ours.gcode")
    with world.bus.listen(FilesChanged) as heard:
        assert await world.files.rescan()
        assert changes(heard) == [], "what is our own is no news"
        (root / "in").mkdir()
        (root / "in" / "a.gcode").write_bytes(b"G28\n")
        await settled(world)
        assert changes(heard) == [("created", "in", ""), ("created", "in/a.gcode", "")]
        assert world.files.get("in/a.gcode").size_bytes == 4
        await until(lambda: world.files.get("in/a.gcode").metadata is not None)

        (root / "in" / "a.gcode").write_bytes(b"G28\nG1 X1\n")
        await settled(world)
        assert changes(heard) == [("modified", "in/a.gcode", "")]
        assert world.files.get("in/a.gcode").size_bytes == 10
        await world.files.reading.until_read("in/a.gcode", 5)

        os.rename(root / "in" / "a.gcode", root / "b.gcode")
        await settled(world)
        assert changes(heard) == [("moved", "b.gcode", "in/a.gcode")]
        assert world.files.get("b.gcode").metadata is not None, "it is the same file"

        os.rename(root / "b.gcode", root / "ours.gcode")
        await settled(world)
        assert changes(heard) == [("moved", "ours.gcode", "b.gcode")]
        assert world.files.get("ours.gcode").size_bytes == 10

        await world.upload("in/deep/c.gcode", b"G28\nG28\n")
        changes(heard)
        shutil.rmtree(root / "in")
        (root / "ours.gcode").unlink()
        await settled(world)
        assert set(changes(heard)) == {("removed", "in", ""), ("removed", "ours.gcode", "")}
        assert not list(world.files.tree().all_files())
        assert not world.files.tree().folders
        assert world.records.load_files() == []
        assert await world.files.rescan()
        assert changes(heard) == []


async def test_a_file_that_is_being_written_is_left_alone(world: World) -> None:
    place, quiet_s = world.data / "files" / "a.gcode", world.files.by_others.quiet_s
    with place.open("wb") as file:
        for _ in range(5):
            file.write(b"G1 X1\n")
            file.flush()
            assert not await world.files.rescan()
            world.clock.pass_s(quiet_s)
        file.write(b"G1 X1\n")
        file.flush()
        assert not world.files.exists("a.gcode")
    assert not await world.files.rescan(), "the last write has been seen only now"
    world.clock.pass_s(quiet_s / 2)
    assert not await world.files.rescan()
    await settled(world)
    assert world.files.get("a.gcode").size_bytes == 36


async def test_our_own_changes_are_told_once(world: World) -> None:
    async def look() -> None:
        while True:
            await world.files.rescan()

    looking = asyncio.create_task(look())
    with world.bus.listen(FilesChanged) as heard:
        for number in range(5):
            await world.upload(f"{number}.gcode", b"G28\n" * number)
            await world.files.move(f"{number}.gcode", f"f{number}.gcode", ADMIN)
            await world.files.copy(f"f{number}.gcode", f"g{number}.gcode", ADMIN)
            await world.files.delete(f"f{number}.gcode", ADMIN)
        told = changes(heard)
    looking.cancel()
    await asyncio.wait([looking])
    assert [change for change, _, _ in told] == ["created", "moved", "copied", "removed"] * 5


async def test_links_and_names_that_nobody_can_say_are_left_out_and_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    root = world.data / "files"
    (root / ".hidden.gcode").write_bytes(b"G28\n")
    (root / "link.gcode").symlink_to(world.data / "secret.key")
    for _ in range(3):
        await settled(world)
    assert not world.files.tree().files
    assert sum("left out" in record.message for record in caplog.records) == 1


async def test_what_was_taken_is_there_after_a_restart(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        (tmp_path / "files" / "a.gcode").write_bytes(b"G28\n")
        await settled(world)
        sha256 = world.files.get("a.gcode").sha256
    async with living(World(tmp_path)) as world:
        assert world.files.get("a.gcode").sha256 == sha256


async def watched(look: Any, watch: Any, tmp_path: Path, **times: float) -> asyncio.Task[None]:
    watching = Watching((tmp_path / "a", tmp_path / "b"), look, watch=watch, **{"again_s": 0.001, **times})
    return asyncio.create_task(watching.run())


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_kernel_tells_of_changes_below_folders_of_now_and_later(tmp_path: Path) -> None:
    seen: set[str] = set()

    async def look() -> bool:
        seen.update(path.name for path in tmp_path.rglob("*") if path.is_file())
        return True

    async def quick(places: Sequence[Path]) -> AsyncIterator[object]:
        async for change in told_by_kernel(places, debounce_ms=50, step_ms=20):
            yield change

    task = await watched(look, quick, tmp_path, poll_s=1e9)
    await until(lambda: (tmp_path / "b").exists())
    # The watch begins in a thread, so the first change is made again until it is seen.
    number = 0
    async with asyncio.timeout(20):
        while "first" not in seen:
            number += 1
            (tmp_path / "a" / "first").write_text(str(number))
            await asyncio.sleep(0.05)
        (tmp_path / "b" / "new").mkdir()
        (tmp_path / "b" / "new" / "second").write_text("x")
        while "second" not in seen:
            await asyncio.sleep(0.01)
    await stop(task)


async def test_where_the_kernel_cannot_tell_it_is_looked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return True

    async def full(places: Sequence[Path]) -> AsyncIterator[object]:
        raise OSError("OS file watch limit reached")
        yield

    with caplog.at_level(logging.WARNING):
        task = await watched(look, full, tmp_path, poll_s=0.001)
        await until(lambda: looks >= 5)
        await stop(task)
    [record] = caplog.records
    assert "watch limit" in record.message


async def test_what_cannot_be_taken_yet_is_looked_at_again_and_silence_costs_nothing(tmp_path: Path) -> None:
    changed = asyncio.Event()
    answers: list[Any] = [False, NoSpace("full"), True]
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        answer = answers.pop(0)
        if isinstance(answer, NoSpace):
            raise answer
        return bool(answer)

    async def once(places: Sequence[Path]) -> AsyncIterator[object]:
        await changed.wait()
        yield object()
        await asyncio.Event().wait()

    task = await watched(look, once, tmp_path, poll_s=1e9)
    for _ in range(20):
        await asyncio.sleep(0)
    assert looks == 0
    changed.set()
    await until(lambda: not answers)
    for _ in range(20):
        await asyncio.sleep(0)
    assert looks == 3
    await stop(task)
