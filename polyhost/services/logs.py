"""The host's logs: which there are, reading and removing one.

All are in one folder: the host's own, its engines', and those of serial links that somebody asked for.
"""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

import msgspec

from polyhost.core.errors import NoSpace, NotFound
from polyhost.core.user import Caller
from polyhost.services.log_files import RotatingFile
from polyhost.services.rights import needs_the_host

MAX_READ_BYTES: Final = 5_000_000
ENGINE_MAX_BYTES: Final = 2_000_000
TRIM_EVERY_S: Final = 600.0


class LogFile(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int
    changed_at: float  # seconds since the epoch


class Logs:
    """Every method wants the right to manage the host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self) -> None:
        """Keep the logs of engines, which outlive the server and only append, within their bound; until cancelled."""
        while True:
            await asyncio.to_thread(self.trim)
            await asyncio.sleep(TRIM_EVERY_S)

    async def all(self, by: Caller) -> list[LogFile]:
        """By name."""
        needs_the_host(by)
        return await asyncio.to_thread(self._list)

    async def read(self, name: str, by: Caller) -> bytes:
        """What is in a log now, its last 5 MB at the most; `NotFound` when there is none of that name."""
        needs_the_host(by)
        return await asyncio.to_thread(self._read, name)

    async def on_disk(self, name: str, by: Caller) -> Path:
        """Where a log is; `NotFound` when there is none of that name."""
        needs_the_host(by)
        return await asyncio.to_thread(self._path, name)

    async def remove(self, name: str, by: Caller) -> None:
        """Remove a log; one that an engine has open is emptied."""
        needs_the_host(by)
        await asyncio.to_thread(self._remove, name)

    async def roll_over(self, name: str, by: Caller) -> None:
        """Begin the log of that name anew, and keep what was in it as the newest of the old ones."""
        needs_the_host(by)
        await asyncio.to_thread(self._roll_over, name)

    def free_space(self) -> tuple[int, int]:
        """Bytes free and in all, of the disk that has the logs."""
        place = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        usage = shutil.disk_usage(place)
        return usage.free, usage.total

    def trim(self) -> None:
        """Keep the newer half of an engine's log that has grown too large.  In the caller's thread."""
        for log in self._list():
            if _is_engines(log.name) and log.size_bytes > ENGINE_MAX_BYTES:
                with contextlib.suppress(OSError):
                    _keep_end(self.folder / log.name, ENGINE_MAX_BYTES // 2)

    # Inside, in a thread

    def _list(self) -> list[LogFile]:
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                        status = entry.stat(follow_symlinks=False)
                        found.append(LogFile(entry.name, status.st_size, status.st_mtime))
        return sorted(found, key=lambda log: log.name)

    def _path(self, name: str) -> Path:
        """Only a name that is listed is looked for."""
        if name not in {log.name for log in self._list()}:
            raise NotFound(f"no log {name!r}")
        return self.folder / name

    def _read(self, name: str) -> bytes:
        path = self._path(name)
        try:
            with path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_READ_BYTES))
                return file.read(MAX_READ_BYTES)
        except FileNotFoundError:
            raise NotFound(f"no log {name!r}") from None

    def _roll_over(self, name: str) -> None:
        try:
            RotatingFile(self._path(name)).rotate()
        except OSError as error:
            raise NoSpace(f"{name} cannot be begun anew: {error.strerror}") from error

    def _remove(self, name: str) -> None:
        path = self._path(name)
        try:
            if _is_engines(name):
                os.truncate(path, 0)
            else:
                path.unlink()
        except FileNotFoundError:
            raise NotFound(f"no log {name!r}") from None
        except OSError as error:
            raise NoSpace(f"{name} cannot be removed: {error.strerror}") from error


def _is_engines(name: str) -> bool:
    return name.startswith("engine-") and name.endswith(".log")


def _keep_end(path: Path, size: int) -> None:
    """What is appended meanwhile is lost: a few lines, once in megabytes."""
    with path.open("rb+") as file:
        file.seek(-size, os.SEEK_END)
        _, _, end = file.read(size).partition(b"\n")
        file.seek(0)
        file.write(end)
        file.truncate()
