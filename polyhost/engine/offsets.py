"""Target offsets: what the owner adds to every target that the file of a run sets.

The facts are OctoPrint's: a target of 0 stays 0, and what a person or a script sets is sent as it was given.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_TOUCHES: Final = re.compile(rb"^(?:T\d|M0*(?:104|109|140|190|141|191)(?!\d))", re.IGNORECASE | re.MULTILINE)
_COMMAND: Final = re.compile(rb"(T|M0*)(\d+)(?!\d)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"([SR])(\d+(?:\.\d*)?)", re.IGNORECASE)
_TOOL: Final = re.compile(rb"T(\d+)", re.IGNORECASE)
_HEATERS: Final = {104: "tool", 109: "tool", 140: "bed", 190: "bed", 141: "chamber", 191: "chamber"}


class Offsets:
    """Follows the lines of one file, in order, to know which tool a target without a tool is for."""

    def __init__(self) -> None:
        self._tool = 0

    def raised(self, lines: Sequence[bytes], by: Mapping[str, float]) -> Sequence[bytes]:
        """`lines` with the targets in them raised `by` so many °C each, by heater."""
        if _TOUCHES.search(b"\n".join(lines)) is None:
            return lines
        return list(self._each(lines, by))

    def _each(self, lines: Sequence[bytes], by: Mapping[str, float]) -> Iterator[bytes]:
        for line in lines:
            command = _COMMAND.match(line)
            if command is None:
                yield line
                continue
            number = int(command[2])
            if command[1] in b"Tt":
                self._tool = number
            elif number in _HEATERS:
                heater = _HEATERS[number]
                if heater == "tool":
                    named = _TOOL.search(line, command.end())
                    heater = f"tool{int(named[1]) if named else self._tool}"
                line = _raised(line, command.end(), by.get(heater, 0.0))
            yield line


def _raised(line: bytes, start: int, offset: float) -> bytes:
    target = _TARGET.search(line, start)
    if not offset or target is None or not float(target[2]):
        return line
    raised = f"{max(0.0, float(target[2]) + offset):.2f}".rstrip("0").rstrip(".")
    return line[: target.start(2)] + raised.encode() + line[target.end(2) :]
