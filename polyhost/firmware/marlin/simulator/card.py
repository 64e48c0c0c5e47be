"""The SD card: its files, the one that is selected, and the one that is being written."""

import re
from collections.abc import Mapping
from typing import Final

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_FILES: Final = 500


class Card:
    """A card in its slot, or an empty slot.  Files go by their short names, case ignored, or their long ones."""

    def __init__(self, files: Mapping[str, bytes] | None) -> None:
        self.inserted = files is not None
        self.free_bytes = MAX_FILE_BYTES  # for each file
        self._contents: dict[str, bytes] = {}
        self._long_names: dict[str, str] = {}
        for name, content in (files or {}).items():
            self.put(name, content)
        self.reset()

    def reset(self) -> None:
        """As after power-on: nothing is open."""
        self.mounted = self.inserted
        self.printing = False
        self.selected = ""
        self.offset = 0
        self.writing = ""
        self._written: list[bytes] = []
        self._written_bytes = 0

    def put(self, name: str, content: bytes) -> str:
        """Store a file; its short name."""
        short = self.find(name) or self._short(name)
        self._contents[short] = content
        self._long_names[short] = name.removeprefix("/")
        return short

    def find(self, name: str) -> str:
        """The short name of a file; "" when there is none."""
        wanted = name.strip().removeprefix("/").upper()
        if wanted in self._contents:
            return wanted
        return next((short for short, long in self._long_names.items() if long.upper() == wanted), "")

    def remove(self, short: str) -> None:
        del self._contents[short], self._long_names[short]

    def long_name(self, short: str) -> str:
        return self._long_names[short]

    def contents(self) -> list[tuple[str, bytes]]:
        """Every file by its short name."""
        return list(self._contents.items())

    def listing(self) -> list[tuple[str, int, str]]:
        """(short name, size in bytes, long name) of every file."""
        return [(short, len(content), self._long_names[short]) for short, content in self._contents.items()]

    def select(self, short: str) -> None:
        self.selected, self.offset, self.printing = short, 0, False

    @property
    def size(self) -> int:
        """Of the selected file, in bytes."""
        return len(self._contents.get(self.selected, b""))

    def status(self) -> str:
        """As M27 says it."""
        return f"SD printing byte {self.offset}/{self.size}" if self.printing else "Not SD printing"

    def read_line(self) -> bytes | None:
        """The next line of the selected file, None at its end."""
        content = self._contents.get(self.selected, b"")
        if self.offset >= len(content):
            return None
        end = content.find(b"\n", self.offset) + 1 or len(content)
        text, self.offset = content[self.offset : end], end
        return text

    def write(self, body: bytes) -> bool:
        """Append a line to the file being written; False when the card is full.  It goes on being written to."""
        if self._written_bytes + len(body) + 1 > self.free_bytes:
            return False
        self._written_bytes += len(body) + 1
        self._written.append(body)
        return True

    def begin(self, name: str) -> bool:
        """Start writing `name`; False when the card is full."""
        if len(self._contents) >= MAX_FILES:
            return False
        self.writing, self._written, self._written_bytes = name, [], 0
        return True

    def end(self) -> None:
        """Close the file being written."""
        self.put(self.writing, b"".join(body + b"\n" for body in self._written))
        self.writing, self._written = "", []

    def _short(self, name: str) -> str:
        """An 8.3 name that no other file has."""
        stem, _, suffix = name.removeprefix("/").rpartition(".")
        stem, suffix = (stem, suffix) if stem else (suffix, "")
        stem = re.sub(r"[^A-Z0-9_-]", "", stem.upper()) or "FILE"
        suffix = {"GCODE": "GCO"}.get(suffix.upper(), re.sub(r"[^A-Z0-9]", "", suffix.upper())[:3]) or "GCO"
        if len(stem) <= 8 and f"{stem}.{suffix}" not in self._contents:
            return f"{stem}.{suffix}"
        number = 1
        while (short := f"{stem[: 7 - len(str(number))]}~{number}.{suffix}") in self._contents:
            number += 1
        return short
