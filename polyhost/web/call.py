"""One request, as a route sees it."""

import urllib.parse
from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from polyhost.core.errors import Malformed, NotAllowed, NotKnown, Unsupported
from polyhost.core.user import GUEST, Caller, Permission
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.services.sessions import Session
from polyhost.services.throttle import network_of
from polyhost.web import bodies
from polyhost.web.addressing import DEFAULT_PORTS, Peer, base_url, host_header_of
from polyhost.web.answers import Latest
from polyhost.web.errors import Foreign
from polyhost.web.sockets import Seat, Seats

T = TypeVar("T")
Scope = MutableMapping[str, Any]

MAX_JSON: Final = 100 * 1024
_ORIGIN_PORTS: Final = {**DEFAULT_PORTS, "ws": 80, "wss": 443}  # apps' libraries name the socket's own scheme
MAX_PARAMETERS: Final = 100
_TRUE: Final = frozenset({"true", "yes", "y", "1"})


def truth_of(value: object) -> bool:
    """Whether a client's flag is set: true, "true", "yes", "y", "1" or 1, in any case."""
    return str(value).lower() in _TRUE


@dataclass(frozen=True, slots=True)
class Kit:
    """What an application keeps between its calls, and lends to each.

    Small answers, one for each printer, are kept in `latest`, and long ones, for which the client's own words may be
    part of the key, in `lists`.  `origins` are those of foreign pages that may call.  `is_shared` says of an address
    whether many may stand behind it.
    """

    latest: Latest
    lists: Latest
    seats: Seats
    parts: Mapping[type, object]
    origins: frozenset[bytes]
    is_shared: Callable[[str], bool]
    is_proxy: Callable[[str], bool]
    trusts: Callable[["Call"], bool]


OWN_PRINTER: Final = "own printer"
"""In the state of an ASGI scope: the slug of the printer that the port was opened for."""


class Call:
    """A request whose caller is known.

    `params` are the fields of the route's path; `caller` is set by the guard.
    """

    __slots__ = (
        "_kit",
        "_query",
        "_receive",
        "caller",
        "headers",
        "host",
        "params",
        "peer",
        "prefixed",
        "scope",
        "session",
    )

    def __init__(
        self,
        host: Host,
        scope: Scope,
        receive: bodies.Receive,
        headers: dict[bytes, bytes],
        peer: Peer,
        prefixed: str | None,
        kit: Kit,
    ) -> None:
        """`prefixed` is the slug of a path that began with ``/p/<slug>``."""
        self.host = host
        self.scope = scope
        self.headers = headers
        self.peer = peer
        self.prefixed = prefixed
        self._kit = kit
        self.params: dict[str, str] = {}
        self.caller: Caller = GUEST
        self.session: Session | None = None  # the cookie's, when that is who calls
        self._receive = receive
        self._query: dict[str, str] | None = None

    @property
    def slug(self) -> str | None:
        """The printer that is meant, which need not exist; None when there is none at all.

        First match wins: named in the path, its prefix, the printer's own port, a key bound to printers, a host
        name that starts with the slug, the default.
        """
        slug = self.params.get("slug") or self.prefixed or self._by_port()
        if slug is not None:
            return slug
        printers = self.host.printers.all()
        default = self.host.printers.default().slug if printers else None
        key = self.caller.key
        if key is not None and key.printers:
            return default if default in key.printers else key.printers[0]
        return self._by_name() or default

    @property
    def addressed(self) -> str | None:
        """The printer that the client's address for us names, whoever calls; None when it could be any."""
        return self.prefixed or self._by_port() or self._by_name()

    def _by_port(self) -> str | None:
        """The printer that the port is for: never another when that one has gone, and the port is about to."""
        opened_for: str | None = self.scope.get("state", {}).get(OWN_PRINTER)
        if opened_for is not None:
            return opened_for
        server = self.scope.get("server")
        if server is None or not server[1]:
            return None
        return next((printer.slug for printer in self.host.printers.all() if printer.listen == server[1]), None)

    def _by_name(self) -> str | None:
        first, dot, _ = self.peer.host.name.partition(".")
        if not dot or first.isdigit():
            return None
        return next((printer.slug for printer in self.host.printers.all() if printer.slug == first), None)

    def part(self, kind: type[T]) -> T:
        """The dialect's own part of that class (`polyhost.web.routes.Part`)."""
        part = self._kit.parts[kind]
        assert isinstance(part, kind)
        return part

    @property
    def latest(self) -> Latest:
        """Small answers that are kept, one for each printer."""
        return self._kit.latest

    @property
    def lists(self) -> Latest:
        """Long answers that are kept; the client's own words may be part of their key."""
        return self._kit.lists

    def take_seat(self) -> Seat:
        """A place among the sockets of this host; `polyhost.web.sockets.Crowded` when there is none."""
        address = self.peer.address
        return self._kit.seats.take(network_of(address), bounded=not self._kit.is_shared(address))

    @property
    def is_proxy(self) -> bool:
        """Whether it is a trusted proxy that asks, and does not say for whom."""
        return self._kit.is_proxy(self.peer.address)

    @property
    def is_trusted(self) -> bool:
        """Whether nobody needs a login where it comes from, whoever it is."""
        return self._kit.trusts(self)

    def check_origin(self) -> None:
        """`Foreign` unless the page that asks is ours, is one of those that may, or there is none (S8)."""
        origin = self.headers.get(b"origin")
        if origin is None or origin in self._kit.origins:
            return
        scheme, _, rest = origin.decode("latin-1").partition("://")
        asking, asked = host_header_of(rest), self.peer.host
        usual = _ORIGIN_PORTS.get(scheme.lower())
        ours = asked.port or DEFAULT_PORTS.get(self.peer.scheme)
        if usual is None or asking is None or (asking.name, asking.port or usual) != (asked.name, ours):
            raise Foreign("pages of this origin may not call; access.allow_origins names those that may")

    @property
    def printer(self) -> Printer:
        """The printer that is meant; `NotFound` names those that exist."""
        slug = self.slug
        return self.host.printers.default() if slug is None else self.host.printers.get(slug)

    @property
    def base(self) -> str:
        """How the client reaches this printer's root: scheme, host, prefix; no slash at the end."""
        return base_url(self.peer) + (f"/p/{self.prefixed}" if self.prefixed is not None else "")

    @property
    def root(self) -> str:
        """The part of `base` behind scheme and host."""
        return self.peer.root + (f"/p/{self.prefixed}" if self.prefixed is not None else "")

    @property
    def csrf(self) -> str:
        """The token of the cookie's session, "" without one."""
        return self.session.csrf if self.session is not None else ""

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters of the URL, the last of each name."""
        if self._query is None:
            self._query = query_of(self.scope["query_string"])
        return self._query

    def flag(self, name: str) -> bool:
        return truth_of(self.query.get(name, ""))

    def number(self, name: str, default: int, *, most: int) -> int:
        """A count in the URL, from 0 to `most` (beyond that: `most`)."""
        said = self.query.get(name)
        if said is None:
            return default
        if not (said.isascii() and said.isdigit() and len(said) < 16):
            raise Malformed(f"{name} must be a whole number, not {said!r}")
        return min(int(said), most)

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1").strip()

    @property
    def media_type(self) -> str:
        return self.header(b"content-type").split(";", 1)[0].strip().lower()

    def require(self, permission: Permission) -> None:
        """`NotAllowed` unless the caller may, on the printer that is meant; `NotKnown` for a guest."""
        if not self.caller.may(permission, self.slug):
            reason = f"It takes a key or login that may {permission.value}."
            key = self.caller.key
            if key is not None and self.caller.may(permission):  # and so it was the printer
                reason = f"This key is for {', '.join(key.printers)} alone, not for {self.slug}."
            refused = NotKnown if self.caller.is_guest else NotAllowed
            raise refused(f"You don't have the permission to access the requested resource. {reason}")

    async def json(self) -> bytes:
        """The body, at most 100 KB, declared as JSON; `Unsupported` when it is declared as something else."""
        if self.media_type != "application/json":
            raise Unsupported(f"expected application/json, got {self.media_type or 'no content type'}")
        return await bodies.whole(self._receive, self.headers, MAX_JSON)

    async def body(self, kind: type[T]) -> T:
        """The JSON body as a `kind`."""
        return bodies.decoded(await self.json(), kind)

    async def content(self, max_bytes: int) -> bytes:
        """The body, whatever it says to be."""
        return await bodies.whole(self._receive, self.headers, max_bytes)

    async def form(self) -> dict[str, str]:
        """The body as ``application/x-www-form-urlencoded``, at most 100 KB."""
        return query_of(await bodies.whole(self._receive, self.headers, MAX_JSON))

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, whatever its size: the route bounds it."""
        return bodies.chunks_of(self._receive)


def query_of(query: bytes) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = urllib.parse.parse_qsl(
            query.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:  # UnicodeError is one
        raise Malformed(f"the parameters cannot be read: {error}") from error
    return dict(pairs)
