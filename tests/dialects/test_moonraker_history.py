"""``/server/history/…``: runs as front ends show them, also when their files are gone."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import websockets

from polyhost.config import Printer as PrinterSettings
from polyhost.core.file import Metadata
from polyhost.core.job import RUN, Run, RunProgress, RunSignal, RunState
from polyhost.core.user import Role
from polyhost.dialects.moonraker.history import STATUSES, entry_of, status_of
from polyhost.dialects.moonraker.job_ids import id_of, ordinal_of
from polyhost.services.accounts import LOCAL
from tests.services.world import until
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

PATH = "/server/history"
DONE = (RunSignal.END_OF_FILE, RunSignal.FINISH_DONE)
CANCELLED = (RunSignal.CANCEL, RunSignal.CANCEL_DONE)
RAN = Run("r", "one", "a.gcode", "sha", 5, RunState.COMPLETED, "", 100.5, 160.5, 60.0, 50.0, ordinal=42)


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    printers = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=printers) as host:
        for path in ("a.gcode", "f/b.gcode"):
            await host.put(path, path.encode())
        yield host


@pytest.fixture
async def client(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with one.client(role=Role.OPERATOR) as client:
        yield client


async def print_(one: Hosted, path: str, *signals: RunSignal, slug: str = "one", **progress: object) -> None:
    """A run of `path` to its end; without signals it goes on."""
    p = one.host.printers.get(slug)
    await one.host.runs.start(p, path, LOCAL)
    if signals:
        one.machines[slug].signal(*signals, **progress)
        await until(lambda: p.run is not None and p.run.ended)


async def result(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


@pytest.mark.parametrize(
    ("state", "reason", "status"),
    [
        (RunState.COMPLETED, "", "completed"),
        (RunState.CANCELLED, "", "cancelled"),
        (RunState.FAILED, "the firmware reports: Error:no", "error"),
        (RunState.FAILED, "link lost: /dev/ttyUSB0 is gone", "klippy_disconnect"),
        (RunState.FAILED, "the firmware stopped: Error:Thermal Runaway", "klippy_shutdown"),
        (RunState.FAILED, "emergency stop (M112): reset the printer, then connect again", "klippy_shutdown"),
        (RunState.INTERRUPTED, "", "interrupted"),
        *((state, "", "in_progress") for state, ways in RUN.items() if ways),
    ],
)
def test_how_a_run_stands_in_their_words(state: RunState, reason: str, status: str) -> None:
    assert status_of(msgspec.structs.replace(RAN, state=state, reason=reason)) == status


def test_every_end_has_a_word() -> None:
    assert STATUSES.keys() == {state for state, ways in RUN.items() if not ways}


@pytest.mark.parametrize(
    ("state", "extruding_s", "drawn"),
    [(RunState.COMPLETED, 41.5, 41.5), (RunState.COMPLETED, None, 50.0), (RunState.FAILED, None, 0.0)],
)
def test_what_nobody_counted_is_no_guess(state: RunState, extruding_s: float | None, drawn: float) -> None:
    entry = entry_of(msgspec.structs.replace(RAN, state=state, extruding_s=extruding_s), {}, exists=False)
    assert (entry.job_id, entry.user, entry.print_duration, entry.filament_used) == ("00002A", "No User", drawn, 0.0)


@pytest.mark.parametrize("ordinal", [1, 255, 0xFFFFFF, 0x1000000])
def test_a_number_and_its_digits(ordinal: int) -> None:
    assert ordinal_of(id_of(ordinal)) == ordinal_of(id_of(ordinal).lower()) == ordinal


async def test_an_entry_as_it_was_recorded(one: Hosted, client: httpx.AsyncClient) -> None:
    assert await result(await client.get(f"{PATH}/list?limit=5")) == {"count": 0, "jobs": []}
    await print_(one, "a.gcode", *DONE, elapsed_s=76.5, printing_s=70.0, extruding_s=60.5, filament_mm=12.25)
    listed = await result(await client.get(f"{PATH}/list?limit=5"))
    [job] = listed["jobs"]
    file = one.host.files.get("a.gcode")
    assert listed["count"] == 1
    assert job.pop("start_time") <= job.pop("end_time")
    assert job.pop("metadata").items() >= {"size": file.size_bytes, "modified": file.modified_at}.items()
    assert job == {
        "job_id": "000001",
        "user": LOCAL.name,
        "filename": "a.gcode",
        "status": "completed",
        "exists": True,
        "print_duration": 60.5,
        "total_duration": 76.5,
        "filament_used": 12.25,
        "auxiliary_data": [],
    }
    assert (await result(await client.get(f"{PATH}/job?uid=000001")))["job"]["filename"] == "a.gcode"
    assert (await result(await client.get(f"{PATH}/totals"))) == {
        "job_totals": {
            "total_jobs": 1.0,
            "total_time": 76.5,
            "total_print_time": 60.5,
            "total_filament_used": 12.25,
            "longest_job": 76.5,
            "longest_print": 60.5,
        },
        "auxiliary_totals": [],
    }


async def test_what_goes_on_is_told_as_far_as_it_is(one: Hosted, client: httpx.AsyncClient) -> None:
    await print_(one, "a.gcode")
    run = one.machine.snapshot.run
    assert isinstance(run, RunProgress)
    one.machine.say(run=msgspec.structs.replace(run, elapsed_s=30.5, extruding_s=10.5, filament_mm=3.5))
    [job] = (await result(await client.get(f"{PATH}/list")))["jobs"]
    assert (job["status"], job["end_time"], job["total_duration"]) == ("in_progress", None, 30.5)
    assert (job["print_duration"], job["filament_used"]) == (10.5, 3.5)
    assert (await result(await client.get(f"{PATH}/totals")))["job_totals"]["total_jobs"] == 0


async def test_what_was_printed_is_known_when_its_file_is_gone(one: Hosted, client: httpx.AsyncClient) -> None:
    file = one.host.files.get("a.gcode")
    await until(lambda: one.host.files.get("a.gcode").metadata is not None)
    said = Metadata(slicer="PrusaSlicer", layer_height=0.2, filament_type=("PLA", "PETG"), estimated_time=60.0)
    await one.host.runs._records.keep_metadata("a.gcode", file.sha256, said)  # type: ignore[attr-defined]
    await print_(one, "a.gcode", *DONE)
    await one.host.files.delete("a.gcode", LOCAL)
    [job] = (await result(await client.get(f"{PATH}/list")))["jobs"]
    assert job["exists"] is False
    metadata = job["metadata"]
    assert (metadata["slicer"], metadata["layer_height"], metadata["estimated_time"]) == ("PrusaSlicer", 0.2, 60)
    assert json.loads(metadata["filament_type"]) == ["PLA", "PETG"]
    await one.put("a.gcode", b"another content")
    [job] = (await result(await client.get(f"{PATH}/list")))["jobs"]
    assert (job["exists"], job["metadata"]["size"]) == (False, file.size_bytes)
    await one.put("a.gcode", b"a.gcode")
    [job] = (await result(await client.get(f"{PATH}/list")))["jobs"]
    assert job["exists"] is True


async def test_files_of_one_content_keep_their_own_times(one: Hosted, client: httpx.AsyncClient) -> None:
    await one.put("copy.gcode", b"a.gcode")
    for path in ("a.gcode", "copy.gcode"):
        await print_(one, path, *DONE)
    jobs = (await result(await client.get(f"{PATH}/list?order=asc")))["jobs"]
    times = [one.host.files.get(path).modified_at for path in ("a.gcode", "copy.gcode")]
    assert [job["metadata"]["modified"] for job in jobs] == times


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [5, 4, 3, 2, 1]),
        ("limit=2", [5, 4]),
        ("limit=2&start=1&max=100", [4, 3]),
        ("limit=0", [5, 4, 3, 2, 1]),
        ("limit=-1&order=ASC", [1, 2, 3, 4, 5]),
        ("order=asc&limit=2&start=-5", [1, 2]),
        ("limit=99999999999&start=4", [1]),
        ("since={3}", [5, 4]),
        ("before={3}&order=asc", [1, 2]),
        ("since=0&before=9e99", [5, 4, 3, 2, 1]),
    ],
)
async def test_parts_of_the_history(one: Hosted, client: httpx.AsyncClient, query: str, expected: list[int]) -> None:
    """`{3}` in a query is when the third run started, and ended."""
    for _ in range(5):
        await print_(one, "a.gcode", *DONE)
    await one.host.runs._records.change(  # type: ignore[attr-defined]
        lambda c: c.execute("UPDATE runs SET started_at = ordinal * 100, ended_at = ordinal * 100")
    )
    listed = await result(await client.get(f"{PATH}/list?{query.format(*[0, 100, 200, 300])}"))
    assert [ordinal_of(job["job_id"]) for job in listed["jobs"]] == expected
    assert listed["count"] == len(expected)


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "list?order=sideways", 400, "Invalid `order` value: sideways"),
        ("GET", "list?limit=many", 400, "an argument cannot be read"),
        ("GET", "job", 400, "No data for argument: uid"),
        ("GET", "job?uid=ZZZ", 404, "Invalid job uid: ZZZ"),
        ("GET", "job?uid=000009", 404, "no run 9"),
        ("GET", "job?uid=" + "F" * 40, 404, "no run"),
        ("GET", "job?uid=-1", 404, "no run -1"),
        ("DELETE", "job", 400, "No data for argument: uid"),
        ("DELETE", "job?uid=000009", 404, "no run 9"),
    ],
)
async def test_what_is_wrong(client: httpx.AsyncClient, method: str, path: str, status: int, words: str) -> None:
    answer = await client.request(method, f"{PATH}/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    assert answer.json()["error"]["message"].startswith(words)


async def test_deleted_entries_are_gone_and_totals_stay(one: Hosted, client: httpx.AsyncClient) -> None:
    await print_(one, "a.gcode", *DONE, elapsed_s=10.0)
    await print_(one, "a.gcode", *CANCELLED, elapsed_s=20.0)
    await print_(one, "f/b.gcode", *DONE, elapsed_s=40.0)
    await print_(one, "a.gcode", *DONE, slug="two")
    assert await result(await client.delete(f"{PATH}/job?uid=000002")) == {"deleted_jobs": ["000002"]}
    prints = one.host.runs.statistics("a.gcode")
    assert (prints.success, prints.failure) == (2, 0)
    await print_(one, "a.gcode")
    refused = await client.delete(f"{PATH}/job?uid=000004")
    assert (refused.status_code, "has not ended" in refused.text) == (400, True)
    assert (await client.post(f"{PATH}/reset_totals")).status_code == 400
    assert await result(await client.delete(f"{PATH}/job?all=true")) == {"deleted_jobs": ["000001", "000003"]}
    assert [job["job_id"] for job in (await result(await client.get(f"{PATH}/list")))["jobs"]] == ["000004"]
    assert (await result(await client.get(f"/p/two{PATH}/list")))["count"] == 1
    assert one.host.runs.statistics("f/b.gcode").success == 0
    one.machine.signal(*DONE)
    await one.ended()
    assert await result(await client.delete(f"{PATH}/job?all=true")) == {"deleted_jobs": ["000004"]}
    await print_(one, "a.gcode", *DONE)
    [job] = (await result(await client.get(f"{PATH}/list")))["jobs"]
    assert job["job_id"] == "000005"  # no number is given twice
    last = (await result(await client.post(f"{PATH}/reset_totals")))["last_totals"]
    assert (last["total_jobs"], last["total_time"], last["longest_job"]) == (5.0, 70.0, 40.0)
    totals = (await result(await client.get(f"{PATH}/totals")))["job_totals"]
    assert set(totals.values()) == {0.0}
    assert one.host.runs.statistics("a.gcode").success == 2  # this one, and the one of the other printer


async def test_octoprint_counts_what_is_left(one: Hosted, client: httpx.AsyncClient) -> None:
    await print_(one, "a.gcode", *DONE)
    await print_(one, "a.gcode", *DONE)
    await client.delete(f"{PATH}/job?uid=000001")
    prints = (await client.get("/api/files/local/a.gcode")).json()["prints"]
    assert (prints["success"], prints["failure"]) == (1, 0)
    await client.delete(f"{PATH}/job?all=true")
    assert "prints" not in (await client.get("/api/files/local/a.gcode")).json()


async def test_clients_are_told_when_a_run_begins_and_ends(one: Hosted) -> None:
    headers = {"X-Api-Key": one.keys[Role.VIEWER]}
    async with (
        serving(one) as (served, _),
        websockets.connect(f"{served.sockets}/websocket", additional_headers=headers) as socket,
    ):
        await print_(one, "a.gcode", *DONE)
        told = []
        while len(told) < 2:
            said = json.loads(await socket.recv())
            if said["method"] == "notify_history_changed":
                told += said["params"]
    assert [(change["action"], change["job"]["job_id"], change["job"]["status"]) for change in told] == [
        ("added", "000001", "in_progress"),
        ("finished", "000001", "completed"),
    ]
    assert told[1]["job"]["exists"] is True
