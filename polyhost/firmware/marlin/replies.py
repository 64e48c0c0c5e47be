"""What Marlin-family firmware says, line by line, as values.

`parse_reply` knows one line at a time and no state.  What spans lines (a file list, the answer to ``M115``) and what
only the numbering can judge (an ``ok``, a ``Resend``) is put together by `session.Session`.  Shapes follow Marlin
1.0 to 2.1, Prusa-Firmware, Repetier, Smoothieware and RepRapFirmware; `tests/transcripts` shows each of them.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from polyhost.core.printer import Cause, Firmware, Temperature
from polyhost.firmware.marlin.temperatures import heaters_in, is_report


class ErrorKind(Enum):
    """What an error is about: who must act on it."""

    THERMAL = "thermal"  # the firmware switched heating off; never tried again by a machine
    HALTED = "halted"  # killed or stopped: it takes no more commands until it is reset
    MOTION = "motion"  # homing or probing failed
    CARD = "card"
    SETTINGS = "settings"  # EEPROM, and what a pin is for
    OTHER = "other"


# Bookkeeping of the conversation: heard by the session, which passes none of them on.


@dataclass(frozen=True, slots=True)
class Ok:
    """A line was taken.  ADVANCED_OK adds its number, and how many moves and lines there is room for."""

    line_number: int | None = None
    free_moves: int | None = None
    free_lines: int | None = None


@dataclass(frozen=True, slots=True)
class ResendRequested:
    """The firmware wants line `line_number` next: it has taken all before it and none after."""

    line_number: int


@dataclass(frozen=True, slots=True)
class LineRefused:
    """An error about a line's number or checksum; `last_line` is the last one taken, if it could be read."""

    misnumbered: bool
    last_line: int | None = None


@dataclass(frozen=True, slots=True)
class LineSkipped:
    """Repetier: the line was a repetition of one taken before."""

    line_number: int


@dataclass(frozen=True, slots=True)
class Started:
    """The greeting that firmware says once, when it starts."""


@dataclass(frozen=True, slots=True)
class WaitingForLine:
    """The firmware has nothing to do and says so."""


@dataclass(frozen=True, slots=True)
class FirmwareNamed:
    """The first line of the answer to ``M115``."""

    name: str
    machine: str
    extruders: int


@dataclass(frozen=True, slots=True)
class CapabilityNamed:
    """A ``Cap:`` line of the answer to ``M115``."""

    name: str
    present: bool


@dataclass(frozen=True, slots=True)
class SdListBegan:
    pass


@dataclass(frozen=True, slots=True)
class SdListEnded:
    pass


@dataclass(frozen=True, slots=True)
class Garbled:
    """What no firmware says: an answer that was damaged on its way."""

    text: str


# What the session passes on.


@dataclass(frozen=True, slots=True)
class TemperaturesReported:
    """Heaters by name: ``tool0``, …, ``bed``, ``chamber``."""

    heaters: dict[str, Temperature]


@dataclass(frozen=True, slots=True)
class PositionReported:
    """mm; `e` is None when the firmware leaves it out."""

    x: float
    y: float
    z: float
    e: float | None = None


@dataclass(frozen=True, slots=True)
class FirmwareReported:
    """The answer to ``M115``, once it is whole."""

    firmware: Firmware


@dataclass(frozen=True, slots=True)
class SdFile:
    """A file on the printer's card: the name to select it by, bytes, its long name and its time where it has one.

    `modified` is as FAT has it: the date in the upper 16 bits, the time of day in the lower, in the board's zone.
    """

    name: str
    size_bytes: int | None = None
    long_name: str = ""
    modified: int | None = None


@dataclass(frozen=True, slots=True)
class SdFilesListed:
    files: tuple[SdFile, ...]


@dataclass(frozen=True, slots=True)
class SdReady:
    """Whether a card is mounted."""

    ready: bool


@dataclass(frozen=True, slots=True)
class SdStatusReported:
    """Whether the firmware prints from its card, and how far: bytes done of `size`."""

    printing: bool
    byte: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class SdFileOpened:
    """The answer to ``M23``; `size_bytes` is None where it is not told."""

    name: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SdFileSelected:
    pass


@dataclass(frozen=True, slots=True)
class SdPrintDone:
    pass


@dataclass(frozen=True, slots=True)
class SdWriteBegan:
    """The answer to ``M28``: lines go to file `name` from here on."""

    name: str


@dataclass(frozen=True, slots=True)
class SdWriteDone:
    pass


@dataclass(frozen=True, slots=True)
class SdFileDeleted:
    name: str


@dataclass(frozen=True, slots=True)
class SdFailed:
    """The card, or a file on it, could not be opened, written or deleted; `text` says which."""

    text: str


@dataclass(frozen=True, slots=True)
class HostAction:
    """``//action:``: `action` is the word (``pause``, ``prompt_begin``, …), `text` what follows it."""

    action: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class FirmwareError:
    """`fatal`: the firmware has stopped or must not go on.  `text` is its own words."""

    text: str
    fatal: bool
    kind: ErrorKind


@dataclass(frozen=True, slots=True)
class FirmwareRestarted:
    """The firmware started anew in mid-conversation: it has forgotten position, targets and numbering."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Alive, and not done with the line it has: ``processing``, ``paused for user``, ``paused for input``."""

    reason: str


@dataclass(frozen=True, slots=True)
class UnknownCommand:
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """Anything else."""

    text: str


@dataclass(frozen=True, slots=True)
class CommandsDone:
    """The last of the lines queued under `tag` is known to have been taken, and so all before it."""

    tag: object


@dataclass(frozen=True, slots=True)
class DamagedLink:
    """So many of the lines sent were damaged that cable, port or supply want a look; said once a connection."""

    damaged: int
    lines: int


@dataclass(frozen=True, slots=True)
class Dead:
    """The conversation is over; `reason` is for the owner."""

    reason: str
    cause: Cause = Cause.TIMEOUT


Reply = (
    TemperaturesReported
    | PositionReported
    | FirmwareReported
    | SdFilesListed
    | SdReady
    | SdStatusReported
    | SdFileOpened
    | SdFileSelected
    | SdPrintDone
    | SdWriteBegan
    | SdWriteDone
    | SdFileDeleted
    | SdFailed
    | HostAction
    | FirmwareError
    | FirmwareRestarted
    | Busy
    | UnknownCommand
    | Said
    | CommandsDone
    | DamagedLink
    | Dead
)
"""What a session tells its owner."""

Heard = (
    Reply
    | Ok
    | ResendRequested
    | LineRefused
    | LineSkipped
    | Started
    | WaitingForLine
    | FirmwareNamed
    | CapabilityNamed
    | SdListBegan
    | SdListEnded
    | Garbled
)
"""What one line can say."""

_OK: Final = re.compile(r"ok(?:$|[^a-z]|ok|echo|busy|wait|start|skip|rs\b)")
_ADVANCED_OK: Final = re.compile(r"\s+N(\d+)(?:\s+P(\d+))?(?:\s+B(\d+))?\s*$")
_NUMBERED_OK: Final = re.compile(r"\s+(\d+)\s*$")
_RESEND: Final = re.compile(r"(?:Resend|rs)\s*:?\s*N?\s*(\d+)\s*(ok)?$", re.IGNORECASE)
_SKIP: Final = re.compile(r"skip\s+(\d+)$")
_REFUSED: Final = re.compile(r"checksum|last line|line number", re.IGNORECASE)
_LAST_LINE: Final = re.compile(r"last line:\s*(\d+)$", re.IGNORECASE)
_BUSY: Final = re.compile(r"(?:echo:\s*)?busy:\s*(.+)$")
_POSITION: Final = re.compile(
    r"(?:C:\s*)?X:\s*(-?\d+(?:\.\d+)?)\s*Y:\s*(-?\d+(?:\.\d+)?)\s*Z:\s*(-?\d+(?:\.\d+)?)(?:\s*E0?:\s*(-?\d+(?:\.\d+)?))?"
)
_CAPABILITY: Final = re.compile(r"Cap:\s*([A-Z0-9_]+)\s*:\s*([01])$")
_FIELD: Final = re.compile(r"\b([A-Z][A-Z0-9_]{3,}):\s*")
_SD_STATUS: Final = re.compile(r"SD printing byte\s+(\d+)\s*/\s*(\d+)", re.IGNORECASE)
_SD_OPENED: Final = re.compile(r"File opened:\s*(.+?)(?:\s+Size:\s*(\d+))?$")
_SD_LISTED: Final = re.compile(
    r"(?P<name>\S+\.\S{1,5})(?:\s+(?P<size>\d+)(?:\s+0x(?P<modified>[0-9a-fA-F]{1,8}))?(?:\s+\"?(?P<long>.+?)\"?)?)?$"
)
_SD_FAILED: Final = re.compile(r"(?:open|deletion|openRoot|volume\.init|workDir open|cannot open)\b.*", re.IGNORECASE)
_ACTION: Final = re.compile(r"//\s*action:\s*(\S+)\s*(.*)$")
_UNKNOWN: Final = re.compile(r"(?:echo:\s*)?Unknown command:\s*(.*)$", re.IGNORECASE)
_ERROR: Final = re.compile(r"(?:Error|fatal)\s*:\s*(.*)$", re.IGNORECASE)

_ERRORS: Final = (
    (
        ErrorKind.THERMAL,
        True,
        re.compile(
            r"thermal|mintemp|maxtemp|heating failed|heater|temperature (?:fault|error)|over ?temp|overheat"
            r"|thermistor|preheat",
            re.IGNORECASE,
        ),
    ),
    (
        ErrorKind.HALTED,
        True,
        re.compile(r"kill|halted|stopped due to errors|STOP called|reset required|emergency", re.IGNORECASE),
    ),
    (ErrorKind.MOTION, True, re.compile(r"(?:homing|probing|probe|bltouch|endstop).*(?:fail|error)", re.IGNORECASE)),
    (
        ErrorKind.CARD,
        False,
        re.compile(r"volume\.init|openRoot|workDir|open failed|cannot open|\bfile\b|\bsd\b|no media", re.IGNORECASE),
    ),
    (ErrorKind.SETTINGS, False, re.compile(r"eeprom|settings|protected pin", re.IGNORECASE)),
)
"""First match wins.  What none knows is shown to the owner and ends nothing: it may be a damaged line."""

_WHOLE_LINES: Final[dict[str, Heard]] = {
    "ok": Ok(),
    "wait": WaitingForLine(),
    "start": Started(),
    "Begin file list": SdListBegan(),
    "End file list": SdListEnded(),
    "File selected": SdFileSelected(),
    "Done printing file": SdPrintDone(),
    "Done saving file.": SdWriteDone(),
    "Done saving file": SdWriteDone(),
    "Not SD printing": SdStatusReported(False),
    "Not SD printing.": SdStatusReported(False),
    "|": Said("|"),  # between the rows of a mesh
    "SD card ok": SdReady(True),
    "SD card released": SdReady(False),
    "SD init fail": SdReady(False),
    "No SD card": SdReady(False),
    "No media": SdReady(False),
    "Media removed": SdReady(False),
}

_NAMED: Final[tuple[tuple[str, type[SdWriteBegan] | type[SdFileDeleted]], ...]] = (
    ("Writing to file:", SdWriteBegan),
    ("File deleted:", SdFileDeleted),
)


def parse_reply(line: str) -> tuple[Heard, ...]:
    """All that `line` says, in order; several things when one line carries them (``ok T:…``) or lost its end."""
    text = line.strip()
    known = _WHOLE_LINES.get(text)
    if known is not None:
        return (known,)
    if text.startswith("ok") and _OK.match(text):
        return _parse_ok(text[2:])
    if not text:
        return ()
    if is_report(text):
        return _parse_report(text)
    if (resend := _RESEND.match(text)) is not None:
        request = ResendRequested(int(resend[1]))
        return (request, Ok()) if resend[2] else (request,)
    if (error := _ERROR.match(text)) is not None:
        return (_parse_error(error[1], text),)
    if (busy := _BUSY.match(text)) is not None:
        return (Busy(busy[1]),)
    if text.startswith("!!"):
        return (FirmwareError(text, True, ErrorKind.HALTED),)
    if text.startswith("//"):
        action = _ACTION.match(text)
        return (HostAction(action[1], action[2]) if action else Said(text),)
    return (_parse_rest(text),)


def parse_sd_entry(line: str) -> SdFile | None:
    """A line between ``Begin file list`` and ``End file list``; None if it is no file."""
    entry = _SD_LISTED.match(line.strip())
    if entry is None:
        return None
    modified = int(entry["modified"], 16) if entry["modified"] else 0
    size_bytes = int(entry["size"]) if entry["size"] else None
    return SdFile(entry["name"], size_bytes, entry["long"] or "", modified or None)


def _parse_ok(rest: str) -> tuple[Heard, ...]:
    """`rest` is what follows ``ok``."""
    if (advanced := _ADVANCED_OK.match(rest)) is not None:
        number, moves, lines = advanced.groups()
        return (Ok(int(number), int(moves) if moves else None, int(lines) if lines else None),)
    if (counted := _NUMBERED_OK.match(rest)) is not None:
        return (Ok(int(counted[1])),)
    # Anything else is a line of its own whose line end was left out or lost.
    return (Ok(), *parse_reply(rest.lstrip(" :")))


def _parse_report(text: str) -> tuple[Heard, ...]:
    glued = text.endswith("ok")
    heaters = heaters_in(text.removesuffix("ok"))
    replies: tuple[Heard, ...] = (TemperaturesReported(heaters),) if heaters else (Garbled(text),)
    return (*replies, Ok()) if glued else replies


def _parse_error(words: str, text: str) -> Heard:
    if _REFUSED.search(words):
        last_line = _LAST_LINE.search(words)
        misnumbered = "is not last line" in words.lower()
        return LineRefused(misnumbered, int(last_line[1]) if last_line else None)
    if _UNKNOWN.match(words):
        return UnknownCommand(words)
    for kind, fatal, pattern in _ERRORS:
        if pattern.search(words):
            return FirmwareError(text, fatal, kind)
    return FirmwareError(text, text.lower().startswith("fatal"), ErrorKind.OTHER)


def _parse_rest(text: str) -> Heard:
    if (unknown := _UNKNOWN.match(text)) is not None:
        return UnknownCommand(unknown[1].strip('"'))
    said = text.removeprefix("echo:").strip()
    known = _WHOLE_LINES.get(said)
    if isinstance(known, SdReady | SdFileSelected):
        return known
    if (position := _POSITION.match(text)) is not None:
        x, y, z, e = position.groups()
        return PositionReported(float(x), float(y), float(z), float(e) if e is not None else None)
    if (capability := _CAPABILITY.match(text)) is not None:
        return CapabilityNamed(capability[1], capability[2] == "1")
    if text.startswith("FIRMWARE_NAME:"):
        return _parse_firmware(text)
    if (status := _SD_STATUS.match(text)) is not None:
        return SdStatusReported(True, int(status[1]), int(status[2]))
    if (opened := _SD_OPENED.match(said)) is not None:
        return SdFileOpened(opened[1], int(opened[2]) if opened[2] else None)
    for head, reply in _NAMED:
        if said.startswith(head):
            return reply(said[len(head) :].strip())
    if _SD_FAILED.match(said) and ("fail" in said or "annot" in said):
        return SdFailed(said)
    if (skipped := _SKIP.match(text)) is not None:
        return LineSkipped(int(skipped[1]))
    if len(text) <= 3 or not text.isprintable() or "\N{REPLACEMENT CHARACTER}" in text:
        return Started() if text.endswith("start") else Garbled(text)
    return Said(text)


def _parse_firmware(text: str) -> FirmwareNamed:
    pieces = _FIELD.split(text)
    fields = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    count = fields.get("EXTRUDER_COUNT", "").strip()
    return FirmwareNamed(
        fields["FIRMWARE_NAME"].strip(" ,"),
        fields.get("MACHINE_TYPE", "").strip(" ,"),
        int(count) if count.isdecimal() and 0 < int(count) < 100 else 1,
    )
