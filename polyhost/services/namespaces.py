"""What programs keep for themselves with a printer: the layout of a dashboard, presets, notes.

Who may look may read it all.  Who controls the machine may change it, and nobody else: presets and macros of a
dashboard are commands that somebody else will run by a click.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from polyhost.core.errors import NotFound, NotNow
from polyhost.core.namespaces import checked_namespace, path_of
from polyhost.core.ports import NamespaceRecords
from polyhost.core.user import Caller, Permission
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.rights import needs_the_host

Key = str | Sequence[str]
"""The parts of a key, or all of them with dots between."""


class Namespaces:
    """Values are what JSON can say.  What is changed is durable when a method returns."""

    def __init__(self, records: NamespaceRecords, printers: Printers) -> None:
        self._records = records
        self._printers = printers
        self._copying = asyncio.Lock()

    def may_change(self, p: Printer, by: Caller) -> bool:
        return by.may(Permission.CONTROL, p.slug)

    async def all(self, p: Printer, by: Caller) -> list[str]:
        """Names of those that have something."""
        by.require(Permission.LOOK, p.slug)
        return await self._records.namespaces(p.slug)

    async def whole(self, p: Printer, name: str, by: Caller) -> bytes:
        """All of a namespace as a JSON object; `NotFound` when it has nothing."""
        by.require(Permission.LOOK, p.slug)
        found = await self._records.namespace(p.slug, checked_namespace(name))
        if found is None:
            raise NotFound(f"Namespace {name} not found")
        return found

    async def get(self, p: Printer, name: str, key: Key, by: Caller) -> bytes:
        """What is at `key`, as JSON; `NotFound` when nothing is."""
        by.require(Permission.LOOK, p.slug)
        path = path_of(key)
        try:
            return await self._records.item(p.slug, checked_namespace(name), path)
        except NotFound:
            raise NotFound(_nothing(name, key)) from None

    async def put(self, p: Printer, name: str, key: Key, value: Any, by: Caller) -> None:
        """Put `value` at `key`, where objects on the way are made.

        `Malformed` when something on the way is no object, `TooLarge` beyond the bounds of `core.namespaces`.
        """
        by.require(Permission.CONTROL, p.slug)
        await self._records.put_item(p.slug, checked_namespace(name), path_of(key), value)

    async def remove(self, p: Printer, name: str, key: Key, by: Caller) -> Any:
        """What was at `key`; `NotFound` when nothing was.  A namespace that is left with nothing is no more."""
        by.require(Permission.CONTROL, p.slug)
        path = path_of(key)
        try:
            return await self._records.drop_item(p.slug, checked_namespace(name), path)
        except NotFound:
            raise NotFound(_nothing(name, key)) from None

    # Backups, and the place that all of it takes

    async def backups(self, p: Printer, by: Caller) -> list[str]:
        by.require(Permission.LOOK, p.slug)
        return await asyncio.to_thread(self._records.namespace_backups, p.slug)

    async def back_up(self, p: Printer, name: str, by: Caller) -> None:
        by.require(Permission.SETTINGS, p.slug)
        async with self._copying:
            await self._records.back_up_namespaces(p.slug, name)

    async def restore(self, p: Printer, name: str, by: Caller) -> list[str]:
        """All namespaces become what they were at the backup; their names.  `NotNow` while the printer prints."""
        by.require(Permission.SETTINGS, p.slug)
        if p.run_state is not None:
            raise NotNow(f"{p.slug} is printing; restore a backup when the run has ended")
        async with self._copying:
            return await self._records.restore_namespaces(p.slug, name)

    async def drop_backup(self, p: Printer, name: str, by: Caller) -> None:
        by.require(Permission.SETTINGS, p.slug)
        async with self._copying:
            await asyncio.to_thread(self._records.drop_namespace_backup, p.slug, name)

    async def compact(self, by: Caller) -> tuple[int, int]:
        """Give back to the disk what the database does not need; its bytes before and after.

        `NotNow` while any printer prints: nothing can be written meanwhile.
        """
        needs_the_host(by)
        printing = [p.slug for p in self._printers.all() if p.run_state is not None]
        if printing:
            raise NotNow(f"{', '.join(printing)} prints; compact the database when it has ended")
        async with self._copying:
            return await self._records.compact()


def _nothing(name: str, key: Key) -> str:
    return f"Key '{key}' in namespace '{name}' not found"
