"""The captures of OctoPrint, and where we answer otherwise and why."""

import re
from pathlib import Path
from typing import Final

import msgspec

from tests.captures.playing import Capture

HERE: Final = Path(__file__).parent / "octoprint"
CAPTURES: Final = sorted(path.stem for path in HERE.glob("*.json") if "." not in path.stem)


class Difference(msgspec.Struct):
    """Why some steps are answered otherwise: for the title of each, what of the answer; ``*`` stands for anything."""

    reason: str
    steps: dict[str, list[str]]


class Known:
    """The differences of one capture that somebody gave a reason for, and which of them were met."""

    def __init__(self, name: str) -> None:
        self.differences = differences_of(name)
        self._unmet = [
            (title, what)
            for difference in self.differences
            for title, every in difference.steps.items()
            for what in every
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


def capture(name: str) -> Capture:
    return msgspec.json.decode((HERE / f"{name}.json").read_bytes(), type=Capture)


def differences_of(name: str) -> list[Difference]:
    path = HERE / f"{name}.differs.json"
    return msgspec.json.decode(path.read_bytes(), type=list[Difference]) if path.exists() else []
