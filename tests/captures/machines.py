"""The machines that captures are recorded from and replayed on, and who asks."""

from typing import Final

import msgspec


class Machine(msgspec.Struct, frozen=True):
    extruders: int = 1
    chamber: bool = False
    connected: bool = False  # from the start
    simulated: bool = False
    """Recorded on our own simulator behind a pty; the card of OctoPrint's forgets the files it was sent."""


MACHINES: Final = {"one tool": Machine(), "two tools": Machine(2, True), "with a card": Machine(simulated=True)} | {
    "ready": Machine(connected=True),  # as recorded, 220 x 220 x 250 mm
    "without": Machine(),
}
_OF: Final = {"tool": "two tools", "sd": "with a card"}

SPEED: Final = 60.0
"""How many times its own pace our simulator goes, so that a file is printed while one waits."""

PASSWORDS: Final = {"admin": "admin-pass-1", "operator": "operator-pass-1", "reader": "reader-pass-1"}


def machine_of(capture: str) -> Machine:
    return MACHINES[_OF.get(capture, "one tool")]
