"""The bed: probing, endstops, meshes.  Marlin keeps one mesh, in its own memory."""

from polyhost.core.errors import Malformed
from polyhost.core.user import Caller
from polyhost.dialects.moonraker.gcode.grammar import Parameters
from polyhost.dialects.moonraker.gcode.table import Doing, Lines, Step, Table
from polyhost.firmware.marlin.endstops import endstops_in
from polyhost.services.host import Host
from polyhost.services.printer import Printer

table = Table()

MESH = "default"
"""What clients call the only one."""


@table.command(
    "BED_MESH_CALIBRATE",
    help="Probe the bed and use the mesh of it",
    marlin="`G29`, then `M420 S1 V` to use it and to show it",
    needs="AUTOLEVEL",
)
def calibrate(said: Parameters, p: Printer) -> Lines:
    if not set("xyz") <= set(p.snapshot.homed):
        raise Malformed("Must home axis first")
    return ["G29", "M420 S1 V"]


@table.command("BED_MESH_CLEAR", help="Print without the mesh", marlin="`M420 S0`", needs="AUTOLEVEL")
def clear(said: Parameters, p: Printer) -> Lines:
    return ["M420 S0"]


@table.command(
    "BED_MESH_PROFILE",
    help="LOAD or SAVE the mesh that the firmware keeps",
    marlin=f"there is one mesh, called `{MESH}`: `LOAD` is `M420 S1`, `SAVE` is `M500`",
    needs="AUTOLEVEL",
)
def profile(said: Parameters, p: Printer) -> Lines:
    if "REMOVE" in said:
        raise Malformed("Marlin keeps one mesh, which the next G29 replaces; BED_MESH_CLEAR stops using it")
    for name, lines in (("LOAD", ["M420 S1 V"]), ("SAVE", ["M500"])):
        if name in said:
            if said.text(name) != MESH:
                raise Malformed(f"bed_mesh: Unknown profile [{said.text(name)[:64]}]; Marlin keeps one, called {MESH}")
            return lines
    raise Malformed("Invalid syntax 'BED_MESH_PROFILE'; give LOAD=default or SAVE=default")


@table.command("BED_MESH_OUTPUT", "BED_MESH_MAP", help="Show the mesh", marlin="`M420 V`", needs="AUTOLEVEL")
def output(said: Parameters, p: Printer) -> Lines:
    return ["M420 V"]


async def endstops_of(host: Host, p: Printer, by: Caller) -> dict[str, str]:
    """What the machine says of each endstop now, in Klipper's words; of two of one axis, whichever is touched."""
    found = endstops_in(await host.terminal.send(p, ["M119"], by, until_done=True))
    return {name: "TRIGGERED" if touched else "open" for name, touched in found.items()}


@table.command("QUERY_ENDSTOPS", help="Tell which endstops are touched", marlin="`M119`")
def endstops(said: Parameters, p: Printer) -> Step:
    async def ask(doing: Doing) -> None:
        doing.shown.told.endstops = await endstops_of(doing.host, p, doing.by)

    return ask


@table.command("QUERY_PROBE", help="Tell whether the probe is touched", marlin="`M119`", needs="Z_PROBE")
def query_probe(said: Parameters, p: Printer) -> Lines:
    return ["M119"]


@table.command("PROBE", help="Probe the bed below the nozzle", marlin="`G30`", needs="Z_PROBE")
def probe(said: Parameters, p: Printer) -> Lines:
    return ["G30"]


@table.command("PROBE_ACCURACY", help="Probe one place SAMPLES times and compare", marlin="`M48`", needs="Z_PROBE")
def accuracy(said: Parameters, p: Printer) -> Lines:
    return [f"M48 P{said.whole('SAMPLES', 10, least=4, most=50)}"]


@table.command(
    "Z_TILT_ADJUST",
    help="Level the gantry by its Z motors",
    marlin="`G34`, where the machine has several Z motors",
    listed=False,
)
def tilt(said: Parameters, p: Printer) -> Lines:
    return ["G34"]


@table.command(
    "SCREWS_TILT_CALCULATE",
    help="Probe the bed at its screws and tell how far to turn them",
    marlin="`G35`",
    needs="Z_PROBE",
    listed=False,
)
def screws(said: Parameters, p: Printer) -> Lines:
    return ["G35"]
