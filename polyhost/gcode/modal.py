"""What a machine has been told so far: modes, position, tool, targets, fan.

Follows Marlin's meaning of each command.  The engine advances a `ModalState` with the commands a machine has
acknowledged and writes it to its journal, so that a person can resume an interrupted run from it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from polyhost.core.units import mm_min_from_mm_s

INCH: Final = 25.4
MAX_TOOLS: Final = 64
MAX_MESSAGE: Final = 255
ABSURD: Final = 1e7  # no coordinate, feedrate or temperature

_CODE = re.compile(rb"(?:[Nn]\d+\s*)?([A-Za-z])\s*(\d+)(?![.\d])")
_WORD = re.compile(rb"([A-Za-z])\s*([-+]?(?:\d+\.?\d*|\.\d+))?")
_HEATING = re.compile(rb"[Mm]0*(?:10[49]|14[01]|19[01])(?!\d)[^\n]*?[SRIsri] *\+?[0.]*[1-9]|[Mm]0*(?:303|24|32)(?!\d)")
_KEPT: Final = frozenset({"M201", "M203", "M204", "M205", "M207", "M208", "M900"})


def heating(commands: Iterable[bytes]) -> bool:
    """Whether any of `commands` may switch a heater on: a target above 0, a PID autotune, a print from the card.

    Says yes too often rather than not often enough (``M117 M104 S9`` counts).
    """
    text = b"\n".join(commands)
    return (b"M" in text or b"m" in text) and _HEATING.search(text) is not None


class ModalState(msgspec.Struct):
    """A machine as its commands leave it.  mm, mm/s, °C; `fan` and the two factors are fractions of 1.

    Positions are in the coordinates of the file; the machine's own are `x + shift_x` and so on, after a ``G92``.
    `homed` has the letters of the axes whose position is known, such as "XYZ".  `settings` are the words of the
    last ``M201``, ``M203``, ``M204``, ``M205``, ``M207``, ``M208`` and ``M900``.  `pushed` is the filament moved so
    far, less what was pulled back; `pulled` how far that in use is pulled back now, `parked` the same by other tools.
    `z_offset` is the sum of the babysteps of Z (``M290``), `message` the text of the last ``M117`` and `told_progress`
    the fraction done by the last ``M73``.
    """

    millimetres: bool = True
    absolute: bool = True
    extruder_absolute: bool = True
    tool: int = 0
    feedrate_mm_s: float = 0.0
    fan: float = 0.0
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    e: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    shift_z: float = 0.0
    homed: str = ""
    retracted: bool = False  # by G10
    hotends: dict[int, float] = msgspec.field(default_factory=dict)
    bed: float = 0.0
    chamber: float = 0.0
    speed_factor: float = 1.0
    flow_factor: float = 1.0
    pushed: float = 0.0
    pulled: float = 0.0
    parked: dict[int, float] = msgspec.field(default_factory=dict)
    z_offset: float = 0.0
    message: str = ""
    told_progress: float | None = None
    settings: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)

    def copy(self) -> "ModalState":
        """A snapshot that later commands leave alone."""
        return msgspec.structs.replace(
            self,
            hotends=dict(self.hotends),
            parked=dict(self.parked),
            settings={code: dict(words) for code, words in self.settings.items()},
        )

    @property
    def hot(self) -> bool:
        """Whether any heater has a target above 0."""
        return self.bed > 0 or self.chamber > 0 or any(target > 0 for target in self.hotends.values())

    def advance(self, commands: Iterable[bytes]) -> None:
        """Take `commands` (as `LineReader` gives them) as carried out; what is not understood changes nothing."""
        for command in commands:
            words = command.split()
            if words and words[0] in (b"G1", b"G0", b"G2", b"G3"):
                try:
                    self._move(words)
                    continue
                except ValueError:  # written without spaces, or not quite a number
                    pass
            self._carry_out(command)

    def _move(self, words: Sequence[bytes]) -> None:
        """``G0`` to ``G3`` as words; `ValueError`, and nothing changed, when one is not a letter and a number."""
        x = y = z = e = f = None
        for word in words[1:]:
            letter = word[0]
            value = float(word[1:])
            if not -ABSURD < value < ABSURD:
                raise ValueError(word)
            if letter == 88:
                x = value
            elif letter == 89:
                y = value
            elif letter == 69:
                e = value
            elif letter == 70:
                f = value
            elif letter == 90:
                z = value
        scale = 1.0 if self.millimetres else INCH
        if f is not None and f > 0:
            self.feedrate_mm_s = f * scale / 60.0
        absolute = self.absolute
        if x is not None:
            self.x = x * scale if absolute else self.x + x * scale
        if y is not None:
            self.y = y * scale if absolute else self.y + y * scale
        if z is not None:
            self.z = z * scale if absolute else self.z + z * scale
        if e is not None:
            way = e * scale - self.e if absolute and self.extruder_absolute else e * scale
            self.e += way
            self.pushed += way
            way = self.pulled - way
            self.pulled = way if way > 0.0 else 0.0

    def _carry_out(self, command: bytes) -> None:
        match = _CODE.match(command)
        if match is None:
            return
        code = f"{match[1].decode().upper()}{int(match[2][:6])}"
        text = command[match.end() :].partition(b"*")[0]
        words = {
            letter.decode().upper(): number.decode()
            for letter, number in _WORD.findall(text)
            if not number or -ABSURD < float(number) < ABSURD
        }
        values = {letter: float(number or 0) for letter, number in words.items()}
        scale = 1.0 if self.millimetres else INCH
        match code:
            case "G0" | "G1" | "G2" | "G3":
                self._move([b"", *(f"{letter}{value!r}".encode() for letter, value in values.items())])
            case "G10" | "G11" if "P" not in values:
                self.retracted = code == "G10"
            case "G20" | "G21":
                self.millimetres = code == "G21"
            case "G28":
                self._home("".join(axis for axis in "XYZ" if axis in values) or "XYZ")
            case "G90" | "G91":
                self.absolute = code == "G90"
            case "G92":
                self._set_position({axis: value * scale for axis, value in values.items()})
            case "M18" | "M84" if not values.keys() - {"S"}:
                self.homed = self.homed if "S" in values else ""
            case "M82" | "M83":
                self.extruder_absolute = code == "M82"
            case "M104" | "M109":
                tool = int(values.get("T", self.tool))
                if 0 <= tool < MAX_TOOLS:
                    self.hotends[tool] = self._target(values, self.hotends.get(tool, 0.0))
            case "M140" | "M190":
                self.bed = self._target(values, self.bed)
            case "M141" | "M191":
                self.chamber = self._target(values, self.chamber)
            case "M106" if not values.get("P"):
                self.fan = min(max(values.get("S", 255.0) / 255.0, 0.0), 1.0)
            case "M107" if not values.get("P"):
                self.fan = 0.0
            case "M220" if values.get("S", 0) > 0:
                self.speed_factor = values["S"] / 100.0
            case "M221" if values.get("S", 0) > 0:
                self.flow_factor = values["S"] / 100.0
            case "M290":
                self.z_offset += values.get("Z", values.get("S", 0.0)) * scale
            case "M117":
                self.message = command[match.end() :].decode("utf-8", "replace").strip()[:MAX_MESSAGE]
            case "M73" if "P" in values:
                self.told_progress = min(max(values["P"] / 100.0, 0.0), 1.0)
            case _ if code in _KEPT:
                self.settings.setdefault(code, {}).update(words)
            case _ if code[0] == "T" and int(code[1:]) < MAX_TOOLS:
                self._select(int(code[1:]))

    def _select(self, tool: int) -> None:
        if tool != self.tool:
            self.parked[self.tool] = self.pulled
            self.pulled = self.parked.pop(tool, 0.0)
            self.tool = tool

    @staticmethod
    def _target(values: dict[str, float], now: float) -> float:
        return max(values.get("S", values.get("R", now)), 0.0)

    def _home(self, axes: str) -> None:
        # Where the endstops are is the machine's own; the next absolute move says it.
        for axis in axes.lower():
            setattr(self, axis, 0.0)
            setattr(self, f"shift_{axis}", 0.0)
        self.homed = "".join(axis for axis in "XYZ" if axis in self.homed or axis in axes)

    def _set_position(self, values: dict[str, float]) -> None:
        if not values:
            values = dict.fromkeys("XYZE", 0.0)
        for axis in "xyz":
            if (value := values.get(axis.upper())) is None:
                continue
            if axis.upper() in self.homed:  # else this is all that is known of where the machine is
                setattr(self, f"shift_{axis}", getattr(self, f"shift_{axis}") + getattr(self, axis) - value)
            setattr(self, axis, value)
        self.e = values.get("E", self.e)


LIFT_MM: Final = 2.0


def resume_script(state: ModalState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The commands that bring a machine, just powered on, to where `state` says it was, and what nobody can know.

    Bed and hotend heat first, since the nozzle may be stuck in the part; Z is believed, not homed, since homing it may
    touch the part; X and Y are homed after a small lift.  To be read by a person before it is sent.
    """
    lines = ["G21"]
    if state.chamber:
        lines.append(f"M141 S{_number(state.chamber)}")
    if state.bed:
        lines.append(f"M140 S{_number(state.bed)}")
    for tool, target in sorted(state.hotends.items()):
        if target and tool != state.tool:
            lines.append(f"M104 T{tool} S{_number(target)}")
    if state.bed:
        lines.append(f"M190 S{_number(state.bed)}")
    if state.chamber:
        lines.append(f"M191 S{_number(state.chamber)}")
    several = state.tool != 0 or len(state.hotends) > 1
    if several:
        lines.append(f"T{state.tool}")
    if target := state.hotends.get(state.tool, 0.0):
        lines.append(f"M109 S{_number(target)}")
    for code, words in sorted(state.settings.items()):
        lines.append(" ".join([code, *(letter + number for letter, number in words.items())]))
    lines += [
        f"G92 Z{_number(state.z + state.shift_z)}",
        "G91",
        f"G1 Z{_number(LIFT_MM)} F300",
        "G90",
        "G28 X Y",
        f"G1 X{_number(state.x + state.shift_x)} Y{_number(state.y + state.shift_y)} F6000",
        f"G1 Z{_number(state.z + state.shift_z)} F300",
    ]
    shifted = [
        f"{axis.upper()}{_number(getattr(state, axis))}" for axis in "xyz" if getattr(state, f"shift_{axis}") != 0
    ]
    if shifted:
        lines.append(" ".join(["G92", *shifted]))
    lines += [
        f"M220 S{_number(state.speed_factor * 100)}",
        f"M221 S{_number(state.flow_factor * 100)}",
        f"M106 S{round(state.fan * 255)}" if state.fan else "M107",
    ]
    if state.retracted:
        lines.append("G10")
    if state.feedrate_mm_s:
        lines.append(f"G1 F{_number(mm_min_from_mm_s(state.feedrate_mm_s))}")
    if not state.millimetres:
        lines.append("G20")
    lines += [
        f"G92 E{_number(state.e if state.millimetres else state.e / INCH)}",
        "M82" if state.extruder_absolute else "M83",
        "G90" if state.absolute else "G91",
    ]
    return tuple(lines), _doubts(state)


def _doubts(state: ModalState) -> tuple[str, ...]:
    doubts = [
        "The last lines sent may not have been carried out: up to a buffer full of moves is missing or drawn twice.",
        f"Z is taken to be {_number(state.z + state.shift_z)} mm, where it was; if the axis sank or was turned, "
        "the nozzle will be too low or too high.  Z is not homed, since that may touch the part.",
        "The part may have come off the bed while it cooled; look before you resume.",
    ]
    if "Z" not in state.homed or "X" not in state.homed or "Y" not in state.homed:
        doubts.append("The file had not homed every axis yet; starting the file again is safer than resuming it.")
    if not state.hotends.get(state.tool):
        doubts.append("No hotend target was known; the script does not heat it.")
    if state.settings.keys() & {"M201", "M203", "M204", "M205"}:
        doubts.append("Speed and acceleration limits are set again as the file had set them.")
    return tuple(doubts)


def _number(value: float) -> str:
    return f"{value:.5f}".rstrip("0").rstrip(".") if value else "0"
