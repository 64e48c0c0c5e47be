"""Our states in OctoPrint's words: a text, and flags that clients index without asking."""

from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost.core.job import RunState
from polyhost.core.printer import Cause, PrinterState
from polyhost.services.printer import Printer


class Flags(msgspec.Struct, frozen=True, rename="camel"):
    operational: bool = False
    printing: bool = False
    cancelling: bool = False
    pausing: bool = False
    resuming: bool = False
    finishing: bool = False
    closed_or_error: bool = False
    error: bool = False
    paused: bool = False
    ready: bool = False
    sd_ready: bool = False


class State(msgspec.Struct, frozen=True):
    text: str
    error: str
    flags: Flags


LINK: Final[Mapping[PrinterState, tuple[str, Flags]]] = {
    PrinterState.OFFLINE: ("Offline", Flags(closed_or_error=True)),
    PrinterState.DETECTING: ("Detecting serial connection", Flags()),
    PrinterState.CONNECTING: ("Connecting", Flags()),
    PrinterState.READY: ("Operational", Flags(operational=True, ready=True)),
    PrinterState.UNREACHABLE: ("Offline", Flags(closed_or_error=True)),
    PrinterState.FAULTED: ("Offline after error", Flags(closed_or_error=True, error=True)),
}
"""What the link is; a run in progress says more."""

_CANCELLING: Final = ("Cancelling", Flags(operational=True, printing=True, cancelling=True))
_FINISHING: Final = ("Finishing", Flags(operational=True, printing=True, finishing=True))

RUN: Final[Mapping[RunState, tuple[str, Flags]]] = {
    RunState.STARTING: ("Starting", Flags(operational=True, printing=True)),
    RunState.PRINTING: ("Printing", Flags(operational=True, printing=True)),
    RunState.PAUSING: ("Pausing", Flags(operational=True, printing=True, pausing=True)),
    RunState.PAUSED: ("Paused", Flags(operational=True, paused=True)),
    RunState.RESUMING: ("Resuming", Flags(operational=True, printing=True, resuming=True)),
    RunState.CANCELLING: _CANCELLING,
    RunState.FINISHING: _FINISHING,
    # The end of a run is not told before it is written, which these are about to be.
    RunState.COMPLETED: _FINISHING,
    RunState.CANCELLED: _CANCELLING,
    RunState.FAILED: _CANCELLING,
    RunState.INTERRUPTED: _CANCELLING,
}


FROM_CARD: Final = {RunState.STARTING: "Starting print from SD", RunState.PRINTING: "Printing from SD"}
SENDING: Final = ("Sending file to SD", Flags(operational=True, printing=True))


def text_and_flags(link: PrinterState, run: RunState | None) -> tuple[str, Flags]:
    """Text and flags, but for ``sdReady``; `run` is None when none is going on."""
    return RUN[run] if run is not None and link is PrinterState.READY else LINK[link]


def _of(printer: Printer) -> tuple[str, Flags]:
    state = printer.run_state
    if printer.transfer is not None:
        return SENDING
    text, flags = text_and_flags(printer.snapshot.state, state)
    if state in FROM_CARD and printer.is_operational and printer.run is not None and printer.run.on_card:
        text = FROM_CARD[state]
    return text, flags


def text_of(printer: Printer) -> str:
    return _of(printer)[0]


def state_of(printer: Printer) -> State:
    snapshot = printer.snapshot
    text, flags = _of(printer)
    if snapshot.sd_ready and printer.is_operational:
        flags = msgspec.structs.replace(flags, sd_ready=True)
    return State(text, snapshot.fault, flags)


def fault_words(state: PrinterState, cause: Cause | None) -> tuple[str, str]:
    """``reason`` and ``consequence`` of an error."""
    match cause:
        case Cause.EMERGENCY:
            return "firmware", "emergency"
        case None:
            return "connection" if state is PrinterState.UNREACHABLE else "firmware", "disconnect"
        case _:
            return cause.value, "disconnect"
