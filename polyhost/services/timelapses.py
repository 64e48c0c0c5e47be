"""Movies of prints: which are recorded, their pictures, and the movies made of them.

A print is followed by the snapshots of its printer, so one that went on while no server was there is recorded on,
in the same pictures.  Pictures stay until their movie is whole: a camera, a disk or a server that fails leaves them
to be rendered later, and never holds up the print (R13).
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from polyhost.config import Timelapse, Uploads
from polyhost.core.errors import LinkLost, Malformed, NoSpace, NotAllowed, NotFound, NotNow, PolyhostError
from polyhost.core.events import (
    MovieChanged,
    MovieProgressed,
    PictureAsked,
    PictureMissed,
    PictureTaken,
    PostRollChanged,
    RunStateChanged,
    TimelapseChanged,
)
from polyhost.core.file import checked_name
from polyhost.core.job import ENDED
from polyhost.core.ports import Clock, TimelapseStore
from polyhost.core.printer import Snapshot
from polyhost.core.timelapse import (
    MOVIE_SUFFIX,
    Movie,
    Recording,
    RenderAfter,
    TimelapseConfig,
    TimelapseMode,
    checked_config,
    name_of,
)
from polyhost.core.user import Caller, Permission
from polyhost.core.webcam import Webcam
from polyhost.services.bus import Bus
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.recorder import Recorder
from polyhost.services.webcams import Webcams

log = logging.getLogger(__name__)

_LEFT_TO_UPLOADS: Final = 2  # times what uploads keep free is left by pictures
_LOOK_AGAIN_S: Final = 30.0
_NOTHING: Final = ("", "")

T = TypeVar("T")


class Renders(Protocol):
    """`services.rendering.Renderer`."""

    def program(self) -> str:
        """What makes the movies; "" when nothing is there that could."""

    async def render(self, recording: Recording, pictures: Path, made: Path, told: Callable[[float], None]) -> None: ...


class Unrendered(msgspec.Struct, frozen=True):
    """A recording, and what is being done to it."""

    recording: Recording
    is_recording: bool
    is_rendering: bool  # or waits for it


class Timelapses:
    """`load` comes first; `run` then records and renders until it is cancelled."""

    def __init__(
        self,
        preferences: Preferences,
        printers: Printers,
        webcams: Webcams,
        store: TimelapseStore,
        renderer: Renders,
        bus: Bus,
        clock: Clock,
        settings: Timelapse,
        uploads: Uploads,
    ) -> None:
        self._preferences = preferences
        self._printers = printers
        self._webcams = webcams
        self._store = store
        self._renderer = renderer
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._uploads = uploads
        self._threads = ThreadPoolExecutor(2, "timelapse")
        self._until_restart: dict[str, TimelapseConfig] = {}
        self._recordings: dict[str, dict[str, Recording]] = {}
        self._movies: dict[str, dict[str, Movie]] = {}
        self._recorders: dict[str, Recorder] = {}
        self._seen_runs: dict[str, str] = {}
        self._queue: dict[tuple[str, str], str] = {}  # printer and recording, and what its movie is called
        self._rendering: tuple[str, str] | None = None
        self._work = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def load(self) -> None:
        """What is on the disk.  A disk that cannot be read costs the timelapses alone."""
        for printer in self._printers.all():
            slug = printer.slug
            try:
                recordings = await self._in_thread(self._store.recordings, slug)
                movies = await self._in_thread(self._store.movies, slug)
            except PolyhostError as error:
                log.warning("%s: its timelapses cannot be read: %s", slug, error)
                continue
            self._recordings[slug] = {recording.name: recording for recording in recordings}
            self._movies[slug] = {movie.name: movie for movie in movies}

    async def run(self) -> None:
        """Record what prints, and make movies, one at a time."""
        try:
            with self._bus.listen(Snapshot, RunStateChanged) as listener:
                async with asyncio.TaskGroup() as self._group:
                    self._group.create_task(self._render_in_turn(), name="movies of prints")
                    for printer in self._printers.all():
                        self._follow(printer.snapshot)
                    async for notice in listener:
                        if isinstance(notice, Snapshot):
                            self._follow(notice)
                        elif isinstance(notice, RunStateChanged) and notice.state in ENDED:
                            self._work.set()  # what waited for the end of a run may begin
        finally:
            self._recorders.clear()
            self._seen_runs.clear()
            self._rendering = None

    # Looking

    def config(self, p: Printer) -> TimelapseConfig:
        return self._until_restart.get(p.slug) or self._preferences.get(TimelapseConfig, p.slug)

    def is_possible(self, p: Printer) -> bool:
        """Whether there is a camera to take pictures with, and a program to make movies of them."""
        return self._camera(p) is not None and bool(self._renderer.program())

    @property
    def program(self) -> str:
        """What makes the movies."""
        return self._renderer.program()

    async def free_space(self) -> tuple[int, int]:
        """Bytes free and in all, of the disk that has the pictures and movies."""
        return await self._in_thread(self._store.free_space)

    def movies(self, p: Printer) -> list[Movie]:
        return [*self._movies.get(p.slug, {}).values()]

    def unrendered(self, p: Printer) -> list[Unrendered]:
        recorder = self._recorders.get(p.slug)
        return [
            Unrendered(
                recording,
                is_recording=recorder is not None and recorder.name == recording.name,
                is_rendering=(p.slug, recording.name) in (*self._queue, self._rendering),
            )
            for recording in self._recordings.get(p.slug, {}).values()
        ]

    async def on_disk(self, p: Printer, name: str, by: Caller) -> tuple[Path, str]:
        """A movie or the thumbnail of one, and what tells it from another one that had its name."""
        _needs(by, Permission.LOOK, p)
        path = await self._in_thread(self._store.movie, p.slug, _asked(name))
        status = await self._in_thread(path.stat)
        return path, f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"

    # Changing

    async def configure(self, p: Printer, config: TimelapseConfig, by: Caller, *, save: bool = False) -> None:
        """Record the prints of `p` so, from the next one on.

        Until the next start of the host; for good if `save`, and `by` may change settings.
        """
        _needs(by, Permission.CONTROL, p)
        checked_config(config)
        if save and by.may(Permission.SETTINGS, p.slug):
            await self._preferences.put(config, p.slug)
            self._until_restart.pop(p.slug, None)
        else:
            self._until_restart[p.slug] = config
        self._bus.publish(TimelapseChanged(p.slug))

    async def delete(self, p: Printer, name: str, by: Caller) -> None:
        """A movie, with its thumbnail."""
        _needs(by, Permission.DELETE, p)
        await self._in_thread(self._store.drop_movie, p.slug, _asked(name))
        self._movies.get(p.slug, {}).pop(name, None)

    async def delete_unrendered(self, p: Printer, name: str, by: Caller) -> None:
        """All pictures of a recording; `NotNow` while it is recorded or rendered."""
        _needs(by, Permission.DELETE, p)
        self._recording(p, name)
        self._check_unused(p, name)
        self._queue.pop((p.slug, name), None)
        await self._drop(p.slug, name)

    def render(self, p: Printer, name: str, by: Caller) -> None:
        """Make the movie of a recording, when its turn comes; `NotNow` while the printer prints."""
        _needs(by, Permission.DELETE, p)
        self._recording(p, name)
        self._check_unused(p, name)
        if p.run_state is not None:
            raise NotNow(f"{p.slug} is printing; the movie can be made afterwards")
        if not self._renderer.program():
            raise NotNow("there is no ffmpeg on this host to make movies with")
        self._enqueue(p.slug, name, f"{name}{MOVIE_SUFFIX}")

    # Recording

    def _follow(self, snapshot: Snapshot) -> None:
        """Begin, go on or end recording, as the printer's run does."""
        slug, run = snapshot.printer, snapshot.run
        recorder = self._recorders.get(slug)
        if recorder is not None:
            recorder.moved(snapshot)
            return
        if run is None or run.ended:
            return
        if self._seen_runs.get(slug) == run.run_id:
            return
        self._seen_runs[slug] = run.run_id
        try:
            printer = self._printers.get(slug)
        except NotFound:
            return
        recording = self._recording_of(printer, run.run_id)
        camera = self._camera(printer)
        if recording is None or camera is None or self._group is None:
            return
        take = functools.partial(self._take, printer, camera, recording.name)
        recorder = Recorder(slug, run.run_id, recording.name, recording.config, take)
        self._recorders[slug] = recorder
        self._recordings.setdefault(slug, {})[recording.name] = recording
        recorder.moved(snapshot)
        self._group.create_task(self._record(printer, recorder, recording.count), name=f"timelapse of {slug}")

    def _recording_of(self, p: Printer, run_id: str) -> Recording | None:
        """The one that was begun for this run, or a new one if its printer is to be recorded."""
        for recording in self._recordings.get(p.slug, {}).values():
            if recording.run_id == run_id:
                return recording
        config, camera = self.config(p), self._camera(p)
        if config.mode is TimelapseMode.OFF or camera is None:
            return None
        now = self._clock.now()
        path = p.run.path if p.run is not None and p.run.id == run_id else "print"
        name = name_of(path, time.strftime("%Y%m%d%H%M%S", time.localtime(now)))
        while name in self._recordings.get(p.slug, {}):
            name = f"{name}_"
        turned = camera.flip_horizontal, camera.flip_vertical, camera.rotation
        return Recording(name, run_id, path, now, config, turned=turned)

    async def _record(self, p: Printer, recorder: Recorder, taken: int) -> None:
        slug, config = p.slug, recorder.config
        await recorder.run(taken)
        if config.post_roll_s:
            self._bus.publish(PostRollChanged(slug, config.post_roll_s, config.fps, finished=False))
            await recorder.shoot_last()
            self._bus.publish(PostRollChanged(slug, config.post_roll_s, config.fps, finished=True))
        if self._recorders.get(slug) is recorder:
            del self._recorders[slug]
        recording = self._recordings[slug][recorder.name]
        if not recording.count:
            await self._try_to_drop(slug, recorder.name)
            return
        await self._keep_bounded(slug)
        after = RenderAfter.SUCCESS if recorder.was_completed else RenderAfter.FAILURE
        if config.render_after in {RenderAfter.ALWAYS, after}:
            tail = "" if recorder.was_completed else "-fail"
            self._enqueue(slug, recorder.name, f"{recorder.name}{tail}{MOVIE_SUFFIX}")
        self._follow(p.snapshot)  # the next run may have begun

    async def _take(self, p: Printer, camera: Webcam, name: str) -> None:
        """One more picture of the recording `name`."""
        recording = self._recordings[p.slug][name]
        file = f"{name}-{recording.count}"
        self._bus.publish(PictureAsked(p.slug, f"{file}{recording.suffix}"))
        try:
            await self._check_space()
            picture = await self._webcams.picture(p, camera)
            if not recording.count:
                recording = msgspec.structs.replace(recording, suffix=picture.suffix)
                await self._in_thread(self._store.begin, p.slug, recording)
            elif picture.suffix != recording.suffix:
                raise LinkLost(f"it began with {recording.suffix} and goes on with {picture.suffix}")
            await self._in_thread(self._store.add_picture, p.slug, recording, picture.data)
        except PolyhostError as error:
            missed = PictureMissed(p.slug, f"{file}{recording.suffix}", camera.name, str(error))
            self._bus.publish(missed)
            raise
        size_bytes = recording.size_bytes + len(picture.data)
        recording = msgspec.structs.replace(recording, count=recording.count + 1, size_bytes=size_bytes)
        self._recordings[p.slug][name] = recording
        self._bus.publish(PictureTaken(p.slug, f"{file}{recording.suffix}"))

    def _camera(self, p: Printer) -> Webcam | None:
        """What takes the pictures."""
        camera = self._webcams.main(p)
        return camera if camera is not None and camera.enabled and camera.snapshot_url else None

    async def _check_space(self) -> None:
        free, total = await self.free_space()
        kept = _LEFT_TO_UPLOADS * self._uploads.kept_free(total)
        if free < kept:
            raise NoSpace(f"{free} bytes are free; timelapses leave {kept} to everything else")

    async def _keep_bounded(self, slug: str) -> None:
        """The oldest recordings go when there are too many."""
        recordings = self._recordings[slug]
        recorder = self._recorders.get(slug)
        used = {recorder.name if recorder is not None else ""}
        used |= {name for printer, name in (*self._queue, self._rendering or _NOTHING) if printer == slug}
        unused = [name for name in recordings if name not in used]
        most = self._settings.max_recordings
        for name in unused[: max(0, len(recordings) - most)]:
            log.info("%s: the pictures of %s go: more than %d prints wait for a movie", slug, name, most)
            await self._try_to_drop(slug, name)

    # Rendering

    def _enqueue(self, slug: str, name: str, movie: str) -> None:
        self._queue.setdefault((slug, name), movie)
        self._work.set()

    async def _render_in_turn(self) -> None:
        """One movie at a time, each while its own printer has nothing to print."""
        while True:
            self._work.clear()
            key = next((key for key in self._queue if self._is_idle(key[0])), None)
            if key is None:
                with contextlib.suppress(TimeoutError):  # an event may be lost on a busy host
                    async with asyncio.timeout(_LOOK_AGAIN_S if self._queue else None):
                        await self._work.wait()
                continue
            movie = self._queue.pop(key)
            self._rendering = key
            try:
                await self._render(*key, movie)
            finally:
                self._rendering = None

    def _is_idle(self, slug: str) -> bool:
        try:
            return self._printers.get(slug).run_state is None
        except NotFound:
            return True

    async def _render(self, slug: str, name: str, movie: str) -> None:
        recording = self._recordings.get(slug, {}).get(name)
        if recording is None:
            return

        def say(state: str, reason: str = "") -> None:
            self._bus.publish(MovieChanged(slug, name, movie, recording.path, state, reason))

        percent = -1

        def told(fraction: float) -> None:
            nonlocal percent
            if int(fraction * 100) != percent:
                percent = int(fraction * 100)
                self._bus.publish(MovieProgressed(slug, movie, fraction))

        say("rendering")
        try:
            await self._check_space()
            pictures = self._store.pictures(slug, name)
            made = pictures / f"movie{MOVIE_SUFFIX}"
            await self._renderer.render(recording, pictures, made, told)
            kept = await self._in_thread(self._store.keep_movie, slug, made, movie)
        except PolyhostError as error:
            log.warning("%s: the movie of %s was not made; its pictures are kept: %s", slug, name, error)
            say("failed", str(error))
            return
        self._movies.setdefault(slug, {})[kept.name] = kept
        movie = kept.name
        say("done")
        await self._try_to_drop(slug, name)

    # Inside

    async def _drop(self, slug: str, name: str) -> None:
        await self._in_thread(self._store.drop_recording, slug, name)
        self._recordings.get(slug, {}).pop(name, None)

    async def _try_to_drop(self, slug: str, name: str) -> None:
        try:
            await self._drop(slug, name)
        except PolyhostError as error:
            log.warning("%s: the pictures of %s are still there: %s", slug, name, error)

    def _recording(self, p: Printer, name: str) -> Recording:
        try:
            return self._recordings.get(p.slug, {})[name]
        except KeyError:
            raise NotFound(f"{p.slug} has no unrendered timelapse {name!r}") from None

    def _check_unused(self, p: Printer, name: str) -> None:
        recorder = self._recorders.get(p.slug)
        if recorder is not None and recorder.name == name:
            raise NotNow(f"{name} is being recorded")
        if self._rendering == (p.slug, name):
            raise NotNow(f"{name} is being rendered")

    def _in_thread(self, work: Callable[..., T], *arguments: object) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(work, *arguments))


def _asked(name: str) -> str:
    """The name of something that may be there; `NotFound` for what no file is called."""
    try:
        return checked_name(name)
    except Malformed as error:
        raise NotFound(str(error)) from None


def _needs(by: Caller, permission: Permission, p: Printer) -> None:
    if not by.may(permission, p.slug):
        raise NotAllowed(f"{by.name or 'a guest'} may not {permission.value} on {p.slug}")
