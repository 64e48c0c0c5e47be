"""Makes a movie of pictures with ffmpeg: a process of its own, of the lowest priority, within bounds."""

import asyncio
import importlib.util
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from polyhost.config import Timelapse
from polyhost.core.errors import MachineFault, NoSpace, NotNow
from polyhost.core.timelapse import THUMBNAIL_SUFFIX, Recording

RENDER_S: Final = 3600.0
THUMBNAIL_S: Final = 60.0
MAX_MOVIE_BYTES: Final = 2 << 30
_NICEST: Final = 19
_LAST_WORDS: Final = 20  # lines of what it said that are told
_PICTURE_WIDTH: Final = 320
_FRAME: Final = re.compile(rb"frame=\s*(\d+)")
_TURNS: Final = {0: (), 90: ("transpose=clock",), 180: ("hflip", "vflip"), 270: ("transpose=cclock",)}


class Renderer:
    def __init__(self, settings: Timelapse) -> None:
        self._settings = settings

    def program(self) -> str:
        """The ffmpeg that is used: the owner's, the system's, or that of the package imageio-ffmpeg; "" for none."""
        return self._settings.ffmpeg or shutil.which("ffmpeg") or _packaged()

    async def render(self, recording: Recording, pictures: Path, made: Path, told: Callable[[float], None]) -> None:
        """Make the movie `made` of what is in the folder `pictures`, and its thumbnail beside it.

        `told` hears the fraction that is done.  `NotNow` without an ffmpeg, `MachineFault` with its own words when it
        fails or takes longer than an hour.
        """
        program = self.program()
        if not program:
            raise NotNow("there is no ffmpeg; install it, or polyhost[timelapse], or name it in [timelapse] ffmpeg")
        frames = recording.count + round(recording.config.post_roll_s * recording.config.fps)
        command = [program, *_arguments(recording, self._settings), str(made)]

        def heard(line: bytes) -> None:
            if match := _FRAME.match(line):
                told(min(1.0, int(match[1]) / max(1, frames)))

        with ExitStack() as undo:
            undo.callback(_remove, made)
            await _ran(command, pictures, RENDER_S, heard)
            undo.pop_all()
        thumbnail = ("-sseof", "-1", "-i", str(made), "-update", "1", "-frames:v", "1")
        scaled = ("-vf", f"scale={_PICTURE_WIDTH}:-2", f"{made}{THUMBNAIL_SUFFIX}")
        with suppress(MachineFault):  # a movie without one is a movie
            await _ran([program, *_QUIETLY, *thumbnail, *scaled], pictures, THUMBNAIL_S, lambda _: None)


_QUIETLY: Final = ("-nostdin", "-hide_banner", "-loglevel", "error", "-y")


def _arguments(recording: Recording, settings: Timelapse) -> list[str]:
    """The pictures are named relative to the folder that it runs in: a % in a path would be a number to it."""
    flip_h, flip_v, rotation = recording.turned
    filters = [*("hflip",) * flip_h, *("vflip",) * flip_v, *_TURNS[rotation]]
    filters.append("pad=ceil(iw/2)*2:ceil(ih/2)*2")  # the codec wants even sizes
    if recording.config.post_roll_s:
        filters.append(f"tpad=stop_mode=clone:stop_duration={recording.config.post_roll_s:g}")
    return [
        *_QUIETLY,
        *("-progress", "pipe:1", "-framerate", str(recording.config.fps)),
        *("-f", "image2", "-i", f"%06d{recording.suffix}"),
        *("-vf", ",".join(filters), "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-b:v", settings.bitrate, "-threads", str(settings.threads)),
        *("-movflags", "+faststart", "-fs", str(MAX_MOVIE_BYTES), "-f", "mp4"),
    ]


async def _ran(command: list[str], folder: Path, within_s: float, heard: Callable[[bytes], None]) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, limit=1 << 16
        )
    except OSError as error:
        raise MachineFault(f"{command[0]} cannot be started: {error.strerror}") from error
    words: deque[bytes] = deque(maxlen=_LAST_WORDS)
    try:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICEST)
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
            group.create_task(_read(process.stdout, heard), name="progress of ffmpeg")
            group.create_task(_read(process.stderr, words.append), name="words of ffmpeg")
        await process.wait()
    except TimeoutError:
        raise MachineFault(f"ffmpeg took more than {within_s:g} s") from None
    finally:
        await _end(process)
    if process.returncode:
        said = b" ".join(words).decode("utf-8", "replace")[-2000:]
        if "No space left on device" in said:
            raise NoSpace(f"ffmpeg: {said}")
        raise MachineFault(f"ffmpeg ended with {process.returncode}: {said}")


async def _read(stream: asyncio.StreamReader | None, heard: Callable[[bytes], None]) -> None:
    assert stream is not None
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # a line longer than the limit: what was read of it is dropped
            continue
        if not line:
            return
        heard(line.strip())


def _remove(half: Path) -> None:
    with suppress(OSError):
        half.unlink(missing_ok=True)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _packaged() -> str:
    found = importlib.util.find_spec("imageio_ffmpeg")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for program in sorted(Path(folder, "binaries").glob("ffmpeg-*")):
            if os.access(program, os.X_OK):
                return str(program)
    return ""
