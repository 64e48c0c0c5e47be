"""Commands that a slicer wrote for Klipper, on a machine whose firmware reads a letter and a number.

What is for Klipper's own host is left out, what Marlin has by another name is said in its words, and the rest is sent
as it is: the firmware says that it does not know it.  Only what does not fit into its buffer is kept from it, for it
would ask for such a line again and again, and what it shows to people is cut to fit.
"""

import re
from typing import Final

from polyhost.gcode.vetting import MAX_COMMAND_BYTES

LONG: Final = rb"[A-Za-z_][A-Za-z_]|M11[78](?!\d)"
"""Begins a line that this module has something to say about."""

_WORD: Final = re.compile(rb"([A-Za-z_][A-Za-z_]\w*)\s*(.*)", re.DOTALL)
_PARAMETER: Final = re.compile(rb"(\w+)\s*=\s*(\d+(?:\.\d*)?|\.\d+)(?!\S)")
_LEFT_OUT: Final = re.compile(rb"(?:_?TIMELAPSE_\w+|EXCLUDE_OBJECT(?:_\w+)?|SET_PRINT_STATS_INFO)$", re.IGNORECASE)


def in_marlins_words(line: bytes) -> tuple[tuple[bytes, ...], str]:
    """What is to be sent for `line`, and why that is not the line itself; "" when it is."""
    found = _WORD.match(line)
    if found is None:  # M117, M118
        cut = line[:MAX_COMMAND_BYTES].decode("utf-8", "ignore").rstrip().encode()
        return (line if len(line) <= MAX_COMMAND_BYTES else cut,), ""
    word = found[1].upper()
    if _LEFT_OUT.match(word):
        return (), "it is for Klipper's host, and this printer's firmware has nothing for it to do"
    said = {name.upper(): value for name, value in _PARAMETER.findall(found[2])}
    instead = _translated(word, said)
    if instead is not None:
        return instead, f"Klipper's command was said as {b', '.join(instead).decode() or 'nothing'}"
    if len(line) > MAX_COMMAND_BYTES:
        return (), f"it is {len(line)} bytes long, and most firmware takes at most {MAX_COMMAND_BYTES}"
    return (line,), ""


def _translated(word: bytes, said: dict[bytes, bytes]) -> tuple[bytes, ...] | None:
    """None for what has no other name."""
    match word:
        case b"SET_VELOCITY_LIMIT":
            lines = []
            if b"VELOCITY" in said:
                lines.append(b"M203 X%b Y%b" % ((said[b"VELOCITY"],) * 2))
            if b"ACCEL" in said:
                lines.append(b"M204 P%b T%b" % ((said[b"ACCEL"],) * 2))
            if b"SQUARE_CORNER_VELOCITY" in said:
                lines.append(b"M205 X%b Y%b" % ((said[b"SQUARE_CORNER_VELOCITY"],) * 2))
            return tuple(lines)
        case b"SET_PRESSURE_ADVANCE" if b"ADVANCE" in said:
            return (b"M900 K%b" % said[b"ADVANCE"],)
        case _:
            return None
