"""The API of December 2013, each rule of it against each state of the machine.

There is no server left to record it from: the requests, the statuses and what must reach the machine are those of its
document, whose examples these are.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from polyhost.core.job import RunSignal
from polyhost.core.user import Role
from tests.web.hosting import Hosted

Reach = Callable[[Hosted], Awaitable[None]]


async def offline(one: Hosted) -> None:
    await one.machine.disconnect()


async def idle(one: Hosted) -> None:
    one.machine.say(sd_ready=True)


async def printing(one: Hosted) -> None:
    await idle(one)
    await one.put("a.gcode")
    async with one.client(role=Role.OPERATOR) as client:
        started = await client.post("/api/files/local/a.gcode", json={"command": "select", "print": True})
        assert started.status_code == 204


async def paused(one: Hosted) -> None:
    await printing(one)
    one.machine.signal(RunSignal.PAUSE, RunSignal.PAUSE_DONE)


MOVES = {"offline": 409, "idle": 204, "printing": 409}
HEATS = {"offline": 409, "idle": 204, "printing": 204}
CARD = {"offline": 409, "idle": 204, "printing": 409, "paused": 409}
STATES: dict[str, Reach] = {"offline": offline, "idle": idle, "printing": printing, "paused": paused}

EXAMPLES: tuple[tuple[str, dict[str, Any], dict[str, int], list[str]], ...] = (
    ("printhead", {"command": "jog", "x": 10, "y": -5, "z": 0.02}, MOVES, ["G91", "G0 X10 Y-5 Z0.02 F200", "G90"]),
    ("printhead", {"command": "home", "axes": ["x", "y"]}, MOVES, ["G28 X Y"]),
    ("heater", {"command": "temp", "temps": {"hotend": 220, "bed": 75}}, HEATS, ["M104 T0 S220", "M140 S75"]),
    ("heater", {"command": "offset", "offsets": {"hotend": 10, "bed": -5}}, HEATS, []),
    ("feeder", {"command": "extrude", "amount": 1}, MOVES, ["G91", "M83", "G1 E1 F300", "M82", "G90"]),
    ("feeder", {"command": "extrude", "amount": -3}, MOVES, ["G91", "M83", "G1 E-3 F300", "M82", "G90"]),
    ("sd", {"command": "init"}, CARD, []),
    ("sd", {"command": "refresh"}, CARD, []),
    ("sd", {"command": "release"}, CARD, []),
)


@pytest.mark.parametrize(
    ("path", "body", "state", "status", "sent"),
    [
        (path, body, state, status, sent)
        for path, body, statuses, sent in EXAMPLES
        for state, status in statuses.items()
    ],
)
async def test_the_examples_in_each_state(
    one: Hosted, path: str, body: dict[str, Any], state: str, status: int, sent: list[str]
) -> None:
    await STATES[state](one)
    before = len(one.machine.sent)
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post(f"/api/printer/{path}", json=body)
    assert answer.status_code == status, answer.text
    if status == 204:
        assert answer.content == b""
    if sent:
        assert one.machine.sent[before:] == (sent if status == 204 else [])


WRONG: tuple[tuple[str, dict[str, Any]], ...] = (
    ("printhead", {"command": "home", "axes": ["x", "q"]}),
    ("printhead", {"command": "home"}),
    ("printhead", {"command": "jog", "x": "far"}),
    ("printhead", {"command": "dance"}),
    ("heater", {"command": "temp", "temps": {"nozzle": 200}}),
    ("heater", {"command": "temp", "temps": {"hotend": "hot"}}),
    ("heater", {"command": "temp", "temps": {"bed": -1}}),
    ("heater", {"command": "temp"}),
    ("heater", {"command": "offset", "offsets": {"chamber": 1}}),
    ("heater", {"command": "offset", "offsets": {"hotend": 50.5}}),
    ("heater", {"command": "offset", "offsets": {"bed": -51}}),
    ("heater", {"command": "offset", "offsets": {"bed": None}}),
    ("feeder", {"command": "extrude", "amount": "much"}),
    ("feeder", {"command": "extrude"}),
    ("feeder", {"command": "eat", "amount": 1}),
    ("feeder", {}),
    ("sd", {"command": "eject"}),
)


@pytest.mark.parametrize(("path", "body"), WRONG)
async def test_what_is_wrong_moves_and_heats_nothing(one: Hosted, path: str, body: dict[str, Any]) -> None:
    await idle(one)
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post(f"/api/printer/{path}", json=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert one.machine.sent == []
    assert not one.machine.snapshot.offsets


@pytest.mark.parametrize("offset", [-50, 0, 50, 12.5])
async def test_offsets_up_to_fifty_degrees(one: Hosted, offset: float) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        body = {"command": "offset", "offsets": {"hotend": offset, "bed": offset}}
        assert (await client.post("/api/printer/heater", json=body)).status_code == 204
        told = (await client.get("/api/printer")).json()["temperature"]
    assert (told["tool0"]["offset"], told["bed"]["offset"]) == (offset, offset)


@pytest.mark.parametrize("command", ["refresh", "release"])
async def test_a_card_that_is_not_initialised(one: Hosted, command: str) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        assert (await client.post("/api/printer/sd", json={"command": command})).status_code == 409
    async with one.client() as stranger:
        assert (await stranger.get("/api/printer/sd")).json() == {"ready": False}
        one.machine.say(sd_ready=True)
        assert (await stranger.get("/api/printer/sd")).json() == {"ready": True}
