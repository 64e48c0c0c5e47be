"""What machines under test report to, and the clock they go by."""

import asyncio
import time

from polyhost.core.events import DriverEvent
from polyhost.engine.messages import EndedRun


class SilentHub:
    """Keeps what it hears."""

    listening = False

    def __init__(self) -> None:
        self.nobody_since: float | None = None
        self.events: list[DriverEvent] = []
        self.ends: list[EndedRun] = []
        self.news = asyncio.Event()

    def event(self, event: DriverEvent) -> None:
        self.events.append(event)

    def ended(self, ended: EndedRun) -> None:
        self.ends.append(ended)


class MovedClock:
    """Real time, and as much more as a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s
