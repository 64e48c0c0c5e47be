"""Who this host and its printers are to programs that look for them, and whether there is anybody to tell."""

import ipaddress
import uuid

import msgspec

from polyhost import config
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer


class Identity(msgspec.Struct, frozen=True):
    """What one host is told from all others by; made once, kept for good."""

    uuid: str = ""


class Discovery:
    def __init__(self, preferences: Preferences) -> None:
        self._preferences = preferences

    async def load(self) -> None:
        """Make this host's identity if it has none yet."""
        if not self._preferences.get(Identity).uuid:
            await self._preferences.put(Identity(str(uuid.uuid4())))

    def uuid_of(self, printer: Printer) -> str:
        """The same for a slug for as long as the data folder lives; clients know a printer again by it."""
        return str(uuid.uuid5(uuid.UUID(self._preferences.get(Identity).uuid), printer.slug))


def is_announced(settings: config.Discovery, listens_at: str) -> bool:
    """Whether the printers of a host that listens at the address `listens_at` are made known in the network.

    Nobody there could reach a host that listens on loopback only, so that takes the interfaces to be named.
    """
    return settings.enabled and (bool(settings.interfaces) or not is_loopback(listens_at))


def is_loopback(address: str) -> bool:
    """Whether who listens at `address` hears nobody but this computer."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
