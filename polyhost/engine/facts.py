"""What a firmware tells of its machine in words of its own: limits, retraction, the bed's mesh, filament sensors.

Each is heard where it happens to be said: in the answer to ``M503``, to a command that somebody typed, or by itself.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from polyhost.core.printer import BedMesh, MotionLimits, PrinterProfile, Retraction
from polyhost.core.units import mm_s_from_mm_min
from polyhost.firmware.marlin.endstops import filament_in
from polyhost.firmware.marlin.meshes import MeshReader
from polyhost.gcode.modal import ModalState

Words = dict[str, dict[str, float]]

_TOLD: Final = re.compile(r"(?:echo:)?\s*(M20[1345678])\s+([^;]*)")
_WORD: Final = re.compile(r"([A-Z])\s*(-?\d+\.?\d*|-?\.\d+)")
_LEVELLED: Final = re.compile(r"(?:echo:)?\s*(?:Bed Leveling (ON|OFF)|M420 S([01])\b)", re.IGNORECASE)
_WATCHED: Final = re.compile(r"(?:echo:)?\s*(?:Filament runout:? (ON|OFF)|M412 S([01])\b)", re.IGNORECASE)
_RAN_OUT: Final = re.compile(r"filament_runout(?:\s+T?(\d))?|filament runout(?: T(\d))?$", re.IGNORECASE)
_DIAGONAL: Final = math.sqrt(2.0) - 1.0


class Facts:
    def __init__(self) -> None:
        self.filament: dict[str, bool] = {}
        self.filament_watched = True
        self._mesh = MeshReader()
        self._used = True
        self._words: Words = {}
        self._known: tuple[Words, dict[str, dict[str, str]]] = ({}, {})
        self._limits = MotionLimits()
        self._retraction: Retraction | None = None

    @property
    def mesh(self) -> BedMesh | None:
        mesh = self._mesh.mesh
        return mesh if mesh is None or mesh.used == self._used else msgspec.structs.replace(mesh, used=self._used)

    def hear(self, text: str, profile: PrinterProfile) -> None:
        """A line that is none of the conversation's own."""
        volume = profile.volume()
        if self._mesh.hear(text, (volume.x_min, volume.y_min, volume.x_max, volume.y_max)):
            return
        if told := _TOLD.match(text):
            words = {letter: float(number) for letter, number in _WORD.findall(told[2])}
            self._words = {**self._words, told[1]: self._words.get(told[1], {}) | words}
        if levelled := _LEVELLED.match(text):
            self._used = (levelled[1] or levelled[2]).upper() in ("ON", "1")
        if watched := _WATCHED.match(text):
            self.filament_watched = (watched[1] or watched[2]).upper() in ("ON", "1")
            if self.filament_watched:
                self.filament = self.filament or {"filament": True}
        if sensor := filament_in(text):
            self.filament = self.filament | {sensor[0]: sensor[1]}
        elif not text.startswith("echo:M") and (ran_out := _RAN_OUT.search(text)) and not watched:
            self._ran_out(ran_out)

    def hear_action(self, action: str, text: str) -> None:
        """``//action:``: who runs out of filament says so, and goes on once there is some."""
        if ran_out := _RAN_OUT.search(f"{action} {text}"):
            self._ran_out(ran_out)
        elif action == "resumed":
            self.filament = dict.fromkeys(self.filament, True)

    def _ran_out(self, found: re.Match[str]) -> None:
        number = int(found[1] or found[2] or 0)
        name = f"filament {number + 1}" if f"filament {number + 1}" in self.filament else "filament"
        self.filament = self.filament | {name: False}

    def limits(self, modal: ModalState) -> MotionLimits:
        """As the machine said, and was told since."""
        self._consider(modal)
        return self._limits

    def retraction(self, modal: ModalState) -> Retraction | None:
        self._consider(modal)
        return self._retraction

    def _consider(self, modal: ModalState) -> None:
        if self._known == (self._words, modal.settings):
            return
        self._known = (self._words, {code: dict(words) for code, words in modal.settings.items()})
        words = dict(self._words)
        for code, told in modal.settings.items():
            words[code] = words.get(code, {}) | {letter: float(number) for letter, number in told.items() if number}
        self._limits = limits_of(words)
        self._retraction = retraction_of(words)


def limits_of(words: Mapping[str, Mapping[str, float]]) -> MotionLimits:
    """Of the words of ``M201``, ``M203``, ``M204`` and ``M205``; X and Y are as fast as the slower of them."""
    fastest, hardest, usual, corner = (words.get(code, {}) for code in ("M203", "M201", "M204", "M205"))
    acceleration = usual.get("P", usual.get("S", _least(hardest, "XY")))
    corner_velocity = _least(corner, "XY")
    if corner.get("J") and acceleration:
        corner_velocity = math.sqrt(corner["J"] * acceleration / _DIAGONAL)
    return MotionLimits(
        velocity=_least(fastest, "XY"),
        acceleration=acceleration,
        z_velocity=fastest.get("Z"),
        z_acceleration=hardest.get("Z"),
        corner_velocity=corner_velocity,
    )


def retraction_of(words: Mapping[str, Mapping[str, float]]) -> Retraction | None:
    """Of the words of ``M207`` and ``M208``; None when neither was said."""
    pull, push = words.get("M207"), words.get("M208", {})
    if pull is None and not push:
        return None
    pull = pull or {}
    return Retraction(
        length=pull.get("S", 0.0),
        speed_mm_s=mm_s_from_mm_min(pull.get("F", 0.0)),
        extra_length=push.get("S", 0.0),
        extra_speed_mm_s=mm_s_from_mm_min(push.get("F", 0.0)),
        lift=pull.get("Z", 0.0),
    )


def _least(words: Mapping[str, float], letters: Sequence[str]) -> float | None:
    return min((words[letter] for letter in letters if letter in words), default=None)
