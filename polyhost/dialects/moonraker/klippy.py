"""``notify_klippy_…``: what clients are told of how a machine is, once for each change.

To a client each of them is a restart: KlipperScreen asks everything anew, Fluidd forgets what it knew of the printer.
So a port that is out of reach and tried again and again is told once, and so is a restart.

Upstream: docs/external_api/jsonrpc_notifications.md; specification, 5.3.
"""

from collections.abc import Iterator
from typing import Final

from polyhost.core.events import PrinterStateChanged
from polyhost.core.printer import PrinterState
from polyhost.dialects.moonraker.resource import Notification

_TOLD: Final = {
    PrinterState.READY: "klippy_ready",
    PrinterState.FAULTED: "klippy_shutdown",
    PrinterState.CONNECTING: "klippy_disconnected",  # also from a machine that had stopped: clients begin anew
    PrinterState.OFFLINE: "klippy_disconnected",
    PrinterState.UNREACHABLE: "klippy_disconnected",
}


class KlippyNews:
    def __init__(self) -> None:
        self._told: dict[str, str] = {}  # by printer, the last

    def of(self, notice: PrinterStateChanged) -> Iterator[Notification]:
        name = _TOLD.get(notice.state)
        if name is not None and self._told.get(notice.printer) != name:
            self._told[notice.printer] = name
            yield Notification(name, printer=notice.printer)
