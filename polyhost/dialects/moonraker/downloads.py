"""``GET /server/files/<root>/<path>``: files themselves, with ranges; and logs by the names that clients know.

Upstream: docs/external_api/file_manager.md; specification, 2.9.
"""

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.file import checked_path
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource
from polyhost.dialects.moonraker.roots import named, roots_of
from polyhost.web.answers import Stored

resource = Resource()


@resource.get("/server/files/klippy.log", needs=Permission.SYSTEM, method="")
async def printers_log(request: Request) -> Stored:
    """What is said on the printer's link, while somebody has it written down."""
    return await named(request, "logs").stored("klippy.log", request.caller)


@resource.get("/server/files/moonraker.log", needs=Permission.SYSTEM, method="")
async def hosts_log(request: Request) -> Stored:
    return await named(request, "logs").stored("moonraker.log", request.caller)


@resource.get("/server/files/{root}/{path:path}", needs=Permission.LOOK, method="")
async def download(request: Request) -> Stored:
    name, path = request.call.params["root"], request.call.params["path"]
    root = next((root for root in roots_of(request.host, request.printer) if root.name == name), None)
    if root is None or not _is_canonical(path):
        raise NotFound(f"no file {name}/{path}")
    return await root.stored(path, request.caller)


def _is_canonical(path: str) -> bool:
    """Whether a stored thing can be called so, in a URL that was decoded once."""
    plain = path.removeprefix(".theme/")
    try:
        return checked_path(plain) == plain
    except Malformed:
        return False
