"""What ``M119`` answers: ``x_min: TRIGGERED``, ``z_probe: open``, one to a line.

Upstream: https://marlinfw.org/docs/gcode/M119.html.
"""

import re
from collections.abc import Iterable
from typing import Final

_LINE: Final = re.compile(r"(?:echo:\s*)?(\w{1,32}):\s*(TRIGGERED|open)\b", re.IGNORECASE)


def endstops_in(lines: Iterable[str]) -> dict[str, bool]:
    """Whether each endstop is pressed, by the firmware's names; lines about anything else are passed over.

    >>> endstops_in(["Reporting endstop status", "x_min: open", "z_min: TRIGGERED", "X:0.00 Y:0.00"])
    {'x_min': False, 'z_min': True}
    """
    found = (_LINE.match(line.strip()) for line in lines)
    return {match[1].lower(): match[2].upper() == "TRIGGERED" for match in found if match}
