"""``/native/v1/runs``: the history, and going on with what was interrupted."""

from typing import Final

import msgspec

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.job import Run
from polyhost.core.ports import ResumePlan
from polyhost.core.user import Permission
from polyhost.dialects.native.views import RunView, view_of_run
from polyhost.web.answers import Encoded, created, encoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)

MAX_PAGE: Final = 1000


class Resume(msgspec.Struct):
    """The script that the person was shown and said yes to."""

    script: tuple[str, ...]


@routes.get("/native/v1/runs", needs=Permission.LOOK)
async def history(call: Call) -> Encoded:
    runs = await call.host.runs.history(
        printer=call.query.get("printer"),
        path=call.query.get("path"),
        since=_since(call.query.get("since")),
        limit=call.number("limit", 100, most=MAX_PAGE),
        offset=call.number("offset", 0, most=1 << 40),
    )
    return encoded([view_of_run(call.host, run) for run in runs if call.caller.may(Permission.LOOK, run.printer)])


def _since(said: str | None) -> float | None:
    """Seconds since the epoch."""
    if said is None:
        return None
    try:
        return msgspec.convert(said, float, strict=False)
    except msgspec.ValidationError:
        raise Malformed(f"since must be seconds since the epoch, not {said!r}") from None


@routes.get("/native/v1/runs/{id}", needs=Permission.LOOK)
async def one(call: Call) -> RunView:
    return view_of_run(call.host, await _run(call))


@routes.get("/native/v1/runs/{id}/resume-plan", needs=Permission.PRINT)
async def resume_plan(call: Call) -> ResumePlan:
    run = await _run(call)
    return await call.host.runs.interrupted.plan(run.id, by=call.caller)


@routes.post("/native/v1/runs/{id}/resume", needs=Permission.PRINT)
async def resume(call: Call) -> Encoded:
    wanted = await call.body(Resume)
    interrupted = await _run(call)
    run = await call.host.runs.interrupted.resume(interrupted.id, wanted.script, by=call.caller)
    return created(f"{call.base}/native/v1/runs/{run.id}", view_of_run(call.host, run))


async def _run(call: Call) -> Run:
    """`NotFound` also for a run of a printer that is not the caller's to see."""
    run = await call.host.runs.get(call.params["id"])
    if not call.caller.may(Permission.LOOK, run.printer):
        raise NotFound(f"no run {run.id!r}")
    return run
