"""What becomes of commands before they are queued: targets raised and bounded, tools that are not there left out, the
scripts of a tool change put around it, ``@``-commands kept from the wire, and Klipper's said in Marlin's words.

Facts are OctoPrint's: a target of 0 stays 0, offsets are for what a file sets, and what a person or a script sets is
sent as it was given.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from polyhost.core.errors import Malformed
from polyhost.core.handling import Handling, ScriptName
from polyhost.core.placeholders import Values
from polyhost.gcode.foreign import LONG, in_marlins_words
from polyhost.gcode.vetting import CONCERNS, Command, command_in

_CONCERNS: Final = re.compile(CONCERNS.pattern + rb"|^@|^(?:" + LONG + rb")", CONCERNS.flags)
MAX_KINDS: Final = 100
MAX_SHOWN: Final = 200
_LONG: Final = re.compile(LONG, re.IGNORECASE)
_KIND: Final = re.compile(rb"\w+")
_RAISED: Final = re.compile(rb"([SR])(\d+(?:\.\d*)?)", re.IGNORECASE)


class Owner(Protocol):
    """Who holds the machine."""

    @property
    def offsets(self) -> Mapping[str, float]:
        """°C that a file's targets are raised by, by heater."""

    @property
    def handling(self) -> Handling: ...

    def values(self) -> Values:
        """What the machine is set to now."""

    def lines_of(self, script: Iterable[str], values: Values) -> list[bytes]:
        """What may be sent of a script."""

    def script_ran(self, script: ScriptName, *, finished: bool) -> None: ...

    def suppressed(self, command: bytes, reason: str) -> None:
        """A command will not be sent."""

    def at_command(self, command: bytes) -> None:
        """The file says something to the host."""


class Intake:
    """Follows the lines of one file, in order; `tool` is the one in use before the first."""

    def __init__(self, owner: Owner, tool: int = 0) -> None:
        self._owner = owner
        self._told: set[bytes] = set()  # kinds of commands that were not sent as they are
        self.tool = tool

    def taken(
        self, lines: Sequence[bytes], ends: Sequence[int], start: int, text: bytes
    ) -> tuple[Sequence[bytes], Sequence[int]]:
        """What is to be sent of `lines`, which are `text` joined, and the byte behind each; `start` is before them.

        `Malformed` for a target that the machine must never have: nothing of the batch is sent then.
        """
        if _CONCERNS.search(text) is None:
            return lines, ends
        taken: list[bytes] = []
        taken_ends: list[int] = []
        for line, end in zip(lines, ends, strict=True):
            more = list(self._of(line))
            # What surrounds a command is done with it: an interrupted run begins again before all of it.
            taken_ends += [*[start] * (len(more) - 1), end] if more else []
            taken += more
            if not more and taken_ends:
                taken_ends[-1] = end
            start = end
        return taken, taken_ends

    def _of(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"@"):
            self._owner.at_command(line)
            return
        if _LONG.match(line):
            instead, why = in_marlins_words(line)
            if why:
                self._tell_once(line, why)
            yield from instead
            return
        command = command_in(line)
        if command is None:
            yield line
            return
        profile = self._owner.handling.profile
        if why := command.beyond(profile):
            raise Malformed(f"the file asks for too much heat: {why}; the line was not sent")
        if why := command.unknown_tool(profile):
            self._owner.suppressed(line, why)
            return
        if command.selects:
            old, self.tool = self.tool, command.tool or 0
            yield from around(line, old, self.tool, self._owner)
            return
        heater = command.heater
        if heater == "tool":
            heater = f"tool{self.tool if command.tool is None else command.tool}"
        yield _raised(command, self._owner.offsets.get(heater, 0.0), profile.max_target(heater))

    def _tell_once(self, line: bytes, why: str) -> None:
        kind = _KIND.match(line)
        if kind is not None and kind[0] not in self._told and len(self._told) < MAX_KINDS:
            self._told.add(kind[0])
            self._owner.suppressed(line[:MAX_SHOWN], f"{why}; others of its kind are not told of")


def around(line: bytes, old: int, new: int, owner: Owner) -> Iterator[bytes]:
    """The change from tool `old` to `new` that `line` makes, with the scripts before and after it."""
    if old == new:
        yield line
        return
    handling = owner.handling
    if not (handling.before_tool_change or handling.after_tool_change):
        yield line
        return
    values = {**owner.values(), "old": old, "new": new}
    yield from _script(ScriptName.BEFORE_TOOL_CHANGE, handling.before_tool_change, values, owner)
    yield line
    yield from _script(ScriptName.AFTER_TOOL_CHANGE, handling.after_tool_change, values, owner)


def _script(name: ScriptName, script: Sequence[str], values: Values, owner: Owner) -> Iterator[bytes]:
    """The lines of a script, which is said to run when it is queued."""
    if lines := owner.lines_of(script, values):
        owner.script_ran(name, finished=False)
        yield from lines
        owner.script_ran(name, finished=True)


def taken_from_person(lines: Sequence[bytes], tool: int, owner: Owner) -> list[bytes]:
    """What is to be sent of `lines` that a person sent while `tool` is in use."""
    taken: list[bytes] = []
    for line in lines:
        command = command_in(line)
        if command is not None and (why := command.unknown_tool(owner.handling.profile)):
            owner.suppressed(line, why)
        elif command is not None and command.selects:
            old, tool = tool, command.tool or 0
            taken += around(line, old, tool, owner)
        else:
            taken.append(line)
    return taken


def _raised(command: Command, offset: float, highest: float) -> bytes:
    """The command with its target raised by `offset`, not beyond what the machine may have."""
    line = command.line
    target = _RAISED.search(line, command.targets_from)
    if not offset or target is None or not float(target[2]):
        return line
    raised = f"{max(0.0, min(highest, float(target[2]) + offset)):.2f}".rstrip("0").rstrip(".")
    return line[: target.start(2)] + raised.encode() + line[target.end(2) :]
