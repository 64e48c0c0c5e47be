"""What printer objects are made of."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from polyhost.core.file import NamedObject
from polyhost.core.job import Run, RunProgress
from polyhost.core.printer import MotionLimits, Position, PrinterProfile, Snapshot

Fields = dict[str, Any]
Status = dict[str, Fields]
"""Objects by name, each with its fields.  One that is unchanged is the very same dictionary as before."""

GCODES: Final = "/gcodes"
"""What clients are told that the library's folder is called; where it is on the disk is nobody's business."""


class RunFile:
    """The objects that the file of a run draws, and where in it."""

    def __init__(self, objects: Sequence[NamedObject] = ()) -> None:
        self.objects = tuple(objects)
        spans = sorted((start, end, one.name) for one in self.objects for start, end in one.ranges)
        self._starts = [start for start, _, _ in spans]
        self._spans = spans

    def drawn_at(self, byte: int) -> str | None:
        """The name of the object that the file draws there."""
        found = bisect_right(self._starts, byte) - 1
        if found < 0 or byte >= self._spans[found][1]:
            return None
        return self._spans[found][2]


NO_FILE: Final = RunFile()
NO_LIMITS: Final = MotionLimits()


@dataclass(frozen=True, slots=True)
class Computer:
    """How the computer is: load of a minute, seconds of processor that this host has used, free memory in kB."""

    load: float = 0.0
    cpu_s: float = 0.0
    free_kb: int = 0


@dataclass(frozen=True, slots=True)
class Moments:
    """What one look at a printer does not show.  On the monotonic clock; None never was."""

    ready_at: float | None = None  # when its firmware answered
    busy_at: float | None = None  # since when it has something to do; None: it has nothing
    active_at: float = 0.0  # when it last had
    moved_at: float = 0.0  # when its toolhead last moved
    progress_at: float | None = None  # when the file last told how far it is
    velocity: float = 0.0  # mm/s, of the toolhead now
    extruder_velocity: float = 0.0  # mm/s of filament


@dataclass(frozen=True, slots=True)
class View:
    """One printer at one moment.  `run` is the one shown, `progress` what its driver says of it."""

    name: str
    snapshot: Snapshot
    profile: PrinterProfile
    now: float
    run: Run | None = None
    progress: RunProgress | None = None
    file: RunFile = NO_FILE
    moments: Moments = Moments()
    idle_s: float = 1800.0
    commands: Mapping[str, str] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)
    endstops: Mapping[str, str] = field(default_factory=dict)
    limits: MotionLimits = NO_LIMITS  # as the machine told them first; a file sets others as it goes
    measured: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of sensors: the least and the most, °C
    layers: tuple[int | None, int | None] = (None, None)  # in all, and the one now, as a client told

    @property
    def position(self) -> Position:
        return self.snapshot.position


def known(value: float | None) -> float:
    """0 for what nobody said: clients reckon with these numbers."""
    return 0.0 if value is None else value
