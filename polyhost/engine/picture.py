"""What an engine knows of a machine: what it was told, and what its firmware says of itself."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from polyhost.core.printer import Position, PrinterProfile, Temperature
from polyhost.engine.facts import Facts
from polyhost.firmware.marlin.replies import (
    HostAction,
    PositionReported,
    Reply,
    Said,
    SdReady,
    TemperaturesReported,
)
from polyhost.gcode.modal import ModalState

_MOTION: Final = re.compile(r"(?:echo:)?\s*(M20[1345]\s.*)")


class Picture:
    """`modal` follows the lines told, `heaters` and `reported` what is heard; `motion` is what M503 said of how fast
    the machine moves, as commands."""

    def __init__(self) -> None:
        self.modal = ModalState()
        self.heaters: dict[str, Temperature] = {}
        self.reported = Position()  # by the firmware, last
        self.sd_ready = False
        self.motion: list[str] = []
        self.facts = Facts()
        self._moved = True  # since `reported`

    def hear(self, reply: Reply, profile: PrinterProfile) -> None:
        match reply:
            case TemperaturesReported(reported):
                self.heaters = self.heaters | reported
            case PositionReported():
                self.reported = Position(reply.x, reply.y, reply.z, reply.e)
                self._moved = False
            case SdReady(ready):
                self.sd_ready = ready
            case HostAction(action, text):
                self.facts.hear_action(action, text)
            case Said(text):
                self.facts.hear(text, profile)
                if motion := _MOTION.match(text):
                    self.motion.append(motion[1])
            case _:
                pass

    def told(self, lines: Sequence[bytes]) -> None:
        """Follow the host's own lines; a target shows at once, not only in the firmware's next report."""
        before = self._targets_told()
        self.modal.advance(lines)
        for heater, target in self._targets_told().items():
            if before.get(heater) != target and heater in self.heaters:
                self.heaters = self.heaters | {heater: msgspec.structs.replace(self.heaters[heater], target=target)}
        self.moved()

    def moved(self) -> None:
        """Lines were sent: the machine is not where it was reported to be."""
        self._moved = True

    def restarted(self) -> None:
        """The firmware began anew, with no mode and no target that was told."""
        self.modal = ModalState()

    @property
    def position(self) -> Position:
        """Where the machine is: as reported, or as the lines since then have it."""
        modal = self.modal
        return Position(modal.x, modal.y, modal.z, modal.e) if self._moved else self.reported

    @property
    def targets(self) -> dict[str, float]:
        """What heaters are set to, by name; the firmware's word goes before ours."""
        reported = {name: heater.target for name, heater in self.heaters.items() if heater.target is not None}
        return self._targets_told() | reported

    def _targets_told(self) -> dict[str, float]:
        told = {f"tool{tool}": target for tool, target in self.modal.hotends.items()}
        return told | {"bed": self.modal.bed, "chamber": self.modal.chamber}
