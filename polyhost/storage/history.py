"""Runs in the database: the history, its totals, and what was known of the files that were printed."""

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from polyhost.core.file import Analysis, File, Metadata
from polyhost.core.job import ENDED, Prints, Run, RunState, Times, Totals
from polyhost.core.ports import Deleted, Page, PastRun

FIELDS: Final = Run.__struct_fields__
COLUMNS: Final = ", ".join(FIELDS)
_OF_RUNS: Final = ", ".join(f"runs.{field}" for field in FIELDS)
_FEW: Final = 500  # contents that are looked up one by one
_TOTALS: Final = ", ".join(Totals.__struct_fields__)
_metadata: Final = msgspec.msgpack.Decoder(Metadata)
_analysis: Final = msgspec.msgpack.Decoder(Analysis)


# Looking


def runs_of(rows: Iterable[tuple[Any, ...]]) -> list[Run]:
    named = (dict(zip(FIELDS, row, strict=True)) for row in rows)
    return [msgspec.convert(run | {"on_card": bool(run["on_card"])}, Run) for run in named]


def page(connection: sqlite3.Connection, printer: str, page: Page) -> list[PastRun]:
    asked = {"runs.printer = ?": printer, "runs.ended_at < ?": page.before, "runs.started_at > ?": page.since}
    where = {condition: value for condition, value in asked.items() if value is not None}
    order = "ASC" if page.oldest_first else "DESC"
    return _past_runs(
        connection.execute(
            f"{_PAST} WHERE {' AND '.join(where)} ORDER BY runs.ordinal {order} LIMIT ? OFFSET ?",
            (*where.values(), page.limit, page.start),
        )
    )


def one(connection: sqlite3.Connection, printer: str, ordinal: int) -> PastRun | None:
    rows = connection.execute(f"{_PAST} WHERE runs.printer = ? AND runs.ordinal = ?", (printer, ordinal))
    return next(iter(_past_runs(rows)), None)


def last_runs(connection: sqlite3.Connection) -> list[Run]:
    """The last of each printer, and all that have not ended."""
    return runs_of(
        connection.execute(
            f"SELECT {COLUMNS} FROM runs WHERE ended_at IS NULL"
            " OR number IN (SELECT max(number) FROM runs GROUP BY printer) ORDER BY number"
        )
    )


def prints(connection: sqlite3.Connection, contents: Collection[str] | None = None) -> dict[str, Prints]:
    """How the runs of each content went; of `contents` alone, if they are named."""
    named = "" if contents is None else f" AND file_sha256 IN ({', '.join('?' * len(contents))})"
    values = tuple(contents or ())
    last = connection.execute(
        f"SELECT {COLUMNS} FROM runs WHERE number IN (SELECT max(number) FROM runs"
        f" WHERE ended_at IS NOT NULL AND NOT on_card{named} GROUP BY file_sha256)",
        values,
    )
    by_content = {run.file_sha256: run for run in runs_of(last)}
    counts = connection.execute(
        "SELECT file_sha256, sum(state = 'completed'), sum(state <> 'completed') FROM runs"
        f" WHERE ended_at IS NOT NULL AND NOT on_card{named} GROUP BY file_sha256",
        values,
    )
    # Beside max(), SQLite's bare columns are of the row that has it.
    done = connection.execute(
        "SELECT file_sha256, profile, count(*), avg(printing_s), printing_s, max(number) FROM runs"
        f" WHERE state = 'completed' AND NOT on_card{named} GROUP BY file_sha256, profile",
        values,
    )
    times: dict[str, dict[str, Times]] = {}
    for sha256, profile, runs, average_s, last_s, _ in done:
        times.setdefault(sha256, {})[profile] = Times(runs, average_s, last_s)
    return {
        sha256: Prints(success, failure, by_content[sha256], times.get(sha256, {}))
        for sha256, success, failure in counts
    }


def totals(connection: sqlite3.Connection, printer: str) -> Totals:
    row = connection.execute(f"SELECT {_TOTALS} FROM totals WHERE printer = ?", (printer,)).fetchone()
    return Totals() if row is None else Totals(*row)


# Changing


def add(connection: sqlite3.Connection, run: Run) -> Run:
    """`run` with its ordinal."""
    [ordinal] = connection.execute(
        "INSERT INTO totals (printer, last_ordinal) VALUES (?, 1)"
        " ON CONFLICT (printer) DO UPDATE SET last_ordinal = last_ordinal + 1 RETURNING last_ordinal",
        (run.printer,),
    ).fetchone()
    run = msgspec.structs.replace(run, ordinal=ordinal)
    connection.execute(f"INSERT INTO runs ({COLUMNS}) VALUES ({', '.join('?' * len(FIELDS))})", _row_of(run))
    _keep_printed(connection, run)
    if run.on_card:
        connection.execute("DELETE FROM selected WHERE printer = ?", (run.printer,))
    else:
        connection.execute("INSERT OR REPLACE INTO selected (printer, path) VALUES (?, ?)", (run.printer, run.path))
    return run


def end(connection: sqlite3.Connection, run: Run) -> bool:
    """Whether it had not ended before."""
    assert run.state in ENDED
    ended = connection.execute(
        "UPDATE runs SET state = ?, ended_at = ?, elapsed_s = ?, printing_s = ?, extruding_s = ?, file_bytes = ?,"
        " filament_mm = ?, reason = ? WHERE id = ? AND ended_at IS NULL",
        (
            *(run.state.value, run.ended_at, run.elapsed_s, run.printing_s, run.extruding_s, run.file_bytes),
            *(run.filament_mm, run.reason, run.id),
        ),
    )
    if not ended.rowcount:
        return False
    connection.execute(
        "UPDATE totals SET runs = runs + 1, elapsed_s = elapsed_s + :all, drawing_s = drawing_s + :drawing,"
        " filament_mm = filament_mm + :filament, longest_s = max(longest_s, :all),"
        " longest_drawing_s = max(longest_drawing_s, :drawing) WHERE printer = :printer",
        {
            "all": run.elapsed_s,
            "drawing": run.drawing_s,
            "filament": run.filament_mm or 0.0,
            "printer": run.printer,
        },
    )
    _keep_printed(connection, run)
    return True


def delete(connection: sqlite3.Connection, printer: str, ordinals: Collection[int] | None) -> Deleted:
    """Those that have ended; of all that are named, or of all there are."""
    connection.execute("DELETE FROM jobs WHERE id IN (SELECT job FROM runs WHERE job <> '')")  # they are runs by now
    statement, returning = (
        "DELETE FROM runs WHERE printer = ? AND ended_at IS NOT NULL",
        "RETURNING ordinal, file_sha256",
    )
    if ordinals is None:
        gone = connection.execute(f"{statement} {returning}", (printer,)).fetchall()
    else:
        one_by_one = (
            connection.execute(f"{statement} AND ordinal = ? {returning}", (printer, ordinal)).fetchall()
            for ordinal in ordinals
        )
        gone = [row for rows in one_by_one for row in rows]
    contents = {sha256 for _, sha256 in gone}
    connection.executemany(
        "DELETE FROM printed WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE file_sha256 = ?1)",
        ((sha256,) for sha256 in contents),
    )
    left: dict[str, Prints | None] = dict.fromkeys(contents)
    left |= prints(connection, contents if len(contents) <= _FEW else None)
    last = connection.execute(
        f"SELECT {COLUMNS} FROM runs WHERE printer = ? ORDER BY number DESC LIMIT 1", (printer,)
    ).fetchall()
    return Deleted(tuple(sorted(ordinal for ordinal, _ in gone)), left, next(iter(runs_of(last)), None))


def reset_totals(connection: sqlite3.Connection, printer: str) -> Totals:
    """What they were."""
    before = totals(connection, printer)
    nothing = ", ".join(f"{field} = 0" for field in Totals.__struct_fields__)
    connection.execute(f"UPDATE totals SET {nothing} WHERE printer = ?", (printer,))
    return before


# Inside

_PAST: Final = (
    f"SELECT {_OF_RUNS}, printed.sha256, printed.modified_at, printed.metadata, printed.analysis"
    " FROM runs LEFT JOIN printed ON printed.sha256 = runs.file_sha256"
)


def _past_runs(rows: Iterable[tuple[Any, ...]]) -> list[PastRun]:
    """Many runs are of few contents, so each content is read once."""
    read: dict[str, tuple[Metadata | None, Analysis | None]] = {}
    past: list[PastRun] = []
    for *of_run, sha256, modified_at, metadata, analysis in rows:
        [run] = runs_of([tuple(of_run)])
        if sha256 is None:
            past.append(PastRun(run, None))
            continue
        if sha256 not in read:
            read[sha256] = (
                None if metadata is None else _metadata.decode(metadata),
                None if analysis is None else _analysis.decode(analysis),
            )
        known, planned = read[sha256]
        of = File(run.path, run.size_bytes, modified_at, sha256, "", "", metadata=known, analysis=planned)
        past.append(PastRun(run, of))
    return past


def _keep_printed(connection: sqlite3.Connection, run: Run) -> None:
    """What is known of the content of `run` now; by its end it may be more than at its start."""
    if not run.on_card:
        connection.execute(
            "INSERT INTO printed SELECT sha256, modified_at, metadata, analysis FROM files"
            " WHERE path = ? AND sha256 = ?"
            " ON CONFLICT (sha256) DO UPDATE SET metadata = coalesce(excluded.metadata, metadata),"
            " analysis = coalesce(excluded.analysis, analysis)",
            (run.path, run.file_sha256),
        )


def _row_of(run: Run) -> tuple[object, ...]:
    values = (getattr(run, field) for field in FIELDS)
    return tuple(value.value if isinstance(value, RunState) else value for value in values)
