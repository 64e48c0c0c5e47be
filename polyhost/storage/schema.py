"""Opening the database: is it ours, is it whole, is it of today's schema?

Promises R14 and R19 of the reliability rules: damage, a newer schema and a missing file are met with the name of the
newest backup, never with a fresh database; an upgrade is preceded by a backup and happens whole or not at all.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final

from polyhost.core.errors import Damaged, NoSpace, NotNow, PolyhostError

log = logging.getLogger(__name__)

NAME: Final = "polyhost.db"
BUSY_S: Final = 5.0
KEPT_BACKUPS: Final = 10
BACKUP_EVERY_S: Final = 24 * 3600.0


def connect(path: Path) -> sqlite3.Connection:
    """A connection that begins no transaction by itself and may be used by whichever thread owns it at the time."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def error_of(error: sqlite3.Error) -> PolyhostError:
    """What `error` means to whoever asked."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return NotNow(f"another program has locked {NAME} for more than {BUSY_S:g} s; end it and try again")
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
        return NoSpace(f"the disk refuses to keep {NAME}: {error}; free some space or look at the disk, then try again")
    return Damaged(f"{NAME} cannot be used: {error}")


def open_database(folder: Path) -> sqlite3.Connection:
    """The database of the data folder `folder`, checked, upgraded and in WAL mode; made if the folder is new.

    `Damaged` when it is damaged, of a newer version, or missing from a folder that had one; `NotNow` when another
    program holds it; `NoSpace` when the disk refuses.
    """
    path = folder / NAME
    backups = folder / "backups"
    is_new = not path.exists() or not path.stat().st_size
    if is_new and (lived := _signs_of_life(folder)):
        what = "is empty" if path.exists() else "is missing"
        raise Damaged(f"{path} {what}, yet {lived} is there; {way_out(folder)}")
    if not is_new and not _begins_as_database(path):
        raise Damaged(f"{path} is damaged (it does not begin as a database does); {way_out(folder)}")
    connection = None
    try:
        connection = connect(path)
        if not is_new:
            _check(connection, path, folder)
        _upgrade(connection, path, backups)
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        meant = error_of(error)
        if isinstance(meant, Damaged):
            raise Damaged(f"{path} is damaged ({error}); {way_out(folder)}") from error
        raise meant from error
    except PolyhostError:
        if connection is not None:
            connection.close()
        raise
    return connection


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every step, in order."""
    steps = (entry for entry in resources.files("polyhost.storage.migrations").iterdir() if entry.name.endswith(".sql"))
    return sorted((int(step.name[:4]), step.read_text(encoding="utf-8")) for step in steps)


def backup(connection: sqlite3.Connection, backups: Path, version: int) -> Path:
    """Copy the whole database to ``backups/polyhost-<version>-<time>.db``, durably; the oldest beyond ten go."""
    backups.mkdir(mode=0o700, exist_ok=True)
    kept = backups / f"polyhost-{version:04d}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.db"
    partial = kept.with_suffix(".partial")
    copy = sqlite3.connect(partial)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(kept)
    _sync_folder(backups)
    for old in _backups(backups)[:-KEPT_BACKUPS]:
        old.unlink(missing_ok=True)
    return kept


def _signs_of_life(folder: Path) -> str:
    """What in `folder` shows that it once had a database; "" for nothing."""
    for name in (f"{NAME}-wal", "secret.key"):
        if (folder / name).exists():
            return name
    return _backups(folder / "backups")[-1].name if _backups(folder / "backups") else ""


def _backups(backups: Path) -> list[Path]:
    """The oldest first, by the time in the name."""
    pattern = re.compile(r"polyhost-\d+-(\w+)\.db")
    dated = [(match[1], path) for path in backups.glob("polyhost-*.db") if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(dated)]


def way_out(folder: Path) -> str:
    """What a person can do whose database cannot be used: the newest backup, or a new beginning."""
    kept = _backups(folder / "backups")
    anew = f"to begin anew, move {folder} away"
    return f"restore {kept[-1]} in its place, or, {anew}" if kept else f"there is no backup; {anew}"


def _begins_as_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _check(connection: sqlite3.Connection, path: Path, folder: Path) -> None:
    found = [str(row[0]).replace("\n", " ") for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise Damaged(f"{path} is damaged ({'; '.join(found)}); {way_out(folder)}")
    version, newest = _version(connection), migrations()[-1][0]
    if version > newest:
        raise Damaged(
            f"{path} was written by a newer version (schema {version}, this one knows {newest}); "
            f"install that version again, or {way_out(folder)}"
        )


def _upgrade(connection: sqlite3.Connection, path: Path, backups: Path) -> None:
    version = _version(connection)
    wanted = [(number, sql) for number, sql in migrations() if number > version]
    if version and (wanted or _is_due(backups)):
        kept = backup(connection, backups, version)
        if wanted:
            log.info("upgrading %s from schema %d; the old one is kept as %s", path, version, kept)
    for number, sql in wanted:
        _run(connection, [sql, f"PRAGMA user_version = {number}"])


def _run(connection: sqlite3.Connection, scripts: Iterable[str]) -> None:
    """All of `scripts` in one transaction."""
    try:
        connection.executescript(";\n".join(["BEGIN IMMEDIATE", *scripts, "COMMIT"]))
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_due(backups: Path) -> bool:
    kept = _backups(backups)
    age_s = datetime.now(UTC).timestamp() - kept[-1].stat().st_mtime if kept else BACKUP_EVERY_S
    return not 0 <= age_s < BACKUP_EVERY_S


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
