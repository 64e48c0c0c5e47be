"""A print becomes a movie; what fails on the way costs a picture, and never the print."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyhost import config
from polyhost.core import events
from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, NotNow
from polyhost.core.job import RunProgress, RunState
from polyhost.core.printer import Position, Snapshot
from polyhost.core.timelapse import (
    Recording,
    RenderAfter,
    TimelapseConfig,
    TimelapseMode,
    checked_config,
    name_of,
)
from polyhost.core.webcam import Webcam
from polyhost.services.recorder import LayerWatch
from polyhost.services.rendering import Renderer
from tests.services.cameras import Camera, camera, hangs, jpeg, never_ends, redirects, says
from tests.services.world import ADMIN, OPERATOR, UPLOADER, VIEWER, World, living, until

NEVER = TimelapseConfig(TimelapseMode.TIMED, interval_s=0.02, render_after=RenderAfter.NEVER)


@contextlib.asynccontextmanager
async def watched(data: Path, cam: Camera, wanted: TimelapseConfig = NEVER, **options: Any) -> AsyncIterator[World]:
    """A host whose printer a camera looks at, and that records as `wanted`."""
    async with living(World(data, **options)) as world:
        printer = world.printers.default()
        await world.host.webcams.put(printer, Webcam("front", snapshot_url=cam.url, snapshot_timeout_s=0.2), by=ADMIN)
        await world.host.preferences.put(wanted, printer.slug)
        if not world.files.exists("parts/cube.gcode"):
            await world.upload("parts/cube.gcode")
        yield world


async def begin(world: World) -> None:
    await world.runs.start(world.printers.default(), "parts/cube.gcode", by=ADMIN)


def recordings(world: World) -> list[Recording]:
    return [one.recording for one in world.host.timelapses.unrendered(world.printers.default())]


def movies(world: World) -> list[str]:
    return [movie.name for movie in world.host.timelapses.movies(world.printers.default())]


async def taken(world: World, count: int) -> None:
    await until(lambda: recordings(world) and recordings(world)[-1].count >= count)


async def idle(world: World) -> None:
    """Nothing is recorded or rendered any more."""
    timelapses, printer = world.host.timelapses, world.printers.default()
    await until(lambda: not any(one.is_recording or one.is_rendering for one in timelapses.unrendered(printer)), 20)


async def test_a_print_becomes_a_movie(tmp_path: Path) -> None:
    wanted = TimelapseConfig(TimelapseMode.TIMED, fps=5, interval_s=0.02, post_roll_s=1.0)
    async with camera() as cam, watched(tmp_path, cam, wanted) as world:
        printer = world.printers.default()
        with world.bus.listen(bound=10_000) as heard:
            await begin(world)
            await taken(world, 3)
            before = recordings(world)[0]
            assert before.path == "parts/cube.gcode"
            world.driver.reach(RunState.COMPLETED)
            await until(lambda: movies(world), 20)
            await until(lambda: not recordings(world))
            said: list[Any] = []
            while heard._events:
                said.append(await anext(heard))
        (movie,) = world.host.timelapses.movies(printer)
        assert movie.name == f"{before.name}.mp4"
        assert movie.name.startswith("cube_")
        assert movie.has_thumbnail
        path, _ = await world.host.timelapses.on_disk(printer, movie.name, by=VIEWER)
        assert path.read_bytes()[4:8] == b"ftyp"
        picture, _ = await world.host.timelapses.on_disk(printer, f"{movie.name}.thumb.jpg", by=VIEWER)
        assert picture.read_bytes().startswith(b"\xff\xd8\xff")
        assert list((tmp_path / "timelapse" / "mk3" / "pictures").iterdir()) == []

        asked = [one.file for one in said if isinstance(one, events.PictureAsked)]
        assert asked == [one.file for one in said if isinstance(one, events.PictureTaken)]
        assert asked[:2] == [f"{before.name}-0.jpg", f"{before.name}-1.jpg"]
        rolls = [one for one in said if isinstance(one, events.PostRollChanged)]
        assert rolls == [events.PostRollChanged("mk3", 1.0, 5, finished) for finished in (False, True)]
        states = [one for one in said if isinstance(one, events.MovieChanged)]
        assert [one.state for one in states] == ["rendering", "done"]
        assert {(one.recording, one.movie, one.path) for one in states} == {(before.name, movie.name, before.path)}
        fractions = [one.fraction for one in said if isinstance(one, events.MovieProgressed)]
        assert fractions
        assert fractions == sorted(fractions)


async def frames_of(movie: Path) -> int:
    """How many frames ffmpeg finds in `movie`."""
    program = Renderer(config.Timelapse()).program()
    process = await asyncio.create_subprocess_exec(
        *(program, "-nostdin", "-i", str(movie), "-f", "null", "-progress", "pipe:1", "-"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate()
    return int([line for line in said.split(b"\n") if line.startswith(b"frame=")][-1][6:])


async def test_the_movie_has_each_picture_once_and_rests_on_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "a %d folder"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number:06}.jpg").write_bytes(jpeg(number * 50, (65, 49) if number else (64, 48)))
    recording = Recording(
        *("cube_1", "run", "cube.gcode", 0.0, TimelapseConfig(TimelapseMode.TIMED, fps=4, post_roll_s=2.0)),
        turned=(True, False, 90),
        count=4,
    )
    told: list[float] = []
    await Renderer(config.Timelapse()).render(recording, folder, folder / "out.mp4", told.append)
    assert await frames_of(folder / "out.mp4") == 4 + 8
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    ("after", "state", "movie"),
    [
        (RenderAfter.ALWAYS, RunState.CANCELLED, "-fail.mp4"),
        (RenderAfter.SUCCESS, RunState.FAILED, None),
        (RenderAfter.FAILURE, RunState.FAILED, "-fail.mp4"),
        (RenderAfter.FAILURE, RunState.COMPLETED, None),
        (RenderAfter.NEVER, RunState.COMPLETED, None),
    ],
)
async def test_which_prints_are_rendered_by_themselves(
    tmp_path: Path, after: RenderAfter, state: RunState, movie: str | None
) -> None:
    wanted = msgspec.structs.replace(NEVER, render_after=after)
    async with camera() as cam, watched(tmp_path, cam, wanted) as world:
        await begin(world)
        await taken(world, 1)
        name = recordings(world)[0].name
        world.driver.reach(state)
        await idle(world)
        assert movies(world) == ([f"{name}{movie}"] if movie else [])
        assert [one.name for one in recordings(world)] == ([] if movie else [name])


async def test_nothing_is_recorded_that_nobody_wants(tmp_path: Path) -> None:
    async with camera() as cam, watched(tmp_path, cam, TimelapseConfig()) as world:
        await begin(world)
        world.driver.reach(RunState.COMPLETED)
        await until(lambda: world.printers.default().run_state is None)
        assert recordings(world) == []
        assert cam.asked == []


async def test_a_pause_shows_nothing_new(tmp_path: Path) -> None:
    async with camera() as cam, watched(tmp_path, cam) as world:
        await begin(world)
        await taken(world, 2)
        world.driver.reach(RunState.PAUSED)
        before = -1
        while before != cam.shots:  # the one that was on its way
            before = cam.shots
            await asyncio.sleep(0.1)
        world.driver.reach(RunState.PRINTING)
        await taken(world, before + 1)


async def test_a_picture_at_each_layer(tmp_path: Path) -> None:
    wanted = TimelapseConfig(TimelapseMode.LAYERS, min_delay_s=0.01, render_after=RenderAfter.NEVER)
    async with camera() as cam, watched(tmp_path, cam, wanted) as world:
        await begin(world)
        for layer in (1, 2, 3):
            run = msgspec.structs.replace(world.driver.snapshot.run, layer=layer, layers=9)
            world.driver.say(run=run)
            world.driver.say(run=run, position=Position(z=layer + 5.0))
            await taken(world, layer)
            await asyncio.sleep(0.02)  # min_delay_s
        world.driver.reach(RunState.COMPLETED)
        await idle(world)
        assert recordings(world)[0].count == 3


@pytest.mark.parametrize(
    ("hop", "heights", "new"),
    [
        (0.0, [0.2, 0.2, 0.4, 0.401, 0.6], [True, False, True, False, True]),
        (0.0, [None, 0.2, 1.2, 0.2], [False, True, True, True]),
        (1.0, [0.2, 1.2, 0.2, 0.4, 1.4, 0.4, 0.6], [True, False, False, True, False, False, True]),
    ],
)
def test_where_layers_are_not_known_the_height_tells(hop: float, heights: list[float | None], new: list[bool]) -> None:
    watch = LayerWatch(hop)
    run = RunProgress("r", RunState.PRINTING, 1, 9)
    assert [watch.began(Snapshot("mk3", run=run, position=Position(z=z))) for z in heights] == new


@pytest.mark.parametrize(
    "answers", [hangs, never_ends, says(b"no picture"), says(b"", "500 Oh"), redirects("http://127.0.0.2/")]
)
async def test_a_camera_that_fails_costs_pictures_and_no_print(tmp_path: Path, answers: Any) -> None:
    async with camera() as cam, watched(tmp_path, cam) as world:
        cam.answers = answers
        with world.bus.listen(bound=10_000) as heard:
            await begin(world)
            while not isinstance(missed := await anext(heard), events.PictureMissed):
                pass
        assert missed.reason
        assert world.printers.default().run_state is RunState.PRINTING
        cam.answers = cam.shows_a_picture
        await taken(world, 2)
        world.driver.reach(RunState.COMPLETED)
        await idle(world)
        await until(lambda: world.host.runs.statistics("parts/cube.gcode").success == 1)


async def test_a_full_disk_costs_pictures_and_no_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with camera() as cam, watched(tmp_path, cam) as world:
        store = world.host.timelapses._store
        monkeypatch.setattr(store, "free_space", lambda: (10, 1 << 40))
        with world.bus.listen(bound=10_000) as heard:
            await begin(world)
            while not isinstance(missed := await anext(heard), events.PictureMissed):
                pass
            assert "bytes are free" in missed.reason
            assert cam.asked == []
            monkeypatch.undo()

            def refuse(*_: object) -> None:
                raise NoSpace("the disk refused a picture")

            monkeypatch.setattr(store, "add_picture", refuse)
            while not (isinstance(missed, events.PictureMissed) and "refused" in missed.reason):
                missed = await anext(heard)
        world.driver.reach(RunState.COMPLETED)
        await until(lambda: world.printers.default().run_state is None)
        await until(lambda: recordings(world) == [])


async def test_a_server_that_comes_back_records_the_same_print_on(tmp_path: Path) -> None:
    async with camera() as cam:
        async with watched(tmp_path, cam) as world:
            await begin(world)
            await taken(world, 2)
            going, name = world.driver.snapshot, recordings(world)[0].name
        async with living(World(tmp_path)) as world:
            assert [one.recording.name for one in world.host.timelapses.unrendered(world.printers.default())] == [name]
            count = recordings(world)[0].count
            assert count >= 2
            world.driver.say(run=going.run)
            await taken(world, count + 1)
            assert [one.name for one in recordings(world)] == [name]
            world.driver.reach(RunState.COMPLETED)
            await idle(world)
            names = {entry.name for entry in (tmp_path / "timelapse" / "mk3" / "pictures" / name).iterdir()}
            assert names == {"about", *(f"{number:06}.jpg" for number in range(recordings(world)[0].count))}


async def test_what_was_cut_short_can_be_rendered_later(tmp_path: Path) -> None:
    async with camera() as cam:
        async with watched(tmp_path, cam) as world:
            await begin(world)
            await taken(world, 2)
        async with living(World(tmp_path)) as world:
            printer, timelapses = world.printers.default(), world.host.timelapses
            (one,) = timelapses.unrendered(printer)
            assert not one.is_recording
            name = one.recording.name
            with pytest.raises(NotAllowed):
                timelapses.render(printer, name, by=UPLOADER)
            world.driver.say(run=RunProgress(one.recording.run_id, RunState.PRINTING, 0, 4))
            await until(lambda: timelapses.unrendered(printer)[0].is_recording)
            with pytest.raises(NotNow, match="being recorded"):
                timelapses.render(printer, name, by=OPERATOR)
            with pytest.raises(NotNow, match="being recorded"):
                await timelapses.delete_unrendered(printer, name, by=OPERATOR)
            world.driver.reach(RunState.COMPLETED)
            await idle(world)
            await until(lambda: printer.run_state is None)
            timelapses.render(printer, name, by=OPERATOR)
            await until(lambda: movies(world) == [f"{name}.mp4"], 20)
            with pytest.raises(NotFound):
                timelapses.render(printer, "another", by=OPERATOR)
        async with living(World(tmp_path)) as world:  # and it is still there
            printer, timelapses = world.printers.default(), world.host.timelapses
            assert movies(world) == [f"{name}.mp4"]
            with pytest.raises(NotAllowed):
                await timelapses.delete(printer, f"{name}.mp4", by=UPLOADER)
            await timelapses.delete(printer, f"{name}.mp4", by=OPERATOR)
            assert movies(world) == []
            assert list((tmp_path / "timelapse" / "mk3" / "movies").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../polyhost.db", "..", ".hidden.mp4", "a/b.mp4", "about", "none.mp4", "a\0.mp4", ""]
)
async def test_only_movies_are_served(tmp_path: Path, name: str) -> None:
    async with living(World(tmp_path)) as world:
        printer, timelapses = world.printers.default(), world.host.timelapses
        folder = tmp_path / "timelapse" / "mk3" / "movies"
        folder.mkdir(parents=True)
        (folder / "about").write_text("x")
        (folder / "link.mp4").symlink_to(tmp_path / "polyhost.db")
        for asked in (name, "link.mp4"):
            with pytest.raises(NotFound):
                await timelapses.on_disk(printer, asked, by=ADMIN)
            with pytest.raises(NotFound):
                await timelapses.delete(printer, asked, by=ADMIN)


async def test_an_ffmpeg_that_fails_leaves_the_pictures(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho cannot do that >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    settings = config.Config(timelapse=config.Timelapse(ffmpeg=str(program)))
    wanted = msgspec.structs.replace(NEVER, render_after=RenderAfter.ALWAYS)
    async with camera() as cam, watched(tmp_path / "data", cam, wanted, settings=settings) as world:
        with world.bus.listen(bound=10_000) as heard:
            await begin(world)
            await taken(world, 2)
            world.driver.reach(RunState.COMPLETED)
            while not (isinstance(said := await anext(heard), events.MovieChanged) and said.state == "failed"):
                pass
        assert said.reason == "ffmpeg ended with 3: cannot do that"
        await idle(world)
        assert len(recordings(world)) == 1
        assert movies(world) == []


async def test_only_so_many_recordings_are_kept(tmp_path: Path) -> None:
    settings = config.Config(timelapse=config.Timelapse(max_recordings=2))
    async with camera() as cam, watched(tmp_path, cam, settings=settings) as world:
        seen: list[str] = []
        for _ in range(4):
            await begin(world)
            await until(lambda: any(one.name not in seen and one.count for one in recordings(world)))
            seen.append(recordings(world)[-1].name)
            world.driver.reach(RunState.COMPLETED)
            await idle(world)
            await until(lambda: world.printers.default().run_state is None)
            world.clock.pass_s(2)
        await until(lambda: [one.name for one in recordings(world)] == seen[-2:])
        assert sorted(os.listdir(tmp_path / "timelapse" / "mk3" / "pictures")) == sorted(seen[-2:])


async def test_who_may_say_how_prints_are_recorded(tmp_path: Path) -> None:
    wanted = TimelapseConfig(TimelapseMode.TIMED)
    async with living(World(tmp_path)) as world:
        printer, timelapses = world.printers.default(), world.host.timelapses
        with pytest.raises(NotAllowed):
            await timelapses.configure(printer, wanted, by=UPLOADER)
        await timelapses.configure(printer, wanted, by=OPERATOR, save=True)
        assert timelapses.config(printer) == wanted
    async with living(World(tmp_path)) as world:
        printer, timelapses = world.printers.default(), world.host.timelapses
        assert timelapses.config(printer) == TimelapseConfig()  # an operator's word holds until the next start
        await timelapses.configure(printer, wanted, by=ADMIN, save=True)
    async with living(World(tmp_path)) as world:
        assert world.host.timelapses.config(world.printers.default()) == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"fps": 0},
        {"fps": 100_000},
        {"post_roll_s": -1.0},
        {"post_roll_s": 1e9},
        {"interval_s": 0.0},
        {"interval_s": float("nan")},
        {"z_hop_mm": -0.1},
        {"min_delay_s": 0.0},
        {"min_delay_s": float("inf")},
    ],
    ids=str,
)
def test_what_cannot_be_recorded_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        checked_config(TimelapseConfig(TimelapseMode.TIMED, **wrong))


def test_recordings_are_named_after_what_is_printed() -> None:
    assert name_of("a/b c.gcode", "2026") == "b c_2026"

    assert len(name_of("ü" * 120 + ".gcode", "20261120214500").encode()) < 200
