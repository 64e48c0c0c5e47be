"""A Marlin machine that is not there: it hears, answers, moves, heats and takes time, and does no input or output.

`intake` checks lines, `conversation` speaks the protocol and keeps the clock; `board` is the state that commands
change, grouped in `moves`, `heat`, `storage`, `setup`, `probing`, `outside` and `talk`; `planner` and `thermal` say
how long things take; `faults` is what can go wrong.
"""

from polyhost.firmware.marlin.simulator.conversation import Simulator
from polyhost.firmware.marlin.simulator.faults import Fault
from polyhost.firmware.marlin.simulator.machine import HeaterModel, Machine, MotionLimits, Settings

__all__ = ["Fault", "HeaterModel", "Machine", "MotionLimits", "Settings", "Simulator"]
