"""All that a dialect holds: one host and what it can do."""

from dataclasses import dataclass

from polyhost.config import Config
from polyhost.core.ports import Clock
from polyhost.services.accounts import Accounts
from polyhost.services.bus import Bus
from polyhost.services.files import Files
from polyhost.services.printers import Printers
from polyhost.services.runs import Runs


@dataclass(frozen=True, slots=True)
class Host:
    """Every method that changes something takes `by` last, and asks itself whether that caller may."""

    config: Config
    printers: Printers
    runs: Runs
    files: Files
    accounts: Accounts
    bus: Bus
    clock: Clock
