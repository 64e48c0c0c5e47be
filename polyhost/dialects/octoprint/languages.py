"""``/api/languages``: packs of words for upstream's own pages, of which there are none here.

Upstream: OctoPrint 1.11, docs/api/languages.rst.
"""

import msgspec

from polyhost.core.errors import Unsupported
from polyhost.core.user import Permission
from polyhost.web.answers import Encoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()


class Pack(msgspec.Struct):
    identifier: str = "_core"
    display: str = "Core"
    languages: tuple[()] = ()


class Packs(msgspec.Struct):
    language_packs: dict[str, Pack]


def packs() -> Packs:
    return Packs({"_core": Pack()})


@routes.get("/api/languages", needs=Permission.SETTINGS)
async def languages(call: Call) -> Packs:
    return packs()


@routes.post("/api/languages", needs=Permission.SETTINGS)
async def upload(call: Call) -> Encoded:
    """415: a pack would translate pages that are not here."""
    raise Unsupported("this host has none of the pages that a language pack translates")


@routes.delete("/api/languages/{locale}/{pack}", needs=Permission.SETTINGS)
async def remove(call: Call) -> Packs:
    """The list as it is: what is not there is gone already."""
    return packs()
