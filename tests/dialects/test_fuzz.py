"""No request makes a 5xx (S6): headers, queries, paths and bodies of any bytes, to every route."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyhost.config import Access, Config
from polyhost.core.user import Role
from polyhost.web.routes import Route
from tests.web.hosting import DIALECTS, Hosted, hosted

# Without end, or at the cost of a password's hash.
WAITING = ("/follow", "/login", "/setup", "/xhr", "/xhr_streaming", "/eventsource")
ROUTES = [route for dialect in DIALECTS for route in dialect.routes.all if not route.path.endswith(WAITING)]
HEADERS = [
    *(b"authorization", b"cookie", b"host", b"origin", b"range", b"if-range", b"if-none-match", b"if-modified-since"),
    *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-script-name", b"x-scheme", b"x-csrf-token"),
    *(b"content-length", b"content-type", b"x-sha256", b"expect", b"access-control-request-method"),
]
NOISE = st.binary(max_size=40).map(lambda noise: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", noise))
PLAUSIBLE = st.sampled_from(
    [
        *(b"bytes=0-1", b"bytes=5-2", b"bytes=-", b"bytes=9999999999999999999999-", b"bytes=--1", b"*", b'W/"x"'),
        *(b"127.0.0.1", b"evil.example:99999", b"[::1", b"a, b, ,", b"/octo", b"https", b"Bearer", b"Bearer \xff"),
        *(b"application/json", b"application/json; charset=utf-7", b"multipart/form-data", b"0", b"-1", b"1e9"),
        *(b"multipart/form-data; boundary=X", b"Thu, 01 Jan 0001 00:00:00 GMT", b"session_P8080=x; $Path=/; =;"),
    ]
)
QUERIES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"limit=\xd9\xa3&history=1", b"apikey=%ff", b"apikey", b"folder=%00", b"since=nan", b"&" * 500]),
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b'{"command":"jog","x":1e308,"y":-1e308}', b'{"path":"\\u0000"}', b'{"role":"\\ud800"}', b'"' * 9]
    ),
)


async def status_of(one: Hosted, route: Route, path: bytes, headers: list[Any], query: bytes, body: bytes) -> int:
    started: list[int] = []
    sent = False

    async def send(message: Any) -> None:
        if "status" in message:
            started.append(message["status"])

    async def receive() -> Any:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": route.method,
        "scheme": "http",
        "raw_path": path,
        "query_string": query,
        "headers": headers,
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 9),
    }
    await asyncio.wait_for(one.application(scope, receive, send), 5)
    return started[0]


@pytest.mark.parametrize("role", [None, Role.ADMINISTRATOR], ids=["stranger", "administrator"])
def test_any_bytes_get_an_answer(tmp_path: Path, role: Role | None) -> None:
    config = Config(access=Access(proxies=("127.0.0.1",), allow_origins=("https://a.example",)))
    with asyncio.Runner() as runner:
        opened = hosted(tmp_path, config=config)
        one = runner.run(opened.__aenter__())
        key = [(b"x-api-key", one.keys[role].encode())] if role else []

        @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            route=st.sampled_from(ROUTES),
            field=st.one_of(st.sampled_from([b"local", b"one", b"a.gcode", b"%ff", b"..", b"%2e%2e%2f"]), NOISE),
            headers=st.lists(st.tuples(st.sampled_from(HEADERS), st.one_of(PLAUSIBLE, NOISE)), max_size=4),
            query=QUERIES,
            body=BODIES,
        )
        def check(route: Route, field: bytes, headers: list[Any], query: bytes, body: bytes) -> None:
            path = re.sub(rb"\{[^}]*\}", lambda _: field, route.path.encode())
            status = runner.run(status_of(one, route, path, [*key, *headers], query, body))
            assert 200 <= status < 500, status

        check()
        runner.run(opened.__aexit__(None, None, None))
