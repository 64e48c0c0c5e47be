"""The planner as firmware has it: one move after the other, in loops, for the eye rather than for speed."""

from collections.abc import Iterable
from math import acos, inf, sqrt

from polyhost.gcode.limits import Limits
from polyhost.gcode.modal import ModalState

Move = tuple[float, float, float, float, float, bool]
"""Change of X, Y, Z, E in mm, feedrate in mm/s, and whether the machine stands still before it."""


def moves_of(commands: Iterable[str]) -> list[Move]:
    """The straight moves of G0, G1, G92 and the modes, by the modal state that the engine keeps."""
    state = ModalState(feedrate_mm_s=25.0)
    moves = []
    rests = True
    for command in commands:
        x, y, z, e = state.x, state.y, state.z, state.e
        state.advance([command.encode()])
        if command.startswith(("G0", "G1")):
            change = (state.x - x, state.y - y, state.z - z, (state.e - e) * state.flow_factor)
            if any(abs(part) > 1e-9 for part in change):
                moves.append((*change, state.feedrate_mm_s * state.speed_factor, rests))
                rests = False
        elif command.split()[0] in ("G4", "G28", "M400", "M109", "M190") or command.startswith("T"):
            rests = True
    return moves


def times_of(moves: list[Move], limits: Limits) -> list[float]:
    """Seconds of each move."""
    lengths, speeds, accelerations, entries = [], [], [], []
    before: tuple[list[float], float, float] | None = None
    for *change, feedrate, rests in moves:
        length = sqrt(sum(part * part for part in change[:3]))
        only_e = length <= 1e-9
        length = abs(change[3]) if only_e else length
        unit = [part / length for part in change]
        speed = max(feedrate, limits.min_feedrate if change[3] else limits.min_travel_feedrate)
        acceleration = limits.acceleration if change[3] else limits.travel_acceleration
        acceleration = limits.retract_acceleration if only_e else acceleration
        for part, most_speed, most in zip(unit, limits.max_feedrate, limits.max_acceleration, strict=True):
            if part:
                speed = min(speed, most_speed / abs(part))
                acceleration = min(acceleration, most / abs(part))
        velocity = [part * speed for part in unit]
        safe = min([speed, *(speed * most / abs(v) for v, most in zip(velocity, limits.jerk, strict=True) if v)])
        deviation = limits.junction_deviation * acceleration or limits.corner_velocity**2 * (sqrt(2) - 1)
        if limits.corner_velocity:
            deviation = limits.corner_velocity**2 * (sqrt(2) - 1)
        if rests or before is None:
            entry = 0.0 if deviation else safe
        elif deviation:
            entry = _corner(unit, length, acceleration, deviation, before[0])
            entry = min(entry, speed, before[1])
        else:
            entry = _jerk(velocity, speed, safe, limits, *before)
        before = (unit if deviation else velocity, speed, safe)
        lengths.append(length)
        speeds.append(speed)
        accelerations.append(acceleration)
        entries.append(entry)

    entries.append(0.0)
    for n in reversed(range(len(lengths))):  # slow enough to stop
        entries[n] = min(entries[n], sqrt(entries[n + 1] ** 2 + 2 * accelerations[n] * lengths[n]))
    for n in range(len(lengths)):  # not faster than it can have become
        entries[n + 1] = min(entries[n + 1], sqrt(entries[n] ** 2 + 2 * accelerations[n] * lengths[n]))
    seconds = []
    for n, (length, speed, a) in enumerate(zip(lengths, speeds, accelerations, strict=True)):
        enter, leave = entries[n], entries[n + 1]
        peak = max(min(speed, sqrt((enter**2 + leave**2) / 2 + a * length)), enter, leave)
        ramps = (2 * peak**2 - enter**2 - leave**2) / (2 * a)
        seconds.append((2 * peak - enter - leave) / a + max(length - ramps, 0.0) / peak)
    return seconds


def _jerk(
    velocity: list[float], speed: float, safe: float, limits: Limits, before: list[float], was: float, was_safe: float
) -> float:
    slower = min(speed, was)
    factor = 1.0
    for v, old, most in zip(velocity, before, limits.jerk, strict=True):
        leaving = old * slower / was
        jump = abs(v - leaving) if v * leaving > 0 else max(abs(v), abs(leaving))
        factor = min(factor, most / jump if jump else inf)
    junction = slower * factor
    return min(safe if min(was_safe, safe) > 0.99 * junction else junction, slower)


def _corner(unit: list[float], length: float, acceleration: float, deviation: float, before: list[float]) -> float:
    cosine = -sum(a * b for a, b in zip(unit, before, strict=True))
    if cosine > 0.999999:
        return 0.0
    cosine = max(cosine, -0.999999)
    sine = sqrt(0.5 * (1 - cosine))
    squared = deviation * sine / (1 - sine)
    if length < 1 and cosine < -0.7071:
        squared = min(squared, length * acceleration / acos(-cosine))
    return sqrt(squared)
