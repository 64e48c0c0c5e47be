"""Files that only grow so far, and the host's own log as one of them.

A file is opened for each batch of lines, so that it may be emptied, removed or renamed by anybody at any time.
"""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1_000_000
KEPT: Final = 4
HOST_LOG: Final = "polyhost.log"
WAITING_LINES: Final = 10_000
BATCH_LINES: Final = 1000


class RotatingFile:
    """Text that is appended to `path`; beyond `max_bytes` it becomes ``path.1`` and so on, `kept` of them."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept = kept

    def append(self, text: str) -> None:
        """In the caller's thread; `OSError` when the disk refuses.  Only the owner may read the file."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = text.encode("utf-8", "backslashreplace")
        while data:
            end = len(data)
            if end > self._max_bytes:  # only ever between two lines, if there are any
                end = data.rfind(b"\n", 0, self._max_bytes) + 1 or self._max_bytes
            self._append(data[:end])
            data = data[end:]

    def _append(self, data: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size + len(data) > self._max_bytes:
                self.rotate()
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "ab") as opened:
            opened.write(data)

    def rotate(self) -> None:
        """What is in the file is now in ``path.1``, and so on; the oldest goes."""
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self._kept + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)


class _HostLog(logging.Handler):
    """Hands lines to a thread that writes them; whoever logs never waits for the disk.

    With more than 10,000 lines waiting, further ones are counted and the count is written instead.
    """

    def __init__(self, file: RotatingFile) -> None:
        super().__init__()
        self._file = file
        self._waiting: queue.Queue[str | None] = queue.Queue(WAITING_LINES)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="host log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1

    def stop(self) -> None:
        """Write what waits, within two seconds; a disk that hangs holds up no end."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=1.0)
        self._thread.join(timeout=1.0)

    def _write(self) -> None:
        ended = False
        while not ended:
            lines: list[str | None] = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(lines) < BATCH_LINES:
                    lines.append(self._waiting.get_nowait())
            ended = None in lines
            lost, self._lost = self._lost, 0
            said = [line for line in lines if line is not None] + [f"{lost} lines were lost here"] * bool(lost)
            # The console has the lines too; to complain there, once for each, would only add to it.
            with contextlib.suppress(OSError):
                self._file.append("".join(f"{line}\n" for line in said))


@contextlib.contextmanager
def host_log(folder: Path, form: str) -> Iterator[None]:
    """Write everything that is logged to ``polyhost.log`` in `folder` as well, as `form` has it."""
    handler = _HostLog(RotatingFile(folder / HOST_LOG))
    handler.setFormatter(logging.Formatter(form))
    handler.start()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.stop()
