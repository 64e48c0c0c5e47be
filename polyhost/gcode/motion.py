"""What the rows of a chunk do to a machine: modes, coordinates, arcs, feedrates.  Straight moves come out.

Follows Marlin's meaning of each command (https://marlinfw.org/meta/gcode/), with one exception: ``G90`` after ``M83``
leaves the extruder relative, as slicers expect and older firmware does.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np

from polyhost.gcode.chunk import HOME, RECOVER, RETRACT, SET_POSITION, Bools, Chunk, Event, Floats, Ints
from polyhost.gcode.limits import Limits
from polyhost.gcode.modal import ABSURD, INCH, MAX_TOOLS
from polyhost.gcode.planner import TINY, Blocks, PerAxis

DEFAULT_FEEDRATE: Final = 25.0  # mm/s, until the file names one
CHORD_MM: Final = 1.0  # what firmware cuts arcs into
MAX_CHORDS: Final = 4096  # of one arc
MAX_CHUNK_CHORDS: Final = 1 << 18
HOMING_S: Final = 20.0
HEATING_C_PER_S: Final[Mapping[str, float]] = {"hotend": 2.5, "bed": 0.6, "chamber": 0.1}
ROOM_C: Final = 21.0
RETRACT_MM, RETRACT_MM_S, RECOVER_MM_S = 3.0, 45.0, 8.0  # Marlin's, until M207 and M208 say otherwise

_EVENT = re.compile(rb"([GMT])\s*(\d{1,4})(?![.\d])", re.IGNORECASE)
_WORD = re.compile(rb"([A-Z])\s*([-+]?(?:\d+\.?\d*|\.\d+))", re.IGNORECASE)
_PARAMETER = re.compile(rb"([A-Z_]+)=(\d+\.?\d*)", re.IGNORECASE)

_XYZE = np.frombuffer(b"XYZE", np.uint8)


class Moves(NamedTuple):
    """Straight moves in order, those of length 0 left out, in mm and machine coordinates.

    `row` is the chunk's row each is from; `extruding` are those that draw: filament goes forward as the toolhead moves.
    """

    row: Ints
    from_x: Floats
    from_y: Floats
    from_z: Floats
    x: Floats
    y: Floats
    z: Floats
    moves_toolhead: Bools
    extruding: Bools
    blocks: Blocks


class Setting:
    """A value that lines change: what it is for each row of a chunk."""

    def __init__(self, value: float) -> None:
        self.value = value
        self._changes: list[tuple[int, float]] = []

    def change(self, row: int, value: float) -> None:
        """From `row` on it is `value`; rows must not decrease within a chunk."""
        if not self._changes:
            self._changes.append((0, self.value))
        self._changes.append((row, value))
        self.value = value

    def over(self, rows: int) -> Floats:
        """One value for each row, or a single one (of no dimension) when it did not change; begins anew."""
        if not self._changes:
            return np.asarray(self.value)
        begins = [row for row, _ in self._changes] + [rows]
        each = np.repeat([value for _, value in self._changes], np.diff(begins))
        self._changes.clear()
        return each


class Motion:
    """One machine, following a file.

    `waits_s` are the seconds that heating and homing are expected to take, which no planner knows.
    """

    def __init__(self, limits: Limits, *, per_minute: bool = False) -> None:
        self.position = [0.0, 0.0, 0.0, 0.0]  # X, Y, Z, E in the file's coordinates
        self.shift = [0.0, 0.0, 0.0]  # to the machine's, by G92
        self.limits = limits
        self.waits_s = 0.0
        self.tells_progress = False
        self.moves = 0
        self.extruded: dict[int, float] = {}  # mm by tool, as it is now
        self.drawn: dict[int, float] = {}  # mm by tool, at the most
        self._per_minute = per_minute  # M203
        self._feedrate = DEFAULT_FEEDRATE
        self._scale = Setting(1.0)
        self._relative = Setting(False)
        self._relative_e = Setting(False)
        self._speed_factor = Setting(1.0)
        self._flow = 1.0
        self._per_mm3 = 1.0  # mm of filament for each unit of E
        self._flow_factor = Setting(1.0)
        self._tool = Setting(0)
        self._plane = Setting(17)
        self._limits_rows: list[tuple[int, Limits]] = []
        self._retracted = False
        self._retract = [RETRACT_MM, RETRACT_MM_S, RECOVER_MM_S]
        self._stops: list[tuple[int, float]] = []  # before a row the machine stands still, for so many seconds
        self._temperatures = {"bed": ROOM_C, "chamber": ROOM_C}

    @property
    def last_pause_s(self) -> float:
        """Seconds of waiting that no move came after."""
        return sum(seconds for _, seconds in self._stops)

    def take(self, chunk: Chunk) -> Moves:
        """Follow `chunk`; its moves."""
        for event in chunk.events:
            self._hear(event)
        rows = len(chunk.kind)
        kind = chunk.kind
        is_set = (kind == SET_POSITION) | (kind == HOME)
        chunk = self._spelled_out(chunk, is_set)
        scale = self._scale.over(rows)
        relative = self._relative.over(rows) != 0
        relative_e = relative | (self._relative_e.over(rows) != 0)

        path = [self._along(chunk, letter, axis, scale, relative, is_set) for axis, letter in enumerate("XYZ")]
        after_e, change_e = self._along(chunk, "E", 3, scale, relative_e, is_set)
        feedrate = self._feedrates(chunk, scale) * self._speed_factor.over(rows)
        change_e = change_e * self._flow_factor.over(rows)
        self._draw(change_e)
        shifts = self._shifts(chunk, path, is_set)
        if rows:
            self.position = [*(float(after[-1]) for after, _ in path), float(after_e[-1])]
        feedrate, change_e = self._own_retractions(chunk, feedrate, change_e)

        ends = [after + shift for (after, _), shift in zip(path, shifts, strict=True)]
        changes = [change for _, change in path]
        row = np.arange(rows)
        if np.any((kind == 2) | (kind == 3)):
            row, ends, changes, change_e = self._chords(chunk, scale, ends, changes, change_e)
        self._plane.over(rows)
        return self._moves(row, ends, changes, change_e, feedrate)

    # Lines that are not rows.

    def _hear(self, event: Event) -> None:
        match = _EVENT.match(event.text)
        if match is None:
            if event.text.upper().startswith(b"SET_VELOCITY_LIMIT"):
                given = {name.decode().upper(): float(number) for name, number in _PARAMETER.findall(event.text)}
                self._limit(event.row, self.limits.after_velocity_limit(given), "file")
            return
        code = match[1].decode().upper() + match[2].decode().lstrip("0").rjust(1, "0")
        text = event.text[match.end() :].partition(b";")[0]
        words = {letter.decode().upper(): _sane(float(number)) for letter, number in _WORD.findall(text)}
        row = event.row
        match code:
            case "G4":
                self._stops.append((row, max(words["S"] if "S" in words else words.get("P", 0.0) / 1000.0, 0.0)))
            case "G17" | "G18" | "G19":
                self._plane.change(row, int(code[1:]))
            case "G20" | "G21":
                self._scale.change(row, INCH if code == "G20" else 1.0)
            case "G90" | "G91":
                self._relative.change(row, code == "G91")
            case "M82" | "M83":
                self._relative_e.change(row, code == "M83")
            case "M73":
                self.tells_progress = True
            case "M109" | "M190" | "M191":
                self._heat(row, code, words)
            case "M0" | "M1" | "M226" | "M400" | "M600" | "M601":
                self._stops.append((row, 0.0))
            case "M200":
                diameter = words.get("D", 0.0)
                self._per_mm3 = 4.0 / (math.pi * diameter**2) if diameter > 0 else 1.0
                self._flow_factor.change(row, self._flow * self._per_mm3)
            case "M201" | "M203" | "M205" | "M566":
                self._limit(row, self.limits.after(code, words, per_minute=self._per_minute), "file")
            case "M204":
                self._limit(row, self.limits.after(code, words), self.limits.source)
            case "M207":
                self._retract[:2] = words.get("S", self._retract[0]), words.get("F", self._retract[1] * 60) / 60
            case "M208":
                self._retract[2] = words.get("F", self._retract[2] * 60) / 60
            case "M220" if words.get("S", 0) > 0:
                self._speed_factor.change(row, words["S"] / 100.0)
            case "M221" if words.get("S", 0) > 0:
                self._flow = words["S"] / 100.0
                self._flow_factor.change(row, self._flow * self._per_mm3)
            case _ if code[0] == "T" and int(code[1:]) < MAX_TOOLS:
                self._tool.change(row, int(code[1:]))
                self._stops.append((row, 0.0))

    def _limit(self, row: int, limits: Limits, source: str) -> None:
        if limits != self.limits:
            if not self._limits_rows:
                self._limits_rows.append((0, self.limits))
            self.limits = msgspec.structs.replace(limits, source=source)
            self._limits_rows.append((row, self.limits))

    def _heat(self, row: int, code: str, words: Mapping[str, float]) -> None:
        kind = {"M109": "hotend", "M190": "bed", "M191": "chamber"}[code]
        name = f"hotend {int(words.get('T', self._tool.value)) % MAX_TOOLS}" if kind == "hotend" else kind
        target = min(words.get("S", words.get("R", 0.0)), 500.0)
        now = self._temperatures.get(name, ROOM_C)
        if target > now:
            self.waits_s += (target - now) / HEATING_C_PER_S[kind]
        if target > 0:
            self._temperatures[name] = target
        self._stops.append((row, 0.0))

    # Rows.

    def _spelled_out(self, chunk: Chunk, is_set: Bools) -> Chunk:
        """With what G28 and G92 leave unsaid written as words: 0 for each axis that G28 homes, and for a bare G92."""
        setting = np.flatnonzero(is_set)
        if not len(setting):
            return chunk
        homes = chunk.kind[setting] == HOME
        self.waits_s += HOMING_S * int(np.count_nonzero(homes))
        self._stops += [(row, 0.0) for row in setting[homes].tolist()]
        values = np.where(chunk.kind[chunk.rows] == HOME, 0.0, chunk.values)
        named = np.where(homes, np.isin(setting, chunk.rows[np.isin(chunk.letters, _XYZE[:3])]), False)
        named |= ~homes & np.isin(setting, chunk.rows)
        bare = setting[~named]
        if not len(bare):
            return chunk._replace(values=values)
        axes = np.where(chunk.kind[bare] == HOME, 3, 4)
        rows = np.concatenate((chunk.rows, np.repeat(bare, axes)))
        letters = np.concatenate((chunk.letters, *(_XYZE[:count] for count in axes.tolist())))
        values = np.concatenate((values, np.zeros(int(axes.sum()))))
        order = np.argsort(rows, kind="stable")
        return chunk._replace(letters=letters[order], rows=rows[order], values=values[order])

    def _along(
        self, chunk: Chunk, letter: str, axis: int, scale: Floats, relative: Bools, is_set: Bools
    ) -> tuple[Floats, Floats]:
        """Where each row leads along one axis, and by how much it moves it."""
        rows = len(chunk.kind)
        now = self.position[axis]
        at, values = chunk.column(letter)
        known = chunk.kind[at]
        usable = (known != RETRACT) & (known != RECOVER)
        if not usable.all():
            at, values = at[usable], values[usable]
        values = values * (scale if scale.ndim == 0 else scale[at])
        moved: Floats | float = 0.0
        if relative.any():
            steps = ~is_set[at] & (relative if relative.ndim == 0 else relative[at])
            each = np.zeros(rows)
            each[at[steps]] = values[steps]
            moved = np.cumsum(each)
            at = at[~steps]
            values = values[~steps] - moved[at]
        last = np.zeros(rows, np.int64)
        last[at] = np.arange(1, len(at) + 1)
        np.maximum.accumulate(last, out=last)
        after = np.concatenate(((now,), values))[last] + moved
        change = np.empty(rows)
        if rows:
            change[0] = after[0] - now
            np.subtract(after[1:], after[:-1], out=change[1:])
        change[is_set] = 0.0
        return after, change

    def _feedrates(self, chunk: Chunk, scale: Floats) -> Floats:
        """mm/s of each row, before any factor."""
        at, values = chunk.column("F")
        usable = (values > 0) & (chunk.kind[at] <= 5)
        at, values = at[usable], values[usable] / 60.0
        values = values * (scale if scale.ndim == 0 else scale[at])
        last = np.zeros(len(chunk.kind), np.int64)
        last[at] = np.arange(1, len(at) + 1)
        np.maximum.accumulate(last, out=last)
        feedrates = np.concatenate(((self._feedrate,), values))
        self._feedrate = float(feedrates[last[-1]]) if len(last) else self._feedrate
        return feedrates[last]

    def _draw(self, change_e: Floats) -> None:
        """Count the filament that the current tools draw."""
        tools = self._tool.over(len(change_e))
        for tool in [int(tools)] if tools.ndim == 0 else [int(n) for n in np.unique(tools)]:
            own = change_e if tools.ndim == 0 else change_e[tools == tool]
            if len(own):
                total = self.extruded.get(tool, 0.0) + np.cumsum(own)
                self.extruded[tool] = float(total[-1])
                self.drawn[tool] = max(self.drawn.get(tool, 0.0), float(total.max()))

    def _shifts(self, chunk: Chunk, path: list[tuple[Floats, Floats]], is_set: Bools) -> list[Floats]:
        """What must be added to each axis to be in machine coordinates: one value per row, or one for all."""
        shifts = []
        for axis, letter in enumerate("XYZ"):
            shift = Setting(self.shift[axis])
            if is_set.any():
                at = chunk.column(letter)[0]
                after = path[axis][0]
                for row in np.unique(at[is_set[at]]).tolist():
                    if chunk.kind[row] == HOME:
                        shift.change(row, 0.0)
                    else:
                        before = float(after[row - 1]) if row else self.position[axis]
                        shift.change(row, shift.value + before - float(after[row]))
                self.shift[axis] = shift.value
            shifts.append(shift.over(len(chunk.kind)))
        return shifts

    def _own_retractions(self, chunk: Chunk, feedrate: Floats, change_e: Floats) -> tuple[Floats, Floats]:
        """With G10 and G11 as moves of the extruder."""
        at = np.flatnonzero((chunk.kind == RETRACT) | (chunk.kind == RECOVER))
        if not len(at):
            return feedrate, change_e
        at = at[~np.isin(at, chunk.column("P")[0])]  # G10 P sets temperatures
        retracts = chunk.kind[at] == RETRACT
        changed = retracts != np.concatenate(((self._retracted,), retracts[:-1]))
        self._retracted = bool(retracts[-1]) if len(at) else self._retracted
        length, speed, back_speed = self._retract
        at, retracts = at[changed], retracts[changed]
        feedrate, change_e = feedrate.copy(), change_e.copy()
        feedrate[at] = np.where(retracts, speed, back_speed)
        change_e[at] = np.where(retracts, -length, length)
        return feedrate, change_e

    def _chords(
        self, chunk: Chunk, scale: Floats, ends: list[Floats], changes: list[Floats], change_e: Floats
    ) -> tuple[Ints, list[Floats], list[Floats], Floats]:
        """The same path with each arc as chords of about `CHORD_MM`: the row of each part, its end and its change."""
        rows = len(chunk.kind)
        plane = self._plane.over(rows)
        arcs = _arcs_of(chunk, scale, plane, ends, changes)
        counts = np.ones(rows, np.int64)
        counts[arcs.row] = np.clip(np.hypot(arcs.radius * arcs.sweep, arcs.rise) / CHORD_MM, 1, MAX_CHORDS)
        if (total := int(counts.sum())) > MAX_CHUNK_CHORDS + rows:
            counts = np.maximum(counts * MAX_CHUNK_CHORDS // total, 1)
        row = np.repeat(np.arange(rows), counts)
        first = np.cumsum(counts) - counts
        part = (np.arange(len(row)) - first[row] + 1) / counts[row]
        ends_of, changes_of = [], []
        of_arc = np.full(rows, -1)
        of_arc[arcs.row] = np.arange(len(arcs.row))
        curved = np.flatnonzero((of_arc[row] >= 0) & (part < 1))
        arc = of_arc[row[curved]]
        angle = arcs.angle[arc] + arcs.sweep[arc] * part[curved]
        on_circle = (
            arcs.centre_first[arc] + arcs.radius[arc] * np.cos(angle),
            arcs.centre_second[arc] + arcs.radius[arc] * np.sin(angle),
        )
        for axis, (end, change) in enumerate(zip(ends, changes, strict=True)):
            start = end - change
            place = start[row] + change[row] * part
            for axes, values in zip((arcs.first_axis, arcs.second_axis), on_circle, strict=True):
                here = axes[arc] == axis
                place[curved[here]] = values[here]
            before = np.concatenate((place[:1], place[:-1]))
            before[first] = start
            ends_of.append(place)
            changes_of.append(place - before)
        return row, ends_of, changes_of, change_e[row] / counts[row]

    def _moves(self, row: Ints, ends: list[Floats], changes: list[Floats], change_e: Floats, feedrate: Floats) -> Moves:
        dx, dy, dz = changes
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        toolhead = length > TINY
        keep = toolhead | (np.abs(change_e) > TINY)
        length = np.where(toolhead, length, np.abs(change_e))
        if not keep.all():
            row, toolhead, length = row[keep], toolhead[keep], length[keep]
            dx, dy, dz, change_e = dx[keep], dy[keep], dz[keep], change_e[keep]
            ends = [end[keep] for end in ends]
        self.moves += len(row)
        x, y, z = ends
        return Moves(
            row,
            x - dx,
            y - dy,
            z - dz,
            x,
            y,
            z,
            toolhead,
            toolhead & (change_e > 0),
            self._blocks(row, PerAxis(dx, dy, dz, change_e), length, toolhead, feedrate[row]),
        )

    def _blocks(self, row: Ints, change: PerAxis, length: Floats, toolhead: Bools, feedrate: Floats) -> Blocks:
        limit = self._limits_over(row)
        extrudes = change.e != 0
        per_mm = 1.0 / length
        direction = PerAxis(*(axis * per_mm for axis in change))
        too_fast = np.zeros(len(row))
        too_steep = np.zeros(len(row))
        for number, axis in enumerate(direction):
            size = np.abs(axis)
            np.maximum(too_fast, size / limit(_FEEDRATES + number), out=too_fast)
            np.maximum(too_steep, size / limit(_ACCELERATIONS + number), out=too_steep)
        speed = np.maximum(feedrate, np.where(extrudes, limit(_LEAST_FEEDRATE), limit(_LEAST_TRAVEL_FEEDRATE)))
        speed = np.minimum(speed, 1.0 / too_fast)
        acceleration = np.where(extrudes, limit(_PRINT), limit(_TRAVEL))
        acceleration = np.where(toolhead, acceleration, limit(_RETRACTION))
        acceleration = np.minimum(acceleration, 1.0 / too_steep)
        corner = limit(_CORNER)
        from_rest, pause = self._rests(row)
        return Blocks(
            velocity=PerAxis(*(axis * speed for axis in direction)),
            speed=speed,
            length=length,
            acceleration=acceleration,
            jerk=PerAxis(*(limit(_JERKS + number) for number in range(4))),
            deviation=np.where(corner > 0, corner, limit(_DEVIATION) * acceleration),
            from_rest=from_rest,
            pause=pause,
        )

    def _limits_over(self, row: Ints) -> Callable[[int], Floats]:
        """What gives the n-th limit (see `_vector`) for each move, or one for all."""
        if not self._limits_rows:
            vector = _vector(self.limits)
            return lambda number: np.asarray(vector[number])
        table = np.array([_vector(limits) for _, limits in self._limits_rows])
        which = np.searchsorted([row for row, _ in self._limits_rows], row, "right") - 1
        self._limits_rows.clear()
        return lambda number: table[which, number]

    def _rests(self, row: Ints) -> tuple[Bools, Floats]:
        """Before which moves the machine stands still, and for how long."""
        from_rest = np.zeros(len(row), np.bool_)
        pause = np.zeros(len(row))
        later: list[float] = []
        if self._stops:
            for (_, seconds), move in zip(
                self._stops, np.searchsorted(row, [before for before, _ in self._stops]).tolist(), strict=True
            ):
                if move == len(row):
                    later.append(seconds)
                else:
                    from_rest[move] = True
                    pause[move] += seconds
        self._stops = [(0, sum(later))] if later else []
        return from_rest, pause


class _Arcs(NamedTuple):
    """Arcs of a chunk: the axes of their planes (0 to 2), their centres, radii, first angles and signed sweeps."""

    row: Ints
    first_axis: Ints
    second_axis: Ints
    centre_first: Floats
    centre_second: Floats
    radius: Floats
    angle: Floats
    sweep: Floats
    rise: Floats


def _arcs_of(chunk: Chunk, scale: Floats, plane: Floats, ends: list[Floats], changes: list[Floats]) -> _Arcs:
    """The arcs that have a centre or a radius; one without is left a straight line."""
    rows = len(chunk.kind)
    given = {}
    for letter in "IJKRP":
        at, values = chunk.column(letter)
        each = np.full(rows, np.nan)
        each[at] = values if letter == "P" else values * (scale if scale.ndim == 0 else scale[at])
        given[letter] = each
    row = np.flatnonzero((chunk.kind == 2) | (chunk.kind == 3))
    planes = np.broadcast_to(plane, rows)[row]
    # G17 turns from X to Y, G18 from Z to X, G19 from Y to Z.
    first_axis = np.select([planes == 17, planes == 18], [0, 2], 1)
    second_axis = np.select([planes == 17, planes == 18], [1, 0], 2)
    third_axis = 3 - first_axis - second_axis
    offsets = np.stack([given["I"][row], given["J"][row], given["K"][row]])
    end = np.stack([axis[row] for axis in ends])
    change = np.stack([axis[row] for axis in changes])
    number = np.arange(len(row))
    first_end, second_end = end[first_axis, number], end[second_axis, number]
    first_change, second_change = change[first_axis, number], change[second_axis, number]
    first_offset, second_offset = offsets[first_axis, number], offsets[second_axis, number]
    clockwise = chunk.kind[row] == 2

    by_centre = ~(np.isnan(first_offset) & np.isnan(second_offset))
    first_offset, second_offset = np.nan_to_num(first_offset), np.nan_to_num(second_offset)
    wanted = given["R"][row]
    chord = np.hypot(first_change, second_change)
    by_radius = ~np.isnan(wanted) & (wanted != 0) & (chord > TINY) & (chord <= 2 * np.abs(wanted) + 1e-6)
    wanted = np.nan_to_num(wanted)
    height = np.sqrt(np.maximum(wanted**2 - chord**2 / 4, 0.0)) / np.maximum(chord, TINY)
    height = np.where(clockwise == (wanted > 0), -height, height)
    first_offset = np.where(by_radius, first_change / 2 - second_change * height, first_offset)
    second_offset = np.where(by_radius, second_change / 2 + first_change * height, second_offset)

    radius = np.hypot(first_offset, second_offset)
    angle = np.arctan2(-second_offset, -first_offset)
    sweep = np.mod(np.arctan2(second_change - second_offset, first_change - first_offset) - angle, math.tau)
    closed = chord <= 1e-6
    sweep = np.where(closed, 0.0, sweep)
    sweep = np.where(clockwise, sweep - math.tau, np.where(closed, math.tau, sweep))
    sweep = np.where(clockwise & ~closed & (sweep <= -math.tau + 1e-9), 0.0, sweep)
    turns = np.clip(np.nan_to_num(given["P"][row]), 0, 100)
    sweep += np.where(clockwise, -math.tau, math.tau) * np.maximum(turns - closed, 0.0)
    good = (by_centre | by_radius) & (radius > TINY)
    return _Arcs(
        row=row[good],
        first_axis=first_axis[good],
        second_axis=second_axis[good],
        centre_first=(first_end - first_change + first_offset)[good],
        centre_second=(second_end - second_change + second_offset)[good],
        radius=radius[good],
        angle=angle[good],
        sweep=sweep[good],
        rise=change[third_axis, number][good],
    )


# Limits as numbers in a row: four each, then one each.
_FEEDRATES, _ACCELERATIONS, _JERKS = 0, 4, 8
_PRINT, _RETRACTION, _TRAVEL, _DEVIATION, _CORNER, _LEAST_FEEDRATE, _LEAST_TRAVEL_FEEDRATE = range(12, 19)


def _vector(limits: Limits) -> list[float]:
    """`limits` by the numbers above, within what can be reckoned with."""
    corner = limits.corner_velocity**2 * (math.sqrt(2.0) - 1.0)
    accelerations = (limits.acceleration, limits.retract_acceleration, limits.travel_acceleration)
    return [
        *(min(max(value, 1e-3), 1e6) for value in limits.max_feedrate),
        *(min(max(value, 1e-1), 1e6) for value in limits.max_acceleration),
        *(min(max(value, 1e-3), 1e6) for value in limits.jerk),
        *(min(max(value, 1e-1), 1e6) for value in accelerations),
        *(limits.junction_deviation, corner, limits.min_feedrate, limits.min_travel_feedrate),
    ]


def _sane(value: float) -> float:
    return value if abs(value) < ABSURD else 0.0
