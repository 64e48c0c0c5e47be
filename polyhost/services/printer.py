"""One printer: its settings, what its machine said last, and what runs are about."""

from polyhost import config
from polyhost.core.card import CardFile, CardTransfer
from polyhost.core.handling import Handling
from polyhost.core.job import Run, RunState
from polyhost.core.ports import Driver
from polyhost.core.printer import PrinterProfile, PrinterState
from polyhost.services.history import Console, Marks, TemperatureHistory
from polyhost.services.profiles import ProfileBook


class Printer:
    """One machine.  What changes by itself is in `snapshot`; the rest is settings and what runs are about."""

    def __init__(self, settings: config.Printer, driver: Driver, *, locked: bool) -> None:
        self.settings = settings
        self.driver = driver
        self.locked = locked
        self.book = ProfileBook()
        self.handling = Handling()  # as its holder was told last to treat it
        self.shown_name = ""  # where the settings file names the printer, and a person called it otherwise
        self.snapshot = driver.snapshot
        self.selected = ""  # the path chosen for the next run
        self.run: Run | None = None  # the one going on, or the last
        self.selected_on_card = False  # it is the name of a file on the printer's own card
        self.card: tuple[CardFile, ...] = ()  # what is on that
        self.temperatures = TemperatureHistory()
        self.console = Console()
        self.marks = Marks()

    @property
    def slug(self) -> str:
        return self.settings.slug

    @property
    def name(self) -> str:
        return self.shown_name or self.settings.name or self.settings.slug

    @property
    def driver_name(self) -> str:
        return self.settings.driver

    @property
    def profile_id(self) -> str:
        """Of the profile that it has now."""
        return self.book.current_id

    @property
    def profile(self) -> PrinterProfile:
        return self.book.others.get(self.book.current_id, self.settings.profile)

    @property
    def listen(self) -> int:
        return self.settings.listen

    @property
    def is_operational(self) -> bool:
        """Whether its firmware answers."""
        return self.snapshot.state is PrinterState.READY

    @property
    def uses_card(self) -> bool:
        """Whether its owner wants its own card used; what was set counts before its holder says so."""
        return self.handling.card and self.snapshot.card_used

    @property
    def run_state(self) -> RunState | None:
        """Of the run that has not ended; None without one."""
        run = self.run
        if run is None or run.ended:
            return None
        live = self.snapshot.run
        return live.state if live is not None and live.run_id == run.id else run.state

    @property
    def is_moving(self) -> bool:
        """Whether a run, or a file for its card, has the machine to itself now; a paused run lends it."""
        return self.run_state not in {None, RunState.PAUSED} or self.transfer is not None

    @property
    def transfer(self) -> CardTransfer | None:
        """The file on its way to its own card; nothing else can be told to the machine meanwhile."""
        return self.snapshot.transfer if self.is_operational else None
