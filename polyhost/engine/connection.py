"""One machine's link: opened when it is wanted, its rate found, opened again when it was lost.

Nothing is sent here and nothing starts by itself (R10): an open link gets its conversation from the `Owner`.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import serial

from polyhost.core.errors import LinkLost, NotFound, NotNow, PolyhostError
from polyhost.core.ports import Clock
from polyhost.core.printer import Cause, PrinterSignal, PrinterState, advance_printer
from polyhost.engine import messages
from polyhost.engine.links import Link, SerialPort, SimulatedPort
from polyhost.engine.ports import Port, open_serial, port_for, ports
from polyhost.firmware.marlin import simulator

log = logging.getLogger(__name__)

RATES: Final = (115200, 250000, 57600, 500000, 1000000)
FIRST_RATE_S: Final = 6.0  # the board may boot: opening the port has reset it
NEXT_RATE_S: Final = 4.0  # it has booted, and is left in peace for half of that
GREETING_S: Final = 30.0  # for a rate that is known
PAUSES_S: Final = (0.5, 1.0, 2.0, 3.0, 5.0)  # between attempts; the last again and again
OPEN_S: Final = 10.0


class Talk(Protocol):
    """What is said on the link."""

    def begin(self, link: Link) -> None:
        """Start from the beginning; `Connection.greeted` is to be called when the firmware answers."""

    def heard(self, data: bytes) -> None: ...


class Owner(Protocol):
    """Who holds the machine."""

    def link_lost(self, reason: str) -> None:
        """The link is gone; whatever depended on it has ended."""

    def state_changed(self) -> None: ...


class Connection:
    """`state`, `fault`, `cause`, `port`, `baud` and `identity` are what others may know; `link` is None when closed."""

    def __init__(
        self,
        name: str,
        settings: messages.Link,
        talk: Talk,
        owner: Owner,
        clock: Clock,
        *,
        identity: str = "",
        present: Callable[[], Sequence[Port]] = ports,
    ) -> None:
        self.settings = settings
        self.state = PrinterState.OFFLINE
        self.fault = ""
        self.cause: Cause | None = None
        self.port = ""
        self.baud = 0
        self.identity = identity
        self.wanted = False
        self.link: Link | None = None
        self._name = name
        self._talk = talk
        self._owner = owner
        self._clock = clock
        self._present = present
        self._opening = asyncio.Lock()
        self._work = asyncio.Event()  # wanted, or open
        self._nudge = asyncio.Event()  # a person acted: do not wait any longer
        self._closed = asyncio.Event()
        self._settled: asyncio.Future[bool] | None = None
        self._outage = ""
        self._simulated: tuple[messages.VirtualLink, simulator.Simulator] | None = None  # outlives its link

    def want(self) -> None:
        """Keep the link open from now on."""
        self.wanted = True
        self._work.set()

    async def run(self) -> None:
        """Keep the link as it is wanted, until cancelled."""
        failures = 0
        try:
            while True:
                await self._work.wait()
                if self.link is None:
                    try:
                        await self._open()
                    except PolyhostError as error:
                        self._unreachable(str(error))
                if self.link is not None:
                    closed = self._closed  # of this link: a person may be quicker, and another one open by then
                    if await self._greet():
                        failures = 0
                    await closed.wait()
                if self.link is not None:
                    continue  # a person was quicker
                if not self.wanted:
                    self._work.clear()
                    continue
                self._nudge.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PAUSES_S[min(failures, len(PAUSES_S) - 1)]):
                        await self._nudge.wait()
                failures += 1
        finally:
            self.close("the engine ends")

    async def connect(self, port: str, baud: int) -> None:
        """Open the link now, as a person asks; raises what keeps it from opening.  An open link is opened anew."""
        if isinstance(self.settings, messages.SerialLink):
            self.settings = self._asked(self.settings, port, baud)
        if self.link is not None:
            self.close("a person connects anew")
        await self._open()
        self.want()
        self._nudge.set()

    def _asked(self, settings: messages.SerialLink, port: str, baud: int) -> messages.SerialLink:
        if not port or os.path.realpath(port) == os.path.realpath(settings.port):
            return messages.SerialLink(settings.port, baud or settings.baud, settings.serial_number)
        self.identity = ""  # a person means another device
        return messages.SerialLink(port, baud)

    def disconnect(self) -> None:
        """Close the link, and leave it closed."""
        self.wanted = False
        self.close("a person disconnected")
        self._outage = ""
        self._signal(PrinterSignal.DISCONNECT)

    def greeted(self) -> None:
        """The firmware answers."""
        if self._outage:
            log.info("%s: back on %s", self._name, self.port)
            self._outage = ""
        if self.state is PrinterState.DETECTING:
            self._signal(PrinterSignal.CONNECT)
        self._signal(PrinterSignal.GREETED)
        self._settle(True)

    def give_up(self, reason: str, cause: Cause) -> None:
        """The conversation is dead: the link is closed, and opened anew if it is wanted."""
        if self.state is PrinterState.DETECTING and self._settled is not None and not self._settled.done():
            self._settle(False)  # not at this rate
        else:
            self.close(reason)
            self._unreachable(reason, cause)

    def faulted(self, reason: str, cause: Cause) -> None:
        """The firmware stopped.  The port stays open, to hear what it says; a person connects anew."""
        self.wanted = False
        self._signal(PrinterSignal.FAULT, reason, cause)
        self._settle(False)

    def close(self, reason: str) -> None:
        if self.link is None:
            return
        link, self.link = self.link, None
        link.close()
        self._closed.set()
        self._settle(False)
        self._owner.link_lost(reason)

    async def _open(self) -> None:
        async with self._opening:
            if self.link is not None:
                return
            link = await self._opened()
            self._closed = asyncio.Event()
            self.link = link
            self._work.set()
            detecting = isinstance(self.settings, messages.SerialLink) and not self.settings.baud
            self._signal(PrinterSignal.DETECT if detecting else PrinterSignal.CONNECT)

    async def _opened(self) -> Link:
        settings = self.settings
        if isinstance(settings, messages.VirtualLink):
            if self._simulated is None or self._simulated[0] != settings:
                machine = simulator.Machine(tools=settings.tools, heated_chamber=settings.heated_chamber)
                self._simulated = settings, simulator.Simulator(machine, speed=settings.speed, seed=settings.seed)
            self.port, self.baud = "VIRTUAL", 0
            return SimulatedPort(self._simulated[1], self._clock.monotonic)
        path, identity = await asyncio.to_thread(port_for, settings, self.identity, self._present)
        baud = settings.baud or RATES[0]
        opening = asyncio.get_running_loop().run_in_executor(None, open_serial, path, baud)
        try:
            async with asyncio.timeout(OPEN_S):
                port = await asyncio.shield(opening)
        except TimeoutError:
            opening.add_done_callback(_close_unused)
            raise LinkLost(f"port {path} does not open: the driver hangs; plug the device in anew") from None
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise
        self.port, self.baud, self.identity = path, baud, identity or self.identity
        return SerialPort(port)

    def misbehave(self, fault: str, argument: float) -> None:
        """Have a virtual printer show one of its faults; `NotNow` without one, `NotFound` for what is none."""
        if not isinstance(self.link, SimulatedPort):
            raise NotNow(f"{self._name} is no connected virtual printer")
        try:
            self.link.misbehave(simulator.Fault(fault), argument)
        except ValueError:
            known = ", ".join(known.value for known in simulator.Fault)
            raise NotFound(f"no fault {fault}; there are {known}") from None

    async def _greet(self) -> bool:
        """Wait until the firmware answers, at the rate that is set or at one of `RATES`; False when the link closed."""
        link = self.link
        if link is None:
            return False
        detecting = self.state is PrinterState.DETECTING
        link.attach(self._talk.heard, self._lost)
        for rate in RATES if detecting else (self.baud,):
            if detecting and rate != self.baud:
                link.set_baud(rate)
                self.baud = rate
            settled = self._settled = asyncio.get_running_loop().create_future()
            self._talk.begin(link)
            wait_s = GREETING_S if not detecting else FIRST_RATE_S if rate == RATES[0] else NEXT_RATE_S
            await asyncio.wait([settled], timeout=wait_s)
            if settled.done() and settled.result():
                return True
            if self.link is not link or self.state is PrinterState.FAULTED:
                return False
        tried = ", ".join(map(str, RATES)) if detecting else str(self.baud)
        at = f" at {tried} baud" if self.baud else ""
        self._settled = None
        self.close("no answer")
        self._unreachable(f"no firmware answers on {self.port}{at}")
        return False

    def _lost(self, reason: str) -> None:
        """The link closed itself."""
        self.close(reason)
        self._unreachable(reason)

    def _unreachable(self, reason: str, cause: Cause = Cause.CONNECTION) -> None:
        if reason and not self._outage and self.wanted:
            log.warning("%s: %s", self._name, reason)
            self._outage = reason
        self._signal(PrinterSignal.LINK_LOST, reason, cause)

    def _settle(self, greeted: bool) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(greeted)

    def _signal(self, signal: PrinterSignal, fault: str = "", cause: Cause | None = None) -> None:
        before = (self.state, self.fault)
        try:
            self.state = advance_printer(self.state, signal)
        except NotNow:
            return  # an offline printer that is disconnected, a lost link that is lost
        if self.state is not PrinterState.FAULTED or signal is PrinterSignal.FAULT:
            self.fault, self.cause = fault, cause
        if before != (self.state, self.fault):
            self._owner.state_changed()


def _close_unused(opening: asyncio.Future[serial.Serial]) -> None:
    """A port that opened when nobody waited for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
