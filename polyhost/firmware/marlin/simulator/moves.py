"""Moves and where they start from: G0 to G4, G10, G11, G20, G21, G28, G90 to G92, M82 to M84, M400, M410."""

from collections.abc import Mapping
from math import atan2, cos, hypot, sin, sqrt, tau
from typing import Final

from polyhost.firmware.marlin.simulator.board import Board, Command, Taking, Until, line, words

ARC_SEGMENT_MM: Final = 1.0
_X, _Y, _Z, _E, _F = b"XYZEF"


def straight(board: Board, rest: bytes) -> Taking | None:
    """G0, G1: the hot path; a slicer's spelling is read word by word, anything else by `words`."""
    planner = board.planner
    x, y, z, e = planner.x, planner.y, planner.z, planner.e
    absolute, absolute_e, scale, feedrate = board.absolute, board.absolute_e, board.scale, board.feedrate
    try:
        for word in rest.split(b" "):
            letter = word[0]
            if letter == _X:
                x = float(word[1:]) * scale if absolute else x + float(word[1:]) * scale
            elif letter == _Y:
                y = float(word[1:]) * scale if absolute else y + float(word[1:]) * scale
            elif letter == _E:
                e = float(word[1:]) * scale if absolute_e else e + float(word[1:]) * scale
            elif letter == _F:
                feedrate = float(word[1:]) * scale / 60.0
            elif letter == _Z:
                z = float(word[1:]) * scale if absolute else z + float(word[1:]) * scale
            else:
                raise ValueError
    except (ValueError, IndexError):
        x, y, z, e, feedrate = _target(board, words(rest))
    if feedrate > 0.0:
        board.feedrate = feedrate
    if e != planner.e and not board.warm and not is_warm(board):
        board.say(b"echo: cold extrusion prevented\n")
        planner.set_position(planner.x, planner.y, planner.z, e)
    if board.instant:
        planner.x, planner.y, planner.z, planner.e = x, y, z, e
        return None
    feedrate = board.feedrate * board.feed_factor
    if planner.add(x, y, z, e, feedrate, board.now):
        return None
    return _held(board, x, y, z, e, feedrate)


def _held(board: Board, x: float, y: float, z: float, e: float, feedrate: float) -> Taking:
    yield Until.ROOM
    while not board.planner.add(x, y, z, e, feedrate, board.now):
        yield Until.ROOM


def _target(board: Board, given: Mapping[str, float | None]) -> tuple[float, float, float, float, float]:
    """Where X, Y, Z, E lead, and the feedrate in mm/s."""
    planner = board.planner
    at = {"X": planner.x, "Y": planner.y, "Z": planner.z, "E": planner.e}
    for axis, start in at.items():
        value = given.get(axis)
        if value is not None:
            absolute = board.absolute_e if axis == "E" else board.absolute
            at[axis] = value * board.scale if absolute else start + value * board.scale
    feedrate = (given.get("F") or 0.0) * board.scale / 60.0
    return at["X"], at["Y"], at["Z"], at["E"], feedrate


def is_warm(board: Board) -> bool:
    """Whether the hotend in use may extrude."""
    hotend = board.hotends[board.tool]
    if board.cold_extrusion or hotend.temperature(board.now) >= board.min_extrude_c:
        # Between two changes of target a heater only nears it.
        board.warm = board.cold_extrusion or hotend.target >= board.min_extrude_c
        return True
    return False


def arc(board: Board, rest: bytes, clockwise: bool) -> Taking | None:
    """G2, G3: by centre (I, J) or radius (R), in the XY plane, as chords of a millimetre."""
    given = words(rest)
    planner = board.planner
    from_x, from_y, from_z, from_e = planner.x, planner.y, planner.z, planner.e
    x, y, z, e, feedrate = _target(board, given)
    radius = given.get("R")
    if radius:
        centre = _centre_of(from_x, from_y, x, y, radius * board.scale, clockwise)
    elif given.get("I") is not None or given.get("J") is not None:
        centre = (
            from_x + (given.get("I") or 0.0) * board.scale,
            from_y + (given.get("J") or 0.0) * board.scale,
        )
    else:
        centre = None
    if centre is None or centre == (from_x, from_y):
        board.say(b"echo:G2/G3 bad parameters\n")
        return None
    if feedrate > 0.0:
        board.feedrate = feedrate
    if e != from_e and not board.warm and not is_warm(board):
        board.say(b"echo: cold extrusion prevented\n")
        planner.set_position(from_x, from_y, from_z, e)
        from_e = e
    if board.instant:
        planner.x, planner.y, planner.z, planner.e = x, y, z, e
        return None
    return _chords(board, (x, y, z, e), (from_x, from_y, from_z, from_e), centre, clockwise)


def _chords(
    board: Board,
    to: tuple[float, float, float, float],
    start: tuple[float, float, float, float],
    centre: tuple[float, float],
    clockwise: bool,
) -> Taking:
    feedrate = board.feedrate * board.feed_factor
    centre_x, centre_y = centre
    radius = hypot(start[0] - centre_x, start[1] - centre_y)
    angle = atan2(start[1] - centre_y, start[0] - centre_x)
    sweep = (atan2(to[1] - centre_y, to[0] - centre_x) - angle) % tau
    if clockwise:
        sweep -= tau
        if sweep <= -tau + 1e-9 and hypot(to[0] - start[0], to[1] - start[1]) > 1e-6:
            sweep = 0.0
    elif sweep < 1e-9 and hypot(to[0] - start[0], to[1] - start[1]) <= 1e-6:
        sweep = tau
    length = hypot(radius * sweep, to[2] - start[2])
    segments = max(1, int(length / ARC_SEGMENT_MM))
    for number in range(1, segments + 1):
        part = number / segments
        if number < segments:
            x, y = centre_x + radius * cos(angle + sweep * part), centre_y + radius * sin(angle + sweep * part)
        else:
            x, y = to[0], to[1]
        z, e = start[2] + (to[2] - start[2]) * part, start[3] + (to[3] - start[3]) * part
        while not board.planner.add(x, y, z, e, feedrate, board.now):
            yield Until.ROOM


def _centre_of(
    from_x: float, from_y: float, x: float, y: float, radius: float, clockwise: bool
) -> tuple[float, float] | None:
    """The centre of an arc by radius (negative: the longer way); None when there is none."""
    dx, dy = x - from_x, y - from_y
    chord = hypot(dx, dy)
    if not chord or chord > 2.0 * abs(radius) + 1e-6:
        return None
    height = sqrt(max(radius * radius - chord * chord / 4.0, 0.0)) / chord
    if clockwise == (radius > 0.0):
        height = -height
    return (from_x + x) / 2.0 - dy * height, (from_y + y) / 2.0 + dx * height


def dwell(board: Board, rest: bytes) -> Taking:
    """G4: P milliseconds or S seconds, after the queued moves."""
    given = words(rest)
    seconds = (given.get("P") or 0.0) / 1000.0
    if given.get("S") is not None:
        seconds = given["S"] or 0.0
    yield from board.rest()
    if not board.instant and seconds > 0.0:
        yield board.now + seconds


def retract(board: Board, rest: bytes) -> Taking | None:
    """G10: the firmware's own retraction."""
    if board.retracted:
        return None
    board.retracted = True
    return _own_retraction(board, -board.settings.retract_length, board.settings.retract_feedrate)


def recover(board: Board, rest: bytes) -> Taking | None:
    """G11"""
    if not board.retracted:
        return None
    board.retracted = False
    return _own_retraction(board, board.settings.retract_length, board.settings.recover_feedrate)


def _own_retraction(board: Board, length: float, feedrate: float) -> Taking | None:
    planner = board.planner
    if board.instant:
        return None
    return _retracting(board, planner.e, length, feedrate)


def _retracting(board: Board, e: float, length: float, feedrate: float) -> Taking:
    """The commands go on counting E from where it was."""
    planner = board.planner
    while not planner.add(planner.x, planner.y, planner.z, e + length, feedrate, board.now):
        yield Until.ROOM
    planner.set_position(planner.x, planner.y, planner.z, e)


def inches(board: Board, rest: bytes) -> None:
    board.scale = 25.4


def millimetres(board: Board, rest: bytes) -> None:
    board.scale = 1.0


def home(board: Board, rest: bytes) -> Taking:
    """G28: to the endstops, quickly, back off, and again slowly; then says where it is."""
    given = words(rest)
    axes = [axis for axis in "XYZ" if axis in given] or list("XYZ")
    yield from board.rest()
    planner = board.planner
    at = {"X": planner.x, "Y": planner.y, "Z": planner.z}
    seconds = 0.0
    for axis, size, feedrate in zip("XYZ", board.machine.volume, board.machine.homing_feedrate, strict=True):
        if axis in axes:
            way = abs(at[axis]) if axis in board.homed else size / 2.0
            bump = 2.0 if axis == "Z" else 5.0
            seconds += (way + bump) / feedrate + bump * 2.0 / feedrate
            at[axis] = 0.0
    if not board.instant:
        yield board.now + seconds
    board.homed.update(axes)
    planner.set_position(at["X"], at["Y"], at["Z"], planner.e)
    board.levelled = board.levelled and "Z" not in axes
    board.say(line(board.position()))


def absolute(board: Board, rest: bytes) -> None:
    board.absolute = board.absolute_e = True


def relative(board: Board, rest: bytes) -> None:
    board.absolute = board.absolute_e = False


def absolute_extrusion(board: Board, rest: bytes) -> None:
    board.absolute_e = True


def relative_extrusion(board: Board, rest: bytes) -> None:
    board.absolute_e = False


def set_position(board: Board, rest: bytes) -> None:
    """G92: call this place by other coordinates."""
    given = words(rest)
    planner = board.planner
    at = {"X": planner.x, "Y": planner.y, "Z": planner.z, "E": planner.e}
    for axis in at:
        if axis in given or not given:
            at[axis] = (given.get(axis) or 0.0) * board.scale
    planner.set_position(at["X"], at["Y"], at["Z"], at["E"])


def motors_on(board: Board, rest: bytes) -> None:
    """M17"""


def motors_off(board: Board, rest: bytes) -> Taking | None:
    """M18, M84: at once for all axes, or S seconds from now, which nobody sees."""
    given = words(rest)
    if given.get("S") is not None:
        return None
    return _releasing(board, {axis for axis in "XYZ" if axis in given} or set("XYZ"))


def _releasing(board: Board, axes: set[str]) -> Taking:
    yield from board.rest()
    board.homed -= axes


def finish_moves(board: Board, rest: bytes) -> Taking:
    """M400"""
    yield from board.rest()


def select_tool(board: Board, tool: int) -> Taking:
    if tool >= len(board.hotends):
        board.say(line(f"echo:T{tool} Invalid extruder"))
        return
    if tool != board.tool:
        yield from board.rest()
        board.tool = tool
        board.warm = False
    if len(board.hotends) > 1:
        board.say(line(f"echo:Active Extruder: {tool}"))


COMMANDS: Final[Mapping[bytes, Command]] = {
    b"G0": straight,
    b"G1": straight,
    b"G2": lambda board, rest: arc(board, rest, True),
    b"G3": lambda board, rest: arc(board, rest, False),
    b"G4": dwell,
    b"G10": retract,
    b"G11": recover,
    b"G20": inches,
    b"G21": millimetres,
    b"G28": home,
    b"G90": absolute,
    b"G91": relative,
    b"G92": set_position,
    b"M17": motors_on,
    b"M18": motors_off,
    b"M82": absolute_extrusion,
    b"M83": relative_extrusion,
    b"M84": motors_off,
    b"M400": finish_moves,
}
