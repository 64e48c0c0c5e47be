"""The last mile: libraries that others wrote against OctoPrint, against us, over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import aiohttp
import pytest
from octorest import OctoRest
from pyoctoprintapi import OctoprintClient

from polyhost.core.card import CardFile
from polyhost.core.user import Role
from tests.web.hosting import GCODE, Hosted
from tests.web.test_server import Served, serving

T = TypeVar("T")


@pytest.fixture
async def served(one: Hosted) -> AsyncIterator[Served]:
    async with serving(one) as (it, _):
        yield it


async def test_octorest_prints_a_file(served: Served, tmp_path: Any) -> None:
    one = served.one
    part = tmp_path / "part.gcode"
    part.write_bytes(GCODE)

    async def do(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return await asyncio.to_thread(call, *arguments, **named)

    client = await do(OctoRest, url=f"http://127.0.0.1:{served.port}", apikey=served.key)
    assert client.version["text"].startswith("OctoPrint")
    await do(client.upload, str(part))
    await do(client.upload, ("sub/in a folder.gcode", GCODE))  # its own parameter `path` never leaves it
    assert one.host.files.on_disk("part.gcode").read_bytes() == GCODE
    assert {file["name"] for file in (await do(client.files, recursive=True))["files"]} == {"part.gcode", "sub"}
    await do(client.new_folder, "new")
    await do(client.copy, "part.gcode", "new")
    await do(client.move, "new/part.gcode", "moved.gcode")
    await do(client.delete, "moved.gcode")
    await do(client.select, "part.gcode", print=True)
    await do(client.pause)
    assert (await do(client.job_info))["state"] == "Paused"
    await do(client.resume)
    await do(client.cancel)
    await one.ended()
    await do(client.home)
    await do(client.jog, x=10, y=-5, z=0.02)
    await do(client.extrude, 1)
    await do(client.tool_target, 200)
    await do(client.bed_target, 60)
    await do(client.feedrate, 105)
    await do(client.gcode, ["M106", "M107"])
    assert one.machine.sent[-2:] == ["M106", "M107"]
    assert (await do(client.printer))["temperature"]["bed"]["actual"] == 20.0
    assert (await do(client.printer_profiles))["profiles"]["_default"]["current"]
    assert "plugins" in await do(client.settings)
    await do(client.disconnect)
    assert (await do(client.connection_info))["current"]["state"] == "Closed"
    with pytest.raises(RuntimeError, match="not operational"):
        await do(client.printer)
    await do(client.connect)
    await do(client.session.close)


async def test_octorest_uses_the_printers_card(served: Served) -> None:
    one = served.one
    one.machine.card = (CardFile("CUBE.GCO", 46, "cube.gcode"),)

    async def do(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return await asyncio.to_thread(call, *arguments, **named)

    client = await do(OctoRest, url=f"http://127.0.0.1:{served.port}", apikey=served.key)
    await do(client.sd_init)
    assert (await do(client.sd))["ready"]
    await do(client.sd_refresh)
    assert [file["name"] for file in (await do(client.files, location="sdcard"))["files"]] == ["cube.gco"]
    assert (await do(client.files_info, "sdcard", "cube.gco"))["size"] == 46
    await do(client.upload, ("part.gcode", GCODE), location="sdcard")
    assert (await do(client.state)) == "Sending file to SD"
    one.machine.end_transfer("done")
    await do(client.select, "sdcard/part.gco", print=True)
    assert (await do(client.state)) == "Printing from SD"
    await do(client.cancel)
    await one.ended()
    await do(client.delete, "sdcard/part.gco")
    await do(client.sd_release)
    assert not (await do(client.sd))["ready"]
    await do(client.session.close)


async def test_home_assistant_sees_and_steers(served: Served) -> None:
    one = served.one
    await one.put("part.gcode")
    async with aiohttp.ClientSession() as session:
        client = OctoprintClient(host="127.0.0.1", session=session, port=served.port, ssl=False, path="/")
        client.set_api_key(served.key)
        printer = await client.get_printer_info()
        assert printer.state.flags.operational
        assert [(each.name, each.actual_temp) for each in printer.temperatures] == [("tool0", 21.5), ("bed", 20.0)]
        assert (await client.get_job_info()).state == "Operational"
        assert (await client.get_server_info()).version == "1.11.8"
        assert not (await client.get_webcam_info()).internal_snapshot_url.endswith("None")
        await client.set_bed_temperature(60)
        await client.set_tool_temperature("tool0", 200)
        assert one.machine.sent == ["M140 S60", "M104 T0 S200"]
        async with one.client(role=Role.OPERATOR) as ours:
            await ours.post("/api/files/local/part.gcode", json={"command": "select", "print": True})
        await client.pause_job()
        assert (await client.get_job_info()).state == "Paused"
        await client.resume_job()
        await client.cancel_job()
        await one.ended()
        await client.disconnect()


async def test_octorest_sets_the_host_up(served: Served) -> None:
    one = served.one

    async def do(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return await asyncio.to_thread(call, *arguments, **named)

    client = await do(OctoRest, url=f"http://127.0.0.1:{served.port}", apikey=one.keys[Role.ADMINISTRATOR])
    await do(client.add_printer_profile, {"profile": {"id": "two", "name": "Two", "extruder": {"count": 2}}})
    await do(client.update_printer_profile, "two", {"profile": {"name": "Two tools"}})
    assert (await do(client.printer_profile, "two"))["name"] == "Two tools"
    await do(client.connect, printer_profile="two", save=True)
    assert one.machine.handling.profile.extruders == 2
    await do(client.tool_target, {"tool1": 200})
    assert one.machine.sent[-1] == "M104 T1 S200"
    with pytest.raises(RuntimeError, match="current profile"):
        await do(client.delete_printer_profile, "two")
    await do(client.connect, printer_profile="_default", save=True)
    await do(client.delete_printer_profile, "two")
    assert list((await do(client.printer_profiles))["profiles"]) == ["_default"]
    presets = [{"name": "PETG", "extruder": 230, "bed": 80}]
    controls = [{"name": "Lights", "command": "M42 P4 S255"}]
    told = await do(client.settings, {"temperature": {"profiles": presets}, "controls": controls})
    assert told["temperature"]["profiles"] == presets
    assert (await do(client.settings))["controls"] == controls
    assert await do(client.custom_control_request) == {"controls": controls}
    assert await do(client.fetch_templates) == {"order": {}}
    key = (await do(client.regenerate_apikey))["apikey"]
    async with one.client(key=key) as ours:
        assert (await ours.get("/api/version")).status_code == 200
    await do(client.session.close)


async def test_home_assistant_knows_a_printer_again_and_sees_its_webcam(served: Served) -> None:
    one = served.one
    camera = {"streamUrl": "http://cam/stream", "snapshotUrl": "http://cam/shot.jpg", "webcamEnabled": True}
    async with one.client(role=Role.ADMINISTRATOR) as ours:
        await ours.post("/api/settings", json={"webcam": camera})
    async with aiohttp.ClientSession() as session:
        client = OctoprintClient(host="127.0.0.1", session=session, port=served.port, ssl=False, path="/")
        client.set_api_key(served.key)
        discovery = await client.get_discovery_info()
        assert discovery.upnp_uuid == one.host.discovery.uuid_of(one.host.printers.default())
        assert not (await client.get_tracking_info()).enabled
        webcam = await client.get_webcam_info()
        assert (webcam.internal_snapshot_url, webcam.stream_url) == ("http://cam/shot.jpg", "http://cam/stream")
