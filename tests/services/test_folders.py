"""Plain folders: everything in them, nothing outside; written whole or not at all (S4, S5, R13)."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyhost.config import Uploads
from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, NotKnown, NotNow
from polyhost.core.events import FilesChanged
from polyhost.core.user import GUEST, Permission
from polyhost.services import folders
from polyhost.services.bus import Bus
from polyhost.services.folders import PlainFolder
from polyhost.services.printer_files import CARD, card_of, documents
from tests.services.world import ADMIN, OPERATOR, World


def plain(place: Path, **how: Any) -> PlainFolder:
    return PlainFolder(
        place / "p" / "config", "config", Bus(), Uploads(keep_free_bytes=0), **{"needs": Permission.SETTINGS, **how}
    )


async def paths(folder: PlainFolder) -> list[str]:
    return list(await folder.all())


def on_disk(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*")}


async def test_files_are_written_moved_copied_and_removed(tmp_path: Path) -> None:
    folder = plain(tmp_path)
    assert await paths(folder) == []
    entry = await folder.write("a/b/x.cfg", b"[x]\n", ADMIN)
    assert (entry.path, entry.size_bytes, entry.is_folder, entry.writable) == ("a/b/x.cfg", 4, False, True)
    assert await folder.read("a/b/x.cfg") == b"[x]\n"
    assert [entry.path for entry in await folder.entries("a")] == ["a/b"]
    assert (await folder.copy("a", "c", ADMIN)).is_folder
    assert (await folder.move("c/b/x.cfg", "a", ADMIN)).path == "a/x.cfg"
    await folder.write("y.cfg", b"y", ADMIN)
    assert (await folder.move("y.cfg", "a/x.cfg", ADMIN)).size_bytes == 1
    assert (await folder.copy("a/b/x.cfg", "a/x.cfg", ADMIN)).size_bytes == 4
    await folder.make_folder("d/e", ADMIN)
    with pytest.raises(NotNow):
        await folder.delete("d", ADMIN, only_empty=True)
    await folder.delete("d/e", ADMIN, only_empty=True)
    await folder.delete("c", ADMIN)
    assert set(await paths(folder)) == {"a", "a/b", "a/b/x.cfg", "a/x.cfg", "d"}
    assert on_disk(tmp_path / "p" / "config") == set(await paths(folder)), "nothing is left beside them"
    assert on_disk(tmp_path / "p") == {"config", *(f"config/{path}" for path in await paths(folder))}


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda folder: folder.make_folder("a", ADMIN), NotNow),
        (lambda folder: folder.make_folder("a/x/b", ADMIN), NotNow),
        (lambda folder: folder.write("a", b"", ADMIN), NotNow),
        (lambda folder: folder.write("", b"", ADMIN), Malformed),
        (lambda folder: folder.move("a", "a/b", ADMIN), Malformed),
        (lambda folder: folder.move("a", "a", ADMIN), Malformed),
        (lambda folder: folder.copy("a", "a/b", ADMIN), Malformed),
        (lambda folder: folder.move("a", "a/x", ADMIN), Malformed),
        (lambda folder: folder.move("f", "a/x", ADMIN), NotNow),
        (lambda folder: folder.move("a/x", "none/x", ADMIN), NotFound),
        (lambda folder: folder.move("none", "b", ADMIN), NotFound),
        (lambda folder: folder.copy("none", "b", ADMIN), NotFound),
        (lambda folder: folder.delete("none", ADMIN), NotFound),
        (lambda folder: folder.delete("", ADMIN), Malformed),
        (lambda folder: folder.read("a"), NotFound),
        (lambda folder: folder.entries("a/x"), NotFound),
        (lambda folder: folder.write("y", b"", OPERATOR), NotAllowed),
        (lambda folder: folder.delete("a", OPERATOR), NotAllowed),
        (lambda folder: folder.write("y", b"", GUEST), NotKnown),
    ],
)
async def test_what_cannot_be_changes_nothing(tmp_path: Path, change: Any, refusal: type[Exception]) -> None:
    folder = plain(tmp_path)
    await folder.write("a/x", b"x", ADMIN)
    await folder.make_folder("f", ADMIN)
    before = await folder.all()
    with pytest.raises(refusal):
        await change(folder)
    assert await folder.all() == before


HOSTILE = (
    *("..", "../canary", "a/../../canary", "/../canary", ".hidden", "a/.theme", ".theme/../x", ".git/config"),
    *("link/canary", "link", "a\\..\\b", "con", "a\x00b", "a\nb", "\u202egpj.exe", "x" * 256, "a/" * 40 + "b"),
)


@pytest.mark.parametrize("path", HOSTILE)
async def test_no_path_leaves_a_folder(tmp_path: Path, path: str) -> None:
    folder = plain(tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "canary").write_text("alive")
    await folder.write("a/x", b"x", ADMIN)
    (tmp_path / "p" / "config" / "link").symlink_to(tmp_path / "p")
    with pytest.raises(NotFound):
        await folder.on_disk(path)
    for change in (
        *(folder.write(path, b"gone", ADMIN), folder.make_folder(path, ADMIN), folder.delete(path, ADMIN)),
        *(folder.move("a/x", path, ADMIN), folder.copy("a/x", path, ADMIN), folder.move(path, "b", ADMIN)),
        folder.copy(path, "b", ADMIN),
    ):
        with pytest.raises((Malformed, NotFound, NotNow)):
            await change
    assert (tmp_path / "p" / "canary").read_text() == "alive"
    assert await paths(folder) == ["a", "a/x"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=20) | st.text(alphabet="./\\ a\u202e\x00é\u0301", max_size=8))
async def test_any_name_is_refused_or_is_there_under_it(tmp_path: Path, name: str) -> None:
    folder = plain(tmp_path)
    try:
        entry = await folder.write(name, b"x", ADMIN)
    except Malformed:
        assert await paths(folder) == []
        return
    assert await folder.read(name) == await folder.read(entry.path) == b"x"
    await folder.delete(entry.path.partition("/")[0], ADMIN)
    assert await paths(folder) == []


async def test_the_looks_of_front_ends_are_taken(tmp_path: Path) -> None:
    folder = plain(tmp_path)
    await folder.write(".theme/default.json", b"{}", ADMIN)
    (tmp_path / "p" / "config" / ".secret").write_text("x")
    assert await paths(folder) == [".theme", ".theme/default.json"]


async def test_what_is_rendered_is_there_and_cannot_be_changed(tmp_path: Path) -> None:
    said = {"printer.cfg": "# one\n"}
    folder = plain(tmp_path, rendered=lambda: said)
    assert await folder.read("printer.cfg") == b"# one\n"
    first = await folder.entry("printer.cfg")
    assert not first.writable
    assert await folder.entry("printer.cfg") == first, "it is not written again"
    said["printer.cfg"] = "# two\n"
    assert await folder.read("printer.cfg") == b"# two\n"
    for change in (
        *(folder.write("printer.cfg", b"", ADMIN), folder.delete("printer.cfg", ADMIN)),
        *(folder.move("printer.cfg", "x", ADMIN), folder.move("y", "printer.cfg", ADMIN)),
    ):
        await folder.write("y", b"y", ADMIN)
        with pytest.raises(NotAllowed):
            await change
    assert (await folder.copy("printer.cfg", "mine.cfg", ADMIN)).writable
    (tmp_path / "p" / "config" / "printer.cfg").unlink()
    assert await folder.read("printer.cfg") == b"# two\n"


async def test_changes_are_told_once_and_those_of_others_too(tmp_path: Path) -> None:
    bus = Bus()
    folder = PlainFolder(
        tmp_path / "c", "config", bus, Uploads(keep_free_bytes=0), printer="mk3", needs=Permission.SETTINGS
    )

    def told(heard: Any) -> list[tuple[str, str, str, bool]]:
        notices = [heard._events.popleft() for _ in range(len(heard._events))]
        assert all(notice.root == "config" and notice.printer == "mk3" for notice in notices)
        return [(notice.change, notice.path, notice.source, notice.is_folder) for notice in notices]

    with bus.listen(FilesChanged) as heard:
        await folder.rescan()
        await folder.write("f/a", b"1", ADMIN)
        assert told(heard) == [("created", "f", "", True), ("created", "f/a", "", False)]
        await folder.write("f/a", b"2", ADMIN)
        await folder.copy("f", "g", ADMIN)
        await folder.move("g", "h", ADMIN)
        await folder.delete("h", ADMIN)
        assert told(heard) == [
            *(("modified", "f/a", "", False), ("copied", "g", "f", True), ("moved", "h", "g", True)),
            ("removed", "h", "", True),
        ]
        await folder.rescan()
        assert told(heard) == []
        (tmp_path / "c" / "new").write_text("x")
        (tmp_path / "c" / "f" / "a").write_text("longer")
        await folder.rescan()
        assert told(heard) == [("created", "new", "", False), ("modified", "f/a", "", False)]
        (tmp_path / "c" / "f" / "a").unlink()
        (tmp_path / "c" / "f").rmdir()
        await folder.rescan()
        assert told(heard) == [("removed", "f", "", True)]


async def test_a_full_disk_refuses_and_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = plain(tmp_path)
    await folder.write("a", b"old", ADMIN)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for change in (folder.write("a", b"new", ADMIN), folder.copy("a", "b", ADMIN)):
            with pytest.raises(NoSpace):
                await change
    assert await folder.read("a") == b"old"
    assert on_disk(tmp_path / "p") == {"config", "config/a"}
    kept = PlainFolder(tmp_path / "k", "config", Bus(), Uploads(), needs=Permission.SETTINGS)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 0, 10**6))
    with pytest.raises(NoSpace):
        await kept.write("a", b"x" * 10, ADMIN)


async def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_ENTRIES", 5)
    folder = plain(tmp_path)
    for number in range(5):
        await folder.write(str(number), b"", ADMIN)
    for change in (folder.write("5", b"", ADMIN), folder.make_folder("f", ADMIN), folder.copy("1", "5", ADMIN)):
        with pytest.raises(NotNow, match="5 files"):
            await change
    await folder.write("4", b"over", ADMIN)
    (tmp_path / "p" / "config" / "by others").write_text("x")
    assert len(await paths(folder)) == 5


async def test_documents_are_read_and_never_written(tmp_path: Path) -> None:
    place = documents()
    assert place is not None
    docs = PlainFolder(place, "docs", Bus(), Uploads())
    assert "ARCHITECTURE.md" in await paths(docs)
    assert (await docs.read("ARCHITECTURE.md")).startswith(b"# Architecture")
    for change in (docs.write("x", b"", ADMIN), docs.delete("ARCHITECTURE.md", ADMIN)):
        with pytest.raises(NotAllowed):
            await change


async def test_a_printers_card_is_true_of_it(world: World) -> None:
    p = world.printers.get("mk3")
    said = card_of(p)
    assert "\ndriver: virtual\n" in said
    assert "\n[profile _default]\n" in said
    assert "\nmax_hotend: 300.0\n" in said
    p.shown_name = "a\n[evil]\nport: /dev/x"
    assert "\n[evil]" not in card_of(p)
    folder = world.host.printer_files.config(p)
    assert (await folder.read(CARD)).decode() == card_of(p)
    assert (world.data / "printers" / "mk3" / "config" / CARD).is_file()
