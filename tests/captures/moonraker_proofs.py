"""How each endpoint of the Moonraker dialect is shown to answer as the original does, over HTTP and over JSON-RPC.

As in `tests.captures.proofs`: captures first, then clients of others, and what front ends and slicers are known
to send; what has none of them is proven by the tests of our own that name it.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from polyhost.core.user import Permission
from polyhost.dialects import moonraker
from polyhost.web.routes import Router
from tests.captures.playing import Step, title_of
from tests.captures.proofs import Proof, matches
from tests.captures.recorded import MOONRAKER

TESTS: Final = Path(__file__).parent.parent
CLIENTS: Final[Mapping[str, str]] = {"moonraker-api": "integration/test_moonraker_api.py"}
"""Programs of others, and where they run as they are."""
SENDERS: Final[Mapping[str, str]] = {
    "front ends": "dialects/front_ends.py",
    "slicers and apps": "dialects/moonraker_apps.py",
}
"""Whose requests the tests make as their sources do."""


@dataclass
class Entry:
    """One endpoint: a verb and path, a method of JSON-RPC, or both."""

    module: str
    verb: str
    path: str
    method: str
    needs: Permission | None
    proof: Proof = field(default_factory=Proof)


def entries() -> list[Entry]:
    """Every endpoint of the dialect with its proof, in the order of its modules."""
    found = list(_endpoints())
    by_route = {(entry.verb, entry.path): entry for entry in found if entry.path}
    by_method = {entry.method: entry for entry in reversed(found) if entry.method}
    router = Router([moonraker.DIALECT])
    for name in MOONRAKER.names:
        _count(name, router, by_route, by_method)
    for kind, where in (("clients", CLIENTS), ("apps", SENDERS)):
        for sender, module in where.items():
            said = _texts_of(TESTS / module)
            for entry in found:
                if _is_named(entry, said):
                    getattr(entry.proof, kind).append(sender)
    for entry in found:
        proof = entry.proof
        if not (proof.captures or proof.clients or proof.apps):
            proof.own = _own(entry)
    return found


def _endpoints() -> Iterator[Entry]:
    declared = set()
    names = {id(endpoint): name for name, endpoint in moonraker.RPC.methods.items()}
    for resource in moonraker.RESOURCES:
        for endpoint in resource.endpoints:
            for verb in endpoint.verbs or ("",):
                declared.add((verb, endpoint.path))
                name = names.get(id(endpoint), "")
                yield Entry(endpoint.handle.__module__, verb, endpoint.path, name, endpoint.needs)
    for route in moonraker.DIALECT.routes.all:
        if (route.method, route.path) not in declared:
            yield Entry(route.handler.__module__, route.method, route.path, "", route.needs)
    for socket in moonraker.DIALECT.routes.sockets:
        yield Entry(socket.handler.__module__, "WebSocket", socket.path, "", socket.needs)


def _count(
    name: str, router: Router, by_route: Mapping[tuple[str, str], Entry], by_method: Mapping[str, Entry]
) -> None:
    differs = MOONRAKER.differences_of(name)
    for step in MOONRAKER.capture(name).steps:
        if step.answer is None:
            continue
        title = title_of(step, "")
        for entry in _asked(step, router, by_route, by_method):
            entry.proof.captures[name] += 1
            for difference in differs:
                told = any(matches(pattern.removesuffix(" again"), title) for pattern in difference.steps)
                if told and difference.reason not in entry.proof.reasons:
                    entry.proof.reasons.append(difference.reason)


def _asked(
    step: Step, router: Router, by_route: Mapping[tuple[str, str], Entry], by_method: Mapping[str, Entry]
) -> Iterator[Entry]:
    """The endpoints that a step goes to: its own, and those that its message names."""
    what, where = step.request.split(" ", 1)
    if what in {"WS", "HEAR", "LEAVE"}:
        yield by_route["WebSocket", "/websocket"]
        if where in by_method:
            yield by_method[where]
        return
    place = router.find(re.sub("/+", "/", where.partition("?")[0]))
    route = place and place[0].methods.get(what)
    if route and (what, route.path) in by_route:
        yield by_route[what, route.path]
    said = step.json if isinstance(step.json, Mapping) else {}
    if where == "/server/jsonrpc" and said.get("method") in by_method:
        yield by_method[said["method"]]


@cache
def _texts_of(module: Path) -> frozenset[str]:
    """Every text that a module writes down."""
    if not module.exists():
        return frozenset()
    nodes = ast.walk(ast.parse(module.read_text(encoding="utf-8")))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_named(entry: Entry, said: frozenset[str]) -> bool:
    if entry.method and entry.method in said:
        return True
    if not entry.path:
        return False
    fixed = re.escape(re.sub(r"\{\w+(?::path)?\}", "\0", entry.path)).replace("\0", ".+")
    return any(re.fullmatch(f"{entry.verb} .*{fixed}(\\?.*)?", text) for text in said)


def _own(entry: Entry) -> list[str]:
    """The test modules of ours that ask for it."""
    wanted = {entry.path.partition("{")[0], entry.method} - {""}
    modules = {*(TESTS / "dialects").glob("test_moonraker_*.py")} - {TESTS / "dialects" / "test_moonraker_fuzz.py"}
    return sorted(
        module.name for module in modules if any(text.startswith(name) for text in _texts_of(module) for name in wanted)
    )
