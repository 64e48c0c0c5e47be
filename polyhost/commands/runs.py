"""`upload`, `print`, `follow`, `pause`, `resume`, `cancel` and `history`: files that become prints."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from polyhost.commands.client import Client, decode, library_path, segment, show_json
from polyhost.commands.terminal import (
    Exit,
    Line,
    bar,
    clock_time,
    confirm,
    duration,
    printable,
    say,
    show,
    size,
    table,
)
from polyhost.commands.views import FileView, PlanView, PrinterView, RunView
from polyhost.core.errors import LinkLost, Malformed, NotFound, NotNow, Unsupported
from polyhost.core.file import GCODE_SUFFIXES, is_gcode
from polyhost.core.job import RunState

_AWAY_S: Final = 30.0  # how long `follow` waits for a host that went away; the print goes on meanwhile
_AGAIN_S: Final = 0.5

PrinterName = Annotated[str, typer.Argument(help="The printer's slug.", metavar="PRINTER")]
MaybePrinter = Annotated[
    str | None, typer.Argument(help="The printer's slug; needed when there are several.", metavar="[PRINTER]")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def progress_line(run: RunView, now: float, columns: int) -> str:
    """``bracket.gcode  ▓▓▓▓▓▓░░░ 62 %  layer 155/250  0:48 left  done 14:20`` in at most `columns`."""
    parts = []
    if run.state is not RunState.PRINTING:
        parts.append(run.state.value)
    if run.layers:
        parts.append(f"layer {run.layer}/{run.layers}")
    if run.remaining_s is not None and not run.ended:
        parts.append(f"{duration(run.remaining_s)} left")
        parts.append(f"done {clock_time(now + run.remaining_s)}")
    if run.ended:
        parts.append(f"after {duration(run.elapsed_s)}")
    return with_bar(run.path.rsplit("/", 1)[-1], run.fraction_done, "  ".join(parts), columns)


def with_bar(name: str, fraction: float, words: str, columns: int) -> str:
    """`name`, a bar and `words`: the bar takes what the words leave, the name is shortened last."""
    name = printable(name)
    percent = f" {int(fraction * 100)} %"
    room = columns - len(percent) - len(words) - 5
    cells = max(9, min(30, room - len(name)))
    if len(name) > room - cells:
        name = name[: max(8, room - cells) - 1] + "…"
    return f"{name}  {bar(fraction, cells)}{percent}  {words}".rstrip()


def upload_file(client: Client, file: Path, folder: str) -> bytes:
    """Send one local file into the library, drawing how far it is; the host's answer."""
    if not file.is_file():
        raise NotFound(f"{file} is a folder, no file; name the files in it" if file.is_dir() else f"no file {file}")
    if not is_gcode(file.name):
        raise Unsupported(f"{file} is no G-code: its name ends in none of {', '.join(GCODE_SUFFIXES)}")
    total = file.stat().st_size
    path = "/".join(part for part in (folder.strip("/"), file.name) if part)
    line = Line()
    began = time.monotonic()

    def progress(sent: int) -> None:
        rate = sent / max(1e-3, time.monotonic() - began)
        left = f"{duration((total - sent) / rate)} left"
        if sent < total:  # the end is drawn when the host has it
            line.draw(lambda columns: with_bar(file.name, sent / total, f"{size(sent)}  {left}", columns))

    try:
        answer = client.put_file("/files/" + library_path(path), file, (lambda sent: None) if client.json else progress)
    except BaseException:
        line.leave()
        raise
    if not client.json:
        line.draw(lambda columns: with_bar(file.name, 1.0, f"{size(total)}  stored as {path}", columns), last=True)
    return answer


def chosen_printer(client: Client, on: str | None, name_it: str = "name") -> str:
    """The printer named, or the only one there is; `NotFound` before anything is uploaded for it."""
    if on is not None:
        return client.fetch(PrinterView, f"/printers/{segment(on)}").slug
    slugs = [printer.slug for printer in client.fetch(list[PrinterView], "/printers")]
    match slugs:
        case [only]:
            return only
        case []:
            raise NotFound("this host has no printer; add one with `polyhost printers add`")
        case _:
            raise Malformed(f"which printer? {name_it} one of: {', '.join(slugs)}")


def follow_run(client: Client, slug: str, run_id: str | None) -> RunView:
    """Draw a run until it ends; the run as it ended.  Ctrl-C leaves it printing (130).

    Without `run_id`, the run in progress.  A host that goes away is waited for: its engine prints on.
    """
    line = Line()
    try:
        for view, raw in _watched(client, slug, line):
            run = view.run
            if run_id is None:
                if run is None or run.ended:
                    raise NotNow(f"{slug} prints nothing")
                run_id = run.id
            if run is None or run.id != run_id:
                run = client.fetch(RunView, f"/runs/{segment(run_id)}")
            if client.json:
                show_json(raw)
            else:
                _draw(line, run)
            if run.ended:
                return run
    except KeyboardInterrupt:
        line.leave()
        say(f"detached; the print goes on. To see it again: polyhost follow {slug}")
        raise
    raise AssertionError("a printer is watched without end")


def _draw(line: Line, run: RunView) -> None:
    line.draw(lambda columns: progress_line(run, time.time(), columns), last=run.ended)


def _watched(client: Client, slug: str, line: Line) -> Iterator[tuple[PrinterView, bytes]]:
    """What the host says about a printer, decoded and as it came, over as many connections as it takes."""
    heard_at: float | None = None
    while True:
        try:
            for raw in client.follow(f"/printers/{segment(slug)}/follow"):
                heard_at = time.monotonic()
                yield decode(raw, PrinterView), raw
        except (LinkLost, TimeoutError):
            if heard_at is None or time.monotonic() - heard_at > _AWAY_S:
                line.leave()
                raise
        time.sleep(_AGAIN_S)


def ended_well(run: RunView) -> None:
    """Leave with 7 and the reason unless the run was completed."""
    if run.state is RunState.COMPLETED:
        return
    because = f": {run.reason}" if run.reason else ""
    say(f"polyhost: {run.path} on {run.printer} was not completed, it {_ENDINGS[run.state]}{because}")
    raise typer.Exit(Exit.PRINT_FAILED)


_ENDINGS: Final = {
    RunState.FAILED: "failed",
    RunState.CANCELLED: "was cancelled",
    RunState.INTERRUPTED: "was interrupted; `polyhost resume` shows how it could go on",
}


def upload(
    client: Client,
    files: Annotated[list[Path], typer.Argument(help="G-code files of this computer.", metavar="FILE…")],
    to: Annotated[str, typer.Option("--to", help="A folder of the library.", metavar="FOLDER")] = "",
) -> None:
    """Add files to the library, replacing those of the same name."""
    for file in files:
        answer = upload_file(client, file, to)
        if client.json:
            show_json(answer)


def print_(
    client: Client,
    file: Annotated[
        str, typer.Argument(help="A file of this computer, uploaded first, or one of the library.", metavar="FILE")
    ],
    on: Annotated[
        str | None, typer.Option("--on", help="The printer; needed when there are several.", metavar="PRINTER")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show the print until it ends.")] = False,
) -> None:
    """Print a file."""
    slug = chosen_printer(client, on, "add --on with")
    stored = file
    if Path(file).is_file():
        stored = decode(upload_file(client, Path(file), ""), FileView).path
    raw = client.post(f"/printers/{segment(slug)}/runs", {"path": stored})
    run = decode(raw, RunView)
    if client.json:
        show_json(raw)
    else:
        say(f"{run.path} prints on {slug}" + ("" if follow else f"; to see it: polyhost follow {slug}"))
    if follow:
        ended_well(follow_run(client, slug, run.id))


def follow(client: Client, printer: MaybePrinter = None) -> None:
    """Show the print of a printer until it ends.  Ctrl-C stops the showing, not the print."""
    ended_well(follow_run(client, chosen_printer(client, printer), None))


def pause(client: Client, printer: MaybePrinter = None) -> None:
    """Pause the print of a printer."""
    _tell(client, client.post(f"/printers/{segment(chosen_printer(client, printer))}/run/pause"), "pauses")


def resume(client: Client, printer: MaybePrinter = None, yes: Yes = False) -> None:
    """Go on with a paused print, or, after a look at what would be sent, with an interrupted one."""
    printer = chosen_printer(client, printer)
    view = client.fetch(PrinterView, f"/printers/{segment(printer)}")
    if view.run is None or view.run.state is not RunState.INTERRUPTED:
        _tell(client, client.post(f"/printers/{segment(printer)}/run/resume"), "goes on")
        return
    run = segment(view.run.id)
    plan = client.fetch(PlanView, f"/runs/{run}/resume-plan")
    say(f"{view.run.path} on {printer} was interrupted. Before the file goes on at byte {plan.start_byte}:")
    for command in plan.script:
        say(f"    {printable(command)}")
    for warning in plan.warnings:
        say(f"  ! {warning}")
    confirm("Send this and go on printing?", yes)
    _tell(client, client.post(f"/runs/{run}/resume", {"script": plan.script}), "goes on")


def cancel(client: Client, printer: MaybePrinter = None, yes: Yes = False) -> None:
    """Cancel the print of a printer."""
    printer = chosen_printer(client, printer)
    run = client.fetch(PrinterView, f"/printers/{segment(printer)}").run
    if run is None or run.ended:
        raise NotNow(f"{printer} prints nothing")
    confirm(f"Cancel {run.path} on {printer}, {int(run.fraction_done * 100)} % done?", yes)
    _tell(client, client.post(f"/printers/{segment(printer)}/run/cancel"), "is cancelled")


def history(
    client: Client,
    since: Annotated[str, typer.Option("--since", help="How far back: 12h, 7d, 4w.", metavar="SPAN")] = "",
    printer: Annotated[str | None, typer.Option("--printer", help="Only this printer.", metavar="PRINTER")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many, latest first.")] = 100,
) -> None:
    """The prints so far."""
    after = time.time() - span(since) if since else None
    raw = client.get("/runs", printer=printer, since=after, limit=limit)
    if client.json:
        show_json(raw)
        return
    runs = decode(raw, list[RunView])
    if csv:
        _show_csv(runs)
    elif not runs:
        say("no prints yet" if not since else f"no prints in the last {since}")
    else:
        rows = [
            (
                run.id,
                clock_time(run.started_at),
                run.printer,
                run.path,
                run.state.value,
                duration(run.elapsed_s),
                run.by,
                run.reason,
            )
            for run in runs
        ]
        show(table(("RUN", "STARTED", "PRINTER", "FILE", "RESULT", "TOOK", "BY", "REASON"), rows))


def _tell(client: Client, answer: bytes, becomes: str) -> None:
    """What a command began: the host answers as soon as the machine's holder has taken it."""
    if client.json:
        show_json(answer)
    else:
        run = decode(answer, RunView)
        say(f"{run.path} on {run.printer} {becomes}")


def span(text: str) -> float:
    """Seconds in ``90m``, ``12h``, ``7d`` or ``4w``."""
    units = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and unit in units):
        raise Malformed(f"{text!r} is no span of time; write 90m, 12h, 7d or 4w")
    return int(number) * units[unit]


def _show_csv(runs: list[RunView]) -> None:
    import csv
    import sys

    fields = ("id", "printer", "path", "state", "by", "started_at", "ended_at", "elapsed_s", "printing_s", "reason")
    writer = csv.writer(sys.stdout)
    writer.writerow(fields)
    for run in runs:
        values = msgspec.to_builtins(run)
        writer.writerow([values[field] for field in fields])
