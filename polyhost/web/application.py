"""The ASGI application: every request of every dialect comes in here.

In order: who calls; is the host set up; which route; may the caller; which printer; then the route, which reads
the body.  Whatever is raised becomes an answer in the words of the dialect whose path it was.
"""

import asyncio
import contextlib
import logging
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from email.utils import formatdate
from typing import Any, Final

import anyio
from starlette.responses import FileResponse

from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotKnown, PolyhostError, SetupNeeded
from polyhost.services.accounts import LOCAL
from polyhost.services.host import Host
from polyhost.web.addressing import KnownHosts, Peer, Peers, below_root, split_prefix
from polyhost.web.answers import Answer, Encoded, Headers, Latest, Stored, Streamed, encoded, no_content, unchanged
from polyhost.web.bodies import ClientGone, Receive
from polyhost.web.call import OWN_PRINTER, Call, Kit, Scope
from polyhost.web.errors import Broken, Crowded, NoPreflight, NoRoute, NotASocket, TooSlow, WrongMethod
from polyhost.web.guard import Guard
from polyhost.web.routes import Dialect, Part, Place, Route, Router, SocketHandler, SocketRoute
from polyhost.web.socket_connection import EXTENSION
from polyhost.web.sockets import BROKEN, POLICY, TRY_LATER, Seats, Socket, SocketClosed, Wire

log = logging.getLogger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_GET_HEADERS: Final[Headers] = [(b"cache-control", b"max-age=0"), NOSNIFF]
_OTHER_HEADERS: Final[Headers] = [(b"cache-control", b"no-store, no-cache, must-revalidate"), NOSNIFF]
_RANGE: Final = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_STALLED_READER_S: Final = 30.0
_KEPT_ANSWERS: Final = 2048  # of a few KB, two or three for each printer
_KEPT_LISTS: Final = 16  # of up to some MB, one for each host name that clients use


class Application:
    """All dialects over one `host`.

    `doors` are extra ports and the dialect that owns what is unknown there.  `local_socket` is the path of the
    Unix socket whose caller is the administrator.  The last of `dialects` owns what no other does.
    """

    def __init__(
        self,
        host: Host,
        dialects: Sequence[Dialect],
        *,
        doors: Mapping[int, str] | None = None,
        local_socket: str = "",
    ) -> None:
        self.host = host
        self.dialects = tuple(dialects)
        self.closing = asyncio.Event()  # streams without an end stop when this is set
        self._router = Router(dialects)
        by_name = {dialect.name: dialect for dialect in dialects}
        self._doors = {port: by_name[name] for port, name in (doors or {}).items()}
        self._peers = Peers(host.config.access.proxies)
        self._origins = frozenset(origin.encode() for origin in host.config.access.allow_origins)
        self._guard = Guard(host, KnownHosts(host.config.server.hosts), local_socket)
        parts = [make(host) for dialect in dialects for make in dialect.parts]
        self.parts: Mapping[type, Part] = {type(part): part for part in parts}  # these have to run beside the answers
        latest, lists = Latest(_KEPT_ANSWERS), Latest(_KEPT_LISTS)
        self._kit = Kit(
            *(latest, lists, Seats(), self.parts, self._origins),
            *(self._peers.is_shared, self._peers.is_proxy, self._guard.trusts),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        started = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        headers = dict(scope["headers"])
        extra = _GET_HEADERS if scope["method"] in {"GET", "HEAD"} else _OTHER_HEADERS
        if self._origins and headers.get(b"origin") in self._origins:
            extra = [*extra, (b"access-control-allow-origin", headers[b"origin"]), (b"vary", b"Origin")]
        client = scope.get("client")
        peer = self._peers.peer(client[0] if client else "", scope.get("server"), scope["scheme"], headers)
        path = ""
        try:
            try:
                path = below_root(_path(scope), peer.root)
                answer = await self._answer(scope, receive, headers, peer, path)
                await self._deliver(answer, extra, scope, receive, sending)
            except PolyhostError as error:
                if started:
                    raise
                answer = self._owner(path, scope).errors.answer(error)
                if isinstance(error, TooSlow):
                    extra = [*extra, (b"connection", b"close")]
                await self._deliver(answer, extra, scope, receive, sending)
        except ClientGone:
            return
        except Exception:  # the end of the world: a request must not take the server with it
            log.exception("%s %s broke", scope["method"], path)
            if started:
                raise  # too late for an answer; the connection is closed
            answer = self._owner(path, scope).errors.answer(Broken("something broke on this host; its log says what"))
            await self._deliver(answer, extra, scope, receive, send)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], peer: Peer, path: str
    ) -> Answer:
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            return self._preflight(headers, self._owner(path, scope))
        call, place = self._call(scope, receive, headers, peer, path)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        route = place.methods.get(method) if place is not None else None
        self._check_set_up(call, route)
        if place is None:
            raise NoRoute(f"nothing is served at {path}")
        if route is None:
            allowed = place.allowed()
            if not allowed:
                raise NotASocket('Can "Upgrade" only to "WebSocket".')
            raise WrongMethod(f"{scope['method']} is not for {path}; use {' or '.join(allowed)}", allowed)
        if not route.any_page:
            self._guard.check_forgery(call)
        _check_permission(call, route)
        if call.prefixed is not None:
            self._check_printer(call.prefixed, named=route.needs is not None)
        answer = await route.handler(call)
        return answer if isinstance(answer, Answer) else encoded(answer)

    def _call(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], peer: Peer, path: str
    ) -> tuple[Call, Place | None]:
        """A call whose caller is known, and what is at its path."""
        slug, below = split_prefix(path)
        call = Call(self.host, scope, receive, headers, peer, slug, self._kit)
        self._guard.identify(call)
        found = self._router.find(below)
        if found is None:
            return call, None
        place, call.params = found
        return call, place

    def _check_set_up(self, call: Call, route: Route | SocketRoute | None) -> None:
        before_setup = isinstance(route, Route) and route.before_setup
        if call.caller.is_guest and not before_setup and self.host.accounts.setup_needed:
            raise SetupNeeded("setup needed: open /setup on this host, or run polyhost init")

    # Sockets

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a WebSocket for its route, or refuse it as a request to that path would be."""
        headers = dict(scope["headers"])
        client = scope.get("client")
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], "http")
        peer = self._peers.peer(client[0] if client else "", scope.get("server"), scheme, headers)
        path = ""
        try:
            path = below_root(_path(scope), peer.root)
            call, place = self._call(scope, receive, headers, peer, path)
            route = place.socket if place is not None else None
            call.check_origin()
            self._check_set_up(call, route)
            if place is None:
                raise NoRoute(f"nothing is served at {path}")
            if route is None:
                raise NotASocket(f"{path} is not for WebSockets")
            _check_permission(call, route)
            if call.prefixed is not None:
                self._check_printer(call.prefixed, named=route.needs is not None)
            if route.before is not None:
                route.before(call)
        except PolyhostError as error:
            answer = self._owner(path, scope).errors.answer(error)
            start = {"type": "websocket.http.response.start", "status": answer.status}
            await send({**start, "headers": [*answer.headers, NOSNIFF]})
            await send({"type": "websocket.http.response.body", "body": answer.body})
            return
        await receive()  # "websocket.connect"
        await send({"type": "websocket.accept"})
        await self._serve(route.handler, call, Socket(scope["extensions"][EXTENSION], receive), path)

    async def serve_local(self, handler: SocketHandler, slug: str, path: str, wire: Wire, receive: Receive) -> None:
        """Have `handler` serve a client of the local socket at `path`, which means that printer and has every right."""
        peer = self._peers.peer("", None, "http", {})
        scope: Scope = {"type": "websocket", "query_string": b"", "server": (path, None), "state": {OWN_PRINTER: slug}}
        call = Call(self.host, scope, receive, {}, peer, None, self._kit)
        call.caller = LOCAL
        await self._serve(handler, call, Socket(wire, receive), path)

    async def _serve(self, handler: SocketHandler, call: Call, socket: Socket, path: str) -> None:
        try:
            with call.take_seat():
                await handler(call, socket)
            socket.close()
        except Crowded as crowded:
            socket.close(TRY_LATER, str(crowded))
        except SocketClosed:
            pass
        except PolyhostError as error:
            socket.close(POLICY, str(error))
        except Exception:  # the end of the world: a socket must not take the server with it
            log.exception("the socket %s broke", path)
            socket.close(BROKEN, "something broke on this host; its log says what")

    # Around both

    def _check_printer(self, slug: str, *, named: bool) -> None:
        """`NotFound` unless there is that printer; with those there are if `named`, which no stranger may hear."""
        try:
            self.host.printers.get(slug)
        except NotFound:
            if named:
                raise
            raise NotFound(f"no printer {slug!r}") from None

    def _owner(self, path: str, scope: Scope) -> Dialect:
        """Whose words an error at `path` is told in."""
        _, below = split_prefix(path)
        found = self._router.find(below)
        if found is not None:
            return found[0].dialect
        for dialect in self.dialects:
            if below.startswith(dialect.prefixes):
                return dialect
        server = scope.get("server")
        return self._doors.get(server[1] if server else 0, self.dialects[-1])

    def _preflight(self, headers: dict[bytes, bytes], owner: Dialect) -> Answer:
        if headers.get(b"origin") not in self._origins:
            raise NoPreflight("pages of this origin may not call; access.allow_origins names those that may")
        told = owner.preflight or (
            (b"access-control-allow-methods", headers[b"access-control-request-method"]),
            (b"access-control-allow-headers", headers.get(b"access-control-request-headers", b"")),
        )
        private = (b"access-control-request-private-network", b"true")
        allowed = [(b"access-control-allow-private-network", b"true")] if private in headers.items() else []
        return no_content([*told, *allowed, (b"access-control-max-age", b"10")])

    async def _deliver(self, answer: Answer, extra: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        match answer:
            case Encoded():
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers + extra})
                body = b"" if scope["method"] == "HEAD" else answer.body
                await send({"type": "http.response.body", "body": body})
            case Stored():
                await _send_file(answer, extra, scope, receive, send)
            case Streamed():
                await self._stream(answer, extra, scope, receive, send)

    async def _stream(self, answer: Streamed, extra: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the chunks end, the client goes, the client stops reading for 30 s, or the server closes."""
        kind = (b"content-type", answer.content_type.encode())
        await send({"type": "http.response.start", "status": 200, "headers": [kind, *extra]})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return

        async def pump() -> None:
            async with contextlib.aclosing(answer.chunks()) as chunks:
                async for chunk in chunks:
                    try:
                        async with asyncio.timeout(_STALLED_READER_S):
                            await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    except TimeoutError:
                        raise ClientGone from None

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            async with asyncio.TaskGroup() as group:
                ends = {
                    group.create_task(pump(), name="stream"),
                    group.create_task(gone(), name="client of a stream"),
                    group.create_task(_wait(self.closing), name="end of a stream"),
                }
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in ends:
                    task.cancel()
        except* ClientGone:
            raise ClientGone from None
        await send({"type": "http.response.body", "body": b""})


def _check_permission(call: Call, route: Route | SocketRoute) -> None:
    """`NotAllowed` unless the caller may, or may still show a key in the body."""
    may_come_late = isinstance(route, Route) and route.key_in_body
    key_may_follow = may_come_late and call.caller.is_guest and call.media_type == "multipart/form-data"
    if route.needs is None or key_may_follow:
        return
    if route.about_printer or "slug" in call.params:
        call.require(route.needs)
    elif not call.caller.may(route.needs):
        refused = NotKnown if call.caller.is_guest else NotAllowed
        raise refused(f"this takes a key or login that may {route.needs.value}")


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _send_file(answer: Stored, extra: Headers, scope: Scope, receive: Receive, send: Send) -> None:
    """With one range at most; several, and what is none, are answered with the whole file."""
    try:
        status = await anyio.Path(answer.path).stat()
    except FileNotFoundError:
        raise NotFound(f"{answer.name} is gone") from None
    headers = dict(scope["headers"])
    written_at = formatdate(status.st_mtime, usegmt=True).encode()
    since = headers.get(b"if-modified-since") if b"if-none-match" not in headers else None
    # The very date that was sent: a file moved to this path may be older than what was here before.
    if unchanged(headers, answer.etag) or since == written_at:
        await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", answer.etag.encode()), *extra]})
        await send({"type": "http.response.body", "body": b""})
        return
    if b"range" in headers and not _is_one_range(headers[b"range"]):
        scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}
    response = FileResponse(
        answer.path,
        filename=answer.name,
        media_type=answer.content_type,
        stat_result=status,
        headers={"etag": answer.etag},
    )
    response.raw_headers = [*response.raw_headers, *extra]
    await response(scope, receive, send)


def _is_one_range(header: bytes) -> bool:
    match = _RANGE.fullmatch(header)
    return match is not None and any(match.groups()) and (not all(match.groups()) or int(match[1]) <= int(match[2]))


def _path(scope: Scope) -> str:
    """The request's path, decoded once, without doubled slashes or one at the end; `Malformed` if it is not UTF-8."""
    raw: bytes = scope["raw_path"]
    if b"%" in raw:
        raw = urllib.parse.unquote_to_bytes(raw)
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        raise Malformed("the path is not UTF-8") from None
    while "//" in path:
        path = path.replace("//", "/")
    return path.rstrip("/") or "/"
