"""How each machine is to be treated: computed from its profile, its scripts and its owner's options, and passed on.

`Printers.configure` asks for it whenever a profile changes; this module has it asked when the rest does.
"""

import logging
from collections.abc import Mapping
from typing import Final, Self

import msgspec

from polyhost.core.errors import PolyhostError
from polyhost.core.events import PreferencesChanged
from polyhost.core.handling import Handling, OnError, ScriptName
from polyhost.services.bus import Bus
from polyhost.services.preferences import HOST, Preferences
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.scripts import GcodeScripts, ScriptLibrary

log = logging.getLogger(__name__)


class MachineOptions(msgspec.Struct, frozen=True):
    """What the owner of one printer wants done with it."""

    on_error: OnError = OnError.DISCONNECT
    card: bool = True  # whether the printer's own card is used
    position_on_pause: bool = True  # whether a pause asks the firmware where it is
    position_on_cancel: bool = False  # whether a cancel does, which then waits for the moves under way

    def checked(self) -> Self:
        return self


_CONCERNS: Final = frozenset({MachineOptions.__name__, GcodeScripts.__name__})


class Treatment:
    """`services.printers.Treating`; `run` has the machines' holders told when options or scripts change."""

    def __init__(self, printers: Printers, scripts: ScriptLibrary, preferences: Preferences, bus: Bus) -> None:
        self._printers = printers
        self._scripts = scripts
        self._preferences = preferences
        self._bus = bus
        printers.treatment = self

    async def run(self) -> None:
        with self._bus.listen(PreferencesChanged) as listener:
            lost = 0
            async for notice in listener:
                assert isinstance(notice, PreferencesChanged)
                concerned = notice.printer
                if listener.lost != lost:
                    lost, concerned = listener.lost, HOST
                elif notice.section not in _CONCERNS:
                    continue
                for p in self._printers.all():
                    if concerned in {HOST, p.slug}:
                        await self._printers.configure(p)

    async def handling_of(self, p: Printer) -> Handling:
        options = self._preferences.get(MachineOptions, p.slug)
        made: Mapping[ScriptName, tuple[str, ...]] = {}
        try:
            made = await self._scripts.of_machine(p)
        except PolyhostError as error:  # its limits count all the same
            log.warning("%s: its scripts are left out: %s", p.slug, error)
        return Handling(
            p.profile,
            after_connect=made.get(ScriptName.AFTER_CONNECT, ()),
            before_disconnect=made.get(ScriptName.BEFORE_DISCONNECT, ()),
            before_tool_change=made.get(ScriptName.BEFORE_TOOL_CHANGE, ()),
            after_tool_change=made.get(ScriptName.AFTER_TOOL_CHANGE, ()),
            on_error=options.on_error,
            card=options.card,
            position_on_pause=options.position_on_pause,
            position_on_cancel=options.position_on_cancel,
        )
