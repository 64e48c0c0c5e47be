"""What happened, in the past tense.  Drivers and services say these; dialects and the journal of the day listen."""

import msgspec

from polyhost.core.job import RunState
from polyhost.core.printer import PrinterState, Snapshot


class _Event(msgspec.Struct, frozen=True, tag=True):
    pass


class PrinterStateChanged(_Event, frozen=True):
    printer: str
    state: PrinterState
    reason: str = ""


class RunStateChanged(_Event, frozen=True):
    """A run moved along `core.job.RUN`."""

    printer: str
    run_id: str
    state: RunState
    reason: str = ""


class FirmwareSpoke(_Event, frozen=True):
    """Something of the firmware's that its owner should read: an ``Error:``, a kill, a request for a person."""

    printer: str
    text: str
    fault: bool = False


class HostActionRequested(_Event, frozen=True):
    """``//action:`` line: `action` is its word (``pause``, ``prompt_begin``, …), `text` the rest."""

    printer: str
    action: str
    text: str = ""


class SdFilesListed(_Event, frozen=True):
    """The answer to ``M20``: (name, size in bytes or None) of each file on the printer's own card."""

    printer: str
    files: tuple[tuple[str, int | None], ...]


class PrinterAdded(_Event, frozen=True):
    printer: str


class PrinterRemoved(_Event, frozen=True):
    printer: str


class FileAdded(_Event, frozen=True):
    path: str
    replaced: bool = False


class FileRemoved(_Event, frozen=True):
    path: str


class FileMoved(_Event, frozen=True):
    path: str
    to: str


class FileAnalysed(_Event, frozen=True):
    """Metadata (soon after the upload) or the full analysis (`whole`) of a file is there."""

    path: str
    whole: bool


class FolderAdded(_Event, frozen=True):
    path: str


class FolderRemoved(_Event, frozen=True):
    path: str


class FileSelected(_Event, frozen=True):
    """A file was chosen for a printer's next run; "" is none."""

    printer: str
    path: str


DriverEvent = PrinterStateChanged | RunStateChanged | FirmwareSpoke | HostActionRequested | SdFilesListed

Event = (
    DriverEvent
    | PrinterAdded
    | PrinterRemoved
    | FileAdded
    | FileRemoved
    | FileMoved
    | FileAnalysed
    | FolderAdded
    | FolderRemoved
    | FileSelected
)


class ConsoleLine(msgspec.Struct, frozen=True, array_like=True):
    """One line of a printer's conversation.  `at` is seconds since the epoch; `sent` is False for the firmware's."""

    at: float
    sent: bool
    text: str


class ConsoleLines(msgspec.Struct, frozen=True, tag=True):
    printer: str
    lines: tuple[ConsoleLine, ...]


Notice = Snapshot | ConsoleLines | Event
"""All that the bus carries: the latest state of a printer, lines of its console, and events."""
