"""The run's table, and what is derived from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.errors import NotNow
from polyhost.core.job import ENDED, RUN, Job, RunProgress, RunSignal, RunState, Set, advance


def test_every_state_is_in_the_table() -> None:
    assert set(RUN) == set(RunState)


def test_the_ends_are_the_states_without_a_way_out() -> None:
    assert {RunState.COMPLETED, RunState.CANCELLED, RunState.FAILED, RunState.INTERRUPTED} == ENDED


@pytest.mark.parametrize("state", sorted(set(RunState) - ENDED, key=lambda s: s.value))
def test_whatever_goes_on_can_fail_and_can_lose_its_engine(state: RunState) -> None:
    assert advance(state, RunSignal.FAULT) is RunState.FAILED
    assert advance(state, RunSignal.ENGINE_DIED) is RunState.INTERRUPTED


@given(st.lists(st.sampled_from(RunSignal), max_size=30))
def test_no_signal_leads_out_of_an_end_and_completed_comes_only_after_the_end_of_the_file(
    signals: list[RunSignal],
) -> None:
    state, taken = RunState.STARTING, list[RunSignal]()
    for signal in signals:
        try:
            following = advance(state, signal)
        except NotNow:
            continue
        assert state not in ENDED
        state, taken = following, [*taken, signal]
    if state is RunState.COMPLETED:
        assert taken[-2:] == [RunSignal.END_OF_FILE, RunSignal.FINISH_DONE]


def test_a_refused_signal_says_what_cannot_be_done() -> None:
    with pytest.raises(NotNow, match="a completed run cannot pause"):
        advance(RunState.COMPLETED, RunSignal.PAUSE)


@pytest.mark.parametrize(
    ("file_bytes", "size_bytes", "state", "fraction"),
    [
        (0, 100, RunState.PRINTING, 0.0),
        (25, 100, RunState.PRINTING, 0.25),
        (100, 100, RunState.COMPLETED, 1.0),
        (0, 0, RunState.PRINTING, 0.0),
        (0, 0, RunState.COMPLETED, 1.0),
        (101, 100, RunState.PRINTING, 1.0),
    ],
)
def test_fraction_done(file_bytes: int, size_bytes: int, state: RunState, fraction: float) -> None:
    assert RunProgress("r", state, file_bytes, size_bytes).fraction_done == fraction


def test_what_remains_of_sets_and_jobs_is_never_negative() -> None:
    assert Set("a.gcode", count=3, done=1).remaining == 2
    assert Set("a.gcode", count=1, done=2).remaining == 0
    assert Job("j", "j", count=5, done=5).remaining == 0
