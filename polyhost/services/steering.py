"""What a person may tell a machine, besides runs: to move, to heat, to stop, or any command.

Whether a printer may be moved or heated now is decided here, once, for every API.
"""

from collections.abc import Mapping, Sequence

from polyhost.core.errors import Malformed, NotNow
from polyhost.core.user import Caller, Permission
from polyhost.services import commands
from polyhost.services.printer import Printer


class Steering:
    async def emergency_stop(self, p: Printer, by: Caller) -> None:
        """``M112``, whatever the state, before anything else."""
        by.require(Permission.CONTROL, p.slug)
        await p.driver.emergency_stop()

    async def send(self, p: Printer, lines: Sequence[str], by: Caller, *, until_done: bool = False) -> tuple[str, ...]:
        """Send commands as they are, between the lines of a run if there is one.

        `until_done` waits until the machine has done them, and returns what it said to them, as `Driver.send` does.
        """
        by.require(Permission.CONTROL, p.slug)
        checked = commands.checked_commands(lines)
        if any(commands.is_emergency_stop(line) for line in checked):
            await p.driver.emergency_stop()
            return ()
        _must_be_operational(p)
        return await p.driver.send(checked, until_done=until_done)

    async def jog(
        self,
        p: Printer,
        x: float | None = None,
        y: float | None = None,
        z: float | None = None,
        *,
        absolute: bool = False,
        by_hand: bool = False,
        feedrate_mm_s: float | None = None,
        by: Caller,
    ) -> None:
        """Move by, or to, so many mm; `NotNow` while a run moves the machine.

        `by_hand`: distances are as a person at the machine means them, so that inverted axes are turned round.
        """
        by.require(Permission.CONTROL, p.slug)
        moves = {axis: mm for axis, mm in (("x", x), ("y", y), ("z", z)) if mm is not None}
        if by_hand:
            moves = p.profile.jogged(moves)
        await _tell(p, commands.jog(p.profile, moves, absolute, feedrate_mm_s), moves=True)

    async def home(self, p: Printer, axes: frozenset[str], by: Caller) -> None:
        by.require(Permission.CONTROL, p.slug)
        await _tell(p, commands.home(axes), moves=True)

    async def extrude(self, p: Printer, length_mm: float, feedrate_mm_s: float | None, by: Caller) -> None:
        by.require(Permission.CONTROL, p.slug)
        await _tell(p, commands.extrude(p.profile, length_mm, feedrate_mm_s), moves=True)

    async def select_tool(self, p: Printer, n: int, by: Caller) -> None:
        by.require(Permission.CONTROL, p.slug)
        await _tell(p, [commands.select_tool(p.profile, n)])

    async def set_targets(self, p: Printer, targets: Mapping[str, float], by: Caller) -> None:
        """°C by heater; all are judged before the first is sent."""
        by.require(Permission.CONTROL, p.slug)
        if not targets:
            raise Malformed("no heater named")
        await _tell(p, [commands.target(p.profile, heater, celsius) for heater, celsius in targets.items()])

    async def set_offsets(self, p: Printer, offsets: Mapping[str, float], by: Caller) -> None:
        """°C, at most 50 either way, that targets of a file are raised by."""
        by.require(Permission.CONTROL, p.slug)
        checked = {
            commands.checked_heater(p.profile, heater): commands.checked_offset(celsius)
            for heater, celsius in offsets.items()
        }
        _must_be_operational(p)
        await p.driver.set_offsets(checked)

    async def set_feedrate(self, p: Printer, factor: float, by: Caller) -> None:
        by.require(Permission.CONTROL, p.slug)
        await _tell(p, [commands.feedrate(factor)])

    async def set_flow(self, p: Printer, factor: float, by: Caller) -> None:
        by.require(Permission.CONTROL, p.slug)
        await _tell(p, [commands.flow(factor)])


async def _tell(p: Printer, lines: Sequence[str], *, moves: bool = False) -> None:
    _must_be_operational(p)
    if moves and p.is_moving:
        raise NotNow(f"{p.slug} is printing; pause or cancel the run first")
    await p.driver.send(lines)


def _must_be_operational(p: Printer) -> None:
    if not p.is_operational:
        raise NotNow(f"{p.slug} is {p.snapshot.state.value}; connect it first")
