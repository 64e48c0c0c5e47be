"""What a printer's past looks like in bounded memory: temperatures of half an hour, the last lines of its console,
and when its link and its runs changed.
"""

from array import array
from collections import deque
from collections.abc import Mapping
from itertools import islice
from math import isnan, nan
from typing import Final

import msgspec

from polyhost.core.events import ConsoleLine
from polyhost.core.job import RunState
from polyhost.core.printer import PrinterState, Temperature, TemperatureSample

CONSOLE_LINES: Final = 2000
SAMPLES: Final = 1800
SAMPLE_EVERY_S: Final = 1.0
HELD_S: Final = 60.0
MARKS: Final = 100
_EACH: Final = 3  # numbers of a heater in a sample


class Console:
    """The last lines said and heard.  `count` is how many there ever were."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: deque[ConsoleLine] = deque(maxlen=CONSOLE_LINES)

    def add(self, lines: tuple[ConsoleLine, ...]) -> None:
        self.count += len(lines)
        self._lines.extend(lines)

    def lines(self) -> list[ConsoleLine]:
        return list(self._lines)

    def since(self, count: int, most: int) -> list[ConsoleLine]:
        """Those that came when there had been `count`, at most the last `most` of them."""
        wanted = min(self.count - count, most, len(self._lines))
        return list(islice(self._lines, len(self._lines) - wanted, None)) if wanted > 0 else []


class Column(msgspec.Struct, frozen=True):
    """One heater's samples, the oldest first: °C, °C wanted, fractions of its power; what nobody said is 0."""

    actual: list[float] = []
    target: list[float] = []
    power: list[float] = []


class TemperatureHistory:
    """At most one sample a second, the last 1,800.  `count` is how many there ever were.

    Kept as packed numbers, twelve bytes a heater: as structs, fifty printers would fill 45 MB with them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._heaters: tuple[str, ...] = ()
        self._samples: deque[tuple[float, array[float]]] = deque(maxlen=SAMPLES)
        self._sampled_at = -SAMPLE_EVERY_S

    def note(self, heaters: Mapping[str, Temperature], at: float, monotonic: float) -> None:
        """Take a sample, if the last one is a second old.  `at` is shown, `monotonic` decides."""
        if not heaters or monotonic - self._sampled_at < SAMPLE_EVERY_S:
            return
        self._sampled_at = monotonic
        if tuple(heaters) != self._heaters:  # another machine answers: its history starts here
            self._samples.clear()
            self._heaters = tuple(heaters)
        values = array("f")
        for heater in heaters.values():
            values.append(nan if heater.actual is None else heater.actual)
            values.append(nan if heater.target is None else heater.target)
            values.append(nan if heater.power is None else heater.power)
        self._samples.append((at, values))
        self.count += 1

    def samples(self, limit: int = SAMPLES) -> list[TemperatureSample]:
        """The last `limit` samples, the newest last."""
        kept = list(self._samples)[-limit:] if limit > 0 else []
        return [TemperatureSample(at, self._heaters_of(values)) for at, values in kept]

    def columns(self, seconds: int, now: float) -> dict[str, Column]:
        """Each heater second by second, the last `seconds` up to `now` (since the epoch).

        Between two samples the first counts.  Where there were none for a minute, nobody was there to say, and
        that time is left out.
        """
        kept: deque[array[float]] = deque(maxlen=seconds)
        behind = 0.0  # seconds that are not told yet
        ends = [*(at for at, _ in islice(self._samples, 1, None)), now]
        for (at, values), after in zip(self._samples, ends if self._samples else (), strict=True):
            lasted = after - at
            behind += lasted if 0.0 <= lasted <= HELD_S else SAMPLE_EVERY_S
            whole = int(behind / SAMPLE_EVERY_S + 0.5)
            behind -= whole * SAMPLE_EVERY_S
            kept.extend([values] * whole)
        return {
            name: Column(*([_number(values[_EACH * n + part]) for values in kept] for part in range(_EACH)))
            for n, name in enumerate(self._heaters)
        }

    def _heaters_of(self, values: "array[float]") -> dict[str, Temperature]:
        each = zip(values[::_EACH], values[1::_EACH], values[2::_EACH], strict=True)
        return {
            name: Temperature(_rounded(actual), _rounded(target), _rounded(power))
            for name, (actual, target, power) in zip(self._heaters, each, strict=True)
        }


class Mark(msgspec.Struct, frozen=True):
    """A moment worth a line in a chart: when (seconds since the epoch) the link or a run came into a state."""

    at: float
    state: PrinterState | RunState


class Marks:
    """The last hundred."""

    def __init__(self) -> None:
        self._marks: deque[Mark] = deque(maxlen=MARKS)

    def note(self, state: PrinterState | RunState, at: float) -> None:
        """A state that follows itself is no news."""
        if not self._marks or self._marks[-1].state is not state:
            self._marks.append(Mark(at, state))

    def since(self, at: float) -> list[Mark]:
        return [mark for mark in self._marks if mark.at >= at]


def _number(value: float) -> float:
    return 0.0 if isnan(value) else round(value, 2)


def _rounded(value: float) -> float | None:
    """As the firmware said it: single precision adds digits that nobody measured."""
    return None if isnan(value) else round(value, 2)
