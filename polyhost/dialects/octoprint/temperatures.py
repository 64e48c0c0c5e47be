"""Temperatures as ``/api/printer`` tells them: by ``tool0``, …, ``bed``, ``chamber``."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from polyhost.core.printer import PrinterProfile, Temperature, TemperatureSample


class Reading(msgspec.Struct):
    """In °C; None is unknown.  `offset` is added to targets that a file sets."""

    actual: float | None
    target: float | None
    offset: int | float = 0


class PastReading(msgspec.Struct):
    actual: float | None
    target: float | None


History = dict[str, int | PastReading]
"""``time`` (seconds since the epoch), and a reading for each heater."""


def readings_of(
    heaters: Mapping[str, Temperature], offsets: Mapping[str, float], profile: PrinterProfile
) -> dict[str, Reading]:
    """Every heater that the profile has, and what else the firmware reports under a name of its own."""
    unknown = Temperature()
    return {
        name: Reading(heater.actual, heater.target, _as_given(offsets.get(name, 0)))
        for name in shown(heaters, profile)
        for heater in (heaters.get(name, unknown),)
    }


def _as_given(offset: float) -> int | float:
    """Upstream repeats an offset as it was sent, and whole ones are sent without a point."""
    return int(offset) if offset == int(offset) else offset


def shown(heaters: Iterable[str], profile: PrinterProfile) -> list[str]:
    known = profile.heaters()
    return [*known, *(name for name in heaters if name not in known and not _is_usual(name))]


def _is_usual(name: str) -> bool:
    return name in {"bed", "chamber"} or (name.startswith("tool") and name[4:].isdigit())


def history_of(
    samples: Sequence[TemperatureSample], names: Iterable[str] | None, profile: PrinterProfile
) -> list[History]:
    """In the order of `samples`, of the heaters `names` (None: all that are shown)."""
    wanted = None if names is None else set(names)
    points: list[History] = []
    for sample in samples:
        point: History = {"time": int(sample.at)}
        for name in shown(sample.heaters, profile):
            if wanted is None or name in wanted:
                heater = sample.heaters.get(name, Temperature())
                point[name] = PastReading(heater.actual, heater.target)
        points.append(point)
    return points
