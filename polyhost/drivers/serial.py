"""The driver of a machine on a serial port."""

from typing import TYPE_CHECKING

from polyhost import config
from polyhost.core.handling import Handling
from polyhost.drivers.engine_driver import EngineDriver
from polyhost.engine.messages import MachineSettings, SerialLink

if TYPE_CHECKING:
    from polyhost.drivers.engines import EnginePool


class SerialDriver(EngineDriver):
    """Marlin-family firmware behind any serial device; baud 0 finds the rate."""

    def __init__(self, pool: "EnginePool", slug: str, settings: config.Printer, idle_off_s: float) -> None:
        machine = MachineSettings(
            link=SerialLink(settings.port, settings.baud),
            autoconnect=settings.autoconnect,
            window_lines=settings.window_lines,
            window_bytes=settings.window_bytes,
            idle_off_s=idle_off_s,
        )
        super().__init__(pool, slug, machine.handled(Handling(settings.profile)))
