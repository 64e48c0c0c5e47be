"""Ways that lead elsewhere: ``/server/redirect`` to another page, ``/klippysocket`` to Klipper's own API.

Upstream: docs/external_api/introduction.md; specification, 1.1 and 1.9.
"""

import urllib.parse
from typing import Final

import msgspec

from polyhost.core.errors import LinkLost, Malformed
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource
from polyhost.web.answers import Encoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes
from polyhost.web.sockets import Socket

MAX_URL: Final = 4096

resource = Resource()


class Redirect(msgspec.Struct):
    url: str


@resource.get("/server/redirect", needs=Permission.LOOK, method="")
async def redirect(request: Request) -> Encoded:
    """To a page of an origin that may call, and nowhere else."""
    url = request.read(Redirect).url
    if not is_allowed(url, request.host.config.access.allow_origins):
        raise Malformed("that URL is of no origin that may call; access.allow_origins names those that may")
    return Encoded(302, [(b"location", url.encode("ascii")), (b"content-length", b"0")], b"")


def is_allowed(url: str, origins: tuple[str, ...]) -> bool:
    """Whether `url` is of one of `origins`, and nothing that a browser would read as something else.

    >>> [is_allowed(f"https://a.example{rest}", ("https://a.example",)) for rest in ("", "/x?y", ":8080/", "@evil")]
    [True, True, False, False]
    """
    if len(url) > MAX_URL or not all("!" <= letter <= "~" for letter in url) or "\\" in url:
        return False
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and f"{parts.scheme}://{parts.netloc}".lower() in origins


def _no_klippy(call: Call) -> None:
    raise LinkLost(f"{call.printer.slug} has no Klippy to speak to")


def bridges() -> Routes:
    """Refused at the upgrade, for machines without a Klippy."""
    routes = Routes()

    @routes.socket("/klippysocket", needs=Permission.CONTROL, before=_no_klippy)
    async def klippysocket(call: Call, socket: Socket) -> None:
        _no_klippy(call)

    return routes
