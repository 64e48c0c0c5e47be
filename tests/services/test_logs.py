"""The host's logs: they hold what was said, no more than their bound, and nobody waits for them."""

import logging
import os
import stat
from pathlib import Path

import pytest

from polyhost.core.errors import NotAllowed, NotFound
from polyhost.core.events import ConsoleLine, ConsoleLines
from polyhost.services import log_files, logs, serial_log
from polyhost.services.log_files import RotatingFile, host_log
from polyhost.services.logs import Logs
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, living, until

# Files


def test_a_file_keeps_its_bound_and_the_newest_lines(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "log" / "a.log", max_bytes=1000, kept=3)
    for number in range(500):
        file.append(f"line {number:>5}\n")
    file.append("".join(f"line {number:>5}\n" for number in range(500, 1000)))
    found = sorted(path.name for path in file.path.parent.iterdir())
    assert found == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert all(path.stat().st_size <= 1000 for path in file.path.parent.iterdir())
    said = "".join((file.path.parent / name).read_text() for name in reversed(found))
    lines = said.splitlines()
    assert lines == [f"line {number:>5}" for number in range(1000 - len(lines), 1000)]
    assert len(lines) > 200


def test_only_its_owner_reads_a_log_and_no_link_is_followed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        RotatingFile(tmp_path / "a.log").append("x\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.log").stat().st_mode) == 0o600
    (tmp_path / "b.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        RotatingFile(tmp_path / "b.log").append("x\n")


def test_what_is_logged_is_in_the_hosts_log(tmp_path: Path) -> None:
    said = logging.getLogger("polyhost.test")
    with host_log(tmp_path, "%(levelname)s %(message)s"):
        for number in range(2500):
            said.warning("event %d", number)
        said.error("with a\nsecond line")
    said.error("nobody writes this")
    lines = (tmp_path / "polyhost.log").read_text().splitlines()
    assert lines == [*(f"WARNING event {n}" for n in range(2500)), "ERROR with a", "second line"]


def test_who_logs_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody reads is a disk that hangs; what is lost meanwhile is said."""
    monkeypatch.setattr(log_files, "WAITING_LINES", 10)
    os.mkfifo(tmp_path / "polyhost.log")
    said = logging.getLogger("polyhost.test")
    with host_log(tmp_path, "%(message)s"):
        for number in range(100):
            said.warning("event %d", number)
        reader = os.open(tmp_path / "polyhost.log", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert "event 0\n" in text
    assert "lines were lost here\n" in text


# Looking at them


async def test_logs_are_listed_read_and_removed(tmp_path: Path) -> None:
    those = Logs(tmp_path / "log")
    assert await those.all(ADMIN) == []
    RotatingFile(those.folder / "polyhost.log").append("hello\n")
    (those.folder / "engine-1.log").write_text("up\n")
    (those.folder / ".hidden").write_text("no\n")
    (those.folder / "folder").mkdir()
    (tmp_path / "secret.key").write_text("secret")
    (those.folder / "link.log").symlink_to(tmp_path / "secret.key")
    assert [(log.name, log.size_bytes) for log in await those.all(ADMIN)] == [("engine-1.log", 3), ("polyhost.log", 6)]
    assert await those.read("polyhost.log", ADMIN) == b"hello\n"
    for name in ("../secret.key", "link.log", "folder", ".hidden", "", "nothing.log"):
        with pytest.raises(NotFound):
            await those.read(name, ADMIN)
        with pytest.raises(NotFound):
            await those.remove(name, ADMIN)
    for name in ("polyhost.log", "engine-1.log"):
        await those.remove(name, ADMIN)
    # An engine has its log open: it stays, and is empty.
    assert [(log.name, log.size_bytes) for log in await those.all(ADMIN)] == [("engine-1.log", 0)]
    assert (tmp_path / "secret.key").read_text() == "secret"
    for refused in (those.all(OPERATOR), those.read("engine-1.log", OPERATOR), those.remove("engine-1.log", OPERATOR)):
        with pytest.raises(NotAllowed):
            await refused


def test_an_engine_that_says_too_much_keeps_its_newest_lines(tmp_path: Path) -> None:
    those = Logs(tmp_path)
    engine = (tmp_path / "engine-1.log").open("ab")  # as an engine has it
    with engine:
        engine.write(b"".join(b"line %07d\n" % number for number in range(300_000)))
        engine.flush()
        those.trim()
        engine.write(b"the last\n")
    lines = (tmp_path / "engine-1.log").read_text().splitlines()
    assert (tmp_path / "engine-1.log").stat().st_size <= logs.ENGINE_MAX_BYTES
    assert lines[-2:] == ["line 0299999", "the last"]
    assert lines[0].startswith("line ")


# Serial logs


def said(world: World, *texts: str, printer: str = "mk3") -> None:
    lines = tuple(ConsoleLine(1_795_000_000.25, text.startswith("G"), text) for text in texts)
    world.printers.heard(ConsoleLines(printer, lines))


def contents(path: Path) -> list[str]:
    return [line.partition(" - ")[2] or line for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_log, "WRITE_EVERY_S", 0.005)


async def test_a_serial_log_has_what_was_said_while_it_was_on(tmp_path: Path) -> None:
    async with living(World(tmp_path, printers=("mk3", "ender"))) as world:
        those, (mk3, ender) = world.host.serial_logs, world.printers.all()
        path = those.path_of(mk3)
        said(world, "before")
        await those.enable(mk3, True, by=ADMIN)
        said(world, "G28", "ok")
        said(world, "G1", printer="ender")
        await until(lambda: contents(path) == ["Send: G28", "Recv: ok"])
        await those.enable(mk3, False, by=ADMIN)
        await until(lambda: those._listener is None)
        said(world, "after")
        assert not those.path_of(ender).exists()
    assert contents(path) == ["Send: G28", "Recv: ok"]
    assert path.read_text().splitlines()[0].split(" - ")[0].endswith(",250")


async def test_a_serial_log_is_on_again_after_a_restart(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.host.serial_logs.enable(world.printers.default(), True, by=ADMIN)
    async with living(World(tmp_path)) as world:
        those, printer = world.host.serial_logs, world.printers.default()
        assert those.enabled(printer)
        await until(lambda: those._listener is not None)
        said(world, "the second server")
        await until(lambda: contents(those.path_of(printer)) == ["Recv: the second server"])


async def test_the_last_lines_are_written_when_the_server_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_log, "WRITE_EVERY_S", 3600.0)
    async with living(World(tmp_path)) as world:
        those, printer = world.host.serial_logs, world.printers.default()
        await those.enable(printer, True, by=ADMIN)
        said(world, "the last")
        await until(lambda: those._waiting)
    assert contents(those.path_of(printer)) == ["Recv: the last"]


async def test_lost_lines_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_log, "WAITING_BYTES", 3)
    monkeypatch.setattr(serial_log, "NOTICES", 4)
    async with living(World(tmp_path)) as world:
        those, printer = world.host.serial_logs, world.printers.default()
        await those.enable(printer, True, by=ADMIN)
        said(world, *"abcde")  # two more than there is room for
        await until(lambda: "2 lines were lost here" in contents(those.path_of(printer)))
        for _ in range(10):  # six more than the listener holds
            said(world, "x")
        await until(lambda: _losses(those, printer)[1:])
    assert contents(those.path_of(printer))[:3] == ["Recv: a", "Recv: b", "Recv: c"]


def _losses(those: serial_log.SerialLogs, printer: object) -> list[str]:
    return [line for line in contents(those.path_of(printer)) if "lost" in line]  # type: ignore[arg-type]


async def test_a_disk_that_refuses_is_one_warning_and_lost_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with living(World(tmp_path)) as world:
        those, printer = world.host.serial_logs, world.printers.default()
        path = those.path_of(printer)
        path.mkdir(parents=True)  # no file can be there
        await those.enable(printer, True, by=ADMIN)
        for text in "abc":
            said(world, text)
            await until(lambda: not those._waiting or printer.slug in those._refused)
        await until(lambda: printer.slug in those._refused)
        path.rmdir()
        await until(path.exists)
        said(world, "again")
        await until(lambda: "Recv: again" in contents(path))
        assert "3 lines were lost here" in contents(path)
    warned = [record for record in caplog.records if "cannot be written" in record.getMessage()]
    assert len(warned) == 1


async def test_a_serial_log_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_log, "MAX_BYTES", 20_000)
    async with living(World(tmp_path)) as world:
        those, printer = world.host.serial_logs, world.printers.default()
        await those.enable(printer, True, by=ADMIN)
        for number in range(20):
            said(world, *["G1 X1 Y1 E0.01"] * 300, f"M117 {number}")
            last = f"M117 {number}"
            await until(lambda last=last: any(last in line for line in contents(those.path_of(printer))))
    sizes = [path.stat().st_size for path in those.path_of(printer).parent.glob("serial-*")]
    assert len(sizes) == 1 + serial_log.KEPT
    assert max(sizes) <= 20_000


async def test_only_who_may_change_settings_switches_it(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        for caller in (OPERATOR, VIEWER):
            with pytest.raises(NotAllowed):
                await world.host.serial_logs.enable(world.printers.default(), True, by=caller)
        assert not world.host.serial_logs.enabled(world.printers.default())
