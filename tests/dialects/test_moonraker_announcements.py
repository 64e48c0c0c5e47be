"""Announcements: what holds of the printer is listed, told, put away and told again."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from polyhost.config import Config, Uploads
from polyhost.core.printer import Firmware
from polyhost.core.user import Role
from tests.dialects.test_moonraker_transport import asked, rpc
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

HEAT = "polyhost/thermal_protection"


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    roomy = Config(uploads=Uploads(keep_free_bytes=0))  # whatever disk this runs on
    async with hosted(tmp_path, config=roomy) as host:
        yield host


async def call(one: Hosted, method: str, params: dict[str, Any], role: Role = Role.ADMINISTRATOR) -> Any:
    answer = await rpc(one, asked(f"server.announcements.{method}", params), role)
    return answer["error"]["code"] if "error" in answer else answer["result"]


async def test_nothing_to_announce_is_an_empty_list(one: Hosted) -> None:
    await call(one, "update", {})
    assert await call(one, "list", {}, Role.VIEWER) == {"entries": [], "feeds": ["polyhost"]}
    assert await call(one, "feeds", {}, Role.VIEWER) == {"feeds": ["polyhost"]}


async def test_an_entry_is_told_listed_and_dismissed(one: Hosted) -> None:
    headers = {"X-Api-Key": one.keys[Role.OPERATOR]}
    async with (
        serving(one) as (served, _),
        websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as client,
    ):

        async def told(name: str) -> Any:
            while (said := json.loads(await client.recv())).get("method") != f"notify_{name}":
                pass
            return said["params"]

        one.machine.say(firmware=Firmware(capabilities={"THERMAL_PROTECTION": False}))
        await client.send(json.dumps(asked("server.announcements.update", {"subscriptions": "polyhost"})))
        [entries] = await told("announcement_update")
        [entry] = entries["entries"]
        assert entry.items() >= {"entry_id": HEAT, "priority": "high", "dismissed": False, "feed": "polyhost"}.items()
        assert entry["url"] == "", "Fluidd's and Mobileraker's types have a string there"
        assert entry.items() >= {"source": "internal", "date_dismissed": None, "dismiss_wake": None}.items()
        assert await call(one, "list", {}, Role.VIEWER) == {"entries": [entry], "feeds": ["polyhost"]}
        dismissal = {"entry_id": HEAT, "wake_time": 3600}
        await client.send(json.dumps(asked("server.announcements.dismiss", dismissal)))
        assert await told("announcement_dismissed") == [{"entry_id": HEAT}]
    assert (await call(one, "list", {"include_dismissed": False}))["entries"] == []
    [dismissed] = (await call(one, "list", {"include_dismissed": "true"}))["entries"]
    assert dismissed["dismiss_wake"] == pytest.approx(dismissed["date_dismissed"] + 3600)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("dismiss", {"entry_id": "moonraker/issue/1"}, -32601),
        ("dismiss", {"entry_id": HEAT}, -32601),
        ("dismiss", {}, 400),
        ("dismiss", {"entry_id": HEAT, "wake_time": -1}, 400),
        ("update", {"subscriptions": ["mainsail"]}, 400),
        ("post_feed", {"name": "mainsail"}, 400),
        ("delete_feed", {"name": "mainsail"}, 400),
        ("post_feed", {}, 400),
    ],
)
async def test_what_is_refused(one: Hosted, method: str, params: dict[str, Any], code: int) -> None:
    assert await call(one, method, params) == code


async def test_the_feed_there_is_can_be_named_again(one: Hosted) -> None:
    assert await call(one, "post_feed", {"name": "Polyhost"}) == {"feed": "polyhost", "action": "skipped"}
    assert await call(one, "dismiss", {"entry_id": HEAT}, Role.VIEWER) == 403
