"""``/printer/objects``: what a printer is made of, how it is, and to be told of it.

Upstream: docs/external_api/printer.md; specification, 1.2, 2.2 and 6.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotAllowed
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.connections import Connection
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.objects.tree import MAX_NAMES, Selection, selected, size_of
from polyhost.dialects.moonraker.request import MAX_BODY, NO_ARGUMENTS, Request, query_pairs
from polyhost.dialects.moonraker.resource import Resource
from polyhost.dialects.moonraker.websocket import connection_of
from polyhost.web import bodies

resource = Resource()

MAX_NAME: Final = 255
_OBJECTS: Final = "objects"


def selection_of(objects: Any) -> Selection:
    """``{name: null or [field]}``: null, and an empty list, want all fields.  `Malformed` for anything else."""
    if not isinstance(objects, Mapping):
        raise Malformed("objects must be an object: the names of printer objects, each with null or a list of fields")
    wanted: dict[str, list[str] | None] = {}
    for name, fields in objects.items():
        if fields is not None and not (isinstance(fields, list) and all(isinstance(field, str) for field in fields)):
            raise Malformed(f"of {name!r} a list of fields is wanted, or null for all of them")
        wanted[name] = fields or None
    return _bounded(selected(wanted))


def selection_in_query(pairs: list[tuple[str, str]]) -> Selection:
    """``gcode_move&extruder=target,temperature``.

    >>> selection_in_query([("toolhead", ""), ("extruder", "target,temperature")])
    (('extruder', ('target', 'temperature')), ('toolhead', None))
    """
    wanted = selected(
        {
            name: [field for field in fields.split(",") if field] or None
            for name, fields in pairs
            if name not in NO_ARGUMENTS
        }
    )
    return _bounded(wanted)


def _bounded(selection: Selection) -> Selection:
    """It is kept for as long as the connection, and looked through four times a second."""
    if size_of(selection) > MAX_NAMES:
        raise Malformed(f"{size_of(selection)} objects and fields of them; {MAX_NAMES} is the limit")
    names = (name for one, fields in selection for name in (one, *(fields or ())))
    if (longest := max(map(len, names), default=0)) > MAX_NAME:
        raise Malformed(f"a name of {longest} characters; no object or field has more than {MAX_NAME}")
    return selection


def _argument(request: Request) -> Selection:
    if _OBJECTS not in request.arguments:
        raise Malformed(f"No data for argument: {_OBJECTS}")
    return selection_of(request.arguments[_OBJECTS])


async def _over_http(request: Request) -> tuple[Selection, str | None]:
    """What is wanted, and the connection it is for: a JSON body's objects go before the query's."""
    call = request.call
    body: dict[str, Any] = {}
    if call.media_type == "application/json":
        try:
            body = bodies.decoded(await call.content(MAX_BODY), dict)
        except Malformed:
            body = {}  # as everywhere, the query counts then
    number = body.get("connection_id", call.query.get("connection_id"))
    objects = body.get(_OBJECTS)
    selection = selection_in_query(query_pairs(call)) if objects is None else selection_of(objects)
    return selection, None if number is None else str(number)


@resource.klippy_s("/printer/objects/list", needs=Permission.LOOK)
async def list_objects(request: Request) -> dict[str, list[str]]:
    return {_OBJECTS: await request.call.part(Live).feeds.of(request.printer).names()}


@resource.add(("GET", "POST"), "/printer/objects/query", needs=Permission.LOOK, method="", reads_body=False)
async def query_over_http(request: Request) -> msgspec.Raw:
    selection, _ = await _over_http(request)
    return await request.call.part(Live).feeds.of(request.printer).answer(selection)


@resource.method("printer.objects.query", needs=Permission.LOOK)
async def query(request: Request) -> msgspec.Raw:
    return await request.call.part(Live).feeds.of(request.printer).answer(_argument(request))


@resource.method("printer.objects.subscribe", needs=Permission.LOOK, socket_only=True)
async def subscribe(request: Request) -> msgspec.Raw:
    feeds = request.call.part(Live).feeds
    return await feeds.subscribe(request.printer, connection_of(request), _argument(request))


@resource.klippy_s("/printer/objects/subscribe", needs=Permission.LOOK, method="", reads_body=False)
async def subscribe_over_http(request: Request) -> msgspec.Raw:
    selection, number = await _over_http(request)
    live = request.call.part(Live)
    if number is None and request.is_early:
        return await live.feeds.join(request.printer, selection)
    return await live.feeds.subscribe(request.printer, _named(request, live, number), selection)


def _named(request: Request, live: Live, number: str | None) -> Connection:
    """The WebSocket that the client says is its own."""
    connection = live.connections.find(int(number)) if number is not None and number.isdecimal() else None
    if connection is None:
        raise Malformed("No connection available: connection_id must be that of an open WebSocket")
    mine, theirs = request.caller, connection.call.caller
    if (mine.name, mine.key and mine.key.id) != (theirs.name, theirs.key and theirs.key.id):
        raise NotAllowed("This WebSocket is somebody else's.")
    if connection.slug != request.printer.slug:
        raise Malformed(f"that WebSocket is connected to {connection.slug}, not to {request.printer.slug}")
    return connection
