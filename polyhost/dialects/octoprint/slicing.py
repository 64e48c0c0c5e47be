"""``/api/slicing``: the slicers of this host, of which there are none.

Upstream: OctoPrint 1.11, docs/api/slicing.rst.  What ``slice`` of a file answers is in `files`.
"""

from polyhost.core.errors import NotFound
from polyhost.core.user import Permission
from polyhost.web.answers import Encoded, encoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()

_PROFILES = "/api/slicing/{slicer}/profiles"
_PROFILE = "/api/slicing/{slicer}/profiles/{name}"


@routes.get("/api/slicing", needs=Permission.PRINT)
async def slicers(call: Call) -> Encoded:
    return encoded({})


@routes.get(_PROFILES, needs=Permission.PRINT)
@routes.get(_PROFILE, needs=Permission.PRINT)
@routes.put(_PROFILE, needs=Permission.SETTINGS)
@routes.add("PATCH", _PROFILE, needs=Permission.SETTINGS)
@routes.delete(_PROFILE, needs=Permission.SETTINGS)
async def no_slicer(call: Call) -> Encoded:
    """404: there is no slicer of any name."""
    raise NotFound(f"no slicer {call.params['slicer']!r}; files are sliced before they are sent here")
