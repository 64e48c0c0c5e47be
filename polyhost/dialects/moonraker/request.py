"""One request of a client, whichever way it came: HTTP, a WebSocket, the local socket.

Upstream: docs/external_api/introduction.md; specification, 1.2 and 6.
"""

import urllib.parse
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from polyhost.core.errors import Malformed, NotAllowed
from polyhost.core.user import Caller, Permission
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web import bodies
from polyhost.web.call import MAX_PARAMETERS, Call

if TYPE_CHECKING:
    from polyhost.dialects.moonraker.connections import Connection

T = TypeVar("T")

MAX_BODY: Final = 1 << 20
NO_ARGUMENTS: Final = frozenset({"_", "token", "access_token", "connection_id", "edition", "apikey"})
"""In a query or a body these are about the request, and never an argument of it."""
_MISSING: Final = "Object missing required field `"


class Edition(Enum):
    """Which of the two documents a client was written for, where no answer can please both."""

    MODERN = "modern"
    EARLY = "early"


class Request:
    """What is asked, and by whom.  `arguments` are a client's own; `connection` is its WebSocket, if it has one."""

    __slots__ = ("arguments", "call", "connection", "edition")

    def __init__(
        self, call: Call, arguments: Mapping[str, Any], edition: Edition, connection: "Connection | None" = None
    ) -> None:
        """`call` is the HTTP request, or the one that opened the WebSocket."""
        self.call = call
        self.arguments = arguments
        self.edition = edition
        self.connection = connection

    @property
    def host(self) -> Host:
        return self.call.host

    @property
    def printer(self) -> Printer:
        """The printer that is meant; `NotFound` names those that exist."""
        return self.call.printer

    @property
    def caller(self) -> Caller:
        return self.call.caller

    @property
    def is_early(self) -> bool:
        return self.edition is Edition.EARLY

    def require(self, permission: Permission) -> None:
        """`NotAllowed` unless the caller may, on the printer that is meant."""
        self.call.require(permission)

    def read(self, kind: type[T]) -> T:
        """The arguments as a `kind`: numbers and truths may come as text, what `kind` has no field for is ignored.

        `Malformed` names what is missing or wrong.
        """
        try:
            return msgspec.convert(self.arguments, kind, strict=False)
        except msgspec.ValidationError as error:
            said = str(error)
            if said.startswith(_MISSING):
                raise Malformed(f"No data for argument: {said.removeprefix(_MISSING).split('`')[0]}") from error
            raise Malformed(f"an argument cannot be read: {said}") from error


def listed(value: list[str] | str) -> list[str]:
    """A list that may come as text with commas."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def check_no_link(call: Call) -> None:
    """`NotAllowed` for a GET that any page may have a browser send: with its cookie, or its address, for credential."""
    if call.scope.get("method") != "GET":
        return
    is_browser = call.header(b"user-agent").startswith("Mozilla/")
    if call.session is not None or (call.caller.trusted and is_browser):
        raise NotAllowed("a link may not command a machine; send this with POST")


def edition_of(call: Call) -> Edition:
    """What the request says, else what its door is for, else what the host is set to."""
    config, server = call.host.config, call.scope.get("server")
    said = call.query.get("edition") or call.header(b"x-polyhost-edition")
    if not said and server is not None and server[1] and server[1] == config.doors.moonraker_early:
        return Edition.EARLY
    said = said or config.moonraker.edition
    try:
        return Edition(said)
    except ValueError:
        raise Malformed(f"no edition {said!r}; there are modern and early") from None


async def request_over_http(call: Call, *, reads_body: bool) -> Request:
    """The request that `call` is: a JSON body's arguments go before a form's and the query's, the path's before all."""
    edition = edition_of(call)
    arguments: dict[str, Any] = {}
    if call.scope["query_string"]:
        arguments = hinted(query_pairs(call))
    if reads_body and (b"content-length" in call.headers or b"transfer-encoding" in call.headers):
        arguments |= await _body_of(call)
    if arguments:
        arguments = {name: value for name, value in arguments.items() if name not in NO_ARGUMENTS}
    return Request(call, {**arguments, **call.params} if call.params else arguments, edition)


def query_pairs(call: Call) -> list[tuple[str, str]]:
    """Names and values of the query, as they were sent; of an object's name its spaces are kept."""
    return _pairs(call.scope["query_string"])


def hinted(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Values as their names' hints say: ``count:int=5``; what does not fit its hint stays text.

    >>> hinted([("count:int", "5"), ("on:bool", "TRUE"), ("x:int", "y"), ("a:b", "c")])
    {'count': 5, 'on': True, 'x': 'y', 'a:b': 'c'}
    """
    values: dict[str, Any] = {}
    for name, value in pairs:
        bare, _, hint = name.rpartition(":")
        if not bare or hint not in {"int", "float", "bool", "json"}:
            values[name] = value
            continue
        try:
            match hint:
                case "int":
                    values[bare] = int(value)
                case "float":
                    values[bare] = float(value)
                case "bool":
                    values[bare] = value.lower() == "true"
                case _:
                    values[bare] = bodies.decoded(value.encode(), Any)
        except (ValueError, Malformed):
            values[bare] = value
    return values


def _pairs(data: bytes) -> list[tuple[str, str]]:
    try:
        return urllib.parse.parse_qsl(
            data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:  # UnicodeError is one
        raise Malformed(f"the parameters cannot be read: {error}") from error


async def _body_of(call: Call) -> dict[str, Any]:
    """Arguments in a body: JSON that is no object, and what is neither JSON nor a form, has none."""
    body = await call.content(MAX_BODY)
    if not body:
        return {}
    kind = call.media_type
    if kind == "application/x-www-form-urlencoded":
        return hinted(_pairs(body))
    if kind != "application/json":
        return {}
    try:
        said = bodies.decoded(body, dict)
    except Malformed:
        return {}  # as upstream: what the query says counts then
    return said
