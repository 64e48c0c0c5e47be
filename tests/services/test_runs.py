"""Runs: one entry per start with one end, whoever was killed meanwhile; and what is allowed in which state."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from polyhost import config
from polyhost.core.errors import LinkLost, Malformed, NoSpace, NotAllowed, NotFound, NotNow, Unsupported
from polyhost.core.events import FileAnalysed, FileSelected, RunStateChanged
from polyhost.core.file import Analysis, FilamentUse, LayerIndex, Metadata
from polyhost.core.job import ENDED, Run, RunProgress, RunState, Times
from polyhost.core.ports import ResumePlan, RunOrder
from polyhost.core.printer import PrinterState
from polyhost.core.user import GUEST, ApiKey, Caller, Role
from polyhost.engine.messages import EndedRun
from polyhost.services.printer import Printer
from tests.services.world import ADMIN, LOST, OPERATOR, REFUSED, UPLOADER, VIEWER, World, living, until

ANALYSIS = Analysis(
    *(100.0, 10, 8, {0: FilamentUse(1000.0, 2.5)}, None, None),
    layers=LayerIndex((0, 2), (0.2, 0.4), (0.0, 50.0), 100.0),
)


@pytest.fixture
async def ready(world: World) -> World:
    await world.upload("a.gcode", b"G28\n" * 100)
    return world


def mk3(world: World) -> Printer:
    return world.printers.get("mk3")


async def ended(world: World) -> Run:
    """The last run, once its end is written."""
    p = mk3(world)
    await until(lambda: p.run is not None and p.run.ended)
    assert p.run is not None
    return p.run


async def test_a_run_from_start_to_end(ready: World) -> None:
    p = mk3(ready)
    with ready.bus.listen() as heard:
        run = await ready.runs.start(p, "a.gcode", OPERATOR)
        assert (run.state, run.by, run.size_bytes) == (RunState.PRINTING, "oz", 400)
        ready.clock.pass_s(60)
        ready.driver.reach(RunState.COMPLETED, file_bytes=400, elapsed_s=60.0, printing_s=55.0)
        over = await ended(ready)
        states = [notice.state async for notice in first(heard, RunStateChanged, 2)]
    assert states == [RunState.PRINTING, RunState.COMPLETED]
    assert (over.id, over.state, over.printing_s, over.ended_at) == (
        run.id,
        RunState.COMPLETED,
        55.0,
        ready.clock.now(),
    )
    assert await ready.runs.history() == [over] == [await ready.runs.get(run.id)]
    assert ready.runs.current(p) is None
    assert ready.runs.last(p) == over
    assert ready.driver.forgotten == [run.id]
    prints = ready.runs.statistics("a.gcode")
    assert (prints.success, prints.failure, prints.times) == (1, 0, {"_default": Times(1, 55.0, 55.0)})
    progress = ready.runs.progress(p)
    assert (progress.fraction_done, progress.remaining_s) == (1.0, 0.0)


async def test_the_run_is_written_before_the_machine_hears_of_it(ready: World) -> None:
    written: list[int] = []

    async def start(order: Any) -> None:
        written.extend([len(await ready.records.runs(None, None, None, 10, 0)), len(ready.records.load_selected())])
        assert await ready.records.run(order.run_id) is not None

    ready.driver.start = start  # type: ignore[method-assign]
    await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    assert written == [1, 1]


async def test_an_end_is_written_before_it_is_told(ready: World) -> None:
    run = await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    with ready.bus.listen() as heard:
        ready.driver.reach(RunState.FAILED, reason="thermal runaway")
        async for event in first(heard, RunStateChanged, 1):
            assert event == RunStateChanged("mk3", run.id, RunState.FAILED, "thermal runaway")
            [kept] = ready.records._read(lambda c: c.execute("SELECT state, reason FROM runs").fetchall())
            assert kept == ("failed", "thermal runaway")


async def test_an_end_is_written_once(ready: World) -> None:
    run = await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    with ready.bus.listen() as heard:
        ready.driver.reach(RunState.COMPLETED)
        over = await ended(ready)
        for state in (RunState.COMPLETED, RunState.FAILED):
            ready.runs.ended(EndedRun(run.id, state, "again", 5.5, 1.0, 1.0, 1))
            ready.printers.heard(RunStateChanged("mk3", run.id, state, "again"))
        ready.runs.ended(EndedRun("unheard of", RunState.COMPLETED, "", 5.5, 1.0, 1.0, 1))
        await until(lambda: len(ready.driver.forgotten) >= 2)
        told = [notice async for notice in first(heard, RunStateChanged, 1)]
        assert not [notice async for notice in rest(heard) if isinstance(notice, RunStateChanged)]
    assert [event.state for event in told] == [RunState.COMPLETED]
    assert await ready.runs.history() == [over]
    assert ready.runs.statistics("a.gcode").success == 1


async def test_a_refusal_leaves_nothing(ready: World) -> None:
    ready.driver.refuses = REFUSED
    with pytest.raises(NotNow, match="the machine is busy"):
        await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    assert await ready.runs.history() == []
    assert ready.runs.current(mk3(ready)) is None
    ready.driver.refuses = None
    await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    assert len(await ready.runs.history()) == 1


@pytest.mark.parametrize("begun", [True, False])
async def test_a_start_in_doubt_is_never_repeated(ready: World, begun: bool) -> None:
    ready.driver.refuses = LOST
    with pytest.raises(LinkLost):
        await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    ready.driver.refuses = None
    [run] = await ready.runs.history()
    with pytest.raises(NotNow, match="printing already"):
        await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    ready.runs.attached("mk3", frozenset({run.id} if begun else ()))
    if begun:
        assert not (await ready.runs.get(run.id)).ended
    else:
        assert (await ended(ready)).state is RunState.INTERRUPTED
    assert ready.driver.orders == []


async def test_scripts_that_cannot_be_rendered_start_nothing(tmp_path: Path) -> None:
    broken = config.Config(scripts=config.Scripts(before_start="{{ no_such_thing }}"))
    async with living(World(tmp_path, settings=broken)) as world:
        await world.upload("a.gcode")
        with pytest.raises(Malformed, match="beforePrintStarted, line 1"):
            await world.runs.start(mk3(world), "a.gcode", ADMIN)
        assert await world.runs.history() == []


async def test_a_run_takes_scripts_layers_and_place_with_it(ready: World) -> None:
    ready.reader.analyses["b.gcode"] = ANALYSIS
    await ready.upload("b.gcode", b"G28\nG1\n")
    await until(lambda: ready.files.get("b.gcode").analysis)
    await ready.runs.start(mk3(ready), "b.gcode", OPERATOR)
    [order] = ready.driver.orders
    assert Path(order.file) == ready.files.on_disk("b.gcode")
    assert (order.name, order.size_bytes, order.sha256) == ("b.gcode", 7, ready.files.get("b.gcode").sha256)
    assert order.layers == ANALYSIS.layers
    assert order.scripts.after_cancel == ("M84", "M104 T0 S0", "M140 S0", "M106 S0")


async def test_layers_that_come_late_are_handed_over(ready: World) -> None:
    late = asyncio.Event()

    async def analysis(file: Path, motion: tuple[str, ...]) -> Analysis:
        await late.wait()
        return ANALYSIS

    ready.reader.analysis = analysis  # type: ignore[method-assign]
    await ready.upload("late.gcode")
    await ready.runs.start(mk3(ready), "late.gcode", OPERATOR)
    assert ready.driver.orders[0].layers is None
    late.set()
    await until(lambda: ready.driver.layers)
    assert ready.driver.layers == [ANALYSIS.layers]


@pytest.mark.parametrize("is_told_late", [False, True], ids=["while it starts", "before anything is told of it"])
async def test_layers_that_come_while_a_run_begins_are_handed_over(ready: World, is_told_late: bool) -> None:
    late, read = asyncio.Event(), asyncio.Event()
    begin, snapshot = ready.driver.start, ready.driver.snapshot

    async def analysis(file: Path, motion: tuple[str, ...]) -> Analysis:
        await late.wait()
        return ANALYSIS

    async def start(order: RunOrder) -> None:
        late.set()
        with ready.bus.listen(FileAnalysed) as heard:
            async for notice in heard:
                if isinstance(notice, FileAnalysed) and notice.whole:
                    break
        if is_told_late:
            ready.driver.orders.append(order)
        else:
            await begin(order)
        read.set()

    ready.reader.analysis = analysis  # type: ignore[method-assign]
    ready.driver.start = start  # type: ignore[method-assign]
    await ready.upload("late.gcode")
    await ready.runs.start(mk3(ready), "late.gcode", OPERATOR)
    assert read.is_set()
    assert is_told_late == (ready.driver.snapshot is snapshot)
    await until(lambda: ready.driver.layers)
    assert ANALYSIS.layers in ready.driver.layers


# What is allowed in which state: section 8 of the OctoPrint specification, for every API

Call = Callable[[World, Printer], Coroutine[Any, Any, Any]]
CALLS: dict[str, Call] = {
    "start": lambda w, p: w.runs.start(p, None, OPERATOR),
    "start a file": lambda w, p: w.runs.start(p, "b.gcode", OPERATOR),
    "restart": lambda w, p: w.runs.restart(p, OPERATOR),
    "pause": lambda w, p: w.runs.pause(p, OPERATOR),
    "resume": lambda w, p: w.runs.resume(p, OPERATOR),
    "toggle": lambda w, p: w.runs.toggle(p, OPERATOR),
    "cancel": lambda w, p: w.runs.cancel(p, OPERATOR),
    "jog": lambda w, p: w.steering.jog(p, 1.0, by=OPERATOR),
    "home": lambda w, p: w.steering.home(p, frozenset("xy"), OPERATOR),
    "extrude": lambda w, p: w.steering.extrude(p, 5.0, None, OPERATOR),
    "target": lambda w, p: w.steering.set_targets(p, {"tool0": 200.0}, OPERATOR),
    "offset": lambda w, p: w.steering.set_offsets(p, {"bed": -5.0}, OPERATOR),
    "feedrate": lambda w, p: w.steering.set_feedrate(p, 1.5, OPERATOR),
    "flow": lambda w, p: w.steering.set_flow(p, 0.9, OPERATOR),
    "send": lambda w, p: w.steering.send(p, ["M117 hello"], OPERATOR),
    "select": lambda w, p: w.runs.select(p, "b.gcode", OPERATOR),
    "unselect": lambda w, p: w.runs.unselect(p, OPERATOR),
    "disconnect": lambda w, p: w.printers.disconnect(p, OPERATOR),
    "delete": lambda w, p: w.files.delete("a.gcode", OPERATOR),
    "move": lambda w, p: w.files.move("a.gcode", "c.gcode", OPERATOR),
    "overwrite": lambda w, p: w.upload("a.gcode", b"other", by=OPERATOR),
    "stop": lambda w, p: w.steering.emergency_stop(p, OPERATOR),
}
ALLOWED = {
    "offline": {"disconnect", "delete", "move", "overwrite", "stop"},
    "idle": CALLS.keys() - {"restart", "pause", "resume", "toggle", "cancel"},
    "printing": {"pause", "resume", "toggle", "cancel", "target", "offset", "feedrate", "flow", "send", "stop"},
}
ALLOWED["paused"] = ALLOWED["printing"] | {"restart", "jog", "home", "extrude"}


@pytest.mark.parametrize("state", ["offline", "idle", "printing", "paused"])
@pytest.mark.parametrize("call", CALLS)
async def test_what_is_allowed_in_which_state(ready: World, state: str, call: str) -> None:
    p = mk3(ready)
    await ready.upload("b.gcode")
    await ready.runs.select(p, "a.gcode", OPERATOR)
    if state in {"printing", "paused"}:
        await ready.runs.start(p, None, OPERATOR)
    if state == "paused":
        await ready.runs.pause(p, OPERATOR)
    if state == "offline":
        ready.driver.say(state=PrinterState.OFFLINE)
    told = list(ready.driver.told)
    if call in ALLOWED[state]:
        await CALLS[call](ready, p)
    else:
        with pytest.raises(NotNow):
            await CALLS[call](ready, p)
        assert ready.driver.told == told


async def test_pausing_what_is_paused_changes_nothing(ready: World) -> None:
    p = mk3(ready)
    run = await ready.runs.start(p, "a.gcode", OPERATOR)
    await ready.runs.resume(p, OPERATOR)
    await ready.runs.pause(p, OPERATOR)
    await ready.runs.pause(p, OPERATOR)
    await ready.runs.toggle(p, OPERATOR)
    assert ready.driver.told[1:] == [("pause", run.id), ("resume", run.id)]
    ready.driver.reach(RunState.PAUSING)
    await ready.runs.resume(p, OPERATOR)  # a pause may wait behind a long heat-up
    assert ready.driver.told[-1] == ("resume", run.id)
    ready.driver.reach(RunState.CANCELLING)
    await ready.runs.cancel(p, OPERATOR)
    with pytest.raises(NotNow, match="cancelling"):
        await ready.runs.pause(p, OPERATOR)
    assert len(ready.driver.told) == 4


async def test_a_restart_is_a_second_run(ready: World) -> None:
    p = mk3(ready)
    first_run = await ready.runs.start(p, "a.gcode", OPERATOR)
    await ready.runs.pause(p, OPERATOR)
    second = await ready.runs.restart(p, OPERATOR)
    assert [(run.id, run.state) for run in await ready.runs.history()] == [
        (second.id, RunState.PRINTING),
        (first_run.id, RunState.CANCELLED),
    ]


async def test_a_start_right_after_an_end_waits_for_its_entry(ready: World) -> None:
    p = mk3(ready)
    for _ in range(5):
        await ready.runs.start(p, "a.gcode", OPERATOR)
        ready.driver.reach(RunState.COMPLETED)
    await until(lambda: ready.runs.current(p) is None)
    assert [run.state for run in await ready.runs.history()] == [RunState.COMPLETED] * 5


async def test_two_starts_at_once_are_one_run(ready: World) -> None:
    p = mk3(ready)
    outcomes = await asyncio.gather(
        *(ready.runs.start(p, "a.gcode", OPERATOR) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotNow"] * 4 + ["Run"]
    assert len(ready.driver.orders) == len(await ready.runs.history()) == 1


@pytest.mark.parametrize("after", [0, 1, 2, 4, 8])
async def test_a_start_whose_caller_went_away_happened_or_not(ready: World, after: int) -> None:
    starting = asyncio.ensure_future(ready.runs.start(mk3(ready), "a.gcode", OPERATOR))
    for _ in range(after):
        await asyncio.sleep(0.0005)
    starting.cancel()
    await asyncio.wait([starting])
    assert [order.run_id for order in ready.driver.orders] == [run.id for run in await ready.runs.history()]


async def test_what_cannot_be_printed(ready: World) -> None:
    p = mk3(ready)
    await ready.upload("notes.txt")
    with pytest.raises(NotNow, match="no file is chosen"):
        await ready.runs.start(p, None, OPERATOR)
    with pytest.raises(NotFound):
        await ready.runs.start(p, "nothing.gcode", OPERATOR)
    for choosing in (ready.runs.start, ready.runs.select):
        with pytest.raises(Unsupported):
            await choosing(p, "notes.txt", OPERATOR)
    bound = Caller("oz", Role.OPERATOR, ApiKey("k", "oz", Role.OPERATOR, printers=("ender",)))
    for nobody in (GUEST, VIEWER, UPLOADER, bound):
        for call in ("start a file", "pause", "cancel", "select", "unselect", "restart", "toggle", "resume"):
            with pytest.raises(NotAllowed):
                await _as(nobody, call, ready, p)


async def test_the_choice_is_kept_and_goes_with_its_file(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.upload("a.gcode")
        await world.runs.select(mk3(world), "a.gcode", OPERATOR)
    async with living(World(tmp_path)) as world:
        p = mk3(world)
        assert p.selected == "a.gcode"
        with world.bus.listen() as heard:
            await world.files.move("a.gcode", "b.gcode", OPERATOR)
            assert [event async for event in first(heard, FileSelected, 1)] == [FileSelected("mk3", "")]
        assert p.selected == ""
        await until(lambda: world.records.load_selected() == {})


# Restarts


@pytest.mark.parametrize("state", [state for state in RunState if state not in ENDED])
async def test_a_server_that_comes_back_carries_the_same_run_on(tmp_path: Path, state: RunState) -> None:
    async with living(World(tmp_path)) as world:
        await world.upload("a.gcode", b"G28\n" * 100)
        run = await world.runs.start(mk3(world), "a.gcode", OPERATOR)
    async with living(World(tmp_path)) as world:
        assert world.runs.current(mk3(world)) is not None
        world.driver.say(run=RunProgress(run.id, state, 200, 400, elapsed_s=30.0))
        world.runs.attached("mk3", frozenset({run.id}))
        current = world.runs.current(mk3(world))
        assert current is not None
        assert (current.id, current.state, current.file_bytes) == (run.id, state, 200)
        with pytest.raises(NotNow):
            await world.files.delete("a.gcode", OPERATOR)
        world.driver.reach(RunState.COMPLETED)
        assert (await ended(world)).id == run.id
        assert len(await world.runs.history()) == 1


async def test_a_run_that_ended_while_the_server_was_away(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.upload("a.gcode")
        run = await world.runs.start(mk3(world), "a.gcode", OPERATOR)
    async with living(World(tmp_path)) as world:
        world.runs.ended(EndedRun(run.id, RunState.COMPLETED, "", 1_795_000_500.0, 500.0, 480.0, 4))
        world.runs.attached("mk3", frozenset({run.id}))
        over = await ended(world)
        assert (over.state, over.ended_at, over.printing_s) == (RunState.COMPLETED, 1_795_000_500.0, 480.0)
        await until(lambda: world.driver.forgotten)
        assert world.driver.orders == []  # and nothing starts by itself


async def test_a_run_that_nobody_knows_any_more_was_interrupted(tmp_path: Path) -> None:
    async with living(World(tmp_path, printers=("mk3", "ender"))) as world:
        await world.upload("a.gcode")
        one = await world.runs.start(world.printers.get("mk3"), "a.gcode", OPERATOR)
        two = await world.runs.start(world.printers.get("ender"), "a.gcode", OPERATOR)
    async with living(World(tmp_path)) as world:  # and ender is no longer in the settings
        await until(lambda: two.id not in world.runs._going_on)
        assert (await world.runs.get(two.id)).state is RunState.INTERRUPTED
        assert not (await world.runs.get(one.id)).ended
        world.runs.attached("mk3", frozenset({"another run"}))
        over = await ended(world)
        assert (over.id, over.state) == (one.id, RunState.INTERRUPTED)
        assert "no longer knows" in over.reason
        assert world.runs.statistics("a.gcode").failure == 2


async def test_a_disk_that_refuses_an_end_is_asked_again(ready: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhost.services.runs.WRITE_AGAIN_S", 0.01)
    run = await ready.runs.start(mk3(ready), "a.gcode", OPERATOR)
    end_run = ready.records.end_run
    tries = 0

    async def refuse(over: Run) -> bool:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise NoSpace("the disk is full")
        return await end_run(over)

    monkeypatch.setattr(ready.records, "end_run", refuse)
    ready.driver.reach(RunState.COMPLETED)
    assert (await ended(ready)).id == run.id
    assert (tries, ready.driver.forgotten) == (3, [run.id])


async def test_an_interrupted_run_is_resumed_by_who_read_the_script(ready: World) -> None:
    p = mk3(ready)
    run = await ready.runs.start(p, "a.gcode", OPERATOR)
    with pytest.raises(NotNow, match="only an interrupted run"):
        await ready.runs.interrupted.plan(run.id, OPERATOR)
    ready.driver.reach(RunState.INTERRUPTED, file_bytes=200, reason="power cut")
    await ended(ready)
    with pytest.raises(NotFound, match="journal"):
        await ready.runs.interrupted.plan(run.id, OPERATOR)
    sha256 = ready.files.get("a.gcode").sha256
    ready.driver.plan = ResumePlan(run.id, "a.gcode", sha256, 200, 50, ("G28 X Y", "M109 S200"), ("look first",))
    plan = await ready.runs.interrupted.plan(run.id, OPERATOR)
    with pytest.raises(NotNow, match="read it again"):
        await ready.runs.interrupted.resume(run.id, ("G28",), OPERATOR)
    with pytest.raises(NotAllowed):
        await ready.runs.interrupted.resume(run.id, plan.script, VIEWER)
    resumed = await ready.runs.interrupted.resume(run.id, plan.script, OPERATOR)
    order = ready.driver.orders[-1]
    assert (resumed.resumed_from, order.start_byte, order.scripts.before_start) == (run.id, 200, plan.script)
    ready.driver.reach(RunState.INTERRUPTED)
    await until(lambda: ready.runs.current(p) is None)
    await ready.upload("a.gcode", b"another version")
    with pytest.raises(NotNow, match="not the file that was interrupted"):
        await ready.runs.interrupted.resume(run.id, plan.script, OPERATOR)


async def test_progress_says_where_its_time_is_from(ready: World) -> None:
    p = mk3(ready)
    assert ready.runs.progress(p).fraction_done is None
    await ready.runs.start(p, "a.gcode", OPERATOR)
    ready.driver.say(run=RunProgress(ready.driver.orders[0].run_id, RunState.PRINTING, 100, 400, printing_s=30.0))
    progress = ready.runs.progress(p)
    assert (progress.fraction_done, progress.remaining_s, progress.remaining_from) == (0.25, 90.0, "linear")
    ready.driver.reach(RunState.CANCELLED)
    await ended(ready)
    assert ready.runs.progress(p).fraction_done == 0.25
    ready.reader.found["b.gcode"] = Metadata(estimated_time=1000.0)
    await ready.upload("b.gcode", b"G1\n" * 100)
    await until(lambda: ready.files.get("b.gcode").metadata is not None)
    await ready.runs.select(p, "b.gcode", OPERATOR)
    assert ready.runs.progress(p).fraction_done is None
    await ready.runs.start(p, None, OPERATOR)
    progress = ready.runs.progress(p)
    assert (progress.remaining_s, progress.remaining_from) == (1000.0, "estimate")


async def test_filament_of_a_run_is_its_share(ready: World) -> None:
    ready.reader.analyses["b.gcode"] = ANALYSIS
    await ready.upload("b.gcode", b"x" * 1000)
    await until(lambda: ready.files.get("b.gcode").analysis)
    for state, file_bytes, filament_mm in ((RunState.CANCELLED, 250, 250.0), (RunState.COMPLETED, 999, 1000.0)):
        await ready.runs.start(mk3(ready), "b.gcode", OPERATOR)
        ready.driver.reach(state, file_bytes=file_bytes)
        assert (await ended(ready)).filament_mm == filament_mm


async def first(heard: Any, kind: type[Any], count: int) -> Any:
    async with asyncio.timeout(5):
        async for notice in heard:
            if isinstance(notice, kind):
                yield notice
                count -= 1
            if not count:
                return


async def rest(heard: Any) -> Any:
    """What is waiting already."""
    try:
        async with asyncio.timeout(0.02):
            async for notice in heard:
                yield notice
    except TimeoutError:
        return


async def _as(caller: Caller, call: str, world: World, p: Printer) -> None:
    method, arguments = {
        "start a file": (world.runs.start, (p, "a.gcode")),
        "select": (world.runs.select, (p, "a.gcode")),
    }.get(call, (getattr(world.runs, call, None), (p,)))
    assert method is not None
    await method(*arguments, caller)
