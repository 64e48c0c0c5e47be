"""Lines of a script, as Klipper reads them: a name, and parameters that it writes ``KEY=VALUE``.

Upstream: Klipper's docs/G-Codes.md.  What Marlin reads (``G1 X5``) is a `Command` too, of no parameters.
"""

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from polyhost.core.errors import Malformed

MAX_SCRIPT_BYTES: Final = 64 << 10
MAX_LINES: Final = 1000
MAX_LINE: Final = 4096  # characters

_PLAIN: Final = re.compile(r"[GMTD]\s*\d+(?:\.\d+)?(?=[^\w=]|[A-Z]\s*[-+.\d]|\s|$)", re.IGNORECASE)
_NAME: Final = re.compile(r"[^\s;#]+")
_TOOL: Final = re.compile(r"T(\d+)")
_KEY: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Command:
    """One line: `name` in capitals, `rest` of the line as it was written, without the comment behind it."""

    name: str
    rest: str
    line: str

    @property
    def tool(self) -> int | None:
        """Which tool it selects, if it does that."""
        found = _TOOL.fullmatch(self.name)
        return None if found is None else int(found[1][:6])

    def parameters(self) -> "Parameters":
        """`Malformed`, in Klipper's words, for what is not ``KEY=VALUE``."""
        return Parameters(self, parsed(self))


def commands_of(script: str) -> list[Command]:
    """The commands of `script`, one a line; empty lines and comments are none.  `Malformed` beyond the bounds."""
    if len(script.encode("utf-8", "replace")) > MAX_SCRIPT_BYTES:
        raise Malformed(f"a script has at most {MAX_SCRIPT_BYTES >> 10} KiB")
    if (longest := max(map(len, script.split("\n")))) > MAX_LINE:
        raise Malformed(f"a line of {longest} characters; {MAX_LINE} is the limit")
    found = [command for line in script.split("\n") if (command := command_in(line)) is not None]
    if len(found) > MAX_LINES:
        raise Malformed(f"{len(found)} commands in one script; {MAX_LINES} is the limit")
    return found


def command_in(line: str) -> Command | None:
    """The command in `line`; None for an empty line or a comment.

    >>> command_in("g1x5 ; to the right")
    Command(name='G1', rest='x5', line='g1x5')
    >>> command_in("set_fan_speed fan=part speed=0.5").name
    'SET_FAN_SPEED'
    """
    text = line.strip()
    if not text or text[0] in ";#":
        return None
    if (plain := _PLAIN.match(text)) is not None:
        name = re.sub(r"\s", "", plain[0]).upper()
        said = text if name in _TEXT else text.partition(";")[0].rstrip()
        return Command(name, said[plain.end() :].strip(), said)
    found = _NAME.match(text)
    assert found is not None  # it begins with neither a space nor a comment
    return Command(found[0].upper(), _without_comment(text[found.end() :]).strip(), _without_comment(text).strip())


_TEXT: Final = frozenset({"M117", "M118"})
"""The rest of their line is for people, whatever is in it."""


def _without_comment(text: str) -> str:
    """`text` up to the first ``;`` or ``#`` that stands outside of quotes."""
    quote = ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in ";#":
            return text[:at]
    return text


def parsed(command: Command) -> dict[str, str]:
    """Parameters by their names in capitals; of a name that comes twice the last counts."""
    try:
        words = shlex.split(command.rest)
    except ValueError:
        raise _malformed(command) from None
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not _KEY.fullmatch(key.upper()):
            raise _malformed(command)
        found[key.upper()] = value
    return found


def _malformed(command: Command) -> Malformed:
    return Malformed(f"Malformed command '{command.line[:200]}'")


class Parameters:
    """The parameters of one command; what is wrong with one is said in Klipper's words."""

    def __init__(self, command: Command, values: Mapping[str, str]) -> None:
        self._line = command.line[:200]
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def all(self) -> dict[str, str]:
        return dict(self._values)

    def text(self, name: str, default: str | None = None) -> str:
        """`Malformed` when it is missing and has no `default`."""
        value = self._values.get(name, default)
        if value is None:
            raise Malformed(f"Error on '{self._line}': missing {name}")
        return value

    def number(
        self,
        name: str,
        default: float | None = None,
        *,
        least: float = -math.inf,
        most: float = math.inf,
        above: float = -math.inf,
    ) -> float:
        """Finite, and within what is said."""
        if name not in self._values and default is not None:
            return default
        return self._within(name, float, least, most, above)

    def whole(self, name: str, default: int | None = None, *, least: int = -(10**9), most: int = 10**9) -> int:
        if name not in self._values and default is not None:
            return default
        return self._within(name, int, least, most, -math.inf)

    def _within(self, name: str, kind: type[T], least: float, most: float, above: float) -> T:
        said = self.text(name)
        try:
            value = kind(said[:64])
        except ValueError:
            raise Malformed(f"Error on '{self._line}': unable to parse {said[:64]}") from None
        if not math.isfinite(value):
            raise Malformed(f"Error on '{self._line}': unable to parse {said[:64]}")
        if value < least:
            raise Malformed(f"Error on '{self._line}': {name} must have minimum of {least:g}")
        if value > most:
            raise Malformed(f"Error on '{self._line}': {name} must have maximum of {most:g}")
        if value <= above:
            raise Malformed(f"Error on '{self._line}': {name} must be above {above:g}")
        return value
