"""``/api/job``: the current run, and start, restart, pause, cancel.

Upstream: OctoPrint 1.11, docs/api/job.rst.
"""

from typing import Final

import msgspec

from polyhost.core.card import CardFile, CardTransfer, found_on
from polyhost.core.errors import Malformed, NotFound, NotNow
from polyhost.core.file import File
from polyhost.core.job import Run, RunState, Times
from polyhost.core.units import percent_from_fraction
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.card import card_path
from polyhost.dialects.octoprint.commands import Commands, check_operational
from polyhost.dialects.octoprint.metadata import Filament, filament_of
from polyhost.dialects.octoprint.states import text_of
from polyhost.services import remaining
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web.answers import Encoded, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()

_FORGOTTEN: Final = frozenset({RunState.CANCELLED, RunState.FAILED})
"""After these ends nothing is told of how far the run came."""


class JobFile(msgspec.Struct):
    name: str | None = None
    display: str | None = None
    path: str | None = None
    origin: str | None = None
    size: int | None = None
    date: int | None = None


class Job(msgspec.Struct, rename="camel"):
    file: JobFile
    estimated_print_time: float | None = None
    average_print_time: float | None = None
    last_print_time: float | None = None
    filament: dict[str, Filament] | Filament | None = None
    user: str | None = None


class Progress(msgspec.Struct, rename="camel"):
    """``progress``: completion in percent of the file's bytes, times in whole seconds; all null when idle."""

    completion: float | None = None
    filepos: int | None = None
    print_time: int | None = None
    print_time_left: int | None = None
    print_time_left_origin: str | None = None


class JobState(msgspec.Struct, omit_defaults=True):
    job: Job
    progress: Progress
    state: str
    error: str = ""


class Start(msgspec.Struct, tag_field="command", tag="start"):
    pass


class Restart(msgspec.Struct, tag_field="command", tag="restart"):
    pass


class Cancel(msgspec.Struct, tag_field="command", tag="cancel"):
    pass


class Pause(msgspec.Struct, tag_field="command", tag="pause"):
    action: str = "toggle"


COMMANDS: Final = Commands[Start | Restart | Cancel | Pause](Start, Restart, Cancel, Pause)


def progress_of(progress: remaining.Progress) -> Progress:
    fraction = progress.fraction_done
    return Progress(
        None if fraction is None else percent_from_fraction(fraction),
        progress.file_bytes,
        _whole(progress.printing_s),
        _whole(progress.remaining_s),
        progress.remaining_from,
    )


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def job_of(file: File | None, run: Run | None, times: Times | None) -> Job:
    """The job of `file`, or of the file that `run` started with when it is no longer in the library.

    `times` are those of prints with the printer's current profile.
    """
    average_s, last_s = (times.average_s, times.last_s) if times is not None else (None, None)
    if file is None:
        if run is None:
            return Job(JobFile(), filament=Filament())
        name = run.path.rpartition("/")[2]
        return Job(JobFile(name, name, run.path, "local", run.size_bytes), None, average_s, last_s, user=run.by)
    described = JobFile(file.name, file.name, file.path, "local", file.size_bytes, int(file.modified_at))
    estimated = file.analysis.duration_s if file.analysis else file.metadata.estimated_time if file.metadata else None
    filament = filament_of(file) or None
    user = run.by if run is not None and not run.ended else file.by
    return Job(described, estimated, average_s, last_s, filament, user or None)


def job_on_card(name: str, file: CardFile | None, size_bytes: int, user: str) -> Job:
    """The job of the file `name` of the printer's card; nobody has read it, so nothing is known of times."""
    short = card_path(name)
    known = file or CardFile(name)
    date = None if known.modified_at is None else int(known.modified_at)
    size = known.size_bytes if known.size_bytes is not None else size_bytes or None
    described = JobFile(short, known.long_name or short, short, "sdcard", size, date)
    return Job(described, filament=Filament(), user=user or None)


@routes.get("/api/job", needs=Permission.LOOK)
async def job(call: Call) -> Encoded:
    printer = call.printer
    made_of = (
        *(printer.snapshot, printer.selected, printer.selected_on_card, printer.run),
        *(printer.card, printer.profile_id, call.host.files.revision),
    )
    return call.latest.get(("octoprint job", printer.slug), made_of, lambda: encoded(job_state_of(call.host, printer)))


def job_state_of(host: Host, printer: Printer) -> JobState:
    if (transfer := printer.transfer) is not None:
        return _sending(printer, transfer)
    run = host.runs.current(printer)
    path = run.path if run is not None else printer.selected
    on_card = run.on_card if run is not None else printer.selected_on_card
    if not path:
        return JobState(job_of(None, None, None), Progress(), text_of(printer), printer.snapshot.fault)
    if run is None and printer.run is not None and (printer.run.path, printer.run.on_card) == (path, on_card):
        run = printer.run
    if on_card:
        size_bytes, user = (run.size_bytes, run.by) if run is not None else (0, "")
        described = job_on_card(path, found_on(host.cards.files(printer), path), size_bytes, user)
        gone = run is not None and run.state in _FORGOTTEN
        progress = Progress() if gone else progress_of(host.runs.progress(printer))
        return JobState(described, progress, text_of(printer), printer.snapshot.fault)
    try:
        file, times = host.files.get(path), host.runs.statistics(path).times.get(printer.profile_id)
    except NotFound:
        file, times = None, None
    gone = run is not None and run.state in _FORGOTTEN
    progress = Progress() if gone else progress_of(host.runs.progress(printer))
    return JobState(job_of(file, run, times), progress, text_of(printer), printer.snapshot.fault)


def _sending(printer: Printer, transfer: CardTransfer) -> JobState:
    """Upstream's job is the file on the card while it is written."""
    name = card_path(transfer.name)
    done = transfer.sent_bytes / transfer.size_bytes if transfer.size_bytes else 0.0
    return JobState(
        Job(JobFile(name, name, name, "sdcard", transfer.size_bytes), filament=Filament()),
        Progress(percent_from_fraction(done), transfer.sent_bytes, round(transfer.elapsed_s)),
        text_of(printer),
        printer.snapshot.fault,
    )


@routes.post("/api/job", needs=Permission.PRINT)
async def control_job(call: Call) -> Encoded:
    printer, runs = call.printer, call.host.runs
    check_operational(printer)
    asked = await COMMANDS.asked(call)
    run = runs.current(printer)
    if printer.transfer is not None:
        if asked.kind is not Cancel:
            raise NotNow("A file is being sent to the printer's card; it can only be cancelled")
        await call.host.cards.cancel(printer, by=call.caller)
        return no_content()
    if asked.kind is Pause and run is None:
        raise NotNow("Printer is neither printing nor paused")
    match asked.values():
        case Start():
            await runs.start(printer, None, by=call.caller)
        case Restart():
            if run is None or run.state is not RunState.PAUSED:
                raise NotNow("Printer does not have an active print job or is not paused")
            await runs.restart(printer, by=call.caller)
        case Cancel():
            await runs.cancel(printer, by=call.caller)
        case Pause("toggle"):
            await runs.toggle(printer, by=call.caller)
        case Pause("pause"):
            await runs.pause(printer, by=call.caller)
        case Pause("resume"):
            await runs.resume(printer, by=call.caller)
        case Pause(action):
            raise Malformed(f"Unknown action {action!r}: pause, resume or toggle")
    return no_content()
