"""What a machine tells its servers: the console's lines, and a picture of it whenever something changed."""

from collections import deque
from typing import Final, Protocol

import msgspec

from polyhost.core.events import ConsoleLine
from polyhost.core.job import RunState
from polyhost.core.printer import PrinterState, Snapshot
from polyhost.engine.card import Card
from polyhost.engine.connection import Connection
from polyhost.engine.conversation import Conversation
from polyhost.engine.messages import MachineSettings
from polyhost.engine.run import FileRun

PROGRESS_EVERY_S: Final = 0.15
CONSOLE_LINES: Final = 1000  # kept for the next `Heard`; the oldest go first


class Subject(Protocol):
    """Who holds the machine; `changed` is there for whoever changes something that a snapshot shows."""

    name: str
    settings: MachineSettings
    connection: Connection
    conversation: Conversation
    card: Card
    run: FileRun | None
    offsets: dict[str, float]
    changed: bool

    @property
    def hot(self) -> bool: ...


class News:
    """`console` is what was said on the link and not told yet."""

    def __init__(self, machine: Subject) -> None:
        self.console: deque[ConsoleLine] = deque(maxlen=CONSOLE_LINES)
        self._machine = machine
        self._told_lines = 0
        self._told_at = 0.0

    def due(self, now: float) -> bool:
        """Whether a snapshot is to be told now: something changed, or lines went out for a while."""
        machine = self._machine
        lines = machine.conversation.session.lines_sent
        if not machine.changed and (lines == self._told_lines or now - self._told_at < PROGRESS_EVERY_S):
            return False
        machine.changed = False
        self._told_lines, self._told_at = lines, now
        return True

    def snapshot(self) -> Snapshot:
        machine = self._machine
        connection, run = machine.connection, machine.run
        session, picture = machine.conversation.session, machine.conversation.picture
        progress = run.progress() if run is not None else None
        if run is not None and run.state is RunState.PRINTING:
            picture.moved()
        used = machine.settings.handling.card
        return Snapshot(
            printer=machine.name,
            state=connection.state,
            fault=connection.fault,
            cause=connection.cause,
            port=connection.port,
            baud=connection.baud,
            firmware=msgspec.structs.replace(session.firmware, motion=tuple(picture.motion)),
            heaters=picture.heaters,
            offsets=machine.offsets,
            tool=picture.modal.tool,
            position=picture.position,
            homed=picture.modal.homed.lower(),
            fan=picture.modal.fan,
            feedrate_factor=picture.modal.speed_factor,
            flow_factor=picture.modal.flow_factor,
            absolute=picture.modal.absolute,
            absolute_e=picture.modal.absolute and picture.modal.extruder_absolute,
            feedrate_mm_s=picture.modal.feedrate_mm_s,
            z_offset=picture.modal.z_offset,
            limits=picture.facts.limits(picture.modal),
            retraction=picture.facts.retraction(picture.modal),
            mesh=picture.facts.mesh,
            filament=picture.facts.filament,
            filament_watched=picture.facts.filament_watched,
            message=picture.modal.message,
            told_progress=picture.modal.told_progress,
            sd_ready=picture.sd_ready and connection.state is PrinterState.READY and used,
            card_used=used,
            transfer=machine.card.transfer(),
            hot=machine.hot,
            lines_sent=session.lines_sent,
            resends=session.resends,
            run=progress,
        )
