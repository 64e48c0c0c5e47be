"""Clients that extend this server: each is called by its name, over the connection that it keeps.

An agent identifies itself with the type ``agent``.  It is asked by ordinary JSON-RPC requests, with ids of ours, and
answers on the same connection; what it says of itself is told to everybody else who is connected to its printer.
"""

import asyncio
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotNow
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.connections import Connection, Connections
from polyhost.dialects.moonraker.errors import AgentFailed
from polyhost.dialects.moonraker.resource import Notification
from polyhost.web.sockets import text_frame

AGENT: Final = "agent"
ANSWERS_WITHIN_S: Final = 60.0
MAX_ASKED: Final = 64  # requests that one agent owes an answer
MAX_AGENTS: Final = 32  # of one printer
MAX_METHODS: Final = 100  # of one agent
MAX_NAME: Final = 255  # bytes
_RESERVED: Final = frozenset({"connected", "disconnected"})
_encode: Final = msgspec.json.Encoder().encode


class Agents:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._agents: dict[tuple[str, str], _Agent] = {}  # by printer and name
        self._last = 0

    def of(self, printer: str) -> list[Connection]:
        return [agent.connection for (slug, _), agent in self._agents.items() if slug == printer]

    def check(self, connection: Connection, name: str) -> None:
        """Raise unless `connection` may become the agent `name`."""
        connection.call.require(Permission.CONTROL)
        if not name or len(name.encode()) > MAX_NAME:
            raise Malformed(f"an agent's name has 1 to {MAX_NAME} bytes")
        if (connection.slug, name) in self._agents:
            raise Malformed(f"Agent '{name}' already registered and connected")
        if len(self.of(connection.slug)) >= MAX_AGENTS:
            raise NotNow(f"there are {MAX_AGENTS} agents, which is the limit")

    def add(self, connection: Connection) -> None:
        """`connection` has identified itself as an agent that `check` let pass."""
        assert connection.client is not None
        agent = _Agent(connection, connection.slug, connection.client.client_name)
        self._agents[agent.slug, agent.name] = agent
        self._tell(agent, "connected", described(connection))

    def remove(self, connection: Connection) -> None:
        """It is gone, and with it what it would have answered."""
        agent = self._of(connection)
        if agent is None:
            return
        del self._agents[agent.slug, agent.name]
        for answer in agent.owed.values():
            if not answer.done():
                answer.set_exception(AgentFailed(f"Agent {agent.name} is gone"))
        self._tell(agent, "disconnected")

    async def ask(self, printer: str, name: str, method: str, arguments: Any) -> Any:
        """What the agent answers; `AgentFailed` when that is an error, or nothing."""
        agent = self._agents.get((printer, name))
        if agent is None or not agent.connection.may(Permission.CONTROL):  # its key may have ended since
            raise Malformed(f"Agent {name[:MAX_NAME]} not connected")
        if len(agent.owed) >= MAX_ASKED:
            raise NotNow(f"Agent {name} owes {MAX_ASKED} answers already; try again in a moment")
        self._last += 1
        number = self._last
        said: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "id": number}
        if arguments:
            said["params"] = arguments
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        agent.owed[number] = answer
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                await agent.connection.socket.deliver(text_frame(_encode(said)))
                return await answer
        except TimeoutError:
            raise AgentFailed(f"Agent {name} did not answer within {ANSWERS_WITHIN_S:g} s") from None
        finally:
            del agent.owed[number]

    def hear(self, connection: Connection, said: dict[str, Any]) -> None:
        """An answer of an agent's; what nobody asked for is left alone."""
        agent, number = self._of(connection), said.get("id")
        if agent is None or not isinstance(number, int):
            return
        answer = agent.owed.get(number)
        if answer is None or answer.done():
            return
        if "error" in said:
            answer.set_exception(AgentFailed(f"Agent {agent.name} RPC error", said["error"]))
        else:
            answer.set_result(said.get("result"))

    def send_event(self, connection: Connection, event: str, data: Any) -> None:
        """Tell everybody else what an agent says; `data` of None is none."""
        agent = self._agent(connection)
        if event in _RESERVED:
            raise Malformed(f"Event '{event}' is reserved")
        self._tell(agent, event, data)

    def register(self, connection: Connection, method: str) -> None:
        """An agent can do `method`, which no other agent of its printer can."""
        agent = self._agent(connection)
        if not method or len(method.encode()) > MAX_NAME:
            raise Malformed(f"a method's name has 1 to {MAX_NAME} bytes")
        if any(slug == agent.slug and method in other.methods for (slug, _), other in self._agents.items()):
            raise Malformed(f"Remote method '{method}' already registered")
        if len(agent.methods) >= MAX_METHODS:
            raise NotNow(f"an agent has at most {MAX_METHODS} methods")
        agent.methods.add(method)

    def _of(self, connection: Connection) -> "_Agent | None":
        return next((agent for agent in self._agents.values() if agent.connection is connection), None)

    def _agent(self, connection: Connection) -> "_Agent":
        agent = self._of(connection)
        if agent is None:
            raise Malformed("Only connections of the 'agent' type can do this")
        return agent

    def _tell(self, agent: "_Agent", event: str, data: Any = None) -> None:
        said = {"agent": agent.name, "event": event}
        if data is not None:
            said["data"] = data
        told = Notification("agent_event", (said,), printer=agent.slug)
        self._connections.tell([told], but=agent.connection)


class _Agent:
    def __init__(self, connection: Connection, slug: str, name: str) -> None:
        self.connection = connection
        self.slug = slug  # as it was when it identified itself
        self.name = name
        self.owed: dict[int, asyncio.Future[Any]] = {}
        self.methods: set[str] = set()


def described(connection: Connection) -> dict[str, str]:
    """What an agent said of itself."""
    client = connection.client
    assert client is not None
    return {"name": client.client_name, "version": client.version, "type": client.type, "url": client.url}


def is_answer(said: Any) -> bool:
    """Whether a message answers something that a client was asked."""
    return isinstance(said, dict) and "method" not in said and ("result" in said or "error" in said)
