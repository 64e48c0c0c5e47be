"""Pauses that people want at a layer.

They are about one run, and are forgotten when it ends.  LayerPause count from 1.
"""

import logging
from typing import Final

import msgspec

from polyhost.core.errors import NotNow, PolyhostError
from polyhost.core.events import PrinterRemoved, RunStateChanged
from polyhost.core.job import ENDED, RunState
from polyhost.core.printer import Snapshot
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.runs import Runs

log = logging.getLogger(__name__)

_KINDS: Final = (Snapshot, RunStateChanged, PrinterRemoved)


class LayerPause(msgspec.Struct, frozen=True):
    pause_at: int | None = None  # the layer whose beginning pauses the run
    pause_next: bool = False
    by: Caller | None = None  # who wants the pause


class LayerWatch:
    """`run` pauses."""

    def __init__(self, printers: Printers, runs: Runs, bus: Bus) -> None:
        self._printers = printers
        self._runs = runs
        self._bus = bus
        self._wanted: dict[str, LayerPause] = {}

    def get(self, p: Printer) -> LayerPause:
        return self._wanted.get(p.slug, LayerPause())

    def pause_at(self, p: Printer, layer: int | None, by: Caller) -> None:
        """Pause when `layer` begins; None takes that back.  `NotNow` when it has begun already."""
        self._needs(p, by)
        live = p.snapshot.run
        if layer is not None and p.run_state is not None and live is not None and layer <= live.layer:
            raise NotNow(f"layer {layer} has begun already; the print is at {live.layer}")
        self._keep(p, msgspec.structs.replace(self.get(p), pause_at=layer, by=by))

    def pause_next(self, p: Printer, on: bool, by: Caller) -> None:
        """Pause when the next layer begins."""
        self._needs(p, by)
        live = p.snapshot.run
        if on and (p.run_state is None or live is None):
            raise NotNow(f"{p.slug} is not printing")
        wanted = msgspec.structs.replace(self.get(p), pause_next=on, by=by)
        if on and live is not None:
            wanted = msgspec.structs.replace(wanted, pause_at=live.layer + 1)
        elif self.get(p).pause_next:
            wanted = msgspec.structs.replace(wanted, pause_at=None)
        self._keep(p, wanted)

    async def run(self) -> None:
        with self._bus.listen(*_KINDS) as listener:
            async for notice in listener:
                match notice:
                    case Snapshot() if self._wanted:
                        await self._look(notice)
                    case RunStateChanged(printer, _, state) if state in ENDED:
                        self._wanted.pop(printer, None)
                    case PrinterRemoved(printer):
                        self._wanted.pop(printer, None)
                    case _:
                        pass

    async def _look(self, snapshot: Snapshot) -> None:
        wanted, live = self._wanted.get(snapshot.printer), snapshot.run
        if wanted is None or wanted.pause_at is None or wanted.by is None or live is None:
            return
        if live.state is not RunState.PRINTING or live.layer < wanted.pause_at:
            return
        p = self._printers.find(snapshot.printer)
        if p is None:
            return
        self._keep(p, msgspec.structs.replace(wanted, pause_at=None, pause_next=False, by=None))
        try:
            await self._runs.pause(p, wanted.by)
            log.info("%s: paused at layer %s, as %s wanted", p.slug, live.layer, wanted.by.name)
        except PolyhostError as error:
            log.warning("%s: is not paused at layer %s: %s", p.slug, live.layer, error)

    def _keep(self, p: Printer, layers: LayerPause) -> None:
        if layers == LayerPause():
            self._wanted.pop(p.slug, None)
        else:
            self._wanted[p.slug] = layers

    @staticmethod
    def _needs(p: Printer, by: Caller) -> None:
        by.require(Permission.PRINT, p.slug)
