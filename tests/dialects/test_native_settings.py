"""What may be set of a printer through our own API."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from polyhost.core.user import Role
from tests.web.hosting import Hosted

PRINTER = "/native/v1/printers/one"


@pytest.fixture
async def client(own: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with own.client(role=Role.ADMINISTRATOR) as client:
        yield client


async def test_a_printer_is_renamed_and_its_link_is_set(own: Hosted, client: httpx.AsyncClient) -> None:
    answer = await client.patch(PRINTER, json={"name": "Ender", "baud": 250000, "window_lines": 4})
    assert (answer.status_code, answer.json()["name"]) == (200, "Ender")
    assert (own.machine.link.port, own.machine.link.baud, own.machine.link.window_lines) == ("/dev/ttyUSB77", 250000, 4)


@pytest.mark.parametrize(
    "wrong", [{"name": 5}, {"baud": -1}, {"window_lines": 65}, {"port": ""}, {"slug": "two"}], ids=str
)
async def test_what_no_printer_can_be_is_refused(own: Hosted, client: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    assert (await client.patch(PRINTER, json={"autoconnect": False, **wrong})).status_code == 400
    assert own.host.printers.default().settings.autoconnect


async def test_a_printer_of_the_settings_file_is_changed_there(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        assert (await client.patch(PRINTER, json={"name": "Mine"})).status_code == 409


async def test_presets_are_those_that_clients_of_octoprint_see(client: httpx.AsyncClient) -> None:
    petg = {"name": "PETG", "extruder": 230.0, "bed": 80.0}
    assert (await client.put(f"{PRINTER}/presets", json=[petg])).status_code == 204
    assert (await client.get(f"{PRINTER}/presets")).json() == [petg]
    assert (await client.get("/api/settings")).json()["temperature"]["profiles"] == [petg]
    assert (await client.put(f"{PRINTER}/presets", json=[{**petg, "bed": 5000}])).status_code == 400


async def test_profiles(own: Hosted, client: httpx.AsyncClient) -> None:
    assert (await client.put(f"{PRINTER}/profiles/two", json={"extruders": 2})).status_code == 204
    assert (await client.put(f"{PRINTER}/profiles/two", json={"extruders": 3})).status_code == 204
    view = (await client.get(f"{PRINTER}/profiles")).json()
    assert (view["current"], view["preferred"], list(view["profiles"])) == ("_default", "_default", ["_default", "two"])
    assert view["profiles"]["two"]["extruders"] == 3
    assert (await client.put(f"{PRINTER}/profiles/two", json={"extruders": 0})).status_code == 400
    assert (await client.delete(f"{PRINTER}/profiles/_default")).status_code == 409
    assert (await client.delete(f"{PRINTER}/profiles/two")).status_code == 204
    own.machine.sent.clear()
    backwards = {"y": {"speed_mm_s": 100.0, "inverted": True}}
    await client.put(f"{PRINTER}/profiles/_default", json=backwards)
    assert (await client.post(f"{PRINTER}/jog", json={"x": 1, "y": 2})).status_code == 204
    assert own.machine.sent == ["G91", "G0 X1 Y-2 F6000", "G90"]
