"""What a firmware asks of people by ``//action:`` lines: questions with choices, notices, and to begin a print.

Facts are those of Marlin's host prompts: ``prompt_begin TEXT``, ``prompt_choice`` or ``prompt_button LABEL`` for each
choice, ``prompt_show``, ``prompt_end``; the answer is ``M876 S`` with the number of the choice, counted from 0.  All of
it is text of a machine: data, never markup, and bounded.
"""

import logging
import unicodedata
from collections import deque
from typing import Final

import msgspec

from polyhost.core.errors import Malformed, NotNow, PolyhostError
from polyhost.core.events import (
    FirmwareNotified,
    HostActionRequested,
    NotificationsCleared,
    PrinterRemoved,
    PrinterStateChanged,
    PromptClosed,
    PromptShown,
)
from polyhost.core.ports import Clock
from polyhost.core.printer import PrinterState
from polyhost.core.user import Caller, Permission, Role
from polyhost.services.bus import Bus
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.runs import Runs
from polyhost.services.steering import Steering

log = logging.getLogger(__name__)

MAX_TEXT: Final = 512
MAX_CHOICES: Final = 32
MAX_NOTIFICATIONS: Final = 100
AT_THE_PRINTER: Final = Caller("the printer", Role.OPERATOR)
"""Whoever pressed a button on the machine: as near to it as nobody else is."""


class Prompt(msgspec.Struct, frozen=True):
    """A question; `shown` once the firmware has said all of it."""

    text: str
    choices: tuple[str, ...] = ()
    shown: bool = False


class Notification(msgspec.Struct, frozen=True):
    at: float  # seconds since the epoch
    text: str


class Prompts:
    def __init__(self, printers: Printers, steering: Steering, runs: Runs, bus: Bus, clock: Clock) -> None:
        self._printers = printers
        self._steering = steering
        self._runs = runs
        self._bus = bus
        self._clock = clock
        self._prompts: dict[str, Prompt] = {}
        self._notifications: dict[str, deque[Notification]] = {}

    async def run(self) -> None:
        with self._bus.listen(HostActionRequested, PrinterStateChanged, PrinterRemoved, bound=1024) as listener:
            async for notice in listener:
                match notice:
                    case HostActionRequested(printer, action, text):
                        await self._heed(printer, action, plain_text(text))
                    case PrinterStateChanged(printer, state) if state is not PrinterState.READY:
                        self._close(printer)
                        self._clear(printer)
                    case PrinterRemoved(printer):
                        self._prompts.pop(printer, None)
                        self._notifications.pop(printer, None)
                    case _:
                        pass

    # What people see and say

    def open_prompt(self, p: Printer) -> Prompt | None:
        """The question that waits for an answer."""
        prompt = self._prompts.get(p.slug)
        return prompt if prompt is not None and prompt.shown else None

    async def answer(self, p: Printer, choice: int, by: Caller) -> None:
        """Tell the firmware which of the choices it is; `NotNow` when it asks nothing."""
        by.require(Permission.CONTROL, p.slug)
        prompt = self.open_prompt(p)
        if prompt is None:
            raise NotNow(f"{p.slug} asks nothing now")
        if not 0 <= choice < len(prompt.choices):
            raise Malformed(f"{choice} is no choice; they are 0 to {len(prompt.choices) - 1}")
        self._close(p.slug)
        await self._steering.send(p, [f"M876 S{choice}"], by)

    def notifications(self, p: Printer) -> tuple[Notification, ...]:
        """The oldest first."""
        return tuple(self._notifications.get(p.slug, ()))

    def clear(self, p: Printer, by: Caller) -> None:
        by.require(Permission.CONTROL, p.slug)
        self._clear(p.slug)

    # What the firmware says

    async def _heed(self, printer: str, action: str, text: str) -> None:
        prompt = self._prompts.get(printer)
        match action:
            case "prompt_begin" if prompt is None or not prompt.shown:
                self._prompts[printer] = Prompt(text)
            case "prompt_choice" | "prompt_button" if prompt is not None and not prompt.shown:
                if len(prompt.choices) < MAX_CHOICES:
                    self._prompts[printer] = msgspec.structs.replace(prompt, choices=(*prompt.choices, text))
            case "prompt_show" if prompt is not None and not prompt.shown:
                self._prompts[printer] = msgspec.structs.replace(prompt, shown=True)
                self._bus.publish(PromptShown(printer, prompt.text, prompt.choices))
            case "prompt_end":
                self._close(printer)
            case "notification":
                self._notifications.setdefault(printer, deque(maxlen=MAX_NOTIFICATIONS)).append(
                    Notification(self._clock.now(), text)
                )
                self._bus.publish(FirmwareNotified(printer, text))
            case "start":
                await self._start(printer)
            case "shutdown":
                log.info("%s asks to shut this computer down, which no printer may", printer)
            case _:
                pass

    async def _start(self, printer: str) -> None:
        """Somebody at the machine wants the chosen file printed."""
        try:
            await self._runs.start(self._printers.get(printer), None, AT_THE_PRINTER)
        except PolyhostError as error:
            log.info("%s asks for a print, which does not begin: %s", printer, error)

    def _close(self, printer: str) -> None:
        prompt = self._prompts.pop(printer, None)
        if prompt is not None and prompt.shown:
            self._bus.publish(PromptClosed(printer))

    def _clear(self, printer: str) -> None:
        if self._notifications.pop(printer, None):
            self._bus.publish(NotificationsCleared(printer))


def plain_text(text: str) -> str:
    """`text` on one line, without characters that steer a terminal, at most `MAX_TEXT` of them."""
    return "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text[:MAX_TEXT]).strip()
