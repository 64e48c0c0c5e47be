"""``/native/v1/printers/<slug>/queue``: what a printer prints next."""

import msgspec

from polyhost.core.errors import NotFound
from polyhost.core.job import Job, QueueState
from polyhost.core.user import Permission
from polyhost.web.answers import Encoded, encoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)


class JobView(msgspec.Struct, frozen=True):
    """`added_at` is seconds since the epoch."""

    id: str
    path: str
    by: str
    added_at: float


class QueueView(msgspec.Struct, frozen=True):
    """`reason` says why it is paused, where no person paused it; `automatic` whether it goes on by itself."""

    printer: str
    state: QueueState
    reason: str
    automatic: bool
    jobs: tuple[JobView, ...]


class NewJobs(msgspec.Struct):
    """A job for each path; `replace`: in the place of all that are there."""

    paths: tuple[str, ...]
    replace: bool = False


def view_of_job(job: Job) -> JobView:
    return JobView(job.id, job.path, job.by, job.added_at)


def view_of_queue(call: Call) -> QueueView:
    queue, p = call.host.queue, call.printer
    jobs = tuple(map(view_of_job, queue.of(p).jobs))
    return QueueView(p.slug, queue.state(p), queue.reason(p), call.host.config.queue.automatic, jobs)


@routes.get("/native/v1/printers/{slug}/queue", needs=Permission.LOOK)
async def queue(call: Call) -> QueueView:
    return view_of_queue(call)


@routes.post("/native/v1/printers/{slug}/queue/jobs", needs=Permission.PRINT)
async def add(call: Call) -> Encoded:
    """The queue as it is then."""
    wanted = await call.body(NewJobs)
    await call.host.queue.add(call.printer, wanted.paths, by=call.caller, replace=wanted.replace)
    return encoded(view_of_queue(call), status=201)


@routes.delete("/native/v1/printers/{slug}/queue/jobs", needs=Permission.PRINT)
async def clear(call: Call) -> QueueView:
    await call.host.queue.remove(call.printer, None, by=call.caller)
    return view_of_queue(call)


@routes.delete("/native/v1/printers/{slug}/queue/jobs/{id}", needs=Permission.PRINT)
async def remove(call: Call) -> QueueView:
    job_id = call.params["id"]
    if not any(job.id == job_id for job in call.host.queue.of(call.printer).jobs):
        raise NotFound(f"no job {job_id!r} in the queue of {call.printer.slug}")
    await call.host.queue.remove(call.printer, [job_id], by=call.caller)
    return view_of_queue(call)


@routes.post("/native/v1/printers/{slug}/queue/jobs/{id}/first", needs=Permission.PRINT)
async def jump(call: Call) -> QueueView:
    await call.host.queue.jump(call.printer, call.params["id"], by=call.caller)
    return view_of_queue(call)


@routes.post("/native/v1/printers/{slug}/queue/start", needs=Permission.PRINT)
async def start(call: Call) -> QueueView:
    await call.host.queue.start(call.printer, by=call.caller)
    return view_of_queue(call)


@routes.post("/native/v1/printers/{slug}/queue/pause", needs=Permission.PRINT)
async def pause(call: Call) -> QueueView:
    await call.host.queue.pause(call.printer, by=call.caller)
    return view_of_queue(call)
