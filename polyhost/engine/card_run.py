"""A run of a file on the machine's own card: the firmware reads it, the engine selects, starts, watches and stops it.

Scripts, pauses and ends are those of any run (`run.FileRun`).  How far it is comes from ``M27``; that it is done from
``Done printing file`` alone.  A print that goes on in the machine has no owner when its engine or its link is gone, so
it is stopped before the heaters are switched off (docs/decisions/0007).  Protocol: Marlin's M23 to M27.
"""

import io
from typing import BinaryIO, Final

import msgspec

from polyhost.core.handling import ScriptName
from polyhost.core.job import RunSignal, RunState
from polyhost.core.ports import Clock, RunOrder
from polyhost.engine.conversation import Conversation
from polyhost.engine.run import FileRun, Holder
from polyhost.firmware.marlin.replies import (
    FirmwareRestarted,
    Reply,
    SdFailed,
    SdFileOpened,
    SdFileSelected,
    SdPrintDone,
    SdStatusReported,
)

ASK_EVERY_S: Final = 1.0
REPORTS_STAY_AWAY_S: Final = 3.0  # then it is asked although it reports by itself
STOPPED_AFTER: Final = 3  # times that it says not to print, before that is believed
TRIES: Final = 3  # to select the file, when its answer is damaged
STOP: Final = (b"M25", b"M26 S0")


class CardRun(FileRun):
    """Runs `order.name` of the card; `order.size_bytes` is 0 until the firmware tells it."""

    def __init__(self, order: RunOrder, conversation: Conversation, holder: Holder, clock: Clock) -> None:
        super().__init__(order, conversation, holder, clock)
        self._opened_on_card = False
        self._refused = ""
        self._tries = 0
        self._done = False
        self._stopped = 0  # times in a row that it said not to print
        self._in_machine = False  # the firmware may be printing
        self._quietly = False  # it paused or went on by itself
        self._clock = clock
        self._heard_at = clock.monotonic()

    @staticmethod
    def _opened(order: RunOrder) -> BinaryIO:
        return io.BytesIO()  # the file is the firmware's to read

    # --- what a person or the firmware asks

    def begin(self) -> None:
        self._say(ScriptName.BEFORE_START, self.order.scripts.before_start, self._select)

    def _select(self) -> None:
        self._tries += 1
        self._opened_on_card, self._refused = False, ""
        self._script([b"M23 " + self.order.name.encode()], self._selected)

    def _selected(self) -> None:
        if self._opened_on_card:
            self._in_machine = True
            self._script([*([b"M27 S1"] if self._reports else []), b"M24"], self._started)
        elif not self._refused and self._tries < TRIES:
            self._select()
        else:
            self._break(self._refused or f"the firmware does not say that it has opened {self.order.name}")

    def _started(self) -> None:
        super()._started()
        if self._done:  # a short file
            self._finish()

    def pause(self, *, quietly: bool = False) -> None:
        self._quietly = quietly
        super().pause(quietly=quietly)

    def resume(self, *, quietly: bool = False) -> None:
        self._quietly = quietly
        self._stopped = 0
        super().resume(quietly=quietly)

    def cancel(self) -> None:
        self._quietly = False
        super().cancel()

    def _take_back(self) -> None:
        """The firmware is to read no further, before it is told anything else."""
        if not self._in_machine or self._quietly:
            return
        if self.state is RunState.PAUSING:
            self._conversation.say([b"M25"])
        else:
            self._in_machine = False
            self._conversation.say(STOP)

    def _to_go_on(self, *, touched: bool) -> list[bytes]:
        """What the file has set the machine to, nobody but the firmware knows: only that it is to read on."""
        return [] if self._done or self._quietly else [b"M24"]

    def _resumed(self) -> None:
        super()._resumed()
        if self._done:
            self._finish()

    def fail(self, reason: str) -> None:
        self._quietly = False
        super().fail(reason)

    # --- what the firmware says

    def hear(self, reply: Reply) -> None:
        match reply:
            case SdFileOpened(_, size_bytes):
                self._opened_on_card = True
                self._is_of(size_bytes)
            case SdFileSelected():
                self._opened_on_card = True
            case SdFailed(text) if self.state is RunState.STARTING:
                self._refused = text
            case SdStatusReported(printing, byte, size):
                self._heard_at = self._clock.monotonic()
                if printing:
                    self._stopped = 0
                    self._is_of(size)
                    self.accounts.file_bytes = byte
                elif self.state is RunState.PRINTING:
                    self._hear_stopped()
            case SdPrintDone():
                self._done = True
                if self.state is RunState.PRINTING:
                    self._finish()
            case FirmwareRestarted():
                self._in_machine = False
            case _:
                pass

    def _hear_stopped(self) -> None:
        self._stopped += 1
        if self._stopped >= STOPPED_AFTER and not self._done:
            self._break(
                f"the printer prints from its card no more, since byte {self.accounts.file_bytes} of "
                f"{self.order.size_bytes}, and did not say that it is done"
            )

    def _is_of(self, size_bytes: int | None) -> None:
        if size_bytes and size_bytes != self.order.size_bytes:
            self.order = msgspec.structs.replace(self.order, size_bytes=size_bytes)

    def _finish(self) -> None:
        """The firmware has read the whole file; its last moves are still under way."""
        self._in_machine = False
        self.accounts.file_bytes = self.order.size_bytes
        self._move(RunSignal.END_OF_FILE)
        self._script([b"M400"], self._moved_all)

    def _moved_all(self) -> None:
        self._say(ScriptName.AFTER_DONE, self.order.scripts.after_done, self._finished)

    @property
    def _reports(self) -> bool:
        """Whether the firmware says by itself how far it is."""
        return bool(self._conversation.session.firmware.capabilities.get("AUTOREPORT_SD_STATUS"))

    def every_second(self, now: float) -> None:
        if self.state is not RunState.PRINTING:
            return
        if now - self._heard_at >= (REPORTS_STAY_AWAY_S if self._reports else 0.0):
            self._heard_at = now + ASK_EVERY_S  # until it is answered, or long enough was waited
            self._conversation.say([b"M27"])

    # --- feeding: there is none

    def feed(self) -> None:
        pass

    def settle(self) -> None:
        pass
