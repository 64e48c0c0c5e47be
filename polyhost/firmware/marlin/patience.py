"""How long an answer may take, by the command that is asked."""

import re
from typing import Final

SILENCE_S: Final = 45.0  # nothing heard for so long, with a line unanswered: the link is dead
TROUBLE_S: Final = 45.0  # damage, and no line known to have passed for so long
_MINUTE: Final = 60.0

_ALLOWANCES_S: Final[dict[str, float]] = {
    "M0": 24 * 60 * _MINUTE,  # waits for a person
    "M1": 24 * 60 * _MINUTE,
    "M125": 24 * 60 * _MINUTE,
    "M226": 24 * 60 * _MINUTE,
    "M600": 24 * 60 * _MINUTE,
    "M701": 24 * 60 * _MINUTE,
    "M702": 24 * 60 * _MINUTE,
    "M109": 30 * _MINUTE,  # waits for heat
    "M116": 30 * _MINUTE,
    "M190": 60 * _MINUTE,
    "M191": 60 * _MINUTE,
    "M303": 60 * _MINUTE,
    "M400": 15 * _MINUTE,  # waits for moves
    "G28": 10 * _MINUTE,
    "G29": 30 * _MINUTE,
    "G30": 10 * _MINUTE,
    "G32": 30 * _MINUTE,
    "G33": 30 * _MINUTE,
    "G34": 10 * _MINUTE,
    "G76": 240 * _MINUTE,
    "G80": 30 * _MINUTE,  # Prusa's bed levelling
    "M48": 10 * _MINUTE,
    "M997": 10 * _MINUTE,
}
_COMMAND: Final = re.compile(rb"N\d+ ([GMT]\d+)")
_DWELL: Final = re.compile(rb"\b([PS])(\d+(?:\.\d+)?)")


def allowance_s(line: bytes) -> float:
    """Seconds that the firmware may be silent over a numbered `line`; 0 for an ordinary command."""
    command = _COMMAND.match(line)
    if command is None:
        return 0.0
    name = command[1].decode()
    if name == "G4":
        waits = {letter: float(amount) for letter, amount in _DWELL.findall(line)}
        return _MINUTE + (waits[b"S"] if b"S" in waits else waits.get(b"P", 0.0) / 1000.0)
    return _ALLOWANCES_S.get(name, 0.0)
