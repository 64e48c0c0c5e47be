"""What a simulated machine is: its shape, limits, heaters, buffers and habits.

The defaults are a Marlin 2.1 board on a bed-slinger of 250 x 210 x 210 mm with one hotend.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

AMBIENT_C: Final = 21.0
AXES: Final = "XYZE"

PerAxis = tuple[float, float, float, float]
"""One value each for X, Y, Z and E."""


class MotionLimits(msgspec.Struct, frozen=True):
    """How fast the machine may move; mm, mm/s, mm/s².  What ``M201`` to ``M205`` set."""

    max_feedrate: PerAxis = (300.0, 300.0, 12.0, 120.0)
    max_acceleration: PerAxis = (1500.0, 1500.0, 200.0, 5000.0)
    acceleration: float = 1250.0  # of moves that print
    retract_acceleration: float = 1250.0  # of the extruder alone
    travel_acceleration: float = 1250.0  # of moves that do not print
    jerk: PerAxis = (8.0, 8.0, 0.4, 4.5)
    junction_deviation: float = 0.0  # mm; 0: junctions are judged by `jerk`
    min_feedrate: float = 0.0
    min_travel_feedrate: float = 0.0


class HeaterModel(msgspec.Struct, frozen=True):
    """A heater as one lump: full power heats it `rise` °C a second at room temperature, and it loses heat to the
    room with the time constant `loss_s`.  Near its target the controller closes in with the time constant
    `approach_s`.  `fan_effect` is how much faster it loses heat under a full fan.
    """

    rise: float
    loss_s: float
    approach_s: float
    max_target: float
    fan_effect: float = 0.0


HOTEND: Final = HeaterModel(rise=3.3, loss_s=140.0, approach_s=4.0, max_target=285.0, fan_effect=0.25)
BED: Final = HeaterModel(rise=0.65, loss_s=240.0, approach_s=6.0, max_target=120.0)
CHAMBER: Final = HeaterModel(rise=0.12, loss_s=800.0, approach_s=20.0, max_target=80.0)


class Settings(msgspec.Struct, frozen=True):
    """What the EEPROM keeps: ``M500`` stores it, ``M501`` brings it back, ``M502`` forgets it."""

    limits: MotionLimits = MotionLimits()
    steps_per_mm: PerAxis = (80.0, 80.0, 400.0, 93.0)
    home_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    probe_offset: tuple[float, float, float] = (23.0, 5.0, -1.25)
    hotend_pid: tuple[float, float, float] = (22.2, 1.08, 114.0)
    bed_pid: tuple[float, float, float] = (54.0, 5.1, 382.0)
    retract_length: float = 3.0
    retract_feedrate: float = 45.0
    recover_feedrate: float = 45.0
    linear_advance: float = 0.0
    shaping: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.15), (0.0, 0.15))  # Hz and damping, of X and Y
    levelling: bool = False


class Machine(msgspec.Struct, frozen=True):
    """One machine, as its maker built and configured it.  Lengths in mm, times in seconds."""

    name: str = "Polyhost Virtual"
    firmware: str = "Marlin 2.1.2.1 (Mar  1 2023 12:00:00)"
    volume: tuple[float, float, float] = (250.0, 210.0, 210.0)
    tools: int = 1
    z_motors: int = 2
    heated_bed: bool = True
    heated_chamber: bool = False
    hotend: HeaterModel = HOTEND
    bed: HeaterModel = BED
    chamber: HeaterModel = CHAMBER
    min_extrude_c: float = 170.0
    settings: Settings = Settings()
    homing_feedrate: tuple[float, float, float] = (50.0, 50.0, 8.0)

    boot_s: float = 1.0  # from the reset to ``start``
    command_slots: int = 4  # BUFSIZE
    command_bytes: int = 96  # MAX_CMD_SIZE: the rest of a longer line is not kept; at most 128
    rx_bytes: int = 128  # RX_BUFFER_SIZE
    strict_rx: bool = False  # True: what does not fit into the receive buffer is lost, as on a UART
    planner_blocks: int = 16  # BLOCK_BUFFER_SIZE
    first_move_delay_s: float = 0.1  # BLOCK_DELAY_FOR_1ST_MOVE: time for the planner to see more than one move
    advanced_ok: bool = False
    emergency_parser: bool = True
    autoreport: bool = True
    keepalive_s: float = 2.0
    wait_s: float = 0.0  # says ``wait`` after so many idle seconds; 0: never
    card: Mapping[str, bytes] | None = msgspec.field(default_factory=dict)  # long name -> content; None: no card
