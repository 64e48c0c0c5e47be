"""Every route of every dialect, asked by everybody: who may, may; who may not, learns nothing (S1, S2, S3)."""

import asyncio
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from polyhost.config import Printer as PrinterSettings
from polyhost.core.user import MAY, Permission, Role
from polyhost.dialects import moonraker, octoprint
from polyhost.services.accounts import LOCAL
from polyhost.web.routes import Route
from tests.web.hosting import DIALECTS, Hosted, hosted

SOCKETS = [socket for dialect in DIALECTS for socket in dialect.routes.sockets]
ROUTES = [route for dialect in DIALECTS for route in dialect.routes.all]
CLOSED = [route for route in ROUTES if route.needs is not None]
OF_MOONRAKER = {(route.method, route.path) for route in moonraker.DIALECT.routes.all}

OPEN = {
    *{("GET", "/online.txt"), ("GET", "/api/printer/sd"), ("GET", "/api/currentuser"), ("POST", "/api/login")},
    *{("POST", "/api/logout"), ("GET", "/plugin/prusaslicerthumbnails/thumbnail/{picture}")},
    *{("GET", "/api/access/permissions"), ("GET", "/plugin/appkeys/probe"), ("POST", "/plugin/appkeys/request")},
    *{("GET", "/plugin/appkeys/request/{token}")},
    *{("GET", "/plugin/appkeys/auth/{token}"), ("POST", "/plugin/appkeys/auth/{token}")},  # ask for name and password
    *{("GET", "/sockjs"), ("GET", "/sockjs/info"), ("POST", "/sockjs/{server}/{session}/xhr_send")},
    *{("POST", "/sockjs/{server}/{session}/" + way) for way in ("xhr", "xhr_streaming")},
    ("GET", "/sockjs/{server}/{session}/eventsource"),
    ("POST", "/server/jsonrpc"),  # each method asks
    *{("GET", "/access/info"), ("POST", "/access/login"), ("POST", "/access/refresh_jwt")},
    *{("GET", f"/server/files/gcodes/{where}.thumbs/{{picture}}") for where in ("", "{folder:path}/")},
    *{("GET", "/"), ("GET", "/setup"), ("POST", "/setup"), ("POST", "/native/v1/setup")},
}
"""The doors that are open on purpose; another one is a decision."""

OPEN_SOCKETS = {"/websocket", "/sockjs/websocket", "/sockjs/{server}/{session}/websocket"}  # these owe an `auth`

OWN = "/api/access/users/{name}"
"""Below it each finds themselves, and nobody else but administrators, whatever the role may."""

MOVED = "/api/users"

BODIES = (b"", b"{", b"[" * 50_000, b'{"command": "' + b"x" * 50_000 + b'"}')


def refusal_of(route: Route) -> int:
    """What a guest is refused with: Moonraker's clients look for 401."""
    return 401 if (route.method, route.path) in OF_MOONRAKER else 403


def path_of(route: Route, target: str = "one") -> str:
    """A path of `route` with something in every field."""
    filled = route.path.replace("{slug}", target).replace("{location}", "local")
    return re.sub(r"\{\w+(:path)?\}", "there.gcode", filled)


def test_no_door_is_open_by_oversight() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.needs is None} == OPEN
    assert {socket.path for socket in SOCKETS if socket.needs is None} == OPEN_SOCKETS


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Api-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QifQ."},
        {"X-Access-Token": "wrong"},
        {"Cookie": "session_P8080=wrong; csrf_token_P8080=wrong", "X-CSRF-Token": "wrong"},
        {
            "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Host": "localhost",
            "X-Remote-User": "root",
            "Forwarded": "for=_",
        },
    ],
    ids=["none", "wrong key", "wrong token", "forged token", "wrong access token", "wrong cookie", "forged proxy"],
)
async def test_who_is_not_known_gets_nothing(one: Hosted, headers: dict[str, str]) -> None:
    await one.put("there.gcode")
    async with one.client() as client:
        for route in CLOSED:
            for target in ("one", "none"):
                answer = await client.request(route.method, path_of(route, target), headers=headers)
                assert answer.status_code == refusal_of(route), (route.method, route.path)
                assert "there.gcode" not in answer.text
    assert not one.machine.sent
    assert "there.gcode" in one.host.files.tree().files


@pytest.mark.parametrize("body", BODIES, ids=["empty", "broken", "deep", "long"])
async def test_a_stranger_is_known_before_the_body_is_read(one: Hosted, body: bytes) -> None:
    async with one.client() as client:
        for route in CLOSED:
            for kind in ("application/json", "multipart/form-data", "text/plain"):
                if route.key_in_body and kind == "multipart/form-data":
                    continue  # its key may be in the form
                answer = await client.request(
                    route.method, path_of(route), content=body, headers={"Content-Type": kind}
                )
                assert answer.status_code == refusal_of(route), (route.method, route.path)


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_what_its_row_says(one: Hosted, role: Role) -> None:
    async with one.client(role=role) as client:
        for route in CLOSED:
            if route.path.endswith("/follow"):
                continue  # answers without end
            assert route.needs is not None
            answer = await client.request(route.method, path_of(route), headers={"Content-Type": "application/json"})
            may = route.needs in MAY[role]
            if may and route.path.startswith(OWN) and role is not Role.ADMINISTRATOR:
                may = False
            if not may:
                assert answer.status_code == 403, (route.method, route.path)
            else:
                assert answer.status_code not in {403, 421, 500}, (route.method, route.path, answer.text)


@pytest.mark.parametrize("body", BODIES, ids=["empty", "broken", "deep", "long"])
async def test_no_body_breaks_a_route(one: Hosted, body: bytes) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        for route in ROUTES:
            if route.method == "GET" or route.path.endswith("/stop"):
                continue
            for kind in ("application/json", "multipart/form-data; boundary=X", "application/x-www-form-urlencoded"):
                answer = await client.request(
                    route.method, path_of(route), content=body, headers={"Content-Type": kind}
                )
                assert answer.status_code < 500, (route.method, route.path, answer.text)


NO_OBJECT = ("[]", "null", "true", '""', "0")
ODD = (
    *NO_OBJECT,
    "{}",
    '{"command": null}',
    '{"command": []}',
    '{"command": "jog", "x": {}}',
    '{"path": {}, "name": []}',
)
WITHOUT_BODY = (
    "/settings/apikey",
    "/stop",
    "/api/logout",
    "/pause",
    "/run/resume",
    "/queue/start",
    "/cancel",
    "disconnect",
)


@pytest.mark.parametrize("body", ODD)
async def test_json_of_another_shape_is_met(one: Hosted, body: str) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        for route in ROUTES:
            if route.method not in {"POST", "PUT"} or route.path.endswith(WITHOUT_BODY):
                continue
            kind = {"Content-Type": "application/json"}
            answer = await client.request(route.method, path_of(route), content=body, headers=kind)
            assert answer.status_code < 500, (route.method, route.path, answer.text)
            if (route.method, route.path) in OF_MOONRAKER:
                continue  # whose upstream passes over a body that it cannot read
            if body in NO_OBJECT and route.method != "PUT" and not route.path.startswith(MOVED):
                assert answer.status_code >= 400, (route.method, route.path, answer.text)


def test_every_permission_is_needed_somewhere() -> None:
    unused = set(Permission) - {route.needs for route in ROUTES}
    assert not unused


async def test_a_strangers_body_is_never_asked_for(one: Hosted) -> None:
    """Not a byte of a gigabyte is read of somebody who may nothing (S2)."""

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("the body was asked for")

    for route in CLOSED:
        answered: list[int] = []

        async def send(message: MutableMapping[str, Any], answered: list[int] = answered) -> None:
            answered += [message["status"]] if "status" in message else []

        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000000000")]
        scope = {
            "type": "http",
            "method": route.method,
            "scheme": "http",
            "raw_path": path_of(route).encode(),
            "query_string": b"",
            "headers": headers,
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 9),
        }
        await one.application(scope, receive, send)
        assert answered == [refusal_of(route)], (route.method, route.path)


async def test_a_key_that_ended_opens_nothing(one: Hosted) -> None:
    clock = one.host.clock
    _, ended = await one.host.accounts.add_key("root", Role.ADMINISTRATOR, "", (), clock.now() + 0.02, LOCAL)
    while clock.now() <= one.host.accounts.keys(LOCAL)[-1].ends_at:  # type: ignore[operator]  # it has one
        await asyncio.sleep(0.005)
    async with one.client(ended) as client:
        for route in CLOSED:
            answer = await client.request(route.method, path_of(route))
            assert answer.status_code == refusal_of(route), (route.method, route.path)


async def test_a_log_in_that_ended_opens_nothing(one: Hosted) -> None:
    accounts = one.host.accounts
    caller, tokens = await accounts.tokens.log_in("root", "correct horse", "127.0.0.1", "http://127.0.0.1")
    await accounts.tokens.log_out(caller)
    async with one.client() as client:
        for route in CLOSED:
            answer = await client.request(route.method, path_of(route), headers={"X-Access-Token": tokens.access})
            assert answer.status_code == refusal_of(route), (route.method, route.path)


async def test_a_key_of_one_printer_opens_nothing_of_another(tmp_path: Path) -> None:
    printers = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=printers) as host:
        async with host.client(await host.key_of(Role.ADMINISTRATOR, "two")) as client:
            for route in [*octoprint.DIALECT.routes.all, *moonraker.DIALECT.routes.all]:
                if route.needs is None or not route.about_printer:
                    continue
                answer = await client.request(
                    route.method, f"/p/one{path_of(route)}", content=b"{}", headers={"Content-Type": "application/json"}
                )
                assert answer.status_code == 403, (route.method, route.path, answer.status_code)
        assert not host.machines["one"].sent
