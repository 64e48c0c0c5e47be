"""Heaters that nobody watches are switched off (reliability, R9)."""

import logging
from typing import Final, Protocol

from polyhost.core.job import RunState
from polyhost.core.ports import Clock
from polyhost.core.printer import PrinterState
from polyhost.engine.card import Card
from polyhost.engine.connection import Connection
from polyhost.engine.conversation import Conversation
from polyhost.engine.messages import MachineSettings
from polyhost.engine.run import FileRun

log = logging.getLogger(__name__)

NOBODY_S: Final = 1800.0  # with no server for this long, whatever is idle or paused is switched off


class Holder(Protocol):
    """Who holds the machine."""

    name: str
    settings: MachineSettings
    connection: Connection
    conversation: Conversation
    card: Card
    run: FileRun | None

    @property
    def hot(self) -> bool: ...

    def switch_off(self) -> None:
        """Send the off list."""


class Idle:
    """When somebody used the machine last, and what follows; times on the monotonic clock."""

    def __init__(self, holder: Holder, clock: Clock) -> None:
        self._holder = holder
        self._clock = clock
        self._used_at = clock.monotonic()

    def used(self) -> None:
        """Somebody uses it now."""
        self._used_at = self._clock.monotonic()

    def cool(self, now: float, nobody_since: float | None) -> None:
        """Switch off what is hot while idle or paused, with no person for the time that the settings allow.

        `nobody_since` is when the last server went, None while one is there.
        """
        holder, run = self._holder, self._holder.run
        paused = run is not None and run.state is RunState.PAUSED
        busy = run is not None and run.active and not paused
        if not holder.hot or busy or holder.connection.state is not PrinterState.READY:
            return
        if holder.card.prints_by_itself:
            self.used()  # there is somebody at the machine
            return
        unwatched_s = self._left_alone(now, holder.settings.idle_off_s, nobody_since)
        if unwatched_s:
            log.info("%s: heaters off, nobody used the printer for %d min", holder.name, unwatched_s / 60)
            if run is not None and paused and not run.cooled:
                run.cooled = holder.conversation.picture.targets
            self.used()
            holder.switch_off()

    def _left_alone(self, now: float, idle_off_s: float, nobody_since: float | None) -> float:
        """For how many seconds nobody used it, if that is long enough to switch off what is hot; else 0.

        `idle_off_s` is what its owner allows, 0 without end.
        """
        unwatched_s = now - self._used_at
        alone_s = 0.0 if nobody_since is None else now - max(nobody_since, self._used_at)
        return unwatched_s if (idle_off_s and unwatched_s >= idle_off_s) or alone_s >= NOBODY_S else 0.0
