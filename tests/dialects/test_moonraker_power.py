"""Power devices as front ends and Home Assistant see and switch them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from polyhost.config import Config, Power
from polyhost.core.user import Role
from tests.dialects.test_moonraker_transport import asked, rpc
from tests.services.switches import Switchboard, switchboard
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    async with switchboard() as board:
        yield board


@pytest.fixture
async def one(tmp_path: Path, board: Switchboard) -> AsyncIterator[Hosted]:
    devices = (
        Power("psu", "shelly", board.url, locked_while_printing=True),
        Power("gone", "shelly", "http://127.0.0.1:9"),
    )
    async with hosted(tmp_path, config=Config(power=devices)) as host:
        yield host


async def call(one: Hosted, method: str, params: dict[str, Any], role: Role = Role.OPERATOR) -> Any:
    answer = await rpc(one, asked(f"machine.device_power.{method}", params), role)
    return answer["error"] if "error" in answer else answer["result"]


async def test_they_are_listed_where_there_are_any(one: Hosted, tmp_path: Path) -> None:
    assert "power" in (await rpc(one, asked("server.info")))["result"]["components"]
    psu = {"device": "psu", "status": "init", "locked_while_printing": True, "type": "shelly"}
    gone = {"device": "gone", "status": "init", "locked_while_printing": False, "type": "shelly"}
    assert await call(one, "devices", {}, Role.VIEWER) == {"devices": [psu, gone]}
    async with hosted(tmp_path / "without") as without:
        assert "power" not in (await rpc(without, asked("server.info")))["result"]["components"]
        assert await call(without, "devices", {}) == {"code": -32601, "message": "Not Found"}


async def test_they_are_asked_and_switched(one: Hosted, board: Switchboard) -> None:
    assert await call(one, "get_device", {"device": "psu"}, Role.VIEWER) == {"psu": "off"}
    assert await call(one, "post_device", {"device": "psu", "action": "ON"}) == {"psu": "on"}
    assert await call(one, "post_device", {"device": "psu", "action": "toggle"}) == {"psu": "off"}
    assert await call(one, "on", {"psu": None}) == {"psu": "on"}
    assert board.on
    assert await call(one, "status", {"psu": None, "none": None, "gone": None}, Role.VIEWER) == {
        "psu": "on",
        "none": "device_not_found",
        "gone": "error",
    }
    async with one.client(role=Role.OPERATOR) as client:
        assert (await client.post("/machine/device_power/off?psu")).json() == {"result": {"psu": "off"}}
        assert (await client.get("/machine/device_power/status?psu")).json() == {"result": {"psu": "off"}}
        assert (await client.get("/machine/device_power/device?device=psu")).json() == {"result": {"psu": "off"}}


async def test_what_is_refused(one: Hosted) -> None:
    assert (await call(one, "get_device", {"device": "none"}))["code"] == -32601
    assert (await call(one, "post_device", {"device": "psu"}))["message"] == "No data for argument: action"
    assert (await call(one, "post_device", {"device": "psu", "action": "explode"}))["code"] == 400
    assert (await call(one, "post_device", {"device": "gone", "action": "on"}))["code"] == 503
    assert (await call(one, "post_device", {"device": "psu", "action": "on"}, Role.VIEWER))["code"] == 403
    for method in ("status", "on", "off"):
        assert (await call(one, method, {}))["code"] == 400
    await one.put("a.gcode")
    async with one.client(role=Role.OPERATOR) as client:
        await client.post("/printer/print/start?filename=a.gcode")
    refused = await call(one, "off", {"psu": None})
    assert (refused["code"], refused["message"]) == (400, "psu is left alone while one prints")


async def test_a_change_is_told(one: Hosted) -> None:
    headers = {"X-Api-Key": one.keys[Role.OPERATOR]}
    async with (
        serving(one) as (served, _),
        websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as client,
        asyncio.timeout(5),
    ):
        await client.send(json.dumps(asked("machine.device_power.on", {"psu": None})))
        while (said := json.loads(await client.recv())).get("method") != "notify_power_changed":
            pass
    assert said["params"] == [{"device": "psu", "status": "on", "locked_while_printing": True, "type": "shelly"}]
