"""Heaters and fans: M104 to M109, M140, M141, M190, M191, M302."""

from collections.abc import Mapping
from math import inf, log
from typing import Final

from polyhost.firmware.marlin.simulator.board import Board, Command, Taking, Until, line, words
from polyhost.firmware.marlin.simulator.machine import AMBIENT_C
from polyhost.firmware.marlin.simulator.thermal import WINDOW_C, Heater

RESIDENCY_S: Final = 10.0  # TEMP_RESIDENCY_TIME
COOLING_STALLED: Final = (1.5, 60.0)  # an M109 R gives up when less than so many °C are lost in so many seconds


def _hotend(board: Board, given: Mapping[str, float | None]) -> Heater | None:
    number = given.get("T")
    tool = board.tool if number is None else int(number)
    if not 0 <= tool < len(board.hotends):
        board.say(line(f"echo:M104 Invalid extruder {tool}"))
        return None
    return board.hotends[tool]


def _aim(board: Board, heater: Heater, given: Mapping[str, float | None]) -> bool:
    """Set the target that S or R names; whether one was named."""
    target = given.get("S") if given.get("S") is not None else given.get("R")
    if target is None:
        return False
    heater.aim(target, board.now)
    board.warm = False
    return True


def set_hotend(board: Board, rest: bytes) -> None:
    """M104"""
    given = words(rest)
    if (hotend := _hotend(board, given)) is not None:
        _aim(board, hotend, given)


def set_hotend_and_wait(board: Board, rest: bytes) -> Taking | None:
    """M109: S waits while heating only, R while cooling too."""
    given = words(rest)
    hotend = _hotend(board, given)
    if hotend is None or not _aim(board, hotend, given):
        return None
    return _waiting(board, hotend, cooling_too=given.get("R") is not None)


def set_bed(board: Board, rest: bytes) -> None:
    """M140"""
    if board.bed is not None:
        _aim(board, board.bed, words(rest))


def set_bed_and_wait(board: Board, rest: bytes) -> Taking | None:
    """M190"""
    return _set_and_wait(board, board.bed, rest)


def set_chamber(board: Board, rest: bytes) -> None:
    """M141"""
    if board.chamber is not None:
        _aim(board, board.chamber, words(rest))


def set_chamber_and_wait(board: Board, rest: bytes) -> Taking | None:
    """M191"""
    return _set_and_wait(board, board.chamber, rest)


def _set_and_wait(board: Board, heater: Heater | None, rest: bytes) -> Taking | None:
    given = words(rest)
    if heater is None or not _aim(board, heater, given):
        return None
    return _waiting(board, heater, cooling_too=given.get("R") is not None)


def _waiting(board: Board, heater: Heater, *, cooling_too: bool) -> Taking:
    now = board.now
    temperature = heater.temperature(now)
    if board.instant or (temperature > heater.target + WINDOW_C and not cooling_too):
        return
    there_at = heater.settled_at(now)
    board.residency_s = RESIDENCY_S / 3.0 if there_at <= now else RESIDENCY_S
    board.heat_until = there_at + board.residency_s
    if temperature > heater.target:
        board.heat_until = min(board.heat_until, _stalls_at(heater, temperature, now))
    board.heating, board.interrupted = heater, False
    while board.now < board.heat_until and not board.interrupted:
        yield Until.HEAT
    board.heating, board.interrupted = None, False


def _stalls_at(heater: Heater, temperature: float, now: float) -> float:
    """When cooling towards the room has become too slow to wait for."""
    lost, seconds = COOLING_STALLED
    loss_s = heater.model.loss_s
    above = lost / (1.0 - 2.718281828 ** (-seconds / loss_s))
    if heater.target > AMBIENT_C + above:
        return inf
    return now + max(0.0, loss_s * log(max(temperature - AMBIENT_C, 0.01) / above)) + seconds


def waiting_report(board: Board) -> bytes:
    """What a wait says every second: the temperatures, and how long they must still hold."""
    heater = board.heating
    hold = "?"
    if heater is not None and board.heat_until - board.now <= board.residency_s:
        hold = str(max(0, round(board.heat_until - board.now)))
    return line(f" {board.temperatures()} W:{hold}")


def report(board: Board, rest: bytes) -> None:
    """M105"""
    board.ok_text = b" " + board.temperatures().encode()


def fan(board: Board, rest: bytes) -> None:
    """M106: S 0 to 255, P the fan."""
    given = words(rest)
    speed = given.get("S")
    _blow(board, given, 1.0 if speed is None else min(max(speed, 0.0), 255.0) / 255.0)


def fan_off(board: Board, rest: bytes) -> None:
    """M107"""
    _blow(board, words(rest), 0.0)


def _blow(board: Board, given: Mapping[str, float | None], speed: float) -> None:
    if not (given.get("P") or 0.0):
        board.fan = speed
        for hotend in board.hotends:
            hotend.blow(speed, board.now)


def cold_extrusion(board: Board, rest: bytes) -> None:
    """M302: P1 allows it, S sets the least temperature; alone it tells."""
    given = words(rest)
    least, allow = given.get("S"), given.get("P")
    if least is not None:
        board.min_extrude_c = least
        board.cold_extrusion = least == 0.0
    if allow is not None:
        board.cold_extrusion = allow > 0.0
    if least is None and allow is None:
        state = "enabled" if board.cold_extrusion else "disabled"
        board.say(line(f"echo:Cold extrudes are {state} (min temp {board.min_extrude_c:.2f}C)"))
    board.warm = False


COMMANDS: Final[Mapping[bytes, Command]] = {
    b"M104": set_hotend,
    b"M105": report,
    b"M106": fan,
    b"M107": fan_off,
    b"M109": set_hotend_and_wait,
    b"M140": set_bed,
    b"M141": set_chamber,
    b"M190": set_bed_and_wait,
    b"M191": set_chamber_and_wait,
    b"M302": cold_extrusion,
}
