"""The driver of a machine that is not there: the firmware simulator, in the memory of an engine."""

from typing import TYPE_CHECKING

import msgspec

from polyhost import config
from polyhost.core.handling import Handling
from polyhost.drivers.engine_driver import EngineDriver
from polyhost.engine.messages import MachineSettings, Misbehave, VirtualLink

if TYPE_CHECKING:
    from polyhost.drivers.engines import EnginePool


class VirtualDriver(EngineDriver):
    """Everything that a serial machine does, at a speed of choice, and faults on command."""

    def __init__(self, pool: "EnginePool", slug: str, settings: config.Printer, idle_off_s: float) -> None:
        profile = settings.profile
        tools = 1 if profile.shared_nozzle else profile.extruders
        machine = MachineSettings(
            link=VirtualLink(settings.speed, tools, profile.heated_chamber),
            autoconnect=settings.autoconnect,
            window_lines=settings.window_lines,
            window_bytes=settings.window_bytes,
            idle_off_s=idle_off_s,
        )
        super().__init__(pool, slug, machine.handled(Handling(profile)))

    async def configure(self, handling: Handling) -> None:
        """The simulated machine has the shape that it is said to have, from its next connect on."""
        link = self.machine.link
        assert isinstance(link, VirtualLink)
        profile = handling.profile
        tools = 1 if profile.shared_nozzle else profile.extruders
        shaped = msgspec.structs.replace(link, tools=tools, heated_chamber=profile.heated_chamber)
        await self._become(msgspec.structs.replace(self.machine.handled(handling), link=shaped))

    async def misbehave(self, fault: str, argument: float = 0.0) -> None:
        """Have the simulator do something wrong: a fault by its name, such as ``unplug`` or ``thermal``."""
        await self._ask(Misbehave(printer=self.slug, fault=fault, argument=argument))
