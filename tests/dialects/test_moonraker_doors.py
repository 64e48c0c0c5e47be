"""Where clients of Moonraker come in: which printer they mean, which edition they get, which pages may call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from polyhost.config import Access, Config, Doors
from polyhost.config import Printer as PrinterSettings
from polyhost.core.user import Role
from polyhost.web.call import OWN_PRINTER
from polyhost.web.server import tcp_socket
from tests.dialects.moonraker_sockets import Socket, opened
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

ORIGIN = "https://mainsail.example"
PRINTERS = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual", listen=7126))
CONFIG = Config(
    access=Access(allow_origins=(ORIGIN,), trusted={"192.168.1.0/24": "operator"}), doors=Doors(moonraker_early=7124)
)
DOORS = {7125: "moonraker", 7124: "moonraker"}


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path, printers=PRINTERS, config=CONFIG, doors=DOORS) as host:
        await host.machines["one"].disconnect()
        yield host


def at(one: Hosted, base: str, *, address: str = "127.0.0.1", key: str = "") -> httpx.AsyncClient:
    headers = {"X-Api-Key": key} if key else {}
    transport = httpx.ASGITransport(one.application, client=(address, 40000))
    return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)


# Which printer


@pytest.mark.parametrize(
    ("base", "path", "means"),
    [
        ("http://127.0.0.1:7125", "/server/info", "one"),
        ("http://127.0.0.1:7125", "/p/two/server/info", "two"),
        ("http://127.0.0.1:7126", "/server/info", "two"),
        ("http://two.polyhost.local:7125", "/server/info", "two"),
        ("http://one.polyhost.local:7125", "/p/two/server/info", "two"),
        ("http://polyhost.local:7125", "/server/info", "one"),
    ],
)
async def test_an_address_means_a_printer(both: Hosted, base: str, path: str, means: str) -> None:
    async with at(both, base, key=both.keys[Role.VIEWER]) as client:
        state = (await client.get(path)).json()["result"]["klippy_state"]
        asked = {"jsonrpc": "2.0", "method": "server.info", "id": 1}
        answer = await client.post(path.replace("info", "jsonrpc"), json=asked)
    assert (state == "ready") is (means == "two")
    assert answer.json()["result"]["klippy_state"] == state


async def test_a_key_means_its_printer(both: Hosted) -> None:
    key = await both.key_of(Role.VIEWER, "two")
    async with at(both, "http://127.0.0.1:7125", key=key) as client:
        assert (await client.get("/server/info")).json()["result"]["klippy_state"] == "ready"
        assert (await client.get("/p/one/server/info")).status_code == 403


async def test_a_printer_that_is_not_there_is_a_404_in_these_words(both: Hosted) -> None:
    async with at(both, "http://127.0.0.1:7125", key=both.keys[Role.VIEWER]) as client:
        for path in ("/p/none/server/info", "/p/none/printer/info", "/p/none/access/user"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404), path
            assert "one, two" in answer.json()["error"]["message"]
    async with at(both, "http://127.0.0.1:7125") as client:
        stranger = await client.get("/p/none/server/info")
        assert (stranger.status_code, "one" in stranger.text) == (401, False)


@contextlib.asynccontextmanager
async def connected(one: Hosted, way: str) -> AsyncIterator[Socket]:
    """A client of the printer two, by each way there is."""
    viewer, bound = one.keys[Role.VIEWER], await one.key_of(Role.VIEWER, "two")
    async with serving(one) as (served, _):
        match way:
            case "prefix":
                made = opened(served, "/p/two/websocket", X_Api_Key=viewer)
            case "port":
                listening = tcp_socket("127.0.0.1", 0)
                await served.server.open(listening, {OWN_PRINTER: "two"})
                made = opened(served, port=listening.getsockname()[1], X_Api_Key=viewer)
            case "key":
                made = opened(served, X_Api_Key=bound)
            case "name":
                made = opened(served, name="two.polyhost.local", X_Api_Key=viewer)
            case _:
                made = opened(served)
        async with made as socket:
            if way == "identify":
                who = {"client_name": "x", "version": "1", "type": "web", "url": "http://x"}
                await socket.ask("server.connection.identify", **who, api_key=bound)
            yield socket


@pytest.mark.parametrize("way", ["prefix", "port", "key", "name", "identify"])
async def test_a_websocket_is_of_one_printer_and_told_of_no_other(both: Hosted, way: str) -> None:
    async with connected(both, way) as socket:
        assert (await socket.ask("server.info"))["klippy_state"] == "ready"
        socket.told.clear()
        await both.machines["one"].connect()
        await both.machines["one"].emergency_stop()
        await both.machines["one"].disconnect()
        await socket.ask("server.info")
        assert not [one for one in socket.told if one["method"].startswith("notify_klippy")]
        await both.machines["two"].disconnect()
        await both.machines["two"].connect()
        await socket.until_told("notify_klippy_ready")


async def test_who_shows_a_key_of_another_printer_hears_of_that_alone(both: Hosted) -> None:
    """Also of what it subscribed to before: that was the first printer's."""
    who = {"client_name": "x", "version": "1", "type": "web", "url": "http://x"}
    bound = await both.key_of(Role.VIEWER, "two")
    async with serving(both) as (served, _), opened(served, X_Api_Key=both.keys[Role.ADMINISTRATOR]) as socket:
        await socket.ask("printer.objects.subscribe", objects={"webhooks": None})
        await both.machines["one"].connect()
        await socket.until_told("notify_status_update")
        await socket.ask("server.connection.identify", **who, api_key=bound)
        socket.told.clear()
        await both.machines["one"].disconnect()
        for _ in range(2):
            await socket.until_told("notify_proc_stat_update")
        assert not [one for one in socket.told if one["method"] == "notify_status_update"]


# The doors


async def test_the_door_has_a_page_for_people(both: Hosted) -> None:
    async with at(both, "http://127.0.0.1:7125") as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        unknown = await client.get("/nothing")
        assert unknown.json()["error"]["code"] == 404


@pytest.mark.parametrize(
    ("base", "query", "headers", "is_early"),
    [
        ("http://127.0.0.1:7124", "", {}, True),
        ("http://127.0.0.1:7125", "", {}, False),
        ("http://127.0.0.1:7124", "?edition=modern", {}, False),
        ("http://127.0.0.1:7124", "", {"X-Polyhost-Edition": "modern"}, False),
        ("http://127.0.0.1:7125", "?edition=early", {}, True),
    ],
)
async def test_an_edition_has_its_door(
    both: Hosted, base: str, query: str, headers: dict[str, str], is_early: bool
) -> None:
    async with at(both, base, key=both.keys[Role.ADMINISTRATOR]) as client:
        answer = await client.post(f"/access/user{query}", json={"username": "x"}, headers=headers)
        assert answer.status_code == (500 if is_early else 400)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (f"{ORIGIN}/#/x?y=1", 302),
        (ORIGIN, 302),
        (f"{ORIGIN}.evil.example/", 400),
        (f"{ORIGIN}:8443/", 400),
        (f"{ORIGIN}@evil.example/", 400),
        (f"https://me@{ORIGIN.removeprefix('https://')}/", 400),
        (ORIGIN.replace("https", "http"), 400),
        (f"{ORIGIN}\\@evil.example", 400),
        (f"{ORIGIN}/\r\nx-y: z", 400),
        ("//mainsail.example", 400),
        ("javascript:alert(1)", 400),
        ("https://[", 400),
        ("", 400),
    ],
)
async def test_a_redirect_leads_to_pages_that_may_call_alone(both: Hosted, url: str, status: int) -> None:
    async with at(both, "http://127.0.0.1:7125", key=both.keys[Role.VIEWER]) as client:
        answer = await client.get("/server/redirect", params={"url": url})
        assert answer.status_code == status
        assert answer.headers.get("location") == (url if status == 302 else None)
        assert (await client.get("/server/redirect")).status_code == 400


@pytest.mark.parametrize(("role", "status"), [(None, 401), (Role.VIEWER, 403), (Role.OPERATOR, 503)])
async def test_a_machine_without_klippy_has_no_socket_of_its(both: Hosted, role: Role | None, status: int) -> None:
    headers = {"X-Api-Key": both.keys[role]} if role is not None else {}
    async with serving(both) as (served, _):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await asyncio.wait_for(
                websockets.connect(f"{served.sockets}/klippysocket", additional_headers=headers), timeout=5
            )
    answer = refused.value.response
    assert answer.status_code == status
    assert f'"code":{status}'.encode() in (answer.body or b"")


# Pages of other origins


async def preflight(one: Hosted, origin: str, path: str = "/server/info", **more: str) -> httpx.Response:
    headers: dict[str, Any] = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    async with at(one, "http://192.168.1.2:7125", address="192.168.1.20") as client:
        return await client.options(path, headers=headers)


async def test_a_page_that_may_call_is_told_how(both: Hosted) -> None:
    answer = await preflight(both, ORIGIN, Access_Control_Request_Private_Network="true")
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-methods"] == "GET, POST, PUT, DELETE, OPTIONS"
    assert answer.headers["access-control-allow-headers"] == (
        "Origin, Accept, Content-Type, X-Requested-With, X-CRSF-Token, Authorization, X-Access-Token, X-Api-Key"
    )
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in (await preflight(both, ORIGIN)).headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{ORIGIN}.evil.example", f"{ORIGIN}:8443", "http://192.168.1.20", "null", "*"]
)
async def test_a_page_that_may_not_call_is_refused(both: Hosted, origin: str) -> None:
    """An address that is trusted makes no origin of its pages'."""
    answer = await preflight(both, origin, Access_Control_Request_Private_Network="true")
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    async with at(both, "http://192.168.1.2:7125", address="192.168.1.20") as client:
        refused = await client.get("/server/info", headers={"Origin": origin})
        assert refused.status_code == 401
        assert "access-control-allow-origin" not in refused.headers


async def test_mainsail_of_another_place_works_on_a_trusted_network(both: Hosted) -> None:
    async with at(both, "http://192.168.1.2:7125", address="192.168.1.20") as client:
        answer = await client.get("/server/info", headers={"Origin": ORIGIN})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        wrong = await client.get("/server/nothing", headers={"Origin": ORIGIN})
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (404, ORIGIN)
    async with at(both, "http://192.168.1.2:7125", address="192.168.2.20") as client:
        stranger = await client.get("/server/info", headers={"Origin": ORIGIN})
        assert (stranger.status_code, stranger.headers["access-control-allow-origin"]) == (401, ORIGIN)


@pytest.mark.parametrize(("origin", "opens"), [(ORIGIN, True), ("https://evil.example", False)])
async def test_a_websocket_opens_for_pages_that_may_call(tmp_path: Path, origin: str, opens: bool) -> None:
    config = Config(access=Access(allow_origins=(ORIGIN,), trusted={"127.0.0.0/8": "viewer"}))
    async with hosted(tmp_path, config=config) as host, serving(host) as (served, _):
        if opens:
            async with opened(served, Origin=origin) as socket:
                assert (await socket.ask("server.info"))["klippy_state"] == "ready"
        else:
            with pytest.raises(websockets.InvalidStatus) as refused:
                await asyncio.wait_for(
                    websockets.connect(f"{served.sockets}/websocket", additional_headers={"Origin": origin}), timeout=5
                )
            assert refused.value.response.status_code == 403


async def test_a_page_under_a_name_that_leads_here_is_not_trusted(tmp_path: Path) -> None:
    """Its origin is the host that it asks, so that it is no foreign one; but the name is none of ours (rebinding)."""
    config = Config(access=Access(trusted={"127.0.0.0/8": "operator"}))
    async with hosted(tmp_path, config=config) as host, serving(host) as (served, _):
        for name, is_known in (("evil.example", False), ("polyhost.local", True), ("127.0.0.1", True)):
            async with opened(served, name=name, Origin=f"http://{name}:{served.port}") as socket:
                assert ("klippy_state" in await socket.ask("server.info")) is is_known
