"""Interrupted runs: what would be sent to go on with one, and going on once a person has read that (R10)."""

from typing import Protocol

from polyhost.core.errors import NotNow
from polyhost.core.job import Run, RunState
from polyhost.core.ports import ResumePlan
from polyhost.core.user import Caller, Permission
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers


class Starter(Protocol):
    """Who starts runs."""

    async def get(self, run_id: str) -> Run: ...

    async def start_behind(self, p: Printer, run: Run, plan: ResumePlan, by: Caller) -> Run:
        """Start the rest of what `run` printed."""


class Interrupted:
    def __init__(self, runs: Starter, printers: Printers) -> None:
        self._runs = runs
        self._printers = printers

    async def plan(self, run_id: str, by: Caller) -> ResumePlan:
        """What would be sent to go on with it, for a person to read first."""
        return (await self._planned(run_id, by))[2]

    async def resume(self, run_id: str, script_seen: tuple[str, ...], by: Caller) -> Run:
        """Go on with it, as a new run; `NotNow` unless `script_seen` is what the plan says now."""
        p, run, plan = await self._planned(run_id, by)
        if script_seen != plan.script:
            raise NotNow("the script to resume with is not the one that was read; read it again")
        return await self._runs.start_behind(p, run, plan, by)

    async def _planned(self, run_id: str, by: Caller) -> tuple[Printer, Run, ResumePlan]:
        run = await self._runs.get(run_id)
        p = self._printers.get(run.printer)
        by.require(Permission.PRINT, p.slug)
        if run.state is not RunState.INTERRUPTED:
            raise NotNow(f"only an interrupted run can be resumed; this one is {run.state.value}")
        return p, run, await p.driver.resume_plan(run_id)
