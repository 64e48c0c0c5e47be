"""``/api/version``, ``/api/server``, ``/online.txt``: who answers.

Upstream: OctoPrint 1.11, docs/api/version.rst and server.rst.
"""

import msgspec

from polyhost import __version__
from polyhost.core.user import Permission
from polyhost.web.answers import Encoded, text
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()


class Version(msgspec.Struct):
    """Slicers want ``api`` to be there and ``text`` to start with "OctoPrint"."""

    api: str
    server: str
    text: str


class Server(msgspec.Struct):
    version: str
    safemode: str | None = None


@routes.get("/api/version", needs=Permission.LOOK)
async def version(call: Call) -> Version:
    spoken = call.host.config.octoprint.compat_version
    return Version("0.1", spoken, f"OctoPrint {spoken} (Polyhost {__version__})")


@routes.get("/api/server", needs=Permission.LOOK)
async def server(call: Call) -> Server:
    return Server(call.host.config.octoprint.compat_version)


@routes.get("/online.txt", open_door=True)
async def online(call: Call) -> Encoded:
    return text("online\n")
