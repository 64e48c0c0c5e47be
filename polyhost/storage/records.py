"""Everything Polyhost remembers besides the files themselves, in one SQLite database.

One thread writes and another reads, so the event loop waits for neither.  Changes that were asked for while the
writer was busy share one commit, synced before any of them is answered (``synchronous=FULL`` in WAL mode); each has
a savepoint of its own, so one that fails takes no other with it.
"""

import asyncio
import fcntl
import functools
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec

from polyhost.config import Printer
from polyhost.core.errors import Damaged, NoSpace, NotNow, PolyhostError
from polyhost.core.file import Analysis, File, Metadata
from polyhost.core.job import Prints, Queue, Run, Totals
from polyhost.core.ports import Deleted, OnDisk, Page, PastRun, StoredFile
from polyhost.core.user import ApiKey, Remembered, User
from polyhost.storage import accounts, history, queues, schema
from polyhost.storage.namespaces import NamespaceRows

log = logging.getLogger(__name__)

MAX_WAITING: Final = 1024
"""Changes that may wait for the writer; one more is refused."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


class _Change(NamedTuple):
    work: Work
    done: asyncio.Future[Any]
    durable: bool


class Records(NamespaceRows):
    """The database of one data folder, and the only one who has it open for as long as this lives."""

    def __init__(self, folder: Path, lock: int, writing: sqlite3.Connection, reading: sqlite3.Connection) -> None:
        self.folder = folder
        self._lock = lock
        self._writing, self._reading = writing, reading
        self._writer = ThreadPoolExecutor(1, "records-writer")
        self._reader = ThreadPoolExecutor(1, "records-reader")
        self._waiting: list[_Change] = []
        self._is_busy = False
        self._is_closed = False
        self._syncs = True

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Check, upgrade and open; blocking.  Raises what `schema.open_database` does.

        `NotNow` when another server has the folder, `NoSpace` when there can be no such folder.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(folder)
        except OSError as error:
            raise NoSpace(f"{folder} cannot be the data folder: {error.strerror}; name another with --data") from error
        try:
            writing = schema.open_database(folder)
        except PolyhostError:
            os.close(lock)
            raise
        writing.execute("PRAGMA synchronous = FULL")
        reading = schema.connect(folder / schema.NAME)
        reading.execute("PRAGMA query_only = ON")
        return cls(folder, lock, writing, reading)

    def close(self) -> None:
        """Finish what is being written, then let go of the folder; what waits behind it is not written."""
        self._is_closed = True
        self._writer.shutdown()
        self._reader.shutdown()
        self._reading.close()
        self._writing.close()
        os.close(self._lock)

    # How changes are written

    async def change(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """What `work` returns, once it is committed (and synced, if `durable`).

        `work` runs in the writer's thread, inside a transaction.
        """
        if self._is_closed:
            raise NotNow("the database is closed: the server is stopping")
        if len(self._waiting) >= MAX_WAITING:
            raise NotNow(f"{MAX_WAITING} changes wait for the disk already; try again in a moment")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Change(work, done, durable))
        if not self._is_busy:
            self._write()
        return await done

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns; it runs in the reader's thread and sees every answered change."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, work)

    async def compact(self) -> tuple[int, int]:
        """Give back to the disk what is not needed; bytes of the database before and after."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._compact)

    def _compact(self) -> tuple[int, int]:
        file = self.folder / schema.NAME
        try:
            self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = file.stat().st_size
            self._writing.execute("VACUUM")
            self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise schema.error_of(error) from error
        return before, file.stat().st_size

    def _write(self) -> None:
        changes, self._waiting = self._waiting, []
        self._is_busy = True
        commit = asyncio.get_running_loop().run_in_executor(self._writer, self._commit, changes)
        commit.add_done_callback(functools.partial(self._written, changes))

    def _written(self, changes: list[_Change], commit: asyncio.Future[list[Any]]) -> None:
        self._is_busy = False
        error = commit.exception()
        outcomes = commit.result() if error is None else [error] * len(changes)
        for change, outcome in zip(changes, outcomes, strict=True):
            if change.done.done():
                continue  # whoever asked was cancelled meanwhile
            if isinstance(outcome, BaseException):
                change.done.set_exception(outcome)
            else:
                change.done.set_result(outcome)
        if self._waiting and not self._is_closed:
            self._write()

    def _commit(self, changes: list[_Change]) -> list[Any]:
        """What each of `changes` returned, or the error that it met."""
        connection = self._writing
        try:
            if self._syncs != (syncs := any(change.durable for change in changes)):
                connection.execute(f"PRAGMA synchronous = {'FULL' if syncs else 'NORMAL'}")
                self._syncs = syncs
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._try(connection, change.work) for change in changes]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            log.warning("a change could not be written: %s", error)
            return [schema.error_of(error)] * len(changes)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return outcomes

    def _try(self, connection: sqlite3.Connection, work: Work) -> Any:
        connection.execute("SAVEPOINT change")
        try:
            outcome = work(connection)
        except (sqlite3.Error, PolyhostError) as error:
            if not connection.in_transaction:  # some errors, a full disk among them, undo the whole transaction
                raise
            connection.execute("ROLLBACK TO change")
            outcome = schema.error_of(error) if isinstance(error, sqlite3.Error) else error
        connection.execute("RELEASE change")
        return outcome

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._reading)
        except sqlite3.Error as error:
            raise schema.error_of(error) from error
        except (msgspec.MsgspecError, ValueError) as error:
            way_out = schema.way_out(self.folder)
            raise Damaged(f"{schema.NAME} holds what was never written there ({error}); {way_out}") from error

    async def _execute(self, sql: str, values: tuple[object, ...], *, durable: bool = True) -> int:
        """How many rows `sql` changed."""
        return await self.change(lambda connection: connection.execute(sql, values).rowcount, durable=durable)

    # Accounts

    def load_users(self) -> list[tuple[User, str]]:
        return self._read(accounts.users)

    def load_keys(self) -> list[tuple[ApiKey, bytes]]:
        return self._read(accounts.keys)

    def load_remembered(self) -> list[Remembered]:
        return self._read(accounts.remembered)

    def load_logins(self) -> list[Remembered]:
        return self._read(accounts.logins)

    def load_user_settings(self) -> dict[str, bytes]:
        return self._read(accounts.user_settings)

    async def keep_user(self, user: User, password_hash: str) -> None:
        await self.change(lambda c: accounts.keep_user(c, user, password_hash))

    async def drop_user(self, name: str) -> None:
        await self._execute("DELETE FROM users WHERE name = ?", (name,))

    async def keep_key(self, key: ApiKey, digest: bytes) -> None:
        await self.change(lambda c: accounts.keep_key(c, key, digest))

    async def drop_key(self, key_id: str) -> None:
        await self._execute("DELETE FROM api_keys WHERE id = ?", (key_id,))

    async def note_key_uses(self, used_at: Mapping[str, float]) -> None:
        await self.change(lambda c: accounts.note_key_uses(c, used_at), durable=False)

    async def keep_remembered(self, remembered: Remembered, gone: Sequence[bytes]) -> None:
        await self.change(lambda c: accounts.keep_remembered(c, remembered, gone))

    async def drop_remembered(self, digests: Sequence[bytes]) -> None:
        await self.change(lambda c: accounts.drop_remembered(c, digests))

    async def keep_login(self, login: Remembered, gone: Sequence[bytes]) -> None:
        await self.change(lambda c: accounts.keep_login(c, login, gone))

    async def drop_logins(self, digests: Sequence[bytes]) -> None:
        await self.change(lambda c: accounts.drop_logins(c, digests))

    async def keep_user_settings(self, name: str, body: bytes) -> None:
        await self._execute("INSERT OR REPLACE INTO user_settings (name, body) VALUES (?, ?)", (name, body))

    # Printers

    def load_printers(self) -> list[Printer]:
        """Those added by a person, in the order they were added."""
        return self._read(
            lambda c: [_printers.decode(body) for (body,) in c.execute("SELECT body FROM printers ORDER BY number")]
        )

    async def keep_printer(self, settings: Printer) -> None:
        await self._execute(
            "INSERT INTO printers (slug, body) VALUES (?, ?) ON CONFLICT (slug) DO UPDATE SET body = excluded.body",
            (settings.slug, _msgpack.encode(settings)),
        )

    async def drop_printer(self, slug: str) -> None:
        def drop(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM printers WHERE slug = ?", (slug,))
            connection.execute("DELETE FROM selected WHERE printer = ?", (slug,))
            connection.execute("DELETE FROM preferences WHERE printer = ?", (slug,))
            connection.execute("DELETE FROM namespaces WHERE printer = ?", (slug,))
            connection.execute("DELETE FROM queues WHERE printer = ?", (slug,))

        await self.change(drop)

    def load_preferences(self) -> dict[tuple[str, str], bytes]:
        rows = self._read(lambda c: c.execute("SELECT printer, section, body FROM preferences").fetchall())
        return {(printer, section): body for printer, section, body in rows}

    async def keep_preferences(self, bodies: Mapping[tuple[str, str], bytes]) -> None:
        rows = [(*key, body) for key, body in bodies.items()]
        await self.change(lambda c: c.executemany("INSERT OR REPLACE INTO preferences VALUES (?, ?, ?)", rows))

    async def drop_preferences(self, printer: str) -> None:
        await self._execute("DELETE FROM preferences WHERE printer = ?", (printer,))

    def load_selected(self) -> dict[str, str]:
        return self._read(lambda c: dict(c.execute("SELECT printer, path FROM selected").fetchall()))

    async def keep_selected(self, printer: str, path: str) -> None:
        """The file chosen for `printer`; "" for none."""
        if path:
            await self._execute("INSERT OR REPLACE INTO selected (printer, path) VALUES (?, ?)", (printer, path))
        else:
            await self._execute("DELETE FROM selected WHERE printer = ?", (printer,))

    # Runs

    def load_last_runs(self) -> list[Run]:
        return self._read(history.last_runs)

    def load_prints(self) -> dict[str, Prints]:
        return self._read(history.prints)

    async def add_run(self, run: Run) -> Run:
        return await self.change(lambda c: history.add(c, run))

    async def drop_run(self, run_id: str) -> None:
        await self._execute("DELETE FROM runs WHERE id = ?", (run_id,))

    async def end_run(self, run: Run) -> bool:
        return await self.change(lambda c: history.end(c, run))

    async def run(self, run_id: str) -> Run | None:
        found = await self.read(
            lambda c: history.runs_of(c.execute(f"SELECT {history.COLUMNS} FROM runs WHERE id = ?", (run_id,)))
        )
        return found[0] if found else None

    async def runs(
        self, printer: str | None, path: str | None, since: float | None, limit: int, offset: int
    ) -> list[Run]:
        wanted = {"printer = ?": printer, "path = ?": path, "started_at >= ?": since}
        asked = {condition: value for condition, value in wanted.items() if value is not None}
        where = f"WHERE {' AND '.join(asked)}" if asked else ""
        return await self.read(
            lambda c: history.runs_of(
                c.execute(
                    f"SELECT {history.COLUMNS} FROM runs {where} ORDER BY number DESC LIMIT ? OFFSET ?",
                    (*asked.values(), limit, offset),
                )
            )
        )

    async def past_runs(self, printer: str, page: Page) -> list[PastRun]:
        return await self.read(lambda c: history.page(c, printer, page))

    async def past_run(self, printer: str, ordinal: int) -> PastRun | None:
        return await self.read(lambda c: history.one(c, printer, ordinal))

    async def delete_runs(self, printer: str, ordinals: Collection[int] | None) -> Deleted:
        return await self.change(lambda c: history.delete(c, printer, ordinals))

    async def totals(self, printer: str) -> Totals:
        return await self.read(lambda c: history.totals(c, printer))

    async def reset_totals(self, printer: str) -> Totals:
        return await self.change(lambda c: history.reset_totals(c, printer))

    # Queues

    def load_queues(self) -> list[Queue]:
        return self._read(queues.load)

    async def keep_queue(self, queue: Queue) -> None:
        await self.change(lambda c: queues.keep(c, queue))

    # Files

    def load_files(self) -> list[StoredFile]:
        return self._read(
            lambda c: [
                _stored_file(*row)
                for row in c.execute(
                    "SELECT inode, mtime_ns, staged, metadata, analysis, path, size_bytes, modified_at, sha256, sha1,"
                    " md5, by, userdata FROM files ORDER BY path"
                )
            ]
        )

    async def keep_file(self, stored: StoredFile) -> None:
        file, on_disk = stored.file, stored.on_disk
        values = (
            *(file.path, file.size_bytes, file.modified_at, file.sha256, file.sha1, file.md5, file.by, file.userdata),
            *(on_disk.inode, on_disk.mtime_ns, stored.staged),
            None if file.metadata is None else _msgpack.encode(file.metadata),
            None if file.analysis is None else _msgpack.encode(file.analysis),
        )
        await self._execute(
            "INSERT OR REPLACE INTO files (path, size_bytes, modified_at, sha256, sha1, md5, by, userdata, inode,"
            " mtime_ns, staged, metadata, analysis) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    async def drop_files(self, paths: Iterable[str]) -> None:
        values = [(path,) for path in paths]
        await self.change(lambda c: c.executemany("DELETE FROM files WHERE path = ?", values))

    async def move_files(self, paths: Mapping[str, str]) -> None:
        values = [(to, path) for path, to in paths.items()]
        await self.change(lambda c: c.executemany("UPDATE OR REPLACE files SET path = ? WHERE path = ?", values))

    async def keep_metadata(self, path: str, sha256: str, metadata: Metadata) -> None:
        await self._execute(
            "UPDATE files SET metadata = ? WHERE path = ? AND sha256 = ?",
            (_msgpack.encode(metadata), path, sha256),
            durable=False,  # it can be read again
        )

    async def keep_analysis(self, path: str, sha256: str, analysis: Analysis) -> None:
        await self._execute(
            "UPDATE files SET analysis = ?, layers = ? WHERE path = ? AND sha256 = ?",
            (_msgpack.encode(analysis.outline()), _msgpack.encode(analysis), path, sha256),
            durable=False,
        )

    async def analysis(self, path: str) -> Analysis | None:
        row = await self.read(lambda c: c.execute("SELECT layers FROM files WHERE path = ?", (path,)).fetchone())
        return None if row is None or row[0] is None else _analysis.decode(row[0])


def _lock(folder: Path) -> int:
    """A descriptor that holds `folder` for this process until it is closed or the process is gone."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "?"
        os.close(descriptor)
        raise NotNow(
            f"another Polyhost (process {holder}) is using {folder}; stop it, or choose another folder with --data"
        ) from None
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


_msgpack: Final = msgspec.msgpack.Encoder()
_printers: Final = msgspec.msgpack.Decoder(Printer)
_metadata: Final = msgspec.msgpack.Decoder(Metadata)
_analysis: Final = msgspec.msgpack.Decoder(Analysis)


def _stored_file(
    inode: int, mtime_ns: int, staged: str, metadata: bytes | None, analysis: bytes | None, *row: Any
) -> StoredFile:
    path, size_bytes, modified_at, sha256, sha1, md5, by, userdata = row
    file = File(
        *(path, size_bytes, modified_at, sha256, sha1, md5, by),
        metadata=None if metadata is None else _metadata.decode(metadata),
        analysis=None if analysis is None else _analysis.decode(analysis),
        userdata=userdata,
    )
    return StoredFile(file, OnDisk(size_bytes, mtime_ns, inode), staged)
