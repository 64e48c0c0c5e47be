"""Webcams as Moonraker's clients keep them, and that they are those of OctoPrint's."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from polyhost.core.user import Role
from polyhost.core.webcam import Webcam
from polyhost.services.accounts import LOCAL
from tests.dialects.test_moonraker_transport import asked, rpc
from tests.services.cameras import Answers, camera, redirects
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

CAM1 = {
    "name": "cam1",
    "enabled": True,
    "icon": "mdiWebcam",
    "aspect_ratio": "4:3",
    "target_fps": 15,
    "target_fps_idle": 5,
    "location": "printer",
    "service": "mjpegstreamer",
    "stream_url": "/webcam?action=stream",
    "snapshot_url": "/webcam?action=snapshot",
    "flip_horizontal": False,
    "flip_vertical": False,
    "rotation": 0,
    "source": "database",
    "extra_data": {},
}
URLS = {"stream_url": "/webcam?action=stream", "snapshot_url": "/webcam?action=snapshot"}


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


async def call(one: Hosted, method: str, params: dict[str, Any], role: Role = Role.ADMINISTRATOR) -> Any:
    answer = await rpc(one, asked(f"server.webcams.{method}", params), role)
    return answer["error"]["code"] if "error" in answer else answer["result"]


async def test_a_webcam_is_made_changed_renamed_and_removed(one: Hosted) -> None:
    made = (await call(one, "post_item", {"name": "cam1", **URLS}))["webcam"]
    uid = made.pop("uid")
    assert made == CAM1
    changes = {"rotation": "90", "flip_horizontal": "true", "extra_data": {"a": [1]}, "target_fps": 20, "odd": 1}
    changed = (await call(one, "post_item", {"name": "cam1", **changes}))["webcam"]
    expected = CAM1 | {"uid": uid, "rotation": 90, "flip_horizontal": True, "extra_data": {"a": [1]}, "target_fps": 20}
    assert changed == expected
    renamed = (await call(one, "post_item", {"uid": uid, "name": "cam2"}))["webcam"]
    assert renamed == expected | {"name": "cam2"}
    assert await call(one, "list", {}) == {"webcams": [renamed]}
    assert await call(one, "get_item", {"name": "cam2"}) == await call(one, "get_item", {"uid": uid})
    async with one.client(role=Role.ADMINISTRATOR) as client:
        kept = (await client.get("/server/database/item?namespace=webcams")).json()["result"]["value"]
        assert kept[uid]["urlStream"] == "/webcam?action=stream"
        gone = await client.delete("/server/webcams/item?name=cam2")
        assert gone.json() == {"result": {"webcam": renamed}}
        assert (await client.get("/server/webcams/list")).json() == {"result": {"webcams": []}}


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("get_item", {"name": "none"}, -32601),
        ("get_item", {"uid": "none"}, -32601),
        ("get_item", {}, 400),
        ("delete_item", {"name": "none"}, -32601),
        ("test", {"name": "none"}, -32601),
        ("post_item", {"uid": "none", "name": "a", **URLS}, -32601),
        ("post_item", {"name": "a"}, 400),
        ("post_item", {**URLS}, 400),
        ("post_item", {"name": "cam1", "rotation": 45}, 400),
        ("post_item", {"name": "cam1", "aspect_ratio": "wide"}, 400),
        ("post_item", {"name": "cam1", "enabled": "perhaps"}, 400),
        ("post_item", {"name": "cam1", "extra_data": []}, 400),
        ("post_item", {"name": "cam1", "extra_data": {"x": "x" * 17000}}, 400),
        ("post_item", {"name": "cam1", "stream_url": "file:///etc/passwd"}, 400),
    ],
)
async def test_what_is_refused(one: Hosted, method: str, params: dict[str, Any], code: int) -> None:
    before = await call(one, "post_item", {"name": "cam1", **URLS})
    assert await call(one, method, params) == code
    assert await call(one, "list", {}) == {"webcams": [before["webcam"]]}


async def test_a_name_that_another_has_is_refused(one: Hosted) -> None:
    cam1 = (await call(one, "post_item", {"name": "cam1", **URLS}))["webcam"]
    await call(one, "post_item", {"name": "cam2", **URLS})
    assert await call(one, "post_item", {"uid": cam1["uid"], "name": "cam2"}) == 400


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_passwords_are_for_who_may_set_them_and_are_kept(one: Hosted, role: Role) -> None:
    url = "http://ada:secret@cam/shot.jpg"
    printer = one.host.printers.get("one")
    await one.host.webcams.put(printer, Webcam("front", url, url), by=LOCAL)
    for method in ("list", "get_item"):
        seen = json.dumps(await call(one, method, {"name": "front"}, role))
        assert "http://cam/shot.jpg" in seen
        assert "secret" not in seen
        assert "secret" in json.dumps(await call(one, method, {"name": "front"}))
    item = await rpc(one, asked("server.database.get_item", {"namespace": "webcams"}), role)
    assert "secret" not in json.dumps(item)
    assert await call(one, "post_item", {"name": "front", "enabled": False}, role) == 403
    await call(one, "post_item", {"name": "front", "stream_url": "http://cam/shot.jpg", "snapshot_url": ""})
    assert one.host.webcams.get(printer, "front").stream_url == url
    assert one.host.webcams.get(printer, "front").snapshot_url == ""


async def test_one_webcam_is_every_dialect_s(one: Hosted) -> None:
    await call(one, "post_item", {"name": "cam1", **URLS})
    async with one.client(role=Role.ADMINISTRATOR) as client:
        settings = (await client.get("/api/settings")).json()["webcam"]
        assert settings["streamUrl"] == "/webcam?action=stream"
        await client.post("/api/settings", json={"webcam": {"streamUrl": "http://cam/2", "flipH": True}})
    seen = (await call(one, "list", {}))["webcams"]
    assert [(cam["name"], cam["stream_url"], cam["flip_horizontal"]) for cam in seen] == [
        ("cam1", "http://cam/2", True)
    ]


@pytest.mark.parametrize(("answers", "reachable"), [(None, True), (redirects("http://127.0.0.2/x"), False)])
async def test_a_test_says_whether_a_picture_comes(one: Hosted, answers: Answers | None, reachable: bool) -> None:
    async with camera() as cam:
        cam.answers = answers or cam.answers
        await call(one, "post_item", {"name": "cam1", "stream_url": "", "snapshot_url": cam.url})
        tested = await call(one, "test", {"name": "cam1"}, Role.VIEWER)
        said = {"name": "cam1", "snapshot_reachable": reachable, "snapshot_url": cam.url, "stream_url": ""}
        assert tested == said
    await call(one, "post_item", {"name": "cam1", "snapshot_url": ""})
    assert (await call(one, "test", {"name": "cam1"}))["snapshot_reachable"] is False


async def test_changes_are_told_whoever_makes_them(one: Hosted) -> None:
    headers = {"X-Api-Key": one.keys[Role.ADMINISTRATOR]}
    async with (
        serving(one) as (served, _),
        websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as client,
    ):
        await client.send(json.dumps(asked("server.websocket.id")))
        await client.recv()
        webcam = Webcam("front", "http://ada:secret@cam/1")
        await one.host.webcams.put(one.host.printers.get("one"), webcam, by=LOCAL)
        while (said := json.loads(await client.recv())).get("method") != "notify_webcams_changed":
            pass
        assert [cam["stream_url"] for cam in said["params"][0]["webcams"]] == ["http://cam/1"]
