"""The machine itself: restarts, settings, sensors, lights, pins, objects to leave out."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from polyhost.core.errors import Malformed, NotFound, NotNow
from polyhost.core.file import NamedObject
from polyhost.core.printer import PrinterState
from polyhost.core.user import Caller
from polyhost.dialects.moonraker.gcode.grammar import Parameters
from polyhost.dialects.moonraker.gcode.table import Doing, Lines, Step, Table
from polyhost.dialects.moonraker.objects.excluding import by_shown_name
from polyhost.services.host import Host
from polyhost.services.printer import Printer

table = Table()

END_WAIT_S: Final = 5.0

STATES: Final = {
    PrinterState.OFFLINE: "Error",
    PrinterState.DETECTING: "Not ready",
    PrinterState.CONNECTING: "Not ready",
    PrinterState.READY: "Ready",
    PrinterState.UNREACHABLE: "Error",
    PrinterState.FAULTED: "Shutdown",
}


async def restart(host: Host, p: Printer, by: Caller, *, firmware: bool = False) -> None:
    """Close the link, which leaves the machine cold, and open it again, which resets most boards.

    Firmware that is stopped and still listens is told to go on first.
    """
    if p.snapshot.state is PrinterState.FAULTED:
        await _written_down(host, p)
    if p.run_state is not None:
        raise NotNow(f"{p.slug} is printing; cancel the run first")
    profile = p.profile_id
    if p.is_operational:
        if firmware:
            await host.terminal.send(p, ["M999"], by)
        await host.printers.disconnect(p, by)
    try:
        await host.printers.connect(p, None, None, by, profile=profile)
    except NotFound as gone:  # its port; to a client that would be a method that is not there
        raise NotNow(str(gone)) from gone


async def _written_down(host: Host, p: Printer) -> None:
    """Return when the run that a fault ended is over here too: whoever stops a machine asks for its restart at once."""
    with host.bus.listen() as notices, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_WAIT_S):
            while p.run_state is not None:
                await anext(notices)


@table.command(
    "RESTART",
    help="Open the link to the printer anew",
    marlin="the host opens the link to the printer again",
)
def restart_host(said: Parameters, p: Printer) -> Step:
    async def do(doing: Doing) -> None:
        await restart(doing.host, p, doing.by)

    return do


@table.command(
    "FIRMWARE_RESTART",
    help="Reset the printer and open its link anew",
    marlin="`M999`, then the link is opened again, which resets most boards",
)
def restart_firmware(said: Parameters, p: Printer) -> Step:
    async def do(doing: Doing) -> None:
        await restart(doing.host, p, doing.by, firmware=True)

    return do


@table.command("STATUS", help="Tell how the printer is", marlin="the host says how the printer is")
def status(said: Parameters, p: Printer) -> Step:
    async def tell(doing: Doing) -> None:
        now = p.snapshot
        doing.remark(f"Klipper state: {STATES[now.state]}" + (f"\n{now.fault}" if now.fault else ""))

    return tell


@table.command("SAVE_CONFIG", help="Have the firmware keep its settings", marlin="`M500`; nothing is restarted")
def save(said: Parameters, p: Printer) -> Lines:
    return ["M500"]


@table.command("SET_FILAMENT_SENSOR", help="Heed the filament sensor, or do not", marlin="`M412 S`")
def sensor(said: Parameters, p: Printer) -> Lines:
    return [f"M412 S{int(said.whole('ENABLE', 1) != 0)}", "M412"]  # asked anew, it says which


@table.command("QUERY_FILAMENT_SENSOR", help="Tell whether there is filament", marlin="`M412`")
def query_sensor(said: Parameters, p: Printer) -> Lines:
    return ["M412"]


@table.command(
    "LOAD_FILAMENT", help="Feed filament into the hotend", marlin="`M701`, where the machine has it", listed=False
)
def load(said: Parameters, p: Printer) -> Lines:
    return ["M701"]


@table.command(
    "UNLOAD_FILAMENT", help="Draw filament out of the hotend", marlin="`M702`, where the machine has it", listed=False
)
def unload(said: Parameters, p: Printer) -> Lines:
    return ["M702"]


@table.command("SET_LED", help="Let the lights shine in RED, GREEN and BLUE", marlin="`M150`", listed=False)
def led(said: Parameters, p: Printer) -> Lines:
    colours = (("R", "RED"), ("U", "GREEN"), ("B", "BLUE"), ("W", "WHITE"))
    words = [f"{letter}{round(said.number(name, 0.0, least=0.0, most=1.0) * 255)}" for letter, name in colours]
    if "INDEX" in said:
        words.append(f"I{said.whole('INDEX', least=1, most=10_000) - 1}")
    return [" ".join(["M150", *words])]


@table.command("SET_PIN", help="Give the pin PIN the value VALUE", marlin="`M42`; `PIN` is its number", listed=False)
def pin(said: Parameters, p: Printer) -> Lines:
    name = said.text("PIN")
    if not name.isdecimal() or len(name) > 4:
        raise Malformed(f"The value '{name[:64]}' is not valid for PIN; Marlin's M42 knows pins by their numbers")
    return [f"M42 P{int(name)} S{round(said.number('VALUE', least=0.0, most=1.0) * 255)}"]


@table.command(
    "EXCLUDE_OBJECT",
    help="Leave out the object NAME from now on",
    marlin="the host leaves out what is still to come of the object; `CURRENT=1` is the one being printed",
)
def exclude(said: Parameters, p: Printer) -> Step:
    name, current, reset = said.text("NAME", "").upper(), said.whole("CURRENT", 0), said.whole("RESET", 0)

    async def do(doing: Doing) -> None:
        if reset:
            raise Malformed("what is left out already cannot be put back; its lines were not sent")
        shown = by_shown_name(await doing.shown.objects())
        if not name and not current:
            left_out = p.snapshot.run.excluded if p.snapshot.run is not None else ()
            doing.remark("left out: " + " ".join(there for there, one in shown.items() if one.name in left_out))
            return
        wanted = name or await _current(doing, shown)
        if wanted not in shown:
            raise Malformed(
                f"There is no object {wanted[:64]} in what is printed; there are: {', '.join(shown) or 'none'}"
            )
        await doing.host.runs.exclude(p, [shown[wanted].name], doing.by)

    return do


async def _current(doing: Doing, shown: Mapping[str, NamedObject]) -> str:
    run = doing.p.snapshot.run
    at = run.file_bytes if run is not None else 0
    for name, one in shown.items():
        if any(begins <= at < ends for begins, ends in one.ranges):
            return name
    raise NotNow("what is printed now belongs to no object; name one with NAME=")


@table.command(
    "EXCLUDE_OBJECT_DEFINE",
    "EXCLUDE_OBJECT_START",
    "EXCLUDE_OBJECT_END",
    help="Say where an object of a file is",
    marlin="nothing: the host has read the file itself",
)
def marks(said: Parameters, p: Printer) -> Lines:
    return []


# What Marlin cannot do, and what to do instead.
REFUSED: Final = {
    "FORCE_MOVE": "Marlin moves no single motor; G92 tells it where it is, M211 S0 lets it go beyond its limits",
    "SET_KINEMATIC_POSITION": "tell the machine where it is with G92",
    "STEPPER_BUZZ": "Marlin has no such test; move the axis with G1",
    "MANUAL_PROBE": "level by hand with the printer's own display, or use G29",
    "PROBE_CALIBRATE": "lower the nozzle with SET_GCODE_OFFSET or the printer's display, then Z_OFFSET_APPLY_PROBE",
    "Z_ENDSTOP_CALIBRATE": "lower the nozzle with SET_GCODE_OFFSET, then Z_OFFSET_APPLY_ENDSTOP",
    "TESTZ": "nothing is being calibrated; move with G1 Z",
    "ACCEPT": "nothing is being calibrated",
    "ABORT": "nothing is being calibrated",
    "BED_SCREWS_ADJUST": "use the bed tramming of the printer's display",
    "BED_TILT_CALIBRATE": "use G29",
    "DELTA_CALIBRATE": "use G33",
    "QUAD_GANTRY_LEVEL": "use G34, if the machine has several Z motors",
    "BED_MESH_OFFSET": "Marlin's mesh stays where it was probed",
    "SHAPER_CALIBRATE": "print a test, and set the frequency with M593 or SET_INPUT_SHAPER",
    "TEST_RESONANCES": "print a test, and set the frequency with M593 or SET_INPUT_SHAPER",
    "MEASURE_AXES_NOISE": "Marlin reads no accelerometer",
    "ACCELEROMETER_QUERY": "Marlin reads no accelerometer",
    "ACCELEROMETER_MEASURE": "Marlin reads no accelerometer",
    "TUNING_TOWER": "slicers make such towers themselves",
    "SET_EXTRUDER_ROTATION_DISTANCE": "Marlin counts steps for each mm: M92 E",
    "SYNC_EXTRUDER_MOTION": "choose a tool with T0, T1; mix with M163 where the machine does",
    "SAVE_VARIABLE": "keep values in a script of the printer",
    "SET_GCODE_VARIABLE": "scripts of the printer take parameters instead: NAME KEY=VALUE",
    "UPDATE_DELAYED_GCODE": "there is no delayed G-code",
    "QUERY_ADC": "Marlin reports its own sensors with M105, pins with M43",
    "SET_TEMPERATURE_FAN_TARGET": "Marlin has no fans that follow a temperature; M710 sets its controller fan",
    "SET_TMC_CURRENT": "use M906",
    "INIT_TMC": "drivers are set up by the firmware; M122 tests them",
    "DUMP_TMC": "use M122",
}


def refusal_of(name: str) -> Malformed:
    return Malformed(f"{name} is not possible on a printer that speaks Marlin: {REFUSED[name]}")
