"""What people change at a machine while it works: modes put aside and taken up again, the nozzle's height.

Modes are kept by name, for each printer, until it is removed or the host ends.
"""

from typing import Final
from weakref import WeakKeyDictionary

from polyhost.core.errors import Malformed
from polyhost.core.user import Caller, Permission
from polyhost.gcode.modal import ModalState
from polyhost.services.commands import number
from polyhost.services.printer import Printer
from polyhost.services.steering import Steering

MAX_ASIDE: Final = 32
MAX_NAME: Final = 64
MAX_BABYSTEP_MM: Final = 10.0


class Tuning:
    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self._aside: WeakKeyDictionary[Printer, dict[str, ModalState]] = WeakKeyDictionary()

    def put_aside(self, p: Printer, name: str, modes: ModalState) -> None:
        """Keep `modes` under `name`; of more than `MAX_ASIDE` the oldest goes."""
        if len(name) > MAX_NAME:
            raise Malformed(f"the name of a state has at most {MAX_NAME} characters")
        kept = self._aside.setdefault(p, {})
        kept.pop(name, None)
        kept[name] = modes.copy()
        while len(kept) > MAX_ASIDE:
            del kept[next(iter(kept))]

    def taken_up(self, p: Printer, name: str) -> ModalState:
        """What was kept; it stays."""
        kept = self._aside.get(p, {}).get(name)
        if kept is None:
            raise Malformed(f"Unknown g-code state: {name[:MAX_NAME]}")
        return kept

    async def move_z(self, p: Printer, mm: float, by: Caller) -> None:
        """Move the nozzle by babysteps, now and for all that follows; the probe's own offset stays as it is.

        `Malformed` for more than `MAX_BABYSTEP_MM` either way.
        """
        by.require(Permission.CONTROL, p.slug)
        if not -MAX_BABYSTEP_MM <= mm <= MAX_BABYSTEP_MM:
            raise Malformed(f"the nozzle is moved by at most {MAX_BABYSTEP_MM:g} mm at once, not {mm:g}")
        if (words := number(mm)) != "0":
            await self._steering.send(p, [f"M290 P0 Z{words}"], by)
