"""What is on the machine besides its axes and heaters: filament (M412, M701, M702), pins and lights (M42, M150)."""

from collections.abc import Mapping
from typing import Final

from polyhost.firmware.marlin.simulator.board import Board, Command, Taking, Until, line, words
from polyhost.firmware.marlin.simulator.moves import is_warm

LOAD_MM: Final = 50.0  # FILAMENT_CHANGE_FAST_LOAD_LENGTH; this machine purges nothing
UNLOAD_MM: Final = 100.0  # FILAMENT_CHANGE_UNLOAD_LENGTH
LOAD_MM_S: Final = 6.0
UNLOAD_MM_S: Final = 10.0
PINS: Final = 256
PROTECTED: Final = frozenset(range(8))  # of the link, the motors and the heaters


def filament_sensor(board: Board, rest: bytes) -> None:
    """M412: S watches or not; it says which when it is given nothing."""
    wanted = words(rest).get("S")
    if wanted is None:
        board.say(line(f"echo:Filament runout {'ON' if board.watches_filament else 'OFF'}"))
    else:
        board.watches_filament = wanted > 0.0


def load(board: Board, rest: bytes) -> Taking:
    """M701: L is how far."""
    return _feeding(board, abs(words(rest).get("L") or LOAD_MM), LOAD_MM_S)


def unload(board: Board, rest: bytes) -> Taking:
    """M702: U is how far."""
    return _feeding(board, -abs(words(rest).get("U") or UNLOAD_MM), UNLOAD_MM_S)


def _feeding(board: Board, length: float, feedrate: float) -> Taking:
    yield from board.rest()
    if not is_warm(board):
        board.say(b"echo:Hotend too cold\n")
        return
    planner = board.planner
    if board.instant:
        planner.e += length
        return
    while not planner.add(planner.x, planner.y, planner.z, planner.e + length, feedrate, board.now):
        yield Until.ROOM
    yield from board.rest()


def set_pin(board: Board, rest: bytes) -> None:
    """M42: P is the pin, S 0 to 255; I for one that is the firmware's own."""
    given = words(rest)
    pin, value = given.get("P"), given.get("S")
    if pin is None or not 0 <= pin < PINS:
        return
    if pin in PROTECTED and "I" not in given:
        board.say(b"Error:Protected Pin\n")
    elif value is not None:
        board.pins[int(pin)] = int(min(max(value, 0.0), 255.0))


def set_light(board: Board, rest: bytes) -> None:
    """M150: R, U (green), B and W, 0 to 255; what is not said is dark."""
    given = words(rest)
    red, green, blue, white = (int(min(max(given.get(letter) or 0.0, 0.0), 255.0)) for letter in "RUBW")
    board.light = red, green, blue, white


COMMANDS: Final[Mapping[bytes, Command]] = {
    b"M42": set_pin,
    b"M150": set_light,
    b"M412": filament_sensor,
    b"M701": load,
    b"M702": unload,
}
