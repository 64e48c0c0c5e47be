"""Who is connected, and how what happens reaches them: each notification is encoded and framed once for all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.moonraker.request import Edition
from polyhost.dialects.moonraker.resource import Notification
from polyhost.web.call import Call
from polyhost.web.sockets import Frame, Socket, text_frame

_encode: Final = msgspec.json.Encoder().encode


class Client(msgspec.Struct, frozen=True):
    """What a client said of itself (``server.connection.identify``)."""

    client_name: str
    version: str
    type: str
    url: str


class Connection:
    """One open WebSocket.  `call` is the request that opened it; its caller changes when somebody logs in."""

    def __init__(self, number: int, call: Call, socket: Socket, edition: Edition) -> None:
        self.id = number
        self.call = call
        self.socket = socket
        self.edition = edition
        self.slug = call.slug or ""
        self.client: Client | None = None  # until it identifies itself
        self.batches = 0  # that are being answered: what changes meanwhile must not overtake what they say

    def may(self, permission: Permission) -> bool:
        """On the printer that it is connected to; a guest may nothing, and is told nothing."""
        return self.call.caller.may(permission, self.slug or None)


class Connections:
    """All of them.  Numbers are never used again while the host runs."""

    def __init__(self) -> None:
        self._open: dict[int, Connection] = {}
        self._last = 0

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def find(self, number: int) -> Connection | None:
        return self._open.get(number)

    def of(self, slug: str) -> list[Connection]:
        """Those connected to a printer; all of them for ""."""
        return [connection for connection in self._open.values() if not slug or connection.slug == slug]

    @contextmanager
    def opened(self, call: Call, socket: Socket, edition: Edition) -> Iterator[Connection]:
        self._last += 1
        connection = self._open[self._last] = Connection(self._last, call, socket, edition)
        try:
            yield connection
        finally:
            del self._open[connection.id]

    def tell(self, told: Iterable[Notification]) -> None:
        """Tell those whom it concerns; returns at once, whoever is slow."""
        if not self._open:
            return
        for one in told:
            modern: Frame | None = None
            early: Frame | None = None
            for connection in self.of(one.printer):
                if not connection.may(one.needs):
                    continue
                if connection.edition is Edition.EARLY:
                    if not one.modern_only:
                        early = early or frame_of(one.name, one.params if one.early is None else one.early)
                        connection.socket.send(early, latest=one.latest)
                elif not one.early_only:
                    modern = modern or frame_of(one.name, one.params)
                    connection.socket.send(modern, latest=one.latest)


def frame_of(name: str, params: tuple[Any, ...]) -> Frame:
    """A notification on the wire.  Without params there is no such key, and there never is an ``id``."""
    said: dict[str, Any] = {"jsonrpc": "2.0", "method": f"notify_{name}"}
    if params:
        said["params"] = params
    return text_frame(_encode(said))
