"""The machine's own card: what is on it, and a file on its way to it.

While the firmware writes a file, every line that it takes becomes part of the file: nothing else can be told to the
machine, its heaters among it.  So a transfer begins on a cold machine only, and is given up before anything else is
sent.  It leaves a whole file or none: what was begun and not ended is in the journal, and is deleted when the machine
is next reached.  Protocol: Marlin's M20 to M30.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from polyhost.core.card import MAX_CARD_FILES, CardFile, CardOrder, CardTransfer, found_on
from polyhost.core.errors import LinkLost, MachineFault, Malformed, NotFound, NotNow
from polyhost.core.events import CardTransferChanged, DriverEvent, SdFilesListed
from polyhost.core.ports import Clock
from polyhost.engine.card_transfer import OPEN_S, Stage, Transfer
from polyhost.engine.conversation import Conversation
from polyhost.firmware.marlin.replies import (
    ErrorKind,
    FirmwareError,
    FirmwareRestarted,
    HostAction,
    Reply,
    SdFailed,
    SdFile,
    SdFileDeleted,
    SdReady,
    SdStatusReported,
    SdWriteBegan,
)
from polyhost.firmware.marlin.replies import SdFilesListed as Listed
from polyhost.firmware.marlin.session import Lane

log = logging.getLogger(__name__)

ANSWER_S: Final = 15.0  # for a list of a full card
TRIES: Final = 3  # to write a file, over a link that damages
LOOKS: Final = 3  # at the list, before a try counts as gone wrong
LOOK_EVERY_S: Final = 10.0  # whether somebody prints from the card at the machine
LONG_NAMES: Final = ("LONG_FILENAME", "EXTENDED_M20")
_BATCH: Final = 256  # lines
# Within a file these would end the writing of it, or act on the machine at once; those that only ask are left out.
_NOT_INTO_A_FILE: Final = re.compile(rb"M29(?!\d)|^\s*(?:N\d+\s*)?M(?:28|112)(?!\d)")
_QUESTIONS: Final = re.compile(rb"(?:N\d+\s*)?M(?:105|110)(?!\d)")


class Holder(Protocol):
    """Who holds the machine."""

    name: str
    changed: bool

    def say_event(self, event: DriverEvent) -> None: ...

    def transfer_changed(self) -> None:
        """The journal is to know which file is unfinished."""


class _Question:
    """Somebody waits for the firmware's answer."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.lost = ""  # why no answer comes

    def answered(self) -> None:
        self.over.set()


class Card:
    """`files` is what the firmware listed last, () without a card; `unfinished` the file whose end was not written."""

    def __init__(self, holder: Holder, conversation: Conversation, clock: Clock, unfinished: str = "") -> None:
        self.files: tuple[CardFile, ...] = ()
        self.unfinished = unfinished
        self.prints_by_itself = False  # somebody started a print from it at the machine
        self._holder = holder
        self._conversation = conversation
        self._clock = clock
        self._transfer: Transfer | None = None
        self._asked: set[_Question] = set()
        self._deleted = False
        self._failure = ""  # the firmware's words since the last question
        self._looked_at = 0.0

    @property
    def ready(self) -> bool:
        return self._conversation.picture.sd_ready

    @property
    def busy(self) -> bool:
        """A file is on its way to it."""
        return self._transfer is not None

    def transfer(self) -> CardTransfer | None:
        transfer = self._transfer
        if transfer is None:
            return None
        order, elapsed_s = transfer.order, self._clock.monotonic() - transfer.began
        return CardTransfer(order.path, order.name, order.size_bytes, transfer.sent_bytes, elapsed_s)

    def check_free(self) -> None:
        """`NotNow` while lines would go into a file."""
        if self._transfer is not None:
            raise NotNow(
                f"{self._holder.name} is being sent {self._transfer.order.name} for its card; cancel that first"
            )

    # --- when the machine is there

    def greeted(self) -> None:
        """The firmware answers: see whether it has a card, unless it prints from it already."""
        self.prints_by_itself = False
        capabilities = self._conversation.session.firmware.capabilities
        if capabilities.get("SDCARD", True):
            self._conversation.say([b"M27"], self._initialise)

    def end_writing(self) -> Sequence[bytes]:
        """What goes before any question on a new link: a board that was not reset may still write what it hears."""
        return (b"M29", b"M29") if self.unfinished else ()  # the first may be glued to what was cut off

    def use(self, used: bool) -> None:
        """Its owner wants it used from now on, or not."""
        if used:
            self.greeted()
        else:
            self.give_up("the card is not to be used any more")
            self._told(())

    def _initialise(self) -> None:
        if not self.prints_by_itself:
            self._conversation.say([b"M21"], self._initialised)

    def _initialised(self) -> None:
        if not self.ready:
            return
        if self.unfinished:
            self._conversation.say([b"M30 " + self.unfinished.encode()], self._cleaned)
        else:
            self._list()

    def _cleaned(self) -> None:
        if self.unfinished and not self.busy:
            log.info("%s: %s was not sent whole and is deleted from the card", self._holder.name, self.unfinished)
            self.unfinished = ""
            self._holder.transfer_changed()
        self._list()

    def _list(self, then: Callable[[], None] | None = None) -> None:
        capabilities = self._conversation.session.firmware.capabilities
        long = any(capabilities.get(name) for name in LONG_NAMES)
        dated = capabilities.get("EXTENDED_M20")
        self._conversation.say([b"M20 L T" if dated else b"M20 L" if long else b"M20"], then)

    def link_lost(self, reason: str) -> None:
        """Nothing is known of the card any more; a file on its way is not whole."""
        self.prints_by_itself = False
        self._end_transfer("failed", f"link lost: {reason}")
        for asked in self._asked:
            asked.lost = reason
            asked.over.set()
        self._told(())

    # --- what servers ask

    async def initialise(self) -> None:
        """Have the firmware look for a card, and list it."""
        self.check_free()
        await self._ask([b"M21"])
        if self.ready:
            await self.refresh()

    async def refresh(self) -> None:
        """List the files anew; `NotNow` without a card."""
        self._check_ready()
        asked = _Question()
        self._list(asked.answered)
        await self._answer(asked)

    async def release(self) -> None:
        self._check_ready()
        await self._ask([b"M22"])
        self._conversation.picture.sd_ready = False
        self._told(())

    async def delete(self, name: str) -> None:
        """`NotFound` when it is not there, `MachineFault` in the firmware's words when it does not go."""
        self._check_ready()
        file = next((file for file in self.files if file.name == name), None)
        if file is None:
            raise NotFound(f"no file {name} on the card of {self._holder.name}")
        self._deleted, self._failure = False, ""
        await self._ask([b"M30 " + name.encode("utf-8", "replace")])
        if self._deleted:
            self._told(tuple(other for other in self.files if other is not file))
            return
        failure = self._failure
        await self.refresh()  # what it said may have been damaged on its way
        if any(other.name == name for other in self.files):
            raise MachineFault(failure or f"{self._holder.name} does not delete {name}")

    def begin(self, order: CardOrder) -> None:
        """Send a file; who asks has made sure that the machine is idle and cold, and the journal knows of it."""
        self._check_ready()
        try:
            file = open(order.file, "rb", buffering=0)  # noqa: SIM115 - closed when the transfer ends
        except FileNotFoundError:
            raise NotFound(f"no file {order.path}") from None
        except OSError as error:
            raise NotNow(f"{order.path} cannot be read: {error.strerror}") from error
        self._transfer = Transfer(order, file, self._clock.monotonic())
        self.unfinished = order.name
        log.info("%s: %s is sent to the card as %s", self._holder.name, order.path, order.name)

    def open_file(self) -> None:
        """The journal has it: the firmware may begin to write."""
        transfer = self._transfer
        if transfer is None:
            return
        self._failure = ""
        transfer.damaged_before = self._damaged
        self._conversation.session.start_numbering()
        self._conversation.say([b"M28 " + transfer.order.name.encode()])
        if transfer.tries == 1:
            self._tell("started")
        self._conversation.pump()

    def cancel(self) -> None:
        """Give up the file on its way."""
        if self._transfer is None:
            raise NotNow(f"nothing is on its way to the card of {self._holder.name}")
        self.give_up("cancelled")

    def give_up(self, reason: str) -> None:
        """End the writing, and delete what there is of the file; nothing is done without one."""
        transfer = self._transfer
        if transfer is None:
            return
        session = self._conversation.session
        session.drop(Lane.FILE)
        session.drop(Lane.HOST)
        self._end_transfer("failed", reason)
        self._conversation.say([b"M29", b"M30 " + transfer.order.name.encode()], self._cleaned)

    # --- feeding

    def feed(self) -> None:
        """Give the session as many lines as it wants now."""
        transfer = self._transfer
        if transfer is None or transfer.stage is not Stage.WRITING:
            return
        session = self._conversation.session
        self._settle(transfer)
        while transfer.stage is Stage.WRITING and session.room() >= _BATCH // 2:
            try:
                lines, ends = transfer.reader.read(min(_BATCH, session.room()))
            except (Malformed, OSError) as error:
                self._soon_give_up(transfer, f"{transfer.order.path} cannot be read: {error}")
                return
            if not lines:
                transfer.stage = Stage.CLOSING
                session.queue([b"M29"], Lane.FILE, lambda: self._closed(transfer))
                return
            for line in lines:
                if _NOT_INTO_A_FILE.search(line):
                    shown = line.decode("utf-8", "replace")
                    self._soon_give_up(transfer, f"{shown!r} cannot be written to a card: the firmware would act on it")
                    return
            kept = [(line, end) for line, end in zip(lines, ends, strict=True) if not _QUESTIONS.match(line)]
            session.queue([line for line, _ in kept], Lane.FILE)
            transfer.ends += [end for _, end in kept]
            transfer.fed += len(kept)
            transfer.written_bytes += sum(len(line) for line, _ in kept)

    def _soon_give_up(self, transfer: Transfer, reason: str) -> None:
        # Not from within the feeding that found it.
        transfer.stage = Stage.CLOSING
        asyncio.get_running_loop().call_soon(self.give_up, reason)

    def _settle(self, transfer: Transfer) -> None:
        count = min(self._conversation.session.file_lines_acknowledged, transfer.fed) - transfer.base
        if count > 0:
            transfer.sent_bytes = transfer.ends[count - 1]
            transfer.base += count
            del transfer.ends[:count]

    def _closed(self, transfer: Transfer) -> None:
        """The firmware has taken every line and the end; a line that lost its number may be in the file besides."""
        if self._transfer is transfer:
            transfer.stage = Stage.CHECKING
            transfer.sent_bytes = transfer.order.size_bytes
            self._list(lambda: self._checked(transfer))

    def _checked(self, transfer: Transfer) -> None:
        """The card was listed with the file on it, unless the list was damaged."""
        if self._transfer is not transfer:
            return
        transfer.looks += 1
        file = found_on(self.files, transfer.order.name)
        if file is not None and transfer.is_whole(file.size_bytes, self._damaged - transfer.damaged_before):
            self.unfinished = ""
            self._end_transfer("done")
            self._holder.transfer_changed()
        elif transfer.looks < LOOKS:
            self._list(lambda: self._checked(transfer))
        elif transfer.tries < TRIES:
            log.warning("%s: %s is not on the card as it was sent; once more", self._holder.name, transfer.order.name)
            self._once_more(transfer)
        else:
            size = "missing" if file is None else f"{file.size_bytes} bytes long"
            self.give_up(f"what was written to the card is {size}: the link damages what is sent; look at the cable")

    @property
    def _damaged(self) -> int:
        """How often a line may have arrived as something else, since the port was opened."""
        session = self._conversation.session
        return session.damaged + session.resends

    def _once_more(self, transfer: Transfer) -> None:
        session = self._conversation.session
        session.drop(Lane.FILE)
        transfer.start(self._clock.monotonic())
        self._conversation.say([b"M29", b"M30 " + transfer.order.name.encode()], self.open_file)

    def _end_transfer(self, state: str, reason: str = "") -> None:
        if self._transfer is None:
            return
        self._tell(state, reason)
        transfer, self._transfer = self._transfer, None
        transfer.file.close()
        why = f": {reason}" if reason else ""
        log.info("%s: sending %s to the card is %s%s", self._holder.name, transfer.order.path, state, why)

    def _tell(self, state: str, reason: str = "") -> None:
        assert self._transfer is not None
        order, elapsed_s = self._transfer.order, self._clock.monotonic() - self._transfer.began
        event = CardTransferChanged(self._holder.name, order.path, order.name, state, elapsed_s, reason)
        self._holder.say_event(event)
        self._holder.changed = True

    # --- what the firmware says

    def hear(self, reply: Reply, *, running: bool) -> None:
        """`running`: a run of the host's is on."""
        match reply:
            case Listed(files):
                self._told(tuple(_card_file(file) for file in files[:MAX_CARD_FILES]))
            case SdReady(ready):
                if not ready:
                    self._told(())
            case SdStatusReported(printing):
                self.prints_by_itself = printing and not running
            case SdFileDeleted():
                self._deleted = True
            case SdWriteBegan():
                if self._transfer is not None and self._transfer.stage is Stage.OPENING:
                    self._transfer.stage = Stage.WRITING
            case SdFailed(text) | FirmwareError(text, _, ErrorKind.CARD):
                self._failed(text)
            case FirmwareRestarted():
                self._restarted()
            case HostAction(action):
                self._act(action)
            case _:
                pass

    def _failed(self, text: str) -> None:
        self._failure = text
        if self._transfer is not None:
            self.give_up(text)

    def _restarted(self) -> None:
        """The firmware began anew: it has closed what it wrote, and sees its card anew."""
        self.prints_by_itself = False
        self._end_transfer("failed", "the printer's firmware restarted")
        self._conversation.say([b"M21"], self._initialised)

    def _act(self, action: str) -> None:
        if self.busy:
            return
        match action:
            case "sd_inserted":
                self._conversation.say([b"M21"], self._initialised)
            case "sd_updated":
                if self.ready:
                    self._list()
            case "sd_ejected":
                self._conversation.picture.sd_ready = False
                self._told(())
            case _:
                pass

    def every_second(self, now: float, *, look: bool) -> None:
        """`look`: something is hot and no run of the host's heats it, so it may be a print from the card."""
        transfer = self._transfer
        if transfer is not None:
            if transfer.stage is not Stage.OPENING or now <= transfer.deadline:
                return
            if transfer.tries < TRIES:  # its answer may have been damaged
                self._once_more(transfer)
            else:
                self.give_up(f"the firmware did not say within {OPEN_S:.0f} s that it writes the file")
        elif (look or self.prints_by_itself) and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._conversation.say([b"M27"])

    # --- inside

    def _check_ready(self) -> None:
        self.check_free()
        if not self.ready:
            raise NotNow(f"the card of {self._holder.name} is not initialised")

    def _told(self, files: tuple[CardFile, ...]) -> None:
        self._holder.changed = True
        if files != self.files:
            self.files = files
        self._holder.say_event(SdFilesListed(self._holder.name, files))

    async def _ask(self, lines: Sequence[bytes]) -> None:
        asked = _Question()
        self._conversation.say(lines, asked.answered)
        await self._answer(asked)

    async def _answer(self, asked: "_Question") -> None:
        self._asked.add(asked)
        try:
            async with asyncio.timeout(ANSWER_S):
                await asked.over.wait()
            if asked.lost:
                raise LinkLost(asked.lost)
        except TimeoutError:
            raise LinkLost(f"{self._holder.name} does not answer within {ANSWER_S:.0f} s about its card") from None
        finally:
            self._asked.discard(asked)


def _card_file(file: SdFile) -> CardFile:
    return CardFile(file.name, file.size_bytes, file.long_name, _seconds_of(file.modified))


def _seconds_of(modified: int | None) -> float | None:
    """A FAT date and time as seconds since the epoch, in this host's zone; None when it is none."""
    if modified is None:
        return None
    date, clock = modified >> 16, modified & 0xFFFF
    year, month, day = 1980 + (date >> 9), date >> 5 & 0xF, date & 0x1F
    try:
        return time.mktime((year, month, day, clock >> 11, clock >> 5 & 0x3F, (clock & 0x1F) * 2, 0, 1, -1))
    except (OverflowError, ValueError):
        return None
