"""``/api/plugin/{id}`` and the plugin manager: what stands behind an id, and what it takes."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from polyhost.core.user import Permission, Role
from polyhost.dialects import native
from polyhost.dialects.octoprint import plugins
from polyhost.dialects.octoprint.errors import ERRORS
from polyhost.web.answers import encoded
from polyhost.web.application import Application
from polyhost.web.call import Call
from polyhost.web.routes import Dialect, Routes
from tests.web.hosting import Hosted

plug = plugins.SimpleApi("plug", reads=Permission.LOOK, acts=Permission.CONTROL)
writer = plugins.SimpleApi("writer", reads=Permission.LOOK, acts=Permission.CONTROL)


class TurnOn(msgspec.Struct, tag_field="command", tag="turnOn"):
    ip: str
    times: int = 1


class IsOn(msgspec.Struct, tag_field="command", tag="isOn"):
    pass


@plug.get
async def state(call: Call) -> plugins.Result:
    return encoded(None)


@plug.command(TurnOn)
async def turn_on(call: Call, wanted: TurnOn) -> plugins.Result:
    return None


@plug.command(IsOn)
async def is_on(call: Call, wanted: IsOn) -> plugins.Result:
    return encoded({"on": True})


@pytest.fixture
async def ask(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a host on which two ids have an API of their own."""
    table = Routes()
    table.include(plugins.routes, plug.routes, writer.routes)
    dialect = Dialect("octoprint", table, ERRORS, ("/api/",))
    one.application = Application(one.host, (dialect, native.DIALECT))
    async with one.client(role=Role.OPERATOR) as client:
        yield client


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        ("plug", '{"command": "turnOn", "ip": "10.0.0.1"}', 204),
        ("plug", '{"command": "isOn"}', 200),
        ("plug", '{"command": "turnOn"}', 400),
        ("plug", '{"command": "turnOn", "ip": "10.0.0.1", "times": "many"}', 400),
        ("plug", '{"command": "explode"}', 400),
        ("plug", "{}", 400),
        ("plug", "{", 400),
        ("writer", '{"command": "isOn"}', 400),
        ("psucontrol", '{"command": "turnPSUOn"}', 400),
        ("logging", "{}", 400),
    ],
)
async def test_a_command_is_judged_before_it_is_done(ask: httpx.AsyncClient, key: str, body: str, status: int) -> None:
    answer = await ask.post(f"/api/plugin/{key}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert status != 200 or answer.json() == {"on": True}
    assert status < 400 or answer.json()["error"]


async def test_what_is_no_json_is_not_read(ask: httpx.AsyncClient) -> None:
    assert (await ask.post("/api/plugin/plug", content="isOn")).status_code == 415


@pytest.mark.parametrize(("key", "status"), [("plug", 200), ("writer", 405), ("psucontrol", 404), ("logging", 404)])
async def test_what_an_id_has_to_read(ask: httpx.AsyncClient, key: str, status: int) -> None:
    answer = await ask.get(f"/api/plugin/{key}")
    assert answer.status_code == status
    assert status != 200 or answer.json() is None


async def test_an_id_asks_for_its_own_right(ask: httpx.AsyncClient, one: Hosted) -> None:
    body = {"command": "isOn"}
    async with one.client(role=Role.VIEWER) as viewer:
        assert (await viewer.get("/api/plugin/plug")).status_code == 200
        assert (await viewer.post("/api/plugin/plug", json=body)).status_code == 403
    async with one.client() as stranger:
        assert (await stranger.get("/api/plugin/plug")).status_code == 403
        assert (await stranger.post("/api/plugin/none", json=body)).status_code == 403


async def test_the_list_names_what_stands_behind_an_id(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        listed = (await client.get("/plugin/pluginmanager/plugins")).json()
        keys = {plugin["key"]: plugin for plugin in listed["plugins"]}
        assert {"appkeys", "logging", "discovery", "softwareupdate"} <= keys.keys()
        manager = (await client.get("/api/plugin/pluginmanager")).json()
        assert listed.items() <= manager.items()
        assert manager["repository"] == {"available": False, "plugins": []}
        assert not keys["tracking"]["enabled"]
        assert "psucontrol" not in keys
        for key, plugin in keys.items():
            assert (await client.get(f"/plugin/pluginmanager/plugins/{key}")).json() == {"plugin": plugin}
        assert (await client.get("/plugin/pluginmanager/plugins/psucontrol")).status_code == 404
        versions = (await client.get("/plugin/pluginmanager/plugins/versions")).json()
        assert versions.keys() == {key for key, plugin in keys.items() if plugin["enabled"]}
        assert (await client.get("/plugin/pluginmanager/repository")).json() == {
            "repository": {"available": False, "plugins": []}
        }
        assert (await client.get("/plugin/pluginmanager/orphans")).json() == {"orphan_data": {}}
        assert (await client.get("/plugin/pluginmanager/export")).json() == []


async def test_no_update_is_made_up(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        checked = (await client.get("/plugin/softwareupdate/check")).json()
    assert checked["status"] == "current"
    assert not checked["information"]["octoprint"]["updateAvailable"]
    assert not checked["information"]["octoprint"]["online"]
