"""What servers ask of a machine's own card: only while nothing prints, and while it is cold for a file to it."""

from typing import Protocol

from polyhost.core.card import CardOrder
from polyhost.core.errors import NotFound, NotNow
from polyhost.engine.card import Card
from polyhost.engine.idle import Idle
from polyhost.engine.keeping import Keeping
from polyhost.engine.messages import MachineSettings


class Holder(Protocol):
    """Who holds the machine."""

    name: str
    settings: MachineSettings
    card: Card
    idle: Idle
    keeping: Keeping

    @property
    def hot(self) -> bool: ...

    def check_ready(self) -> None:
        """`NotNow` unless it is connected."""

    def check_no_run(self, what: str) -> None:
        """`NotNow` while it prints, and so cannot do `what`."""

    def acted(self) -> None:
        """A person used it."""


class CardRequests:
    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    async def read(self, *, initialise: bool) -> None:
        """List the files; `initialise` has the firmware look for a card first."""
        card = self._free("list its card")
        await (card.initialise() if initialise else card.refresh())

    async def release(self) -> None:
        await self._free("release its card").release()

    async def delete(self, name: str) -> None:
        await self._free("delete from its card").delete(name)

    async def send(self, order: CardOrder) -> None:
        """Returns when the journal knows that a file is on its way, and the firmware is asked to write."""
        card, holder = self._free("take a file"), self._holder
        if holder.hot:
            raise NotNow(
                f"{holder.name} has heaters on, and nothing could switch them off while it takes a file for its card; "
                "switch them off first"
            )
        card.begin(order)
        holder.idle.used()
        await holder.keeping.kept()
        card.open_file()

    def stop_transfer(self) -> None:
        self._holder.card.cancel()
        self._holder.acted()

    def _free(self, what: str) -> Card:
        """The card, of a machine that can do `what`."""
        holder = self._holder
        holder.check_ready()
        if not holder.settings.handling.card:
            raise NotFound(f"{holder.name}'s own card is not used")
        holder.check_no_run(what)
        if holder.card.prints_by_itself:
            raise NotNow(f"{holder.name} prints from its card by itself")
        return holder.card
