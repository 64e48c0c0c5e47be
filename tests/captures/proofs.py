"""How each route of the OctoPrint dialect is shown to answer as the original does, for the tests and the compat page.

A capture proves what it was recorded for; a client of somebody else's proves that it gets along; what has neither is
proven by tests of our own against the specification, and those are named.  Apps are those of `tests.dialects.apps`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from polyhost.dialects import octoprint
from polyhost.web.routes import Route, Router, SocketRoute
from tests.captures.clients import CLIENTS
from tests.captures.playing import title_of
from tests.captures.recorded import OCTOPRINT, matches
from tests.dialects.apps import APPS, App, Hear

TESTS: Final = Path(__file__).parent.parent / "dialects"
Key = tuple[str, str]
"""Method and template of a route."""


@dataclass
class Proof:
    captures: Counter[str] = field(default_factory=Counter)  # exchanges, by the name of the capture
    clients: list[str] = field(default_factory=list)
    apps: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)  # modules of tests
    reasons: list[str] = field(default_factory=list)  # why some answers differ


def key_of(route: Route | SocketRoute) -> Key:
    return (route.method if isinstance(route, Route) else "WebSocket", route.path)


def proofs() -> Mapping[Key, Proof]:
    """For each route of the dialect."""
    routes = [*octoprint.DIALECT.routes.all, *octoprint.DIALECT.routes.sockets]
    found = {key_of(route): Proof() for route in routes}
    router = Router([octoprint.DIALECT])
    for name in OCTOPRINT.names:
        _count(name, router, found)
    for client, keys in CLIENTS.items():
        for key in keys:
            found[key].clients.append(client)
    for app in APPS:
        for key in _asked(app, router):
            found[key].apps.append(app.name)
    for (_, path), proof in found.items():
        if not (proof.captures or proof.clients or proof.apps):
            proof.own = _naming(path)
    return found


def _asked(app: App, router: Router) -> set[Key]:
    """The routes that `app` calls with success."""
    keys = set()
    for step in app.steps:
        place = router.find(unquote(step.path.partition("?")[0]))
        route = place and (place[0].socket if isinstance(step, Hear) else place[0].methods.get(step.method))
        if route and (isinstance(step, Hear) or step.status < 400):
            keys.add(key_of(route))
    return keys


def _count(name: str, router: Router, found: Mapping[Key, Proof]) -> None:
    state, differs = "offline", OCTOPRINT.differences_of(name)
    for step in OCTOPRINT.capture(name).steps:
        state = step.reach or state
        if step.answer is None:
            continue
        method, path = step.request.split(" ", 1)
        place = router.find(re.sub("/+", "/", path.partition("?")[0]))
        route = place and place[0].methods.get("GET" if method == "HEAD" else method)
        if not route:
            continue  # a path or method that is none is asked for as well
        proof, title = found[key_of(route)], title_of(step, state)
        proof.captures[name] += 1
        for difference in differs:
            told = any(matches(pattern.removesuffix(" again"), title) for pattern in difference.steps)
            if told and difference.reason not in proof.reasons:
                proof.reasons.append(difference.reason)


def _naming(path: str) -> list[str]:
    """The test modules in which the fixed part of `path` is written."""
    fixed = path.partition("{")[0].strip("/")
    return sorted(module.name for module in TESTS.glob("test_octoprint_*.py") if fixed in module.read_text())
