"""``/server/job_queue/…``, as Mainsail and Fluidd use it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from polyhost.config import Config, Moonraker, Queue
from polyhost.config import Printer as PrinterSettings
from polyhost.core.errors import LinkLost
from polyhost.core.job import RunSignal
from polyhost.core.ports import RunOrder
from polyhost.core.user import Role
from tests.services.world import until
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

PATH = "/server/job_queue"


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    printers = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=printers, config=Config(queue=Queue(automatic=True))) as host:
        for path in ("cube.gcode", "cube2.gcode", "f/a,b.gcode"):
            await host.put(path)
        yield host


@pytest.fixture
async def client(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with one.client(role=Role.OPERATOR) as client:
        yield client


async def result(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def names(status: Any) -> list[str]:
    return [job["filename"] for job in status["queued_jobs"]]


async def test_a_queue_as_it_was_recorded(one: Hosted, client: httpx.AsyncClient) -> None:
    assert await result(await client.get(f"{PATH}/status")) == {"queued_jobs": [], "queue_state": "paused"}
    status = await result(await client.post(f"{PATH}/job", json={"filenames": ["cube2.gcode"]}))
    [job] = status["queued_jobs"]
    assert (job["filename"], len(job["job_id"]), status["queue_state"]) == ("cube2.gcode", 16, "paused")
    assert int(job["job_id"], 16)
    assert job["job_id"] == job["job_id"].upper()
    assert 0 <= job["time_in_queue"] < 5
    assert job["time_added"] <= one.host.clock.now()
    missing = await client.post(f"{PATH}/job", json={"filenames": ["cube.gcode", "nope.gcode"]})
    assert (missing.status_code, missing.json()["error"]["message"]) == (400, "no file 'nope.gcode' in the library")
    assert names(await result(await client.post(f"{PATH}/pause"))) == ["cube2.gcode"]
    assert await result(await client.delete(f"{PATH}/job?all=true")) == {"queued_jobs": [], "queue_state": "paused"}


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("filenames=cube.gcode,cube2.gcode", None, ["cube.gcode", "cube2.gcode"]),
        ("filenames=cube.gcode&reset=true", None, ["cube.gcode"]),
        ("", {"filenames": ["f/a,b.gcode"] * 3}, ["f/a,b.gcode"] * 3),
        ("filenames=nope", {"filenames": "cube.gcode", "reset": True, "more": 1}, ["cube.gcode"]),
    ],
)
async def test_ways_to_name_files(client: httpx.AsyncClient, query: str, body: Any, expected: list[str]) -> None:
    answer = await client.post(f"{PATH}/job?{query}", **({} if body is None else {"json": body}))
    assert names(await result(answer)) == expected


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "job", {}, "No data for argument: filenames"),
        ("POST", "job", {"filenames": [1]}, "an argument cannot be read"),
        ("DELETE", "job", {}, "No data for argument: job_ids"),
        ("POST", "jump", {"job_id": "0123456789ABCDEF"}, "Invalid job id: 0123456789ABCDEF"),
    ],
)
async def test_what_is_wrong(client: httpx.AsyncClient, method: str, path: str, body: Any, words: str) -> None:
    answer = await client.request(method, f"{PATH}/{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
    assert answer.json()["error"]["message"].startswith(words)


async def test_jobs_jump_and_go(one: Hosted, client: httpx.AsyncClient) -> None:
    status = await result(
        await client.post(f"{PATH}/job", json={"filenames": ["cube.gcode", "cube2.gcode", "f/a,b.gcode"]})
    )
    ids = [job["job_id"] for job in status["queued_jobs"]]
    status = await result(await client.post(f"{PATH}/jump", json={"job_id": ids[2]}))
    assert names(status) == ["f/a,b.gcode", "cube.gcode", "cube2.gcode"]
    status = await result(await client.delete(f"{PATH}/job", params={"job_ids": f"{ids[0]},unknown"}))
    assert names(status) == ["f/a,b.gcode", "cube2.gcode"]
    assert names(await result(await client.get(f"/p/two{PATH}/status"))) == []


@asynccontextmanager
async def listening(one: Hosted) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """A viewer's WebSocket: what it is told next under a name."""
    headers = {"X-Api-Key": one.keys[Role.VIEWER]}
    async with (
        serving(one) as (served, _),
        websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as socket,
    ):

        async def told(name: str) -> Any:
            while (said := json.loads(await socket.recv()))["method"] != f"notify_{name}":
                pass
            assert "id" not in said
            return said["params"][0]

        yield told


async def test_clients_are_told_all_of_it(one: Hosted, client: httpx.AsyncClient) -> None:
    async with listening(one) as told:

        async def change() -> tuple[str, int | None, str]:
            said = await told("job_queue_changed")
            jobs = said["updated_queue"]
            return said["action"], None if jobs is None else len(jobs), said["queue_state"]

        await client.post(f"{PATH}/job", json={"filenames": ["cube.gcode", "cube2.gcode"]})
        assert await change() == ("jobs_added", 2, "paused")
        status = await result(await client.post(f"{PATH}/start"))
        assert status["queue_state"] == "loading"
        assert [await change() for _ in range(3)] == [
            ("state_changed", None, "loading"),
            ("state_changed", None, "starting"),
            ("job_loaded", 1, "ready"),
        ]
        one.machine.signal(RunSignal.END_OF_FILE, RunSignal.FINISH_DONE)
        assert [await change() for _ in range(3)] == [
            ("state_changed", None, "loading"),
            ("state_changed", None, "starting"),
            ("job_loaded", 0, "paused"),
        ]


async def test_why_it_was_paused_is_shown(one: Hosted, client: httpx.AsyncClient) -> None:
    async with listening(one) as told:
        await client.post(f"{PATH}/job", json={"filenames": ["cube.gcode", "cube2.gcode"]})
        await client.post(f"{PATH}/start")
        p = one.host.printers.get("one")
        await until(lambda: one.host.queue.state(p).value == "ready")
        one.machine.signal(RunSignal.CANCEL, RunSignal.CANCEL_DONE)
        assert await told("gcode_response") == "!! The job queue is paused: the print of cube.gcode is cancelled"
    assert (await result(await client.get(f"{PATH}/status")))["queue_state"] == "paused"


async def test_a_start_that_cannot_be_says_why(one: Hosted, client: httpx.AsyncClient) -> None:
    await client.post(f"{PATH}/job", json={"filenames": ["cube.gcode"]})
    await one.machine.disconnect()
    answer = await client.post(f"{PATH}/start")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "one is offline; connect it first")


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_upload_to_be_printed_waits_its_turn_where_the_owner_wants_that(tmp_path: Path, wanted: bool) -> None:
    async with hosted(tmp_path, config=Config(moonraker=Moonraker(queue_uploads=wanted))) as one:
        p = one.host.printers.get("one")
        async with one.client(role=Role.OPERATOR) as client:

            async def sent(name: str) -> tuple[bool, bool]:
                answer = await client.post(
                    "/server/files/upload", files={"file": (name, b"G28\n")}, data={"print": "true"}
                )
                assert answer.status_code == 201, answer.text
                return answer.json()["print_started"], answer.json()["print_queued"]

            assert await sent("a.gcode") == (True, False)
            assert await sent("b.gcode") == (False, wanted)
            assert [job.path for job in one.host.queue.of(p).jobs] == ["b.gcode"] * wanted
            one.machine.signal(RunSignal.END_OF_FILE, RunSignal.FINISH_DONE)
            await one.ended()
            assert one.host.queue.state(p).value == "paused"


async def test_a_start_in_doubt_is_not_queued_as_well(tmp_path: Path) -> None:
    async with hosted(tmp_path, config=Config(moonraker=Moonraker(queue_uploads=True))) as one:

        async def lost(order: RunOrder) -> None:
            raise LinkLost("the engine is gone")

        one.machine.start = lost  # type: ignore[method-assign]
        async with one.client(role=Role.OPERATOR) as client:
            answer = await client.post(
                "/server/files/upload", files={"file": ("a.gcode", b"G28\n")}, data={"print": "true"}
            )
            assert (answer.status_code, answer.json()["print_queued"]) == (201, False)
        assert one.host.queue.of(one.host.printers.get("one")).jobs == ()
