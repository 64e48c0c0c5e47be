"""All commands that are understood, and which of them a printer has."""

from collections.abc import Iterable
from typing import Final

from polyhost.core.handling import ScriptName
from polyhost.dialects.moonraker.gcode import bed, heat, motion, printing, talk, upkeep
from polyhost.dialects.moonraker.gcode.table import Entry, Table
from polyhost.dialects.moonraker.objects.synthesised import Understood
from polyhost.services.host import Host
from polyhost.services.printer import Printer

TABLES: Final[dict[str, Table]] = {
    "Prints": printing.table,
    "Heaters and fans": heat.table,
    "Moves": motion.table,
    "Bed and probe": bed.table,
    "Console": talk.table,
    "Machine": upkeep.table,
}
COMMANDS: Final[dict[str, Entry]] = {entry.name: entry for table in TABLES.values() for entry in table.entries}

HELP: Final = "HELP"
HELP_OF_HELP: Final = "Tell what there is besides plain G-code"
PLAIN: Final = (
    *("G0", "G1", "G2", "G3", "G4", "G28", "G90", "G91", "G92", "M82", "M83", "M18", "M84", "M104", "M109", "M140"),
    *("M190", "M105", "M106", "M107", "M112", "M114", "M115", "M117", "M118", "M220", "M221", "M204", "M400", "M600"),
)
"""What Marlin does by itself; Klipper's own list of these has no help either."""

_HOOKS: Final = frozenset(name.value for name in ScriptName)
MACRO_HELP: Final = "A script of this printer"


def macros_of(host: Host, p: Printer) -> dict[str, str]:
    """The machine's own scripts that are called by name: the name in capitals, as clients write it, and as it is."""
    return {name.upper(): name for name in host.scripts.get(p).scripts if name not in _HOOKS}


def names_of(p: Printer, macros: Iterable[str] = ()) -> tuple[str, ...]:
    """All that ``gcode.commands`` has; `macros` are those of `macros_of`."""
    tools = [f"T{n}" for n in range(p.profile.extruders)] if p.profile.extruders > 1 else []
    there = [entry.name for entry in COMMANDS.values() if entry.listed and not entry.missing(p)]
    return tuple(dict.fromkeys((*PLAIN, *tools, HELP, *there, *macros)))


def help_of(p: Printer, macros: Iterable[str] = ()) -> dict[str, str]:
    """What each command does; plain G-code has none."""
    there = {entry.name: entry.help for entry in COMMANDS.values() if entry.listed and not entry.missing(p)}
    return {HELP: HELP_OF_HELP} | there | dict.fromkeys(macros, MACRO_HELP)


def understood(host: Host, p: Printer) -> Understood:
    """What clients are told that they can send."""
    macros, scripts = macros_of(host, p), host.scripts.get(p).scripts
    commands = dict.fromkeys(names_of(p, macros), "") | help_of(p, macros)
    return Understood(commands, {name: scripts[called] for name, called in macros.items()})
