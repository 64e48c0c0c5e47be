"""Who owns a heater: the off list, and when an engine sends it by itself (reliability, R9)."""

from collections.abc import Mapping
from typing import Final

from polyhost.core.printer import Temperature
from polyhost.engine.messages import MachineSettings

NOBODY_S: Final = 1800.0  # with no server for this long, whatever is idle or paused is switched off


def off_list(machine: MachineSettings) -> tuple[bytes, ...]:
    """The commands that switch off every heater that `machine` has."""
    hotends = (b"M104 S0",) if machine.tools == 1 else tuple(b"M104 T%d S0" % tool for tool in range(machine.tools))
    return hotends + (b"M140 S0",) * machine.heated_bed + (b"M141 S0",) * machine.heated_chamber


def heat_list(targets: Mapping[str, float], tool: int) -> tuple[bytes, ...]:
    """The commands that heat to `targets` (by heater name) and wait: all are set before any is waited for."""
    named = {name: target for name, target in targets.items() if target > 0}
    commands: list[bytes] = []
    for wait in (False, True):
        for name, target in sorted(named.items()):
            value = f"{target:g}"
            match name:
                case "bed":
                    commands.append(f"{'M190' if wait else 'M140'} S{value}".encode())
                case "chamber":
                    commands.append(f"{'M191' if wait else 'M141'} S{value}".encode())
                case _:
                    commands.append(f"{'M109' if wait else 'M104'} T{name.removeprefix('tool')} S{value}".encode())
    if len([name for name in named if name.startswith("tool")]) > 1:
        commands.append(b"T%d" % tool)  # waiting for a hotend selects it on some firmware
    return tuple(commands)


def all_off(heaters: Mapping[str, Temperature]) -> bool:
    """Whether the firmware says that it heats nothing; False when it says nothing."""
    targets = [heater.target for heater in heaters.values() if heater.target is not None]
    return bool(targets) and not any(targets)
