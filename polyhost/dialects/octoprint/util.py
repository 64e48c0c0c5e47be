"""``/api/util/test``: whether a path, URL, server, name or address is what a setting wants.  Administrators only.

Upstream: OctoPrint 1.11, docs/api/util.rst.
"""

import base64
from collections.abc import Mapping
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Annotated, Final, Literal

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import Commands, Flag
from polyhost.services.probing import Answered
from polyhost.web.answers import Answer, encoded
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Patterns = str | list[str] | None
StatusName = int | str


class Path(msgspec.Struct, tag_field="command", tag="path"):
    """`check_access` is some of r, w and x; other words count for nothing.  Nothing is created."""

    path: str
    check_type: str | None = None
    check_access: str | tuple[str, ...] = ()


class Url(msgspec.Struct, tag_field="command", tag="url"):
    url: str
    method: Literal["GET", "HEAD", "OPTIONS"] = "HEAD"
    timeout: Seconds = 3.0
    valid_ssl: Flag = msgspec.field(default=True, name="validSsl")
    status: StatusName | list[StatusName] | None = None
    response: bool | str = False
    content_type_whitelist: Patterns = None
    content_type_blacklist: Patterns = None


class Server(msgspec.Struct, tag_field="command", tag="server"):
    host: str
    port: int | str
    protocol: Literal["tcp", "udp"] = "tcp"
    timeout: Seconds = 3.05


class Resolution(msgspec.Struct, tag_field="command", tag="resolution"):
    name: str


class Address(msgspec.Struct, tag_field="command", tag="address"):
    """Without an `address`, the client's own."""

    address: str = ""


Test = Path | Url | Server | Resolution | Address
TESTS: Final = Commands[Test](Path, Url, Server, Resolution, Address)


class PathResult(msgspec.Struct):
    path: str
    exists: bool
    typeok: bool
    broken_symlink: bool
    access: bool
    result: bool


class Response(msgspec.Struct):
    """`content` is the body, as base64 or as the JSON it is."""

    assumed_content_type: str | None
    content: str | msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class UrlResult(msgspec.Struct):
    """`status` is 0 and there is no `response` when nothing answered."""

    url: str
    status: int
    result: bool
    response: Response | msgspec.UnsetType = msgspec.UNSET


class ServerResult(msgspec.Struct):
    host: str
    port: int
    protocol: str
    result: bool


class ResolutionResult(msgspec.Struct):
    name: str
    result: bool


class AddressResult(msgspec.Struct):
    address: str
    is_lan_address: bool
    subnet: str | msgspec.UnsetType = msgspec.UNSET


@routes.post("/api/util/test", needs=Permission.SYSTEM)
async def test(call: Call) -> Answer:
    asked = await TESTS.asked(call)
    match asked.values():
        case Path() as wanted:
            return encoded(await _path(call, wanted))
        case Url() as wanted:
            return encoded(await _url(call, wanted))
        case Server() as wanted:
            return encoded(await _server(call, wanted))
        case Resolution(name):
            return encoded(ResolutionResult(name, await call.host.probing.resolves(name, by=call.caller)))
        case Address(address):
            found = call.host.probing.network(address or call.peer.address, by=call.caller)
            return encoded(AddressResult(found.address, bool(found.network), found.network or msgspec.UNSET))


_KINDS: Final[Mapping[str, Literal["file", "dir"]]] = {"file": "file", "dir": "dir"}


async def _path(call: Call, wanted: Path) -> PathResult:
    kind = _KINDS.get(wanted.check_type or "")
    access = frozenset("rwx") & frozenset(wanted.check_access)
    found = await call.host.probing.path(wanted.path, kind, access, by=call.caller)
    return PathResult(
        *(found.path, found.exists, found.is_of_kind, found.is_broken_link, found.may_access),
        result=found.exists and found.is_of_kind and found.may_access,
    )


async def _url(call: Call, wanted: Url) -> UrlResult:
    accepted = statuses_of(wanted.status)
    answered = await call.host.probing.url(
        *(wanted.url, wanted.method, wanted.timeout),
        by=call.caller,
        verify_tls=truth_of(wanted.valid_ssl),
        body=bool(wanted.response),
    )
    if not answered.status:
        return UrlResult(wanted.url, 0, False)
    kind_fits = fits(answered.content_type, wanted.content_type_whitelist, wanted.content_type_blacklist)
    content, readable = content_of(answered, wanted.response)
    response = Response(answered.content_type or None, content)
    return UrlResult(wanted.url, answered.status, answered.status in accepted and kind_fits and readable, response)


_RANGES: Final = {
    "informational": range(100, 200),
    "success": range(200, 300),
    "redirection": range(300, 400),
    "client_error": range(400, 500),
    "server_error": range(500, 600),
    "normal": range(100, 400),
    "error": range(400, 600),
    "any": range(100, 1000),
    "timeout": range(0),
}


def statuses_of(wanted: StatusName | list[StatusName] | None) -> frozenset[int]:
    """The statuses meant by numbers, by names like ``not_found``, and by names of ranges; `Malformed` names another.

    >>> sorted(statuses_of(["not_found", 503]))
    [404, 503]
    """
    if wanted is None:
        return frozenset(_RANGES["normal"])
    meant: set[int] = set()
    for one in wanted if isinstance(wanted, list) else [wanted]:
        if isinstance(one, int):
            meant.add(one)
        elif one in _RANGES:
            meant.update(_RANGES[one])
        elif one.upper() in HTTPStatus.__members__:
            meant.add(HTTPStatus[one.upper()])
        else:
            raise Malformed(f"{one!r} is no status; write a number, a name, or one of {', '.join(_RANGES)}")
    return frozenset(meant)


def fits(content_type: str, allowed: Patterns, refused: Patterns) -> bool:
    """Whether `content_type` is among `allowed` (all, when None) and not among `refused`; both may have ``*``."""
    plain = content_type.partition(";")[0].strip().lower()

    def among(patterns: Patterns) -> bool:
        listed = [patterns] if isinstance(patterns, str) else patterns or []
        return any(fnmatchcase(plain, pattern.lower()) for pattern in listed)

    return (allowed is None or among(allowed)) and not among(refused)


def content_of(answered: Answered, wanted: bool | str) -> tuple[str | msgspec.Raw | msgspec.UnsetType, bool]:
    """The body as it is wanted, ``json`` or base64, and whether it could be had so."""
    if not wanted:
        return msgspec.UNSET, True
    if answered.body is None:
        return msgspec.UNSET, False
    if wanted == "json":
        try:
            return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(answered.body))), True
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.UNSET, False
    return base64.b64encode(answered.body).decode(), True


async def _server(call: Call, wanted: Server) -> ServerResult:
    port = int(wanted.port) if str(wanted.port).isascii() and str(wanted.port).isdigit() else 0
    if not 0 < port < 65536:
        raise Malformed(f"{wanted.port!r} is no port; ports are 1 to 65535")
    result = await call.host.probing.server(wanted.host, port, wanted.protocol, wanted.timeout, by=call.caller)
    return ServerResult(wanted.host, port, wanted.protocol, result)
