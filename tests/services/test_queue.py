"""Queues: what a list would hold, through restarts; and nothing begins that nobody started (R10)."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhost import config
from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, NotNow
from polyhost.core.events import PrinterStateChanged, QueueChanged, RightsChanged
from polyhost.core.job import QueueState, Run, RunProgress, RunState
from polyhost.core.printer import PrinterState
from polyhost.core.user import GUEST, ApiKey, Caller, Role
from polyhost.services.queue import MAX_JOBS
from tests.services.world import ADMIN, LOST, OPERATOR, REFUSED, UPLOADER, VIEWER, World, living, until

AUTOMATIC = config.Config(queue=config.Queue(automatic=True))
PATHS = ("a.gcode", "b.gcode", "f/c.gcode")
Q = QueueState


@pytest.fixture(params=[False, True], ids=["by hand", "automatic"])
async def ready(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with living(World(tmp_path, settings=AUTOMATIC if request.param else None)) as world:
        for path in PATHS:
            await world.upload(path)
        yield world


@pytest.fixture
async def automatic(tmp_path: Path) -> AsyncIterator[World]:
    async with living(World(tmp_path, settings=AUTOMATIC)) as world:
        for path in PATHS:
            await world.upload(path)
        yield world


def queued(world: World) -> list[str]:
    return [job.path for job in world.queue.of(world.printers.default()).jobs]


def state(world: World) -> QueueState:
    return world.queue.state(world.printers.default())


def started(world: World) -> list[str]:
    return [order.name for order in world.driver.orders]


async def added(world: World, *paths: str, **more: Any) -> list[str]:
    """The ids of the new jobs."""
    return [job.id for job in await world.queue.add(world.printers.default(), paths, OPERATOR, **more)]


async def settled(world: World) -> None:
    """Until what was to be loaded is."""
    await until(lambda: state(world) not in {Q.LOADING, Q.STARTING})


async def printing(world: World, path: str) -> None:
    """Until `path` is what is printed, and the queue has nothing under way."""
    p = world.printers.default()
    await until(lambda: p.run is not None and p.run.path == path and p.run_state is RunState.PRINTING)
    await settled(world)


async def test_the_first_job_is_started_and_taken_out(ready: World) -> None:
    p = ready.printers.default()
    [_, second] = await added(ready, "a.gcode", "b.gcode")
    assert (queued(ready), state(ready), started(ready)) == (["a.gcode", "b.gcode"], Q.PAUSED, [])
    with ready.bus.listen(QueueChanged) as heard:
        await ready.queue.start(p, OPERATOR)
        await printing(ready, "a.gcode")
        told = [await anext(heard) for _ in range(3)]
    told = [(one.change, one.state, len(one.queue.jobs)) for one in told if isinstance(one, QueueChanged)]
    goes_on = Q.READY if ready.config.queue.automatic else Q.PAUSED
    assert told == [("state", Q.LOADING, 2), ("state", Q.STARTING, 2), ("loaded", goes_on, 1)]
    assert [job.id for job in ready.queue.of(p).jobs] == [second]
    [run] = await ready.runs.history()
    assert (run.by, run.path) == ("oz", "a.gcode")


async def test_only_where_the_owner_wants_it_the_next_follows(ready: World) -> None:
    await added(ready, "a.gcode", "b.gcode", "b.gcode")
    await ready.queue.start(ready.printers.default(), OPERATOR)
    await printing(ready, "a.gcode")
    ready.driver.reach(RunState.COMPLETED)
    if not ready.config.queue.automatic:
        await until(lambda: ready.printers.default().run_state is None)
        await ready.files.move("b.gcode", "z.gcode", ADMIN)
        await until(lambda: queued(ready) == ["z.gcode", "z.gcode"])  # so it has heard of the end, too
        assert (started(ready), state(ready)) == (["a.gcode"], Q.PAUSED)
        return
    await printing(ready, "b.gcode")
    assert (queued(ready), state(ready)) == (["b.gcode"], Q.READY)
    ready.driver.reach(RunState.COMPLETED)
    await until(lambda: len(started(ready)) == 3)
    await settled(ready)
    assert (queued(ready), state(ready)) == ([], Q.PAUSED)


@pytest.mark.parametrize("end", [RunState.CANCELLED, RunState.FAILED, RunState.INTERRUPTED])
async def test_what_was_not_completed_pauses_the_queue(automatic: World, end: RunState) -> None:
    await added(automatic, "a.gcode", "b.gcode")
    await automatic.queue.start(automatic.printers.default(), OPERATOR)
    await printing(automatic, "a.gcode")
    assert state(automatic) is Q.READY
    automatic.driver.reach(end)
    await until(lambda: state(automatic) is Q.PAUSED)
    assert end.value in automatic.queue.reason(automatic.printers.default())
    assert (started(automatic), queued(automatic)) == (["a.gcode"], ["b.gcode"])


@pytest.mark.parametrize("state_", [PrinterState.OFFLINE, PrinterState.UNREACHABLE, PrinterState.FAULTED])
async def test_an_outage_pauses_the_queue(automatic: World, state_: PrinterState) -> None:
    await added(automatic, "a.gcode", "b.gcode")
    await automatic.queue.start(automatic.printers.default(), OPERATOR)
    await printing(automatic, "a.gcode")
    automatic.driver.say(state=state_)
    automatic.printers.heard(PrinterStateChanged("mk3", state_))
    await until(lambda: state(automatic) is Q.PAUSED)
    automatic.driver.say(state=PrinterState.READY)
    automatic.printers.heard(PrinterStateChanged("mk3", PrinterState.READY))
    automatic.driver.reach(RunState.COMPLETED)
    await until(lambda: automatic.printers.default().run_state is None)
    await automatic.files.move("b.gcode", "z.gcode", ADMIN)
    await until(lambda: queued(automatic) == ["z.gcode"])  # so it has heard of the end, too
    assert started(automatic) == ["a.gcode"]


async def test_a_refused_start_pauses_it_and_says_why(ready: World) -> None:
    p = ready.printers.default()
    await added(ready, "a.gcode")
    ready.driver.refuses = REFUSED
    await ready.queue.start(p, OPERATOR)
    await until(lambda: state(ready) is Q.PAUSED)
    assert "the machine is busy" in ready.queue.reason(p)
    assert queued(ready) == ["a.gcode"]
    ready.driver.refuses = None
    await ready.queue.start(p, OPERATOR)
    await printing(ready, "a.gcode")
    assert (queued(ready), ready.queue.reason(p)) == ([], "")


async def test_a_start_in_doubt_is_not_repeated(ready: World) -> None:
    p = ready.printers.default()
    await added(ready, "a.gcode", "b.gcode")
    ready.driver.refuses = LOST
    await ready.queue.start(p, OPERATOR)
    await until(lambda: state(ready) is Q.PAUSED and bool(ready.queue.reason(p)))
    assert queued(ready) == ["b.gcode"]
    assert "may be printing" in ready.queue.reason(p)
    assert [run.path for run in await ready.runs.history()] == ["a.gcode"]


async def test_a_missing_file_is_said_when_its_turn_comes(automatic: World) -> None:
    await added(automatic, "a.gcode", "b.gcode")
    await automatic.files.delete("b.gcode", ADMIN)
    assert queued(automatic) == ["a.gcode", "b.gcode"]
    await automatic.queue.start(automatic.printers.default(), OPERATOR)
    await printing(automatic, "a.gcode")
    automatic.driver.reach(RunState.COMPLETED)
    await until(lambda: state(automatic) is Q.PAUSED)
    assert "b.gcode cannot be printed" in automatic.queue.reason(automatic.printers.default())
    assert queued(automatic) == ["b.gcode"]


async def test_jobs_follow_their_files(ready: World, tmp_path: Path) -> None:
    await added(ready, "a.gcode", "f/c.gcode", "a.gcode")
    await ready.files.move("f", "g", ADMIN)
    await ready.files.move("a.gcode", "g/z.gcode", ADMIN)
    await until(lambda: queued(ready) == ["g/z.gcode", "g/c.gcode", "g/z.gcode"])
    [kept] = ready.records.load_queues()
    assert [job.path for job in kept.jobs] == queued(ready)


async def test_jobs_follow_their_files_while_others_look_at_other_queues(tmp_path: Path) -> None:
    """The first look at another printer's queue, at that moment, ended the service of all queues."""
    async with living(World(tmp_path, printers=("mk3", "mini"))) as world:
        await world.upload("a.gcode")
        await added(world, "a.gcode")
        line = world.queue._line(world.printers.default())
        async with line.changing:
            await world.files.move("a.gcode", "b.gcode", ADMIN)
            await until(lambda: line.changing._waiters)
            assert world.queue.of(world.printers.get("mini")).jobs == ()
        await until(lambda: queued(world) == ["b.gcode"])
        await world.files.move("b.gcode", "c.gcode", ADMIN)
        await until(lambda: queued(world) == ["c.gcode"])


async def test_a_job_that_is_no_file_adds_none(ready: World) -> None:
    await ready.upload("notes.gco")
    for wrong in ("nope.gcode", "f", "", "../a.gcode"):
        with pytest.raises(Malformed, match=r"no file .* in the library"):
            await added(ready, "a.gcode", wrong, replace=True)
    await added(ready, *["a.gcode"] * MAX_JOBS)
    with pytest.raises(NotNow, match="1000 is the limit"):
        await added(ready, "a.gcode")
    assert len(queued(ready)) == MAX_JOBS
    await added(ready, "b.gcode", replace=True)
    assert queued(ready) == ["b.gcode"]


async def test_who_may(ready: World) -> None:
    p, queue = ready.printers.default(), ready.queue
    [job] = await added(ready, "a.gcode")
    for by in (GUEST, VIEWER, UPLOADER):
        for work in (
            *(queue.add(p, ["a.gcode"], by), queue.remove(p, None, by), queue.jump(p, job, by)),
            *(queue.pause(p, by), queue.start(p, by)),
        ):
            with pytest.raises(NotAllowed, match="may not change the queue"):
                await work
    assert (queued(ready), state(ready)) == (["a.gcode"], Q.PAUSED)
    with pytest.raises(NotFound, match="no job 'x'"):
        await queue.jump(p, "x", OPERATOR)


async def test_a_start_that_cannot_be_says_so_at_once(ready: World) -> None:
    p = ready.printers.default()
    await ready.queue.start(p, OPERATOR)
    assert state(ready) is Q.PAUSED  # there is nothing to start
    await added(ready, "a.gcode")
    ready.driver.say(state=PrinterState.OFFLINE)
    with pytest.raises(NotNow, match="connect it first"):
        await ready.queue.start(p, OPERATOR)
    ready.driver.say(state=PrinterState.READY)
    await ready.runs.start(p, "b.gcode", OPERATOR)
    if ready.config.queue.automatic:
        await ready.queue.start(p, OPERATOR)
        assert state(ready) is Q.READY
    else:
        with pytest.raises(NotNow, match=r"queue\.automatic"):
            await ready.queue.start(p, OPERATOR)


@pytest.mark.parametrize("held", ["", "paused", "old jobs"])
async def test_a_job_for_later_goes_on_behind_a_print_where_nothing_was_held(automatic: World, held: str) -> None:
    p = automatic.printers.default()
    if held == "paused":
        await automatic.queue.pause(p, OPERATOR)
    elif held:
        await added(automatic, "b.gcode")
    await automatic.runs.start(p, "b.gcode", OPERATOR)
    await added(automatic, "a.gcode")
    assert state(automatic) is (Q.PAUSED if held else Q.READY)


async def test_who_lost_the_right_starts_nothing_more(automatic: World) -> None:
    await automatic.accounts.first_administrator("ada", "correct horse")
    await automatic.accounts.add_user("oz", Role.OPERATOR, "battery staple", ADMIN)
    await added(automatic, "a.gcode", "b.gcode")
    await automatic.queue.start(automatic.printers.default(), OPERATOR)
    await printing(automatic, "a.gcode")
    await automatic.accounts.remove_user("oz", ADMIN)
    await until(lambda: state(automatic) is Q.PAUSED)


@pytest.mark.parametrize("lasts", [True, False])
async def test_a_key_that_has_ended_starts_nothing_more(automatic: World, lasts: bool) -> None:
    p = automatic.printers.default()
    key = ApiKey("k", "oz", Role.OPERATOR, ends_at=automatic.clock.now() + 100)
    await added(automatic, "a.gcode", "b.gcode")
    await automatic.queue.start(p, Caller("oz", Role.OPERATOR, key))
    await printing(automatic, "a.gcode")
    automatic.clock.pass_s(50 if lasts else 100)
    automatic.driver.reach(RunState.COMPLETED)
    await until(lambda: state(automatic) is Q.PAUSED)
    assert queued(automatic) == ([] if lasts else ["b.gcode"])
    assert ("has ended" in automatic.queue.reason(p)) is not lasts


async def test_a_changed_password_is_no_lost_right(automatic: World) -> None:
    await automatic.accounts.first_administrator("ada", "correct horse")
    await automatic.accounts.add_user("oz", Role.OPERATOR, "battery staple", ADMIN)
    await added(automatic, "a.gcode", "b.gcode")
    await automatic.queue.start(automatic.printers.default(), OPERATOR)
    await printing(automatic, "a.gcode")
    automatic.bus.publish(RightsChanged("oz", "stale"))
    await automatic.files.move("b.gcode", "z.gcode", ADMIN)
    await until(lambda: queued(automatic) == ["z.gcode"])
    assert state(automatic) is Q.READY


async def test_a_print_too_short_to_be_seen_is_followed_too(automatic: World) -> None:
    """Its end is in the history before the queue has written that it began."""
    start = automatic.driver.start

    async def at_once(order: Any) -> None:
        await start(order)
        automatic.driver.reach(RunState.COMPLETED)
        await until(lambda: automatic.printers.default().run_state is None)

    automatic.driver.start = at_once  # type: ignore[method-assign]
    await added(automatic, "a.gcode", "b.gcode", "a.gcode", "f/c.gcode")
    await automatic.queue.start(automatic.printers.default(), OPERATOR)
    await until(lambda: len(automatic.driver.orders) == 4)
    await settled(automatic)
    assert started(automatic) == ["a.gcode", "b.gcode", "a.gcode", "c.gcode"]
    assert (queued(automatic), state(automatic)) == ([], Q.PAUSED)


async def test_a_full_disk_changes_nothing(ready: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [job] = await added(ready, "a.gcode")

    async def refuse(queue: Any) -> None:
        raise NoSpace("full")

    monkeypatch.setattr(ready.records, "keep_queue", refuse)
    for work in (added(ready, "b.gcode"), ready.queue.remove(ready.printers.default(), [job], OPERATOR)):
        with pytest.raises(NoSpace):
            await work
    assert queued(ready) == ["a.gcode"]
    await ready.queue.start(ready.printers.default(), OPERATOR)
    await printing(ready, "a.gcode")
    assert queued(ready) == []  # its run says whose it is; the next start of the server reads that, too
    assert [queue.jobs for queue in ready.records.load_queues()] == [()]


async def test_a_removed_printer_takes_its_queue_along(ready: World) -> None:
    settings = config.Printer("extra", "virtual")
    p = await ready.printers.add(settings, ADMIN)
    await ready.queue.add(p, ["a.gcode"], OPERATOR)
    await ready.printers.remove("extra", ADMIN)
    assert [queue.name for queue in ready.records.load_queues()] == []
    await until(lambda: "extra" not in ready.queue._lines)
    p = await ready.printers.add(settings, ADMIN)
    assert ready.queue.of(p).jobs == ()


# A queue is a list


class Model:
    """What the queue should be after each deed, and what should have been started."""

    def __init__(self, automatic: bool) -> None:
        self.automatic = automatic
        self.jobs: list[str] = []
        self.started: list[str] = []
        self.running = False
        self.state = Q.PAUSED
        self.held = False

    def seen(self) -> Any:
        return self.jobs, self.started, self.running, self.state

    def add(self, paths: list[str], replace: bool) -> None:
        was_empty = not self.jobs
        self.jobs = [*([] if replace else self.jobs), *paths]
        if was_empty and paths and not self.held and self.automatic and self.running:
            self.state = Q.READY
        self.stop_if_empty()

    def take(self, places: set[int]) -> None:
        self.jobs = [job for place, job in enumerate(self.jobs) if place not in places]
        self.stop_if_empty()

    def first(self, place: int) -> None:
        self.jobs.insert(0, self.jobs.pop(place))

    def pause(self) -> None:
        self.state, self.held = Q.PAUSED, True

    def start(self) -> bool:
        """Whether it may be asked for."""
        if self.jobs and self.running and not self.automatic:
            return False
        self.held = False
        if self.jobs and self.running:
            self.state = Q.READY
        elif self.jobs:
            self.load()
        return True

    def load(self) -> None:
        self.started.append(self.jobs.pop(0))
        self.running = True
        self.state = Q.READY if self.automatic and self.jobs else Q.PAUSED

    def end(self, completed: bool) -> None:
        self.running = False
        if self.state is Q.READY and completed:
            self.load()
        elif self.state is Q.READY:
            self.pause()

    def restart(self) -> None:
        self.state, self.held = Q.PAUSED, bool(self.jobs)

    def stop_if_empty(self) -> None:
        if not self.jobs:
            self.state = Q.PAUSED


DEEDS = st.one_of(
    st.tuples(st.just("add"), st.lists(st.sampled_from(PATHS), max_size=3), st.booleans()),
    st.tuples(st.just("take"), st.sets(st.integers(0, 6), max_size=3)),
    st.tuples(st.just("first"), st.integers(0, 6)),
    st.tuples(st.sampled_from(["start", "start", "pause", "restart", "cancelled"])),
    st.tuples(st.sampled_from(["completed"])),
)


@given(st.booleans(), st.lists(DEEDS, max_size=25))
@settings(max_examples=40, deadline=None)
def test_a_queue_is_a_list_through_restarts(automatic: bool, deeds: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(lived(Path(folder), Model(automatic), deeds))


async def lived(data: Path, model: Model, deeds: list[tuple[Any, ...]]) -> None:
    lives: list[list[tuple[Any, ...]]] = [[]]
    for deed in deeds:
        if deed == ("restart",):
            lives.append([])
        else:
            lives[-1].append(deed)
    for number, life in enumerate(lives):
        async with living(World(data, settings=AUTOMATIC if model.automatic else None)) as world:
            p = world.printers.default()
            if number:
                model.restart()
            else:
                for path in PATHS:
                    await world.upload(path)
            if p.run is not None and not p.run.ended:  # which its holder went on with meanwhile
                world.driver.say(run=RunProgress(p.run.id, RunState.PRINTING, 0, p.run.size_bytes))
            for deed in life:
                await done(world, model, deed)
                await until(lambda world=world: seen(world) == model.seen())
            assert seen(world) == model.seen()


def seen(world: World) -> Any:
    p = world.printers.default()
    runs = world.records._read(lambda c: c.execute("SELECT path FROM runs ORDER BY number").fetchall())
    return queued(world), [path for (path,) in runs], p.run_state is not None, state(world)


async def done(world: World, model: Model, deed: tuple[Any, ...]) -> None:
    p, queue = world.printers.default(), world.queue
    match deed:
        case ("add", paths, replace):
            await queue.add(p, paths, OPERATOR, replace=replace)
            model.add(paths, replace)
        case ("take", places):
            jobs = queue.of(p).jobs
            await queue.remove(p, [job.id for place, job in enumerate(jobs) if place in places], OPERATOR)
            model.take(places)
        case ("first", place) if place < len(model.jobs):
            await queue.jump(p, queue.of(p).jobs[place].id, OPERATOR)
            model.first(place)
        case ("pause",):
            await queue.pause(p, OPERATOR)
            model.pause()
        case ("start",):
            if model.start():
                await queue.start(p, OPERATOR)
            else:
                with pytest.raises(NotNow):
                    await queue.start(p, OPERATOR)
        case ("completed" | "cancelled" as end,) if model.running:
            world.driver.reach(RunState(end))
            model.end(end == "completed")
        case _:
            pass


# Nothing begins that nobody started (R10)


@pytest.mark.parametrize("left", [Q.PAUSED, Q.READY, Q.LOADING, Q.STARTING])
@pytest.mark.parametrize("running", [False, True], ids=["idle", "printing"])
async def test_a_full_queue_begins_nothing_after_a_restart(tmp_path: Path, left: QueueState, running: bool) -> None:
    async with living(World(tmp_path, settings=AUTOMATIC)) as world:
        for path in PATHS:
            await world.upload(path)
        p = world.printers.default()
        if running:
            await world.runs.start(p, "a.gcode", OPERATOR)
        [first, *_] = await world.queue.add(p, ["b.gcode", "a.gcode"], OPERATOR)
        line = world.queue._lines["mk3"]
        line.state, line.by = left, OPERATOR  # as a server that is killed would leave it
        if left is Q.STARTING and not running:
            await world.records.add_run(
                Run("doubt", "mk3", "b.gcode", "", 1, RunState.STARTING, "oz", started_at=1.5, job=first.id)
            )
    async with living(World(tmp_path, settings=AUTOMATIC)) as world:
        p = world.printers.default()
        begun = left is Q.STARTING and not running
        assert (queued(world), state(world)) == (["b.gcode", "a.gcode"][begun:], Q.PAUSED)
        run = p.run
        assert (run is not None and not run.ended) is (running or begun)
        for change in (PrinterState.UNREACHABLE, PrinterState.READY):
            world.driver.say(state=change)
            world.printers.heard(PrinterStateChanged("mk3", change))
        if run is not None:
            world.driver.say(run=RunProgress(run.id, RunState.PRINTING, 0, run.size_bytes))
            world.driver.reach(RunState.COMPLETED)
            await until(lambda: p.run_state is None)
        world.clock.pass_s(100_000.0)
        await world.files.move("a.gcode", "z.gcode", ADMIN)
        await until(lambda: queued(world)[-1] == "z.gcode")  # so it has heard of everything
        assert (world.driver.orders, state(world)) == ([], Q.PAUSED)
