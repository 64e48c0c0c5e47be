"""``/api/setup/wizard``: questions of upstream's first start, of which none is left here.

Upstream: OctoPrint 1.11, docs/api/wizard.rst.  How this host gets its first administrator is at ``/setup``.
"""

import msgspec

from polyhost.core.user import Permission
from polyhost.web.answers import Encoded, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()


class Handled(msgspec.Struct):
    """Which wizards a person went through."""

    handled: list[str]


@routes.get("/api/setup/wizard", needs=Permission.SETTINGS)
async def wizards(call: Call) -> Encoded:
    return encoded({})


@routes.post("/api/setup/wizard", needs=Permission.SETTINGS)
async def finish(call: Call) -> Encoded:
    await call.body(Handled)
    return no_content()
