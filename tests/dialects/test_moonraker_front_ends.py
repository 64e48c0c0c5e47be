"""Mainsail, Fluidd and KlipperScreen begin as they do, and come to a dashboard that warns of nothing."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from polyhost.config import Config, Moonraker
from polyhost.core.job import RunSignal
from polyhost.core.user import Role
from tests.captures.rpc import Conversation
from tests.dialects import front_ends
from tests.dialects.front_ends import Ask, Shown, Stopped
from tests.web.hosting import Hosted, hosted
from tests.web.serving import Served, serving

STATES = ("ready", "printing", "paused", "offline", "faulted")
FRONT_ENDS = ("mainsail", "fluidd", "klipperscreen")
PART = b"G28\n" + b"G1 X10 Y10 E1 F3000\n" * 200
COMPUTED = {
    "ready": ("ready", {"mainsail": {"ready", "idle"}, "fluidd": {"ready", "idle"}, "klipperscreen": {"ready"}}),
    "printing": ("ready", {name: {"printing"} for name in FRONT_ENDS}),
    "paused": ("ready", {name: {"paused"} for name in FRONT_ENDS}),
    "offline": ("error", {name: {"error"} for name in FRONT_ENDS}),
    "faulted": ("shutdown", {name: {"shutdown"} for name in FRONT_ENDS}),
}
"""For each state: Klippy's, and the words above the three dashboards."""


async def bring_to(one: Hosted, state: str) -> None:
    if state in {"printing", "paused"}:
        await one.put("part.gcode", PART)
        async with one.client(role=Role.ADMINISTRATOR) as client:
            answer = await client.post("/printer/print/start", json={"filename": "part.gcode"})
            assert answer.status_code == 200, answer.text
        if state == "paused":
            one.machine.signal(RunSignal.PAUSE, RunSignal.PAUSE_DONE)
    elif state == "faulted":
        await one.machine.emergency_stop()


@contextlib.asynccontextmanager
async def talking(
    served: Served, role: Role | None = Role.ADMINISTRATOR, query: str = "", prefix: str = ""
) -> AsyncIterator[tuple[Ask, Conversation]]:
    headers = {"X-Api-Key": served.one.keys[role]} if role else {}
    address = f"{served.sockets}{prefix}/websocket{query}"
    async with websockets.connect(address, additional_headers=headers, max_size=None) as socket:
        conversation = Conversation(socket, 10)

        async def ask(method: str, params: Any = None) -> dict[str, Any]:
            answer: dict[str, Any] = await (
                conversation.ask(method) if params is None else conversation.ask(method, params)
            )
            return answer

        try:
            yield ask, conversation
        finally:
            await conversation.close()


async def begin(name: str, ask: Ask, served: Served, http: httpx.AsyncClient) -> Shown:
    match name:
        case "mainsail":
            return await front_ends.mainsail(ask, http, "")
        case "fluidd":
            return await front_ends.fluidd(ask)
    return await front_ends.klipperscreen(ask, served.one.keys[Role.ADMINISTRATOR])


@pytest.mark.parametrize("edition", ["modern", "early"])
@pytest.mark.parametrize("state", STATES)
async def test_they_come_to_their_dashboards_and_warn_of_nothing(tmp_path: Path, state: str, edition: str) -> None:
    klippy, words = COMPUTED[state]
    config = Config(moonraker=Moonraker(edition=edition))
    async with hosted(tmp_path, connected=state != "offline", config=config) as one:
        await bring_to(one, state)
        async with serving(one) as (served, _), one.client(role=Role.ADMINISTRATOR) as http:
            info = (await http.get("/server/info")).json()["result"]
            assert info["klippy_state"] == klippy
            for name in FRONT_ENDS:
                async with talking(served) as (ask, _conversation):
                    shown = await begin(name, ask, served, http)
                assert (shown.failed, shown.warnings) == ([], []), name
                assert shown.state in words[name], name
                assert shown.ready == (klippy == "ready"), name
                if shown.ready:
                    assert {"extruder", "heater_bed"} <= {*shown.heaters, *shown.tools}, name
                    assert shown.macros == [], "what stands for buttons of their own gets none"
                else:
                    assert shown.message.strip(), f"{name} shows why there is no printer"
                if name == "klipperscreen" and state == "printing":
                    assert shown.files == ["part.gcode"]
                    assert shown.status["print_stats"]["filename"] == "part.gcode"


async def test_a_second_start_finds_what_the_first_kept(tmp_path: Path) -> None:
    async with hosted(tmp_path) as one, serving(one) as (served, _), one.client(role=Role.ADMINISTRATOR) as http:
        for _ in range(2):
            for name in ("mainsail", "fluidd"):
                async with talking(served) as (ask, _conversation):
                    assert (await begin(name, ask, served, http)).ready
        async with talking(served) as (ask, _conversation):
            kept = (await ask("server.database.get_item", {"namespace": "fluidd"}))["result"]["value"]
            assert kept.keys() == set(front_ends.FLUIDD_S_ROOTS)
            assert (await ask("server.database.get_item", {"namespace": "mainsail"}))["result"]["value"]["initVersion"]


async def test_who_is_not_known_is_sent_to_the_login(tmp_path: Path) -> None:
    """Mainsail looks for the word, Fluidd for any other code than that of an unknown method."""
    async with hosted(tmp_path) as one, serving(one) as (served, _), one.client() as http:
        for name, words in (("mainsail", "Unauthorized"), ("fluidd", "login")):
            async with talking(served, None) as (ask, _conversation):
                with pytest.raises(Stopped, match=words):
                    await begin(name, ask, served, http)


async def test_a_socket_is_never_silent_for_long_and_fluidd_s_buffer_is_flushed(tmp_path: Path) -> None:
    """Mainsail closes after ten seconds without a message; Fluidd shows nothing until a second went by on our clock."""
    async with hosted(tmp_path) as one, serving(one) as (served, _), talking(served) as (ask, conversation):
        await front_ends.fluidd(ask)
        updates: list[tuple[Any, float]] = []
        stats = 0
        while stats < 3 or front_ends.flushes_of(updates) < 1:
            for name, *params in await conversation.heard(["notify_proc_stat_update"]):
                assert name != "<silence>", "nothing for seconds"
                if name == "notify_proc_stat_update":
                    stats += 1
                    assert isinstance(params[0]["moonraker_stats"], dict)
            updates += [(each[0], each[1]) for each in conversation.take("notify_status_update")]
        times = [eventtime for _, eventtime in updates]
        assert times == sorted(times)
        assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times)), "4 Hz at most"


@pytest.mark.parametrize("state", ["ready", "faulted"])
async def test_a_printer_of_many_is_a_moonraker_of_its_own(tmp_path: Path, state: str) -> None:
    async with hosted(tmp_path) as one, serving(one) as (served, _), one.client(role=Role.ADMINISTRATOR) as http:
        await bring_to(one, state)
        async with talking(served, prefix="/p/one") as (ask, _conversation):
            shown = await front_ends.mainsail(ask, http, "/p/one")
            assert shown.ready == (state == "ready")


def test_what_they_warn_of_is_told_apart() -> None:
    assert front_ends.is_older("v0.7.1-5-gabc", "v0.8.0-306")
    assert front_ends.is_older("v0.8.0-305-gabc", "v0.8.0-306")
    assert not front_ends.is_older("v0.8.0-306-gabc", "v0.8.0-306")
    assert not front_ends.is_older("Marlin bugfix-2.1.x", "v0.11.0-257")
    assert front_ends.mainsail_s_missing({"virtual_sdcard": {}, "gcode_macro Pause": {}}) == [
        "pause_resume",
        "gcode_macro resume",
        "gcode_macro cancel_print",
        "display_status",
    ]
    assert front_ends.fluidd_s_missing({"gcode_macro cancel_print": {}, "display": {}}) == [
        "virtual_sdcard",
        "pause_resume",
        "gcode_macro CANCEL_PRINT",
    ]
    assert front_ends.flushes_of([({}, 1.0), ({}, 1.5), ({}, 2.1), ({}, 2.2), ({}, 3.3)]) == 2
