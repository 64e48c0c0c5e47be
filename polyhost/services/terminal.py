"""What people type: commands for the machine, ``@``-commands for the host, and scripts called by name."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from polyhost.core.errors import Malformed
from polyhost.core.events import AtCommandSeen, CommandSuppressed
from polyhost.core.job import RunState
from polyhost.core.user import Caller, Permission
from polyhost.gcode.vetting import refusal_of
from polyhost.services import commands
from polyhost.services.bus import Bus
from polyhost.services.printer import Printer
from polyhost.services.runs import Runs
from polyhost.services.scripts import ScriptLibrary
from polyhost.services.steering import Steering

_AT: Final = re.compile(r"@(\w+)")
_PAUSES: Final = re.compile(r"M0*(0|1|25)(?![\d.])", re.IGNORECASE)
_CARD_PAUSE: Final = "25"
_BLOCKED: Final = "it would make the printer wait for a button; the host pauses instead"


class Terminal:
    def __init__(self, steering: Steering, runs: Runs, scripts: ScriptLibrary, bus: Bus) -> None:
        self._steering = steering
        self._runs = runs
        self._scripts = scripts
        self._bus = bus

    async def send(self, p: Printer, lines: Sequence[str], by: Caller, *, until_done: bool = False) -> tuple[str, ...]:
        """Carry out `lines` in their order; commands go between the lines of a run, if there is one.

        ``M112`` among them is all that happens, at once.  ``@pause``, ``@resume``, ``@cancel`` and ``@abort`` steer the
        run; other ``@``-commands are announced.  ``M0`` and ``M1`` pause a run, as ``M25`` does, and are never sent.
        `Malformed` for what no command may be, and for a target beyond the profile: nothing is sent then.
        `until_done` waits for the machine, and returns what it said, as `Driver.send` does.
        """
        by.require(Permission.CONTROL, p.slug)
        checked = commands.checked_commands(lines)
        if any(commands.is_emergency_stop(line) for line in checked):
            await self._steering.emergency_stop(p, by)
            return ()
        if why := refusal_of(checked, p.profile):
            raise Malformed(why)
        waiting: list[str] = []
        said: list[str] = []
        for line in checked:
            at, pauses = _AT.match(line), _PAUSES.match(line)
            if at is None and (pauses is None or (pauses[1] == _CARD_PAUSE and p.run_state is not RunState.PRINTING)):
                waiting.append(line)
                continue
            said += await self._flush(p, waiting, by, until_done)
            if at is not None:
                await self._steer(p, at[1].lower(), line, by)
            elif pauses is not None:
                await self._pause_for(p, line, pauses[1], by)
        said += await self._flush(p, waiting, by, until_done)
        return tuple(said)

    async def call(
        self,
        p: Printer,
        script: str,
        parameters: Mapping[str, object],
        context: Mapping[str, object],
        by: Caller,
        *,
        until_done: bool = False,
    ) -> None:
        """Send what the script of that name comes to now; `NotFound` when there is none such."""
        by.require(Permission.CONTROL, p.slug)
        lines = await self._scripts.called(p, script, parameters, context)
        if lines:
            await self.send(p, lines, by, until_done=until_done)

    async def _flush(self, p: Printer, waiting: list[str], by: Caller, until_done: bool) -> tuple[str, ...]:
        if not waiting:
            return ()
        lines = tuple(waiting)
        waiting.clear()
        return await self._steering.send(p, lines, by, until_done=until_done)

    async def _steer(self, p: Printer, word: str, line: str, by: Caller) -> None:
        if p.run_state is None or word not in {"pause", "resume", "cancel", "abort"}:
            self._bus.publish(AtCommandSeen(p.slug, line))
        elif word == "pause":
            await self._runs.pause(p, by)
        elif word == "resume":
            await self._runs.resume(p, by)
        else:
            await self._runs.cancel(p, by)

    async def _pause_for(self, p: Printer, line: str, number: str, by: Caller) -> None:
        if p.run_state is RunState.PRINTING:
            await self._runs.pause(p, by)
        if number != _CARD_PAUSE:
            self._bus.publish(CommandSuppressed(p.slug, line, _BLOCKED))
