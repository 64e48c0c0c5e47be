"""Commands looked at before they are sent: targets beyond what a machine may have, tools that it has not, lines that do
not fit into the firmware's buffer.

What is judged is G-code as Marlin reads it: a letter and its number may be apart, case does not matter, zeros may lead.
"""

import re
from collections.abc import Iterable
from typing import Final

from polyhost.core.errors import Malformed
from polyhost.core.printer import PrinterProfile

MAX_COMMAND_BYTES: Final = 83
"""Of the 95 that most firmware keeps of a line: N, six digits, a space, the command, a star, three digits."""

_HEAD: Final = rb"^[ \t]*(?:N[ \t]*\d+[ \t]*)?"
CONCERNS: Final = re.compile(
    _HEAD + rb"(?:T[ \t]*\d|M[ \t]*0*(?:104|109|140|141|190|191|303)(?!\d))", re.IGNORECASE | re.MULTILINE
)
"""Finds the commands, in many lines joined, that the rest of this module has something to say about."""

_COMMAND: Final = re.compile(_HEAD + rb"([TM])[ \t]*0*(\d+)(?!\d)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"[SR][ \t]*\+?(\d+\.?\d*|\.\d+)", re.IGNORECASE)
_TOOL: Final = re.compile(rb"T[ \t]*(\d+)", re.IGNORECASE)
_EXTRUDER: Final = re.compile(rb"E[ \t]*(-?\d+)", re.IGNORECASE)
_SHOWN: Final = re.compile(r"M11[78](?!\d)[^{]*", re.IGNORECASE)  # text for people
_FILLED: Final = re.compile(r"\{[^}]*\}")
_AUTOTUNE: Final = 303
HEATERS: Final = {104: "tool", 109: "tool", 140: "bed", 190: "bed", 141: "chamber", 191: "chamber"}


class Command:
    """A command about a tool or a heater: `tool` that it selects or names (None: neither), `heater` that it sets."""

    __slots__ = ("heater", "line", "selects", "targets_from", "tool")

    def __init__(self, line: bytes, found: re.Match[bytes]) -> None:
        number = int(found[2][:6])
        self.line = line
        self.selects = found[1] in b"Tt"
        self.tool: int | None = number if self.selects else None
        self.heater = "" if self.selects else HEATERS.get(number, "")
        self.targets_from = found.end()
        if self.heater == "tool" and (named := _TOOL.search(line, found.end())) is not None:
            self.tool = int(named[1][:6])
        elif number == _AUTOTUNE and not self.selects:
            extruder = _EXTRUDER.search(line, found.end())
            self.heater = "bed" if extruder is not None and int(extruder[1][:6]) < 0 else "tool"

    def beyond(self, profile: PrinterProfile) -> str:
        """Why this target must not be sent to a machine of this `profile`; "" when it may."""
        if not self.heater:
            return ""
        highest = profile.max_target(self.heater)
        for value in _TARGET.findall(self.line, self.targets_from):
            if float(value) > highest:
                what = "hotend" if self.heater == "tool" else self.heater
                return (
                    f"{self.line.decode('ascii', 'replace')[:80]}: the {what} of this printer may be heated to "
                    f"{highest:g} °C; the profile says so"
                )
        return ""

    def unknown_tool(self, profile: PrinterProfile) -> str:
        """Why this tool is none of a machine of this `profile`; "" when it is one."""
        if self.tool is None or self.tool < profile.extruders:
            return ""
        return f"there is no tool {self.tool}: the profile has {profile.extruders}"


def command_in(line: bytes) -> Command | None:
    """What `line` says about tools and heaters; None for anything else."""
    found = _COMMAND.match(line)
    if found is None or (found[1] in b"Mm" and int(found[2][:6]) not in {*HEATERS, _AUTOTUNE}):
        return None
    return Command(line, found)


def refusal_of(lines: Iterable[str], profile: PrinterProfile) -> str:
    """Why the first of `lines` that sets a target beyond the profile must not be sent; "" when all may be."""
    for line in lines:
        command = command_in(line.encode("ascii", "replace"))
        if command is not None and (why := command.beyond(profile)):
            return why
    return ""


def fitting(line: str) -> str:
    """`line`, which may have placeholders, if the firmware's line buffer takes it; text that is only shown is cut.

    `Malformed` for a longer one: it would lose its end and be asked for again and again.
    """
    size = len(_FILLED.sub("0", line).encode())  # a value has a digit at least
    if size <= MAX_COMMAND_BYTES:
        return line
    if _SHOWN.fullmatch(line):
        return line.encode()[:MAX_COMMAND_BYTES].decode("utf-8", "ignore").rstrip()
    raise Malformed(
        f"{line[:40]!r}… is {size} bytes long, and most firmware takes at most {MAX_COMMAND_BYTES}: make it shorter"
    )
