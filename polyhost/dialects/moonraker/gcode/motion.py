"""Modes and moves: G-code states, limits, offsets, extruders."""

from typing import Final

from polyhost.core.errors import Malformed
from polyhost.core.units import mm_min_from_mm_s
from polyhost.dialects.moonraker.gcode.grammar import Parameters
from polyhost.dialects.moonraker.gcode.heat import extruder_in
from polyhost.dialects.moonraker.gcode.table import MM, Between, Doing, Lines, Step, Table
from polyhost.gcode.modal import ModalState
from polyhost.services.commands import number, select_tool
from polyhost.services.printer import Printer

table = Table()

KEPT_BY: Final = "Send SAVE_CONFIG, or it is forgotten with the next reset."
MAX_SPEED: Final = 10_000.0  # mm/s
MAX_ACCELERATION: Final = 1_000_000.0  # mm/s²
_TINY: Final = 1e-6


def modes_of(p: Printer) -> ModalState:
    """How the machine reads what it is told next, as far as its holder knows."""
    now, place = p.snapshot, p.snapshot.position
    return ModalState(
        absolute=now.absolute,
        extruder_absolute=now.absolute_e,
        tool=now.tool,
        feedrate_mm_s=now.feedrate_mm_s,
        x=place.x or 0.0,
        y=place.y or 0.0,
        z=place.z or 0.0,
        e=place.e or 0.0,
        homed=now.homed.upper(),
        speed_factor=now.feedrate_factor,
        flow_factor=now.flow_factor,
    )


@table.command("SAVE_GCODE_STATE", help="Keep modes and place under NAME", marlin="the host keeps modes and position")
def save_state(said: Parameters, p: Printer) -> Step:
    name = said.text("NAME", "default")

    def save(doing: Doing) -> Lines:
        doing.host.tuning.put_aside(p, name, doing.modes)
        return ()

    return Between(save)


@table.command(
    "RESTORE_GCODE_STATE",
    help="Bring back the modes kept under NAME, and the place with MOVE=1",
    marlin="`G90`/`G91`, `M82`/`M83` and whatever else has changed; `MOVE=1` also goes back",
)
def restore_state(said: Parameters, p: Printer) -> Step:
    name = said.text("NAME", "default")
    move = said.whole("MOVE", 0)
    speed = said.number("MOVE_SPEED", 0.0, above=0.0, most=MAX_SPEED) if "MOVE_SPEED" in said else 0.0
    return Between(lambda doing: restored(doing.modes, doing.host.tuning.taken_up(p, name), move != 0, speed))


def restored(now: ModalState, then: ModalState, move: bool, speed_mm_s: float) -> list[str]:
    """The lines that bring a machine from `now` to `then`; it goes there only if it is told to `move`.

    It goes along the axes whose place was known; `Malformed` when none was.
    """
    lines = []
    if move:
        places = [f"{axis}{number(getattr(then, axis.lower()))}" for axis in "XYZ" if axis in then.homed]
        if not places:
            raise Malformed("Must home axis first: where the toolhead was when the state was saved is not known")
        feedrate = speed_mm_s or then.feedrate_mm_s
        speed = [f"F{number(mm_min_from_mm_s(feedrate))}"] if feedrate else []
        lines += ["G90", " ".join(["G1", *places, *speed])]
    # Marlin's G90 and G91 speak for E too, so M82 or M83 comes behind them.
    lines += ["G90" if then.absolute else "G91", "M82" if then.extruder_absolute else "M83"]
    if abs(now.e - then.e) > _TINY:
        lines.append(f"G92 E{number(then.e)}")
    if then.feedrate_mm_s and (move or abs(now.feedrate_mm_s - then.feedrate_mm_s) > _TINY):
        lines.append(f"G1 F{number(mm_min_from_mm_s(then.feedrate_mm_s))}")
    if abs(now.speed_factor - then.speed_factor) > _TINY:
        lines.append(f"M220 S{number(then.speed_factor * 100)}")
    if abs(now.flow_factor - then.flow_factor) > _TINY:
        lines.append(f"M221 S{number(then.flow_factor * 100)}")
    return lines


@table.command(
    "SET_GCODE_OFFSET",
    help="Babystep: print closer to the bed, or further from it",
    marlin="`M290` (babysteps) for Z, where the firmware has it; X and Y cannot be moved so",
    needs="BABYSTEPPING",
)
def set_offset(said: Parameters, p: Printer) -> Step:
    for axis in ("X", "Y", "E", "X_ADJUST", "Y_ADJUST", "E_ADJUST"):
        if said.number(axis, 0.0, least=-MM, most=MM):
            raise Malformed(f"Marlin moves Z alone by babysteps, so {axis} must be 0; use G92 or M206 for the others")
    if "Z" in said:
        mm = said.number("Z", least=-MM, most=MM)
    elif "Z_ADJUST" in said:
        mm = said.number("Z_ADJUST", least=-MM, most=MM)
    else:
        return ()
    is_place = "Z" in said

    async def move(doing: Doing) -> None:
        tuning = doing.host.tuning
        await (tuning.move_z_to(p, mm, doing.by) if is_place else tuning.move_z(p, mm, doing.by))

    return move


@table.command(
    "Z_OFFSET_APPLY_PROBE",
    help="Make the babysteps part of the offset of the probe",
    marlin="`M851 Z` with the babysteps added; `SAVE_CONFIG` keeps it",
    needs="Z_PROBE",
)
def apply_to_probe(said: Parameters, p: Printer) -> Step:
    async def apply(doing: Doing) -> None:
        z = await doing.host.tuning.keep_in_probe(p, doing.by)
        doing.remark(f"probe: z_offset: {z:.3f}\n{KEPT_BY}")

    return apply


@table.command(
    "Z_OFFSET_APPLY_ENDSTOP",
    help="Make the babysteps part of the home position",
    marlin="`M206 Z` with the babysteps taken off; `SAVE_CONFIG` keeps it",
)
def apply_to_endstop(said: Parameters, p: Printer) -> Step:
    async def apply(doing: Doing) -> None:
        z = await doing.host.tuning.keep_at_endstop(p, doing.by)
        doing.remark(f"stepper_z: position_endstop: {z:.3f}\n{KEPT_BY}")

    return apply


@table.command(
    "SET_VELOCITY_LIMIT",
    help="Limit speed, acceleration and cornering",
    marlin="`M203` X and Y, `M204`, and `M205` X and Y, or J where the machine has junction deviation",
)
def set_limit(said: Parameters, p: Printer) -> Step:
    limits, lines = p.snapshot.limits, []
    if "VELOCITY" in said:
        velocity = number(said.number("VELOCITY", above=0.0, most=MAX_SPEED))
        lines.append(f"M203 X{velocity} Y{velocity}")
    acceleration = said.number("ACCEL", above=0.0, most=MAX_ACCELERATION) if "ACCEL" in said else limits.acceleration
    if "ACCEL" in said and acceleration is not None:
        lines.append(f"M204 P{number(acceleration)} T{number(acceleration)}")
    if "SQUARE_CORNER_VELOCITY" in said:
        corner = said.number("SQUARE_CORNER_VELOCITY", least=0.0, most=MAX_SPEED)
        lines.append(_cornering(corner, acceleration, p.snapshot.firmware.motion))
    unknown = [name for name in ("MINIMUM_CRUISE_RATIO", "ACCEL_TO_DECEL") if name in said]
    for name in unknown:
        said.number(name, least=0.0)
    if not lines and unknown:
        raise Malformed(f"Marlin has no {unknown[0]}; it plans by VELOCITY, ACCEL and SQUARE_CORNER_VELOCITY alone")
    if lines:
        return lines

    async def tell(doing: Doing) -> None:
        known = (limits.velocity, limits.acceleration, limits.corner_velocity)
        words = ["unknown" if value is None else f"{value:.6f}" for value in known]
        doing.remark(f"max_velocity: {words[0]}\nmax_accel: {words[1]}\nsquare_corner_velocity: {words[2]}")

    return tell


def _cornering(corner: float, acceleration: float | None, motion: tuple[str, ...]) -> str:
    """``M205`` in the way the machine itself writes it: jerk, or junction deviation, in mm."""
    if not any(line.startswith("M205") and " J" in line for line in motion):
        return f"M205 X{number(corner)} Y{number(corner)}"
    if not acceleration:
        raise Malformed("Marlin's junction deviation depends on the acceleration: give ACCEL too")
    return f"M205 J{number(corner * corner * (2**0.5 - 1) / acceleration)}"


@table.command(
    "SET_PRESSURE_ADVANCE",
    help="Set how linear advance makes up for pressure",
    marlin="`M900 K` (linear advance); there is no smooth time",
)
def set_advance(said: Parameters, p: Printer) -> Step:
    tool = extruder_in(said, p) if "EXTRUDER" in said else p.snapshot.tool
    if "ADVANCE" not in said:
        raise Malformed("Marlin's linear advance is ADVANCE= alone; it has no smooth time")
    other = f" T{tool}" if tool != p.snapshot.tool else ""
    return [f"M900{other} K{number(said.number('ADVANCE', least=0.0, most=100.0))}"]


@table.command("SET_RETRACTION", help="Set how G10 and G11 retract", marlin="`M207` and `M208`")
def set_retraction(said: Parameters, p: Printer) -> Lines:
    def words(**letters: str) -> list[str]:
        found = []
        for letter, name in letters.items():
            if name in said:
                value = said.number(name, least=0.0, most=MAX_SPEED)
                found.append(f"{letter}{number(mm_min_from_mm_s(value) if letter == 'F' else value)}")
        return found

    retract = words(S="RETRACT_LENGTH", F="RETRACT_SPEED", Z="Z_HOP_HEIGHT")
    recover = words(S="UNRETRACT_EXTRA_LENGTH", F="UNRETRACT_SPEED")
    return [" ".join([code, *found]) for code, found in (("M207", retract), ("M208", recover)) if found]


@table.command("GET_RETRACTION", help="Tell how G10 and G11 retract", marlin="what `M207` and `M208` said last")
def get_retraction(said: Parameters, p: Printer) -> Step:
    async def tell(doing: Doing) -> None:
        now = p.snapshot.retraction
        if now is None:
            raise Malformed("the printer has not said how it retracts; M207 and M208 set it")
        doing.remark(
            f"RETRACT_LENGTH={now.length:.5f} RETRACT_SPEED={now.speed_mm_s:.5f} "
            f"UNRETRACT_EXTRA_LENGTH={now.extra_length:.5f} UNRETRACT_SPEED={now.extra_speed_mm_s:.5f}"
        )

    return tell


@table.command("ACTIVATE_EXTRUDER", help="Print with EXTRUDER", marlin="`T0`, `T1`, …")
def activate(said: Parameters, p: Printer) -> Lines:
    return [select_tool(p.profile, extruder_in(said, p))]


@table.command("GET_POSITION", help="Tell where the toolhead is", marlin="`M114`")
def position(said: Parameters, p: Printer) -> Lines:
    return ["M114"]


@table.command(
    "SET_IDLE_TIMEOUT", help="Let motors rest after TIMEOUT seconds without a move", marlin="`M84 S`: motors alone"
)
def idle(said: Parameters, p: Printer) -> Lines:
    return [f"M84 S{number(said.number('TIMEOUT', 600.0, above=0.0, most=10_000_000.0))}"]


@table.command("SET_STEPPER_ENABLE", help="Power the motor STEPPER, or free it", marlin="`M17` or `M18`")
def stepper(said: Parameters, p: Printer) -> Lines:
    name = said.text("STEPPER").strip().lower()
    axis = "E" if name.startswith("extruder") else name.removeprefix("stepper_").upper()
    if axis not in {"X", "Y", "Z", "E"}:
        raise Malformed(f"The value '{name[:64]}' is not valid for STEPPER; there are stepper_x, stepper_y, stepper_z")
    return [f"M17 {axis}" if said.whole("ENABLE", 1) else f"M18 {axis}"]


@table.command("SET_INPUT_SHAPER", help="Set the frequencies at which ringing is damped", marlin="`M593`", listed=False)
def shaper(said: Parameters, p: Printer) -> Lines:
    lines = []
    for axis in ("X", "Y"):
        words = [
            f"{letter}{number(said.number(name, least=0.0, most=1000.0))}"
            for letter, name in (("F", f"SHAPER_FREQ_{axis}"), ("D", f"DAMPING_RATIO_{axis}"))
            if name in said
        ]
        if words:
            lines.append(" ".join(["M593", axis, *words]))
    if not lines:
        raise Malformed("give SHAPER_FREQ_X or SHAPER_FREQ_Y; Marlin shapes by M593 and has one kind of shaper")
    return lines
