"""The computer, its services and its logs, as Moonraker's clients ask for them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from polyhost.config import Config, System
from polyhost.core.printer import PrinterState
from polyhost.core.user import Role
from polyhost.services.log_files import HOST_LOG
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

TOUCH = (sys.executable, "-c", "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


async def test_what_the_computer_is(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        info = (await client.get("/machine/system_info")).json()["result"]["system_info"]
    assert info["cpu_info"]["cpu_count"] >= 1
    assert info["cpu_info"]["total_memory"] > 100_000
    assert info["python"]["version"][:2] == list(sys.version_info[:2])
    assert info["distribution"]["kernel_version"]
    assert info["service_state"] == {
        "klipper": {"active_state": "active", "sub_state": "running"},
        "moonraker": {"active_state": "active", "sub_state": "running"},
    }


async def test_how_busy_it_is_is_measured_and_told_every_second(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        stats = (await client.get("/machine/proc_stats")).json()["result"]
    assert stats["moonraker_stats"][-1]["memory"] > 10_000
    assert stats["system_memory"]["total"] == stats["system_memory"]["used"] + stats["system_memory"]["available"]
    assert stats["system_uptime"] > 0
    async with serving(one) as (served, _):
        headers = {"X-Api-Key": one.keys[Role.VIEWER]}
        async with (
            websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as client,
            websockets.connect(f"{served.sockets}/websocket") as stranger,
        ):
            told = json.loads(await client.recv())
            assert told["method"] == "notify_proc_stat_update"
            assert "id" not in told
            assert told["params"][0]["websocket_connections"] == 2
            assert isinstance(told["params"][0]["moonraker_stats"], dict)
            await client.recv()
            await stranger.close()
            assert [message async for message in stranger] == []  # who owes who they are is told nothing


async def test_klipper_s_service_is_the_printer_s_link(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:

        async def state_after(action: str) -> PrinterState:
            answer = await client.post(f"/machine/services/{action}", params={"service": "klipper"})
            assert answer.json() == {"result": "ok"}, answer.text
            return one.machine.snapshot.state

        assert await state_after("stop") is PrinterState.OFFLINE
        assert await state_after("stop") is PrinterState.OFFLINE
        assert await state_after("start") is PrinterState.READY
        assert await state_after("restart") is PrinterState.READY
        for action, service in (("stop", "moonraker"), ("restart", "sshd"), ("start", "")):
            refused = await client.post(f"/machine/services/{action}", params={"service": service})
            assert refused.status_code == 400, refused.text


async def test_only_an_administrator_restarts_the_host_and_only_where_something_can(one: Hosted) -> None:
    begun: list[str] = []
    for role, status in ((Role.OPERATOR, 403), (Role.ADMINISTRATOR, 400)):
        async with one.client(role=role) as client:
            assert (await client.post("/server/restart")).status_code == status
    one.host.system.begin_anew = lambda: begun.append("anew")
    async with one.client(role=Role.ADMINISTRATOR) as client:
        assert (await client.post("/server/restart")).json() == {"result": "ok"}
        await client.post("/machine/services/restart", params={"service": "moonraker"})
    async with one.client(role=Role.OPERATOR) as client:
        assert (await client.post("/machine/services/restart?service=moonraker")).status_code == 403
    assert begun == ["anew", "anew"]


async def test_the_computer_ends_by_the_owners_command_alone(tmp_path: Path) -> None:
    system = System(shutdown=(*TOUCH, str(tmp_path / "off")))
    async with hosted(tmp_path, config=Config(system=system)) as host:
        async with host.client(role=Role.ADMINISTRATOR) as client:
            reboot = await client.post("/machine/reboot")
            assert reboot.status_code == 400
            assert "[system] reboot" in reboot.json()["error"]["message"]
            assert (await client.post("/machine/shutdown")).json() == {"result": "ok"}
        while not (tmp_path / "off").exists():
            await asyncio.sleep(0.01)


async def test_logs_begin_anew(one: Hosted) -> None:
    folder = one.host.logs.folder
    folder.mkdir(exist_ok=True)
    (folder / HOST_LOG).write_text("old\n")
    async with one.client(role=Role.ADMINISTRATOR) as client:
        answer = (await client.post("/server/logs/rollover")).json()["result"]
        assert answer == {"rolled_over": ["moonraker"], "failed": {"klipper": "nothing is logged yet"}}
        assert (folder / f"{HOST_LOG}.1").read_text() == "old\n"
        assert (await client.post("/server/logs/rollover?application=sshd")).status_code == 400


async def test_what_front_ends_read_of_the_settings(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        said = (await client.get("/server/config")).json()["result"]
    assert said["config"]["data_store"] == {"temperature_store_size": 1200, "gcode_store_size": 1000}
    assert said["orig"]["server"]["port"] == str(said["config"]["server"]["port"])


@pytest.mark.parametrize("what", ["usb", "serial", "video"])
async def test_what_is_plugged_in_is_listed(one: Hosted, what: str) -> None:
    async with one.client(role=Role.VIEWER) as client:
        answer = await client.get(f"/machine/peripherals/{what}")
        assert all(isinstance(each, list) for each in answer.json()["result"].values())
        assert (await client.get("/machine/peripherals/canbus")).status_code == 404
