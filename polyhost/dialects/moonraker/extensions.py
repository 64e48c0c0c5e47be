"""``/server/extensions``: what clients that extend this server are asked, and what they tell.

To be an agent, to tell as one and to ask one takes the right to control the machine, for which they act.

Upstream: docs/external_api/extensions.md; specification, 2.14.
"""

from typing import Any

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.moonraker.agents import described
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import OK, Resource
from polyhost.dialects.moonraker.websocket import connection_of

resource = Resource("extensions")


class Asked(msgspec.Struct):
    agent: str
    method: str
    arguments: dict[str, Any] | list[Any] | None = None


class Event(msgspec.Struct):
    event: str
    data: Any = None


class Method(msgspec.Struct):
    method_name: str


@resource.get("/server/extensions/list", needs=Permission.LOOK)
async def listed(request: Request) -> dict[str, list[dict[str, str]]]:
    agents = request.call.part(Live).agents.of(request.printer.slug)
    return {"agents": [described(agent) for agent in agents]}


@resource.post("/server/extensions/request", needs=Permission.CONTROL, waits=True)
async def ask(request: Request) -> Any:
    asked = request.read(Asked)
    agents = request.call.part(Live).agents
    return await agents.ask(request.printer.slug, asked.agent, asked.method, asked.arguments)


@resource.method("connection.send_event", needs=Permission.CONTROL, socket_only=True)
async def send_event(request: Request) -> str:
    said = request.read(Event)
    request.call.part(Live).agents.send_event(connection_of(request), said.event, said.data)
    return OK


@resource.method("connection.register_remote_method", needs=Permission.CONTROL, socket_only=True)
async def register_remote_method(request: Request) -> str:
    request.call.part(Live).agents.register(connection_of(request), request.read(Method).method_name)
    return OK
