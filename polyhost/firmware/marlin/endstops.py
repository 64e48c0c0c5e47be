"""What ``M119`` says: each switch, one a line, after ``Reporting endstop status``."""

import re
from collections.abc import Iterable
from typing import Final

_SWITCH: Final = re.compile(r"([a-z][a-z0-9_ ]*?)\s*:\s*(TRIGGERED|open)$", re.IGNORECASE)
_FILAMENT: Final = re.compile(r"filament(?:_runout)?(?:[ _]?\d)?$")


def switch_in(line: str) -> tuple[str, bool] | None:
    """The switch that a line is about, as the firmware calls it (``x_min``), and whether it is triggered."""
    found = _SWITCH.match(line.strip().removeprefix("echo:").strip())
    return None if found is None else (found[1].lower(), found[2].lower() == "triggered")


def endstops_in(lines: Iterable[str]) -> dict[str, bool]:
    """Whether each endstop is triggered: ``x``, ``y``, ``z`` whichever end it is at, others by their own names.

    The filament's sensors are told by ``M119`` as well, and are no endstops.
    """
    endstops: dict[str, bool] = {}
    for line in lines:
        switch = switch_in(line)
        if switch is None or _FILAMENT.match(switch[0]):
            continue
        name, triggered = switch
        name = name[0] if re.fullmatch(r"[xyz]2?_(?:min|max)", name) else name
        endstops[name] = endstops.get(name, False) or triggered
    return endstops


def filament_in(line: str) -> tuple[str, bool] | None:
    """The filament sensor that a line of ``M119`` is about, and whether it sees filament."""
    switch = switch_in(line)
    if switch is None or not _FILAMENT.match(switch[0]):
        return None
    return switch[0].replace("_runout", "").replace("_", " "), switch[1]
