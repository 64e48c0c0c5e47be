"""The captures of one API, and where we answer otherwise and why."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from tests.captures import answers
from tests.captures.answers import Words
from tests.captures.playing import Capture, Player


class Difference(msgspec.Struct):
    """Why some steps are answered otherwise: for the title of each, what of the answer; ``*`` stands for anything."""

    reason: str
    steps: dict[str, list[str]]


class Captures:
    """Those in one folder beside this module."""

    def __init__(self, folder: str, words: Words, first_state: str) -> None:
        self.words = words
        self.first_state = first_state
        self.folder = Path(__file__).parent / folder
        self.names = sorted(path.stem for path in self.folder.glob("*.json") if "." not in path.stem)

    def capture(self, name: str) -> Capture:
        return msgspec.json.decode((self.folder / f"{name}.json").read_bytes(), type=Capture)

    def differences_of(self, name: str) -> list[Difference]:
        path = self.folder / f"{name}.differs.json"
        return msgspec.json.decode(path.read_bytes(), type=list[Difference]) if path.exists() else []

    def player(self, url: str, keys: Mapping[str, str]) -> Player:
        """Who asks a server for them."""
        return Player(url, keys, self.words, self.first_state)

    def list_of(self, name: str) -> str:
        """The list of requests that was recorded."""
        return (self.folder / f"{name}.txt").read_text(encoding="utf-8")


OCTOPRINT: Final = Captures("octoprint", answers.OCTOPRINT, "offline")
MOONRAKER: Final = Captures("moonraker", answers.MOONRAKER, "")


class Known:
    """The differences of one capture that somebody gave a reason for, and which of them were met."""

    def __init__(self, differences: list[Difference]) -> None:
        self._unmet = [
            (title, what) for difference in differences for title, every in difference.steps.items() for what in every
        ]
        self._all = list(self._unmet)

    def new(self, title: str, unlike: list[str]) -> list[str]:
        """Those of `unlike` that have no reason."""
        return [what for what in unlike if not self._meet(title, what)]

    def gone(self) -> list[str]:
        """What was said to differ, and did not."""
        return [f"{title} | {what}" for title, what in self._unmet]

    def _meet(self, title: str, what: str) -> bool:
        met = [entry for entry in self._all if matches(entry[0], title) and matches(entry[1], what)]
        self._unmet = [entry for entry in self._unmet if entry not in met]
        return bool(met)


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
