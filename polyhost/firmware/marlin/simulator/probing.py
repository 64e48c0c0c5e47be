"""What the probe measures: G29, G30, G34, M48, and the mesh as M420 shows it."""

from collections.abc import Mapping
from statistics import fmean, pstdev
from typing import Final

from polyhost.firmware.marlin.simulator.board import Board, Command, Taking, line, words
from polyhost.firmware.marlin.simulator.moves import home

SAMPLES: Final = 10  # of M48, when it does not say
FEWEST: Final = 4
MOST: Final = 50
PROBE_S: Final = 2.0  # down to the bed and up again
CLEARANCE_MM: Final = 10.0  # where the nozzle is left
ALIGN_ITERATIONS: Final = 5
ALIGNED_MM: Final = 0.02
CORRECTED: Final = 0.9  # of a slope, in each iteration
NOISE_MM: Final = 0.002


def probe_bed(board: Board, rest: bytes) -> Taking:
    """G29: a grid of points, then the mesh."""
    yield from board.rest()
    if _unhomed(board):
        return
    if not board.instant:
        yield board.now + PROBE_S * sum(len(row) for row in board.mesh)
    board.levelled = True
    board.say(line(mesh_report(board)))


def mesh_report(board: Board) -> str:
    """The mesh, as G29 and M420 V print it."""
    rows = ["Bilinear Leveling Grid:", "      " + "      ".join(str(column) for column in range(len(board.mesh[0])))]
    rows += [f" {number} " + " ".join(f"{z:+.3f}" for z in row) for number, row in enumerate(board.mesh)]
    return "\n".join(rows) + "\n"


def probe_once(board: Board, rest: bytes) -> Taking:
    """G30: the bed's height at X and Y, or where the nozzle is; then says where it is."""
    yield from board.rest()
    given = words(rest)
    planner = board.planner
    x, y = _place(board, given, planner.x, planner.y)
    if not _in_reach(board, x, y):
        board.say(b"Z Probe Past Bed\n")
        return
    yield from _probing(board, 1)
    board.levelled = False
    board.say(line(f"Bed X: {x:.2f} Y: {y:.2f} Z: {_height(board, x, y):.2f}"))
    planner.set_position(
        x if given.get("X") is not None else planner.x,
        y if given.get("Y") is not None else planner.y,
        max(planner.z, CLEARANCE_MM),
        planner.e,
    )
    board.say(line(board.position()))


def repeatability(board: Board, rest: bytes) -> Taking:
    """M48: probes one place P times, and how far apart that is; V 0 to 4 says more."""
    yield from board.rest()
    if _unhomed(board):
        return
    given = words(rest)
    verbose, samples = int(given.get("V") or 0) if "V" in given else 1, int(given.get("P") or SAMPLES)
    if not 0 <= verbose <= 4:
        board.say(b"?(V)erbose level implausible (0-4).\n")
        return
    if verbose:
        board.say(b"M48 Z-Probe Repeatability Test\n")
    if not FEWEST <= samples <= MOST:
        board.say(b"?Sample size not plausible (4-50).\n")
        return
    planner, (offset_x, offset_y, _) = board.planner, board.settings.probe_offset
    x, y = _place(board, given, planner.x + offset_x, planner.y + offset_y)
    if not _in_reach(board, x, y):
        board.say(b"? (X,Y) out of bounds.\n")
        return
    heights: list[float] = []
    for number in range(samples):
        yield from _probing(board, 1)
        heights.append(_height(board, x, y))
        if verbose > 1:
            board.say(line(f"{number + 1} of {samples}: z: {heights[-1]:.3f} "))
    least, most = min(heights), max(heights)
    board.say(b"Finished!\n")
    if verbose:
        mean = fmean(heights)
        board.say(line(f"Mean: {mean:.6f} Min: {least:.3f} Max: {most:.3f} Range: {most - least:.3f}"))
    board.say(line(f"Standard Deviation: {pstdev(heights):.6f}\n"))
    planner.set_position(planner.x, planner.y, max(planner.z, CLEARANCE_MM), planner.e)
    board.say(line(board.position()))


def align(board: Board, rest: bytes) -> Taking:
    """G34: the Z motors are brought to one height, then Z is homed; I the most iterations, T how good is good enough.

    A machine with one Z motor does not know it.
    """
    if board.machine.z_motors < 2:
        board.say(b'echo:Unknown command: "G34"\n')
        return
    yield from board.rest()
    given = words(rest)
    iterations, target = int(given.get("I") or ALIGN_ITERATIONS), given.get("T") or ALIGNED_MM
    if not 1 <= iterations <= 30:
        board.say(b"?(I)teration out of bounds (1-30).\n")
        return
    if not 0.01 <= target <= 1.0:
        board.say(b"?(T)arget accuracy out of bounds (0.01-1.0).\n")
        return
    if len(board.homed) < 3:
        yield from home(board, b"")
    board.levelled = False
    slope_mm = 0.0
    for iteration in range(1, iterations + 1):
        board.say(line(f"\nG34 Iteration: {iteration}"))
        yield from _probing(board, board.machine.z_motors)
        slope_mm = board.slope_mm
        board.say(line(f"\nZ2-Z1={slope_mm:.2f}"))
        board.slope_mm = slope_mm * (1.0 - CORRECTED)
        if slope_mm <= target:
            board.say(b"Target accuracy achieved.\n")
            break
    board.say(line(f"Did {iteration} of {iterations}\nAccuracy: {slope_mm:.2f}"))
    yield from home(board, b"Z")


def _unhomed(board: Board) -> bool:
    if len(board.homed) < 3:
        board.say(b"echo:Home XYZ First\n")
        return True
    return False


def _place(board: Board, given: Mapping[str, float | None], x: float, y: float) -> tuple[float, float]:
    wanted_x, wanted_y = given.get("X"), given.get("Y")
    return x if wanted_x is None else wanted_x * board.scale, y if wanted_y is None else wanted_y * board.scale


def _in_reach(board: Board, x: float, y: float) -> bool:
    """Whether the nozzle can be where it has to be for the probe to be there."""
    offset_x, offset_y, _ = board.settings.probe_offset
    width, depth, _ = board.machine.volume
    return 0.0 <= x - offset_x <= width and 0.0 <= y - offset_y <= depth


def _probing(board: Board, times: int) -> Taking:
    if not board.instant:
        yield board.now + PROBE_S * times


def _height(board: Board, x: float, y: float) -> float:
    """The bed's, at the nearest point of the mesh, and no two measurements are the same."""
    width, depth, _ = board.machine.volume
    rows, columns = len(board.mesh), len(board.mesh[0])
    row = min(max(round(y / depth * (rows - 1)), 0), rows - 1)
    column = min(max(round(x / width * (columns - 1)), 0), columns - 1)
    return board.mesh[row][column] + board.dice.uniform(-NOISE_MM, NOISE_MM)


COMMANDS: Final[Mapping[bytes, Command]] = {
    b"G29": probe_bed,
    b"G30": probe_once,
    b"G34": align,
    b"M48": repeatability,
}
