"""What became of the runs of a printer: its history page by page, its totals, and entries that somebody deletes.

An entry of a run that has not ended is never deleted.  Totals are what a person reads on the machine's own display:
they go on when entries are deleted, and begin anew when they are reset.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from polyhost.core.errors import NotAllowed, NotFound, NotNow
from polyhost.core.job import Totals
from polyhost.core.ports import Page, PastRun, RunRecords
from polyhost.core.user import Caller, Permission
from polyhost.services.files import Files
from polyhost.services.going_on import GoingOn
from polyhost.services.printer import Printer
from polyhost.services.unbroken import unbroken

_MAX_ORDINAL: Final = 1 << 63


class Past:
    def __init__(self, records: RunRecords, going_on: GoingOn, files: Files) -> None:
        self._records = records
        self._going_on = going_on
        self._files = files

    # Looking

    async def page(self, p: Printer, page: Page) -> list[PastRun]:
        """A part of the history with the files as they were; runs going on as far as they are now."""
        return [
            msgspec.structs.replace(past, run=self._going_on.live(past.run))
            for past in await self._records.past_runs(p.slug, page)
        ]

    async def get(self, p: Printer, ordinal: int) -> PastRun:
        past = await self._records.past_run(p.slug, ordinal) if 0 < ordinal < _MAX_ORDINAL else None
        if past is None:
            raise NotFound(f"no run {ordinal} in the history of {p.slug}")
        return msgspec.structs.replace(past, run=self._going_on.live(past.run))

    async def totals(self, p: Printer) -> Totals:
        """Of the runs that ended, the deleted ones too, since `reset_totals`."""
        return await self._records.totals(p.slug)

    # Changing

    async def reset_totals(self, p: Printer, by: Caller) -> Totals:
        """Count from nothing; what they were.  `NotNow` during a run."""
        _needs(by, p)
        if p.run_state is not None:
            raise NotNow(f"{p.slug} is printing; its totals can be reset when that has ended")
        return await self._records.reset_totals(p.slug)

    async def delete(self, p: Printer, ordinal: int, by: Caller) -> None:
        """`NotNow` for a run that has not ended."""
        _needs(by, p)
        await self.get(p, ordinal)
        if not await self._delete(p, [ordinal]):
            raise NotNow(f"run {ordinal} of {p.slug} has not ended; cancel it first")

    async def delete_all(self, p: Printer, by: Caller) -> tuple[int, ...]:
        """All entries of runs that have ended; their ordinals."""
        _needs(by, p)
        return await self._delete(p, None)

    async def _delete(self, p: Printer, ordinals: Collection[int] | None) -> tuple[int, ...]:
        async def delete() -> tuple[int, ...]:
            deleted = await self._records.delete_runs(p.slug, ordinals)
            # Until here nothing waits behind the commit: ends that are written later are counted later.
            self._going_on.recount(deleted.prints)
            if p.run is not None and p.run.ended and (deleted.last is None or deleted.last.ended):
                p.run = deleted.last
            self._files.touch()
            return deleted.ordinals

        return await unbroken(delete())


def _needs(by: Caller, p: Printer) -> None:
    if not by.may(Permission.DELETE, p.slug):
        raise NotAllowed(f"{by.name or 'a guest'} may not change the history of {p.slug}")
