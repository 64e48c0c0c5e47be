"""The namespaces of each printer: what programs keep for themselves, and backups of it.

Reading, changing and writing back is one transaction, so two who change one record lose nothing of each other's.
A backup is a database of its own in ``backups/namespaces/<printer>/``, whole or not there.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from polyhost.core import namespaces as rules
from polyhost.core.disk import disk
from polyhost.core.errors import Malformed, NotFound, NotNow, TooLarge
from polyhost.core.file import checked_name
from polyhost.core.namespaces import MAX_BACKUPS, MAX_NAMESPACES, MAX_RECORD_BYTES, MAX_TOTAL_BYTES

T = TypeVar("T")
Row = tuple[str, str, bytes]
"""Namespace, key, JSON."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_RECORD: Final = "SELECT value FROM namespaces WHERE printer = ? AND namespace = ? AND key = ?"


class _Database(Protocol):
    """What the tables are reached by."""

    folder: Path

    async def change(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T: ...

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T: ...


class NamespaceRows:
    """`core.ports.NamespaceRecords`, for a database to inherit."""

    async def namespaces(self: _Database, printer: str) -> list[str]:
        asked = "SELECT namespace FROM namespaces WHERE printer = ? GROUP BY namespace ORDER BY namespace"
        return await self.read(lambda c: [name for (name,) in c.execute(asked, (printer,))])

    async def namespace(self: _Database, printer: str, namespace: str) -> bytes | None:
        def read(connection: sqlite3.Connection) -> bytes | None:
            asked = "SELECT key, value FROM namespaces WHERE printer = ? AND namespace = ? ORDER BY key"
            rows = connection.execute(asked, (printer, namespace)).fetchall()
            return b"{" + b",".join(_encode(key) + b":" + value for key, value in rows) + b"}" if rows else None

        return await self.read(read)

    async def item(self: _Database, printer: str, namespace: str, path: rules.Path) -> bytes:
        def read(connection: sqlite3.Connection) -> bytes:
            row = connection.execute(_RECORD, (printer, namespace, path[0])).fetchone()
            if row is None:
                raise NotFound(f"nothing is at {path[0]!r}")
            value: bytes = row[0]
            return value if len(path) == 1 else _encode(rules.found(_decode(value), path[1:]))

        return await self.read(read)

    async def put_item(self: _Database, printer: str, namespace: str, path: rules.Path, value: Any) -> None:
        def put(connection: sqlite3.Connection) -> None:
            key = printer, namespace, path[0]
            row = connection.execute(_RECORD, key).fetchone() if len(path) > 1 else None
            record = rules.with_value(None if row is None else _decode(row[0]), path[1:], value)
            _keep(connection, key, _encode(record))

        await self.change(put)

    async def drop_item(self: _Database, printer: str, namespace: str, path: rules.Path) -> Any:
        def drop(connection: sqlite3.Connection) -> Any:
            key = printer, namespace, path[0]
            row = connection.execute(_RECORD, key).fetchone()
            if row is None:
                raise NotFound(f"nothing is at {path[0]!r}")
            record = gone = _decode(row[0])
            if len(path) > 1:
                record, gone = rules.without_value(record, path[1:])
            if len(path) > 1 and record:
                _keep(connection, key, _encode(record))
            else:
                connection.execute("DELETE FROM namespaces WHERE printer = ? AND namespace = ? AND key = ?", key)
            return gone

        return await self.change(drop)

    # Backups.  These block, and are called from a thread.

    async def back_up_namespaces(self: _Database, printer: str, name: str) -> None:
        asked = "SELECT namespace, key, value FROM namespaces WHERE printer = ?"
        place = _place_of(self.folder, printer, name)
        await self.read(lambda c: _write_backup(place, c.execute(asked, (printer,))))

    async def restore_namespaces(self: _Database, printer: str, name: str) -> list[str]:
        place = _place_of(self.folder, printer, name)

        def restore(connection: sqlite3.Connection) -> list[str]:
            rows = _read_backup(place)
            connection.execute("DELETE FROM namespaces WHERE printer = ?", (printer,))
            connection.executemany("INSERT INTO namespaces VALUES (?, ?, ?, ?)", [(printer, *row) for row in rows])
            return sorted({namespace for namespace, _, _ in rows})

        return await self.change(restore)

    def namespace_backups(self: _Database, printer: str) -> list[str]:
        folder = _folder_of(self.folder, printer)
        with disk(f"looking for backups of {printer}"):
            return sorted(entry.name for entry in os.scandir(folder)) if folder.is_dir() else []

    def drop_namespace_backup(self: _Database, printer: str, name: str) -> None:
        place = _place_of(self.folder, printer, name)
        if not place.is_file():
            raise NotFound(f"Backup file {name} does not exist")
        with disk(f"removing the backup {name}"):
            place.unlink()


def _keep(connection: sqlite3.Connection, key: tuple[str, str, str], value: bytes) -> None:
    """Write a record, within the bounds."""
    printer, namespace, _ = key
    if len(value) > MAX_RECORD_BYTES:
        raise TooLarge(f"a record of a namespace has at most {MAX_RECORD_BYTES} bytes of JSON, not {len(value)}")
    connection.execute("INSERT OR REPLACE INTO namespaces VALUES (?, ?, ?, ?)", (*key, value))
    asked = "SELECT sum(length(value) + length(key)), count(DISTINCT namespace) FROM namespaces WHERE printer = ?"
    total, count = connection.execute(asked, (printer,)).fetchone()
    if total > MAX_TOTAL_BYTES:
        raise TooLarge(f"the namespaces of {printer} have at most {MAX_TOTAL_BYTES} bytes; delete some of them first")
    if count > MAX_NAMESPACES:
        raise TooLarge(f"{printer} has {MAX_NAMESPACES} namespaces, which is the limit; delete one before {namespace}")


def _folder_of(data: Path, printer: str) -> Path:
    return data / "backups" / "namespaces" / printer


def _place_of(data: Path, printer: str, name: str) -> Path:
    return _folder_of(data, printer) / checked_name(name)


def _write_backup(place: Path, rows: Iterable[Row]) -> None:
    with disk(f"the backup {place.name}"):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if place.exists():
            raise NotNow(f"there is a backup {place.name} already; choose another name")
        if len(list(place.parent.iterdir())) >= MAX_BACKUPS:
            raise NotNow(f"there are {MAX_BACKUPS} backups, which is the limit; delete one first")
        partial = place.with_name(f".{place.name[:200]}.partial")  # no name that a client could give
        partial.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(partial)) as backup:
                backup.execute("CREATE TABLE namespace_store (namespace TEXT, key TEXT, value BLOB) STRICT")
                backup.executemany("INSERT INTO namespace_store VALUES (?, ?, ?)", rows)
                backup.commit()
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.rename(place)
        finally:
            partial.unlink(missing_ok=True)


def _read_backup(place: Path) -> list[Row]:
    """`Malformed` for a file that is no backup, or one that nobody could have made here."""
    if not place.is_file():
        raise NotFound(f"Backup file {place.name} does not exist")
    try:
        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as backup:
            rows = backup.execute("SELECT namespace, key, value FROM namespace_store").fetchall()
        for namespace, key, value in rows:
            rules.checked_namespace(namespace)
            rules.path_of([key])
            _decode(value)
    except (sqlite3.Error, msgspec.DecodeError, TypeError) as error:
        raise Malformed(f"{place.name} is not a backup of namespaces: {error}") from error
    return rows
