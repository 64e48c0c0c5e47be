"""The printers of this host: which there are, how each is reached, and what its driver says."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from polyhost import config
from polyhost.core.errors import LinkLost, Malformed, NotFound, NotNow, PolyhostError
from polyhost.core.events import (
    ConsoleLine,
    ConsoleLines,
    DriverEvent,
    PreferencesChanged,
    PrinterAdded,
    PrinterRemoved,
    PrinterStateChanged,
    RunStateChanged,
    SdFilesListed,
)
from polyhost.core.handling import Handling
from polyhost.core.job import DEFAULT_PROFILE
from polyhost.core.ports import Clock, Driver, LinkSettings
from polyhost.core.printer import Snapshot, TemperatureSample
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.history import SAMPLES
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer
from polyhost.services.profiles import ProfileBook
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)

MAX_PRINTERS: Final = 500
RETRY_S: Final = 2.0


class Port(msgspec.Struct, frozen=True):
    """A serial port of this computer; `stable_path` names the device whatever it is plugged into."""

    path: str
    stable_path: str
    description: str = ""
    serial_number: str = ""


class PrinterRecords(Protocol):
    def load_printers(self) -> list[config.Printer]: ...

    async def keep_printer(self, settings: config.Printer) -> None: ...

    async def drop_printer(self, slug: str) -> None: ...


class RunListener(Protocol):
    """Who follows the runs of the printers."""

    def moved(self, snapshot: Snapshot) -> None:
        """A new snapshot; returns at once."""

    def heard(self, event: DriverEvent) -> bool:
        """An event; True when it will be announced by whoever heard it, once it is written."""


class Treating(Protocol):
    """Who knows how a machine is to be treated."""

    async def handling_of(self, p: Printer) -> Handling: ...


class Printers:
    """Printers named in the settings first, then those added by a person, in that order."""

    def __init__(
        self,
        named: Iterable[config.Printer],
        records: PrinterRecords,
        preferences: Preferences,
        bus: Bus,
        clock: Clock,
        driver_for: Callable[[config.Printer], Driver],
        ports: Callable[[], list[Port]],
    ) -> None:
        self.runs: RunListener | None = None
        self.treatment: Treating | None = None
        self.changing = asyncio.Lock()  # held by whoever changes which printers or profiles there are
        self._records = records
        self._preferences = preferences
        self._bus = bus
        self._clock = clock
        self._driver_for = driver_for
        self._ports = ports
        self._printers: dict[str, Printer] = {}
        self._group: asyncio.TaskGroup | None = None
        self._keepers: dict[str, asyncio.Task[None]] = {}
        for settings in named:
            self._printers[settings.slug] = Printer(settings, driver_for(settings), locked=True)
        for settings in records.load_printers():
            if settings.slug in self._printers:
                log.warning("%s: the settings file replaces the printer of that name", settings.slug)
            else:
                self._printers[settings.slug] = Printer(settings, driver_for(settings), locked=False)
        for printer in self._printers.values():
            printer.book = preferences.get(ProfileBook, printer.slug)

    async def run(self) -> None:
        """Keep every printer's driver going until cancelled; the machines print on."""
        async with asyncio.TaskGroup() as self._group:
            for printer in self.all():
                await self.configure(printer)
                self._keep(printer)
            await asyncio.Event().wait()

    # Looking

    def all(self) -> list[Printer]:
        return list(self._printers.values())

    def get(self, slug: str) -> Printer:
        try:
            return self._printers[slug]
        except KeyError:
            there = ", ".join(self._printers) or "none yet"
            raise NotFound(f"no printer {slug!r}; there are: {there}") from None

    def find(self, slug: str) -> Printer | None:
        """The same for who can do without: a printer of the history may be gone."""
        return self._printers.get(slug)

    def default(self) -> Printer:
        """The one that is meant when none is named."""
        for printer in self._printers.values():
            return printer
        raise NotFound("there is no printer yet; add one first")

    def ports(self) -> list[Port]:
        return self._ports()

    def offsets(self, p: Printer) -> dict[str, float]:
        return {heater: p.snapshot.offsets.get(heater, 0.0) for heater in p.profile.heaters()}

    def temperatures(self, p: Printer, limit: int = SAMPLES) -> Sequence[TemperatureSample]:
        """The last `limit` samples of half an hour, the newest last."""
        return p.temperatures.samples(limit)

    def console(self, p: Printer) -> Sequence[ConsoleLine]:
        return p.console.lines()

    # Which printers there are

    async def add(self, settings: config.Printer, by: Caller) -> Printer:
        """A new printer; `NotNow` when its slug or its port is taken."""
        by.require(Permission.SETTINGS)
        config.check_printer(settings)

        async def add() -> Printer:
            async with self.changing:
                if settings.slug in self._printers:
                    raise NotNow(f"there is a printer {settings.slug!r} already")
                others = (printer.settings for printer in self._printers.values())
                if other := config.on_the_port_of(settings, others):
                    raise NotNow(f"port {settings.port} is that of the printer {other.slug!r} already")
                if len(self._printers) >= MAX_PRINTERS:
                    raise NotNow(f"there are {MAX_PRINTERS} printers, which is the limit")
                printer = Printer(settings, self._driver_for(settings), locked=False)
                await self._records.keep_printer(settings)
                self._printers[settings.slug] = printer
                await self.configure(printer)
                self._keep(printer)
                self._bus.publish(PrinterAdded(settings.slug))
                return printer

        return await unbroken(add())

    async def remove(self, slug: str, by: Caller) -> None:
        """Forget a printer; its history stays.  `NotNow` while it prints, or when the settings file names it."""
        by.require(Permission.SETTINGS)
        printer = self.get(slug)
        if printer.locked:
            raise NotNow(f"{slug} is named in the settings file; remove it there")

        async def remove() -> None:
            async with self.changing:
                self.get(slug)
                if printer.run_state is not None:
                    raise NotNow(f"{slug} is printing; cancel the run first")
                await printer.driver.remove()
                await self._records.drop_printer(slug)
                await self._preferences.forget(slug)
                del self._printers[slug]
                if keeper := self._keepers.pop(slug, None):
                    keeper.cancel()
                self._bus.publish(PrinterRemoved(slug))

        await unbroken(remove())

    async def change(self, p: Printer, wanted: config.Printer, by: Caller) -> None:
        """Other settings of a printer, durable and told to its holder; those of the link count from the next connect.

        `NotNow` when the settings file names the printer, or another one has the port.
        """
        by.require(Permission.SETTINGS, p.slug)
        if (wanted.slug, wanted.driver) != (p.slug, p.driver_name):
            raise Malformed(f"{p.slug} keeps its slug and its driver; add another printer instead")

        async def change() -> None:
            async with self.changing:
                self.get(p.slug)
                await self.keep_settings(p, wanted)

        await unbroken(change())

    def check_settings(self, p: Printer, wanted: config.Printer) -> None:
        """Raise what keeps `wanted` from being the settings of `p`."""
        if wanted == p.settings:
            return
        if p.locked:
            raise NotNow(f"{p.slug} is named in the settings file; change it there")
        config.check_printer(wanted)
        self._check_port_is_free(p, wanted)

    def _check_port_is_free(self, p: Printer, wanted: config.Printer) -> None:
        """`NotNow` when the port in `wanted` is another printer's, by its settings or since it is connected there."""
        for other in self._printers.values():
            there = msgspec.structs.replace(other.settings, port=other.snapshot.port or other.settings.port)
            if other is not p and config.on_the_port_of(wanted, (other.settings, there)):
                raise NotNow(f"port {wanted.port} is that of the printer {other.slug!r} already")

    async def keep_settings(self, p: Printer, wanted: config.Printer) -> None:
        """Make `wanted` the settings of `p`, if they differ; for whoever holds `changing` and asked for the right."""
        self.check_settings(p, wanted)
        if wanted != p.settings:
            await self._records.keep_printer(wanted)
            p.settings = wanted
            self._bus.publish(PreferencesChanged(p.slug, type(wanted).__name__))
            with contextlib.suppress(LinkLost):  # an engine that is not there hears it when it is
                await p.driver.relink(link_of(wanted))
            await self.configure(p)

    async def keep_book(self, p: Printer, book: ProfileBook) -> None:
        """Make `book` the profiles of `p`; for whoever holds `changing` and asked for the right."""
        if book != p.book:
            await self._preferences.put(book, p.slug)
            p.book = book
        await self.configure(p)

    async def configure(self, p: Printer) -> None:
        """Tell the machine's holder how it is to be treated; a holder that cannot be reached hears it when it can."""
        handling = Handling(p.profile) if self.treatment is None else await self.treatment.handling_of(p)
        p.handling = handling
        with contextlib.suppress(LinkLost):
            await p.driver.configure(handling)

    # The link

    async def connect(
        self,
        p: Printer,
        port: str | None,
        baud: int | None,
        by: Caller,
        *,
        profile: str | None = None,
        save: bool = False,
        autoconnect: bool | None = None,
    ) -> None:
        """Open the link, again if it is open; `NotNow` during a run, `NotFound` for a port that is not there.

        The machine is then of the shape `profile` (None: the preferred one).  `save` makes port, rate and profile
        those that are meant when none are named.  `autoconnect` is kept; for a printer of the settings file only
        `save` asks for that, and in vain, since some clients say false with every connect.
        """
        by.require(Permission.CONNECT, p.slug)
        if baud is not None and not 0 <= baud <= 4_000_000:
            raise Malformed(f"{baud} is no rate of a serial port")
        if p.run_state is not None:
            raise NotNow(f"{p.slug} is printing")
        if p.locked and not save:
            autoconnect = None
        chosen = p.book.preferred_id if profile is None else profile
        if chosen not in {DEFAULT_PROFILE, *p.book.others}:
            raise NotFound(f"no profile {chosen!r}; there are: {', '.join((DEFAULT_PROFILE, *p.book.others))}")

        async def connect() -> None:
            async with self.changing:
                if save or autoconnect is not None:
                    kept = (port, baud) if save and p.settings.driver == "serial" else (None, None)
                    wanted = {"port": kept[0], "baud": kept[1], "autoconnect": autoconnect}
                    changes = {name: value for name, value in wanted.items() if value is not None}
                    await self.keep_settings(p, msgspec.structs.replace(p.settings, **changes))
                preferred = chosen if save else p.book.preferred
                await self.keep_book(p, msgspec.structs.replace(p.book, preferred=preferred, current=chosen))
            await p.driver.connect(port or None, baud or None)

        if port:
            self._check_port_is_free(p, msgspec.structs.replace(p.settings, port=port))
        await unbroken(connect())

    async def disconnect(self, p: Printer, by: Caller) -> None:
        by.require(Permission.CONNECT, p.slug)
        if p.run_state is not None:
            raise NotNow(f"{p.slug} is printing; cancel the run first")
        await p.driver.disconnect()
        if p.book.current:

            async def forget() -> None:
                async with self.changing:
                    await self.keep_book(p, msgspec.structs.replace(p.book, current=""))

            await unbroken(forget())

    # What drivers say

    def heard(self, notice: Snapshot | ConsoleLines | DriverEvent) -> None:
        """`core.ports.Listener`."""
        printer = self._printers.get(notice.printer)
        if printer is None:
            return
        if isinstance(notice, Snapshot):
            printer.snapshot = notice
            printer.temperatures.note(notice.heaters, self._clock.now(), self._clock.monotonic())
            if self.runs is not None:
                self.runs.moved(notice)
        elif isinstance(notice, ConsoleLines):
            printer.console.add(notice.lines)
        else:
            if isinstance(notice, SdFilesListed):
                printer.card = notice.files
            if isinstance(notice, PrinterStateChanged | RunStateChanged):
                printer.marks.note(notice.state, self._clock.now())
            if self.runs is not None and self.runs.heard(notice):
                return
        self._bus.publish(notice)

    # Inside

    def _keep(self, printer: Printer) -> None:
        if self._group is not None:
            keeper = self._group.create_task(_keep_going(printer), name=f"driver of {printer.slug}")
            self._keepers[printer.slug] = keeper


async def _keep_going(printer: Printer) -> None:
    """Run a printer's driver again whenever it loses its machine's holder; warns once per outage."""
    warned = False
    while True:
        try:
            await printer.driver.run()
            warned = False
        except* PolyhostError as lost:
            if not warned:
                log.warning("%s is out of reach: %s", printer.slug, lost.exceptions[0])
            warned = True
        await asyncio.sleep(RETRY_S)


def link_of(settings: config.Printer) -> LinkSettings:
    """What of `settings` is about the link."""
    return LinkSettings(
        *(settings.port, settings.baud, settings.autoconnect, settings.window_lines, settings.window_bytes),
        settings.speed,
    )
