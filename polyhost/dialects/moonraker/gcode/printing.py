"""Prints: what starts, pauses and ends one, and what is told about it.

Pause, resume and cancel answer when they are done, as Klipper's macros do; where nothing is printed they do nothing.
"""

import asyncio
from collections.abc import Collection
from typing import Final

from polyhost.core.errors import LinkLost, Malformed, NotNow
from polyhost.core.events import PrinterStateChanged, RunStateChanged
from polyhost.core.file import is_gcode
from polyhost.core.job import RunState
from polyhost.core.printer import PrinterState
from polyhost.core.user import Caller
from polyhost.dialects.moonraker.gcode.grammar import Parameters
from polyhost.dialects.moonraker.gcode.table import Doing, Step, Table
from polyhost.dialects.moonraker.objects.machine import state_message_of
from polyhost.services.host import Host
from polyhost.services.printer import Printer

table = Table()

WAIT_S: Final = 900.0
"""A pause may come behind moves, a heating, a script of the host's."""
JUST_S: Final = 60.0
MAX_LAYER: Final = 1_000_000


def library_path(filename: str) -> str:
    """As clients write it: below ``gcodes``, maybe with a slash before it."""
    return filename.strip().lstrip("/")


async def start(host: Host, p: Printer, filename: str, by: Caller) -> None:
    """Print a file of the library.

    Slicers that uploaded with ``print=true`` start it again: the same file, by the same user, within a minute, is
    the same print.
    """
    path = library_path(filename)
    run = host.runs.current(p)
    if run is not None and not run.ended:
        recent = abs(host.clock.now() - run.started_at) < JUST_S  # the clock may have been put back
        if recent and run.path == path and run.by == by.name and not run.on_card:
            return
        raise NotNow("SD busy")
    if not host.files.exists(path):
        raise Malformed("Unable to open file")
    if not is_gcode(path):
        raise Malformed(f"{path} is not G-code")
    await host.runs.start(p, path, by)


def check_there(p: Printer) -> None:
    """Nothing to pause or cancel is one thing, no machine to ask another; a Moonraker without a Klippy refuses, too."""
    if p.is_operational:
        return
    why = state_message_of(p.name, p.snapshot)
    raise NotNow(why) if p.snapshot.state is PrinterState.FAULTED else LinkLost(why)


async def pause(host: Host, p: Printer, by: Caller) -> None:
    """As `resume` and `cancel`: `LinkLost` when it is not connected, `NotNow` when it has stopped."""
    if p.run_state is None:
        check_there(p)
        return
    await host.runs.pause(p, by)
    await until(host, p, {RunState.PAUSED})


async def resume(host: Host, p: Printer, by: Caller) -> bool:
    """False when nothing was paused."""
    if p.run_state not in {RunState.PAUSED, RunState.PAUSING, RunState.RESUMING}:
        check_there(p)
        return False
    await host.runs.resume(p, by)
    await until(host, p, {RunState.PRINTING, RunState.FINISHING})
    return True


async def cancel(host: Host, p: Printer, by: Caller) -> None:
    if p.run_state is None:
        check_there(p)
        return
    await host.runs.cancel(p, by)
    await until(host, p, ())


async def until(host: Host, p: Printer, states: Collection[RunState]) -> None:
    """Return when the run is in one of `states`, or over; `NotNow` when that takes too long, or the machine is lost."""
    run_id = p.run.id if p.run is not None else ""

    def there() -> bool:
        run = p.run
        if run is None or run.id != run_id or run.ended:
            return True
        if p.run_state in states:
            return True
        if not p.is_operational:
            raise NotNow(f"{p.slug} is {p.snapshot.state.value}; what becomes of its print is not known yet")
        return False

    with host.bus.listen(RunStateChanged, PrinterStateChanged) as listener:
        try:
            async with asyncio.timeout(WAIT_S):
                while not there():
                    await anext(listener)
        except TimeoutError:
            raise NotNow(f"{p.slug} has not done so within {WAIT_S / 60:g} minutes") from None


@table.command(
    "SDCARD_PRINT_FILE",
    help="Print the file FILENAME of the library, in whatever folder",
    marlin="prints that file of the library",
)
def print_file(said: Parameters, p: Printer) -> Step:
    filename = said.text("FILENAME")

    async def begin(doing: Doing) -> None:
        await start(doing.host, p, filename, doing.by)

    return begin


@table.command(
    "SDCARD_RESET_FILE",
    help="Cancel what is printed and choose no file",
    marlin="cancels what is printed, and chooses no file",
)
def reset_file(said: Parameters, p: Printer) -> Step:
    async def reset(doing: Doing) -> None:
        if p.run_state is not None:
            await cancel(doing.host, p, doing.by)
        if p.selected:
            await doing.host.runs.unselect(p, doing.by)
        doing.shown.clear()

    return reset


@table.command("PAUSE", "PAUSE_BASE", help="Hold the print where it is", marlin="pauses the print")
def pause_print(said: Parameters, p: Printer) -> Step:
    async def do(doing: Doing) -> None:
        await pause(doing.host, p, doing.by)

    return do


@table.command("RESUME", "RESUME_BASE", help="Go on with the held print", marlin="goes on with the print")
def resume_print(said: Parameters, p: Printer) -> Step:
    async def do(doing: Doing) -> None:
        if not await resume(doing.host, p, doing.by):
            doing.remark("nothing is paused, so there is nothing to go on with")

    return do


@table.command("CANCEL_PRINT", "CANCEL_PRINT_BASE", help="End the print for good", marlin="cancels the print")
def cancel_print(said: Parameters, p: Printer) -> Step:
    async def do(doing: Doing) -> None:
        await cancel(doing.host, p, doing.by)

    return do


@table.command(
    "CLEAR_PAUSE",
    help="Make sure that no pause is left over",
    marlin="nothing where nothing is paused; a paused print is resumed or cancelled instead",
)
def clear_pause(said: Parameters, p: Printer) -> Step:
    async def clear(doing: Doing) -> None:
        if p.run_state is not None:
            raise NotNow("a paused print goes on by RESUME, or ends by CANCEL_PRINT; it cannot be forgotten")

    return clear


@table.command(
    "SET_PRINT_STATS_INFO",
    help="Say which layer is printed, and of how many",
    marlin="the host shows these numbers instead of its own count",
)
def stats_info(said: Parameters, p: Printer) -> Step:
    total = said.whole("TOTAL_LAYER", least=0, most=MAX_LAYER) if "TOTAL_LAYER" in said else None
    current = said.whole("CURRENT_LAYER", least=0, most=MAX_LAYER) if "CURRENT_LAYER" in said else None

    async def tell(doing: Doing) -> None:
        doing.shown.set_layers(total, current)

    return tell


@table.command(
    "SET_PAUSE_NEXT_LAYER", help="Hold the print when the next layer begins", marlin="the host pauses the print there"
)
def pause_next(said: Parameters, p: Printer) -> Step:
    on = said.whole("ENABLE", 1) != 0

    async def do(doing: Doing) -> None:
        doing.host.layers.pause_next(p, on, doing.by)

    return do


@table.command(
    "SET_PAUSE_AT_LAYER",
    help="Hold the print when layer LAYER begins",
    marlin="the host pauses the print when that layer begins",
)
def pause_at(said: Parameters, p: Printer) -> Step:
    layer = said.whole("LAYER", 0, least=0, most=MAX_LAYER)
    on = said.whole("ENABLE", int(layer > 0)) != 0
    if on and not layer:
        raise Malformed("Error on 'SET_PAUSE_AT_LAYER': missing LAYER")

    async def do(doing: Doing) -> None:
        doing.host.layers.pause_at(p, layer if on else None, doing.by)

    return do
