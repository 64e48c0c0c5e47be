"""What one module of this dialect serves: each endpoint is declared once, and reached over HTTP and JSON-RPC alike."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from polyhost.core.errors import PolyhostError
from polyhost.core.events import Event
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.errors import answer_of
from polyhost.dialects.moonraker.request import Request, check_no_link, request_over_http
from polyhost.services.host import Host
from polyhost.web.answers import Answer, Encoded, Headers, Stored, Streamed
from polyhost.web.call import Call
from polyhost.web.routes import Handler, Routes

Handle = Callable[[Request], Awaitable[Any]]
"""Answers a request: with what JSON can say, or over HTTP alone with an `Answer`."""
H = TypeVar("H", bound=Handle)

OK: Final = "ok"
JSON: Final = (b"content-type", b"application/json; charset=UTF-8")
_PREFIXES: Final = {"GET": "get_", "POST": "post_", "DELETE": "delete_"}


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that clients are told: ``notify_<name>`` with `params`.

    It is for those who are connected to `printer` ("": to any) and may do what it `needs`.  `early` are the params that
    clients of the early edition are told instead, if theirs differ; `modern_only` and `early_only` leave the others
    out.  Of those with the same `latest` a slow client needs the newest alone.
    """

    name: str
    params: tuple[Any, ...] = ()
    printer: str = ""
    needs: Permission = Permission.LOOK
    early: tuple[Any, ...] | None = None
    modern_only: bool = False
    early_only: bool = False
    latest: str = ""


Teller = Callable[[Any, Host], Iterable[Notification]]
Stops = Callable[[Mapping[str, Any]], bool]
"""Whether a request with these arguments is an emergency stop, which waits for nothing and nobody."""
Beat = Callable[[Host, int], Iterable[Notification]]
"""Called each second while somebody is connected, with how many they are."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`verbs` are none for what JSON-RPC alone reaches, `method` is "" for what HTTP alone does.

    `waits`: its answer may take longer than others should wait behind it.  `socket_only`: it is about the WebSocket
    that it comes by.  `reads_body`: a body has arguments; otherwise the handler reads it.  `asked_by_all`: front ends
    ask it at their start, whoever uses them, so that a refusal is told in a way that they do not show to people.
    """

    verbs: tuple[str, ...]
    path: str
    method: str
    handle: Handle
    needs: Permission | None
    waits: bool
    socket_only: bool
    reads_body: bool
    key_in_body: bool
    asked_by_all: bool = False
    stops: Stops | None = None


class Resource:
    """One module's endpoints, what it tells when something happened, and the component that clients look for."""

    def __init__(self, *components: str, listed: Callable[[Host], bool] = lambda host: True) -> None:
        """`components` are listed by ``server.info``, so all that clients do with one has to work.

        `listed`: whether they are, on this host.
        """
        self.components = components
        self.listed = listed
        self.endpoints: list[Endpoint] = []
        self.tellers: list[tuple[tuple[type, ...], Teller]] = []
        self.beats: list[Beat] = []

    def get(self, path: str, *, needs: Permission | None = None, **more: Any) -> Callable[[H], H]:
        return self.add(("GET",), path, needs=needs, **more)

    def post(self, path: str, *, needs: Permission | None = None, **more: Any) -> Callable[[H], H]:
        return self.add(("POST",), path, needs=needs, **more)

    def delete(self, path: str, *, needs: Permission | None = None, **more: Any) -> Callable[[H], H]:
        return self.add(("DELETE",), path, needs=needs, **more)

    def klippy_s(self, path: str, *, needs: Permission, acts: bool = False, **more: Any) -> Callable[[H], H]:
        """What a Klippy answers: upstream passes its endpoints on under GET and POST alike, and bots send either.

        One that `acts` is commanded by no mere link (`request.check_no_link`).
        """

        def added(handle: H) -> H:
            async def by_no_link(request: Request) -> Any:
                check_no_link(request.call)
                return await handle(request)

            self.add(("GET", "POST"), path, needs=needs, **more)(by_no_link if acts else handle)
            return handle

        return added

    def add(
        self,
        verbs: tuple[str, ...],
        path: str,
        *,
        needs: Permission | None = None,
        open_door: bool = False,
        method: str | None = None,
        waits: bool = False,
        socket_only: bool = False,
        reads_body: bool = True,
        key_in_body: bool = False,
        asked_by_all: bool = False,
        stops: Stops | None = None,
    ) -> Callable[[H], H]:
        """`method` is its name for JSON-RPC ("": it has none), by default made of the path."""
        if (needs is None) != open_door:
            raise TypeError(f"{path} must say what it needs, or that it is an open door")

        def added(handle: H) -> H:
            named = path.strip("/").replace("/", ".") if method is None else method
            self.endpoints.append(
                Endpoint(
                    *(verbs, path, named, handle, needs, waits, socket_only, reads_body, key_in_body, asked_by_all),
                    stops,
                )
            )
            return handle

        return added

    def method(self, name: str, *, needs: Permission | None = None, **more: Any) -> Callable[[H], H]:
        """What only a WebSocket, or the local socket, can ask."""
        return self.add((), "", needs=needs, method=name, **more)

    def on(self, *kinds: type[Event]) -> Callable[[Teller], Teller]:
        """Tell clients what the decorated function makes of each notice of these kinds; it must return at once."""

        def added(teller: Teller) -> Teller:
            self.tellers.append((kinds, teller))
            return teller

        return added

    def each_second(self, beat: Beat) -> Beat:
        """Tell clients what the decorated function makes each second; it must return at once."""
        self.beats.append(beat)
        return beat


def routes_of(resources: Iterable[Resource]) -> Routes:
    """Every endpoint's routes."""
    routes = Routes()
    for resource in resources:
        for endpoint in resource.endpoints:
            for verb in endpoint.verbs:
                routes.add(
                    verb,
                    endpoint.path,
                    needs=endpoint.needs,
                    open_door=endpoint.needs is None,
                    key_in_body=endpoint.key_in_body,
                )(_over_http(endpoint))
    return routes


def methods_of(resources: Iterable[Resource]) -> Mapping[str, Endpoint]:
    """Every endpoint by its name for JSON-RPC: its path with dots, and its verb where the path has several."""
    endpoints = [endpoint for resource in resources for endpoint in resource.endpoints]
    on_path: dict[str, int] = {}
    for endpoint in endpoints:
        if endpoint.verbs:
            on_path[endpoint.path] = on_path.get(endpoint.path, 0) + 1
    methods: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        name = endpoint.method
        if not name:
            continue
        derived = name == endpoint.path.strip("/").replace("/", ".")
        if derived and on_path.get(endpoint.path, 0) > 1:
            above, _, last = name.rpartition(".")
            name = f"{above}.{_PREFIXES[endpoint.verbs[0]]}{last}"
        assert name not in methods, f"two endpoints are called {name}"
        methods[name] = endpoint
    return methods


def enveloped(value: Any, *, status: int = 200, headers: Headers | None = None) -> Encoded:
    """``{"result": value}``."""
    body = b'{"result":' + _encode(value) + b"}"
    return Encoded(status, [JSON, (b"content-length", b"%d" % len(body)), *(headers or ())], body)


def bare(value: Any, *, status: int = 200, headers: Headers | None = None) -> Encoded:
    """`value` without an envelope."""
    body = _encode(value)
    return Encoded(status, [JSON, (b"content-length", b"%d" % len(body)), *(headers or ())], body)


_encode = msgspec.json.Encoder().encode


def _over_http(endpoint: Endpoint) -> Handler:
    handle, reads_body = endpoint.handle, endpoint.reads_body

    async def answered(call: Call) -> Answer:
        request = await request_over_http(call, reads_body=reads_body)
        try:
            result = await handle(request)
        except PolyhostError as error:
            if request.is_early:
                return answer_of(error, request.edition)
            raise
        return result if isinstance(result, Encoded | Stored | Streamed) else enveloped(result)

    return answered
