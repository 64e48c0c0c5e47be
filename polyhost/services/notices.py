"""What the owner of a printer should know and nobody asked for: facts, for as long as they hold.

A notice can be put away, for good or for a while; that is kept.  When its fact holds no more it goes by itself, and
when the fact is back it is told anew.  What cannot be judged now (a firmware that does not answer) stays as it was.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost import config
from polyhost.core.errors import Malformed, NoSpace, NotFound
from polyhost.core.events import NoticeDismissed, NoticesChanged, NoticeWoke
from polyhost.core.ports import Clock
from polyhost.core.printer import Snapshot
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.files import Files
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 15.0
MAX_WAKE_S: Final = 10 * 365 * 86400.0
DISK: Final = "disk"
HEAT: Final = "thermal_protection"
CABLE: Final = "cable"
_LITTLE: Final = 2.0  # times what uploads leave free: below it the disk is nearly full
_ENOUGH: Final = 2.5  # above it, it is not
_JUDGED_LINES: Final = 10_000
_BAD: Final = 1e-3  # of the lines are sent again: R1's measure of a bad cable
_GOOD: Final = 5e-4


class Fact(msgspec.Struct, frozen=True):
    """Something that holds: words of our own only, for pages that show them as they are."""

    title: str
    description: str
    urgent: bool = False


class Notice(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch; `wakes_at` is when a dismissed one is shown again, None for never."""

    id: str
    fact: Fact
    since: float
    dismissed_at: float | None = None
    wakes_at: float | None = None

    @property
    def dismissed(self) -> bool:
        return self.dismissed_at is not None


class KeptNotice(msgspec.Struct, frozen=True):
    since: float
    dismissed_at: float | None = None
    wakes_at: float | None = None


class KeptNotices(msgspec.Struct, frozen=True):
    """Preferences of one printer: what it was told, and what of that was put away."""

    notices: dict[str, KeptNotice] = {}


def facts_of(snapshot: Snapshot, free: int, total: int, uploads: config.Uploads) -> dict[str, Fact | None]:
    """What holds of a machine and of the disk (bytes), and None for what does not; what nobody knows is left out."""
    facts: dict[str, Fact | None] = {}
    kept = uploads.kept_free(total)
    if free < _LITTLE * kept:
        words = (
            f"{_size(free)} of the disk are free; uploads are refused below {_size(kept)}. Delete what is not needed."
        )
        facts[DISK] = Fact("The disk is nearly full", words, urgent=free < kept)
    elif free > _ENOUGH * kept:
        facts[DISK] = None
    protected = snapshot.firmware.capabilities.get("THERMAL_PROTECTION")
    if protected is not None:
        words = (
            "The firmware says that it has no thermal protection: it would go on heating when a sensor comes loose."
            " Do not leave this printer alone, and have its firmware built with THERMAL_PROTECTION."
        )
        facts[HEAT] = None if protected else Fact("The firmware has no thermal protection", words, urgent=True)
    if snapshot.lines_sent >= _JUDGED_LINES:
        share = snapshot.resends / snapshot.lines_sent
        if share > _BAD:
            words = f"{share:.1%} of the lines had to be sent again. Use another cable, away from the motors' wires."
            facts[CABLE] = Fact("The connection to the printer is bad", words)
        elif share < _GOOD:
            facts[CABLE] = None
    return facts


class Notices:
    def __init__(
        self,
        printers: Printers,
        preferences: Preferences,
        files: Files,
        uploads: config.Uploads,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._printers = printers
        self._preferences = preferences
        self._files = files
        self._uploads = uploads
        self._bus = bus
        self._clock = clock
        self._held: dict[str, dict[str, tuple[Fact, float]]] = {}  # by printer and id, and since when
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        while True:
            printers = self._printers.all()
            for p in printers:
                await self._look(p)
            self._held = {p.slug: self._held[p.slug] for p in printers}
            await asyncio.sleep(LOOK_EVERY_S)

    def all(self, p: Printer, by: Caller) -> list[Notice]:
        """The newest first, those put away among them."""
        by.require(Permission.LOOK, p.slug)
        kept = self._kept(p)
        held = self._held.get(p.slug, {}).items()
        notices = [Notice(id, fact, *msgspec.structs.astuple(kept.get(id, KeptNotice(at)))) for id, (fact, at) in held]
        return sorted(notices, key=lambda notice: notice.since, reverse=True)

    async def look(self, p: Printer, by: Caller) -> bool:
        """Find out what holds now, instead of in a while; whether that is something else than before."""
        by.require(Permission.LOOK, p.slug)
        return await self._look(p)

    async def dismiss(self, p: Printer, id: str, for_s: float | None, by: Caller) -> None:
        """Put a notice away for everybody, for `for_s` seconds or (None) for as long as its fact holds."""
        by.require(Permission.CONTROL, p.slug)
        if for_s is not None and not 0 < for_s <= MAX_WAKE_S:
            raise Malformed(f"a notice is put away for more than 0 and at most {MAX_WAKE_S:.0f} s, not {for_s}")
        async with self._looking:
            found = next((notice for notice in self.all(p, by) if notice.id == id), None)
            if found is None:
                raise NotFound(f"there is no notice {id!r}")
            now = self._clock.now()
            put_away = KeptNotice(found.since, now, None if for_s is None else now + for_s)
            await self._preferences.put(KeptNotices({**self._kept(p), id: put_away}), p.slug)
        self._bus.publish(NoticeDismissed(p.slug, id))

    def _kept(self, p: Printer) -> Mapping[str, KeptNotice]:
        return self._preferences.get(KeptNotices, p.slug).notices

    async def _look(self, p: Printer) -> bool:
        async with self._looking:
            try:
                free, total = self._files.free_space()
            except NoSpace:
                free = total = 0  # a disk that does not say has no room
            now = self._clock.now()
            kept, held = dict(self._kept(p)), self._held.setdefault(p.slug, {})
            before = {id: fact.urgent for id, (fact, _) in held.items()}
            for id, fact in facts_of(p.snapshot, free, total, self._uploads).items():
                if fact is None:
                    held.pop(id, None)
                    kept.pop(id, None)
                else:
                    since = kept.setdefault(id, KeptNotice(held[id][1] if id in held else now)).since
                    held[id] = fact, since
            woken = [id for id, one in kept.items() if one.wakes_at is not None and one.wakes_at <= now]
            kept |= {id: KeptNotice(kept[id].since) for id in woken}
            if kept != self._kept(p):
                try:
                    await self._preferences.put(KeptNotices(kept), p.slug)
                except NoSpace as error:  # which may be what there is to tell
                    log.debug("%s: what was told cannot be kept: %s", p.slug, error)
            changed = before != {id: fact.urgent for id, (fact, _) in held.items()}
        for id in woken:
            self._bus.publish(NoticeWoke(p.slug, id))
        if changed:
            self._bus.publish(NoticesChanged(p.slug))
        return changed


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
