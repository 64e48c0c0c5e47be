"""Settings: M92, M201 to M208, M220, M221, M301, M304, M420, M500 to M504, M593, M851, M900."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from polyhost.firmware.marlin.simulator.board import Board, Command, line, words
from polyhost.firmware.marlin.simulator.machine import AXES, MotionLimits, PerAxis, Settings
from polyhost.firmware.marlin.simulator.probing import mesh_report

Given = Mapping[str, float | None]

LEAST_SHAPED_HZ: Final = 7.63
_STORED: Final = "673 bytes; crc 8192"


def _named(given: Given, letters: str, were: tuple[float, ...], scale: float = 1.0) -> list[float]:
    """`were`, with the values given by letter put in their places; all are lengths when scaled."""
    return [
        old if (value := given.get(letter)) is None else value * scale
        for letter, old in zip(letters, were, strict=True)
    ]


def _per_axis(given: Given, were: PerAxis, scale: float) -> PerAxis:
    x, y, z, e = _named(given, AXES, were, scale)
    return x, y, z, e


def _limit(board: Board, limits: MotionLimits) -> None:
    board.settings = replace(board.settings, limits=limits)
    board.planner.limit(limits)


def _axes(values: tuple[float, ...], letters: str = AXES) -> str:
    return " ".join(f"{letter}{value:.2f}" for letter, value in zip(letters, values, strict=True))


def _lines_of(settings: Settings) -> dict[str, tuple[str, str]]:
    """What M503 says, by command: its heading and its line."""
    limits, probe = settings.limits, settings.probe_offset
    corner = f"J{limits.junction_deviation:.2f}" if limits.junction_deviation else _axes(limits.jerk)
    return {
        "M92": ("Steps per unit:", f"M92 {_axes(settings.steps_per_mm)}"),
        "M203": ("Maximum feedrates (units/s):", f"M203 {_axes(limits.max_feedrate)}"),
        "M201": ("Maximum Acceleration (units/s2):", f"M201 {_axes(limits.max_acceleration)}"),
        "M204": (
            "Acceleration (units/s2): P<print_accel> R<retract_accel> T<travel_accel>",
            f"M204 P{limits.acceleration:.2f} R{limits.retract_acceleration:.2f} T{limits.travel_acceleration:.2f}",
        ),
        "M205": (
            "Advanced: B<min_segment_time_us> S<min_feedrate> T<min_travel_feedrate> "
            + ("J<junc_dev>" if limits.junction_deviation else "X<max_jerk> Y<max_jerk> Z<max_jerk> E<max_jerk>"),
            f"M205 B20000.00 S{limits.min_feedrate:.2f} T{limits.min_travel_feedrate:.2f} {corner}",
        ),
        "M206": ("Home offset:", f"M206 {_axes(settings.home_offset, 'XYZ')}"),
        "M420": ("Auto Bed Leveling:", f"M420 S{settings.levelling:d} Z10.00"),
        "M301": ("PID settings:", f"M301 {_axes(settings.hotend_pid, 'PID')}"),
        "M304": ("Bed PID:", f"M304 {_axes(settings.bed_pid, 'PID')}"),
        "M207": (
            "Retract: S<length> F<units/m>",
            f"M207 S{settings.retract_length:.2f} F{settings.retract_feedrate * 60.0:.2f}",
        ),
        "M208": ("Recover: F<units/m>", f"M208 F{settings.recover_feedrate * 60.0:.2f}"),
        "M593": ("Input Shaping:", "\necho:  ".join(_shaping(settings))),
        "M851": ("Z-Probe Offset (mm):", f"M851 {_axes(probe, 'XYZ')}"),
        "M900": ("Linear Advance:", f"M900 K{settings.linear_advance:.2f}"),
    }


def _shaping(settings: Settings) -> list[str]:
    return [f"M593 {axis} F{hz:.2f} D{damping:.2f}" for axis, (hz, damping) in zip("XY", settings.shaping, strict=True)]


def _tell(board: Board, code: str) -> None:
    """A setting's own line, as its command says it when it is given nothing."""
    board.say(line(f"echo:  {_lines_of(board.settings)[code][1]}"))


def steps_per_mm(board: Board, rest: bytes) -> None:
    """M92"""
    given = words(rest)
    if not given:
        _tell(board, "M92")
    board.settings = replace(board.settings, steps_per_mm=_per_axis(given, board.settings.steps_per_mm, 1.0))


def max_acceleration(board: Board, rest: bytes) -> None:
    """M201"""
    given, limits = words(rest), board.settings.limits
    if not given:
        _tell(board, "M201")
    _limit(board, replace(limits, max_acceleration=_per_axis(given, limits.max_acceleration, board.scale)))


def max_feedrate(board: Board, rest: bytes) -> None:
    """M203: units per second"""
    given, limits = words(rest), board.settings.limits
    if not given:
        _tell(board, "M203")
    _limit(board, replace(limits, max_feedrate=_per_axis(given, limits.max_feedrate, board.scale)))


def accelerations(board: Board, rest: bytes) -> None:
    """M204: P printing, R retracting, T travelling; S is P and T, as it was once."""
    given, limits = words(rest), board.settings.limits
    if not given:
        _tell(board, "M204")
    both = given.get("S")
    printing, travel = (both, both) if both else (limits.acceleration, limits.travel_acceleration)
    were = (printing, limits.retract_acceleration, travel)
    printing, retract, travel = _named({**given, "S": None}, "PRT", were)
    if min(printing, retract, travel) > 0.0:
        new = replace(limits, acceleration=printing, retract_acceleration=retract, travel_acceleration=travel)
        _limit(board, new)


def advanced(board: Board, rest: bytes) -> None:
    """M205: S and T the least feedrates, X Y Z E the jerk, J the junction deviation."""
    given, limits = words(rest), board.settings.limits
    if not given:
        _tell(board, "M205")
    least, least_travel, deviation = _named(
        given, "STJ", (limits.min_feedrate, limits.min_travel_feedrate, limits.junction_deviation)
    )
    jerk = _per_axis(given, limits.jerk, board.scale)
    if min(jerk) > 0.0 and 0.0 <= deviation < 0.5:
        new = replace(
            limits, min_feedrate=least, min_travel_feedrate=least_travel, junction_deviation=deviation, jerk=jerk
        )
        _limit(board, new)


def home_offset(board: Board, rest: bytes) -> None:
    """M206"""
    given = words(rest)
    if not given:
        _tell(board, "M206")
    x, y, z = _named(given, "XYZ", board.settings.home_offset, board.scale)
    board.settings = replace(board.settings, home_offset=(x, y, z))


def retraction(board: Board, rest: bytes) -> None:
    """M207: S length, F mm/min"""
    given, settings = words(rest), board.settings
    if not given:
        _tell(board, "M207")
    length, feedrate = _named(given, "SF", (settings.retract_length, settings.retract_feedrate * 60.0))
    board.settings = replace(settings, retract_length=length, retract_feedrate=max(feedrate / 60.0, 0.1))


def recovery(board: Board, rest: bytes) -> None:
    """M208: F mm/min"""
    given, settings = words(rest), board.settings
    if not given:
        _tell(board, "M208")
    (feedrate,) = _named(given, "F", (settings.recover_feedrate * 60.0,))
    board.settings = replace(settings, recover_feedrate=max(feedrate / 60.0, 0.1))


def feed_factor(board: Board, rest: bytes) -> None:
    """M220: percent"""
    percent = words(rest).get("S")
    if percent is None:
        board.say(line(f"FR:{board.feed_factor * 100:.0f}%"))
    else:
        board.feed_factor = min(max(percent, 1.0), 999.0) / 100.0


def flow_factor(board: Board, rest: bytes) -> None:
    """M221: percent, of tool T"""
    given = words(rest)
    number = given.get("T")
    tool = board.tool if number is None else int(number)
    if not 0 <= tool < len(board.flow_factors):
        board.say(line(f"echo:M221 Invalid extruder {tool}"))
        return
    percent = given.get("S")
    if percent is None:
        board.say(line(f"echo:E{tool} Flow: {board.flow_factors[tool] * 100:.0f}%"))
    else:
        board.flow_factors[tool] = percent / 100.0


def hotend_pid(board: Board, rest: bytes) -> None:
    """M301"""
    given = words(rest)
    p, i, d = _named(given, "PID", board.settings.hotend_pid)
    board.settings = replace(board.settings, hotend_pid=(p, i, d))
    board.say(line(f"echo: p:{p:.2f} i:{i:.2f} d:{d:.2f}"))


def bed_pid(board: Board, rest: bytes) -> None:
    """M304"""
    p, i, d = _named(words(rest), "PID", board.settings.bed_pid)
    board.settings = replace(board.settings, bed_pid=(p, i, d))
    board.say(line(f"echo: p:{p:.2f} i:{i:.2f} d:{d:.2f}"))


def levelling(board: Board, rest: bytes) -> None:
    """M420: S on or off, V the mesh."""
    given = words(rest)
    if (wanted := given.get("S")) is not None:
        board.levelled = wanted > 0.0
        board.settings = replace(board.settings, levelling=board.levelled)
    if "V" in given:
        board.say(line(mesh_report(board)))
    board.say(line(f"echo:Bed Leveling {'ON' if board.levelled else 'OFF'}\necho:Fade Height 10.00"))


def probe_offset(board: Board, rest: bytes) -> None:
    """M851"""
    given = words(rest)
    if not given:
        _tell(board, "M851")
    x, y, z = _named(given, "XYZ", board.settings.probe_offset, board.scale)
    board.settings = replace(board.settings, probe_offset=(x, y, z))


def linear_advance(board: Board, rest: bytes) -> None:
    """M900"""
    factor = words(rest).get("K")
    if factor is None:
        board.say(line(f"echo:Advance K={board.settings.linear_advance:.2f}"))
    else:
        board.settings = replace(board.settings, linear_advance=factor)


def input_shaping(board: Board, rest: bytes) -> None:
    """M593: F Hz and D damping, of X, Y or both."""
    given = words(rest)
    if not given:
        _tell(board, "M593")
    hz, damping = given.get("F"), given.get("D")
    if damping is not None and not 0.0 <= damping <= 1.0:
        board.say(b"echo:?Zeta (D) value out of range (0-1)\n")
        damping = None
    if hz is not None and hz != 0.0 and hz <= LEAST_SHAPED_HZ:
        board.say(line(f"?Frequency (F) must be greater than {LEAST_SHAPED_HZ:.2f} or 0 to disable"))
        hz = None
    x, y = (
        (old_hz if hz is None else hz, old_damping if damping is None else damping)
        if axis in given or not {"X", "Y"} & given.keys()
        else (old_hz, old_damping)
        for axis, (old_hz, old_damping) in zip("XY", board.settings.shaping, strict=True)
    )
    board.settings = replace(board.settings, shaping=(x, y))


def store(board: Board, rest: bytes) -> None:
    """M500"""
    board.stored = board.settings
    board.say(line(f"echo:Settings Stored ({_STORED})"))


def load(board: Board, rest: bytes) -> None:
    """M501"""
    if board.stored is None:
        _use(board, board.machine.settings)
        board.say(b"echo:EEPROM version mismatch (EEPROM=? Marlin=V88)\necho:Hardcoded Default Settings Loaded\n")
    else:
        _use(board, board.stored)
        board.say(line(f"echo:V88 stored settings retrieved ({_STORED})"))


def load_defaults(board: Board, rest: bytes) -> None:
    """M502"""
    _use(board, board.machine.settings)
    board.say(b"echo:Hardcoded Default Settings Loaded\n")


def _use(board: Board, settings: Settings) -> None:
    board.settings = settings
    board.levelled = settings.levelling
    board.planner.limit(settings.limits)


def tell(board: Board, rest: bytes) -> None:
    """M503: everything, as commands; S0 without the headings."""
    headings = words(rest).get("S") != 0.0
    said = ["echo:; Linear Units:", "echo:  G21 ; (mm)"] if headings else ["echo:  G21 ; (mm)"]
    for heading, text in _lines_of(board.settings).values():
        if headings:
            said.append(f"echo:; {heading}")
        said.append(f"echo:  {text}")
    board.say(line("\n".join(said)))


def validate(board: Board, rest: bytes) -> None:
    """M504"""
    board.say(b"echo:EEPROM OK\n")


COMMANDS: Final[Mapping[bytes, Command]] = {
    b"M92": steps_per_mm,
    b"M201": max_acceleration,
    b"M203": max_feedrate,
    b"M204": accelerations,
    b"M205": advanced,
    b"M206": home_offset,
    b"M207": retraction,
    b"M208": recovery,
    b"M220": feed_factor,
    b"M221": flow_factor,
    b"M301": hotend_pid,
    b"M304": bed_pid,
    b"M420": levelling,
    b"M500": store,
    b"M501": load,
    b"M502": load_defaults,
    b"M503": tell,
    b"M504": validate,
    b"M593": input_shaping,
    b"M851": probe_offset,
    b"M900": linear_advance,
}
