"""Who is connected, and how what happens reaches them: each notification is encoded and framed once for all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from polyhost.core.user import Caller, Permission
from polyhost.dialects.moonraker.request import Edition
from polyhost.dialects.moonraker.resource import Notification
from polyhost.services.accounts import Accounts
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
    """One client that stays, on a WebSocket or a local socket.

    `call` is the request that opened it; its caller changes when somebody logs in.
    """

    def __init__(self, number: int, call: Call, socket: Socket, edition: Edition) -> None:
        self.id = number
        self.call = call
        self.socket = socket
        self.edition = edition
        self.slug = call.slug or ""
        self._opened_as = call.caller
        self.client: Client | None = None  # until it identifies itself
        self._expect()
        self.batches = 0  # that are being answered: what changes meanwhile must not overtake what they say

    def may(self, permission: Permission) -> bool:
        """On the printer that it is connected to; a guest may nothing, and is told nothing."""
        return self.call.caller.may(permission, self.slug or None)

    def become(self, caller: Caller) -> None:
        """From now on it is `caller` who asks, and is told."""
        self.call.caller = caller
        self._expect()
        self.slug = self.call.slug or ""  # a key may be bound to another printer

    def _expect(self) -> None:
        """Of who is known many requests are taken; of a stranger as few as of everybody else on a socket."""
        if not self.call.caller.is_guest:
            self.socket.expect_requests()

    def review(self, accounts: Accounts) -> bool:
        """Take what has ended from who is connected; whether they may nothing any more.

        Who had logged in is again whoever opened the connection.
        """
        was = self.call.caller
        if was.is_guest:
            return False
        now = accounts.still(was, self.call.session)
        if now.is_guest and was != self._opened_as:
            now = accounts.still(self._opened_as, self.call.session)
        if now != was:
            self.become(now)
        return now.is_guest


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

    def rights_changed(self, accounts: Accounts, user: str) -> None:
        """What somebody may changed: who may nothing any more hears that, and then nothing."""
        for connection in self:
            if connection.call.caller.name == user and connection.review(accounts):
                connection.socket.send(frame_of("user_logged_out", ({"username": user},)))

    def end_keys(self, accounts: Accounts, now: float) -> None:
        """Take their rights from those whose key has come to its end."""
        for connection in self:
            key = connection.call.caller.key
            if key is not None and key.ends_at is not None and key.ends_at <= now:
                connection.review(accounts)

    def tell(self, told: Iterable[Notification], *, but: Connection | None = None) -> None:
        """Tell those whom it concerns, except `but`; returns at once, whoever is slow."""
        if not self._open:
            return
        for one in told:
            modern: Frame | None = None
            early: Frame | None = None
            for connection in self.of(one.printer):
                if connection is but or not connection.may(one.needs):
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
