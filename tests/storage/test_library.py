"""The file tree on a real disk."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyhost.core.errors import Malformed, NoSpace, NotFound, NotNow
from polyhost.storage.library import Library, disk


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "files", tmp_path / "staging", tmp_path / "thumbnails")


def put(library: Library, path: str, content: bytes) -> None:
    staged = library.stage()
    staged.write(content)
    staged.finish()
    library.place(staged.name, path)


def test_what_arrives_is_hashed_and_gets_its_place(library: Library, tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    staged = library.stage()
    staged.write(content[:1_000_000])
    staged.write(bytearray(content[1_000_000:]))
    on_disk, digests = staged.finish()
    assert library.scan() == ({}, {})
    assert digests.sha256 == hashlib.sha256(content).hexdigest()
    assert digests.sha1 == hashlib.sha1(content, usedforsecurity=False).hexdigest()
    assert digests.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
    library.make_folder("a")
    library.place(staged.name, "a/b.gcode")
    assert library.scan() == ({"a/b.gcode": on_disk}, {"a": (tmp_path / "files" / "a").stat().st_mtime})
    assert library.digests("a/b.gcode") == digests
    assert library.on_disk("a/b.gcode").read_bytes() == content
    staged.discard()  # too late to take anything back
    assert library.on_disk("a/b.gcode").exists()
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_reader_keeps_the_version_that_is_replaced(library: Library) -> None:
    put(library, "a.gcode", b"old")
    with library.on_disk("a.gcode").open("rb") as reader:
        put(library, "a.gcode", b"new!")
        assert reader.read() == b"old"
    assert library.on_disk("a.gcode").read_bytes() == b"new!"


def test_no_link_is_followed(library: Library, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    (tmp_path / "files" / "away").symlink_to(outside)
    (tmp_path / "files" / "canary").symlink_to(outside / "canary")
    assert library.scan() == ({}, {})
    for path in ("away/canary", "canary"):
        with pytest.raises(NotFound):
            library.on_disk(path)
        with pytest.raises(NotFound):
            library.remove(path)
        with pytest.raises(NotFound):
            put(library, path, b"dead")
    with pytest.raises(NotFound):
        library.make_folder("away/new")
    assert [entry.name for entry in outside.iterdir()] == ["canary"]
    assert (outside / "canary").read_text() == "alive"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a//b", ".hidden", "a/./b", "a\0b", "con.gcode", "\\\\x"])
def test_paths_are_judged_again_at_the_disk(library: Library, path: str) -> None:
    with pytest.raises(Malformed):
        library.on_disk(path)
    with pytest.raises(Malformed):
        library.make_folder(path)


def test_folders_move_and_go_whole(library: Library, tmp_path: Path) -> None:
    library.make_folder("a")
    library.make_folder("a/b")
    put(library, "a/b/c.gcode", b"c")
    library.make_folder("d")
    with pytest.raises(NotNow):
        library.move("a", "d")
    library.move("a", "d/e")
    files, folders = library.scan()
    assert (list(files), list(folders)) == (["d/e/b/c.gcode"], ["d", "d/e", "d/e/b"])
    with pytest.raises(NotNow):
        library.make_folder("d")
    library.remove("d")
    assert library.scan() == ({}, {})
    assert list((tmp_path / "staging").iterdir()) == []
    with pytest.raises(NotFound):
        library.remove("d")


def test_staging_is_emptied(library: Library, tmp_path: Path) -> None:
    staged = library.stage()
    staged.write(b"half")
    (tmp_path / "staging" / "folder").mkdir()
    (tmp_path / "staging" / "folder" / "x").touch()
    library.empty_staging()
    assert list((tmp_path / "staging").iterdir()) == []
    staged.discard()


def test_names_that_nobody_could_ask_for_are_left_out(library: Library, tmp_path: Path) -> None:
    root = tmp_path / "files"
    for name in (b".hidden", b"nul\x01", b"\xff\xfe.gcode", "cafe\u0301.gcode".encode(), b"fine.gcode"):
        (root / os.fsdecode(name)).touch()
    assert list(library.scan()[0]) == ["fine.gcode"]


def test_thumbnails_are_kept_by_digest(library: Library) -> None:
    library.keep_thumbnail("ab12", b"picture")
    library.keep_thumbnail("ab12", b"picture")
    library.keep_thumbnail("cd34", b"other")
    assert library.thumbnail("ab12") == b"picture"
    library.keep_thumbnails_of({"cd34"})
    with pytest.raises(NotFound):
        library.thumbnail("ab12")
    with pytest.raises(Malformed):
        library.thumbnail("../polyhost.db")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_refuses_is_said(number: int) -> None:
    with pytest.raises(NoSpace, match="the disk refused a test"), disk("a test"):
        raise OSError(number, os.strerror(number))


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import resource, signal
from pathlib import Path
from polyhost.core.errors import NoSpace
from polyhost.storage.library import Library
folder = Path({str(tmp_path)!r})
library = Library(folder / "files", folder / "staging", folder / "thumbnails")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
staged = library.stage()
staged.write(bytes(60_000))
try:
    staged.write(bytes(60_000))
except NoSpace as error:
    print(error)
staged.discard()
print(list((folder / "staging").iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == ["the disk refused the upload: File too large", "[]"], done.stderr
