"""Tables of routes, and finding one: a dictionary for fixed paths, compiled templates for the rest."""

import dataclasses
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from polyhost.core.user import Permission
from polyhost.web.answers import Answer

if TYPE_CHECKING:
    from polyhost.services.host import Host
    from polyhost.web.call import Call
    from polyhost.web.errors import ErrorTable
    from polyhost.web.sockets import Socket

Handler = Callable[["Call"], Awaitable[Answer | msgspec.Struct]]
SocketHandler = Callable[["Call", "Socket"], Awaitable[None]]

_FIELD: Final = re.compile(r"\{(\w+)(:path)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    `needs` is what the caller must be allowed to do; None is an open door.  `before_setup`: answered while there
    is no administrator.  `key_in_body`: a multipart body may bring the key, so the handler asks
    (`Call.require`) once the parts before the file are read.  `any_page`: any page may send it, for nothing is gained
    by it, or since the handler looks for the session's token (`Call.csrf`) in a form itself.  `about_printer`: the
    permission is asked for the printer that the request means, and not only where the path names one as ``{slug}``.
    """

    method: str
    path: str
    handler: Handler
    needs: Permission | None
    before_setup: bool = False
    key_in_body: bool = False
    about_printer: bool = True
    any_page: bool = False


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A path where clients open WebSockets; the socket lasts as long as its handler.  Fields as those of `Route`.

    What `before` raises is answered in place of opening it.
    """

    path: str
    handler: SocketHandler
    needs: Permission | None
    about_printer: bool = True
    before: Callable[["Call"], None] | None = None


class Routes:
    """A dialect's table.  Every route says what it needs, or that it is an open door."""

    def __init__(self, *, about_printer: bool = True) -> None:
        """`about_printer`: a request means one printer even where the path names none."""
        self.all: list[Route] = []
        self.sockets: list[SocketRoute] = []
        self._about_printer = about_printer

    def add(
        self,
        method: str,
        path: str,
        *,
        needs: Permission | None = None,
        open_door: bool = False,
        before_setup: bool = False,
        key_in_body: bool = False,
        any_page: bool = False,
    ) -> Callable[[Handler], Handler]:
        if (needs is None) != open_door:
            raise TypeError(f"{method} {path} must say what it needs, or that it is an open door")

        def added(handler: Handler) -> Handler:
            self.all.append(
                Route(method, path, handler, needs, before_setup, key_in_body, self._about_printer, any_page)
            )
            return handler

        return added

    def get(
        self, path: str, *, needs: Permission | None = None, open_door: bool = False, before_setup: bool = False
    ) -> Callable[[Handler], Handler]:
        return self.add("GET", path, needs=needs, open_door=open_door, before_setup=before_setup)

    def post(
        self,
        path: str,
        *,
        needs: Permission | None = None,
        open_door: bool = False,
        before_setup: bool = False,
        key_in_body: bool = False,
        any_page: bool = False,
    ) -> Callable[[Handler], Handler]:
        return self.add(
            "POST",
            path,
            needs=needs,
            open_door=open_door,
            before_setup=before_setup,
            key_in_body=key_in_body,
            any_page=any_page,
        )

    def put(self, path: str, *, needs: Permission) -> Callable[[Handler], Handler]:
        return self.add("PUT", path, needs=needs)

    def patch(self, path: str, *, needs: Permission) -> Callable[[Handler], Handler]:
        return self.add("PATCH", path, needs=needs)

    def delete(self, path: str, *, needs: Permission) -> Callable[[Handler], Handler]:
        return self.add("DELETE", path, needs=needs)

    def socket(
        self,
        path: str,
        *,
        needs: Permission | None = None,
        open_door: bool = False,
        before: Callable[["Call"], None] | None = None,
    ) -> Callable[[SocketHandler], SocketHandler]:
        """A WebSocket at `path`; at an open door the handler asks who it is."""
        if (needs is None) != open_door:
            raise TypeError(f"the socket {path} must say what it needs, or that it is an open door")

        def added(handler: SocketHandler) -> SocketHandler:
            self.sockets.append(SocketRoute(path, handler, needs, self._about_printer, before))
            return handler

        return added

    def include(self, *tables: "Routes") -> None:
        for table in tables:
            self.all.extend(table.all)
            self.sockets.extend(table.sockets)


class Part(Protocol):
    """What a dialect does besides answering, and keeps between its answers, for as long as the host runs."""

    async def run(self) -> None:
        """Until cancelled; run again when it breaks."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API: its routes, its words for errors, and the paths below which even unknown paths are its own.

    Of each of `parts` there is one for each application; routes reach it by its class, `Call.part`.  `local` are the
    local sockets that each printer has for it, by the names of their files.  `preflight` is what pages of other origins
    that may call are told of how; without it they are told what they asked for.
    """

    name: str
    routes: Routes
    errors: "ErrorTable"
    prefixes: tuple[str, ...]
    parts: tuple[Callable[["Host"], Part], ...] = ()
    local: Mapping[str, SocketHandler] = dataclasses.field(default_factory=dict)
    preflight: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """What is served at one path: the routes by method, the one for sockets, and whose they are."""

    dialect: Dialect
    methods: dict[str, Route]
    socket: SocketRoute | None = None

    def allowed(self) -> tuple[str, ...]:
        names = {*self.methods, *({"HEAD"} if "GET" in self.methods else ())}
        return tuple(sorted(names))


class Router:
    """All routes of all dialects.  Where two serve one path and method, the first named wins."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._fixed: dict[str, Place] = {}
        templates: dict[str, Place] = {}
        for dialect in dialects:
            for route in dialect.routes.all:
                places = templates if "{" in route.path else self._fixed
                place = places.setdefault(route.path, Place(dialect, {}))
                place.methods.setdefault(route.method, route)
            for socket in dialect.routes.sockets:
                places = templates if "{" in socket.path else self._fixed
                place = places.get(socket.path, Place(dialect, {}))
                places[socket.path] = Place(place.dialect, place.methods, place.socket or socket)
        self._templates: dict[str, list[tuple[re.Pattern[str], Place]]] = {}
        for path, place in templates.items():
            self._templates.setdefault(_first_part(path), []).append((_pattern(path), place))

    def find(self, path: str) -> tuple[Place, dict[str, str]] | None:
        """What is at `path` (decoded, without the prefix of a printer), and the fields of its template."""
        place = self._fixed.get(path)
        if place is not None:
            return place, {}
        for pattern, place in self._templates.get(_first_part(path), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return place, match.groupdict()
        return None


def _first_part(path: str) -> str:
    return path[: path.find("/", 1)] if "/" in path[1:] else path


def _pattern(path: str) -> re.Pattern[str]:
    """``{name}`` is one part of a path, ``{name:path}`` one or more.

    >>> _pattern("/api/files/{location}/{path:path}").fullmatch("/api/files/local/a/b.g").groupdict()
    {'location': 'local', 'path': 'a/b.g'}
    """
    pieces, end = [], 0
    for field in _FIELD.finditer(path):
        pieces += [re.escape(path[end : field.start()]), f"(?P<{field[1]}>{'.+' if field[2] else '[^/]+'})"]
        end = field.end()
    return re.compile("".join([*pieces, re.escape(path[end:])]), re.DOTALL)
