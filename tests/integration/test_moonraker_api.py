"""Home Assistant's client (moonraker-api of PyPI) as it is, against a real process: its calls, and what it hears."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import ClientSession
from moonraker_api import MoonrakerClient, MoonrakerListener
from moonraker_api.const import WEBSOCKET_STATE_CONNECTED, WEBSOCKET_STATE_STOPPED
from moonraker_api.websockets.websocketclient import ClientNotConnectedError

from tests.captures.gcodes import cube, tiny
from tests.integration.processes import Host, PtyPrinter, host

# It names aiohttp's argument for a time limit as older ones did.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

VIRTUAL = '[[printers]]\nslug = "one"\ndriver = "virtual"\nspeed = 60\n'
SERIAL = '[[printers]]\nslug = "one"\ndriver = "serial"\nport = "{}"\nbaud = 115200\n'
SUBSCRIPTION = {"print_stats": ["state", "filename"], "webhooks": ["state"], "extruder": None, "toolhead": None}
PATIENCE_S = 40


class Listener(MoonrakerListener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.exceptions: list[Any] = []
        self.told: list[tuple[str, Any]] = []
        self._more = asyncio.Condition()

    async def state_changed(self, state: str) -> None:
        await self._note(self.states, state)

    async def on_exception(self, exception: type | BaseException) -> None:
        await self._note(self.exceptions, exception)

    async def on_notification(self, method: str, data: Any) -> None:
        await self._note(self.told, (method, data))

    async def _note(self, where: list[Any], what: Any) -> None:
        async with self._more:
            where.append(what)
            self._more.notify_all()

    async def until(self, met: Any) -> None:
        async with asyncio.timeout(PATIENCE_S), self._more:
            await self._more.wait_for(met)

    def printed(self) -> list[str]:
        """The states of prints that it heard of, in their order."""
        stats = (data[0].get("print_stats", {}) for method, data in self.told if method == "notify_status_update")
        return [each["state"] for each in stats if "state" in each]


@pytest.fixture(params=["virtual", "serial"])
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    with contextlib.ExitStack() as stack:
        settings = VIRTUAL
        if request.param == "serial":
            printer = stack.enter_context(PtyPrinter(tmp_path / "printer", ("--speed", "60")))
            settings = SERIAL.format(printer.port)
        server = stack.enter_context(host(tmp_path / "host", settings))
        server.wait_ready()
        yield server


@contextlib.asynccontextmanager
async def client_of(server: Host, key: str | None, prefix: str | None = None) -> AsyncIterator[MoonrakerClient]:
    address, port = server.url.removeprefix("http://").split(":")
    async with ClientSession() as session:
        client = MoonrakerClient(
            Listener(),
            address,
            int(port),
            route_prefix=prefix,
            api_key=key,
            timeout=PATIENCE_S,
            session=session,
            loop=asyncio.get_running_loop(),
        )
        try:
            yield client
        finally:
            await client.disconnect()


async def test_every_call_and_a_print_that_is_heard(running: Host) -> None:
    async with client_of(running, running.key) as client:
        assert await client.connect()
        who = {"client_name": "moonraker-api", "version": "4.0.0", "type": "other", "url": "http://example.org"}
        identified = await client.call_method("server.connection.identify", **who)
        assert identified["connection_id"] == (await client.get_websocket_id())["websocket_id"]
        info = await client.get_host_info()
        assert (info["state"], info["state_message"]) == ("ready", "Printer is ready")
        assert {"hostname", "software_version", "cpu_info"} <= info.keys()
        server = await client.get_server_info()
        assert (server["klippy_connected"], server["klippy_state"]) == (True, "ready")
        assert await client.get_klipper_status() == "ready"
        objects = await client.get_supported_modules()
        assert objects is not None
        assert {"extruder", "heater_bed", "print_stats", "toolhead", "virtual_sdcard"} <= set(objects)
        # What Home Assistant's integration asks of it.
        queried = await client.call_method("printer.objects.query", objects=dict.fromkeys(objects))
        assert queried["status"].keys() == set(objects)
        assert isinstance(queried["status"]["extruder"]["temperature"], float)
        for method in ("machine.system_info", "server.history.totals", "server.webcams.list", "printer.gcode.help"):
            assert "error" not in await client.call_method(method), method
        assert (await client.call_method("no.such.method"))["error"]["code"] == -32601
        subscribed = await client.call_method("printer.objects.subscribe", objects=SUBSCRIPTION)
        assert subscribed["status"]["print_stats"]["state"] == "standby"
        content = tiny().replace("S60", "S0").replace("S35", "S0")
        uploaded = running.client.post("/server/files/upload", files={"file": ("tiny.gcode", content.encode())})
        assert uploaded.status_code == 201, uploaded.text
        assert (await client.call_method("server.files.metadata", filename="tiny.gcode"))["slicer"] == "PrusaSlicer"
        assert await client.call_method("printer.print.start", filename="tiny.gcode") == "ok"
        listener = client.listener
        await listener.until(lambda: "complete" in listener.printed())
        assert listener.printed() == ["printing", "complete"]
        assert {"notify_proc_stat_update", "notify_history_changed"} <= {method for method, _ in listener.told}
        assert await client.call_method("printer.emergency_stop") == "ok"
        await listener.until(lambda: any(method == "notify_klippy_shutdown" for method, _ in listener.told))
        assert await client.get_klipper_status() == "shutdown"
        assert await client.call_method("printer.firmware_restart") == "ok"
        await listener.until(lambda: any(method == "notify_klippy_ready" for method, _ in listener.told))
        assert await client.get_klipper_status() == "ready"


async def test_pictures_are_where_front_ends_look_for_them(tmp_path: Path) -> None:
    """Below the file's own folder, and for who shows no key: an `<img>` cannot."""
    with host(tmp_path, VIRTUAL) as server:
        sent = {"file": ("cube.gcode", cube().encode())}
        assert server.client.post("/server/files/upload", data={"path": "a folder"}, files=sent).status_code == 201
        metadata = server.client.get("/server/files/metadata", params={"filename": "a folder/cube.gcode"}).json()
        thumbnails = metadata["result"]["thumbnails"]
        assert {(each["width"], each["height"]) for each in thumbnails} >= {(400, 300)}
        for each in thumbnails:
            picture = httpx.get(f"{server.url}/server/files/gcodes/a folder/{each['relative_path']}")
            assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
            assert len(picture.content) == each["size"]
        asked = {"filename": "a folder/cube.gcode", "edition": "early"}
        early = server.client.get("/server/files/metadata", params=asked)
        assert early.status_code == 200
        inline = early.json()["result"]["thumbnails"][-1]
        assert inline["size"] == len(inline["data"])


async def test_it_comes_back_after_the_server_did(tmp_path: Path) -> None:
    with host(tmp_path, VIRTUAL) as server:
        async with client_of(server, server.key, prefix="p/one") as client:
            assert await client.connect()
            await asyncio.to_thread(server.stop)
            await client.listener.until(lambda: client.listener.states[-1] == WEBSOCKET_STATE_STOPPED)
            with pytest.raises(ClientNotConnectedError):
                await client.get_server_info()
            await asyncio.to_thread(server.start)
            assert await client.connect()
            await client.listener.until(lambda: client.listener.states[-1] == WEBSOCKET_STATE_CONNECTED)
            assert (await client.get_server_info())["klippy_connected"]


async def test_a_wrong_key_and_none_get_nowhere(tmp_path: Path) -> None:
    """The socket opens, as it does there; each call is refused in Moonraker's words."""
    with host(tmp_path, VIRTUAL) as server:
        for key in ("0123456789abcdef0123456789abcdef", None):
            async with client_of(server, key) as client:
                assert await client.connect()
                assert (await client.get_server_info())["error"] == {"code": -32602, "message": "Unauthorized"}
