"""Regular expressions of clients, searched in linear time.

Python's own engine backtracks: 30 characters of a pattern can keep it busy for years, and so can it the whole host.
RE2 never does (https://github.com/google/re2/wiki/Syntax).  It has no look-arounds and no references back, and its
classes know ASCII alone; all else reads as in `re`.  It is a compiled package, which some machines do not have.
"""

from collections.abc import Callable
from typing import Final

from polyhost.core.errors import Malformed

try:
    import re2  # type: ignore[import-untyped]  # ships no types
except ImportError:
    re2 = None

MAX_BYTES: Final = 200
MAX_MEMORY: Final = 1 << 18  # bytes of one pattern's automaton; RE2 searches more slowly rather than take more


class Pattern:
    """A pattern to be searched for.  Two of the same text are equal."""

    __slots__ = ("_search", "text")

    def __init__(self, text: str) -> None:
        """`Malformed` says what is wrong with `text`, or that this computer lacks what would search for it."""
        if re2 is None:
            raise Malformed("this computer lacks the package google-re2, without which no pattern is searched for")
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            raise Malformed("a pattern must be valid Unicode") from None
        if len(encoded) > MAX_BYTES:
            raise Malformed(f"a pattern has at most {MAX_BYTES} bytes")
        options = re2.Options()
        options.max_mem, options.log_errors, options.never_capture = MAX_MEMORY, False, True
        try:
            compiled = re2.compile(text, options)
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace")
            raise Malformed(f"the pattern cannot be searched for: {reason}") from None
        self.text = text
        self._search: Callable[[bytes], object | None] = compiled.search

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def is_in(self, line: str) -> bool:
        """Whether it is found anywhere in `line`."""
        return self._search(line.encode("utf-8", "replace")) is not None
