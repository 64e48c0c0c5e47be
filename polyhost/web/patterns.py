"""Regular expressions of clients, searched in linear time.

Python's own engine backtracks: 30 characters of a pattern can keep it busy for years, and so can it the whole host.
Here a pattern becomes an automaton (Thompson, 1968) whose states are made as the text asks for them; each character of
a line costs one look-up.  Both the automaton and what is made of it are bounded.  There are no look-arounds and no
references back, which no automaton has; everything else reads as in `re`.
"""

from collections.abc import Callable, Iterator
from typing import Final

from polyhost.core.errors import Malformed

MAX_BYTES: Final = 200
MAX_NODES: Final = 500
MAX_STATES: Final = 2000
MAX_DEPTH: Final = 20
_ANY: Final = -1

Test = Callable[[str], bool]


def _is_word(c: str) -> bool:
    return c.isalnum() or c == "_"


_CLASSES: Final[dict[str, Test]] = {
    "d": str.isdecimal,
    "D": lambda c: not c.isdecimal(),
    "w": _is_word,
    "W": lambda c: not _is_word(c),
    "s": str.isspace,
    "S": lambda c: not c.isspace(),
}
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
_ASSERTIONS: Final = {"b": "b", "B": "B", "A": "^", "Z": "$"}


class _Node:
    """One step: a character that passes `test`, or nothing (None) where `asserts` holds; then on to `after`."""

    __slots__ = ("after", "asserts", "test")

    def __init__(self, test: Test | None = None, asserts: str = "") -> None:
        self.test = test
        self.asserts = asserts
        self.after: list[_Node] = []


Piece = tuple[_Node, _Node]
"""A part of the automaton: where it is entered and where it is left."""


class _Reader:
    """Reads a pattern into nodes."""

    def __init__(self, pattern: str) -> None:
        self.literals: set[str] = set()
        self.fold = pattern.startswith("(?i)")
        self._text = pattern[4:] if self.fold else pattern
        self._at = 0
        self._nodes = 0
        self._depth = 0

    def whole(self) -> Piece:
        piece = self._either()
        if self._at < len(self._text):
            raise Malformed("the pattern has a ) too many")
        found = self._node()
        piece[1].after.append(found)
        return piece[0], found

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        c = self._peek()
        if not c:
            raise Malformed("the pattern breaks off")
        self._at += 1
        return c

    def _node(self, test: Test | None = None, asserts: str = "") -> _Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Malformed("the pattern is too large")
        return _Node(test, asserts)

    def _either(self) -> Piece:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Malformed("the pattern is nested too deep")
        pieces = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            pieces.append(self._sequence())
        self._depth -= 1
        if len(pieces) == 1:
            return pieces[0]
        begin, end = self._node(), self._node()
        for first, last in pieces:
            begin.after.append(first)
            last.after.append(end)
        return begin, end

    def _sequence(self) -> Piece:
        begin = end = self._node()
        while self._peek() not in {"", "|", ")"}:
            started = self._at
            first, last = self._repeated(started)
            end.after.append(first)
            end = last
        return begin, end

    def _repeated(self, started: int) -> Piece:
        piece = self._one()
        ended = self._at
        least, most = self._count()
        if (least, most) == (1, 1):
            return piece
        after = self._at
        pieces = [piece]
        for _ in range(max(least, most, 1) - 1 if most != _ANY else max(least, 1) - 1):
            self._at = started  # read again: each repetition has nodes of its own
            pieces.append(self._one())
            assert self._at == ended
        self._at = after
        begin, end = self._node(), self._node()
        previous = begin
        for number, (first, last) in enumerate(pieces):
            if number >= least:
                previous.after.append(end)
            previous.after.append(first)
            previous = last
        previous.after.append(end)
        if most == _ANY:
            previous.after.append(pieces[-1][0])
        if most == 0:
            begin.after = [end]
        return begin, end

    def _count(self) -> tuple[int, int]:
        c = self._peek()
        if c in {"*", "+", "?"}:
            self._at += 1
            counts = {"*": (0, _ANY), "+": (1, _ANY), "?": (0, 1)}[c]
        elif c == "{" and (found := self._braces()) is not None:
            counts = found
        else:
            return 1, 1
        if self._peek() == "?":  # lazy: which of several matches is found does not matter here
            self._at += 1
        if self._peek() in {"*", "+", "?"}:
            raise Malformed("the pattern repeats a repetition")
        return counts

    def _braces(self) -> tuple[int, int] | None:
        """``{2}``, ``{2,}``, ``{,3}``, ``{2,3}``; None for braces that are meant as such."""
        inside, close, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inside.partition(",")
        if not close or not all((part.isdecimal() and len(part) < 4) or not part for part in (low, high)) or not inside:
            return None
        if not comma and not low:
            return None
        self._at += len(inside) + 2
        least = int(low or 0)
        most = int(high) if high else _ANY if comma else least
        if most != _ANY and most < least:
            raise Malformed("the pattern repeats from more to less")
        if max(least, most) > MAX_NODES:
            raise Malformed("the pattern is too large")
        return least, most

    def _one(self) -> Piece:
        c = self._next()
        match c:
            case "(":
                return self._group()
            case "[":
                node = self._node(self._set())
            case ".":
                node = self._node(lambda c: c != "\n")
            case "^" | "$":
                node = self._node(asserts=c)
            case "*" | "+" | "?":
                raise Malformed(f"the pattern repeats nothing with {c}")
            case "\\":
                node = self._escape()
            case _:
                node = self._node(self._literal(c))
        return node, node

    def _group(self) -> Piece:
        if self._peek() == "?":
            self._at += 1
            c = self._next()
            if c == "P" and self._peek() == "<":
                name, close, _ = self._text[self._at + 1 :].partition(">")
                if not close or not name.isidentifier():
                    raise Malformed("the pattern has a group without a name")
                self._at += len(name) + 2
            elif c != ":":
                raise Malformed(f"(?{c} is not known here")
        piece = self._either()
        if self._next() != ")":
            raise Malformed("the pattern lacks a )")
        return piece

    def _escape(self) -> _Node:
        c = self._next()
        if c in _CLASSES:
            return self._node(_CLASSES[c])
        if c in _ASSERTIONS:
            return self._node(asserts=_ASSERTIONS[c])
        return self._node(self._literal(self._escaped(c)))

    def _escaped(self, c: str) -> str:
        if c in _ESCAPES:
            return _ESCAPES[c]
        if c in {"x", "u"}:
            digits = self._text[self._at : self._at + (2 if c == "x" else 4)]
            try:
                found = chr(int(digits, 16)) if digits.isalnum() and len(digits) in {2, 4} else ""
            except ValueError:
                found = ""
            if not found:
                raise Malformed(f"\\{c} lacks its digits")
            self._at += len(digits)
            return found
        if c.isalnum():
            raise Malformed(f"\\{c} is not known here")
        return c

    def _literal(self, c: str) -> Test:
        self.literals.add(c)
        if self.fold:
            low = c.lower()
            self.literals |= {low, c.upper()}
            return lambda d: d.lower() == low
        return lambda d: d == c

    def _set(self) -> Test:
        negated = self._peek() == "^"
        self._at += negated
        tests: list[Test] = []
        while (c := self._next()) != "]" or not tests:
            if c == "\\" and self._peek() in _CLASSES:
                tests.append(_CLASSES[self._next()])
                continue
            low = self._escaped(self._next()) if c == "\\" else c
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._at += 1
                high = self._next()
                high = self._escaped(self._next()) if high == "\\" else high
                if not (low <= high and high.isascii()):
                    raise Malformed(f"{low}-{high} is no range of ASCII characters")
                tests.append(self._range(low, high))
            else:
                tests.append(self._literal(low))
        return (lambda c: not any(test(c) for test in tests)) if negated else (lambda c: any(t(c) for t in tests))

    def _range(self, low: str, high: str) -> Test:
        if self.fold:
            return lambda c: low <= c <= high or low <= c.lower() <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high


class _State:
    """A set of nodes to go on from, with what was before: a state of the automaton that is made on the way."""

    __slots__ = ("at_start", "next", "nodes", "word_before")

    def __init__(self, nodes: frozenset[_Node], word_before: bool, at_start: bool) -> None:
        self.nodes = nodes
        self.word_before = word_before
        self.at_start = at_start
        self.next: dict[str, _State | None] = {}  # None: the pattern was found


class Pattern:
    """A pattern to be searched for.  Two of the same text are equal."""

    __slots__ = ("_begin", "_end", "_literals", "_start", "_states", "text")

    def __init__(self, text: str) -> None:
        """`Malformed` says what is wrong with `text`: no pattern, beyond 200 bytes, or more than an automaton can."""
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise Malformed("a pattern must be valid Unicode") from None
        if size > MAX_BYTES:
            raise Malformed(f"a pattern has at most {MAX_BYTES} bytes")
        self.text = text
        reader = _Reader(text)
        self._begin, self._end = reader.whole()
        self._literals = reader.literals
        self._start = _State(frozenset({self._begin}), word_before=False, at_start=True)
        self._states = {(self._start.nodes, False, True): self._start}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def is_in(self, line: str) -> bool:
        """Whether it is found anywhere in `line`; False for a pattern that turned out to need too many states."""
        state = self._start
        for c in line:
            key = c if c.isascii() or c in self._literals else _stand_in(c)
            try:
                following = state.next[key]
            except KeyError:
                if len(self._states) > MAX_STATES:
                    return False
                following = state.next[key] = self._step(state, key)
            if following is None:
                return True
            state = following
        return self._end in self._reached(state, "")

    def _step(self, state: _State, c: str) -> _State | None:
        reached = self._reached(state, c)
        if self._end in reached:
            return None
        nodes = frozenset(
            after for node in reached if node.test is not None and node.test(c) for after in node.after
        ) | {self._begin}
        key = nodes, _is_word(c), False
        return self._states.setdefault(key, _State(*key))

    def _reached(self, state: _State, c: str) -> set[_Node]:
        """Where one may be without taking `c`, the character that comes ("" at the end of the line)."""
        reached = set(state.nodes)
        waiting = list(reached)
        while waiting:
            for after in self._free(waiting.pop(), state, c):
                if after not in reached:
                    reached.add(after)
                    waiting.append(after)
        return reached

    def _free(self, node: _Node, state: _State, c: str) -> Iterator[_Node]:
        if node.test is not None:
            return
        match node.asserts:
            case "":
                holds = True
            case "^":
                holds = state.at_start
            case "$":
                holds = not c
            case boundary:
                holds = (state.word_before != bool(c and _is_word(c))) == (boundary == "b")
        if holds:
            yield from node.after


def _stand_in(c: str) -> str:
    """A character that no pattern names, for all that are of the same classes: few states serve them."""
    if c.isdecimal():
        return "\u0660"
    return "\u00aa" if _is_word(c) else "\u2003" if c.isspace() else "\ufffc"
