"""What happened, in the past tense.  Drivers and services say these; dialects and the journal of the day listen."""

import msgspec

from polyhost.core.card import CardFile
from polyhost.core.job import Queue, QueueState, Run, RunState
from polyhost.core.printer import Cause, PrinterState, Snapshot, ToolPosition


class _Event(msgspec.Struct, frozen=True, tag=True):
    pass


class PrinterStateChanged(_Event, frozen=True):
    printer: str
    state: PrinterState
    reason: str = ""
    cause: Cause | None = None


class RunStateChanged(_Event, frozen=True):
    """A run moved along `core.job.RUN`.  `position` is where a pause or a cancel found the toolhead, if it is known."""

    printer: str
    run_id: str
    state: RunState
    reason: str = ""
    position: ToolPosition | None = None


class RunAdded(_Event, frozen=True):
    """The history has a new entry: its machine's holder has taken the run."""

    printer: str
    run: Run


class RunEnded(_Event, frozen=True):
    """The end of a run is in the history."""

    printer: str
    run: Run


class QueueChanged(_Event, frozen=True):
    """`change` is ``added``, ``removed``, ``moved`` or ``loaded`` (its first job is a run now), or ``state``.

    `reason` says why it is paused, where no person paused it.
    """

    printer: str
    change: str
    queue: Queue
    state: QueueState
    reason: str = ""


class FirmwareSpoke(_Event, frozen=True):
    """Something of the firmware's that its owner should read: an ``Error:``, a kill, a request for a person.

    `consequence` is what the host did about it: nothing (""), ``cancel``, ``disconnect`` or ``emergency``.
    """

    printer: str
    text: str
    fault: bool = False
    consequence: str = ""


class HostActionRequested(_Event, frozen=True):
    """``//action:`` line: `action` is its word (``pause``, ``prompt_begin``, …), `text` the rest."""

    printer: str
    action: str
    text: str = ""


class SdFilesListed(_Event, frozen=True):
    """What is on the printer's own card; nothing when it has none, or cannot be reached."""

    printer: str
    files: tuple[CardFile, ...]


class PrinterAdded(_Event, frozen=True):
    printer: str


class PrinterRemoved(_Event, frozen=True):
    printer: str


class FileAdded(_Event, frozen=True):
    path: str
    replaced: bool = False


class FilesChanged(_Event, frozen=True):
    """One change of a tree of files, told once, whatever came, moved or went along with it, and after all of that.

    `change` is ``created``, ``modified``, ``removed``, ``moved`` or ``copied``; `path` is what it left, or what went,
    `source` what was moved or copied.  The library (`root` ``gcodes``) is everybody's, other roots are a `printer`'s.
    """

    root: str
    path: str
    change: str
    is_folder: bool = False
    source: str = ""
    source_root: str = ""
    replaced: bool = False  # something of that path was there before a copy
    printer: str = ""


class Uploaded(_Event, frozen=True):
    """A client's upload for `printer` is in the library; what it wished for beside, and whether that is happening."""

    printer: str
    path: str
    to_card: bool = False
    select: bool = False
    print_it: bool = False
    selected: bool = False
    printing: bool = False


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
    """A file was chosen for a printer's next run; "" is none.  `on_card`: it is on the printer's own card."""

    printer: str
    path: str
    on_card: bool = False


class CommandSuppressed(_Event, frozen=True):
    """A command was not sent, and why."""

    printer: str
    command: str
    reason: str


class AtCommandSeen(_Event, frozen=True):
    """The file of a run has an ``@``-command, which is for the host and is not sent; `command` with its ``@``."""

    printer: str
    command: str


class ScriptRan(_Event, frozen=True):
    """A script of the host's began (or was `finished`); `name` is a value of `core.handling.ScriptName`."""

    printer: str
    name: str
    finished: bool


class CardTransferChanged(_Event, frozen=True):
    """A file of the library on its way to the printer's own card: ``started``, ``done`` or ``failed``."""

    printer: str
    path: str  # in the library
    name: str  # on the card
    state: str
    elapsed_s: float = 0.0
    reason: str = ""


class PromptShown(_Event, frozen=True):
    """The firmware asks a person to choose one of `choices` (which may be none)."""

    printer: str
    text: str
    choices: tuple[str, ...] = ()


class PromptClosed(_Event, frozen=True):
    printer: str


class FirmwareNotified(_Event, frozen=True):
    """``//action:notification``: something for people to read."""

    printer: str
    text: str


class NotificationsCleared(_Event, frozen=True):
    """What `FirmwareNotified` told is not kept any more."""

    printer: str


class PreferencesChanged(_Event, frozen=True):
    """What people set while the host runs was set; `printer` is "" for what concerns the whole host."""

    printer: str
    section: str


class NoticesChanged(_Event, frozen=True):
    """Something that the owner of a printer should know began to hold, or holds no more."""

    printer: str


class NoticeDismissed(_Event, frozen=True):
    printer: str
    notice: str


class NoticeWoke(_Event, frozen=True):
    """A notice that was put away for a while is shown again."""

    printer: str
    notice: str


class ActiveSpoolSet(_Event, frozen=True):
    """A printer draws its filament from another spool of the owner's Spoolman; None is one that nobody counts."""

    printer: str
    spool_id: int | None


class SpoolmanChanged(_Event, frozen=True):
    """The owner's Spoolman answers again, or no more."""

    connected: bool


class PowerChanged(_Event, frozen=True):
    """A power device of the owner's is ``on``, ``off``, or in ``error``: it does not say."""

    device: str
    status: str


class ProfileChanged(_Event, frozen=True):
    """A printer profile was ``added``, ``modified`` or ``deleted``."""

    printer: str
    profile: str
    change: str


class PictureAsked(_Event, frozen=True):
    """The timelapse of a print is about to have its next picture, which will be called `file`."""

    printer: str
    file: str


class PictureTaken(_Event, frozen=True):
    printer: str
    file: str


class PictureMissed(_Event, frozen=True):
    printer: str
    file: str
    webcam: str
    reason: str


class PostRollChanged(_Event, frozen=True):
    """The last pictures of a print are being taken, or are (`finished`); the movie will rest on them `length_s`."""

    printer: str
    length_s: float
    fps: int
    finished: bool


class MovieChanged(_Event, frozen=True):
    """A movie of a print is ``rendering``, ``done`` or ``failed``."""

    printer: str
    recording: str
    movie: str
    path: str  # of what was printed
    state: str
    reason: str = ""


class MovieProgressed(_Event, frozen=True):
    """How much of the movie that is being made is done."""

    printer: str
    movie: str
    fraction: float


class TimelapseChanged(_Event, frozen=True):
    """The prints of this printer are recorded otherwise from now on."""

    printer: str


class LoggedIn(_Event, frozen=True):
    user: str


class LoggedOut(_Event, frozen=True):
    user: str


class UserAdded(_Event, frozen=True):
    user: str


class RightsChanged(_Event, frozen=True):
    """What `user` may do changed, or ended: ``modified``, ``removed`` or ``stale`` (the session is over)."""

    user: str
    reason: str


class AppKeyRequested(_Event, frozen=True):
    """A program asks for a key, on behalf of `user` ("": whoever decides); a person allows or denies `request_id`."""

    request_id: str
    app: str
    user: str
    address: str


class AppKeyRequestEnded(_Event, frozen=True):
    request_id: str


DriverEvent = (
    PrinterStateChanged
    | RunStateChanged
    | FirmwareSpoke
    | HostActionRequested
    | SdFilesListed
    | CommandSuppressed
    | AtCommandSeen
    | ScriptRan
    | CardTransferChanged
)

Event = (
    DriverEvent
    | RunAdded
    | RunEnded
    | QueueChanged
    | PrinterAdded
    | PrinterRemoved
    | FileAdded
    | FilesChanged
    | Uploaded
    | FileRemoved
    | FileMoved
    | FileAnalysed
    | FolderAdded
    | FolderRemoved
    | FileSelected
    | PromptShown
    | PromptClosed
    | FirmwareNotified
    | NotificationsCleared
    | PreferencesChanged
    | NoticesChanged
    | NoticeDismissed
    | NoticeWoke
    | ActiveSpoolSet
    | SpoolmanChanged
    | PowerChanged
    | ProfileChanged
    | PictureAsked
    | PictureTaken
    | PictureMissed
    | PostRollChanged
    | MovieChanged
    | MovieProgressed
    | TimelapseChanged
    | LoggedIn
    | LoggedOut
    | UserAdded
    | RightsChanged
    | AppKeyRequested
    | AppKeyRequestEnded
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
