"""What a command of Klipper's is here, and what its handler may do."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from polyhost.core.errors import Malformed
from polyhost.core.user import Caller
from polyhost.dialects.moonraker.gcode.grammar import Parameters
from polyhost.dialects.moonraker.objects.synthesised import Synthesised
from polyhost.gcode.modal import ModalState
from polyhost.services.host import Host
from polyhost.services.printer import Printer

_HOMES: Final = re.compile(r"G\s*0*28(?!\d)", re.IGNORECASE)


@dataclass(slots=True)
class Doing:
    """A script that is carried out.

    `shown` is what clients see of the printer, `modes` are those of the machine once it has done what was read so far.
    """

    host: Host
    p: Printer
    by: Caller
    say: Callable[[str], None]
    shown: Synthesised
    modes: ModalState

    def read(self, lines: Sequence[str]) -> None:
        """`lines` will be sent next."""
        self.modes.advance(line.encode() for line in lines)
        if any(_HOMES.match(line) for line in lines):
            self.modes.homed = ""  # where its endstops are is the machine's own knowledge, until it says so

    async def ask(self, *lines: str) -> tuple[str, ...]:
        """What the machine said to these lines until it had done them."""
        return await self.host.terminal.send(self.p, lines, self.by, until_done=True)

    def remark(self, text: str) -> None:
        """Tell everybody who looks at the console."""
        self.say("\n".join(f"// {line}" for line in text.split("\n")))


Lines = Sequence[str]
"""Lines of Marlin."""


@dataclass(frozen=True, slots=True)
class Between:
    """Lines that depend on those before them, with which they are sent together."""

    lines: Callable[[Doing], Lines]


Do = Callable[[Doing], Awaitable[None]]
Step = Lines | Between | Do
Handle = Callable[[Parameters, Printer], Step]
"""Judges a command, before anything of its script is sent: `Malformed` says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its `help` as clients show it, and in `marlin` for people what becomes of it.

    `needs` is what ``M115`` must not have denied.  One that is not `listed` works where the machine knows it, which
    nobody can say beforehand; clients would show buttons for it.
    """

    name: str
    help: str
    marlin: str
    handle: Handle
    needs: str = ""
    listed: bool = True

    def missing(self, p: Printer) -> bool:
        """Whether the firmware says of itself that it has not what it takes."""
        capabilities = p.snapshot.firmware.capabilities
        return bool(self.needs and capabilities) and not capabilities.get(self.needs, False)


class Table:
    """The commands of one module."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def command(
        self, *names: str, help: str, marlin: str, needs: str = "", listed: bool = True
    ) -> Callable[[Handle], Handle]:
        """The decorated function handles the command of these names."""

        def added(handle: Handle) -> Handle:
            self.entries += (Entry(name, help, marlin, handle, needs, listed) for name in names)
            return handle

        return added


def choice(said: Parameters, name: str, choices: Sequence[str], default: str | None = None) -> str:
    """One of `choices`, in whatever case it was written."""
    value = said.text(name, default).strip()
    for one in choices:
        if one.lower() == value.lower():
            return one
    raise Malformed(f"The value '{value[:64]}' is not valid for {name}; there are {', '.join(choices)}")


MM: Final = 10_000.0
"""No way of a machine is longer."""
