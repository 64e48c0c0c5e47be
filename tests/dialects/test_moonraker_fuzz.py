"""Any message, to any method with any params: an answer in its envelope, never an exception, nothing for strangers."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyhost.core.user import Role
from polyhost.dialects.moonraker import RPC
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

COSTLY = frozenset(
    {"access.login", "access.post_user", "access.user.password", "server.restart", "machine.shutdown", "machine.reboot"}
)
"""At the cost of a password's hash; or the end of the process that fuzzes."""
OPEN = frozenset(name for name, endpoint in RPC.methods.items() if endpoint.needs is None)
METHODS = sorted(RPC.methods.keys() - COSTLY)
WORDS = st.sampled_from(
    [
        *(
            "gcodes",
            "gcodes/a.gcode",
            "../..",
            "config/printer.cfg",
            "nope",
            "",
            "\0",
            "a.b",
            "\ud800",
            "G28\nM105",
            "9" * 30,
        ),
        *(
            "one",
            "desc",
            "true",
            "-1",
            "print_stats",
            "extruder",
            "moonraker",
            "state,filename",
            "%2e%2e",
            "NaN",
            "G28\nM105",
        ),
    ]
)
NAMES = st.sampled_from(
    [
        *("namespace", "key", "value", "filename", "path", "root", "script", "objects", "uid", "job_ids", "filenames"),
        *("name", "stream_url", "limit", "start", "count", "source", "dest", "username", "token", "agent"),
        *(
            "include_monitors",
            "extended",
            "order",
            "before",
            "since",
            "all",
            "application",
            "service",
            "items",
            "reset",
        ),
        *("client_name", "version", "type", "url", "access_token", "refresh_token", "entry_id", "job_id", "arguments"),
    ]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([2**63, -(2**70), 1e308, -0.0]), st.floats(), WORDS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
PARAMS = st.one_of(st.dictionaries(NAMES, VALUES, max_size=4), VALUES)
CALLS = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0", None, 2])},
    optional={
        "method": st.one_of(st.sampled_from(METHODS), st.sampled_from(METHODS), VALUES),
        "params": PARAMS,
        "id": st.one_of(st.integers(), VALUES),
        "result": VALUES,
    },
)
MESSAGES = st.one_of(CALLS, CALLS, st.lists(CALLS, max_size=3), VALUES)


def answers_in(said: Any) -> Iterator[dict[str, Any]]:
    yield from said if isinstance(said, list) else [said]


def is_envelope(answer: Mapping[str, Any]) -> bool:
    if answer["jsonrpc"] != "2.0" or answer.keys() not in ({"jsonrpc", "result", "id"}, {"jsonrpc", "error", "id"}):
        return False
    error = answer.get("error")
    return error is None or (
        isinstance(error["code"], int)
        and isinstance(error["message"], str)
        and error["code"] not in {500, 501}
        and error.keys() <= {"code", "message", "data"}
    )


def encoded(message: Any) -> bytes:
    return json.dumps(message).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.ADMINISTRATOR], ids=["stranger", "viewer", "administrator"])
def test_any_message_gets_its_envelope(tmp_path: Path, role: Role | None) -> None:
    with asyncio.Runner() as runner:
        opened = hosted(tmp_path)
        one = runner.run(opened.__aenter__())
        client = one.client(role=role)

        async def said_to(content: bytes, open_doors: int) -> None:
            answer = await client.post("/server/jsonrpc", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code in {200, 204}, answer.text
            if answer.content:
                answers = list(answers_in(answer.json()))
                assert all(map(is_envelope, answers)), answers
                if role is None:
                    assert sum("result" in each for each in answers) <= open_doors, answers

        @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
        @given(message=st.one_of(MESSAGES, st.binary(max_size=40)))
        def check(message: Any) -> None:
            content = message if isinstance(message, bytes) else encoded(message)
            asked = message if isinstance(message, list) else [message]
            open_doors = sum(isinstance(one, dict) and str(one.get("method")) in OPEN for one in asked)
            before = pictured(one, tmp_path) if role is not Role.ADMINISTRATOR else None
            runner.run(asyncio.wait_for(said_to(content, open_doors), 10))
            if before is not None:
                assert pictured(one, tmp_path) == before, "changed by who may not"

        check()
        runner.run(client.aclose())
        runner.run(opened.__aexit__(None, None, None))


def pictured(one: Hosted, data: Path) -> Any:
    """What a stranger's message could have changed, if it could."""
    return (
        list(one.machine.sent),
        msgspec.structs.asdict(one.machine.snapshot),
        sorted(str(path) for path in (data / "files").rglob("*")),
    )


async def test_over_a_websocket_any_message_leaves_it_open(tmp_path: Path) -> None:
    """Whatever was sent before, the next question is answered."""
    examples: list[str] = []

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(message=MESSAGES)
    def collect(message: Any) -> None:
        examples.append(json.dumps(message))

    collect()
    async with hosted(tmp_path) as one, serving(one) as (served, _):
        headers = {"X-Api-Key": one.keys[Role.ADMINISTRATOR]}
        async with websockets.connect(
            f"{served.sockets}/websocket", additional_headers=headers, max_size=None
        ) as socket:
            for number, text in enumerate(examples):
                await socket.send(text)
                await socket.send(json.dumps({"jsonrpc": "2.0", "method": "server.info", "id": f"then {number}"}))
                while True:
                    said = json.loads(await asyncio.wait_for(socket.recv(), 10))
                    if isinstance(said, dict) and said.get("id") == f"then {number}":
                        assert "result" in said, (text, said)
                        break
                    for each in answers_in(said):
                        assert "method" in each or is_envelope(each), (text, each)
