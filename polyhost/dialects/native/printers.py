"""``/native/v1/printers`` and ``/native/v1/ports``."""

import asyncio
import re
import unicodedata
from collections.abc import AsyncGenerator
from typing import Annotated, Final, Literal

import msgspec

from polyhost import config
from polyhost.core.errors import Malformed, NotFound
from polyhost.core.printer import PrinterProfile
from polyhost.core.user import Permission
from polyhost.dialects.native.views import PrinterView, view_of_printer, view_of_run
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web.answers import Encoded, Streamed, created, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)

EVERY_S: Final = 0.25
HEARTBEAT_S: Final = 5.0
_SLUG_LENGTH: Final = 64


class NewPrinter(msgspec.Struct):
    """As ``[[printers]]`` of the settings; without a slug one is made of the name."""

    driver: Literal["serial", "virtual"]
    name: str = ""
    slug: str = ""
    port: str = ""
    baud: Annotated[int, msgspec.Meta(ge=0, le=4_000_000)] = 0
    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    listen: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    autoconnect: bool = True
    window_lines: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    window_bytes: Annotated[int, msgspec.Meta(ge=0, le=65536)] = 0
    profile: PrinterProfile = PrinterProfile()


class Connect(msgspec.Struct):
    port: str | None = None
    baud: int | None = None


class Jog(msgspec.Struct):
    """By so many mm, as seen from in front of the machine; the speed is the profile's unless it is given."""

    x: float | None = None
    y: float | None = None
    z: float | None = None
    feedrate_mm_s: float | None = None


class Lines(msgspec.Struct):
    commands: list[str]


class ConsoleView(msgspec.Struct):
    at: float
    sent: bool
    text: str


class SerialLogView(msgspec.Struct):
    """Whether what the printer and the host say is written to a file, and to which of the logs."""

    enabled: bool
    log: str = ""


class NewRun(msgspec.Struct):
    path: str | None = None


def slug_of(name: str) -> str:
    """A short name for addresses, made of what a person calls the printer.

    >>> slug_of("Prusa MK3 (Küche)")
    'prusa-mk3-kuche'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-")[:_SLUG_LENGTH]


@routes.get("/native/v1/printers", needs=Permission.LOOK)
async def printers(call: Call) -> Encoded:
    seen = [p for p in call.host.printers.all() if call.caller.may(Permission.LOOK, p.slug)]
    return encoded([view_of_printer(call.host, printer) for printer in seen])


@routes.post("/native/v1/printers", needs=Permission.SETTINGS)
async def add(call: Call) -> Encoded:
    wanted = await call.body(NewPrinter)
    slug = wanted.slug or _free_slug(call.host, slug_of(wanted.name))
    settings = config.Printer(
        *(slug, wanted.driver, wanted.name, wanted.port, wanted.baud, wanted.speed, wanted.listen),
        *(wanted.autoconnect, wanted.window_lines, wanted.window_bytes, wanted.profile),
    )
    printer = await call.host.printers.add(settings, by=call.caller)
    return created(f"{call.base}/native/v1/printers/{slug}", view_of_printer(call.host, printer))


def _free_slug(host: Host, slug: str) -> str:
    if not slug:
        raise Malformed("give a name with letters or digits, or a slug")
    taken = {printer.slug for printer in host.printers.all()}
    candidates = (slug, *(f"{slug[: _SLUG_LENGTH - 4]}-{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


@routes.get("/native/v1/printers/{slug}", needs=Permission.LOOK)
async def printer(call: Call) -> PrinterView:
    return view_of_printer(call.host, call.printer)


@routes.delete("/native/v1/printers/{slug}", needs=Permission.SETTINGS)
async def remove(call: Call) -> Encoded:
    await call.host.printers.remove(call.params["slug"], by=call.caller)
    return no_content()


@routes.post("/native/v1/printers/{slug}/connect", needs=Permission.CONNECT)
async def connect(call: Call) -> Encoded:
    wanted = await call.body(Connect)
    await call.host.printers.connect(call.printer, wanted.port, wanted.baud, by=call.caller)
    return no_content()


@routes.post("/native/v1/printers/{slug}/disconnect", needs=Permission.CONNECT)
async def disconnect(call: Call) -> Encoded:
    await call.host.printers.disconnect(call.printer, by=call.caller)
    return no_content()


@routes.post("/native/v1/printers/{slug}/commands", needs=Permission.CONTROL)
async def send(call: Call) -> Encoded:
    lines = await call.body(Lines)
    await call.host.terminal.send(call.printer, lines.commands, by=call.caller)
    return no_content()


@routes.post("/native/v1/printers/{slug}/jog", needs=Permission.CONTROL)
async def jog(call: Call) -> Encoded:
    wanted = await call.body(Jog)
    await call.host.steering.jog(
        *(call.printer, wanted.x, wanted.y, wanted.z),
        by_hand=True,
        feedrate_mm_s=wanted.feedrate_mm_s,
        by=call.caller,
    )
    return no_content()


@routes.post("/native/v1/printers/{slug}/targets", needs=Permission.CONTROL)
async def set_targets(call: Call) -> Encoded:
    targets = await call.body(dict[str, float])
    await call.host.steering.set_targets(call.printer, targets, by=call.caller)
    return no_content()


@routes.post("/native/v1/printers/{slug}/stop", needs=Permission.CONTROL)
async def stop(call: Call) -> Encoded:
    """``M112``: nothing is read before it is on its way."""
    await call.host.steering.emergency_stop(call.printer, by=call.caller)
    return no_content()


@routes.post("/native/v1/printers/{slug}/runs", needs=Permission.PRINT)
async def start(call: Call) -> Encoded:
    wanted = await call.body(NewRun)
    run = await call.host.runs.start(call.printer, wanted.path, by=call.caller)
    return created(f"{call.base}/native/v1/runs/{run.id}", view_of_run(call.host, run))


@routes.post("/native/v1/printers/{slug}/run/pause", needs=Permission.PRINT)
async def pause(call: Call) -> Encoded:
    await call.host.runs.pause(call.printer, by=call.caller)
    return _run(call)


@routes.post("/native/v1/printers/{slug}/run/resume", needs=Permission.PRINT)
async def resume(call: Call) -> Encoded:
    await call.host.runs.resume(call.printer, by=call.caller)
    return _run(call)


@routes.post("/native/v1/printers/{slug}/run/cancel", needs=Permission.PRINT)
async def cancel(call: Call) -> Encoded:
    await call.host.runs.cancel(call.printer, by=call.caller)
    return _run(call)


def _run(call: Call) -> Encoded:
    run = call.host.runs.last(call.printer)
    if run is None:
        raise NotFound(f"{call.printer.slug} has printed nothing yet")
    return encoded(view_of_run(call.host, run))


class Answer(msgspec.Struct):
    """Which of the choices of `PrinterView.prompt`, counted from 0."""

    choice: int


@routes.post("/native/v1/printers/{slug}/prompt", needs=Permission.CONTROL)
async def answer_prompt(call: Call) -> Encoded:
    wanted = await call.body(Answer)
    await call.host.prompts.answer(call.printer, wanted.choice, by=call.caller)
    return no_content()


@routes.get("/native/v1/printers/{slug}/console", needs=Permission.LOOK)
async def console(call: Call) -> Encoded:
    lines = call.host.printers.console(call.printer)
    return encoded([ConsoleView(line.at, line.sent, line.text) for line in lines])


@routes.get("/native/v1/printers/{slug}/serial-log", needs=Permission.LOOK)
async def serial_log(call: Call) -> SerialLogView:
    return _serial_log(call)


@routes.put("/native/v1/printers/{slug}/serial-log", needs=Permission.SETTINGS)
async def switch_serial_log(call: Call) -> SerialLogView:
    wanted = await call.body(SerialLogView)
    await call.host.serial_logs.enable(call.printer, wanted.enabled, by=call.caller)
    return _serial_log(call)


def _serial_log(call: Call) -> SerialLogView:
    logs = call.host.serial_logs
    return SerialLogView(logs.enabled(call.printer), logs.path_of(call.printer).name)


@routes.get("/native/v1/printers/{slug}/follow", needs=Permission.LOOK)
async def follow(call: Call) -> Streamed:
    """One `PrinterView` a line: now, after every change (at most four a second), and at least every five seconds."""
    host, printer = call.host, call.printer
    return Streamed(lambda: _changes(host, printer), content_type="application/x-ndjson")


async def _changes(host: Host, printer: Printer) -> AsyncGenerator[bytes, None]:
    told: tuple[object, ...] | None = None
    silent_s = 0.0
    while printer in host.printers.all():
        now = (printer.snapshot, printer.run, printer.selected, host.files.revision)
        if now != told or silent_s >= HEARTBEAT_S:
            yield msgspec.json.encode(view_of_printer(host, printer)) + b"\n"
            told, silent_s = now, 0.0
        await asyncio.sleep(EVERY_S)
        silent_s += EVERY_S


@routes.get("/native/v1/ports", needs=Permission.LOOK)
async def ports(call: Call) -> Encoded:
    return encoded(call.host.printers.ports())
