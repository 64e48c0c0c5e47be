"""How firmwares of the family differ where the line itself does not show it: a table of rows, each with its transcript.

A difference that one line shows (``rs`` for ``Resend``, ``ok 13`` for ``ok N13``) is a shape in `replies`.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Habits:
    """What a session must know of its firmware beyond what each line says."""

    ok_after_resend: bool = True  # a Resend is followed by an ok that acknowledges nothing


@dataclass(frozen=True, slots=True)
class Quirk:
    """Firmware whose ``FIRMWARE_NAME`` matches has `habits`; `transcript` shows it, under `tests/transcripts`."""

    firmware: re.Pattern[str]
    habits: Habits
    transcript: str


QUIRKS: Final = (
    Quirk(re.compile(r"Smoothie", re.IGNORECASE), Habits(ok_after_resend=False), "smoothieware/resend.txt"),
)


def habits_of(firmware_name: str) -> Habits:
    """The habits of the firmware that calls itself `firmware_name`; Marlin's where no row matches."""
    for quirk in QUIRKS:
        if quirk.firmware.search(firmware_name):
            return quirk.habits
    return Habits()
