"""The printer's own card: what is on it, and what is on its way to it."""

import posixpath
import re
from collections.abc import Collection
from typing import Final

import msgspec

MAX_CARD_FILES: Final = 5000
_STEM: Final = 8
_NOT_DOS: Final = re.compile(r"[^A-Z0-9_-]")


class CardFile(msgspec.Struct, frozen=True, array_like=True):
    """A file on the card: the name that selects it (8.3, folders before it), bytes, and its long name if it has one.

    `modified_at` is seconds since the epoch, taken for this host's zone; None where the firmware does not tell.
    """

    name: str
    size_bytes: int | None = None
    long_name: str = ""
    modified_at: float | None = None

    @property
    def shown(self) -> str:
        """What people call it."""
        return self.long_name or posixpath.basename(self.name)


class CardOrder(msgspec.Struct, frozen=True):
    """A file of the library to be written to the card as `name`; `file` is its absolute path on the host."""

    path: str  # in the library
    file: str
    name: str
    size_bytes: int


class CardTransfer(msgspec.Struct, frozen=True):
    """A file on its way to the card; bytes are those of the library's file that the firmware acknowledged."""

    path: str
    name: str
    size_bytes: int
    sent_bytes: int = 0
    elapsed_s: float = 0.0


def found_on(files: Collection[CardFile], name: str) -> CardFile | None:
    """The file that `name` means: its short name or its long one, upper or lower case, with a leading slash or not."""
    wanted = name.removeprefix("/").lower()
    for attribute in ("name", "long_name"):
        for file in files:
            if getattr(file, attribute).removeprefix("/").lower() == wanted:
                return file
    return None


def card_name(name: str, taken: Collection[CardFile]) -> str:
    """The 8.3 name for a library's `name`, one that no file on the card has.

    G-code ends in ``.GCO``, or ``.G`` if it does: longer endings do not fit, and firmware lists no others.
    """
    stem, suffix = posixpath.splitext(posixpath.basename(name).upper())
    stem = _NOT_DOS.sub("", stem.replace(" ", "_")) or "FILE"
    suffix = ".G" if suffix == ".G" else ".GCO"
    names = {file.name.removeprefix("/").upper() for file in taken}
    if len(stem) <= _STEM and stem + suffix not in names:
        return stem + suffix
    number = 1
    while (short := f"{stem[: _STEM - 1 - len(str(number))]}~{number}{suffix}") in names:
        number += 1
    return short
