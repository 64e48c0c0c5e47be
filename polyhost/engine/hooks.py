"""What the host says by itself besides a file: the scripts of a machine, and what it keeps from the wire."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from polyhost.core.events import AtCommandSeen, CommandSuppressed, DriverEvent, ScriptRan
from polyhost.core.handling import Handling, ScriptName
from polyhost.core.placeholders import Values
from polyhost.engine.connection import Connection
from polyhost.engine.conversation import Conversation
from polyhost.engine.messages import MachineSettings
from polyhost.engine.points import both, commands_of, values_at
from polyhost.gcode.vetting import command_in

log = logging.getLogger(__name__)

_NEVER: Final = re.compile(rb"@|M0*(?:[01]|28)(?![\d.])", re.IGNORECASE)
LEAVING_S: Final = 10.0  # for the script before a link is closed


class Holder(Protocol):
    """Who holds the machine."""

    name: str
    settings: MachineSettings
    conversation: Conversation
    connection: Connection
    offsets: dict[str, float]


class Steered(Protocol):
    """A run that goes on."""

    def pause(self, *, quietly: bool = False) -> None: ...

    def resume(self, *, quietly: bool = False) -> None: ...

    def cancel(self) -> None: ...


def steer(run: Steered, action: str) -> None:
    """What an ``//action:`` of the firmware's does to a run; `NotNow` where it takes it nowhere."""
    match action:
        case "pause":
            run.pause()
        case "paused":
            run.pause(quietly=True)
        case "resume":
            run.resume()
        case "resumed":
            run.resume(quietly=True)
        case "cancel":
            run.cancel()
        case _:
            pass


class Hooks:
    """`engine.intake.Owner`, and who says the scripts that belong to the machine."""

    def __init__(self, holder: Holder, publish: Callable[[DriverEvent], None]) -> None:
        self._holder = holder
        self._publish = publish

    @property
    def offsets(self) -> dict[str, float]:
        return self._holder.offsets

    @property
    def handling(self) -> Handling:
        return self._holder.settings.handling

    def values(self) -> Values:
        connection = self._holder.connection
        here = values_at(self._holder.conversation.picture)
        return {**both(here, here), "port": connection.port, "baud": connection.baud}

    def suppressed(self, command: bytes, reason: str) -> None:
        text = command.decode("utf-8", "replace")
        log.info("%s: %s was not sent: %s", self._holder.name, text, reason)
        self._publish(CommandSuppressed(self._holder.name, text, reason))

    def at_command(self, command: bytes) -> None:
        self._publish(AtCommandSeen(self._holder.name, command.decode("utf-8", "replace")))

    def script_ran(self, script: ScriptName, *, finished: bool) -> None:
        self._publish(ScriptRan(self._holder.name, script.value, finished))

    def lines_of(self, script: Iterable[str], values: Values) -> list[bytes]:
        """The commands of `script` that may be sent: none for the host, none that waits for a button or writes to
        the card, none too hot."""
        lines = []
        for line in commands_of(script, values):
            command = command_in(line)
            why = command.beyond(self.handling.profile) if command is not None else ""
            if why or _NEVER.match(line):
                self.suppressed(line, why or "a script of the host's may not say this")
            else:
                lines.append(line)
        return lines

    def say(self, script: ScriptName, lines: Sequence[bytes], then: Callable[[], None] | None = None) -> None:
        """Say the lines of `script`; `then` is called when the last is acknowledged."""

        def done() -> None:
            self.script_ran(script, finished=True)
            if then is not None:
                then()

        if lines:
            self.script_ran(script, finished=False)
            self._holder.conversation.say(lines, done)
        elif then is not None:
            then()

    def greeted(self) -> None:
        """The firmware answers: for the first time, or again."""
        if self._holder.conversation.session.firmware.capabilities.get("PROMPT_SUPPORT"):
            self._holder.conversation.say([b"M876 P1"])  # its questions will be shown to people
        self.say(ScriptName.AFTER_CONNECT, self.lines_of(self.handling.after_connect, self.values()))

    async def before_disconnect(self) -> None:
        """Returns when the machine has taken the script, or is given up on."""
        done = asyncio.Event()
        self.say(ScriptName.BEFORE_DISCONNECT, self.lines_of(self.handling.before_disconnect, self.values()), done.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_S):
                await done.wait()
