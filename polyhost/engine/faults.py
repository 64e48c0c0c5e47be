"""What an ``Error:`` of the firmware's leads to: nothing, the end of the run, or the end of the conversation.

An error about heat and a firmware that has halted end everything, whatever the owner prefers: nobody may print on
after them (reliability, R9).  Errors of the card and of the settings are told and no more.  The rest is as the owner
wants it (`core.handling.OnError`).  What none of our tables knows may be a damaged line: on a link that was seen to
damage lines it is told and no more, and it is acted on only after a moment in which that would have shown.
"""

import asyncio
from typing import Final, Protocol

from polyhost.core.events import DriverEvent, FirmwareSpoke
from polyhost.core.handling import OnError
from polyhost.core.printer import Cause
from polyhost.engine.connection import Connection
from polyhost.engine.conversation import Conversation
from polyhost.engine.messages import MachineSettings
from polyhost.firmware.marlin.replies import ErrorKind, FirmwareError

CONFIRM_S: Final = 1.0  # a firmware that refuses a damaged line asks for it again at once


class Holder(Protocol):
    """Who holds the machine."""

    name: str
    settings: MachineSettings
    conversation: Conversation
    connection: Connection

    def say_event(self, event: DriverEvent) -> None: ...

    def stop_for(self, reason: str, cause: Cause) -> None:
        """The conversation is over, and so is the run."""

    def break_run(self, reason: str) -> None:
        """The run is over, and the heaters go off."""


class Faults:
    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def hear(self, error: FirmwareError) -> None:
        holder = self._holder
        match error.kind:
            case ErrorKind.THERMAL:
                if holder.connection.link is not None:
                    holder.connection.link.write_first(b"M112\n")  # should it go on heating in spite of it
                self._tell(error.text, "emergency", fault=True)
                holder.stop_for(f"the firmware stopped: {error.text}", Cause.EMERGENCY)
            case ErrorKind.HALTED:
                self._stop(error.text)
            case ErrorKind.CARD | ErrorKind.SETTINGS:
                self._tell(error.text)
            case ErrorKind.MOTION | ErrorKind.OTHER if error.fatal:
                self._decide(error.text)
            case ErrorKind.MOTION | ErrorKind.OTHER:
                session = holder.conversation.session

                def judge() -> None:
                    if holder.conversation.session is session and not (session.damaged or session.resends):
                        self._decide(error.text)
                    else:
                        self._tell(error.text)

                asyncio.get_running_loop().call_later(CONFIRM_S, judge)

    def _decide(self, text: str) -> None:
        match self._holder.settings.handling.on_error:
            case OnError.DISCONNECT:
                self._stop(text)
            case OnError.CANCEL:
                self._tell(text, "cancel")
                self._holder.break_run(f"the firmware reports: {text}")
            case OnError.IGNORE:
                self._tell(text)

    def _stop(self, text: str) -> None:
        self._tell(text, "disconnect", fault=True)
        self._holder.stop_for(f"the firmware stopped: {text}", Cause.FIRMWARE)

    def _tell(self, text: str, consequence: str = "", *, fault: bool = False) -> None:
        self._holder.say_event(FirmwareSpoke(self._holder.name, text, fault=fault, consequence=consequence))
