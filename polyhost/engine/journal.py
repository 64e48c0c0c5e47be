"""What an engine must still know after it was killed: a checked, append-only file, one per engine.

Entries are appended and synced by a thread of the journal's own, so the loop never waits for a disk.  An entry is
a length and a CRC-32 (4 bytes each, big-endian) before msgpack; reading stops at the first that is not whole, which
is how a crash at any byte leaves the entries before it.  The file is rewritten, atomically, when it has grown.
"""

import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from polyhost.core.file import NamedObject
from polyhost.core.job import RunState
from polyhost.core.ports import RunOrder
from polyhost.engine.messages import EndedRun, MachineSettings
from polyhost.gcode.modal import ModalState

log = logging.getLogger(__name__)

MAGIC: Final = b"polyhost journal 1\n"
REWRITE_BYTES: Final = 1 << 20
_HEAD: Final = struct.Struct(">II")


class RunRecord(msgspec.Struct, frozen=True):
    """A run as far as the machine acknowledged it: bytes and lines of its file, and how the machine was then set."""

    order: RunOrder  # without its layer index
    state: RunState
    started_at: float  # seconds since the epoch
    elapsed_s: float = 0.0
    printing_s: float = 0.0
    file_bytes: int = 0
    lines: int = 0
    modal: ModalState | None = None
    excluded: tuple[NamedObject, ...] = ()  # that are left out


class PrinterRecord(msgspec.Struct, frozen=True):
    """A printer that this engine holds."""

    machine: MachineSettings
    wanted: bool = False  # its link is to be open
    hot: bool = False  # it was told to heat, and not yet told off
    identity: str = ""  # the device that answered last, where it has an identity of its own
    run: RunRecord | None = None  # in progress, or ended before its time
    ended: tuple[EndedRun, ...] = ()
    unfinished: str = ""  # a file on the machine's own card that was begun and not ended


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    printer: str
    record: PrinterRecord


class Released(msgspec.Struct, frozen=True, tag="released"):
    printer: str


class Went(msgspec.Struct, frozen=True, tag="went"):
    """How far the run of `printer` has come; the small entry that is written every second."""

    printer: str
    elapsed_s: float
    printing_s: float
    file_bytes: int
    lines: int
    modal: ModalState


Entry = Kept | Released | Went

_encoder: Final = msgspec.msgpack.Encoder()
_entries: Final[msgspec.msgpack.Decoder[Entry]] = msgspec.msgpack.Decoder(Entry)


def encoded(entry: Entry) -> bytes:
    body = _encoder.encode(entry)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def entries_of(data: bytes) -> list[Entry]:
    """The whole entries at the beginning of a journal's bytes; what comes after a damaged one is not trusted."""
    entries: list[Entry] = []
    if not data.startswith(MAGIC):
        return entries
    at = len(MAGIC)
    while at + _HEAD.size <= len(data):
        size, checksum = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + size]
        if len(body) < size or zlib.crc32(body) != checksum:
            break
        try:
            entries.append(_entries.decode(body))
        except msgspec.DecodeError:
            break
        at += _HEAD.size + size
    return entries


def fold(records: dict[str, PrinterRecord], entries: Iterable[Entry]) -> None:
    """Bring `records` up to date with `entries`."""
    for entry in entries:
        match entry:
            case Kept(printer):
                records[printer] = entry.record
            case Released(printer):
                records.pop(printer, None)
            case Went(printer):
                record = records.get(printer)
                if record is not None and record.run is not None:
                    run = msgspec.structs.replace(
                        record.run,
                        elapsed_s=entry.elapsed_s,
                        printing_s=entry.printing_s,
                        file_bytes=entry.file_bytes,
                        lines=entry.lines,
                        modal=entry.modal,
                    )
                    records[printer] = msgspec.structs.replace(record, run=run)


class Journal:
    """Writes entries in the order they were given.

    `soon` runs a function in the loop's thread (``loop.call_soon_threadsafe``).  `failure` is why the disk refused
    the last write, "" when it took it.
    """

    def __init__(self, path: Path, soon: Callable[[Callable[[], None]], object]) -> None:
        self._path = path
        self._soon = soon
        self._records: dict[str, PrinterRecord] = {}
        self._waiting: list[tuple[Entry, Callable[[], None] | None]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._file: int | None = None
        self._size = 0
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self.failure = ""

    def read(self) -> dict[str, PrinterRecord]:
        """What an earlier engine left; empty when there was none."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        fold(self._records, entries_of(data))
        return dict(self._records)

    def start(self) -> None:
        self._thread.start()

    def write(self, entry: Entry, then: Callable[[], None] | None = None) -> None:
        """Append `entry`; `then` is called in the loop once it is on the disk, or the disk refused (`failure`)."""
        with self._changed:
            self._waiting.append((entry, then))
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                batch, self._waiting = self._waiting, []
                if not batch:
                    return
            entries = [entry for entry, _ in batch]
            fold(self._records, entries)
            try:
                self._append(entries)
                self.failure = ""
            except OSError as error:
                if not self.failure:
                    log.warning("the journal %s cannot be written: %s", self._path, error.strerror)
                self.failure = error.strerror or str(error)
            for _, then in batch:
                if then is not None:
                    self._soon(then)

    def _append(self, entries: Iterable[Entry]) -> None:
        if self._file is None or self._size > REWRITE_BYTES:
            self._rewrite()
            return
        data = b"".join(map(encoded, entries))
        try:
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
            os.fdatasync(self._file)
        except OSError:
            # What is on the disk now is unknown past the last good entry: the next write starts the file anew.
            os.close(self._file)
            self._file = None
            raise
        self._size += len(data)

    def _rewrite(self) -> None:
        """Put a file with the present state in place of the old one; the old one stays whole until then."""
        data = MAGIC + b"".join(encoded(Kept(printer, record)) for printer, record in self._records.items())
        new = self._path.with_name(self._path.name + ".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(file, data) < len(data):
                raise OSError(28, "No space left on device")
            os.fsync(file)
            os.replace(new, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            os.close(file)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self._size = file, len(data)
