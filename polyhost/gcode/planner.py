"""How long moves take: acceleration, junction speeds and look-ahead, for many moves at once.

A block is a straight move: its length, its nominal speed, its acceleration, and the highest speed at which it may be
entered, by classic jerk, junction deviation or corner velocity, as Marlin has them.  The two look-ahead passes are
prefix minima.  With c[i] = 2·a[i]·length[i] the change of squared speed that block i allows, and S its running sum:

    backward   u[i] = min(v[i], u[i+1] + c[i])     is   minimum.accumulate from the end of (v + S), minus S
    forward    u[i] = min(v[i], u[i-1] + c[i-1])   is   minimum.accumulate of (v - S), plus S

so that no Python runs once per move.  The machine is taken to look ahead as far as it needs to.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from polyhost.gcode.chunk import Bools, Floats

MAX_UNSETTLED: Final = 1 << 16
"""Blocks; a machine that needs more of them to stop is a fiction, and is stopped."""
TINY: Final = 1e-9


class PerAxis(NamedTuple):
    """X, Y, Z and E; each a value for every block, or one for all."""

    x: Floats
    y: Floats
    z: Floats
    e: Floats


class Blocks(NamedTuple):
    """Straight moves, in order.  `velocity` is at nominal speed; mm, mm/s, mm/s².

    `from_rest` marks blocks before which the machine stands still; `pause` are the seconds it then waits.  Where
    `deviation` (junction deviation × acceleration, mm²/s²) is above 0 it judges the corners, else `jerk` does.
    """

    velocity: PerAxis
    speed: Floats
    length: Floats
    acceleration: Floats
    jerk: PerAxis
    deviation: Floats
    from_rest: Bools
    pause: Floats


class Planner:
    """Takes blocks as they come; their times do not depend on how they were cut.

    `seconds` are those of the blocks whose speeds can change no more.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._marks: list[int] = []  # numbers of blocks, ascending, whose beginnings are asked for
        self._times: list[float] = []
        self._settled = 0
        self._velocity = (0.0, 0.0, 0.0, 0.0)  # of the last block, at its nominal speed
        self._speed = 0.0  # that speed
        self._safe = 0.0  # the speed to which it can be stopped, and from which it can be started, at once
        self._entry = 0.0  # squared speed at which the first unsettled block is entered
        none = np.zeros(0)
        self._length = self._acceleration = self._nominal = self._limit = self._pause = none

    def mark(self, blocks: Sequence[int]) -> None:
        """Note when these blocks begin: numbers from 0, ascending, not yet added, or the next one."""
        self._marks += blocks

    def forget_marks(self) -> None:
        self._marks.clear()
        self._times.clear()

    def add(self, blocks: Blocks) -> None:
        if not len(blocks.length):
            return
        limit = self._junctions(blocks)
        self._length = np.concatenate((self._length, blocks.length))
        self._acceleration = np.concatenate((self._acceleration, blocks.acceleration))
        self._nominal = np.concatenate((self._nominal, blocks.speed * blocks.speed))
        self._limit = np.concatenate((self._limit, limit))
        self._pause = np.concatenate((self._pause, blocks.pause))
        self._plan(final=False)

    def finish(self) -> list[float]:
        """The end of the moves: the seconds before each marked block."""
        self._plan(final=True)
        self._times += [self.seconds] * (len(self._marks) - len(self._times))
        return self._times

    def _junctions(self, blocks: Blocks) -> Floats:
        """The squared speed at which each of the new blocks may be entered at most."""
        velocity = PerAxis(
            *(np.concatenate(((before,), now)) for before, now in zip(self._velocity, blocks.velocity, strict=True))
        )
        speeds = np.concatenate(((self._speed,), blocks.speed))
        size = PerAxis(*(np.abs(axis) for axis in velocity))
        over = np.ones(len(blocks.speed))
        for axis, jerk in zip(size, blocks.jerk, strict=True):
            np.maximum(over, axis[1:] / jerk, out=over)
        safe_now = blocks.speed / over
        safe_before = np.concatenate(((self._safe,), safe_now[:-1]))

        slower = np.minimum(speeds[1:], speeds[:-1])
        scale = slower / np.maximum(speeds[:-1], TINY)
        over.fill(1.0)
        for axis, length, jerk in zip(velocity, size, blocks.jerk, strict=True):
            # An axis that reverses stops first, so only the larger of its two speeds is a jump.
            jump = np.minimum(np.abs(axis[1:] - axis[:-1] * scale), np.maximum(length[1:], length[:-1] * scale))
            np.maximum(over, jump / jerk, out=over)
        junction = slower / over
        enough = np.minimum(safe_before, safe_now) > 0.99 * junction
        junction = np.minimum(np.where(enough, safe_now, junction), slower)
        limit = junction * junction

        if np.any(blocks.deviation > 0):
            np.copyto(limit, self._deviations(blocks, velocity, speeds), where=blocks.deviation > 0)
            rest = np.where(blocks.deviation > 0, 0.0, safe_now * safe_now)
        else:
            rest = safe_now * safe_now
        np.copyto(limit, rest, where=blocks.from_rest)
        if not self._speed:  # the very first
            limit[0] = self._entry = float(rest[0])
        x, y, z, e = (float(axis[-1]) for axis in velocity)
        self._velocity = (x, y, z, e)
        self._speed, self._safe = float(speeds[-1]), float(safe_now[-1])
        return limit

    def _deviations(self, blocks: Blocks, velocity: PerAxis, speeds: Floats) -> Floats:
        """The same, by the corner's deviation from a circle that the acceleration permits."""
        before, now = np.maximum(speeds[:-1], TINY), np.maximum(speeds[1:], TINY)
        cosine = np.zeros(len(now))
        for axis in velocity:
            cosine -= axis[1:] * axis[:-1] / (before * now)
        straight_back = cosine > 0.999999
        np.clip(cosine, -0.999999, 0.999999, out=cosine)
        sine = np.sqrt(0.5 * (1.0 - cosine))
        limit = blocks.deviation * sine / (1.0 - sine)
        # Short segments of a curve: its radius counts, not each corner.
        curve = (blocks.length < 1.0) & (cosine < -0.7071)
        radius = blocks.length * blocks.acceleration / np.arccos(-cosine)
        np.minimum(limit, radius, out=limit, where=curve)
        limit[straight_back] = 0.0
        np.minimum(limit, np.square(np.minimum(before, now)), out=limit)
        return limit

    def _plan(self, *, final: bool) -> None:
        count = len(self._length)
        if not count:
            return
        change = 2.0 * self._acceleration * self._length
        total = np.zeros(count + 1)
        np.cumsum(change, out=total[1:])
        speed = np.empty(count + 1)  # squared, at the boundaries
        speed[:-1] = self._limit
        speed[0] = self._entry
        speed[-1] = 0.0
        speed += total
        settled = count if final else self._settled_before(speed, total[-1])
        if not settled:
            return
        speed = np.minimum.accumulate(speed[::-1])[::-1] - total
        speed = np.minimum.accumulate(speed[: settled + 1] - total[: settled + 1]) + total[: settled + 1]
        np.maximum(speed, 0.0, out=speed)
        self._account(speed, change[:settled], settled)
        self._entry = float(speed[-1])
        self._length = self._length[settled:].copy()
        self._acceleration = self._acceleration[settled:].copy()
        self._nominal = self._nominal[settled:].copy()
        self._limit = self._limit[settled:].copy()
        self._pause = self._pause[settled:].copy()

    @staticmethod
    def _settled_before(speed: Floats, end: float) -> int:
        """How many blocks no later one can slow down.

        They lie before the last boundary from whose highest speed the machine can stop by the end of what is known.
        """
        can_stop = np.flatnonzero(speed[1:-1] <= end)
        if len(can_stop):
            return int(can_stop[-1]) + 1
        return len(speed) - 1 - MAX_UNSETTLED // 2 if len(speed) > MAX_UNSETTLED else 0

    def _account(self, speed: Floats, change: Floats, settled: int) -> None:
        """Count the time of the first `settled` blocks; `speed` is squared, at their boundaries."""
        enter, leave = speed[:-1], speed[1:]
        acceleration, length = self._acceleration[:settled], self._length[:settled]
        peak = np.minimum(self._nominal[:settled], (enter + leave + change) * 0.5)
        np.maximum(peak, np.maximum(enter, leave), out=peak)
        ramps = (2.0 * peak - enter - leave) / acceleration
        root = np.sqrt(speed)
        top = np.maximum(np.sqrt(peak), TINY)
        seconds = (2.0 * top - root[:-1] - root[1:]) / acceleration
        seconds += np.maximum(length - 0.5 * ramps, 0.0) / top
        seconds += self._pause[:settled]
        until = np.cumsum(seconds)
        done = len(self._times)
        while done < len(self._marks) and self._marks[done] < self._settled + settled:
            number = self._marks[done] - self._settled
            self._times.append(self.seconds + (float(until[number - 1]) if number else 0.0))
            done += 1
        self.seconds += float(until[-1])
        self._settled += settled
