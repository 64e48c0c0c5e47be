"""Slicers bring their files and apps ask: each finds what it reads."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from polyhost.core.user import Role
from tests.dialects.moonraker_apps import APPS, PART, SLICERS, Call, Send
from tests.dialects.test_moonraker_front_ends import talking
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


def at(tree: Any, place: str) -> Any:
    """What is at `place`; fails when there is nothing."""
    for name in place.split("."):
        tree = tree[int(name)] if isinstance(tree, list) else tree[name]
    return tree


def assert_read(answer: Any, reads: Mapping[str, Any]) -> None:
    for place, wanted in reads.items():
        found = at(answer, place)
        assert wanted is None or found == wanted, (place, found)


@pytest.mark.parametrize("prefix", ["", "/p/one"])
@pytest.mark.parametrize("slicer", SLICERS)
async def test_a_slicer_prints_a_part_once(one: Hosted, slicer: str, prefix: str) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        for step in SLICERS[slicer]:
            await sent(client, step, prefix)
        history = (await client.get("/server/history/list")).json()["result"]
    assert [job["status"] for job in history["jobs"]] == ["in_progress"], "it prints, and only once"


async def sent(client: Any, step: Send, prefix: str) -> None:
    method, path = step.request.split(" ", 1)
    more: dict[str, Any] = {} if step.json is None else {"json": step.json}
    if step.form is not None:
        more = {"data": step.form, "files": {"file": (step.name, PART, "application/octet-stream")}}
    answer = await client.request(method, prefix + path, **more)
    assert answer.status_code == step.status, (step.request, answer.text)
    assert step.first is None or next(iter(answer.json())) == step.first
    assert_read(answer.json(), step.reads)


@pytest.mark.parametrize("app", APPS)
async def test_an_app_finds_what_it_reads(one: Hosted, app: str) -> None:
    await one.put("part.gcode", PART)
    async with one.client(role=Role.ADMINISTRATOR) as client:
        assert (await client.post("/server/files/metascan", params={"filename": "part.gcode"})).status_code == 200
        started = await client.post("/printer/print/start", params={"filename": "part.gcode"})
        assert started.status_code == 200, started.text
    async with serving(one) as (served, _), talking(served, Role.ADMINISTRATOR) as (ask, _conversation):
        for step in APPS[app]:
            await asked(ask, step)


async def asked(ask: Any, step: Call) -> None:
    answer = await ask(step.method, step.params)
    if step.refused:
        assert answer["error"]["code"] == -32601, (step.method, answer)
    else:
        assert "result" in answer, (step.method, answer)
        assert_read(answer["result"], step.reads)
