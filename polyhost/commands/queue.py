"""`queue …`: what a printer prints next."""

from typing import Annotated, Final

import typer

from polyhost.commands.client import Client, decode, library_path, segment, show_json
from polyhost.commands.runs import MaybePrinter, Yes, chosen_printer
from polyhost.commands.terminal import clock_time, confirm, printable, say, show, table
from polyhost.commands.views import JobView, QueueView
from polyhost.core.errors import Malformed, NotFound

_ID_SHOWN: Final = 8

On = Annotated[str | None, typer.Option("--on", help="The printer; needed when there are several.", metavar="PRINTER")]
JobName = Annotated[str, typer.Argument(help="A queued job: how its id begins.", metavar="JOB")]


def list_(client: Client, printer: MaybePrinter = None) -> None:
    """The queue of a printer, and whether it goes on."""
    _show(client, client.get(_of(chosen_printer(client, printer))))


def add(
    client: Client,
    files: Annotated[list[str], typer.Argument(help="Files of the library, in order; again is a copy.")],
    on: On = None,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of what is queued.")] = False,
) -> None:
    """Queue files of the library."""
    slug = chosen_printer(client, on, "add --on with")
    for file in files:
        library_path(file)
    _show(client, client.post(f"{_of(slug)}/jobs", {"paths": files, "replace": replace}))


def remove(
    client: Client,
    jobs: Annotated[list[str] | None, typer.Argument(help="How the ids of jobs begin.", metavar="JOB…")] = None,
    on: On = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    yes: Yes = False,
) -> None:
    """Take jobs out of the queue of a printer."""
    slug = chosen_printer(client, on, "add --on with")
    if every == bool(jobs):
        raise Malformed("name the jobs to take out, or say --all")
    if every:
        confirm(f"Take all jobs out of the queue of {slug}?", yes)
        _show(client, client.request("DELETE", f"{_of(slug)}/jobs"))
        return
    queue = client.fetch(QueueView, _of(slug))
    for job in [_called(queue, name) for name in jobs or ()]:
        raw = client.request("DELETE", f"{_of(slug)}/jobs/{segment(job.id)}")
    _show(client, raw)


def first(client: Client, job: JobName, on: On = None) -> None:
    """Put a job before all others."""
    slug = chosen_printer(client, on, "add --on with")
    found = _called(client.fetch(QueueView, _of(slug)), job)
    _show(client, client.post(f"{_of(slug)}/jobs/{segment(found.id)}/first"))


def start(client: Client, printer: MaybePrinter = None) -> None:
    """Start the first job of a printer's queue."""
    _show(client, client.post(f"{_of(chosen_printer(client, printer))}/start"))


def pause(client: Client, printer: MaybePrinter = None) -> None:
    """Start nothing more by itself; what prints goes on."""
    _show(client, client.post(f"{_of(chosen_printer(client, printer))}/pause"))


def _of(slug: str) -> str:
    return f"/printers/{segment(slug)}/queue"


def _called(queue: QueueView, name: str) -> JobView:
    found = [job for job in queue.jobs if job.id.startswith(name.lower())]
    if len(found) != 1:
        how = "more than one job is" if found else "no job is"
        raise NotFound(f"{how} called {name!r} in the queue of {queue.printer}; `polyhost queue list` shows their ids")
    return found[0]


def _show(client: Client, raw: bytes) -> None:
    """The queue as the host says it is now."""
    if client.json:
        show_json(raw)
        return
    queue = decode(raw, QueueView)
    if queue.jobs:
        rows = [(job.id[:_ID_SHOWN], job.path, clock_time(job.added_at), job.by) for job in queue.jobs]
        show(table(("JOB", "FILE", "ADDED", "BY"), rows))
    else:
        say("no jobs; add one with `polyhost queue add FILE`")
    say(f"the queue of {queue.printer} is {queue.state}{printable(queue.reason and f': {queue.reason}')}")
