"""What servers send a machine besides runs: looked at, and handed to the conversation.

Nothing is heated that the journal cannot keep, what ends a wait goes ahead of it where the firmware listens for that,
and who wants to may wait until the machine has done it.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from polyhost.core.errors import Malformed, NoSpace, TooMany
from polyhost.engine.conversation import Conversation
from polyhost.engine.heaters import Heat
from polyhost.engine.hooks import Hooks
from polyhost.engine.intake import taken_from_person
from polyhost.engine.journal import Journal

MAX_WAITING: Final = 32  # of those who wait until a machine has done what they sent
_URGENT: Final = re.compile(rb"M(?:(?:108|410)(?!\d)|876\s+S)", re.IGNORECASE)  # with an EMERGENCY_PARSER, ahead of all


class Holder(Protocol):
    """Who holds the machine."""

    name: str
    conversation: Conversation
    hooks: Hooks


class Sending:
    def __init__(self, holder: Holder, heat: Heat, journal: Journal) -> None:
        self._holder = holder
        self._heat = heat
        self._journal = journal
        self._waiting = 0

    async def send(self, commands: Sequence[str], *, until_done: bool) -> tuple[str, ...]:
        """Answers when `commands` are with the conversation: the journal knows of what they heat.

        Or, `until_done`, when the machine has done them, with what it said to them (`Conversation.ask`).
        """
        conversation, hooks = self._holder.conversation, self._holder.hooks
        lines = [command.encode("ascii", "replace") for command in commands]
        if any(b"\n" in line or b"\r" in line for line in lines):
            raise Malformed("a command is one line")
        if self._journal.failure and self._heat.must_wait(lines):
            raise NoSpace(f"nothing is heated while the journal cannot be written: {self._journal.failure}")
        if until_done and self._waiting >= MAX_WAITING:
            raise TooMany(f"{self._holder.name} has {MAX_WAITING} scripts to answer already", 1.0)
        session = conversation.session
        if session.firmware.capabilities.get("EMERGENCY_PARSER"):
            for line in filter(_URGENT.match, lines):
                session.emergency(line)  # ahead of what it is to end
            lines = [line for line in lines if not _URGENT.match(line)]
            conversation.pump()
        lines = taken_from_person(lines, conversation.picture.modal.tool, hooks)
        if not until_done:
            await conversation.send(lines)
            return ()
        self._waiting += 1
        try:
            return await conversation.ask(lines)
        finally:
            self._waiting -= 1
