"""What people set while the host runs, for one printer or for the whole host; the settings file is `config`'s.

A section is a frozen struct that declares its defaults, kept under its name; a field that a later version adds has
its default until it is set.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from polyhost.core.events import PreferencesChanged
from polyhost.core.ports import PreferenceRecords
from polyhost.services.bus import Bus
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)

HOST = ""
"""Stands where a printer's slug would, for what concerns all of them."""

T = TypeVar("T", bound=msgspec.Struct)


class Preferences:
    """Whoever decides who may set a section asks before `put`."""

    def __init__(self, records: PreferenceRecords, bus: Bus) -> None:
        self._records = records
        self._bus = bus
        self._bodies = records.load_preferences()
        self._read: dict[tuple[str, str], msgspec.Struct] = {}
        self._changing = asyncio.Lock()

    def get(self, section: type[T], printer: str = HOST) -> T:
        """What is set, or the defaults of `section`."""
        key = printer, section.__name__
        value = self._read.get(key)
        if not isinstance(value, section):
            value = self._read[key] = self._decoded(section, key)
        return value

    async def put(self, value: msgspec.Struct, printer: str = HOST) -> None:
        """Set a whole section; durable when it returns, and announced."""
        await self.put_all({printer: [value]})

    async def put_all(self, values: Mapping[str, Iterable[msgspec.Struct]]) -> None:
        """Set whole sections by printer, all of them or none; durable when it returns, then announced together."""
        read = {(printer, type(value).__name__): value for printer, some in values.items() for value in some}
        if not read:
            return

        async def put() -> None:
            async with self._changing:
                bodies = {key: msgspec.msgpack.encode(value) for key, value in read.items()}
                await self._records.keep_preferences(bodies)
                self._bodies |= bodies
                self._read |= read
            for key in read:
                self._bus.publish(PreferencesChanged(*key))

        await unbroken(put())

    async def forget(self, printer: str) -> None:
        """What was set of a printer that is no more; one that is called so later begins with the defaults."""
        async with self._changing:
            await self._records.drop_preferences(printer)
            for kept in (self._bodies, self._read):
                for key in [key for key in kept if key[0] == printer]:
                    del kept[key]

    def _decoded(self, section: type[T], key: tuple[str, str]) -> T:
        body = self._bodies.get(key)
        if body is None:
            return section()
        try:
            return msgspec.msgpack.decode(body, type=section)
        except msgspec.DecodeError as error:
            log.warning("what was set as %s for %r cannot be read, its defaults count: %s", key[1], key[0], error)
            return section()
