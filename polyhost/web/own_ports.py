"""The ports that printers have for themselves: opened and closed as printers come, change and go."""

import asyncio
import contextlib
import logging
from typing import Final

from polyhost.core.errors import NotAllowed, NotNow
from polyhost.core.events import PreferencesChanged, PrinterAdded, PrinterRemoved
from polyhost.services.bus import Bus
from polyhost.services.printers import Printers
from polyhost.web.call import OWN_PRINTER
from polyhost.web.listening import listen
from polyhost.web.server import Server

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 60.0
"""How often a port is tried again that another program had."""


class OwnPorts:
    """`server` answers on them at `address`.  A port that is taken is one warning, and that printer does without."""

    def __init__(self, printers: Printers, bus: Bus, server: Server, address: str) -> None:
        self._printers = printers
        self._bus = bus
        self._server = server
        self._address = address
        self.opened: dict[str, int] = {}  # by the printers' slugs
        self._refused: dict[str, int] = {}
        self._adjusting = asyncio.Lock()

    async def run(self) -> None:
        """Follow what printers there are, until cancelled."""
        with self._bus.listen(PrinterAdded, PrinterRemoved, PreferencesChanged) as listener:
            while True:
                await self.adjust()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await anext(listener)

    async def adjust(self) -> None:
        """Open and close what differs from the printers' settings now; nothing while the server does not answer."""
        async with self._adjusting:
            if not self._server.started:
                return
            wanted = {printer.slug: printer.listen for printer in self._printers.all() if printer.listen}
            for slug, port in list(self.opened.items()):
                if wanted.get(slug) != port:
                    del self.opened[slug]
                    self._server.close(port)
            for slug, port in wanted.items():
                if slug not in self.opened:
                    await self._try_to_open(slug, port)

    async def _try_to_open(self, slug: str, port: int) -> None:
        try:
            listening = await asyncio.to_thread(listen, self._address, port)
        except (NotNow, NotAllowed) as taken:
            if self._refused.get(slug) != port:
                log.warning("the port of %s: %s; the host runs without it", slug, taken)
            self._refused[slug] = port
            return
        self._refused.pop(slug, None)
        await self._server.open(listening, {OWN_PRINTER: slug})
        self.opened[slug] = port
