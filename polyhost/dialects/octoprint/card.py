"""Files on the printer's own card: entries, and what may be done with one of them.

Upstream: OctoPrint 1.11, docs/api/files.rst, location ``sdcard``.  Names are in lower case there, whatever case the
firmware lists them in; a request may have either, or the long name.
"""

from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.card import CardFile
from polyhost.dialects.octoprint.metadata import Refs
from polyhost.services.host import Host
from polyhost.services.printer import Printer


class CardEntry(msgspec.Struct, rename="camel"):
    name: str
    display: str
    path: str
    origin: str
    refs: Refs
    size: int | UnsetType = UNSET
    date: int | UnsetType = UNSET
    type: str = "machinecode"
    type_path: tuple[str, ...] = ("machinecode", "gcode")


def card_path(name: str) -> str:
    """The name of a file on the card, as it is shown."""
    return name.removeprefix("/").lower()


def card_url(base: str, name: str) -> str:
    return f"{base}/api/files/sdcard/{quote(name)}"


def card_entry_of(file: CardFile, base: str) -> CardEntry:
    name = card_path(file.name)
    return CardEntry(
        name=name,
        display=file.long_name or name,
        path=name,
        origin="sdcard",
        refs=Refs(card_url(base, name)),
        size=UNSET if file.size_bytes is None else file.size_bytes,
        date=UNSET if file.modified_at is None else int(file.modified_at),
    )


def card_entries_of(host: Host, printer: Printer, base: str) -> list[CardEntry]:
    return [card_entry_of(file, base) for file in host.cards.files(printer)]
