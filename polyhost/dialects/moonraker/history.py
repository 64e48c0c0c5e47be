"""``/server/history/…``: how the printer's runs went, and what they come to.

Upstream: docs/external_api/history.md; specification, 2.7.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.events import RunAdded, RunEnded
from polyhost.core.file import File
from polyhost.core.job import Run, RunState
from polyhost.core.job import Totals as RunTotals
from polyhost.core.ports import Page
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.job_ids import id_of, ordinal_of
from polyhost.dialects.moonraker.metadata import content_of
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Notification, Resource
from polyhost.services.host import Host

resource = Resource("history")

MAX_PAGE: Final = 1000
ORDERS: Final = ("asc", "desc")
NOBODY: Final = "No User"

STATUSES: Final = {
    RunState.COMPLETED: "completed",
    RunState.CANCELLED: "cancelled",
    RunState.FAILED: "error",
    RunState.INTERRUPTED: "interrupted",
}
_SAID_BY_REASON: Final = {
    "link lost": "klippy_disconnect",
    "the firmware stopped": "klippy_shutdown",
    "emergency stop": "klippy_shutdown",
}


class JobEntry(msgspec.Struct):
    job_id: str
    user: str
    filename: str
    status: str
    start_time: float
    end_time: float | None
    print_duration: float
    total_duration: float
    filament_used: float
    metadata: dict[str, Any]
    auxiliary_data: list[Any]
    exists: bool


class Listed(msgspec.Struct):
    count: int
    jobs: list[JobEntry]


class Totals(msgspec.Struct):
    total_jobs: float
    total_time: float
    total_print_time: float
    total_filament_used: float
    longest_job: float
    longest_print: float


class ListJobs(msgspec.Struct):
    limit: int = 50
    start: int = 0
    before: float | None = None
    since: float | None = None
    order: str = "desc"


class Uid(msgspec.Struct):
    uid: str


class DeleteJob(msgspec.Struct):
    uid: str | None = None
    all: bool = False


class Changed(msgspec.Struct):
    action: str
    job: JobEntry


def status_of(run: Run) -> str:
    if run.state is RunState.FAILED:
        for words, status in _SAID_BY_REASON.items():
            if run.reason.startswith(words):
                return status
    return STATUSES.get(run.state, "in_progress")


def entry_of(run: Run, metadata: dict[str, Any], *, exists: bool) -> JobEntry:
    return JobEntry(
        job_id=id_of(run.ordinal),
        user=run.by or NOBODY,
        filename=run.path,
        status=status_of(run),
        start_time=run.started_at,
        end_time=run.ended_at,
        print_duration=run.drawing_s,
        total_duration=run.elapsed_s,
        filament_used=run.filament_mm or 0.0,
        metadata=metadata,
        auxiliary_data=[],
        exists=exists,
    )


def totals_of(totals: RunTotals) -> Totals:
    return Totals(
        *(float(totals.runs), totals.elapsed_s, totals.drawing_s, totals.filament_mm),
        *(totals.longest_s, totals.longest_drawing_s),
    )


def _still_there(host: Host, run: Run) -> File | None:
    """The file that `run` was of, where the library still has that content in its place."""
    if run.on_card or not host.files.exists(run.path):
        return None
    try:
        file = host.files.get(run.path)
    except NotFound:  # it is a folder by now
        return None
    return file if file.sha256 == run.file_sha256 else None


def _entry(host: Host, run: Run, file: File | None) -> JobEntry:
    """`file` is what was printed, as far as that is known."""
    there = _still_there(host, run)
    known = there or file
    metadata = {} if known is None else content_of(host, known)
    if there is None:
        metadata.pop("thumbnails", None)  # they are at the place of the file
    return entry_of(run, metadata, exists=there is not None)


@resource.on(RunAdded, RunEnded)
def told_of_run(notice: RunAdded | RunEnded, host: Host) -> Iterator[Notification]:
    job = _entry(host, notice.run, _still_there(host, notice.run))
    action = "added" if isinstance(notice, RunAdded) else "finished"
    yield Notification("history_changed", (Changed(action, job),), notice.printer)


@resource.get("/server/history/list", needs=Permission.LOOK)
async def list_jobs(request: Request) -> Listed:
    wanted = request.read(ListJobs)
    if wanted.order.lower() not in ORDERS:
        raise Malformed(f"Invalid `order` value: {wanted.order}; there are asc and desc")
    page = Page(
        min(wanted.limit, MAX_PAGE) if wanted.limit > 0 else MAX_PAGE,
        min(max(0, wanted.start), 1 << 40),
        wanted.before,
        wanted.since,
        oldest_first=wanted.order.lower() == "asc",
    )
    past = await request.host.runs.past.page(request.printer, page)
    return Listed(len(past), [_entry(request.host, one.run, one.file) for one in past])


@resource.get("/server/history/totals", needs=Permission.LOOK)
async def totals(request: Request) -> dict[str, Any]:
    counted = await request.host.runs.past.totals(request.printer)
    return {"job_totals": totals_of(counted), "auxiliary_totals": []}


@resource.post("/server/history/reset_totals", needs=Permission.DELETE)
async def reset_totals(request: Request) -> dict[str, Any]:
    before = await request.host.runs.past.reset_totals(request.printer, by=request.caller)
    return {"last_totals": totals_of(before), "last_auxiliary_totals": []}


@resource.get("/server/history/job", needs=Permission.LOOK)
async def job(request: Request) -> dict[str, JobEntry]:
    past = await request.host.runs.past.get(request.printer, ordinal_of(request.read(Uid).uid))
    return {"job": _entry(request.host, past.run, past.file)}


@resource.delete("/server/history/job", needs=Permission.DELETE)
async def delete_job(request: Request) -> dict[str, list[str]]:
    wanted, past = request.read(DeleteJob), request.host.runs.past
    if wanted.all:
        return {"deleted_jobs": [id_of(gone) for gone in await past.delete_all(request.printer, by=request.caller)]}
    if wanted.uid is None:
        raise Malformed("No data for argument: uid")
    ordinal = ordinal_of(wanted.uid)
    await past.delete(request.printer, ordinal, by=request.caller)
    return {"deleted_jobs": [id_of(ordinal)]}
