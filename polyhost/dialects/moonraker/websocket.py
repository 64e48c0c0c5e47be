"""``/websocket``, and JSON-RPC over HTTP: who is connected, and what they ask.

Upstream: docs/external_api/introduction.md, jsonrpc_notifications.md; specification, 1.6 to 1.8.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotKnown
from polyhost.core.user import Caller, Permission
from polyhost.dialects.moonraker.agents import AGENT, Agents, is_answer
from polyhost.dialects.moonraker.connections import Client, Connection
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.request import MAX_BODY, Request, edition_of
from polyhost.dialects.moonraker.resource import Resource, bare
from polyhost.dialects.moonraker.rpc import Rpc
from polyhost.services.accounts import Accounts
from polyhost.web.answers import Answer, no_content
from polyhost.web.call import Call
from polyhost.web.guard import NO_KEYS
from polyhost.web.routes import Routes, SocketHandler
from polyhost.web.sockets import Socket, text_frame

MAX_WAITING: Final = 64
MAX_WORDS: Final = 255
"""Bytes of each thing that a client says of itself, which is kept and told to others."""
_FAIR: Final = 16  # messages of one client, before all others have their turn
TYPES: Final = frozenset({"web", "mobile", "desktop", "display", "bot", "agent", "other"})

resource = Resource("application", "websockets", "jsonrpc")


def speaker(rpc: Rpc) -> SocketHandler:
    """Speaks JSON-RPC with one client that stays."""

    async def speak(call: Call, socket: Socket) -> None:
        live = call.part(Live)
        with live.connections.opened(call, socket, edition_of(call)) as connection:
            try:
                await _answer_all(connection, rpc, live.agents)
            finally:
                live.agents.remove(connection)

    return speak


def transports(rpc: Rpc) -> Routes:
    """The routes by which JSON-RPC is spoken; who opens the WebSocket may still owe who they are."""
    routes = Routes()
    routes.socket("/websocket", open_door=True)(speaker(rpc))

    @routes.post("/server/jsonrpc", open_door=True)
    async def over_http(call: Call) -> Answer:
        """Each method asks for itself who may."""
        if call.media_type != "application/json":
            raise Malformed("JSON-RPC wants the content type application/json")
        edition = edition_of(call)
        said = rpc.read(await call.content(MAX_BODY))
        answer = await rpc.answer(said, lambda arguments: Request(call, arguments, edition), on_socket=False)
        return no_content() if answer is None else bare(msgspec.Raw(answer))

    return routes


async def _answer_all(connection: Connection, rpc: Rpc, agents: Agents) -> None:
    """Answer what the client asks until it goes: in its order, but nothing waits behind what takes long."""

    def request_for(arguments: Mapping[str, Any]) -> Request:
        return Request(connection.call, arguments, connection.edition, connection)

    async def answer(said: Any, stopped: Mapping[int, bytes | None]) -> None:
        is_batch = isinstance(said, list)
        connection.batches += is_batch
        try:
            body = await rpc.answer(said, request_for, on_socket=True, answered=stopped)
        finally:
            connection.batches -= is_batch
        if body is not None:
            await connection.socket.deliver(text_frame(body))

    waiting: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        heard = 0
        async for message in connection.socket:
            said = rpc.read(message)
            stopped = await rpc.stop_first(said, request_for)
            if is_answer(said):
                agents.hear(connection, said)
            elif not rpc.waits(said):
                await answer(said, stopped)
            elif len(waiting) >= MAX_WAITING:
                # Nobody waits for a place: behind this message there may be an emergency stop.  One in it was done.
                words = f"{MAX_WAITING} requests of this connection are waiting for the printer already"
                await connection.socket.deliver(text_frame(rpc.refusal(said, words)))
            else:
                task = group.create_task(answer(said, stopped), name="a slow answer")
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            heard += 1
            if heard % _FAIR == 0:
                await asyncio.sleep(0)
        for task in waiting:
            task.cancel()


class Identify(msgspec.Struct):
    client_name: str
    version: str
    type: str
    url: str
    access_token: Any = None
    api_key: Any = None


@resource.method("server.connection.identify", open_door=True, socket_only=True)
async def identify(request: Request) -> dict[str, int]:
    connection = connection_of(request)
    said = request.read(Identify)
    if connection.client is not None:
        raise Malformed("Connection already identified")
    kind = said.type.lower()
    if kind not in TYPES:
        raise Malformed(f"Invalid Client Type: {said.type}; there are {', '.join(sorted(TYPES))}")
    if any(len(word.encode("utf-8", "replace")) > MAX_WORDS for word in (said.client_name, said.version, said.url)):
        raise Malformed(f"a client's name, its version and its url have at most {MAX_WORDS} bytes each")
    caller = _shown(request.host.accounts, said)
    if (caller or connection.call.caller).is_guest:
        raise NotKnown("the token or the key is wrong, or there is none")  # by which front ends know to ask for a login
    if caller is not None:
        connection.become(caller)
    agents = request.call.part(Live).agents
    if kind == AGENT:
        agents.check(connection, said.client_name)
    connection.client = Client(said.client_name, said.version, kind, said.url)
    if kind == AGENT:
        agents.add(connection)
    return {"connection_id": connection.id}


def _shown(accounts: Accounts, said: Identify) -> Caller | None:
    """Whom the token or the key stands for; None without one, also when a client says that it has none."""
    if isinstance(said.access_token, str) and said.access_token:
        return accounts.tokens.caller_of(said.access_token)
    if isinstance(said.api_key, str) and said.api_key not in NO_KEYS:
        return accounts.caller_of_key(said.api_key)
    return None


@resource.method("server.websocket.id", needs=Permission.LOOK, socket_only=True)
async def websocket_id(request: Request) -> dict[str, int]:
    return {"websocket_id": connection_of(request).id}


def connection_of(request: Request) -> Connection:
    """The WebSocket that `request` came by, or is tied to."""
    if request.connection is None:
        raise Malformed("No connection available")
    return request.connection
