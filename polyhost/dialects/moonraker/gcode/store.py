"""The last things said at a printer's console, and who is told of them.

What machines say comes in batches, and goes out as one message for each; lines that were sent to a machine, its
``ok`` and the temperatures that the host asks for are no news to anybody.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import msgspec

from polyhost.core.events import ConsoleLine, ConsoleLines, PrinterRemoved, PromptClosed, PromptShown
from polyhost.dialects.moonraker.connections import Connections
from polyhost.dialects.moonraker.resource import Notification
from polyhost.services.host import Host

KEPT: Final = 1000
MAX_KEPT: Final = 1 << 20  # characters of all entries of one printer
MAX_MESSAGE: Final = 16 << 10  # characters of one entry
COMMAND: Final = "command"
RESPONSE: Final = "response"

_NOISE: Final = re.compile(
    r"ok\b|wait$|busy:|echo:\s*busy|(?:[TBCRPLM]\d?|W):\s*-?[\d.?]|start$|SD printing byte|Not SD printing"
    r"|Resend:|rs \d|//\s*action:prompt_"
)
_UNKNOWN: Final = re.compile(r'(?:echo:\s*)?Unknown command:\s*"?([^\s"]+).*', re.IGNORECASE)
_ERROR: Final = re.compile(r"Error:\s*", re.IGNORECASE)


class Said(msgspec.Struct):
    """One entry, as clients of today have it."""

    message: str
    time: float
    type: str


class EarlySaid(msgspec.Struct):
    message: str
    time: float


class GcodeStore:
    """The console of every printer.  `run` hears the machines."""

    def __init__(self, host: Host, connections: Connections) -> None:
        self._host = host
        self._connections = connections
        self._said: dict[str, deque[Said]] = {}
        self._sizes: dict[str, int] = {}

    async def run(self) -> None:
        kinds = (ConsoleLines, PromptShown, PromptClosed, PrinterRemoved)
        with self._host.bus.listen(*kinds, bound=1024) as listener:
            async for notice in listener:
                match notice:
                    case ConsoleLines(printer, lines):
                        self._told(printer, messages_of(lines))
                    case PromptShown(printer, text, choices):
                        self._told(printer, [(self._host.clock.now(), line) for line in prompt_lines(text, choices)])
                    case PromptClosed(printer):
                        self._told(printer, [(self._host.clock.now(), "// action:prompt_end")])
                    case PrinterRemoved(printer):
                        self._said.pop(printer, None)
                        self._sizes.pop(printer, None)
                    case _:
                        pass

    def entries(self, printer: str) -> list[Said]:
        """The oldest first."""
        return list(self._said.get(printer, ()))

    def commanded(self, printer: str, script: str) -> None:
        """A client sent this."""
        if script.strip():
            self._keep(printer, Said(script[:MAX_MESSAGE], self._host.clock.now(), COMMAND))

    def say(self, printer: str, text: str) -> None:
        """The host itself says something at the console."""
        self._told(printer, [(self._host.clock.now(), text)])

    def _told(self, printer: str, messages: Iterable[tuple[float, str]]) -> None:
        told = []
        for at, message in messages:
            self._keep(printer, Said(message[:MAX_MESSAGE], at, RESPONSE))
            told.append(Notification("gcode_response", (message,), printer))
        if told:
            self._connections.tell(told)

    def _keep(self, printer: str, said: Said) -> None:
        kept = self._said.setdefault(printer, deque())
        kept.append(said)
        size = self._sizes.get(printer, 0) + len(said.message)
        while len(kept) > KEPT or size > MAX_KEPT:
            size -= len(kept.popleft().message)
        self._sizes[printer] = size


def is_noise(text: str) -> bool:
    """Whether machines say this all the time."""
    return _NOISE.match(text.strip()) is not None


def messages_of(lines: Iterable[ConsoleLine]) -> Iterator[tuple[float, str]]:
    """When, and what: lines of one batch are one message, but errors and what clients act on stand alone."""
    heard = (
        (line.at, _in_klipper_s_words(text))
        for line in lines
        if not line.sent and (text := line.text.strip()) and _NOISE.match(text) is None
    )
    for alone, group in groupby(heard, lambda one: one[1].startswith(("!!", "//"))):
        if alone:
            yield from group
        else:
            together = list(group)
            yield together[0][0], "\n".join(text for _, text in together)


def _in_klipper_s_words(text: str) -> str:
    if (unknown := _UNKNOWN.fullmatch(text)) is not None:
        return f'// Unknown command:"{unknown[1]}"'
    return _ERROR.sub("!! ", text, count=1) if text[:6].lower() == "error:" else text


def prompt_lines(text: str, choices: tuple[str, ...]) -> list[str]:
    """A question of the firmware's as Klipper's macros ask theirs; each button answers with the choice's number."""
    buttons = [f"// action:prompt_button {choice.replace('|', '/')}|M876 S{n}" for n, choice in enumerate(choices)]
    words = [] if choices else [f"// action:prompt_text {text}"]  # a question without content is not shown
    return [f"// action:prompt_begin {text}", *words, *buttons, "// action:prompt_show"]
