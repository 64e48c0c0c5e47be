"""What the native API shows of printers, runs and files.  mm, °C, seconds, bytes, fractions of 1."""

import msgspec

from polyhost.core.file import Box, FilamentUse, File, Metadata
from polyhost.core.job import Prints, Run, RunState
from polyhost.core.printer import Firmware, Position, PrinterState, Temperature
from polyhost.services.files import Folder
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.services.remaining import Progress


class RunView(msgspec.Struct, frozen=True):
    """`layer` and `layers` are 0 while they are not known; times of day are seconds since the epoch."""

    id: str
    printer: str
    path: str
    state: RunState
    by: str
    started_at: float
    ended_at: float | None
    elapsed_s: float
    printing_s: float
    remaining_s: float | None
    fraction_done: float
    file_bytes: int
    size_bytes: int
    layer: int
    layers: int
    filament_mm: float | None
    reason: str
    resumed_from: str
    on_card: bool = False  # `path` is on the printer's own card


class PromptView(msgspec.Struct, frozen=True):
    """What the firmware asks, and what may be answered."""

    text: str
    choices: tuple[str, ...]


class PrinterView(msgspec.Struct, frozen=True):
    slug: str
    name: str
    driver: str
    state: PrinterState
    fault: str
    port: str
    baud: int
    firmware: Firmware
    heaters: dict[str, Temperature]
    position: Position
    homed: str
    tool: int
    fan: float
    feedrate_factor: float
    flow_factor: float
    hot: bool
    selected: str
    locked: bool
    listen: int
    run: RunView | None
    prompt: PromptView | None = None


class AnalysisView(msgspec.Struct, frozen=True):
    duration_s: float
    lines: int
    moves: int
    filament: dict[int, FilamentUse]
    printed: Box | None
    travelled: Box | None
    limits_from: str
    complete: bool
    notes: tuple[str, ...]


class FileView(msgspec.Struct, frozen=True):
    path: str
    name: str
    size_bytes: int
    modified_at: float
    sha256: str
    by: str
    metadata: Metadata | None
    analysis: AnalysisView | None
    success: int
    failure: int
    userdata: str


class FolderView(msgspec.Struct, frozen=True):
    """`files` and `folders` are empty where the list was not to go deeper."""

    path: str
    name: str
    size_bytes: int
    modified_at: float
    files: tuple[FileView, ...] = ()
    folders: tuple["FolderView", ...] = ()


def view_of_run(host: Host, run: Run) -> RunView:
    """With its remaining time, where it is the one that its printer has or had last."""
    printer = host.printers.find(run.printer)
    is_latest = printer is not None and printer.run is not None and printer.run.id == run.id
    progress = host.runs.progress(printer) if printer is not None and is_latest else Progress()
    fraction = progress.fraction_done
    if fraction is None:
        fraction = min(1.0, run.file_bytes / run.size_bytes) if run.size_bytes else 0.0
    return RunView(
        *(run.id, run.printer, run.path, run.state, run.by, run.started_at, run.ended_at),
        *(run.elapsed_s, run.printing_s, progress.remaining_s, fraction, run.file_bytes, run.size_bytes),
        *(progress.layer or 0, progress.layers or 0, run.filament_mm, run.reason, run.resumed_from),
        on_card=run.on_card,
    )


def view_of_printer(host: Host, printer: Printer) -> PrinterView:
    snapshot, run, asked = printer.snapshot, host.runs.last(printer), host.prompts.open_prompt(printer)
    return PrinterView(
        *(printer.slug, printer.name, printer.driver_name, snapshot.state, snapshot.fault, snapshot.port),
        *(snapshot.baud, snapshot.firmware, snapshot.heaters, snapshot.position, snapshot.homed, snapshot.tool),
        *(snapshot.fan, snapshot.feedrate_factor, snapshot.flow_factor, snapshot.hot, printer.selected),
        *(printer.locked, printer.listen, view_of_run(host, run) if run is not None else None),
        prompt=PromptView(asked.text, asked.choices) if asked is not None else None,
    )


def view_of_file(file: File, prints: Prints) -> FileView:
    analysis = file.analysis
    return FileView(
        *(file.path, file.name, file.size_bytes, file.modified_at, file.sha256, file.by, file.metadata),
        AnalysisView(
            *(analysis.duration_s, analysis.lines, analysis.moves, analysis.filament, analysis.printed),
            *(analysis.travelled, analysis.limits_from, analysis.complete, analysis.notes),
        )
        if analysis is not None
        else None,
        *(prints.success, prints.failure, file.userdata),
    )


def view_of_folder(host: Host, folder: Folder, *, deep: bool, open_: bool = True) -> FolderView:
    """`open_`: with what is in it; `deep`: and with what is in the folders in it."""
    files, folders = (folder.files.values(), folder.folders.values()) if open_ else ((), ())
    return FolderView(
        *(folder.path, folder.name, folder.size_bytes, folder.modified_at),
        tuple(view_of_file(file, host.runs.statistics(file.path)) for file in files),
        tuple(view_of_folder(host, child, deep=deep, open_=deep) for child in folders),
    )
