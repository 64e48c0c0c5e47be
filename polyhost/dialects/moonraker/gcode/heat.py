"""Heaters and fans."""

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Final

from polyhost.core.errors import Malformed, NotNow
from polyhost.core.printer import Snapshot
from polyhost.dialects.moonraker.gcode.grammar import Parameters
from polyhost.dialects.moonraker.gcode.table import Doing, Lines, Step, Table, choice
from polyhost.services import commands
from polyhost.services.printer import Printer

table = Table()

WAIT_S: Final = 3600.0
_FAN: Final = re.compile(r"(?:fan_?)?(\d?)")


def heaters_of(p: Printer) -> Mapping[str, str]:
    """Names of the house by Klipper's: ``extruder``, ``extruder1``, ``heater_bed``, ``chamber``."""
    names = {}
    for heater in p.profile.heaters():
        number = heater.removeprefix("tool")
        if heater.startswith("tool"):
            names["extruder" if number == "0" else f"extruder{number}"] = heater
        else:
            names["heater_bed" if heater == "bed" else heater] = heater
    return names


def heater_in(said: Parameters, name: str, p: Printer) -> str:
    """The heater that a parameter names; its kind (``heater_generic chamber``) may stand before it."""
    heaters = heaters_of(p)
    return heaters[choice_of_heater(said, name, heaters)]


def choice_of_heater(said: Parameters, name: str, heaters: Mapping[str, str]) -> str:
    value = said.text(name).strip()
    for kind in ("heater_generic ", "temperature_sensor "):
        value = value.removeprefix(kind)
    if value in heaters:
        return value
    raise Malformed(f"The value '{value[:64]}' is not valid for {name}; there are {', '.join(heaters)}")


def target_in(said: Parameters, p: Printer, heater: str) -> float:
    """°C; `Malformed` in Klipper's words beyond what the profile allows."""
    celsius, highest = said.number("TARGET", 0.0), p.profile.max_target(heater)
    if not 0 <= celsius <= highest:
        raise Malformed(f"Requested temperature ({celsius:.1f}) out of range (0.0:{highest:.1f})")
    return celsius


@table.command("SET_HEATER_TEMPERATURE", help="Give HEATER the target TARGET, in °C", marlin="`M104`, `M140` or `M141`")
def set_heater(said: Parameters, p: Printer) -> Lines:
    heater = heater_in(said, "HEATER", p)
    return [commands.target(p.profile, heater, target_in(said, p, heater))]


@table.command(
    "TURN_OFF_HEATERS", help="Give every heater a target of 0", marlin="a target of 0 for every heater of the profile"
)
def turn_off(said: Parameters, p: Printer) -> Lines:
    return [commands.target(p.profile, heater, 0.0) for heater in p.profile.heaters()]


@table.command(
    "TEMPERATURE_WAIT",
    help="Go on when SENSOR is between MINIMUM and MAXIMUM",
    marlin="the host waits, at most an hour; the machine can be told other things meanwhile",
)
def wait_for(said: Parameters, p: Printer) -> Step:
    heater = heater_in(said, "SENSOR", p)
    least = said.number("MINIMUM", -math.inf)
    most = said.number("MAXIMUM", math.inf, above=least)
    if least == -math.inf and most == math.inf:
        raise Malformed("Error on 'TEMPERATURE_WAIT': missing MINIMUM or MAXIMUM.")

    async def wait(doing: Doing) -> None:
        def reached() -> bool:
            if not p.is_operational:
                raise NotNow(f"{p.slug} is {p.snapshot.state.value} and reports no temperatures")
            now = p.snapshot.heaters.get(heater)
            return now is not None and now.actual is not None and least <= now.actual <= most

        with doing.host.bus.listen(Snapshot) as listener:
            try:
                async with asyncio.timeout(WAIT_S):
                    while not reached():
                        await anext(listener)
            except TimeoutError:
                raise NotNow(f"{heater} has not come there within {WAIT_S / 60:g} minutes") from None

    return wait


@table.command("SET_FAN_SPEED", help="Let FAN run at SPEED, from 0 to 1", marlin="`M106 P` for `fan`, `fan1`, …")
def set_fan(said: Parameters, p: Printer) -> Lines:
    name = said.text("FAN", "fan")
    number = _FAN.fullmatch(name.removeprefix("fan_generic ").strip())
    if number is None:
        raise Malformed(f"The value '{name[:64]}' is not valid for FAN; there are fan, fan1, fan2, …")
    speed = said.number("SPEED", 0.0, least=0.0, most=1.0)
    other = f" P{number[1]}" if number[1] not in {"", "0"} else ""
    return [f"M106{other} S{round(speed * 255)}"]


@table.command(
    "PID_CALIBRATE",
    help="Tune how HEATER keeps the temperature TARGET",
    marlin="`M303` with eight cycles, whose values are used at once",
)
def pid(said: Parameters, p: Printer) -> Lines:
    heater = heater_in(said, "HEATER", p)
    if heater == "chamber":
        raise Malformed("Marlin cannot tune a chamber by itself; set its PID values with M309")
    said.text("TARGET")
    celsius = target_in(said, p, heater)
    number = "-1" if heater == "bed" else heater.removeprefix("tool")
    return [f"M303 E{number} S{commands.number(celsius)} C8 U1"]


def extruder_in(said: Parameters, p: Printer, default: str | None = None) -> int:
    """The number of the tool that ``EXTRUDER=`` names."""
    names = ["extruder", *(f"extruder{n}" for n in range(1, p.profile.extruders))]
    return names.index(choice(said, "EXTRUDER", names, default))
