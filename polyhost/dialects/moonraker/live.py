"""What this dialect keeps between its answers, and does while nobody asks: one for each application."""

import asyncio

from polyhost.dialects.moonraker.connections import Connections
from polyhost.dialects.moonraker.resource import Resource, Teller
from polyhost.services.host import Host


class Live:
    """A part of the application, which routes reach as ``call.part(Live)``."""

    def __init__(self, host: Host, resources: tuple[Resource, ...]) -> None:
        self.host = host
        self.connections = Connections()
        self.warnings: tuple[str, ...] = ()  # what front ends show of this server, above everything
        self.components = [name for resource in resources for name in resource.components]
        self._tellers: dict[type, list[Teller]] = {}
        for resource in resources:
            for kinds, teller in resource.tellers:
                for kind in kinds:
                    self._tellers.setdefault(kind, []).append(teller)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="moonraker's notifications")

    async def _hear(self) -> None:
        with self.host.bus.listen(*self._tellers, bound=1024) as listener:
            async for notice in listener:
                for teller in self._tellers.get(type(notice), ()):
                    self.connections.tell(teller(notice, self.host))
