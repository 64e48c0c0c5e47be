"""``extruder``, ``heater_bed``, ``heater_generic``, ``temperature_sensor``, ``heaters``, ``fan``, filament sensors."""

from typing import Final

from polyhost.core.printer import PrinterProfile, Snapshot, Temperature
from polyhost.dialects.moonraker.objects.view import Fields, Status, View, known

COLDEST_EXTRUSION: Final = 170.0
"""°C below which Marlin moves no filament, unless it was built otherwise; it does not tell."""
_UNKNOWN: Final = Temperature()


def extruder_called(tool: int) -> str:
    """Klipper's name of an extruder.

    >>> extruder_called(0), extruder_called(2)
    ('extruder', 'extruder2')
    """
    return f"extruder{tool or ''}"


def called(heater: str) -> str:
    """Klipper's name of a heater.

    >>> called("tool1"), called("bed"), called("chamber")
    ('extruder1', 'heater_bed', 'heater_generic chamber')
    """
    if heater.startswith("tool"):
        return extruder_called(int(heater[4:]))
    return {"bed": "heater_bed"}.get(heater, f"heater_generic {heater}")


def heaters_there(profile: PrinterProfile) -> dict[str, str]:
    """Heaters of the machine: Klipper's name → ours."""
    return {called(heater): heater for heater in profile.heaters()}


def sensors_there(snapshot: Snapshot, profile: PrinterProfile) -> dict[str, str]:
    """What has a temperature and does not heat: Klipper's name → ours."""
    heaters = profile.heaters()
    return {
        f"temperature_sensor {name}": name
        for name in snapshot.heaters
        if name not in heaters and name != "bed" and not name.startswith("tool")
    }


def heaters_of(snapshot: Snapshot, profile: PrinterProfile) -> Fields:
    """``heaters``: which there are."""
    heaters = list(heaters_there(profile))
    return {
        "available_heaters": heaters,
        "available_sensors": [*heaters, *sensors_there(snapshot, profile)],
        "available_monitors": [],
    }


def temperatures_of(view: View) -> Status:
    """Every heater and sensor."""
    snapshot, status = view.snapshot, Status()
    for name, heater in heaters_there(view.profile).items():
        at = snapshot.heaters.get(heater, _UNKNOWN)
        fields: Fields = {
            "temperature": round(known(at.actual), 2),
            "target": known(at.target),
            "power": round(known(at.power), 4),
        }
        if heater.startswith("tool"):
            fields |= {
                "can_extrude": known(at.actual) >= COLDEST_EXTRUSION,
                "pressure_advance": 0.0,
                "smooth_time": 0.0,
                "motion_queue": None,
            }
        status[name] = fields
    for name, sensor in sensors_there(snapshot, view.profile).items():
        now = round(known(snapshot.heaters[sensor].actual), 2)
        coldest, hottest = view.measured.get(sensor, (now, now))
        status[name] = {"temperature": now, "measured_min_temp": coldest, "measured_max_temp": hottest}
    return status


def fan_of(snapshot: Snapshot) -> Fields:
    return {"speed": round(snapshot.fan, 4), "rpm": None}


def filament_of(snapshot: Snapshot) -> Status:
    """``filament_switch_sensor``, one for each that the machine told of; clients take the second word for its name."""
    return {
        f"filament_switch_sensor {name.replace(' ', '_')}": {
            "filament_detected": seen,
            "enabled": snapshot.filament_watched,
        }
        for name, seen in snapshot.filament.items()
    }
