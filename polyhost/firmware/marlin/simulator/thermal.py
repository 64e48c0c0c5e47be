"""A heater, its controller and the room around it, in closed form: no steps, so any moment may be asked for.

Between two changes of target or fan a heater passes at most two phases.  First the controller is saturated (full
power, or none) and the temperature follows the exponential of the lump towards its limit; then it closes in on the
target, from the moment where both have the same slope.
"""

from math import exp, inf, log
from typing import Final

from polyhost.firmware.marlin.simulator.machine import AMBIENT_C, HeaterModel

WINDOW_C: Final = 1.0  # TEMP_WINDOW: this near is there


class Heater:
    """One heater.  Times are machine seconds and never decrease; `instant` heaters are where they should be at once."""

    __slots__ = ("_at", "_fan", "_from", "_instant", "_loss_s", "model", "target")

    def __init__(self, model: HeaterModel, *, instant: bool) -> None:
        self.model = model
        self.target = 0.0
        self._instant = instant
        self._at = 0.0
        self._from = AMBIENT_C
        self._fan = 0.0
        self._loss_s = model.loss_s

    def aim(self, target: float, now: float) -> None:
        """Set the target in °C, kept to what the heater may be asked for; 0 is off."""
        self._from, self._at = self.temperature(now), now
        self.target = min(max(target, 0.0), self.model.max_target)
        if self._instant:
            self._from = max(self.target, AMBIENT_C)

    def blow(self, fan: float, now: float) -> None:
        """Let a fan blow at the heater, 0 to 1."""
        self._from, self._at = self.temperature(now), now
        self._loss_s = self.model.loss_s / (1.0 + self.model.fan_effect * fan)

    def restart_clock(self, now: float, restarted: float) -> None:
        """Carry the temperature of `now` over to a clock that reads `restarted`, with the target off."""
        self._from, self._at = self.temperature(now), restarted
        self.target = 0.0
        if self._instant:
            self._from = AMBIENT_C

    def temperature(self, now: float) -> float:
        """°C at `now`."""
        elapsed = now - self._at
        if self._instant or elapsed <= 0.0:
            return self._from
        limit, turn, turn_s = self._saturated()
        if elapsed < turn_s:
            return limit + (self._from - limit) * exp(-elapsed / self._loss_s)
        return self._goal + (turn - self._goal) * exp((turn_s - elapsed) / self.model.approach_s)

    def power(self, now: float) -> float:
        """The fraction of its power in use at `now`."""
        if self.target <= 0.0:
            return 0.0
        temperature = self.temperature(now)
        slope = (self._goal - temperature) / self.model.approach_s
        power = (slope + (temperature - AMBIENT_C) / self._loss_s) / self.model.rise
        return min(max(power, 0.0), 1.0)

    def settled_at(self, now: float) -> float:
        """When the temperature is first within `WINDOW_C` of the target; `inf` when it never gets there."""
        gap = abs(self.temperature(now) - self._goal)
        if gap <= WINDOW_C or self._instant:
            return now
        limit, turn, turn_s = self._saturated()
        gap = abs(turn - self._goal)
        if turn_s == inf:
            return inf
        if gap > WINDOW_C:
            return self._at + turn_s + self.model.approach_s * log(gap / WINDOW_C)
        edge = self._goal + WINDOW_C if self._from > self._goal else self._goal - WINDOW_C
        return self._at + self._loss_s * log((self._from - limit) / (edge - limit))

    @property
    def _goal(self) -> float:
        return max(self.target, AMBIENT_C)

    def _saturated(self) -> tuple[float, float, float]:
        """The first phase: the limit it runs to, the temperature and the time (after `_at`) where it ends."""
        model, goal = self.model, self._goal
        heating = self._from < goal
        limit = AMBIENT_C + model.rise * self._loss_s if heating else AMBIENT_C
        # Equal slopes: (limit - T) / loss == (goal - T) / approach.
        turn = (goal / model.approach_s - limit / self._loss_s) / (1.0 / model.approach_s - 1.0 / self._loss_s)
        if (self._from >= turn) if heating else (self._from <= turn):
            return limit, self._from, 0.0
        if heating and limit <= goal:
            return limit, limit, inf
        if not heating and goal <= limit:
            return limit, goal, inf
        return limit, turn, self._loss_s * log((self._from - limit) / (turn - limit))
