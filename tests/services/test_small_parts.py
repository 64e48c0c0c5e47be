"""The bus, remaining time and unbroken work."""

import asyncio

import pytest

from polyhost.core.errors import Malformed
from polyhost.core.events import ConsoleLines, FileAdded, FileSelected, RunStateChanged
from polyhost.core.job import RunProgress, RunState
from polyhost.core.printer import Snapshot
from polyhost.services.bus import Bus
from polyhost.services.remaining import Pace, Progress, progress_of
from polyhost.services.unbroken import unbroken

# The bus


async def test_a_slow_listener_keeps_the_newest_and_is_told_what_it_lost() -> None:
    bus = Bus()
    with bus.listen(bound=3) as slow, bus.listen() as quick:
        for n in range(10):
            bus.publish(FileAdded(f"{n}"))
            bus.publish(Snapshot("mk3", lines_sent=n))
            bus.publish(Snapshot("ender", lines_sent=n))
        heard = [await anext(slow) for _ in range(5)]
        assert heard[:3] == [FileAdded("7"), FileAdded("8"), FileAdded("9")]
        assert heard[3:] == [Snapshot("mk3", lines_sent=9), Snapshot("ender", lines_sent=9)]
        assert (slow.lost, quick.lost) == (7, 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(slow), 0.01)
        bus.publish(FileAdded("more"))
        assert await anext(slow) == FileAdded("more")


async def test_who_left_hears_nothing() -> None:
    bus = Bus()
    with bus.listen() as listener:
        pass
    bus.publish(FileSelected("mk3", ""))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(listener), 0.01)


async def test_the_few_that_concern_a_listener_are_not_lost_to_the_many() -> None:
    bus = Bus()
    with bus.listen(RunStateChanged, bound=1) as few:
        bus.publish(RunStateChanged("mk3", "r1", RunState.PRINTING))
        for _ in range(3):
            bus.publish(Snapshot("mk3"))
            bus.publish(ConsoleLines("mk3", ()))
        assert await anext(few) == RunStateChanged("mk3", "r1", RunState.PRINTING)
        assert few.lost == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(few), 0.01)


async def test_a_waiting_listener_is_woken() -> None:
    bus = Bus()
    with bus.listen() as listener:
        waiting = asyncio.ensure_future(anext(listener))
        await asyncio.sleep(0)
        bus.publish(FileAdded("a"))
        assert await waiting == FileAdded("a")


# Remaining time


def run_at(file_bytes: int, printing_s: float, **more: object) -> RunProgress:
    progress = RunProgress("r", RunState.PRINTING, file_bytes, 1000, printing_s=printing_s)
    return RunProgress(
        **{field: getattr(progress, field) for field in RunProgress.__struct_fields__} | more  # type: ignore[arg-type]
    )


def remaining(progress: Progress) -> tuple[float | None, str | None]:
    return progress.remaining_s, progress.remaining_from


def test_the_plan_is_scaled_by_the_pace_seen() -> None:
    pace = Pace()
    pace.note(run_at(0, 300.0, file_time_s=0.0, layer=0))  # heating up says nothing about the rest
    pace.note(run_at(10, 300.0, file_time_s=10.0, layer=1))
    now = run_at(500, 300.0 + 2 * 490, file_time_s=500.0, layer=50, layers=100)
    pace.note(now)
    assert remaining(progress_of(now, pace, 1000.0, 7.0)) == (pytest.approx(1000.0), "analysis")
    assert progress_of(now, pace, 1000.0, None).layer == 50


def test_heating_up_is_waited_for_until_the_first_layer() -> None:
    heating = run_at(0, 40.0, file_time_s=0.0, layer=0)
    assert remaining(progress_of(heating, Pace(), 1000.0, None, waits_s=180.0)) == (1140.0, "analysis")
    longer = run_at(0, 400.0, file_time_s=0.0, layer=0)
    assert remaining(progress_of(longer, Pace(), 1000.0, None, waits_s=180.0)) == (1000.0, "analysis")
    printing = run_at(1, 100.0, file_time_s=0.0, layer=1)
    assert remaining(progress_of(printing, Pace(), 1000.0, None, waits_s=180.0)) == (1000.0, "analysis")


def test_a_simulated_machine_at_a_hundred_times_the_pace_is_believed_soon() -> None:
    pace = Pace()
    pace.note(run_at(0, 0.0, file_time_s=0.0, layer=1))
    now = run_at(50, 0.5, file_time_s=50.0, layer=2)
    pace.note(now)
    assert remaining(progress_of(now, pace, 1000.0, None)) == (pytest.approx(9.5), "analysis")


def test_the_first_moments_do_not_decide() -> None:
    pace = Pace()
    pace.note(run_at(0, 0.0, file_time_s=0.0, layer=1))
    now = run_at(1, 10.0, file_time_s=1.0, layer=1)  # ten times too slow, of a thousand seconds
    pace.note(now)
    left, _ = remaining(progress_of(now, pace, 1000.0, None))
    assert left is not None
    assert left < 1500


def test_without_a_plan_the_slicers_estimate_gives_way_to_the_bytes() -> None:
    assert remaining(progress_of(run_at(0, 5.0), Pace(), None, 1000.0)) == (1000.0, "estimate")
    left, source = remaining(progress_of(run_at(900, 1800.0), Pace(), None, 1000.0))
    assert (source, left) == ("estimate", pytest.approx(190.0))
    assert remaining(progress_of(run_at(250, 60.0), Pace(), None, None)) == (pytest.approx(180.0), "linear")
    assert remaining(progress_of(run_at(5, 60.0), Pace(), None, None)) == (None, None)


@pytest.mark.parametrize(("state", "left"), [(RunState.COMPLETED, 0.0), (RunState.CANCELLED, None)])
def test_what_ended_has_nothing_left(state: RunState, left: float | None) -> None:
    assert remaining(progress_of(run_at(1000, 60.0, state=state), Pace(), 100.0, 100.0)) == (left, None)


# Unbroken work


async def test_work_goes_on_when_its_caller_is_cancelled() -> None:
    steps = []
    go_on = asyncio.Event()

    async def work() -> str:
        steps.append("begun")
        await go_on.wait()
        steps.append("done")
        return "result"

    caller = asyncio.ensure_future(unbroken(work()))
    await asyncio.sleep(0)
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == ["begun", "done"]
    assert await unbroken(work()) == "result"


async def test_what_unbroken_work_raises_is_raised() -> None:
    async def work() -> None:
        raise Malformed("no")

    with pytest.raises(Malformed):
        await unbroken(work())
