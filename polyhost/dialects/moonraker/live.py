"""What this dialect keeps between its answers, and does while nobody asks: one for each application."""

import asyncio
from typing import Final

from polyhost.core.events import LoggedOut, PrinterStateChanged, RightsChanged
from polyhost.dialects.moonraker.agents import Agents
from polyhost.dialects.moonraker.connections import Connections
from polyhost.dialects.moonraker.feeds import Feeds
from polyhost.dialects.moonraker.filelist import FileNews
from polyhost.dialects.moonraker.gcode.registry import understood
from polyhost.dialects.moonraker.gcode.store import GcodeStore
from polyhost.dialects.moonraker.klippy import KlippyNews
from polyhost.dialects.moonraker.resource import Resource, Teller
from polyhost.services.host import Host

BEAT_S: Final = 1.0


class Live:
    """A part of the application, which routes reach as ``call.part(Live)``."""

    def __init__(self, host: Host, resources: tuple[Resource, ...]) -> None:
        self.host = host
        self.connections = Connections()
        self.agents = Agents(self.connections)
        self.feeds = Feeds(host, self.connections, understood)
        self.gcode = GcodeStore(host, self.connections)
        self.components = [name for resource in resources if resource.listed(host) for name in resource.components]
        self._klippy = KlippyNews()
        self._file_news = FileNews(host, self.connections)
        self._beats = [beat for resource in resources for beat in resource.beats]
        self._tellers: dict[type, list[Teller]] = {}
        for resource in resources:
            for kinds, teller in resource.tellers:
                for kind in kinds:
                    self._tellers.setdefault(kind, []).append(teller)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="moonraker's notifications")
            group.create_task(self.gcode.run(), name="moonraker's consoles")
            group.create_task(self._file_news.run(), name="moonraker's news of files")
            group.create_task(self._beat(), name="moonraker's heartbeat")
            group.create_task(self.feeds.run(), name="moonraker's status")

    async def _beat(self) -> None:
        """Tell everybody something each second, for who hears nothing thinks that the server is gone."""
        while True:
            await asyncio.sleep(BEAT_S)
            if self.connections:
                self.connections.end_keys(self.host.accounts, self.host.clock.now())
                for beat in self._beats:
                    self.connections.tell(beat(self.host, len(self.connections)))

    async def _hear(self) -> None:
        with self.host.bus.listen(
            *self._tellers, PrinterStateChanged, RightsChanged, LoggedOut, bound=1024
        ) as listener:
            async for notice in listener:
                if isinstance(notice, RightsChanged | LoggedOut):
                    self.connections.rights_changed(self.host.accounts, notice.user)
                elif isinstance(notice, PrinterStateChanged):
                    self.connections.tell(self._klippy.of(notice))
                for teller in self._tellers.get(type(notice), ()):
                    self.connections.tell(teller(notice, self.host))
