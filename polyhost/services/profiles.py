"""Printer profiles: the shapes that a machine may be given, and which of them it has now.

The profile called `DEFAULT_PROFILE` is the one of the printer's own settings and is always there; others are added by
people.  One of them is the *preferred* one, with which a printer is connected when nobody says otherwise, and one is
*current*: the one it was connected with, or the preferred one while it is not.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from polyhost.core.errors import Malformed, NotFound, NotNow
from polyhost.core.events import ProfileChanged
from polyhost.core.job import DEFAULT_PROFILE
from polyhost.core.printer import PrinterProfile, PrinterState, checked_profile
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.unbroken import unbroken

if TYPE_CHECKING:
    from polyhost.services.printer import Printer
    from polyhost.services.printers import Printers

MAX_PROFILES: Final = 100
_ID: Final = re.compile(r"[A-Za-z0-9_.()-]{1,64}")


class ProfileBook(msgspec.Struct, frozen=True):
    """Of one printer, kept as a section of the preferences; `current` is "" for the preferred one."""

    others: dict[str, PrinterProfile] = {}
    preferred: str = DEFAULT_PROFILE
    current: str = ""

    @property
    def preferred_id(self) -> str:
        return self.preferred if self.preferred in self.others else DEFAULT_PROFILE

    @property
    def current_id(self) -> str:
        return self.current if self.current in {DEFAULT_PROFILE, *self.others} else self.preferred_id


def checked_id(identifier: str) -> str:
    """`identifier` as a profile may be called: spaces become underscores, `Malformed` for what no id may have."""
    checked = identifier.strip().replace(" ", "_")
    if not _ID.fullmatch(checked):
        raise Malformed(f"a profile's id is 1 to 64 of A-Z, a-z, 0-9 and _-.(), not {identifier[:80]!r}")
    return checked


class Profiles:
    def __init__(self, printers: "Printers", bus: Bus) -> None:
        self._printers = printers
        self._bus = bus

    def all(self, p: "Printer") -> Mapping[str, PrinterProfile]:
        """By id, the printer's own first."""
        return {DEFAULT_PROFILE: p.settings.profile, **p.book.others}

    def get(self, p: "Printer", identifier: str) -> PrinterProfile:
        try:
            return self.all(p)[identifier]
        except KeyError:
            raise NotFound(f"no profile {identifier!r}; there are: {', '.join(self.all(p))}") from None

    async def add(
        self, p: "Printer", identifier: str, profile: PrinterProfile, *, prefer: bool = False, by: Caller
    ) -> str:
        """A new profile; its id, which may differ from `identifier` in spaces.  `Malformed` when there is one."""
        by.require(Permission.SETTINGS, p.slug)
        identifier, profile = checked_id(identifier), checked_profile(profile)

        async def add() -> None:
            async with self._printers.changing:
                if identifier in self.all(p):
                    raise Malformed(f"there is a profile {identifier!r} already")
                if len(p.book.others) >= MAX_PROFILES:
                    raise NotNow(f"there are {MAX_PROFILES} profiles, which is the limit")
                book = msgspec.structs.replace(p.book, others={**p.book.others, identifier: profile})
                await self._printers.keep_book(p, _preferring(p, book, identifier) if prefer else book)
                self._bus.publish(ProfileChanged(p.slug, identifier, "added"))

        await unbroken(add())
        return identifier

    async def change(
        self, p: "Printer", identifier: str, profile: PrinterProfile, *, prefer: bool = False, by: Caller
    ) -> None:
        """`NotNow` for the own profile of a printer that the settings file names, unless it stays as it is."""
        by.require(Permission.SETTINGS, p.slug)
        profile = checked_profile(profile)

        async def change() -> None:
            async with self._printers.changing:
                is_other = profile != self.get(p, identifier)
                if identifier == DEFAULT_PROFILE:
                    if is_other:
                        await self._printers.keep_settings(p, msgspec.structs.replace(p.settings, profile=profile))
                    book = p.book
                else:
                    book = msgspec.structs.replace(p.book, others={**p.book.others, identifier: profile})
                await self._printers.keep_book(p, _preferring(p, book, identifier) if prefer else book)
                self._bus.publish(ProfileChanged(p.slug, identifier, "modified"))

        await unbroken(change())

    async def remove(self, p: "Printer", identifier: str, by: Caller) -> None:
        """`NotNow` for the current, the preferred and the printer's own; what is not there is gone already."""
        by.require(Permission.SETTINGS, p.slug)

        async def remove() -> None:
            async with self._printers.changing:
                if identifier == p.book.current_id:
                    raise NotNow(f"{identifier} is the current profile; connect {p.slug} with another one first")
                if identifier == p.book.preferred_id:
                    raise NotNow(f"{identifier} is the default profile; make another one the default first")
                if identifier == DEFAULT_PROFILE:
                    raise NotNow(f"{identifier} is the profile of the printer's own settings and stays")
                if identifier in p.book.others:
                    others = {name: profile for name, profile in p.book.others.items() if name != identifier}
                    await self._printers.keep_book(p, msgspec.structs.replace(p.book, others=others))
                    self._bus.publish(ProfileChanged(p.slug, identifier, "deleted"))

        await unbroken(remove())


def _preferring(p: "Printer", book: ProfileBook, identifier: str) -> ProfileBook:
    """`book` with another preferred profile; a printer that is connected keeps the one that it has."""
    current = "" if p.snapshot.state is PrinterState.OFFLINE else p.book.current_id
    return msgspec.structs.replace(book, preferred=identifier, current=current)
