"""Opening a database that is new, old, newer, damaged or gone (R14, R19)."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from polyhost.core.errors import Damaged
from polyhost.core.file import File, Metadata
from polyhost.core.job import Run, RunState
from polyhost.core.ports import OnDisk, StoredFile
from polyhost.core.user import Role, User
from polyhost.storage import schema
from polyhost.storage.records import Records
from polyhost.storage.secret import SetupCode, secret_key

NEXT = (9002, "CREATE TABLE extra (x TEXT) STRICT; INSERT INTO extra SELECT path FROM selected;")


async def filled(folder: Path) -> None:
    records = Records.open(folder)
    for n in range(300):
        await records.keep_selected(f"printer-{n}", f"some/path/{n}.gcode")
    secret_key(folder, may_make=True)
    records.close()


def test_a_new_folder_gets_a_database_and_no_backup(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    Records.open(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not (folder / "backups").exists()


async def test_the_second_start_keeps_a_backup_a_day(tmp_path: Path) -> None:
    await filled(tmp_path)
    for _ in range(3):
        Records.open(tmp_path).close()
    [kept] = (tmp_path / "backups").iterdir()
    assert len(rows(kept, "selected")) == 300


async def test_an_upgrade_keeps_everything_and_a_backup_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path)
    steps = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: [*steps, NEXT])
    records = Records.open(tmp_path)
    assert len(records.load_selected()) == 300
    records.close()
    assert len(rows(tmp_path / "polyhost.db", "extra")) == 300
    [kept] = (tmp_path / "backups").glob("polyhost-*.db")
    assert len(rows(kept, "selected")) == 300
    assert not tables(kept) & {"extra"}


async def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path)
    broken = (9003, "CREATE TABLE later (x TEXT); INSERT INTO no_such_table VALUES (1);")
    steps = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: [*steps, NEXT, broken])
    with pytest.raises(Damaged, match="no_such_table"):
        Records.open(tmp_path)
    assert "later" not in tables(tmp_path / "polyhost.db")
    monkeypatch.setattr(schema, "migrations", lambda: [*steps, NEXT])
    records = Records.open(tmp_path)
    assert len(records.load_selected()) == 300
    records.close()


async def test_killed_in_an_upgrade_the_next_start_finishes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path)
    script = f"""
import os, sqlite3
from pathlib import Path
from polyhost.storage import schema
steps = schema.migrations()
killing = (9002, "CREATE TABLE extra (x TEXT) STRICT; SELECT die();")
schema.migrations = lambda: [*steps, killing]
connect = schema.connect
def deadly(path):
    connection = connect(path)
    connection.create_function("die", 0, lambda: os.kill(os.getpid(), 9))
    return connection
schema.connect = deadly
schema.open_database(Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == -9
    assert "extra" not in tables(tmp_path / "polyhost.db")
    steps = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: [*steps, NEXT])
    Records.open(tmp_path).close()
    assert len(rows(tmp_path / "polyhost.db", "extra")) == 300


async def test_a_newer_schema_stops_the_start(tmp_path: Path) -> None:
    await filled(tmp_path)
    Records.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "polyhost.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Damaged, match=r"newer version \(schema 99.*backups/polyhost-\d{4}-"):
        Records.open(tmp_path)


@pytest.mark.parametrize("gone", ["missing", "empty"])
async def test_a_lost_database_is_never_replaced_by_a_fresh_one(tmp_path: Path, gone: str) -> None:
    await filled(tmp_path)
    Records.open(tmp_path).close()
    database = tmp_path / "polyhost.db"
    if gone == "missing":
        database.unlink()
    else:
        database.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(Damaged, match=rf"{gone}.*restore .*backups/polyhost-\d{{4}}-"):
            Records.open(tmp_path)
    assert not database.exists() or not database.stat().st_size


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.9])
async def test_flipped_pages_stop_the_start_with_the_backups_name(tmp_path: Path, at: float) -> None:
    await filled(tmp_path)
    Records.open(tmp_path).close()
    database = tmp_path / "polyhost.db"
    content = bytearray(database.read_bytes())
    page = int(len(content) * at) // 4096 * 4096
    content[page : page + 4096] = bytes(255 - byte for byte in content[page : page + 4096])
    database.write_bytes(content)
    with pytest.raises(Damaged, match=r"damaged.*restore .*backups/polyhost-\d{4}-"):
        Records.open(tmp_path)
    assert database.read_bytes() == bytes(content)


async def test_whichever_page_is_damaged_nothing_wrong_is_read(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    await records.keep_user(User("ada", Role.OPERATOR), "hash" * 10)
    for n in range(40):
        path = f"folder/{n}.gcode"
        await records.keep_file(StoredFile(File(path, n, 1.5, "a", "b", "c"), OnDisk(n, n, n)))
        await records.keep_metadata(path, "a", Metadata(slicer="S" * 500))
        await records.add_run(Run(f"r{n}", "mk3", path, "a", n, RunState.COMPLETED, "ada", 1.5, ended_at=2.5))

    def everything(records: Records) -> list[object]:
        users, files = records.load_users(), records.load_files()
        return [users, files, records.load_last_runs(), records.load_prints(), records.load_selected()]

    truth = everything(records)
    records.close()
    database = tmp_path / "polyhost.db"
    content = database.read_bytes()
    met = 0
    for page in range(0, len(content), 4096):
        flipped = bytes(255 - byte for byte in content[page : page + 4096])
        database.write_bytes(content[:page] + flipped + content[page + 4096 :])
        try:
            records = Records.open(tmp_path)
        except Damaged:
            met += 1
            continue
        try:
            assert everything(records) == truth
        except Damaged:
            met += 1
        finally:
            records.close()
    assert met > len(content) // 4096 // 2


async def test_a_cut_write_ahead_log_leaves_whole_changes(tmp_path: Path) -> None:
    script = f"""
import asyncio, os
from pathlib import Path
from polyhost.storage.records import Records
async def main():
    records = Records.open(Path({str(tmp_path)!r}))
    for n in range(50):
        await records.keep_selected(f"p{{n}}", "x")
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == -9
    log = tmp_path / "polyhost.db-wal"
    log.write_bytes(log.read_bytes()[:-5000])
    records = Records.open(tmp_path)
    kept = records.load_selected()
    assert kept.keys() == {f"p{n}" for n in range(len(kept))}
    records.close()


async def test_a_lost_secret_key_is_said(tmp_path: Path) -> None:
    key = secret_key(tmp_path, may_make=True)
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert secret_key(tmp_path, may_make=False) == key
    (tmp_path / "secret.key").write_bytes(key[:5])
    with pytest.raises(Damaged, match="5 bytes"):
        secret_key(tmp_path, may_make=True)
    (tmp_path / "secret.key").unlink()
    with pytest.raises(Damaged, match="no API key works"):
        secret_key(tmp_path, may_make=False)


def test_the_setup_code_is_new_at_each_start_and_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = SetupCode(tmp_path), SetupCode(tmp_path)
    assert first.text != second.text
    assert (tmp_path / "setup-code").read_text() == f"{second.text}\n"
    assert (tmp_path / "setup-code").stat().st_mode & 0o777 == 0o600
    second.forget()
    second.forget()
    assert not (tmp_path / "setup-code").exists()


def rows(database: Path, table: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(database) as connection:
        found = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.close()
    return found


def tables(database: Path) -> set[str]:
    return {str(row[0]) for row in rows(database, "(SELECT name FROM sqlite_schema)")}
