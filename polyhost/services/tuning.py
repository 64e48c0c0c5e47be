"""What people change at a machine while it works: modes put aside and taken up again, the nozzle's height.

Modes are kept by name, for each printer, until it is removed or the host ends.
"""

import re
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from polyhost.core.errors import MachineFault, Malformed
from polyhost.core.ports import Clock
from polyhost.core.user import Caller, Permission
from polyhost.gcode.modal import ModalState
from polyhost.services.commands import number
from polyhost.services.printer import Printer
from polyhost.services.steering import Steering

MAX_ASIDE: Final = 32
MAX_NAME: Final = 64
MAX_BABYSTEP_MM: Final = 10.0
HEARD_AFTER_S: Final = 2.0  # of a babystep at the latest, from the machine's holder
_NUMBER: Final = r"(-?(?:\d+\.?\d*|\.\d+))"
_PROBE: Final = re.compile(rf"(?:M851\b[^;]*?\bZ|Probe (?:Z )?Offset:?\s[^;]*?Z?:?) *{_NUMBER}\s*(?:;.*)?$")
_HOME: Final = re.compile(rf"M206\b[^;]*?\bZ *{_NUMBER}")


@dataclass(slots=True)
class Kept:
    """How much of the babysteps (mm) the machine's own offsets have, and how many lines it had been sent then."""

    mm: float = 0.0
    lines_sent: int = 0


class Tuning:
    def __init__(self, steering: Steering, clock: Clock) -> None:
        self._steering = steering
        self._clock = clock
        self._moved: WeakKeyDictionary[Printer, tuple[float, float, float]] = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[Printer, Kept] = WeakKeyDictionary()
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
            raise Malformed(f"nothing is saved as {name[:MAX_NAME]!r}; SAVE_GCODE_STATE NAME=… saves it")
        return kept

    def z_offset(self, p: Printer) -> float:
        """How far the nozzle was moved by babysteps, in mm, those included that its holder did not tell of yet."""
        before, after, until = self._moved.get(p, (0.0, 0.0, 0.0))
        told = p.snapshot.z_offset
        return after if told == before and self._clock.monotonic() < until else told

    async def move_z_to(self, p: Printer, mm: float, by: Caller) -> None:
        """`move_z`, so far that `z_offset` is `mm`."""
        await self.move_z(p, mm - self.z_offset(p), by)

    async def move_z(self, p: Printer, mm: float, by: Caller) -> None:
        """Move the nozzle by babysteps, now and for all that follows; the probe's own offset stays as it is.

        `Malformed` for more than `MAX_BABYSTEP_MM` either way.
        """
        by.require(Permission.CONTROL, p.slug)
        if not -MAX_BABYSTEP_MM <= mm <= MAX_BABYSTEP_MM:
            raise Malformed(f"the nozzle is moved by at most {MAX_BABYSTEP_MM:g} mm at once, not {mm:g}")
        if (words := number(mm)) != "0":
            told, now = p.snapshot.z_offset, self.z_offset(p)
            await self._steering.send(p, [f"M290 P0 Z{words}"], by, until_done=True)
            if p.snapshot.z_offset == told:
                self._moved[p] = (told, now + mm, self._clock.monotonic() + HEARD_AFTER_S)

    async def keep_in_probe(self, p: Printer, by: Caller) -> float:
        """Add the babysteps to the probe's offset (mm), which is returned; doing so again adds nothing."""
        now = await self._asked(p, "M851", _PROBE, by)
        return await self._keep(p, "M851", now, 1, by)

    async def keep_at_endstop(self, p: Printer, by: Caller) -> float:
        """The same for a machine that homes Z to a switch: a lower nozzle makes its place at the switch higher."""
        now = await self._asked(p, "M206", _HOME, by)
        return await self._keep(p, "M206", now, -1, by)

    async def _asked(self, p: Printer, command: str, found_by: re.Pattern[str], by: Caller) -> float:
        said = await self._steering.send(p, [command], by, until_done=True)
        for line in said:
            if (found := found_by.search(line)) is not None:
                return float(found[1])
        raise MachineFault(f"{p.slug} does not say its offset (M503 would show it as {command}); set it by {command} Z")

    async def _keep(self, p: Printer, command: str, now: float, sign: int, by: Caller) -> float:
        kept = self._kept.get(p, Kept())
        if p.snapshot.lines_sent < kept.lines_sent:  # the link was opened again: babysteps count from there
            kept = Kept()
        offset = self.z_offset(p)
        wanted = now + sign * (offset - kept.mm)
        if abs(wanted - now) > 1e-6:
            await self._steering.send(p, [f"{command} Z{number(wanted)}"], by, until_done=True)
        self._kept[p] = Kept(offset, p.snapshot.lines_sent)
        return wanted
