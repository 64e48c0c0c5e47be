"""Records on a real database: what was answered is there, also for whoever opens it next."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from polyhost.config import Printer
from polyhost.core.errors import Damaged, NoSpace, NotFound, NotNow
from polyhost.core.file import Analysis, Box, FilamentUse, File, LayerIndex, Metadata, NamedObject
from polyhost.core.job import Run, RunState, Times
from polyhost.core.ports import OnDisk, StoredFile
from polyhost.core.user import ApiKey, Role, User
from polyhost.storage.records import Records

RUN = Run("r1", "mk3", "a/b.gcode", "5ha", 1000, RunState.STARTING, "ada", started_at=10.5)
FILE = File("a/b.gcode", 3, 12.25, "sha256", "sha1", "md5", by="ada", userdata='{"x": 1}')
ANALYSIS = Analysis(
    *(60.5, 10, 8, {0: FilamentUse(12.5, 0.25)}, Box(0, 0, 0, 1, 2, 3), None),
    layers=LayerIndex((0, 5), (0.2, 0.4), (0.0, 30.0), 60.5),
    objects=(NamedObject("cube", 0, 0, 1, 1, ((0, 5),)),),
)


async def test_users_and_keys_outlive_the_server(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    ada = User("ada", Role.OPERATOR, created_at=1.5)
    key = ApiKey("k1", "ada", Role.VIEWER, "Cura", ("mk3", "ender"), created_at=2.5, ends_at=9.5)
    await records.keep_user(ada, "hash")
    await records.keep_key(key, b"digest")
    await records.keep_user(User("ada", Role.VIEWER, False, created_at=1.5), "hash2")
    await records.note_key_uses({"k1": 7.5})
    records.close()

    records = Records.open(tmp_path)
    assert records.load_users() == [(User("ada", Role.VIEWER, False, created_at=1.5), "hash2")]
    [(kept, digest)] = records.load_keys()
    assert (kept.printers, kept.last_used_at, kept.ends_at, digest) == (("mk3", "ender"), 7.5, 9.5, b"digest")
    await records.drop_user("ada")
    assert records.load_keys() == []  # a key goes with its user
    records.close()


async def test_printers_keep_their_order_and_settings(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    one, two = Printer("zeta", "virtual", speed=5.0), Printer("alpha", "serial", port="/dev/ttyUSB0")
    await records.keep_printer(one)
    await records.keep_printer(two)
    await records.keep_selected("zeta", "a.gcode")
    assert records.load_printers() == [one, two]
    assert records.load_selected() == {"zeta": "a.gcode"}
    await records.drop_printer("zeta")
    assert records.load_printers() == [two]
    assert records.load_selected() == {}
    records.close()


async def test_a_run_ends_once(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    run = await records.add_run(RUN)
    assert records.load_last_runs() == [run]
    done = _ended(run, RunState.COMPLETED, 99.5)
    assert await records.end_run(done)
    assert not await records.end_run(_ended(run, RunState.FAILED, 120.5))
    assert await records.run("r1") == done
    assert await records.run("r2") is None
    records.close()


async def test_history_is_newest_first_and_filtered(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    for n in range(6):
        # The clock goes backwards: the order of starts is the order of the history.
        await records.add_run(
            Run(f"r{n}", f"p{n % 2}", f"f{n % 3}", "s", 1, RunState.STARTING, "ada", started_at=100.5 - n)
        )
    ids = [run.id for run in await records.runs(None, None, None, 4, 1)]
    assert ids == ["r4", "r3", "r2", "r1"]
    assert [run.id for run in await records.runs("p1", None, None, 10, 0)] == ["r5", "r3", "r1"]
    assert [run.id for run in await records.runs(None, "f0", 98.0, 10, 0)] == ["r0"]
    records.close()


async def test_prints_count_by_content(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    ends = [
        ("_default", RunState.COMPLETED, 10.0),
        ("big", RunState.COMPLETED, 40.0),
        ("_default", RunState.COMPLETED, 20.0),
        ("_default", RunState.CANCELLED, 3.0),
        ("small", RunState.FAILED, 2.0),
    ]
    for n, (profile, state, printing_s) in enumerate(ends):
        run = Run(f"r{n}", "p", f"elsewhere-{n}", "same", 1, RunState.STARTING, "ada", 1.5, profile=profile)
        await records.add_run(run)
        await records.end_run(_ended(run, state, 5.5, printing_s))
    prints = records.load_prints()["same"]
    assert (prints.success, prints.failure) == (3, 2)
    assert prints.last is not None
    assert prints.last.id == "r4"
    assert prints.times == {"_default": Times(2, 15.0, 20.0), "big": Times(1, 40.0, 40.0)}
    records.close()


async def test_files_come_back_with_an_outline_of_their_analysis(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    stored = StoredFile(FILE, OnDisk(3, 123456789, 42), "staged-name")
    await records.keep_file(stored)
    await records.keep_metadata("a/b.gcode", "sha256", Metadata(slicer="Cura", layer_count=2))
    await records.keep_analysis("a/b.gcode", "sha256", ANALYSIS)
    await records.keep_analysis("a/b.gcode", "another content", Analysis(1, 1, 1, {}, None, None, ANALYSIS.layers))
    [loaded] = records.load_files()
    assert loaded.on_disk == stored.on_disk
    assert loaded.file.metadata == Metadata(slicer="Cura", layer_count=2)
    assert loaded.file.analysis == ANALYSIS.outline()
    assert loaded.file.analysis is not None
    assert loaded.file.analysis.layers == LayerIndex((), (), (), 60.5)
    assert await records.analysis("a/b.gcode") == ANALYSIS
    await records.move_files({"a/b.gcode": "c.gcode"})
    assert await records.analysis("c.gcode") == ANALYSIS
    await records.drop_files(["c.gcode"])
    assert records.load_files() == []
    records.close()


async def test_a_change_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    records = Records.open(tmp_path)

    def refuse(_: sqlite3.Connection) -> None:
        raise NotFound("no")

    outcomes = await asyncio.gather(
        records.keep_selected("one", "a"),
        records.change(refuse),
        records.change(lambda c: c.execute("INSERT INTO selected VALUES ('one', 'twice')")),
        records.keep_selected("two", "b"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), NotFound, Damaged, type(None)]
    assert records.load_selected() == {"one": "a", "two": "b"}
    records.close()


async def test_changes_that_wait_share_commits(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    commits = 0

    def traced(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    await records.change(lambda c: c.set_trace_callback(traced))
    await asyncio.gather(*(records.keep_selected(f"p{n}", "x") for n in range(200)))
    assert commits <= 3
    assert len(records.load_selected()) == 200
    records.close()


async def test_too_many_waiting_changes_are_refused(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    outcomes = await asyncio.gather(*(records.keep_selected(f"p{n}", "x") for n in range(1200)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, NotNow)]
    assert 100 < len(refused) < 300
    assert len(records.load_selected()) == 1200 - len(refused)
    records.close()


async def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    await records.keep_selected("before", "x")
    pages = await records.change(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    # As sqlite itself does it when the disk is full: SQLITE_FULL from inside a write.
    await records.change(lambda c: c.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(NoSpace, match="free some space"):
        await records.keep_selected("big", "x" * 100_000)
    await records.change(lambda c: c.execute("PRAGMA max_page_count = 100000"))
    await records.keep_selected("after", "x")
    assert records.load_selected() == {"before": "x", "after": "x"}
    records.close()


async def test_a_file_size_limit_is_met_as_a_full_disk(tmp_path: Path) -> None:
    script = f"""
import asyncio, resource, signal
from pathlib import Path
from polyhost.core.errors import NoSpace
from polyhost.storage.records import Records

async def main():
    records = Records.open(Path({str(tmp_path)!r}))
    await records.keep_selected("before", "x")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = 2 << 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        await records.keep_selected("big", "x" * (4 << 20))
    except NoSpace as error:
        print("refused")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await records.keep_selected("after", "x")
    print(sorted(records.load_selected()))
    records.close()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == ["refused", "['after', 'before']"], done.stderr


async def test_a_lock_of_another_program_is_waited_for_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyhost.storage.schema.BUSY_S", 0.2)
    records = Records.open(tmp_path)
    other = sqlite3.connect(tmp_path / "polyhost.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotNow, match="another program has locked"):
        await records.keep_selected("p", "x")
    other.execute("ROLLBACK")
    other.close()
    await records.keep_selected("p", "x")
    records.close()


def test_one_server_to_a_folder(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    with pytest.raises(NotNow, match=r"another Polyhost .process \d+. is using"):
        Records.open(tmp_path)
    records.close()
    Records.open(tmp_path).close()


WRITER = """
import asyncio, sys
from pathlib import Path
from polyhost.storage.records import Records

async def main():
    records = Records.open(Path(sys.argv[1]))
    async def write(worker):
        for n in range(10**6):
            await records.keep_selected(f"{worker}-{n}", "x")
            print(f"{worker}-{n}", flush=True)
    await asyncio.gather(*(write(worker) for worker in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 25, 90])
def test_killed_in_the_middle_of_commits_nothing_answered_is_lost(tmp_path: Path, lines: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        answered = [writer.stdout.readline().strip() for _ in range(lines)]
        os.kill(writer.pid, signal.SIGKILL)
        answered += [line.strip() for line in writer.stdout if line.endswith("\n")]
    records = Records.open(tmp_path)
    assert set(answered) <= records.load_selected().keys()
    records.close()
    with sqlite3.connect(tmp_path / "polyhost.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def _ended(run: Run, state: RunState, ended_at: float, printing_s: float = 50.0) -> Run:
    values = {field: getattr(run, field) for field in run.__struct_fields__}
    return Run(**values | {"state": state, "ended_at": ended_at, "printing_s": printing_s, "reason": "because"})


@pytest.mark.parametrize("folder", ["/proc/nothing", "/dev/null", "/dev/null/below"])
def test_what_cannot_be_a_folder_is_refused(folder: str) -> None:
    with pytest.raises(NoSpace, match=f"{folder} cannot be the data folder"):
        Records.open(Path(folder))
