"""Lines that wait to be sent, and who is told when they are through."""

from collections import deque
from collections.abc import Sequence
from enum import Enum


class Lane(Enum):
    """Where a line waits: those of the host go out before those of the file."""

    FILE = "file"
    HOST = "host"


class Waiting:
    """The lines of one lane, in order, and the tags that stand behind some of them."""

    __slots__ = ("_queued", "_tags", "_taken", "lines")

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self._tags: deque[tuple[int, object]] = deque()  # (how many lines were queued up to it, tag)
        self._queued = 0
        self._taken = 0

    def add(self, lines: Sequence[bytes], tag: object | None) -> None:
        self.lines.extend(lines)
        self._queued += len(lines)
        if tag is not None:
            self._tags.append((self._queued, tag))

    def take(self) -> tuple[bytes, Sequence[object]]:
        """The first line, and the tags right behind it; `IndexError` when there is none."""
        line = self.lines.popleft()
        self._taken += 1
        if not self._tags or self._tags[0][0] > self._taken:
            return line, ()
        tags = []
        while self._tags and self._tags[0][0] <= self._taken:
            tags.append(self._tags.popleft()[1])
        return line, tags

    def drop(self) -> tuple[int, list[object]]:
        """Forget all lines and tags: how many lines they were, and the tags."""
        dropped, tags = len(self.lines), [tag for _, tag in self._tags]
        self.lines.clear()
        self._tags.clear()
        self._queued = self._taken
        return dropped, tags
