"""``/server/job_queue/…``: what the printer prints next.

Upstream: docs/external_api/job_queue.md; specification, 2.8.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.events import QueueChanged
from polyhost.core.job import Job, Queue, QueueState
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.request import Request, listed
from polyhost.dialects.moonraker.resource import Notification, Resource
from polyhost.services.host import Host

resource = Resource("job_queue")

ACTIONS: Final = {
    "added": "jobs_added",
    "removed": "jobs_removed",
    "moved": "jobs_added",  # there is no word for it, and front ends take the list from all of these
    "loaded": "job_loaded",
    "state": "state_changed",
}
_ID_DIGITS: Final = 16


class QueuedJob(msgspec.Struct):
    filename: str
    job_id: str
    time_added: float
    time_in_queue: float


class Status(msgspec.Struct):
    queued_jobs: list[QueuedJob]
    queue_state: str


class Changed(msgspec.Struct):
    action: str
    updated_queue: list[QueuedJob] | None
    queue_state: str


class PostJob(msgspec.Struct):
    filenames: list[str] | str
    reset: bool = False


class DeleteJob(msgspec.Struct):
    job_ids: list[str] | str | None = None
    all: bool = False


class Jump(msgspec.Struct):
    job_id: str


def id_of(job: Job) -> str:
    """16 digits; the first of the job's own."""
    return job.id[:_ID_DIGITS].upper()


def queued_of(queue: Queue, now: float) -> list[QueuedJob]:
    return [QueuedJob(job.path, id_of(job), job.added_at, max(0.0, now - job.added_at)) for job in queue.jobs]


def changed_of(notice: QueueChanged, now: float) -> Changed:
    jobs = None if notice.change == "state" else queued_of(notice.queue, now)
    return Changed(ACTIONS[notice.change], jobs, notice.state.value)


def status_of(request: Request) -> Status:
    queue, p = request.host.queue, request.printer
    return Status(queued_of(queue.of(p), request.host.clock.now()), queue.state(p).value)


@resource.on(QueueChanged)
def told_of_queue(notice: QueueChanged, host: Host) -> Iterator[Notification]:
    yield Notification("job_queue_changed", (changed_of(notice, host.clock.now()),), notice.printer)
    if notice.state is QueueState.PAUSED and notice.change == "state" and notice.reason:
        yield Notification("gcode_response", (f"!! The job queue is paused: {notice.reason}",), notice.printer)


@resource.get("/server/job_queue/status", needs=Permission.LOOK)
async def status(request: Request) -> Status:
    return status_of(request)


@resource.post("/server/job_queue/job", needs=Permission.PRINT)
async def post_job(request: Request) -> Status:
    wanted = request.read(PostJob)
    await request.host.queue.add(request.printer, listed(wanted.filenames), by=request.caller, replace=wanted.reset)
    return status_of(request)


@resource.delete("/server/job_queue/job", needs=Permission.PRINT)
async def delete_job(request: Request) -> Status:
    wanted = request.read(DeleteJob)
    if wanted.job_ids is None and not wanted.all:
        raise Malformed("No data for argument: job_ids")
    named = {job_id.upper() for job_id in listed(wanted.job_ids or [])}
    jobs = request.host.queue.of(request.printer).jobs
    job_ids = None if wanted.all else [job.id for job in jobs if id_of(job) in named]
    await request.host.queue.remove(request.printer, job_ids, by=request.caller)
    return status_of(request)


@resource.post("/server/job_queue/pause", needs=Permission.PRINT)
async def pause(request: Request) -> Status:
    await request.host.queue.pause(request.printer, by=request.caller)
    return status_of(request)


@resource.post("/server/job_queue/start", needs=Permission.PRINT)
async def start(request: Request) -> Status:
    await request.host.queue.start(request.printer, by=request.caller)
    return status_of(request)


@resource.post("/server/job_queue/jump", needs=Permission.PRINT)
async def jump(request: Request) -> Status:
    wanted = request.read(Jump).job_id
    jobs = request.host.queue.of(request.printer).jobs
    job_id = next((job.id for job in jobs if id_of(job) == wanted.upper()), None)
    if job_id is None:
        raise Malformed(f"Invalid job id: {wanted}")
    await request.host.queue.jump(request.printer, job_id, by=request.caller)
    return status_of(request)
