"""What the inside asks of the outside, as protocols owned by the side that calls them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from polyhost.core.card import CardOrder
from polyhost.core.events import ConsoleLines, DriverEvent
from polyhost.core.file import Analysis, File, LayerIndex, Metadata, NamedObject
from polyhost.core.handling import Handling
from polyhost.core.job import Prints, Queue, Run, Totals
from polyhost.core.printer import Snapshot
from polyhost.core.timelapse import Movie, Recording
from polyhost.core.user import ApiKey, Remembered, User


class Clock(Protocol):
    """Time, passed in so that a test can move it."""

    def now(self) -> float:
        """Seconds since the epoch; may jump."""

    def monotonic(self) -> float:
        """Seconds since some moment; never jumps."""


class Scripts(msgspec.Struct, frozen=True):
    """The host's own lines around a run, rendered when the run starts.

    Placeholders (`core.placeholders`) stand for what the machine had when the pause or the cancel was asked for; they
    are filled by whoever holds the machine.
    """

    before_start: tuple[str, ...] = ()
    after_done: tuple[str, ...] = ()
    after_cancel: tuple[str, ...] = ()
    after_pause: tuple[str, ...] = ()
    before_resume: tuple[str, ...] = ()
    after_failure: tuple[str, ...] = ()


class RunOrder(msgspec.Struct, frozen=True):
    """Everything needed to carry a run to its end with no server alive.

    `file` is an absolute path of the host's file system; the driver opens it once and reads that version to
    the end, whatever is put in its place.  A resumed run starts at `start_byte`, after `scripts.before_start`.
    With `on_card` the machine prints the file `name` of its own card, and there is no `file`; its size may be 0,
    unknown.
    """

    run_id: str
    file: str
    name: str
    size_bytes: int
    sha256: str
    scripts: Scripts = Scripts()
    layers: LayerIndex | None = None
    start_byte: int = 0
    on_card: bool = False


class Listener(Protocol):
    """Who hears a driver; called in the event loop, must return at once."""

    def heard(self, notice: Snapshot | ConsoleLines | DriverEvent) -> None: ...


class LinkSettings(msgspec.Struct, frozen=True):
    """What `Driver.connect` opens when it is not told otherwise.  0 stands for what is found out."""

    port: str = ""
    baud: int = 0
    autoconnect: bool = True
    window_lines: int = 0
    window_bytes: int = 0
    speed: float = 1.0  # of a machine that is simulated: times its own pace


class Driver(Protocol):
    """Our way to reach one machine.

    Every command answers when the machine's holder has taken it (not when the machine has done it), and raises
    `NotNow` in the wrong state, `LinkLost` when the holder cannot be reached, `NotFound` for a port that is
    not there (naming those that are), `MachineFault` when the firmware refused.
    """

    @property
    def snapshot(self) -> Snapshot:
        """What was heard last."""

    async def run(self) -> None:
        """Keep the machine's holder attached until cancelled; cancelling leaves the machine printing."""

    async def configure(self, handling: Handling) -> None:
        """Treat the machine so from now on; its holder keeps it.  Does not wait for a holder that is not there."""

    async def relink(self, link: LinkSettings) -> None:
        """Open this from the next `connect` on; its holder keeps it.  Waits as little as `configure`."""

    async def connect(self, port: str | None = None, baud: int | None = None) -> None:
        """Open the link (as configured unless told otherwise) and keep it open; returns when the opening began."""

    async def disconnect(self) -> None:
        """Close the link; `NotNow` during a run."""

    async def send(self, commands: Sequence[str], *, until_done: bool = False) -> tuple[str, ...]:
        """Queue `commands` behind what is being sent, between the lines of a run.

        With `until_done` it answers when the machine has done them, however long that takes, with what the firmware
        said to them (at most 200 lines), and nothing else goes out between them.  `MachineFault` in its words when
        it does not know one or refuses it: those after it are not sent.  Cancelling the wait recalls nothing.  A
        holder of an earlier version answers at once, with nothing.
        """

    async def exclude(self, run_id: str, objects: Sequence[NamedObject]) -> None:
        """Leave out what is still to come of these objects of the run's file; those excluded before stay so."""

    async def set_offsets(self, offsets: Mapping[str, float]) -> None:
        """°C by which the targets that a run's file sets are raised from now on, by heater; others stay."""

    async def emergency_stop(self) -> None:
        """``M112`` ahead of everything."""

    async def start(self, order: RunOrder) -> None:
        """Begin a run; the same `run_id` again is the same run."""

    async def pause(self, run_id: str) -> None: ...

    async def resume(self, run_id: str) -> None: ...

    async def cancel(self, run_id: str) -> None: ...

    async def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        """Hand over the layer index of a run's file, read after the run began."""

    async def resume_plan(self, run_id: str) -> "ResumePlan":
        """How an interrupted run would go on; `NotFound` when its journal is gone."""

    async def forget(self, run_id: str) -> None:
        """The end of this run is written down; its holder need not keep it."""

    async def read_card(self) -> None:
        """Have the firmware look for its own card, and list what is on it."""

    async def refresh_card(self) -> None:
        """List it again; `NotNow` while it is not initialised, as for the next ones."""

    async def release_card(self) -> None: ...

    async def delete_from_card(self, name: str) -> None:
        """`NotFound` when it is not there, `MachineFault` when the firmware does not delete it."""

    async def send_to_card(self, order: CardOrder) -> None:
        """Begin to write a file to it; `NotNow` during a run and on a machine that is hot."""

    async def stop_transfer(self) -> None:
        """Give up the file on its way, and delete what there is of it."""

    async def remove(self) -> None:
        """Close the link and forget the machine; `NotNow` during a run."""


class ResumePlan(msgspec.Struct, frozen=True):
    """What is known of an interrupted run, from the journal.

    `script` is what would be sent before the file goes on at `start_byte`; `warnings` say what cannot be known.
    """

    run_id: str
    file: str
    sha256: str
    start_byte: int
    line: int
    script: tuple[str, ...]
    warnings: tuple[str, ...]


class OnDisk(msgspec.Struct, frozen=True):
    """What tells a file's content from another's without reading it."""

    size_bytes: int
    mtime_ns: int
    inode: int


class Digests(msgspec.Struct, frozen=True):
    """A content's digests, in lower-case hexadecimal."""

    sha256: str
    sha1: str
    md5: str


class StoredFile(msgspec.Struct, frozen=True):
    """A file as it is recorded: `on_disk` is what was hashed, `staged` the name it had before it got its place."""

    file: File
    on_disk: OnDisk
    staged: str = ""


class FileRecords(Protocol):
    """What is known of the files.  Every `async` change here and below is durable when it returns; `NoSpace` if not."""

    def load_files(self) -> list[StoredFile]:
        """All files; their analyses without layers and objects.  Blocking, for the start."""

    async def keep_file(self, stored: StoredFile) -> None: ...

    async def drop_files(self, paths: Iterable[str]) -> None: ...

    async def move_files(self, paths: Mapping[str, str]) -> None:
        """From → to."""

    async def keep_metadata(self, path: str, sha256: str, metadata: Metadata) -> None:
        """Of the file at `path` if its content still is `sha256`."""

    async def keep_analysis(self, path: str, sha256: str, analysis: Analysis) -> None: ...

    async def analysis(self, path: str) -> Analysis | None:
        """The whole of it."""


class RunRecords(Protocol):
    """The history, and what is chosen for the next run."""

    def load_last_runs(self) -> list[Run]:
        """The last run of each printer, and all that have not ended, the oldest first.  Blocking, for the start."""

    def load_prints(self) -> dict[str, Prints]:
        """What became of each content (by SHA-256) so far.  Blocking, for the start, as the next one."""

    def load_selected(self) -> dict[str, str]: ...

    async def keep_selected(self, printer: str, path: str) -> None: ...

    async def add_run(self, run: Run) -> Run:
        """And choose its file on its printer; the run with its ordinal."""

    async def drop_run(self, run_id: str) -> None: ...

    async def end_run(self, run: Run) -> bool:
        """Write how `run` ended, unless an end is written already: False."""

    async def run(self, run_id: str) -> Run | None: ...

    async def runs(
        self, printer: str | None, path: str | None, since: float | None, limit: int, offset: int
    ) -> list[Run]:
        """The newest first; `since` bounds `started_at`."""

    async def past_runs(self, printer: str, page: "Page") -> list["PastRun"]: ...

    async def past_run(self, printer: str, ordinal: int) -> "PastRun | None": ...

    async def delete_runs(self, printer: str, ordinals: Collection[int] | None) -> "Deleted":
        """Those of `printer` that have ended; None: all of them."""

    async def totals(self, printer: str) -> Totals: ...

    async def reset_totals(self, printer: str) -> Totals:
        """Count from nothing; what they were."""


class Page(msgspec.Struct, frozen=True):
    """A part of a printer's history: `limit` entries from the `start`th on, of those that ended before `before` and
    started after `since`.
    """

    limit: int
    start: int = 0
    before: float | None = None
    since: float | None = None
    oldest_first: bool = False


class PastRun(msgspec.Struct, frozen=True):
    """An entry of the history, and what was known of its file then; None for what was on a card."""

    run: Run
    file: File | None


class Deleted(msgspec.Struct, frozen=True):
    """Which entries of the history are no more, and what is left of their contents (None: nothing) without them."""

    ordinals: tuple[int, ...]
    prints: dict[str, Prints | None]
    last: Run | None  # of the printer


class QueueRecords(Protocol):
    """What is to be printed, and in which order."""

    def load_queues(self) -> list[Queue]:
        """Without the jobs that became runs.  Blocking, for the start."""

    async def keep_queue(self, queue: Queue) -> None:
        """In the place of what was kept under its name, at once."""


class PreferenceRecords(Protocol):
    """What people set while the host runs: msgpack by printer ("" is the host) and section."""

    def load_preferences(self) -> dict[tuple[str, str], bytes]:
        """Blocking, for the start."""

    async def keep_preferences(self, bodies: Mapping[tuple[str, str], bytes]) -> None:
        """All of them, or none."""

    async def drop_preferences(self, printer: str) -> None: ...


class NamespaceRecords(Protocol):
    """What programs keep for themselves with a printer, as JSON; `core.namespaces` has the rules and the bounds.

    Each change is durable when it returns, and whole: others at the same record lose nothing by it.
    """

    async def namespaces(self, printer: str) -> list[str]:
        """The names of those that have something."""

    async def namespace(self, printer: str, namespace: str) -> bytes | None:
        """All of one, as a JSON object; None when it has nothing."""

    async def item(self, printer: str, namespace: str, path: tuple[str, ...]) -> bytes:
        """JSON; `NotFound` when nothing is there."""

    async def put_item(self, printer: str, namespace: str, path: tuple[str, ...], value: Any) -> None:
        """`Malformed` when something on the way is no object, `TooLarge` beyond a bound."""

    async def drop_item(self, printer: str, namespace: str, path: tuple[str, ...]) -> Any:
        """What was there; `NotFound` when nothing was.  A record that is left empty goes, too."""

    async def back_up_namespaces(self, printer: str, name: str) -> None:
        """`NotNow` when there is one of this name, or there are too many."""

    async def restore_namespaces(self, printer: str, name: str) -> list[str]:
        """All become what they were at the backup; the names of them."""

    def namespace_backups(self, printer: str) -> list[str]:
        """Their names.  Blocking, as the next one."""

    def drop_namespace_backup(self, printer: str, name: str) -> None: ...

    async def compact(self) -> tuple[int, int]:
        """Give back to the disk what is not needed of all that is remembered; its bytes before and after."""


class AccountRecords(Protocol):
    def load_users(self) -> list[tuple[User, str]]:
        """Users and their passwords' hashes.  Blocking, for the start, as the next one."""

    def load_keys(self) -> list[tuple[ApiKey, bytes]]: ...

    async def keep_user(self, user: User, password_hash: str) -> None: ...

    async def drop_user(self, name: str) -> None:
        """And the keys of that user."""

    async def keep_key(self, key: ApiKey, digest: bytes) -> None: ...

    async def drop_key(self, key_id: str) -> None: ...

    async def note_key_uses(self, used_at: Mapping[str, float]) -> None:
        """By id.  Not durable at once."""

    def load_remembered(self) -> list[Remembered]:
        """Blocking, for the start, as the next one."""

    def load_logins(self) -> list[Remembered]:
        """By the hashes of their refresh tokens.  Blocking, for the start."""

    def load_user_settings(self) -> dict[str, bytes]: ...

    async def keep_remembered(self, remembered: Remembered, gone: Sequence[bytes]) -> None:
        """And drop those whose digests are `gone`, in one."""

    async def drop_remembered(self, digests: Sequence[bytes]) -> None: ...

    async def keep_login(self, login: Remembered, gone: Sequence[bytes]) -> None:
        """And drop those whose digests are `gone`, in one."""

    async def drop_logins(self, digests: Sequence[bytes]) -> None: ...

    async def keep_user_settings(self, name: str, body: bytes) -> None: ...


class Staged(Protocol):
    """A file that arrives.  Its methods block."""

    name: str
    path: Path

    def write(self, data: bytes | bytearray) -> None: ...

    def finish(self) -> tuple[OnDisk, Digests]:
        """Everything is on the disk when this returns."""

    def discard(self) -> None: ...


class FileStore(Protocol):
    """The file tree.  Paths are those of the library, judged before; every method blocks, and raises `NoSpace`."""

    def on_disk(self, path: str) -> Path:
        """Where `path` is; `NotFound` when a link on the way leads elsewhere."""

    def scan(self) -> tuple[dict[str, OnDisk], dict[str, float]]:
        """All files, and all folders, parents first, with the time (Unix) at which something came or went in them."""

    def digests(self, path: str) -> Digests: ...

    def empty_staging(self) -> None: ...

    def stage(self) -> Staged: ...

    def place(self, staged: str, path: str) -> None:
        """Give what was staged its place, atomically, over what is there."""

    def is_staged(self, staged: str) -> OnDisk | None: ...

    def remove(self, path: str) -> None:
        """A file, or a folder and all in it, at once."""

    def make_folder(self, path: str) -> None: ...

    def move(self, path: str, to: str) -> None: ...

    def replace(self, path: str, to: str) -> None:
        """Move a file over another, atomically."""

    def free_space(self) -> tuple[int, int]:
        """Bytes free and in all."""

    def keep_thumbnail(self, digest: str, image: bytes) -> None: ...

    def thumbnail(self, digest: str) -> bytes: ...

    def keep_thumbnails_of(self, digests: Collection[str]) -> None:
        """Remove all others."""


class TimelapseStore(Protocol):
    """Pictures and movies of prints, by printer.  Every method blocks, and raises `NoSpace`."""

    def recordings(self, printer: str) -> list[Recording]:
        """The oldest first."""

    def movies(self, printer: str) -> list[Movie]: ...

    def begin(self, printer: str, recording: Recording) -> None: ...

    def add_picture(self, printer: str, recording: Recording, data: bytes) -> None:
        """The one after the `count` that `recording` has."""

    def pictures(self, printer: str, name: str) -> Path: ...

    def drop_recording(self, printer: str, name: str) -> None: ...

    def keep_movie(self, printer: str, made: Path, name: str) -> Movie:
        """Give what was `made` its place, under `name` or one that nobody has."""

    def movie(self, printer: str, name: str) -> Path:
        """A movie or its thumbnail; `NotFound`."""

    def drop_movie(self, printer: str, name: str) -> None: ...

    def free_space(self) -> tuple[int, int]:
        """Bytes free and in all."""
