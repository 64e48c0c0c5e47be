"""``/server/spoolman``: the spool that a printer has, and questions passed on to the owner's Spoolman.

Listed, and answered, where the settings file names one.

Upstream: docs/external_api/integrations.md; specification, 2.13.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from polyhost.core.errors import LinkLost, Malformed, NotFound
from polyhost.core.events import ActiveSpoolSet, SpoolmanChanged
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Notification, Resource
from polyhost.services.host import Host
from polyhost.services.spoolman import Spoolman, SpoolmanAnswer

resource = Resource("spoolman", listed=lambda host: host.spoolman.is_configured)


class Report(msgspec.Struct):
    spool_id: int
    filament_used: float


class Status(msgspec.Struct):
    spoolman_connected: bool
    pending_reports: list[Report]
    spool_id: int | None


class Chosen(msgspec.Struct):
    spool_id: int | None = None


class Proxied(msgspec.Struct):
    request_method: str
    path: str
    query: str | None = None
    body: Any = None
    use_v2_response: bool = False


class ProxyError(msgspec.Struct):
    status_code: int
    message: str


class ProxyAnswer(msgspec.Struct):
    """The second way of answering: errors of Spoolman's are told apart from those of this server."""

    response: Any
    error: ProxyError | None
    response_headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


def body_of(answer: SpoolmanAnswer) -> Any:
    """The first way of answering: an error of Spoolman's is one of this server."""
    if not answer.is_error:
        return answer.body
    if answer.status == 404:
        raise NotFound(answer.message)
    if 400 <= answer.status < 500:
        raise Malformed(answer.message)
    raise LinkLost(answer.message)


def answer_of(answer: SpoolmanAnswer) -> ProxyAnswer:
    if answer.is_error:
        return ProxyAnswer(None, ProxyError(answer.status, answer.message))
    return ProxyAnswer(answer.body, None, answer.headers)


def _spoolman(request: Request) -> Spoolman:
    spoolman = request.host.spoolman
    if not spoolman.is_configured:
        raise NotFound("Not Found")
    return spoolman


@resource.on(ActiveSpoolSet)
def told_of_spool(notice: ActiveSpoolSet, host: Host) -> Iterator[Notification]:
    yield Notification("active_spool_set", ({"spool_id": notice.spool_id},), printer=notice.printer)


@resource.on(SpoolmanChanged)
def told_of_status(notice: SpoolmanChanged, host: Host) -> Iterator[Notification]:
    yield Notification("spoolman_status_changed", ({"spoolman_connected": notice.connected},))


@resource.get("/server/spoolman/status", needs=Permission.LOOK)
async def status(request: Request) -> Status:
    spoolman = _spoolman(request)
    use = spoolman.use(request.printer)
    return Status(spoolman.connected, [Report(*pending) for pending in use.pending.items()], use.spool_id)


@resource.get("/server/spoolman/spool_id", needs=Permission.LOOK)
async def get_spool_id(request: Request) -> Chosen:
    return Chosen(_spoolman(request).use(request.printer).spool_id)


@resource.post("/server/spoolman/spool_id", needs=Permission.CONTROL)
async def post_spool_id(request: Request) -> Chosen:
    """No id is no spool."""
    spoolman = _spoolman(request)
    await spoolman.set_spool(request.printer, request.read(Chosen).spool_id, by=request.caller)
    return Chosen(spoolman.use(request.printer).spool_id)


@resource.post("/server/spoolman/proxy", needs=Permission.LOOK, waits=True)
async def proxy(request: Request) -> Any:
    spoolman, asked = _spoolman(request), request.read(Proxied)
    try:
        answer = await spoolman.proxy(
            *(request.printer, asked.request_method, asked.path, asked.query, asked.body), by=request.caller
        )
    except LinkLost as error:
        if not asked.use_v2_response:
            raise
        return ProxyAnswer(None, ProxyError(503, str(error)))
    return answer_of(answer) if asked.use_v2_response else body_of(answer)
