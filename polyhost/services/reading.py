"""Has G-code read by one process of its own, and ends that process when it goes beyond its bounds (R17).

The process starts when the first file is to be read, and again after it was ended; `rest` lets it go.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Final

from polyhost.core.errors import Malformed, NoSpace, NotFound
from polyhost.core.file import Analysis, Metadata
from polyhost.services import reading_worker as worker

TIME_S: Final = 30.0
TIME_PER_BYTE_S: Final = 1.0 / 10_000_000
MAX_RESIDENT_BYTES: Final = 256 << 20
MAX_ANSWER_BYTES: Final = 64 << 20
_LOOK_EVERY_S: Final = 0.1
_END_WITHIN_S: Final = 2.0  # a process that has nothing left to read; then it is killed
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class ReadingProcess:
    """`services.reading_queue.Reader`."""

    def __init__(self, *, time_s: float = TIME_S, resident_bytes: int = MAX_RESIDENT_BYTES) -> None:
        self._time_s = time_s
        self._resident_bytes = resident_bytes
        self._process: Process | None = None
        self._asking = asyncio.Lock()

    async def metadata(self, file: Path) -> tuple[Metadata, dict[str, bytes]]:
        within_s = self._within_s(file)
        match await self._ask(worker.ReadHeader(str(file), within_s), within_s):
            case worker.HeaderRead(metadata, pictures):
                return metadata, pictures
            case other:
                raise _not_read(other)

    async def analysis(self, file: Path, motion: tuple[str, ...]) -> Analysis:
        within_s = self._within_s(file)
        match await self._ask(worker.ReadWhole(str(file), within_s, motion), within_s):
            case worker.WholeRead(analysis):
                return analysis
            case other:
                raise _not_read(other)

    async def rest(self) -> None:
        """End the process; the next question starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await process.wait()
        except TimeoutError:
            await _end(process)

    def _within_s(self, file: Path) -> float:
        try:
            return self._time_s + file.stat().st_size * TIME_PER_BYTE_S
        except OSError as error:
            raise NotFound(f"{file.name} is gone: {error.strerror}") from error

    async def _ask(self, question: worker.Question, within_s: float) -> worker.Answer:
        async with self._asking:
            process = self._process
            if process is None or process.returncode is not None:
                process = self._process = await _started()
            beyond: list[str] = []
            answer = None
            try:
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(self._watch(process, within_s, beyond), name="bounds of the reader")
                    try:
                        answer = await _exchange(process, question)
                    except (OSError, asyncio.IncompleteReadError):
                        pass  # the process is dead, by our hand or its own
                    finally:
                        watch.cancel()
            finally:
                if answer is None:  # cancelled, too: what it would say next is no answer to the next question
                    self._process = None
                    await _end(process)
            if answer is None:
                raise Malformed(beyond[0] if beyond else f"reading it ended the reader (status {process.returncode})")
            return answer

    async def _watch(self, process: Process, within_s: float, beyond: list[str]) -> None:
        """Kill `process` at its bounds, and say in `beyond` which one it was."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while not beyond:
            await asyncio.sleep(min(_LOOK_EVERY_S, max(0.0, deadline - loop.time())))
            if loop.time() >= deadline:
                beyond.append(f"reading it takes more than {within_s:.0f} s")
            elif _resident_bytes(process.pid) > self._resident_bytes:
                beyond.append(f"reading it takes more than {self._resident_bytes >> 20} MiB of memory")
        with suppress(ProcessLookupError):
            process.kill()


async def _started() -> Process:
    # One thread: a thread pool's memory and time are not what the bounds are for.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", worker.__name__), stdin=PIPE, stdout=PIPE, env=environment
        )
    except OSError as error:
        raise NoSpace(f"no process can be started to read files: {error.strerror}") from error


async def _exchange(process: Process, question: worker.Question) -> worker.Answer:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(worker.framed(question))
    await process.stdin.drain()
    (size,) = worker.length.unpack(await process.stdout.readexactly(worker.length.size))
    if size > MAX_ANSWER_BYTES:
        raise OSError(f"an answer of {size} bytes")
    answer: worker.Answer = worker.decode_answer(await process.stdout.readexactly(size))
    return answer


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _resident_bytes(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _not_read(answer: worker.Answer) -> Malformed:
    return Malformed(answer.reason if isinstance(answer, worker.NotRead) else "the reader answered something else")
