"""A printer: its states, its shape, and what it last told us about itself."""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from polyhost.core.card import CardTransfer
from polyhost.core.errors import Malformed, NotNow
from polyhost.core.job import RunProgress


class PrinterState(Enum):
    """Where the link to a printer stands; what it prints is the run's matter (`core.job.RunState`)."""

    OFFLINE = "offline"  # nobody asked for a link, or it was closed
    DETECTING = "detecting"  # trying rates
    CONNECTING = "connecting"  # the port is open, the firmware has not answered yet
    READY = "ready"  # the firmware answers
    UNREACHABLE = "unreachable"  # the link is wanted and gone; it is tried again
    FAULTED = "faulted"  # the firmware stopped; a person reconnects


class Cause(Enum):
    """Why a link is gone or a printer is faulted."""

    FIRMWARE = "firmware"  # it reported an error, or halted
    EMERGENCY = "emergency"  # ``M112`` was sent to it: by a person, or since it reported a dangerous error
    RESEND = "resend"  # it asked for a line again and again
    TIMEOUT = "timeout"  # it fell silent
    CONNECTION = "connection"  # the port is gone, or never answered


class PrinterSignal(Enum):
    DETECT = "detect"
    CONNECT = "connect"
    GREETED = "greeted"
    DISCONNECT = "disconnect"
    LINK_LOST = "link lost"
    FAULT = "fault"


PRINTER: Final[Mapping[PrinterState, Mapping[PrinterSignal, PrinterState]]] = {
    PrinterState.OFFLINE: {
        PrinterSignal.DETECT: PrinterState.DETECTING,
        PrinterSignal.CONNECT: PrinterState.CONNECTING,
        PrinterSignal.LINK_LOST: PrinterState.UNREACHABLE,
    },
    PrinterState.DETECTING: {
        PrinterSignal.CONNECT: PrinterState.CONNECTING,
        PrinterSignal.DISCONNECT: PrinterState.OFFLINE,
        PrinterSignal.LINK_LOST: PrinterState.UNREACHABLE,
        PrinterSignal.FAULT: PrinterState.FAULTED,
    },
    PrinterState.CONNECTING: {
        PrinterSignal.GREETED: PrinterState.READY,
        PrinterSignal.DISCONNECT: PrinterState.OFFLINE,
        PrinterSignal.LINK_LOST: PrinterState.UNREACHABLE,
        PrinterSignal.FAULT: PrinterState.FAULTED,
    },
    PrinterState.READY: {
        PrinterSignal.DISCONNECT: PrinterState.OFFLINE,
        PrinterSignal.LINK_LOST: PrinterState.UNREACHABLE,
        PrinterSignal.FAULT: PrinterState.FAULTED,
    },
    PrinterState.UNREACHABLE: {
        PrinterSignal.DETECT: PrinterState.DETECTING,
        PrinterSignal.CONNECT: PrinterState.CONNECTING,
        PrinterSignal.DISCONNECT: PrinterState.OFFLINE,
        PrinterSignal.LINK_LOST: PrinterState.UNREACHABLE,
    },
    PrinterState.FAULTED: {
        PrinterSignal.DETECT: PrinterState.DETECTING,
        PrinterSignal.CONNECT: PrinterState.CONNECTING,
        PrinterSignal.DISCONNECT: PrinterState.OFFLINE,
        PrinterSignal.LINK_LOST: PrinterState.FAULTED,
        PrinterSignal.FAULT: PrinterState.FAULTED,
    },
}


def advance_printer(state: PrinterState, signal: PrinterSignal) -> PrinterState:
    """Where `signal` takes a printer that is in `state`; `NotNow` if it takes it nowhere."""
    try:
        return PRINTER[state][signal]
    except KeyError:
        raise NotNow(f"the printer is {state.value}: {signal.value} is not possible now") from None


class Temperature(msgspec.Struct, frozen=True):
    """One heater: °C now, °C wanted (0: off), and the fraction of its power in use; None is unknown."""

    actual: float | None = None
    target: float | None = None
    power: float | None = None


class TemperatureSample(msgspec.Struct, frozen=True):
    """All heaters of a printer at one moment; `at` is seconds since the epoch."""

    at: float
    heaters: dict[str, Temperature]


class Position(msgspec.Struct, frozen=True):
    """Where the toolhead is, in mm; an axis nobody reported is None."""

    x: float | None = None
    y: float | None = None
    z: float | None = None
    e: float | None = None


class ToolPosition(msgspec.Struct, frozen=True):
    """Where the toolhead stood, in mm, how fast it was told to go, and which tool was on."""

    x: float | None = None
    y: float | None = None
    z: float | None = None
    e: float | None = None
    feedrate_mm_s: float | None = None
    tool: int = 0


class Firmware(msgspec.Struct, frozen=True):
    """What ``M115`` said: name, machine, number of extruders, and its capabilities (``AUTOREPORT_TEMP`` → True).

    `motion` is what ``M503`` said of how fast the machine may move: its ``M201`` to ``M205``.
    """

    name: str = ""
    machine: str = ""
    extruders: int = 1
    capabilities: dict[str, bool] = {}
    motion: tuple[str, ...] = ()


class MotionLimits(msgspec.Struct, frozen=True):
    """How fast the machine may move, as far as it said so or was told so: mm/s and mm/s²; None is unknown."""

    velocity: float | None = None
    acceleration: float | None = None
    z_velocity: float | None = None
    z_acceleration: float | None = None
    corner_velocity: float | None = None  # with which a right angle may be taken


class Retraction(msgspec.Struct, frozen=True):
    """What ``G10`` and ``G11`` do: lengths in mm, speeds in mm/s."""

    length: float = 0.0
    speed_mm_s: float = 0.0
    extra_length: float = 0.0  # that is pushed besides what was retracted
    extra_speed_mm_s: float = 0.0
    lift: float = 0.0


class BedMesh(msgspec.Struct, frozen=True):
    """The bed's unevenness as reported: rows of heights in mm, from `min_y` to `max_y`, each along X."""

    min_x: float
    min_y: float
    max_x: float
    max_y: float
    heights: tuple[tuple[float, ...], ...]
    used: bool = True  # it is compensated now


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast an axis jogs, and whether it runs backwards."""

    speed_mm_s: float
    inverted: bool = False


class Reach(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the toolhead may go, in mm: the volume that can be printed, and what lies around it."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float
    z_min: float
    z_max: float


MAX_EXTRUDERS: Final = 32
MAX_LENGTH_MM: Final = 10_000.0
MAX_TEXT_BYTES: Final = 255
_MAX_SPEED_MM_S: Final = 100_000.0


class PrinterProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape and limits of a machine.  Lengths in mm."""

    name: str = "Default"  # of the profile
    model: str = "Generic RepRap Printer"  # as its maker calls it
    color: str = "default"  # in which clients show it
    width: float = 200.0  # mm that it can print along X
    depth: float = 200.0  # mm along Y
    height: float = 200.0  # mm along Z
    circular: bool = False  # a round bed, `width` across
    origin_at_center: bool = False  # X0 Y0 is the middle of the bed, not its front left corner
    custom_box: Reach | None = None  # how far the toolhead may go (`x_min` … `z_max`, mm), if beyond the volume
    heated_bed: bool = True  # whether the bed heats
    heated_chamber: bool = False  # whether the chamber heats
    extruders: int = 1  # how many there are
    extruder_offsets: tuple[tuple[float, float], ...] = ((0.0, 0.0),)  # mm from the first nozzle, X and Y
    nozzle_diameter: float = 0.4  # mm
    shared_nozzle: bool = False  # all extruders feed one hotend
    filament_diameter: float = 1.75  # mm
    default_extrusion_length: float = 5.0  # mm, when nobody says how much
    x: Axis = Axis(100.0)  # how X jogs: `speed_mm_s`, and `inverted` when it runs backwards
    y: Axis = Axis(100.0)  # how Y jogs
    z: Axis = Axis(200.0 / 60.0)  # how Z jogs
    e: Axis = Axis(5.0)  # how the extruder is moved by hand
    max_hotend: float = 300.0  # °C that may be asked of a hotend
    max_bed: float = 130.0  # °C that may be asked of the bed
    max_chamber: float = 90.0  # °C that may be asked of the chamber

    def heaters(self) -> tuple[str, ...]:
        """Names of the heaters that a machine of this shape has: ``tool0``, …, ``bed``, ``chamber``."""
        tools = tuple(f"tool{n}" for n in range(1 if self.shared_nozzle else self.extruders))
        return tools + ("bed",) * self.heated_bed + ("chamber",) * self.heated_chamber

    def max_target(self, heater: str) -> float:
        """The highest target in °C that a person may ask of `heater`."""
        return {"bed": self.max_bed, "chamber": self.max_chamber}.get(heater, self.max_hotend)

    def volume(self) -> Reach:
        """What can be printed, in the machine's own coordinates."""
        if self.origin_at_center or self.circular:
            x, y = self.width / 2, self.depth / 2
            return Reach(-x, x, -y, y, 0.0, self.height)
        return Reach(0.0, self.width, 0.0, self.depth, 0.0, self.height)

    def jogged(self, moves: Mapping[str, float]) -> dict[str, float]:
        """Distances by axis as a person at the machine means them, as distances of its coordinates."""
        backwards = {"x": self.x.inverted, "y": self.y.inverted, "z": self.z.inverted}
        return {axis: -mm if backwards[axis] else mm for axis, mm in moves.items()}


def checked_profile(profile: PrinterProfile) -> PrinterProfile:
    """`profile` as a machine can have it; `Malformed` names the value that none can.

    A round bed has its origin in the middle and is as deep as wide, extruders that share a nozzle have no offsets,
    and a custom box is at least the volume; one that is just that is none.
    """
    for name in ("name", "model", "color"):
        text = getattr(profile, name)
        if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES or not (text.isprintable() or not text):
            raise Malformed(f"the profile's {name} must be at most {MAX_TEXT_BYTES} bytes, without control characters")
    for name in ("width", "depth", "height"):
        _check_range(name, getattr(profile, name), 0.0, MAX_LENGTH_MM)
    if not 1 <= profile.extruders <= MAX_EXTRUDERS:
        raise Malformed(f"a profile has 1 to {MAX_EXTRUDERS} extruders, not {profile.extruders}")
    if len(profile.extruder_offsets) > MAX_EXTRUDERS:
        raise Malformed(f"a profile has offsets of at most {MAX_EXTRUDERS} extruders")
    for offset in profile.extruder_offsets:
        for mm in offset:
            if not abs(mm) < MAX_LENGTH_MM:
                raise Malformed(f"an extruder's offset is less than {MAX_LENGTH_MM:g} mm, not {mm:g}")
    for name in ("nozzle_diameter", "filament_diameter"):
        _check_range(name, getattr(profile, name), 0.0, 100.0)
    if not 0 <= profile.default_extrusion_length < MAX_LENGTH_MM:
        raise Malformed(f"the default extrusion length is no length: {profile.default_extrusion_length:g}")
    for name in ("x", "y", "z", "e"):
        _check_range(f"speed of {name} in mm/s", getattr(profile, name).speed_mm_s, 0.0, _MAX_SPEED_MM_S)
    for name in ("max_hotend", "max_bed", "max_chamber"):
        _check_range(name, getattr(profile, name), 0.0, 1000.0)
    if profile.circular:
        profile = msgspec.structs.replace(profile, origin_at_center=True, depth=profile.width)
    if profile.shared_nozzle:
        profile = msgspec.structs.replace(profile, extruder_offsets=((0.0, 0.0),))
    return msgspec.structs.replace(profile, custom_box=_checked_box(profile))


def _checked_box(profile: PrinterProfile) -> Reach | None:
    box, volume = profile.custom_box, profile.volume()
    if box is None:
        return None
    reach = {}
    for side in Reach.__struct_fields__:
        mm, least = getattr(box, side), getattr(volume, side)
        if not abs(mm) < MAX_LENGTH_MM:
            raise Malformed(f"{side} of the custom box must be less than {MAX_LENGTH_MM:g} mm away, not {mm:g}")
        reach[side] = min(mm, least) if side.endswith("min") else max(mm, least)
    wider = Reach(**reach)
    return None if wider == volume else wider


def _check_range(name: str, value: float, above: float, below: float) -> None:
    if not (math.isfinite(value) and above < value < below):
        raise Malformed(f"the profile's {name} must be more than {above:g} and less than {below:g}, not {value:g}")


class Snapshot(msgspec.Struct, frozen=True):
    """Everything about a printer that changes by itself, at one moment; made by its driver, at most ten a second."""

    printer: str
    state: PrinterState = PrinterState.OFFLINE
    fault: str = ""  # why it is FAULTED or UNREACHABLE, in words for the owner
    cause: Cause | None = None  # the same for programs
    port: str = ""
    baud: int = 0
    firmware: Firmware = Firmware()
    heaters: dict[str, Temperature] = {}
    offsets: dict[str, float] = {}  # °C that targets set by a run's file are raised by
    tool: int = 0
    position: Position = Position()
    homed: str = ""  # those of "xyz" that were homed since the firmware started
    fan: float = 0.0
    feedrate_factor: float = 1.0
    flow_factor: float = 1.0
    absolute: bool = True  # X, Y and Z are read as places, not as ways
    absolute_e: bool = True  # and so is E
    feedrate_mm_s: float = 0.0  # as last told
    z_offset: float = 0.0  # mm that Z was moved by babysteps since the firmware started
    limits: MotionLimits = MotionLimits()
    retraction: Retraction | None = None  # None: nobody said
    mesh: BedMesh | None = None  # None: none was reported
    filament: dict[str, bool] = {}  # whether each filament sensor sees filament
    message: str = ""  # what the machine's display was told last (``M117``)
    told_progress: float | None = None  # the fraction done that the file told last (``M73``)
    sd_ready: bool = False
    card_used: bool = True  # its owner wants its own card used
    transfer: CardTransfer | None = None  # the file on its way to its own card
    hot: bool = False  # something was told to heat and not yet told off
    lines_sent: int = 0
    resends: int = 0
    run: RunProgress | None = None  # the run in progress, or the last one until the next
    filament_watched: bool = True  # the machine heeds its filament sensors (``M412``)
