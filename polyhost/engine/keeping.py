"""What the journal is told of a machine: all of it when something changed, and how far its run is, every second."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from polyhost.engine.card import Card
from polyhost.engine.connection import Connection
from polyhost.engine.conversation import Conversation
from polyhost.engine.journal import Journal, Kept, PrinterRecord, Went
from polyhost.engine.messages import MachineSettings
from polyhost.engine.past_runs import PastRuns
from polyhost.engine.run import FileRun


class Holder(Protocol):
    """Who holds the machine."""

    name: str
    settings: MachineSettings
    connection: Connection
    conversation: Conversation
    card: Card
    run: FileRun | None
    past_runs: PastRuns

    @property
    def hot(self) -> bool: ...


class Keeping:
    def __init__(self, holder: Holder, journal: Journal) -> None:
        self._holder = holder
        self._journal = journal

    @property
    def failure(self) -> str:
        """Why the journal takes nothing at the moment."""
        return self._journal.failure

    def keep(self, then: Callable[[], None] | None = None) -> None:
        """Have the journal know the machine as it is now; `then` is called when it answered."""
        holder = self._holder
        run = holder.run
        self._journal.write(
            Kept(
                holder.name,
                PrinterRecord(
                    machine=msgspec.structs.replace(holder.settings, link=holder.connection.settings),
                    wanted=holder.connection.wanted,
                    hot=holder.hot,
                    identity=holder.connection.identity,
                    run=run.record() if run is not None and run.active else holder.past_runs.unfinished,
                    ended=holder.past_runs.ended,
                    unfinished=holder.card.unfinished,
                ),
            ),
            then,
        )

    async def kept(self) -> None:
        """`keep`, and wait for the answer; `failure` says which it was."""
        answered = asyncio.Event()
        self.keep(answered.set)
        await answered.wait()

    def every_second(self) -> None:
        if self._journal.failure:
            self.keep()  # the disk may take it by now
        run = self._holder.run
        if run is not None and run.active:
            run.settle()
            self._journal.write(
                Went(
                    self._holder.name,
                    elapsed_s=run.accounts.elapsed_s,
                    printing_s=run.accounts.printing_s,
                    file_bytes=run.accounts.file_bytes,
                    lines=run.accounts.lines,
                    modal=self._holder.conversation.picture.modal.copy(),
                )
            )
