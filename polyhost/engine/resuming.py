"""How an interrupted run would go on: what the journal knows, as a script for a person to read."""

import asyncio
import hashlib

from polyhost.core.errors import NotFound, NotNow
from polyhost.core.ports import ResumePlan
from polyhost.engine.journal import RunRecord
from polyhost.gcode.modal import resume_script


async def plan_of(record: RunRecord) -> ResumePlan:
    """The plan for the run of `record`; `NotFound` or `NotNow` when its file is gone or another one by now."""
    order = record.order
    try:
        sha256 = await asyncio.to_thread(_sha256_of, order.file)
    except FileNotFoundError:
        raise NotFound(f"{order.name} is gone; the run cannot go on without it") from None
    except OSError as error:
        raise NotNow(f"{order.name} cannot be read: {error.strerror}") from error
    if sha256 != order.sha256:
        raise NotNow(f"{order.name} was replaced since; its lines are not those of the interrupted run")
    if record.modal is None:
        raise NotFound(f"the journal does not know how the machine was set in the run {order.run_id}")
    script, warnings = resume_script(record.modal)
    return ResumePlan(
        run_id=order.run_id,
        file=order.file,
        sha256=order.sha256,
        start_byte=record.file_bytes,
        line=record.lines,
        script=script,
        warnings=warnings,
    )


def _sha256_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
