"""Every node of every larger body, replaced by what it is not: refused or taken, and never a 5xx (S6)."""

import asyncio
import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from polyhost.core.user import Role
from polyhost.services import scripts
from tests.web.hosting import Hosted, hosted

VALUES = (
    *("null", "true", "-1", "1e308", "1" * 64, "9223372036854775808", "[]", "{}", "[[null]]", '{"a":null}'),
    *('"nan"', '"inf"', '""', '"\\u0000"', '"\\ud800"', '"a\\nM112"', '"1"', '"' + "x" * 20_000 + '"'),
)
MARK = "@@"

CONTROL = {
    "name": "button",
    "command": "M1 %(x)s",
    "input": [{"name": "x", "parameter": "x", "default": 1, "slider": {"min": 0, "max": 1, "step": 1}}],
}
PROFILE = {
    "id": "other",
    "name": "Other",
    "volume": {"width": 200, "custom_box": {"x_min": 0}},
    "extruder": {"count": 1, "offsets": [[0, 0]]},
    "axes": {"x": {"speed": 6000, "inverted": False}},
}
TIMELAPSE = {
    "type": "zchange",
    "postRoll": 1,
    "fps": 25,
    "retractionZHop": 1,
    "minDelay": 2,
    "renderAfterPrint": "always",
}
SETTINGS = (
    *({"controls": [{"name": "box", "layout": "vertical", "children": [CONTROL]}]}, {"appearance": {"name": "n"}}),
    *({"serial": {"port": "/dev/ttyUSB0", "baudrate": 0, "additionalPorts": ["/dev/a*"]}}, {"api": {"key": "x"}}),
    *(
        {"temperature": {"profiles": [{"name": "a", "extruder": 1}], "cutoff": 30}},
        {"gcodeAnalysis": {"runAt": "idle"}},
    ),
    *({"terminalFilters": [{"name": "a", "regex": "("}]}, {"webcam": {"streamUrl": "http://x/", "streamTimeout": 5}}),
    {"plugins": {"classicwebcam": {"stream": "http://x/", "flipH": True}}},
)
BODIES: tuple[tuple[str, str, Any], ...] = (
    *(("POST", "/api/settings", part) for part in SETTINGS),
    ("PATCH", "/api/printerprofiles/other", {"profile": PROFILE}),
    ("POST", "/api/printerprofiles", {"profile": PROFILE, "basedOn": "_default"}),
    ("POST", "/api/timelapse", TIMELAPSE),
    ("POST", "/api/util/test", {"command": "path", "path": "/", "check_type": "dir", "check_access": ["r"]}),
    ("POST", "/api/util/test", {"command": "address", "address": "127.0.0.1"}),
    ("POST", "/api/printer/command", {"command": "M117 %(a)s %(b).2f", "parameters": {"a": "x", "b": 2.0}}),
    ("POST", "/api/plugin/appkeys", {"command": "generate", "app": "x", "user": "root"}),
    ("POST", "/plugin/appkeys/request", {"app": "x", "user": "y"}),
    ("PATCH", "/api/access/users/root/settings", {"interface": {"language": "de"}}),
    ("POST", "/sockjs/000/session/xhr_send", ['{"auth": "root:x"}']),
)


def nodes_of(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inside: Any = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for name, node in inside:
        yield from nodes_of(node, (*path, name))


def marked(tree: Any, path: tuple[Any, ...]) -> str:
    """`tree` as JSON, with `MARK` in the place of the node at `path`."""
    whole = {"": copy.deepcopy(tree)}
    at: Any = whole
    *way, last = ("", *path)
    for name in way:
        at = at[name]
    at[last] = MARK
    return json.dumps(whole[""])


async def test_no_node_of_a_body_breaks_a_route(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        made = await client.post("/api/printerprofiles", json={"profile": PROFILE})
        assert made.status_code == 200, made.text
        for method, path, body in BODIES:
            for node in nodes_of(body):
                text = marked(body, node)
                for value in VALUES:
                    content = text.replace(f'"{MARK}"', value).encode()
                    answer = await client.request(
                        method, path, content=content, headers={"Content-Type": "application/json"}
                    )
                    assert answer.status_code < 500, (method, path, node, value[:40], answer.text)
        for path in ("/api/settings", "/api/printerprofiles", "/api/timelapse", "/api/access/users", "/api/printer"):
            assert (await client.get(path)).status_code == 200, path


async def test_numbers_that_nothing_can_hold_are_no_parameters(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        mine = {"scripts": {"gcode": {"mine": "M117 {{ parameters.x }}"}}}
        assert (await client.post("/api/settings", json=mine)).status_code == 200
        for number in (10**60, -(10**60), 1 << 64):
            answer = await client.post("/api/printer/command", json={"script": "mine", "parameters": {"x": [number]}})
            assert answer.status_code == 400


async def test_a_flood_of_scripts_starts_few_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0
    rendered_apart = scripts._rendered_apart

    async def counted(asked: bytes) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await rendered_apart(asked)
        finally:
            at_once -= 1

    monkeypatch.setattr(scripts, "_rendered_apart", counted)
    async with hosted(tmp_path) as one, one.client(role=Role.ADMINISTRATOR) as client:
        mine = {"scripts": {"gcode": {"mine": "M117 {{ parameters.x }}"}}}
        assert (await client.post("/api/settings", json=mine)).status_code == 200
        answers = await asyncio.gather(
            *(
                client.post("/api/printer/command", json={"script": "mine", "parameters": {"x": n}})
                for n in range(scripts.MAX_CALLS + 4)
            )
        )
        assert most == scripts.MAX_WORKERS
        assert sorted(answer.status_code for answer in answers) == [204] * scripts.MAX_CALLS + [429] * 4
        assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 429)
