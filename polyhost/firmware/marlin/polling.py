"""When to ask for temperatures: seldom when nothing heats, hardly ever while the firmware reports by itself."""

from typing import Final

from polyhost.firmware.marlin.replies import TemperaturesReported

IDLE_S: Final = 5.0
HEATING_S: Final = 2.0
REPORT_EVERY_S: Final = 2  # what M155 is asked for
_NEVER: Final = float("inf")


class TemperaturePolling:
    """Says when the next ``M105`` is due."""

    __slots__ = ("_heating", "due_at", "reporting")

    def __init__(self) -> None:
        self.due_at = _NEVER
        self.reporting = False  # M155 was sent: an M105 is for reports that stay away
        self._heating = False

    def start(self) -> None:
        """The first one is due at once."""
        self.due_at = -_NEVER

    def asked(self, now: float) -> None:
        """An ``M105`` was sent."""
        self.due_at = now + self._interval_s()

    def heard(self, report: TemperaturesReported, now: float) -> None:
        """A report came, asked for or not."""
        self._heating = any(heater.target for heater in report.heaters.values())
        if self.due_at != _NEVER and self.reporting:
            self.due_at = now + self._interval_s()

    def _interval_s(self) -> float:
        return (HEATING_S if self._heating else IDLE_S) + (2.0 * REPORT_EVERY_S if self.reporting else 0.0)
