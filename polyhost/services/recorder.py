"""Takes the pictures of one print: when, and until when.  The print never waits for it (R13)."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from polyhost.core.errors import PolyhostError
from polyhost.core.job import RunState
from polyhost.core.printer import Snapshot
from polyhost.core.timelapse import TimelapseConfig, TimelapseMode

log = logging.getLogger(__name__)

MAX_PICTURES: Final = 20_000
_SHOWS_PRINT: Final = frozenset({RunState.PRINTING, RunState.FINISHING})
_SAME_MM: Final = 0.005


class LayerWatch:
    """Tells when a new layer began: by the file's own layers where they are known, by the height otherwise."""

    def __init__(self, z_hop_mm: float) -> None:
        self._z_hop_mm = z_hop_mm
        self._layer = 0
        self._z: float | None = None

    def began(self, snapshot: Snapshot) -> bool:
        """Whether `snapshot` is the first of a layer."""
        run, z = snapshot.run, snapshot.position.z
        if run is None:
            return False
        if run.layers:
            is_new, self._layer = run.layer > self._layer, max(self._layer, run.layer)
            return is_new
        if z is None or (self._z is not None and abs(z - self._z) < _SAME_MM):
            return False
        if self._z is not None and self._z_hop_mm and abs(z - self._z - self._z_hop_mm) < _SAME_MM:
            return False  # it rises to travel, and comes back
        self._z = z
        return True


class Recorder:
    """`take` takes and keeps one picture; what it raises is told once and costs that picture alone."""

    def __init__(
        self, printer: str, run_id: str, name: str, config: TimelapseConfig, take: Callable[[], Awaitable[None]]
    ) -> None:
        self.printer = printer
        self.run_id = run_id
        self.name = name
        self.config = config
        self.was_completed = False
        self._take = take
        self._taken = 0
        self._warned = False
        self._state: RunState | None = None
        self._ended = False
        self._layers = LayerWatch(config.z_hop_mm)
        self._new_layer = False
        self._something = asyncio.Event()

    def moved(self, snapshot: Snapshot) -> None:
        """A new snapshot of the printer; returns at once."""
        run = snapshot.run
        if run is None or run.run_id != self.run_id:
            self._ended = True
        else:
            self._ended = self._ended or run.ended
            self._state = run.state
            self.was_completed = run.state is RunState.COMPLETED
            by_layer = self.config.mode is TimelapseMode.LAYERS and run.state in _SHOWS_PRINT
            if by_layer and self._layers.began(snapshot):
                self._new_layer = True
        if self._ended or self._new_layer:
            self._something.set()

    async def run(self, taken: int) -> None:
        """Take pictures until the run has ended; `taken` were taken before."""
        self._taken = taken
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._ended:
            self._something.clear()
            now = loop.time()
            if self.config.mode is TimelapseMode.TIMED:
                if now >= due:
                    due = now + self.config.interval_s
                    if self._state in _SHOWS_PRINT:
                        await self._shoot()
                await self._wait(due - loop.time())
            else:
                is_wanted, self._new_layer = self._new_layer and now >= due, False
                if is_wanted:
                    due = now + self.config.min_delay_s
                    await self._shoot()
                await self._wait(None)

    async def shoot_last(self) -> None:
        """One more, of what was printed."""
        await self._shoot()

    async def _wait(self, at_most_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._something.wait()

    async def _shoot(self) -> None:
        if self._taken >= MAX_PICTURES:
            return
        try:
            await self._take()
        except PolyhostError as error:
            if not self._warned:
                log.warning("%s: the timelapse %s misses a picture: %s", self.printer, self.name, error)
            self._warned = True
        else:
            self._taken += 1
            self._warned = False
