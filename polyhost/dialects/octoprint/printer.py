"""``/api/printer``: what the machine says about itself.  Commands to it are in `control`.

Upstream: OctoPrint 1.11, docs/api/printer.rst.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.errors import NotNow
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import check_operational
from polyhost.dialects.octoprint.states import State, fault_words, state_of
from polyhost.dialects.octoprint.temperatures import History, Reading, history_of, readings_of
from polyhost.services.printer import Printer
from polyhost.web.answers import Encoded, encoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()

DEFAULT_HISTORY: Final = 300
MOST_HISTORY: Final = 10_000

Temperatures = dict[str, Reading | list[History]]
"""By heater, and the ``history`` of all of them when it was asked for."""


class Sd(msgspec.Struct):
    ready: bool


class PrinterAnswer(msgspec.Struct):
    temperature: Temperatures | UnsetType = UNSET
    sd: Sd | UnsetType = UNSET
    state: State | UnsetType = UNSET


class Fault(msgspec.Struct):
    error: str = ""
    reason: str = ""
    consequence: str | UnsetType = UNSET


@routes.get("/api/printer", needs=Permission.LOOK)
async def printer_state(call: Call) -> Encoded:
    printer = call.printer
    check_operational(printer)
    if call.scope["query_string"]:
        return encoded(_state(call, printer))
    offsets = call.host.printers.offsets(printer)
    return call.latest.get(
        ("octoprint printer", printer.slug),
        (printer.snapshot, printer.run_state, printer.profile, printer.uses_card, offsets),
        lambda: encoded(_state(call, printer)),
    )


def _state(call: Call, printer: Printer) -> PrinterAnswer:
    without = {name.strip() for name in call.query.get("exclude", "").split(",")}
    return PrinterAnswer(
        UNSET if "temperature" in without else _temperatures(call, printer, None),
        UNSET if "sd" in without or not printer.uses_card else Sd(printer.snapshot.sd_ready),
        UNSET if "state" in without else state_of(printer),
    )


def _temperatures(call: Call, printer: Printer, kind: str | None) -> Temperatures:
    """Of heaters whose name starts with `kind` (None: all), with their history if the URL says so."""
    printers = call.host.printers
    now = readings_of(printer.snapshot.heaters, printers.offsets(printer), printer.profile)
    answer: Temperatures = {name: reading for name, reading in now.items() if kind is None or name.startswith(kind)}
    if call.flag("history"):
        limit = call.number("limit", DEFAULT_HISTORY, most=MOST_HISTORY) or MOST_HISTORY  # upstream's 0 is no limit
        names = None if kind is None else list(answer)
        answer["history"] = history_of(printers.temperatures(printer, limit), names, printer.profile)
    return answer


def _heaters(call: Call, kind: str) -> Encoded:
    printer = call.printer
    check_operational(printer)
    if not any(name.startswith(kind) for name in printer.profile.heaters()):
        raise NotNow(f"Printer does not have a {kind}")
    return encoded(_temperatures(call, printer, kind))


@routes.get("/api/printer/tool", needs=Permission.LOOK)
async def tool(call: Call) -> Encoded:
    return _heaters(call, "tool")


@routes.get("/api/printer/bed", needs=Permission.LOOK)
async def bed(call: Call) -> Encoded:
    return _heaters(call, "bed")


@routes.get("/api/printer/chamber", needs=Permission.LOOK)
async def chamber(call: Call) -> Encoded:
    return _heaters(call, "chamber")


@routes.get("/api/printer/sd", open_door=True)
async def sd(call: Call) -> Sd:
    """One bit, and open as it was in the API's first version."""
    call.host.cards.check_used(call.printer)
    return Sd(call.printer.snapshot.sd_ready and call.printer.is_operational)


@routes.get("/api/printer/error", needs=Permission.LOOK)
async def error(call: Call) -> Fault:
    snapshot = call.printer.snapshot
    return Fault(snapshot.fault, *fault_words(snapshot.state, snapshot.cause)) if snapshot.fault else Fault()
