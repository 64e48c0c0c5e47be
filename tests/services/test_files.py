"""The library: an upload exists whole or not at all, and what is listed is what is there (R4, R5, R7, S4, S5)."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from polyhost.config import Config, Uploads
from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, NotNow, TooLarge, TooMany
from polyhost.core.events import FileAdded, FileAnalysed, FileMoved, FilesChanged, FolderAdded, FolderRemoved
from polyhost.core.file import Analysis, File, LayerIndex, Metadata, Thumbnail
from polyhost.core.user import GUEST
from tests.services.world import ADMIN, OPERATOR, UPLOADER, VIEWER, World, living, until

LAYERS = LayerIndex((0, 2), (0.2, 0.4), (0.0, 5.0), 10.0)


def listed(world: World) -> dict[str, str]:
    return {file.path: file.sha256 for file in world.files.tree().all_files()}


async def read(world: World, path: str) -> File:
    """The file, once its header was read."""
    await until(lambda: world.files.get(path).metadata is not None)
    return world.files.get(path)


def on_disk(world: World) -> dict[str, str]:
    root = world.data / "files"
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


async def test_an_upload_is_listed_durable_and_hashed(world: World) -> None:
    content = os.urandom(2_500_000)
    with world.bus.listen(FileAdded, FolderAdded) as heard, world.bus.listen(FilesChanged) as told:
        async with world.files.upload("parts/small", "cube.gcode", UPLOADER, expected_bytes=len(content)) as upload:
            for at in range(0, len(content), 65_536):
                upload.write(content[at : at + 65_536])
                await upload.drain()
            file = await upload.commit('{"note": 1}', hashlib.sha256(content).hexdigest())
        events = [await anext(heard) for _ in range(3)]
        assert events == [FolderAdded("parts"), FolderAdded("parts/small"), FileAdded("parts/small/cube.gcode")]
        assert [await anext(told) for _ in range(3)] == [
            *(FilesChanged("gcodes", folder, "created", is_folder=True) for folder in ("parts", "parts/small")),
            FilesChanged("gcodes", "parts/small/cube.gcode", "created"),
        ]
    assert (file.path, file.size_bytes, file.by, file.userdata) == (
        *("parts/small/cube.gcode", len(content), "una"),
        '{"note": 1}',
    )
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert file.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert world.files.on_disk(file.path).read_bytes() == content
    assert world.files.folder("parts").size_bytes == world.files.tree().size_bytes == len(content)
    [stored] = world.records.load_files()
    assert stored.file.sha256 == file.sha256


async def test_an_upload_that_is_not_committed_was_never_there(world: World) -> None:
    async with world.files.upload("", "a.gcode", ADMIN) as upload:
        upload.write(b"x" * 3_000_000)
        assert len(list((world.data / "staging").iterdir())) == 1
    assert listed(world) == on_disk(world) == {}
    assert list((world.data / "staging").iterdir()) == []


async def test_a_wrong_checksum_leaves_the_old_file(world: World) -> None:
    await world.upload("a.gcode", b"old")
    before = listed(world)
    async with world.files.upload("", "a.gcode", ADMIN) as upload:
        upload.write(b"new")
        with pytest.raises(Malformed, match="SHA-256"):
            await upload.commit(sha256="0" * 64)
    assert listed(world) == on_disk(world) == before


@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=5000), cuts=st.sets(st.integers(0, 5000)), whole=st.booleans())
async def test_how_an_upload_is_cut_never_changes_what_is_kept(content: bytes, cuts: set[int], whole: bool) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    async with a_world() as world, world.files.upload("", "a.gcode", ADMIN) as upload:
        for start, end in pairwise(edges):
            upload.write(content[start:end])
            await upload.drain()
        if whole:
            await upload.commit()
            assert listed(world) == on_disk(world) == {"a.gcode": hashlib.sha256(content).hexdigest()}
        else:
            assert listed(world) == on_disk(world) == {}


async def test_the_same_name_twice_at_once_is_one_of_them_whole(world: World) -> None:
    contents = [bytes([n]) * 1_500_000 for n in range(4)]
    await asyncio.gather(*(world.upload("a.gcode", content) for content in contents))
    assert listed(world) == on_disk(world)
    assert listed(world)["a.gcode"] in {hashlib.sha256(content).hexdigest() for content in contents}
    [row] = world.records.load_files()
    assert row.file.sha256 == listed(world)["a.gcode"]


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_cancelled_at_any_moment_an_upload_happened_or_not(world: World, after: int) -> None:
    await world.upload("a.gcode", b"old")
    sending = asyncio.ensure_future(world.upload("a.gcode", b"new" * 100_000))
    for _ in range(after):
        await asyncio.sleep(0.0005)
    sending.cancel()
    await asyncio.wait([sending])
    assert listed(world) == on_disk(world)
    [row] = world.records.load_files()
    assert row.file.sha256 == listed(world)["a.gcode"]
    assert list((world.data / "staging").iterdir()) == []


NAMES = (
    st.text(max_size=40)
    | st.text(alphabet="./\\ a\u202e\x00é\u0301ß", max_size=12)
    | st.text(min_size=70, max_size=300)
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
@example("..")
@example("a" * 256)
@example("é" * 128)
@example("e\u0301" * 80)
@example("CON.gcode")
@example("$(reboot).gcode")
@example("%2e%2e%2f.gcode")
@example("<script>.gcode")
async def test_any_name_is_refused_or_listed_downloaded_and_deleted(world: World, name: str) -> None:
    try:
        async with world.files.upload("", name, ADMIN) as upload:
            upload.write(b"content")
            file = await upload.commit()
    except Malformed:
        assert listed(world) == on_disk(world) == {}
        return
    try:
        assert list(listed(world)) == [file.path] == list(on_disk(world))
        for asked in (name, file.path):
            assert world.files.get(asked).path == file.path
            assert world.files.on_disk(asked).read_bytes() == b"content"
    finally:
        await world.files.delete(name, ADMIN)
    assert listed(world) == on_disk(world) == {}


@pytest.mark.parametrize("path", ["../canary", "a/../../canary", "..", "/../canary", "....//canary", "a\\..\\canary"])
async def test_no_path_leaves_the_library(world: World, path: str) -> None:
    canary = world.data / "canary"
    canary.write_text("alive")
    await world.upload("a/x.gcode")
    files = world.files
    for looking in (files.get, files.folder, files.on_disk):
        with pytest.raises(NotFound):
            looking(path)
    with pytest.raises(NotFound):
        await files.delete(path, ADMIN)
    for changing in (files.move, files.copy):
        with pytest.raises((Malformed, NotFound)):
            await changing(path, "stolen", ADMIN)
        with pytest.raises(Malformed):
            await changing("a/x.gcode", path, ADMIN)
    with pytest.raises(Malformed):
        await files.make_folder(path, ADMIN)
    with pytest.raises(Malformed):
        files.upload(path, "x.gcode", ADMIN)
    assert canary.read_text() == "alive"
    assert list(listed(world)) == ["a/x.gcode"]


async def test_who_may_what(world: World) -> None:
    for nobody in (GUEST, VIEWER):
        with pytest.raises(NotAllowed):
            world.files.upload("", "a.gcode", nobody)
        with pytest.raises(NotAllowed):
            await world.files.make_folder("a", nobody)
    await world.upload("a.gcode", by=UPLOADER)
    with pytest.raises(NotAllowed):
        world.files.upload("", "a.gcode", UPLOADER)  # to replace is to delete
    for changing in (world.files.delete("a.gcode", UPLOADER), world.files.move("a.gcode", "b.gcode", UPLOADER)):
        with pytest.raises(NotAllowed):
            await changing
    await world.upload("a.gcode", by=OPERATOR)


async def test_refusals_come_before_a_byte_is_read(tmp_path: Path) -> None:
    bounds = Config(uploads=Uploads(max_bytes=1000, max_at_once=2, keep_free_bytes=10**18))
    async with living(World(tmp_path, settings=bounds)) as world:
        with pytest.raises(TooLarge):
            world.files.upload("", "a.gcode", ADMIN, expected_bytes=1001)
        async with world.files.upload("", "a.gcode", ADMIN) as upload, world.files.upload("", "b.gcode", ADMIN):
            with pytest.raises(TooMany) as refused:
                world.files.upload("", "c.gcode", ADMIN)
            assert refused.value.retry_after_s > 0
            with pytest.raises(TooLarge):
                upload.write(b"x" * 1001)
        async with world.files.upload("", "c.gcode", ADMIN):
            pass


async def test_free_space_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 600_000_000
    monkeypatch.setattr(world.library, "free_space", lambda: (free, 10**12))
    with pytest.raises(NoSpace, match="kept free"):
        world.files.upload("", "a.gcode", ADMIN, expected_bytes=200_000_000)
    async with world.files.upload("", "a.gcode", ADMIN) as upload:
        upload.write(b"x" * 2_000_000)
        await upload.drain()
        free = 100_000_000
        upload.write(b"x" * 2_000_000)
        with pytest.raises(NoSpace):
            await upload.commit()
    assert listed(world) == on_disk(world) == {}
    free = 600_000_000
    await world.upload("a.gcode")
    assert list(listed(world)) == ["a.gcode"]


async def test_a_place_that_cannot_be_taken_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(staged: str, path: str) -> None:
        raise NoSpace("the disk refused it")

    with monkeypatch.context() as patch:
        patch.setattr(world.library, "place", refuse)
        with pytest.raises(NoSpace):
            await world.upload("a.gcode")
    assert listed(world) == on_disk(world) == {}
    assert world.records.load_files() == []
    await world.upload("a.gcode")


async def test_folders_and_files_get_in_each_others_way(world: World) -> None:
    await world.upload("a/b.gcode")
    for blocked in (("", "a"), ("a/b.gcode", "c.gcode")):
        with pytest.raises(NotNow):
            world.files.upload(*blocked, ADMIN)
    with pytest.raises(NotNow):
        await world.files.make_folder("a", ADMIN)
    with pytest.raises(NotNow):
        await world.files.make_folder("a/b.gcode/c", ADMIN)
    with pytest.raises(NotNow):
        world.files.upload("a", "b.gcode", ADMIN, overwrite=False)


async def test_folders_move_copy_and_go_with_all_in_them(world: World) -> None:
    for path in ("a/x.gcode", "a/b/y.gcode", "z.gcode"):
        await world.upload(path, path.encode())
    sums = {path: listed(world)[path] for path in listed(world)}
    assert await world.files.copy("a", "copy", ADMIN) == "copy"
    assert await world.files.move("z.gcode", "a/b", ADMIN) == "a/b/z.gcode"
    with world.bus.listen() as heard:
        assert await world.files.move("a", "c", ADMIN) == "c"
        events = {await anext(heard) for _ in range(5)}
    assert events == {
        *(FileMoved("a/x.gcode", "c/x.gcode"), FileMoved("a/b/y.gcode", "c/b/y.gcode")),
        *(FileMoved("a/b/z.gcode", "c/b/z.gcode"), FolderRemoved("a"), FolderAdded("c")),
    }
    assert listed(world) == on_disk(world)
    assert listed(world) == {
        "copy/x.gcode": sums["a/x.gcode"],
        "copy/b/y.gcode": sums["a/b/y.gcode"],
        "c/x.gcode": sums["a/x.gcode"],
        "c/b/y.gcode": sums["a/b/y.gcode"],
        "c/b/z.gcode": sums["z.gcode"],
    }
    for moving in (world.files.move, world.files.copy):
        with pytest.raises(Malformed, match="into itself"):
            await moving("c", "c/b/d", ADMIN)
        with pytest.raises(NotNow):
            await moving("c/x.gcode", "copy/x.gcode", ADMIN)
        with pytest.raises(NotFound):
            await moving("nothing", "d", ADMIN)
    with world.bus.listen() as heard:
        await world.files.delete("c", ADMIN)
        events = [await anext(heard) for _ in range(5)]
        assert events[-2:] == [FolderRemoved("c"), FilesChanged("gcodes", "c", "removed", is_folder=True)]
    assert listed(world).keys() == on_disk(world).keys() == {"copy/x.gcode", "copy/b/y.gcode"}
    assert world.files.tree().size_bytes == len("a/x.gcode") + len("a/b/y.gcode")


async def test_the_listing_has_a_revision(world: World) -> None:
    seen = {world.files.revision}
    for change in (
        world.upload("a.gcode"),
        world.files.make_folder("f", ADMIN),
        world.files.move("a.gcode", "f", ADMIN),
        world.files.delete("f/a.gcode", ADMIN),
        world.files.delete("f", ADMIN),
    ):
        await change
        assert world.files.revision not in seen
        seen.add(world.files.revision)


async def test_headers_are_read_before_whole_files(world: World) -> None:
    picture = b"\x89PNG picture"
    thumbnail = Thumbnail(32, 32, "png", len(picture), hashlib.sha256(picture).hexdigest())
    world.reader.pictures = {thumbnail.digest: picture}
    analysis = Analysis(10.0, 2, 1, {}, None, None, LAYERS)
    world.reader.found["a.gcode"] = Metadata(slicer="Cura", thumbnails=(thumbnail,))
    world.reader.found["b.gcode"] = Malformed("garbage")
    world.reader.analyses = {"a.gcode": analysis, "b.gcode": Malformed("garbage")}
    with world.bus.listen() as heard:
        await asyncio.gather(world.upload("a.gcode"), world.upload("b.gcode"), world.upload("notes.txt"))
        assert (await read(world, "a.gcode")).metadata == Metadata(slicer="Cura", thumbnails=(thumbnail,))
        async for notice in heard:
            if notice == FileAnalysed("a.gcode", whole=True):
                break
    assert world.files.get("b.gcode").metadata is None
    assert world.files.get("notes.txt").metadata is None
    assert world.files.get("a.gcode").analysis == analysis.outline()
    assert await world.files.analysis("a.gcode") == analysis
    assert await world.files.thumbnail(thumbnail.digest) == (picture, "image/png")
    await until(lambda: "whole b.gcode" in world.reader.asked)
    assert all("notes" not in asked for asked in world.reader.asked)


async def test_a_file_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def metadata(file: Path) -> tuple[Metadata, dict[str, bytes]]:
        content = file.read_bytes()
        reading.set()
        await go_on.wait()
        return Metadata(slicer=content.decode()), {}

    world.reader.metadata = metadata  # type: ignore[method-assign]
    async with living(world):
        await world.upload("a.gcode", b"old")
        await reading.wait()
        await world.upload("a.gcode", b"new")
        go_on.set()
        file = await read(world, "a.gcode")
        assert file.metadata == Metadata(slicer="new")


# After a restart


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.upload("a/b.gcode", b"b")
        await world.files.make_folder("empty", ADMIN)
        before = (await read(world, "a/b.gcode")), listed(world)
    async with living(World(tmp_path)) as world:
        assert (world.files.get("a/b.gcode"), listed(world)) == before
        assert world.files.folder("empty").files == {}
        assert "header of b.gcode" not in world.reader.asked


async def test_what_other_hands_did_to_the_disk_is_noticed(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        for path in ("changed.gcode", "gone.gcode", "folder/moved.gcode", "kept.gcode"):
            await world.upload(path, path.encode(), by=OPERATOR)
    root = tmp_path / "files"
    (root / "changed.gcode").write_bytes(b"other content")
    (root / "gone.gcode").unlink()
    (root / "folder").rename(root / "elsewhere")
    (root / "new.gcode").write_bytes(b"new")
    (tmp_path / "staging" / "left").write_bytes(b"half an upload")
    async with living(World(tmp_path)) as world:
        await until(lambda: len(listed(world)) == 4)
        assert listed(world) == on_disk(world)
        assert list((tmp_path / "staging").iterdir()) == []
        assert world.files.get("elsewhere/moved.gcode").by == "oz"
        assert world.files.get("new.gcode").by == ""
        with pytest.raises(NotFound):
            world.files.get("gone.gcode")
        with pytest.raises(NotFound):
            world.files.folder("folder")
    async with living(World(tmp_path)) as world:
        assert listed(world) == on_disk(world)


async def test_a_rename_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.upload("a.gcode", b"old")
        staged = world.library.stage()
        staged.write(b"new")
        found, digests = staged.finish()
        stored = world.files.stored("a.gcode", found, digests, OPERATOR, '{"n": 1}', staged.name)
        await world.records.keep_file(stored)  # and here the power goes
    async with living(World(tmp_path)) as world:
        file = world.files.get("a.gcode")
        assert (file.userdata, file.by) == ('{"n": 1}', "oz")
        assert world.files.on_disk("a.gcode").read_bytes() == b"new"
        assert listed(world) == on_disk(world)


async def test_pictures_of_files_that_are_gone_go_at_the_next_start(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        world.reader.pictures = {"ab": b"1"}
        world.reader.found["a.gcode"] = Metadata(thumbnails=(Thumbnail(1, 1, "png", 1, "ab"),))
        await world.upload("a.gcode")
        await read(world, "a.gcode")
    async with living(World(tmp_path)) as world:
        assert await world.files.thumbnail("ab") == (b"1", "image/jpeg")
        await world.files.delete("a.gcode", ADMIN)
    async with living(World(tmp_path)) as world:
        with pytest.raises(NotFound):
            await world.files.thumbnail("ab")


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    """For Hypothesis, which wants a new folder for each example."""
    with tempfile.TemporaryDirectory() as folder:
        async with living(World(Path(folder))) as world:
            yield world


async def test_a_folder_is_as_old_after_a_restart_as_before(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.files.make_folder("old", ADMIN)
        [place] = tmp_path.rglob("old")
    os.utime(place, (1e9, 1e9))
    async with living(World(tmp_path)) as world:
        assert world.files.folder("old").modified_at == 1e9
