"""The history in a real database: pages, numbers, totals, deletions, and the runs of before there were any of these."""

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from polyhost.core.file import File, Metadata
from polyhost.core.job import Job, Queue, Run, RunState, Set, Totals
from polyhost.core.ports import OnDisk, Page, StoredFile
from polyhost.storage import history, schema
from polyhost.storage.records import Records

MANY = 50_000
RUN = Run("r", "mk3", "a.gcode", "5ha", 1000, RunState.STARTING, "ada", started_at=10.5)
FILE = File("a.gcode", 1000, 12.25, "5ha", "sha1", "md5", metadata=Metadata(slicer="Cura"))


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records.open(tmp_path)
    yield records
    records.close()


async def ran(records: Records, run_id: str, state: RunState = RunState.COMPLETED, **more: object) -> Run:
    run = await records.add_run(msgspec.structs.replace(RUN, id=run_id, **more))
    over = msgspec.structs.replace(run, state=state, ended_at=run.started_at + 5)
    assert await records.end_run(over)
    return over


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """50,000 runs of two printers and 300 contents."""
    folder = tmp_path_factory.mktemp("full")
    Records.open(folder).close()
    connection = schema.connect(folder / schema.NAME)
    dice = random.Random(1)
    known = msgspec.msgpack.encode(Metadata(slicer="Cura", layer_height=0.2))
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO printed VALUES (?, 1.5, ?, NULL)", ((f"{n}", known) for n in range(300)))
    runs = (
        msgspec.structs.replace(
            *(RUN,),
            id=f"{n}",
            printer=f"p{n % 2}",
            file_sha256=f"{dice.randrange(300)}",
            ordinal=n // 2 + 1,
            state=RunState.COMPLETED,
            started_at=n * 10.0,
            ended_at=n * 10.0 + 5,
        )
        for n in range(MANY)
    )
    places = ", ".join("?" * len(history.FIELDS))
    connection.executemany(f"INSERT INTO runs ({history.COLUMNS}) VALUES ({places})", map(history._row_of, runs))
    connection.execute("COMMIT")
    yield connection
    connection.close()


PAGES = [
    Page(50),
    Page(50, start=20_000),
    Page(50, oldest_first=True),
    Page(50, before=250_000.0),
    Page(50, since=250_000.0, oldest_first=True),
    Page(50, before=250_000.0, since=240_000.0),
    Page(1000),
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_of_a_long_history_is_found_by_an_index(full: sqlite3.Connection, page: Page) -> None:
    seen: list[str] = []
    full.set_trace_callback(seen.append)
    entries = history.page(full, "p1", page)
    full.set_trace_callback(None)
    plan = [row[3] for row in full.execute(f"EXPLAIN QUERY PLAN {seen[0]}")]
    assert plan[0].startswith("SEARCH runs USING INDEX"), plan
    assert not [step for step in plan if step.startswith("SCAN")], plan
    there = [(n // 2 + 1, n * 10.0) for n in range(1, MANY, 2)]  # ordinals, and when they started
    asked = [
        ordinal
        for ordinal, started_at in (there if page.oldest_first else reversed(there))
        if (page.before is None or started_at + 5 < page.before) and (page.since is None or started_at > page.since)
    ]
    wanted = asked[page.start : page.start + page.limit]
    assert [entry.run.ordinal for entry in entries] == wanted
    assert all(entry.file is not None and entry.file.metadata is not None for entry in entries)


def test_a_page_of_a_long_history_takes_milliseconds(full: sqlite3.Connection) -> None:
    def took(page: Page) -> float:
        began = time.perf_counter()
        history.page(full, "p1", page)
        return time.perf_counter() - began

    assert min(took(Page(50)) for _ in range(5)) < 0.05
    assert min(took(Page(50, start=24_000)) for _ in range(5)) < 0.3


async def test_numbers_are_of_a_printer_and_given_once(records: Records) -> None:
    ordinals = [(await ran(records, f"a{n}", printer="mk3")).ordinal for n in range(3)]
    assert ordinals == [1, 2, 3]
    assert (await ran(records, "b", printer="ender")).ordinal == 1
    refused = await records.add_run(msgspec.structs.replace(RUN, id="refused"))
    await records.drop_run("refused")
    deleted = await records.delete_runs("mk3", None)
    assert (refused.ordinal, deleted.ordinals) == (4, (1, 2, 3))
    assert (await ran(records, "c")).ordinal == 5
    assert await records.past_run("mk3", 3) is None
    assert (await records.past_run("ender", 1)) is not None


async def test_what_was_printed_is_kept_as_long_as_there_is_a_run_of_it(records: Records) -> None:
    await records.keep_file(StoredFile(msgspec.structs.replace(FILE, metadata=None), OnDisk(1000, 1, 1)))
    run = await records.add_run(RUN)
    await records.keep_metadata("a.gcode", "5ha", Metadata(slicer="Cura"))  # read while it prints
    await records.end_run(msgspec.structs.replace(run, state=RunState.FAILED, ended_at=20.5))
    await records.drop_files(["a.gcode"])
    [past] = await records.past_runs("mk3", Page(10))
    assert past.file is not None
    assert (past.file.path, past.file.modified_at, past.file.metadata) == ("a.gcode", 12.25, Metadata(slicer="Cura"))
    await records.add_run(msgspec.structs.replace(RUN, id="on card", on_card=True, file_sha256=""))
    [on_card, _] = await records.past_runs("mk3", Page(10))
    assert on_card.file is None
    deleted = await records.delete_runs("mk3", [past.run.ordinal, on_card.run.ordinal, 99])
    assert deleted.ordinals == (past.run.ordinal,)  # the other one has not ended
    assert (deleted.prints, deleted.last) == ({"5ha": None}, on_card.run)
    assert await records.read(lambda c: c.execute("SELECT count(*) FROM printed").fetchone()) == (0,)


async def test_totals_go_on_when_entries_go(records: Records) -> None:
    assert await records.totals("mk3") == Totals()
    times = {"elapsed_s": 60.0, "printing_s": 50.0}
    await ran(records, "a", **times, extruding_s=40.0, filament_mm=100.5)
    await ran(records, "b", **times)  # nobody counted: what it printed is what it drew
    await ran(records, "c", RunState.CANCELLED, **times | {"elapsed_s": 90.0})
    await records.add_run(msgspec.structs.replace(RUN, id="going on", elapsed_s=500.0))
    expected = Totals(3, 210.0, 90.0, 100.5, 90.0, 50.0)
    assert await records.totals("mk3") == expected
    await records.delete_runs("mk3", None)
    assert await records.totals("mk3") == expected
    assert await records.totals("ender") == Totals()
    assert await records.reset_totals("mk3") == expected
    assert await records.totals("mk3") == Totals()
    assert (await ran(records, "d", **times)).ordinal == 5


async def test_runs_of_before_have_numbers_totals_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = schema.migrations()
    with monkeypatch.context() as before:
        before.setattr(schema, "migrations", lambda: [step for step in steps if step[0] < 7])
        old = schema.open_database(tmp_path)
    columns = "id, printer, path, file_sha256, size_bytes, state, by, started_at, ended_at, elapsed_s, printing_s,"
    rows = [
        ("r1", "mk3", "completed", 20.5, 60.0, 50.0, 10.5),
        ("r2", "ender", "completed", 20.5, 5.0, 5.0, None),
        ("r3", "mk3", "failed", 20.5, 90.0, 80.0, None),
        ("r4", "mk3", "printing", None, 0.0, 0.0, None),
    ]
    for run_id, printer, state, ended_at, elapsed_s, printing_s, filament_mm in rows:
        old.execute(
            f"INSERT INTO runs ({columns} file_bytes, filament_mm, reason, resumed_from) VALUES"
            " (?, ?, 'a.gcode', '5ha', 1, ?, 'ada', 1.5, ?, ?, ?, 1, ?, '', '')",
            (run_id, printer, state, ended_at, elapsed_s, printing_s, filament_mm),
        )
    old.execute(
        "INSERT INTO files VALUES ('a.gcode', 1, 12.25, '5ha', '', '', 'ada', '', 1, 1, '', ?, NULL, NULL)",
        (msgspec.msgpack.encode(Metadata(slicer="Cura")),),
    )
    old.close()
    records = Records.open(tmp_path)
    past = await records.past_runs("mk3", Page(10))
    assert [(one.run.id, one.run.ordinal) for one in past] == [("r4", 3), ("r3", 2), ("r1", 1)]
    assert all(one.file is not None and one.file.metadata == Metadata(slicer="Cura") for one in past)
    assert await records.totals("mk3") == Totals(2, 150.0, 50.0, 10.5, 90.0, 50.0)
    assert (await records.add_run(RUN)).ordinal == 4
    assert (await records.add_run(msgspec.structs.replace(RUN, id="new", printer="anet"))).ordinal == 1
    records.close()


async def test_a_queue_is_kept_whole_and_without_what_is_a_run(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    jobs = tuple(Job(f"j{n}", "a", (Set(f"{n}.gcode", 2),), by="ada", added_at=1.5) for n in range(3))
    queues = [Queue("anybody's", "", jobs[:1]), Queue("mk3", "mk3", jobs[1:])]
    for queue in queues:
        await records.keep_queue(queue)
    records.close()
    records = Records.open(tmp_path)
    assert records.load_queues() == queues
    await records.keep_queue(Queue("mk3", "mk3", (jobs[2], jobs[1])))
    await ran(records, "r", job="j2")
    assert [job.id for job in records.load_queues()[1].jobs] == ["j1"]
    await records.delete_runs("mk3", None)
    assert [job.id for job in records.load_queues()[1].jobs] == ["j1"]  # deleting its run queues no job anew
    await records.drop_printer("mk3")
    assert records.load_queues() == queues[:1]
    records.close()
