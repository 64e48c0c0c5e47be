"""The Spoolman proxy: listed where there is one, both ways of answering, and what is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from polyhost.config import Config, Moonraker
from polyhost.core.user import Role
from tests.dialects.test_moonraker_transport import asked, rpc
from tests.services.spool_server import SpoolServer, spool_server
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving


@pytest.fixture
async def server() -> AsyncIterator[SpoolServer]:
    async with spool_server() as server:
        yield server


@pytest.fixture
async def one(tmp_path: Path, server: SpoolServer) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path, config=Config(moonraker=Moonraker(spoolman=server.url))) as host:
        yield host


async def call(one: Hosted, method: str, params: dict[str, Any], role: Role = Role.ADMINISTRATOR) -> Any:
    answer = await rpc(one, asked(f"server.spoolman.{method}", params), role)
    return answer["error"] if "error" in answer else answer["result"]


async def test_it_is_listed_and_answered_where_there_is_one(one: Hosted, tmp_path: Path) -> None:
    assert "spoolman" in (await rpc(one, asked("server.info")))["result"]["components"]
    async with hosted(tmp_path / "without") as without:
        assert "spoolman" not in (await rpc(without, asked("server.info")))["result"]["components"]
        async with without.client(role=Role.ADMINISTRATOR) as client:
            answer = await client.get("/server/spoolman/status")
            assert (answer.status_code, answer.json()["error"]["message"]) == (404, "Not Found")
            body = {"request_method": "GET", "path": "/v1/spool"}
            for path in ("/server/spoolman/spool_id", "/server/spoolman/proxy"):
                assert (await client.post(path, json=body)).status_code == 404


async def test_the_spool_of_a_printer(one: Hosted) -> None:
    assert await call(one, "status", {}) == {"spoolman_connected": False, "pending_reports": [], "spool_id": None}
    assert await call(one, "post_spool_id", {"spool_id": "2"}, Role.OPERATOR) == {"spool_id": 2}
    assert await call(one, "get_spool_id", {}, Role.VIEWER) == {"spool_id": 2}
    assert (await call(one, "post_spool_id", {"spool_id": "x"}))["code"] == 400
    assert (await call(one, "post_spool_id", {"spool_id": 1}, Role.VIEWER))["code"] == 403
    assert await call(one, "post_spool_id", {}) == {"spool_id": None}


async def test_both_ways_of_answering(one: Hosted, server: SpoolServer) -> None:
    spool = {"request_method": "GET", "path": "/v1/spool/1"}
    assert await call(one, "proxy", spool, Role.VIEWER) == {"id": 1, "remaining": 1000.0}
    second = await call(one, "proxy", spool | {"use_v2_response": True})
    assert (second["response"], second["error"]) == ({"id": 1, "remaining": 1000.0}, None)
    assert second["response_headers"]["x-total-count"] == "2"
    used = {"request_method": "PUT", "path": "/v1/spool/1/use", "body": {"use_length": 10}}
    assert (await call(one, "proxy", used, Role.OPERATOR))["remaining"] == 990.0
    assert (await call(one, "proxy", used, Role.VIEWER))["code"] == 403
    none = {"request_method": "GET", "path": "/v1/spool/9"}
    assert await call(one, "proxy", none) == {"code": -32601, "message": "No spool with that ID"}
    second = await call(one, "proxy", none | {"use_v2_response": "true"})
    assert second == {"response": None, "error": {"status_code": 404, "message": "No spool with that ID"}}
    server.answers["/api/v1/x"] = ("422 Wrong", b'{"detail": [1]}')
    assert await call(one, "proxy", {"request_method": "GET", "path": "/v1/x"}) == {"code": 400, "message": "[1]"}
    assert (await call(one, "proxy", {"path": "/v1/x"}))["message"] == "No data for argument: request_method"
    assert (await call(one, "proxy", {"request_method": "GET", "path": "/v3"}))["code"] == 400


async def test_one_that_does_not_answer_is_503(tmp_path: Path) -> None:
    async with spool_server() as server:
        pass
    async with hosted(tmp_path, config=Config(moonraker=Moonraker(spoolman=server.url))) as one:
        spools = {"request_method": "GET", "path": "/v1/spool"}
        first = await call(one, "proxy", spools)
        assert first["code"] == 503
        assert first["message"].startswith("Spoolman server not available")
        second = await call(one, "proxy", spools | {"use_v2_response": True})
        assert second == {"response": None, "error": {"status_code": 503, "message": first["message"]}}


async def test_changes_are_told(one: Hosted) -> None:
    headers = {"X-Api-Key": one.keys[Role.OPERATOR]}
    async with (
        serving(one) as (served, _),
        websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as client,
    ):

        async def told(name: str) -> Any:
            async with asyncio.timeout(5):
                while (said := json.loads(await client.recv())).get("method") != f"notify_{name}":
                    pass
            return said["params"]

        await client.send(json.dumps(asked("server.spoolman.post_spool_id", {"spool_id": 1})))
        assert await told("active_spool_set") == [{"spool_id": 1}]
        going = asyncio.create_task(one.host.spoolman.run())
        try:
            assert await told("spoolman_status_changed") == [{"spoolman_connected": True}]
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
    assert (await call(one, "status", {}))["spoolman_connected"] is True
