"""``/printer/gcode/…`` and ``/server/gcode_store``: scripts, what commands there are, what was said.

Upstream: docs/external_api/printer.md, server.md; specification, 2.1 and 2.2.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyhost.core.errors import MachineFault, Malformed, PolyhostError
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.gcode.interpreter import carry_out, stops_at_once
from polyhost.dialects.moonraker.gcode.registry import help_of, macros_of
from polyhost.dialects.moonraker.gcode.store import KEPT, RESPONSE, EarlySaid
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import OK, Resource

resource = Resource()


class Count(msgspec.Struct):
    count: int | None = None


def _stops(arguments: Mapping[str, Any]) -> bool:
    said = arguments.get("script")
    return isinstance(said, str) and stops_at_once(said)


@resource.klippy_s("/printer/gcode/script", needs=Permission.CONTROL, acts=True, waits=True, stops=_stops)
async def script(request: Request) -> str:
    said = request.arguments.get("script", _MISSING)
    if said is _MISSING:
        raise Malformed("Missing Argument [script]")
    if not isinstance(said, str):
        raise Malformed("Invalid Argument Type [script]")
    p, live = request.printer, request.call.part(Live)
    store = live.gcode
    store.commanded(p.slug, said)
    shown = live.feeds.synthesised(p)
    try:
        with shown.working():
            await carry_out(request.host, p, said, lambda text: store.say(p.slug, text), shown, request.caller)
    except MachineFault:
        raise  # the console has it in the machine's own words
    except PolyhostError as error:
        store.say(p.slug, f"!! {error}")  # where a console's user looks for it
        raise
    return OK


_MISSING: Final = object()


@resource.klippy_s("/printer/gcode/help", needs=Permission.LOOK)
async def gcode_help(request: Request) -> dict[str, str]:
    p = request.printer
    return help_of(p, macros_of(request.host, p))


@resource.get("/server/gcode_store", needs=Permission.LOOK)
async def gcode_store(request: Request) -> dict[str, Any]:
    """The early edition has answers of machines alone, and does not say that they are."""
    count = request.read(Count).count
    if count is not None and count < 0:
        raise Malformed("count must be 0 or more")
    entries = request.call.part(Live).gcode.entries(request.printer.slug)
    last = KEPT if count is None else count
    if request.is_early:
        answers = [EarlySaid(entry.message, entry.time) for entry in entries if entry.type == RESPONSE]
        return {"gcode_store": answers[len(answers) - last :] if last < len(answers) else answers}
    return {"gcode_store": entries[len(entries) - last :] if last < len(entries) else entries}
