"""The board's state: everything its commands read and change, and what they wait for.

Commands are functions of the sibling modules: `command(board, rest)`, where `rest` is what follows the code and a
space.  One that takes time is a generator; it yields what it waits for.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Final

from polyhost.firmware.marlin.simulator.card import Card
from polyhost.firmware.marlin.simulator.machine import Machine, Settings
from polyhost.firmware.marlin.simulator.planner import Planner
from polyhost.firmware.marlin.simulator.thermal import Heater


class Until(Enum):
    """What a command waits for, other than a moment of machine time."""

    ROOM = "room"  # in the planner
    REST = "rest"  # the end of every queued move
    HEAT = "heat"  # `Board.heat_until`, or a person
    PERSON = "person"


Wait = float | Until
Taking = Iterator[Wait]
Command = Callable[["Board", bytes], Taking | None]

_WORDS: Final = re.compile(rb"([A-Za-z])\s*([-+]?\d*\.?\d*)")


def words(rest: bytes) -> dict[str, float | None]:
    """The parameters of a command by letter; None for a letter without a number."""
    found: dict[str, float | None] = {}
    for letter, number in _WORDS.findall(rest):
        try:
            found[letter.decode().upper()] = float(number)
        except ValueError:
            found[letter.decode().upper()] = None
    return found


def line(text: str) -> bytes:
    return text.encode("utf-8", "replace") + b"\n"


class Board:
    """What a reset forgets (but `stored` settings, the card, the warmth of the heaters, and the bed's shape and slope).

    `now` is machine time in seconds since the reset; the conversation sets it before each command.
    """

    def __init__(self, machine: Machine, say: Callable[[bytes], None], *, instant: bool, seed: int) -> None:
        self.machine = machine
        self.say = say
        self.instant = instant
        self.stored: Settings | None = None
        self.card = Card(machine.card)
        self.now = 0.0
        self.hotends = [Heater(machine.hotend, instant=instant) for _ in range(machine.tools)]
        self.bed = Heater(machine.bed, instant=instant) if machine.heated_bed else None
        self.chamber = Heater(machine.chamber, instant=instant) if machine.heated_chamber else None
        self.dice = random.Random(seed)
        self.mesh = [[round(self.dice.uniform(-0.15, 0.15), 3) for _ in range(5)] for _ in range(5)]
        self.slope_mm = self.dice.uniform(0.2, 0.6)  # from one Z motor to the other
        self.reset()

    def reset(self) -> None:
        """As after power-on, at machine time 0."""
        for heater in self.heaters().values():
            heater.restart_clock(self.now, 0.0)
        machine = self.machine
        self.now = 0.0
        self.settings = self.stored or machine.settings
        self.planner = Planner(self.settings.limits, machine.planner_blocks, machine.first_move_delay_s)
        self.absolute = self.absolute_e = True
        self.scale = 1.0  # mm per unit of the commands
        self.feedrate = 25.0
        self.feed_factor = 1.0
        self.flow_factors = [1.0] * machine.tools
        self.tool = 0
        self.homed: set[str] = set()
        self.fan = 0.0
        self.retracted = False
        self.min_extrude_c = machine.min_extrude_c
        self.cold_extrusion = False
        self.warm = False  # known to be warm enough to extrude, until a target changes
        self.levelled = self.settings.levelling
        self.ok_text = b""  # what the next `ok` carries instead of the advanced words
        self.heat_until = 0.0
        self.heating: Heater | None = None  # what a command waits for
        self.residency_s = 0.0
        self.interrupted = False  # by M108
        self.asked = False  # a person was asked something that M876 may answer
        self.debug = 0
        self.pins: dict[int, int] = {}
        self.light = (0, 0, 0, 0)  # red, green, blue, white
        self.watches_filament = True
        self.keepalive_s = machine.keepalive_s
        self.report_temperatures_s = 0.0
        self.report_position_s = 0.0
        self.report_card_s = 0.0
        self.job_started: float | None = None
        self.job_s = 0.0
        self.last_line = 0
        self.card.reset()

    def heaters(self) -> Mapping[str, Heater]:
        """Every heater by the name that Polyhost gives it."""
        found = {f"tool{number}": heater for number, heater in enumerate(self.hotends)}
        if self.bed is not None:
            found["bed"] = self.bed
        if self.chamber is not None:
            found["chamber"] = self.chamber
        return found

    def wake_at(self, wait: Wait) -> float:
        """The machine time at which `wait` is worth another look."""
        if isinstance(wait, float):
            return wait
        match wait:
            case Until.ROOM | Until.REST:
                return self.planner.busy_until
            case Until.HEAT:
                return self.heat_until
            case Until.PERSON:
                return float("inf")

    def rest(self) -> Taking:
        """Wait for the end of every queued move."""
        planner = self.planner
        planner.start(self.now)
        planner.advance(self.now)
        while planner.queued:
            yield Until.REST
            planner.advance(self.now)

    def temperatures(self) -> str:
        """``T:21.00 /0.00 B:21.00 /0.00 @:0 B@:0``, as ``M105``, the waits and the automatic reports have it."""
        now = self.now
        shown = [("T", self.hotends[self.tool])]
        if self.bed is not None:
            shown.append(("B", self.bed))
        if self.chamber is not None:
            shown.append(("C", self.chamber))
        powers = [("" if name == "T" else name, heater) for name, heater in shown]
        if len(self.hotends) > 1:
            shown += [(f"T{number}", heater) for number, heater in enumerate(self.hotends)]
            powers += [(str(number), heater) for number, heater in enumerate(self.hotends)]
        texts = [f"{name}:{heater.temperature(now):.2f} /{heater.target:.2f}" for name, heater in shown]
        texts += [
            f"@{name}:{self._power(heater)}" if name.isdigit() else f"{name}@:{self._power(heater)}"
            for name, heater in powers
        ]
        return " ".join(texts)

    def _power(self, heater: Heater) -> int:
        return round(heater.power(self.now) * 127)

    def position(self) -> str:
        """``X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0``: where the last move goes, and the steps now."""
        planner = self.planner
        if self.instant:
            at = (planner.x, planner.y, planner.z, planner.e)
        else:
            at = planner.place(self.now)
        steps = [round(mm * per_mm) for mm, per_mm in zip(at, self.settings.steps_per_mm, strict=True)]
        return (
            f"X:{planner.x:.2f} Y:{planner.y:.2f} Z:{planner.z:.2f} E:{planner.e:.2f} "
            f"Count X:{steps[0]} Y:{steps[1]} Z:{steps[2]}"
        )
