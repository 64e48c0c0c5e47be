"""How long a run will still take, and how that is known.

The best source that there is: the plan of the file that the analysis made, scaled by this machine's pace so far;
else the slicer's own estimate, trusted less the further the file is; else the bytes.
"""

import msgspec

from polyhost.core.job import RunProgress, RunState

_WARM_UP = 0.02  # of the file's planned time, until which the pace seen so far does not count fully
_FIRST_BYTES = 0.01  # of the file, before which bytes say nothing


class Progress(msgspec.Struct, frozen=True):
    """How far a run is.  All None without a run; `remaining_from` is analysis, estimate or linear."""

    fraction_done: float | None = None
    file_bytes: int | None = None
    elapsed_s: float | None = None
    printing_s: float | None = None
    remaining_s: float | None = None
    remaining_from: str | None = None
    layer: int | None = None
    layers: int | None = None


class Pace:
    """How many seconds this machine takes for a planned one, since the file's first layer began.

    What comes before it, heating above all, takes as long as it takes and says nothing about the rest.
    """

    def __init__(self) -> None:
        self._from: tuple[float, float] | None = None
        self._to = (0.0, 0.0)

    def note(self, progress: RunProgress) -> None:
        if progress.file_time_s is None or progress.layer < 1:
            return
        self._to = (progress.printing_s, progress.file_time_s)
        if self._from is None:
            self._from = self._to

    def factor(self, total_s: float) -> float:
        """1 at first, then what was seen; `total_s` is the file's planned time."""
        if self._from is None:
            return 1.0
        took_s, planned_s = self._to[0] - self._from[0], self._to[1] - self._from[1]
        if planned_s <= 0 or total_s <= 0:
            return 1.0
        trust = min(1.0, planned_s / (_WARM_UP * total_s))
        return trust * (took_s / planned_s) + (1 - trust)


def progress_of(
    run: RunProgress, pace: Pace, planned_s: float | None, slicer_s: float | None, waits_s: float = 0.0
) -> Progress:
    """`run` with its remaining time.

    `planned_s` is the analysis' time of the whole file without the `waits_s` of heating and homing before it,
    `slicer_s` the slicer's estimate.
    """
    remaining_s, remaining_from = _remaining(run, pace, planned_s, slicer_s, waits_s)
    return Progress(
        *(run.fraction_done, run.file_bytes, run.elapsed_s, run.printing_s),
        *(remaining_s, remaining_from, run.layer or None, run.layers or None),
    )


def _remaining(
    run: RunProgress, pace: Pace, planned_s: float | None, slicer_s: float | None, waits_s: float
) -> tuple[float | None, str | None]:
    if run.ended:
        return (0.0 if run.state is RunState.COMPLETED else None), None
    done = run.fraction_done
    if planned_s is not None and run.file_time_s is not None:
        waiting_s = max(0.0, waits_s - run.printing_s) if run.layer < 1 else 0.0
        return waiting_s + max(0.0, planned_s - run.file_time_s) * pace.factor(planned_s), "analysis"
    linear_s = run.printing_s * (1 - done) / done if done >= _FIRST_BYTES else None
    expected_s = planned_s if planned_s is not None else slicer_s
    if expected_s is not None:
        left_s = expected_s * (1 - done)
        return (left_s if linear_s is None else left_s * (1 - done) + linear_s * done), "estimate"
    return linear_s, None if linear_s is None else "linear"
