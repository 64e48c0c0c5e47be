"""When moves end: acceleration, junction speeds and look-ahead over a bounded buffer, as Marlin's planner has them.

A move is a block: its length, its nominal speed, its acceleration, and the highest speed at which it may be entered
from the move before it (by jerk, or by junction deviation).  Adding a block repeats the backward pass: each may be
entered no faster than it can slow down from, given that the last one ends at rest.  The forward pass happens when a
block starts: from then on its exit speed, and so the entry speed of the next, stands.
"""

from math import acos, inf, sqrt
from typing import Final

from polyhost.firmware.marlin.simulator.machine import MotionLimits

Place = tuple[float, float, float, float]
"""X, Y, Z and E in mm."""

REST: Final = 0.05**2  # MINIMUM_PLANNER_SPEED, squared; what counts as standing still


class _Block:
    """Speeds are squared, `ramp` is the change of squared speed over its whole length: no roots in the passes."""

    __slots__ = ("acceleration", "end", "entry", "length", "max_entry", "nominal", "ramp")

    def __init__(self) -> None:
        self.length = self.nominal = self.acceleration = self.ramp = self.max_entry = self.entry = 0.0
        self.end: Place = (0.0, 0.0, 0.0, 0.0)


class Planner:
    """The motion buffer of one machine.  Times are machine seconds and never decrease."""

    __slots__ = (
        "_acceleration",
        "_blocks",
        "_busy_exit",
        "_busy_from",
        "_count",
        "_delay_s",
        "_first",
        "_jerk",
        "_junction_deviation",
        "_max_acceleration",
        "_max_feedrate",
        "_min_feedrates",
        "_passed",
        "_previous",
        "_running",
        "_size",
        "_start_at",
        "busy_until",
        "e",
        "x",
        "y",
        "z",
    )

    def __init__(self, limits: MotionLimits, blocks: int, first_move_delay_s: float = 0.0) -> None:
        self._size = blocks
        self._blocks = [_Block() for _ in range(blocks)]
        self._delay_s = first_move_delay_s
        self._first = self._count = 0
        self._running = False
        self._start_at = inf
        self._busy_from = self._busy_exit = 0.0
        self._previous = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # speeds of the last block by axis, nominal, safe
        self._passed: Place = (0.0, 0.0, 0.0, 0.0)
        self.busy_until = inf
        self.x = self.y = self.z = self.e = 0.0
        self.limit(limits)

    def limit(self, limits: MotionLimits) -> None:
        """Plan further moves by `limits`."""
        self._max_feedrate = limits.max_feedrate
        self._max_acceleration = limits.max_acceleration
        self._acceleration = (limits.acceleration, limits.retract_acceleration, limits.travel_acceleration)
        self._jerk = limits.jerk
        self._junction_deviation = limits.junction_deviation
        self._min_feedrates = (limits.min_feedrate, limits.min_travel_feedrate)

    @property
    def queued(self) -> int:
        """Moves in the buffer, the one in progress included, as of the last `advance`."""
        return self._count

    @property
    def free(self) -> int:
        """How many moves can be added at once."""
        return self._size - self._count

    def place(self, now: float) -> Place:
        """Where the steppers are at `now`."""
        self.advance(now)
        if not self._running:
            return self._passed
        done = (now - self._busy_from) / max(self.busy_until - self._busy_from, 1e-9)
        x, y, z, e = self._passed
        to = self._blocks[self._first].end
        return x + (to[0] - x) * done, y + (to[1] - y) * done, z + (to[2] - z) * done, e + (to[3] - e) * done

    def set_position(self, x: float, y: float, z: float, e: float) -> None:
        """Call the place where the last move ends by other coordinates; nothing moves."""
        self.x, self.y, self.z, self.e = x, y, z, e
        if self._count:
            self._blocks[(self._first + self._count - 1) % self._size].end = (x, y, z, e)
        else:
            self._passed = (x, y, z, e)

    def stop(self, now: float) -> None:
        """Forget every move, the one in progress too, and stay where the steppers are."""
        self._passed = self.place(now)
        self.x, self.y, self.z, self.e = self._passed
        self._count = 0
        self._running = False
        self._start_at = self.busy_until = inf

    def start(self, now: float) -> None:
        """Wait no longer for further moves: somebody waits for the last one to end."""
        if not self._running and self._count:
            self._begin(min(self._start_at, now))

    def advance(self, now: float) -> None:
        """Let pass what has ended by `now`."""
        if not self._running:
            if now < self._start_at:
                return
            self._begin(self._start_at)
        while self.busy_until <= now:
            self._passed = self._blocks[self._first].end
            self._first = (self._first + 1) % self._size
            self._count -= 1
            if not self._count:
                self._running = False
                self._start_at = self.busy_until = inf
                return
            self._begin(self.busy_until)

    def _begin(self, now: float) -> None:
        """Fix the speeds of the oldest block and when it ends."""
        block = self._blocks[self._first]
        ramp = block.ramp
        # From rest a move starts at the speed that its jerk permits; in motion, at the speed the last one left with.
        entry = block.entry if self._busy_exit <= REST or not self._running else min(block.entry, self._busy_exit)
        leave = REST
        if self._count > 1:
            leave = self._blocks[(self._first + 1) % self._size].entry
        if leave > entry + ramp:
            leave = entry + ramp
        self._busy_exit = leave
        self._busy_from = now
        self._running = True
        enter_speed, leave_speed = sqrt(entry), sqrt(leave)
        peak = (entry + leave + ramp) * 0.5
        if peak <= entry or peak <= leave:  # one slope all along
            duration = 2.0 * block.length / (enter_speed + leave_speed)
        elif peak <= block.nominal:
            duration = (2.0 * sqrt(peak) - enter_speed - leave_speed) / block.acceleration
        else:
            speed = sqrt(block.nominal)
            ramps = (2.0 * block.nominal - entry - leave) / (2.0 * block.acceleration)
            duration = (2.0 * speed - enter_speed - leave_speed) / block.acceleration + (block.length - ramps) / speed
        self.busy_until = now + duration

    def add(self, x: float, y: float, z: float, e: float, feedrate: float, now: float) -> bool:
        """Queue a straight move to (x, y, z, e) at `feedrate` mm/s; False when there is no room for it yet.

        With no room, it is worth asking again at `busy_until`.
        """
        if now >= self.busy_until or now >= self._start_at:
            self.advance(now)
        count, size = self._count, self._size
        if count == size:
            self.start(now)
            return False

        dx, dy, dz, de = x - self.x, y - self.y, z - self.z, e - self.e
        if dx or dy or dz:
            length = sqrt(dx * dx + dy * dy + dz * dz)
            acceleration = self._acceleration[0] if de else self._acceleration[2]
        elif de:
            length = abs(de)
            acceleration = self._acceleration[1]
        else:
            return True
        self.x, self.y, self.z, self.e = x, y, z, e
        dx /= length
        dy /= length
        dz /= length
        de /= length
        ax, ay, az, ae = abs(dx), abs(dy), abs(dz), abs(de)

        speed = max(feedrate, self._min_feedrates[0] if de else self._min_feedrates[1], 0.05)
        most_x, most_y, most_z, most_e = self._max_feedrate
        if ax * speed > most_x:
            speed = most_x / ax
        if ay * speed > most_y:
            speed = most_y / ay
        if az * speed > most_z:
            speed = most_z / az
        if ae * speed > most_e:
            speed = most_e / ae
        most_x, most_y, most_z, most_e = self._max_acceleration
        if ax * acceleration > most_x:
            acceleration = most_x / ax
        if ay * acceleration > most_y:
            acceleration = most_y / ay
        if az * acceleration > most_z:
            acceleration = most_z / az
        if ae * acceleration > most_e:
            acceleration = most_e / ae

        in_motion = count > 1 or (count == 1 and (not self._running or self._busy_exit > REST))
        if self._junction_deviation:
            max_entry = self._deviation_entry(dx, dy, dz, de, speed, acceleration, length, in_motion)
        else:
            max_entry = self._jerk_entry(dx, dy, dz, de, speed, in_motion)

        blocks = self._blocks
        index = (self._first + count) % size
        block = blocks[index]
        block.length = length
        block.acceleration = acceleration
        block.nominal = speed * speed
        block.ramp = ramp = 2.0 * acceleration * length
        block.max_entry = max_entry
        block.end = (x, y, z, e)
        entry = REST + ramp
        block.entry = entry = max_entry if max_entry < entry else entry
        self._count = count + 1

        # Backward, as far as the new block changes anything; the block in progress keeps its exit.
        for _ in range(count - 1 if self._running else count):
            index -= 1  # negative indices wrap by themselves
            block = blocks[index]
            entry += block.ramp
            if block.max_entry < entry:
                entry = block.max_entry
            if entry == block.entry:
                break
            block.entry = entry

        if not count:
            self._start_at = now + self._delay_s
        elif count + 1 == size:
            self.start(now)
        return True

    def _jerk_entry(self, dx: float, dy: float, dz: float, de: float, speed: float, in_motion: bool) -> float:
        """The highest speed, squared, at which the new block may be entered: no axis jumps by more than its jerk."""
        most_x, most_y, most_z, most_e = self._jerk
        vx, vy, vz, ve = dx * speed, dy * speed, dz * speed, de * speed
        jump = max(abs(vx) / most_x, abs(vy) / most_y, abs(vz) / most_z, abs(ve) / most_e)
        safe = speed / jump if jump > 1.0 else speed
        px, py, pz, pe, nominal, previous_safe = self._previous
        self._previous = (vx, vy, vz, ve, speed, safe)
        if not in_motion:
            return safe * safe
        junction = speed
        if nominal < speed:
            junction = nominal
        elif nominal > speed:
            scale = speed / nominal
            px *= scale
            py *= scale
            pz *= scale
            pe *= scale
        # An axis that reverses stops first, so only the larger of its two speeds is a jump.
        jump = max(
            (abs(vx - px) if vx * px > 0.0 else max(abs(vx), abs(px))) / most_x,
            (abs(vy - py) if vy * py > 0.0 else max(abs(vy), abs(py))) / most_y,
            (abs(vz - pz) if vz * pz > 0.0 else max(abs(vz), abs(pz))) / most_z,
            (abs(ve - pe) if ve * pe > 0.0 else max(abs(ve), abs(pe))) / most_e,
        )
        if jump > 1.0:
            junction /= jump
        if previous_safe > junction * 0.99 and safe > junction * 0.99:
            junction = safe
        return junction * junction

    def _deviation_entry(
        self,
        dx: float,
        dy: float,
        dz: float,
        de: float,
        speed: float,
        acceleration: float,
        length: float,
        in_motion: bool,
    ) -> float:
        """The same, by the corner's deviation from a circle that the acceleration permits."""
        px, py, pz, pe, nominal, _ = self._previous
        self._previous = (dx, dy, dz, de, speed, 0.0)
        if not in_motion:
            return REST
        cosine = -(px * dx + py * dy + pz * dz + pe * de)
        if cosine > 0.999999:  # straight back
            return REST
        cosine = max(cosine, -0.999999)
        jx, jy, jz, je = dx - px, dy - py, dz - pz, de - pe
        size = sqrt(jx * jx + jy * jy + jz * jz + je * je) or 1.0
        for part, most in zip((jx, jy, jz, je), self._max_acceleration, strict=True):
            if abs(part) / size * acceleration > most:
                acceleration = most * size / abs(part)
        sine = sqrt(0.5 * (1.0 - cosine))
        entry = acceleration * self._junction_deviation * sine / (1.0 - sine)
        if length < 1.0 and cosine < -0.7071:  # short segments of a curve: its radius counts, not each corner
            entry = min(entry, length * acceleration / acos(-cosine))
        return min(entry, speed * speed, nominal * nominal)
