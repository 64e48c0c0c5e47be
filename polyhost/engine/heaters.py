"""Heaters: the off list, and whether what heats is known to be hot, on the disk too (reliability, R9)."""

from collections.abc import Callable, Iterable, Mapping

from polyhost.core.printer import Temperature
from polyhost.engine.messages import MachineSettings
from polyhost.gcode.modal import heating


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


class Heat:
    """Whether a machine is hot, and whether the journal knows: what heats is held back until it does.

    `hot` is true from the first heating command until the machine is known to be off.  `write` has it written down;
    `written` is to be called when that is done.
    """

    def __init__(self, hot: bool, write: Callable[[], None]) -> None:
        self.hot = hot
        self._on_disk = hot
        self._write_down = write
        self._waiting = False  # for the disk
        self._wanted = False  # a command waits with us
        self._heatings = 0  # sent so far: an older off list does not speak for them

    def allows(self, commands: Iterable[bytes]) -> bool:
        """Whether `commands` may be sent now; if not, it is being written down that the machine gets hot."""
        if not self.must_wait(commands):
            return True
        self._wanted = True
        self._write()
        return False

    def must_wait(self, commands: Iterable[bytes]) -> bool:
        """Whether the journal must be written before `commands` are sent."""
        return not self._on_disk and heating(commands)

    def sent(self, commands: Iterable[bytes]) -> None:
        """Commands of the host's own went out."""
        self._heatings += heating(commands)

    def reported(self, told: Mapping[str, Temperature], *, quiet: bool) -> bool:
        """Take the firmware's word; `quiet` when nothing is on its way to it.  Whether that made the machine cold."""
        if any(heater.target for heater in told.values()):
            if not self.hot:
                self._write()  # somebody at the machine, or a print from its own card
            return False
        return quiet and not self._waiting and all_off(told) and self.cooled()

    def off_list(self) -> Callable[[], bool]:
        """An off list is sent: what to call when it is acknowledged; it says whether the machine is cold by it."""
        before = self._heatings
        return lambda: self._heatings == before and self.cooled()

    def cooled(self) -> bool:
        """The machine is off; False if that was known."""
        was, self.hot, self._on_disk = self.hot, False, False
        return was

    def _write(self) -> None:
        if not self._waiting:
            self._waiting = self.hot = True
            self._write_down()

    def written(self, *, done: bool) -> bool:
        """The journal answered.  False when the disk refused, and commands that wait must not be sent."""
        wanted, self._waiting, self._wanted = self._wanted, False, False
        self._on_disk = done
        if wanted and not done:
            self.hot = False
            return False
        return True
