"""The printers' own cards: what is on them, files sent to them, files deleted from them.

Whether a card may be used now is decided here, once, for every API; printing from it is `runs`' matter.  What is to
happen behind a transfer (choose the file, print it) is wished for by somebody who is there: a server that ends
meanwhile takes the wish with it, and nothing starts by itself (R10).
"""

import logging
from collections.abc import Sequence

import msgspec

from polyhost.core.card import CardFile, CardOrder, card_name, found_on
from polyhost.core.errors import NotAllowed, NotFound, NotNow, PolyhostError, Unsupported
from polyhost.core.events import CardTransferChanged
from polyhost.core.file import is_gcode
from polyhost.core.user import Caller, Permission
from polyhost.services.bus import Bus
from polyhost.services.files import Files
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers
from polyhost.services.runs import Runs
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)


class _Wish(msgspec.Struct, frozen=True):
    """What somebody wants done with a file once it is on the card."""

    name: str
    print_it: bool
    by: Caller


class Cards:
    """`run` grants the wishes behind transfers."""

    def __init__(self, printers: Printers, files: Files, runs: Runs, bus: Bus) -> None:
        self._printers = printers
        self._files = files
        self._runs = runs
        self._bus = bus
        self._wishes: dict[str, _Wish] = {}  # by printer

    async def run(self) -> None:
        with self._bus.listen(CardTransferChanged) as listener:
            async for notice in listener:
                if isinstance(notice, CardTransferChanged) and notice.state != "started":
                    await self._grant(notice)

    # Looking

    def check_used(self, p: Printer) -> None:
        """`NotFound` when the owner does not want the card used."""
        if not p.uses_card:
            raise NotFound(f"the card of {p.slug} is not used: SD support is disabled")

    def files(self, p: Printer) -> Sequence[CardFile]:
        """G-code on the card, as it was listed last; none while it is not initialised."""
        if not (p.uses_card and p.snapshot.sd_ready):
            return ()
        return [file for file in p.card if is_gcode(file.name)]

    def get(self, p: Printer, name: str) -> CardFile:
        """By its short name or its long one."""
        file = found_on(self.files(p), name)
        if file is None:
            raise NotFound(f"no file {name!r} on the card of {p.slug}")
        return file

    # Using it

    async def initialise(self, p: Printer, by: Caller) -> None:
        """Have the firmware look for its card, and list it."""
        self._check(p, by, Permission.CONTROL)
        await p.driver.read_card()

    async def refresh(self, p: Printer, by: Caller) -> None:
        self._check(p, by, Permission.CONTROL)
        self._check_ready(p)
        await p.driver.refresh_card()

    async def release(self, p: Printer, by: Caller) -> None:
        self._check(p, by, Permission.CONTROL)
        self._check_ready(p)
        await p.driver.release_card()

    async def look_again(self, p: Printer) -> None:
        """List the card anew if that can be now; for whoever may look."""
        if p.uses_card and p.is_operational and p.snapshot.sd_ready and not self._busy(p):
            await p.driver.refresh_card()

    async def delete(self, p: Printer, name: str, by: Caller) -> None:
        _needs(by, Permission.DELETE, p)
        self.check_used(p)
        file = self.get(p, name)
        run = self._runs.current(p)
        if run is not None and run.on_card and run.path == file.name:
            raise NotNow(f"{file.name} is being printed")
        self._check_idle(p)
        await p.driver.delete_from_card(file.name)
        if p.selected_on_card and p.selected == file.name:
            await self._runs.unselect(p, by)

    def check_upload(self, p: Printer, by: Caller) -> None:
        """Whether a file may be sent to the card now, before it is."""
        self._check(p, by, Permission.UPLOAD)
        self._check_ready(p)

    async def send(self, p: Printer, path: str, by: Caller, *, select: bool = False, print_it: bool = False) -> str:
        """Begin to send the library's file `path`; the name that it gets on the card.

        `select` and `print_it` are done when it is there, if that can be then.  The driver goes on by itself.
        """
        self.check_upload(p, by)
        file = self._files.get(path)
        if not is_gcode(file.name):
            raise Unsupported(f"{path} is no G-code")

        async def send() -> str:
            name = card_name(file.name, p.card)
            order = CardOrder(file.path, str(self._files.on_disk(file.path)), name, file.size_bytes)
            await p.driver.send_to_card(order)
            if select or print_it:
                self._wishes[p.slug] = _Wish(name, print_it, by)
            return name

        return await unbroken(send())

    async def cancel(self, p: Printer, by: Caller) -> None:
        """Give up the transfer; what there is of the file is deleted."""
        _needs(by, Permission.PRINT, p)
        await p.driver.stop_transfer()

    # Inside

    async def _grant(self, ended: CardTransferChanged) -> None:
        wish = self._wishes.pop(ended.printer, None)
        if wish is None or ended.state != "done" or wish.name != ended.name:
            return
        p = self._printers.get(ended.printer)
        try:
            if wish.print_it:
                await self._runs.start_from_card(p, CardFile(wish.name), wish.by)
            else:
                await self._runs.select_on_card(p, CardFile(wish.name), wish.by)
        except PolyhostError as error:
            log.warning("%s: %s is on the card, and cannot be printed: %s", p.slug, wish.name, error)

    def _check(self, p: Printer, by: Caller, permission: Permission) -> None:
        _needs(by, permission, p)
        self.check_used(p)
        self._check_idle(p)

    def _check_idle(self, p: Printer) -> None:
        if not p.is_operational:
            raise NotNow(f"{p.slug} is {p.snapshot.state.value}; connect it first")
        if self._busy(p):
            raise NotNow(f"{p.slug} is printing, paused, or being sent a file")

    @staticmethod
    def _busy(p: Printer) -> bool:
        return p.run_state is not None or p.transfer is not None

    @staticmethod
    def _check_ready(p: Printer) -> None:
        if not p.snapshot.sd_ready:
            raise NotNow(f"the card of {p.slug} is not initialised")


def _needs(by: Caller, permission: Permission, p: Printer) -> None:
    if not by.may(permission, p.slug):
        raise NotAllowed(f"{by.name or 'a guest'} may not {permission.value} on {p.slug}")
