"""How a machine is to be treated by whoever holds it, with or without a server."""

from enum import Enum

import msgspec

from polyhost.core.printer import PrinterProfile


class OnError(Enum):
    """What an ``Error:`` of the firmware's that is no request to send again leads to."""

    DISCONNECT = "disconnect"  # stop everything, a person reconnects
    CANCEL = "cancel"  # end the run, keep the link
    IGNORE = "ignore"  # only tell


class ScriptName(Enum):
    """When the host says something of its own, by the names that owners know from their configurations."""

    AFTER_CONNECT = "afterPrinterConnected"
    BEFORE_DISCONNECT = "beforePrinterDisconnected"
    BEFORE_START = "beforePrintStarted"
    AFTER_CANCEL = "afterPrintCancelled"
    AFTER_DONE = "afterPrintDone"
    AFTER_PAUSE = "afterPrintPaused"
    BEFORE_RESUME = "beforePrintResumed"
    BEFORE_TOOL_CHANGE = "beforeToolChange"
    AFTER_TOOL_CHANGE = "afterToolChange"


class Handling(msgspec.Struct, frozen=True):
    """The shape and limits of a machine, and what its owner wants done with it.

    Scripts are rendered commands, with placeholders (`core.placeholders`); those of a tool change may have ``{old}``
    and ``{new}``, the numbers of the tools.
    """

    profile: PrinterProfile = PrinterProfile()
    after_connect: tuple[str, ...] = ()
    before_disconnect: tuple[str, ...] = ()
    before_tool_change: tuple[str, ...] = ()
    after_tool_change: tuple[str, ...] = ()
    on_error: OnError = OnError.DISCONNECT
    card: bool = True  # whether the machine's own card is used
    position_on_pause: bool = True  # whether a pause asks the firmware where it is
    position_on_cancel: bool = False  # whether a cancel does, which then waits for the moves under way
