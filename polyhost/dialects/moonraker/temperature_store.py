"""``/server/temperature_store``: the temperatures of twenty minutes, a sample a second.

Upstream: docs/external_api/server.md; specification, 2.1 and 6.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.moonraker.objects.heaters import heaters_there, sensors_there
from polyhost.dialects.moonraker.request import Edition, Request
from polyhost.dialects.moonraker.resource import Resource
from polyhost.services.history import Column
from polyhost.services.printer import Printer

resource = Resource()

SAMPLES: Final = 1200


def store_of(p: Printer, columns: Mapping[str, Column], edition: Edition) -> dict[str, dict[str, list[float]]]:
    """By Klipper's names, each with what it reports, the oldest first.

    The first document has all of them begin as zeros, and everything reports everything.
    """
    store: dict[str, dict[str, list[float]]] = {}
    heaters, sensors = heaters_there(p.profile), sensors_there(p.snapshot, p.profile)
    for name, ours in (heaters | sensors).items():
        column = columns.get(ours, Column())
        values = {"temperatures": column.actual}
        if name in heaters or edition is Edition.EARLY:
            values |= {"targets": column.target, "powers": column.power}
        if edition is Edition.EARLY:
            values = {of: [0.0] * (SAMPLES - len(kept)) + kept for of, kept in values.items()}
        store[name] = values
    return store


@resource.get("/server/temperature_store", needs=Permission.LOOK)
async def temperature_store(request: Request) -> msgspec.Raw:
    """Whether monitors are included changes nothing: only Klipper's drivers of motors are such."""
    p, edition = request.printer, request.edition
    now = request.host.clock.now()

    def make() -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(store_of(p, p.temperatures.columns(SAMPLES, now), edition)))

    made_of = (math.floor(now), p.temperatures.count, p.profile, tuple(p.snapshot.heaters))
    return request.call.lists.get(("moonraker temperatures", p.slug, edition), made_of, make)
