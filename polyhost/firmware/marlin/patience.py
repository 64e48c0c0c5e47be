"""How long an answer may take, by the command that is asked."""

import re
from typing import Final

SILENCE_S: Final = 45.0  # nothing heard for so long, with a line unanswered: the link is dead
TROUBLE_S: Final = 45.0  # damage, and no line known to have passed for so long
UNANSWERED_S: Final = 300.0  # other things are heard, but no answer to a line
_MINUTE: Final = 60.0

_ALLOWANCES_S: Final[dict[bytes, float]] = {
    b"M0": 24 * 60 * _MINUTE,  # waits for a person
    b"M1": 24 * 60 * _MINUTE,
    b"M125": 24 * 60 * _MINUTE,
    b"M226": 24 * 60 * _MINUTE,
    b"M600": 24 * 60 * _MINUTE,
    b"M701": 24 * 60 * _MINUTE,
    b"M702": 24 * 60 * _MINUTE,
    b"M109": 30 * _MINUTE,  # waits for heat
    b"M116": 30 * _MINUTE,
    b"M190": 60 * _MINUTE,
    b"M191": 60 * _MINUTE,
    b"M303": 60 * _MINUTE,
    b"M400": 15 * _MINUTE,  # waits for moves
    b"G28": 10 * _MINUTE,
    b"G29": 30 * _MINUTE,
    b"G30": 10 * _MINUTE,
    b"G32": 30 * _MINUTE,
    b"G33": 30 * _MINUTE,
    b"G34": 10 * _MINUTE,
    b"G76": 240 * _MINUTE,
    b"G80": 30 * _MINUTE,  # Prusa's bed levelling
    b"M48": 10 * _MINUTE,
    b"M997": 10 * _MINUTE,
}
_COMMAND: Final = re.compile(rb"N\d+ ([GM]\d+)")
_DWELL: Final = re.compile(rb"\b([PS])(\d+(?:\.\d+)?)")


def allowance_s(line: bytes) -> float:
    """Seconds that the firmware may be silent over a numbered `line`; 0 for an ordinary command."""
    command = _COMMAND.match(line)
    if command is None:
        return 0.0
    name = command[1]
    if name == b"G4":
        waits = {letter: float(amount) for letter, amount in _DWELL.findall(line)}
        return _MINUTE + (waits[b"S"] if b"S" in waits else waits.get(b"P", 0.0) / 1000.0)
    return _ALLOWANCES_S.get(name, 0.0)
