"""How Mainsail, Fluidd and KlipperScreen begin, and what they make of what they are answered.

Told in our words from their public sources (Mainsail 2.15, Fluidd 1.34, KlipperScreen of 2026): which calls, in which
order, with which params; what they wait for; what they index without looking; when they warn.  Specification, 3.1
to 3.4.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

Ask = Callable[..., Awaitable[dict[str, Any]]]
"""Asks over JSON-RPC: a method and its params; the answer without its envelope: ``result`` or ``error``."""


@dataclass
class Shown:
    """What a front end came to."""

    state: str = ""
    message: str = ""
    ready: bool = False  # it shows a printer, and not a page that waits for one
    warnings: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # components and calls that were refused
    status: dict[str, Any] = field(default_factory=dict)
    components: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    heaters: list[str] = field(default_factory=list)
    macros: list[str] = field(default_factory=list)  # those with a button
    files: list[str] = field(default_factory=list)


class Stopped(Exception):
    """The front end would stand still here, or show nothing but its error."""


# What they have in common


SEMVER: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-(\d+)\S*)?$")


def is_older(version: str, least: str) -> bool:
    """Whether a front end warns of `version`: what is no version at all is not warned of."""
    ours, theirs = SEMVER.match(version), SEMVER.match(least)
    assert theirs is not None
    return ours is not None and [int(n or 0) for n in ours.groups()] < [int(n or 0) for n in theirs.groups()]


def headline(status: Mapping[str, Any]) -> str:
    """The word above Fluidd's and Mainsail's dashboards."""
    prints, idle = status["print_stats"]["state"], status["idle_timeout"]["state"].lower()
    if prints in {"paused", "cancelled", "printing"}:
        return str(prints)
    return "busy" if idle == "printing" else str(idle)


def buttons(settings: Mapping[str, Any]) -> list[str]:
    """Macros that get one: neither hidden by their name nor in the place of a command."""
    names = [name.partition(" ")[2] for name in settings if name.startswith("gcode_macro ")]
    return [
        name for name in names if not name.startswith("_") and "rename_existing" not in settings[f"gcode_macro {name}"]
    ]


async def _answered(ask: Ask, method: str, params: dict[str, Any] | None, shown: Shown) -> Any:
    answer = await ask(method, params)
    if "error" in answer:
        shown.failed.append(f"{method}: {answer['error']}")
        return None
    return answer["result"]


async def _waited_for(ask: Ask, method: str, params: dict[str, Any] | None = None) -> Any:
    """What the page does not go on without."""
    answer = await ask(method, params)
    if "error" in answer:
        raise Stopped(f"{method}: {answer['error']}")
    return answer["result"]


def _of_the_server(info: Mapping[str, Any], shown: Shown, least: str) -> None:
    shown.components = list(info["components"])
    assert len(info["failed_components"]) >= 0
    assert isinstance(info["registered_directories"], list)
    shown.warnings += info["warnings"]
    shown.warnings += [f"failed component {name}" for name in info["failed_components"]]
    shown.warnings += [f"missing requirement {name}" for name in info["missing_klippy_requirements"]]
    if is_older(info["moonraker_version"], least):
        shown.warnings.append(f"Moonraker {info['moonraker_version']} is old")


# Mainsail


MAINSAIL: Final = {
    "client_name": "mainsail",
    "version": "2.15.0",
    "type": "web",
    "url": "https://github.com/mainsail-crew/mainsail",
}
OF_COMPONENTS: Final[Mapping[str, tuple[tuple[str, dict[str, Any]], ...]]] = {
    "history": (
        ("server.history.list", {"start": 0, "limit": 50, "max": 100}),
        ("server.history.totals", {}),
    ),
    "power": (("machine.device_power.devices", {}),),
    "update_manager": (("machine.update.status", {}),),
    "timelapse": (("machine.timelapse.get_settings", {}),),
    "job_queue": (("server.job_queue.status", {}),),
    "announcements": (("server.announcements.list", {}),),
    "spoolman": (("server.spoolman.get_spool_id", {}),),
    "sensor": (("server.sensors.list", {}),),
}


async def mainsail(ask: Ask, http: httpx.AsyncClient, base: str) -> Shown:
    """From the open socket to the dashboard, or to the page that says why there is none."""
    shown = Shown()
    await _waited_for(ask, "server.connection.identify", MAINSAIL)
    info = await _waited_for(ask, "server.info", {})
    await _waited_for(ask, "server.config", {})
    (await _waited_for(ask, "machine.system_info", {}))["system_info"]["available_services"]
    stats = await _waited_for(ask, "machine.proc_stats", {})
    if stats["throttled_state"] is not None:
        shown.warnings += stats["throttled_state"]["flags"]
    namespaces = (await _waited_for(ask, "server.database.list", {"root": "config"}))["namespaces"]
    _of_the_server(info, shown, "v0.8.0-306")
    for component in info["components"]:
        for method, params in OF_COMPONENTS.get(component, ()):
            await _answered(ask, method, params, shown)
    for root in info["registered_directories"]:
        listing = await _answered(ask, "server.files.get_directory", {"path": root}, shown)
        if listing is not None:
            assert {"dirs", "files", "disk_usage", "root_info"} <= listing.keys()
    await _mainsail_s_own(ask, http, base, namespaces)
    assert isinstance((await _waited_for(ask, "server.webcams.list", {}))["webcams"], list)
    info = await _waited_for(ask, "server.info", {})
    if not info["klippy_connected"]:
        return shown  # and asks again each two seconds
    commands = await _answered(ask, "printer.objects.query", {"objects": {"gcode": ["commands"]}}, shown)
    if info["klippy_state"] != "ready":
        told = await _waited_for(ask, "printer.info", {})  # and again each two seconds, until it is ready
        shown.state, shown.message = told["state"], told["state_message"]
        return shown
    assert "G28" in commands["status"]["gcode"]["commands"]
    return await _mainsail_s_printer(ask, shown)


async def _mainsail_s_own(ask: Ask, http: httpx.AsyncClient, base: str, namespaces: list[str]) -> None:
    """Its settings: found as an object, or begun."""
    if "mainsail" in namespaces:
        found = await _waited_for(ask, "server.database.get_item", {"namespace": "mainsail"})
        assert isinstance(found["value"], dict)
    else:
        theme = await http.get(f"{base}/server/files/config/.theme/default.json")
        if theme.json().get("error", {"code": 404})["code"] != 404:
            raise Stopped(theme.text)
        value = {"namespace": "mainsail", "key": "initVersion", "value": "2.15.0"}
        (await http.post(f"{base}/server/database/item", json=value)).raise_for_status()
    if "maintenance" in namespaces:
        await _waited_for(ask, "server.database.get_item", {"namespace": "maintenance"})
    else:
        value = {"namespace": "maintenance", "key": "entries", "value": {}}
        (await http.post(f"{base}/server/database/item", json=value)).raise_for_status()


async def _mainsail_s_printer(ask: Ask, shown: Shown) -> Shown:
    told = await _waited_for(ask, "printer.info", {})
    shown.state, shown.message = told["state"], told["state_message"]
    if is_older(told["software_version"], "v0.11.0-257"):
        shown.warnings.append(f"Klipper {told['software_version']} is old")
    for entry in (await _waited_for(ask, "server.gcode_store", {}))["gcode_store"]:
        assert entry.keys() >= {"message", "time", "type"}
    await _waited_for(ask, "printer.gcode.help", {})
    objects = (await _waited_for(ask, "printer.objects.list", {}))["objects"]
    wanted = dict.fromkeys(name for name in objects if name.split(" ")[0] != "menu")
    shown.status = (await _waited_for(ask, "printer.objects.subscribe", {"objects": wanted}))["status"]
    store = await _waited_for(ask, "server.temperature_store", {"include_monitors": True})
    tools = [name for name in objects if name.startswith("extruder")]
    await _waited_for(ask, "printer.objects.query", {"objects": {name: ["can_extrude"] for name in tools}})
    status = shown.status
    shown.heaters = list(status["heaters"]["available_heaters"])
    assert set(shown.heaters) <= store.keys(), "each heater has a line in the chart"
    shown.warnings += mainsail_s_missing(status["configfile"]["config"])
    shown.warnings += [each["message"] for each in status["configfile"]["warnings"]]
    shown.macros = buttons(status["configfile"]["settings"])
    assert status["configfile"]["settings"]["printer"]["kinematics"]
    assert len(status["toolhead"]["axis_maximum"]) >= 3
    assert len(status["gcode_move"]["gcode_position"]) >= 3
    shown.ready = True
    shown.state = headline(status)
    return shown


def mainsail_s_missing(config: Mapping[str, Any]) -> list[str]:
    """What its panel "missing configuration" lists; the names' case does not matter."""
    names = {name.lower() for name in config}
    wanted = [
        "virtual_sdcard",
        "pause_resume",
        *(f"gcode_macro {name}" for name in ("pause", "resume", "cancel_print")),
    ]
    missing = [name for name in wanted if name not in names] if names else []
    return missing + (["display_status"] if names and not names & {"display_status", "display"} else [])


# Fluidd


FLUIDD: Final = {
    "client_name": "fluidd",
    "version": "1.34.0",
    "type": "web",
    "url": "https://github.com/fluidd-core/fluidd",
}
FLUIDD_S_ROOTS: Final = ("uiSettings", "macros", "sensors", "console", "charts", "webcams", "layout")
ON_FLUIDD: Final[Mapping[str, tuple[tuple[str, dict[str, Any] | None], ...]]] = {
    "authorization": (("access.get_user", None), ("access.users.list", None), ("access.get_api_key", None)),
    "power": (("machine.device_power.devices", None),),
    "update_manager": (("machine.update.status", None),),
    "history": (("server.history.list", {"limit": 50}), ("server.history.totals", None)),
    "database": (("server.database.list", None),),
    "announcements": (("server.announcements.list", None),),
    "webcam": (("server.webcams.list", None),),
    "job_queue": (("server.job_queue.status", None),),
    "spoolman": (("server.spoolman.get_spool_id", None),),
    "sensor": (("server.sensors.list", {"extended": True}),),
}


async def fluidd(ask: Ask) -> Shown:
    """From the open socket to its dashboard; it subscribes whatever state the printer is in."""
    shown = Shown()
    answer = await ask("server.connection.identify", FLUIDD)
    if "error" in answer and answer["error"]["code"] != -32601:
        raise Stopped("the page of its login")
    found = await ask("server.database.get_item", {"namespace": "fluidd"})
    there = found["result"]["value"] if "result" in found else {}
    assert "error" not in found or found["error"]["code"] == -32601, "an empty namespace is one that is not there"
    for root in FLUIDD_S_ROOTS:
        if root not in there:
            begun = {"namespace": "fluidd", "key": root, "value": {}}
            await _answered(ask, "server.database.post_item", begun, shown)
    info = await _waited_for(ask, "server.info")
    await _waited_for(ask, "server.config")
    await _waited_for(ask, "machine.proc_stats")
    await _waited_for(ask, "machine.system_info")
    await _answered(ask, "server.files.list", {"root": "config"}, shown)
    _of_the_server(info, shown, "v0.8.0-309")
    for component in info["components"]:
        for method, params in ON_FLUIDD.get(component, ()):
            await _answered(ask, method, params, shown)
    if not info["klippy_connected"]:
        return shown
    told = await _waited_for(ask, "printer.info")
    shown.state, shown.message = told["state"], told["state_message"]
    if is_older(told["software_version"], "v0.11.0-257"):
        shown.warnings.append(f"Klipper {told['software_version']} is old")
    objects = (await _waited_for(ask, "printer.objects.list"))["objects"]
    wanted = dict.fromkeys(name for name in objects if name != "menu" and not name.startswith("menu "))
    shown.status = (await _waited_for(ask, "printer.objects.subscribe", {"objects": wanted}))["status"]
    await _waited_for(ask, "server.gcode_store")
    await _waited_for(ask, "printer.gcode.help")
    await _waited_for(ask, "server.temperature_store")
    status, config = shown.status, shown.status["configfile"]["config"]
    shown.warnings += [f"missing {name}" for name in fluidd_s_missing(config)]
    shown.warnings += [each["message"] for each in status["configfile"]["warnings"]]
    settings = status["configfile"]["settings"]
    shown.tools = [name for name in objects if name.startswith("extruder") and name in settings]
    shown.heaters = list(status["heaters"]["available_heaters"])
    shown.macros = buttons(settings)
    assert min(len(status["toolhead"][name]) for name in ("axis_minimum", "axis_maximum")) >= 2
    if "mcu" in status and "last_stats" in status["mcu"]:
        loads = (
            "mcu_task_avg",
            "mcu_task_stddev",
            "mcu_awake",
            "bytes_write",
            "bytes_read",
            "bytes_retransmit",
            "freq",
        )
        assert all(isinstance(status["mcu"]["last_stats"][name], int | float) for name in loads)
    if info["klippy_state"] == "ready":
        shown.ready, shown.state = True, headline(status)
    return shown


def fluidd_s_missing(config: Mapping[str, Any]) -> list[str]:
    """What it warns of: the macro by exactly this name."""
    missing = [name for name in ("virtual_sdcard", "pause_resume", "gcode_macro CANCEL_PRINT") if name not in config]
    return missing + ([] if {"display", "display_status"} & config.keys() else ["display_status"])


def flushes_of(updates: Iterable[tuple[Mapping[str, Any], float]]) -> int:
    """How often Fluidd shows what it buffered: when an update is a second later than the first in the buffer."""
    first: float | None = None
    flushed = 0
    for _, eventtime in updates:
        if first is None:
            first = eventtime
        elif eventtime - first >= 1.0:
            first, flushed = None, flushed + 1
    return flushed


# KlipperScreen


KLIPPERSCREEN: Final = {
    "client_name": "KlipperScreen",
    "version": "v0.4.6",
    "type": "display",
    "url": "https://github.com/KlipperScreen/KlipperScreen",
}
SUBSCRIBED: Final[Mapping[str, list[str] | None]] = {
    "bed_mesh": ["profile_name", "mesh_max", "mesh_min", "probed_matrix", "profiles"],
    "configfile": ["config", "warnings"],
    "display_status": ["progress", "message"],
    "fan": ["speed"],
    "gcode_move": ["extrude_factor", "gcode_position", "homing_origin", "speed_factor", "speed"],
    "idle_timeout": ["state"],
    "pause_resume": ["is_paused"],
    "print_stats": ["print_duration", "total_duration", "filament_used", "filename", "state", "message", "info"],
    "toolhead": ["homed_axes", "estimated_print_time", "print_time", "position", "extruder", "max_accel"],
    "virtual_sdcard": ["file_position", "is_active", "progress"],
    "webhooks": ["state", "state_message"],
    "firmware_retraction": ["retract_length", "retract_speed", "unretract_extra_length", "unretract_speed"],
    "motion_report": ["live_position", "live_velocity", "live_extruder_velocity"],
    "exclude_object": ["current_object", "objects", "excluded_objects"],
    "manual_probe": ["is_active"],
    "screws_tilt_adjust": ["results", "error"],
}


async def klipperscreen(ask: Ask, key: str) -> Shown:
    """From the open socket to its menu.  It indexes most of what it gets, and begins again after an error."""
    shown = Shown()
    await _waited_for(ask, "server.connection.identify", {**KLIPPERSCREEN, "api_key": key})
    info = await _waited_for(ask, "server.info")
    _of_the_server(info, shown, "v0.8.0-306")
    if "power" in info["components"]:
        await _answered(ask, "machine.device_power.devices", None, shown)
    if "webcam" in info["components"]:
        cameras = await _answered(ask, "server.webcams.list", None, shown)
        assert all({"name", "stream_url", "enabled"} <= camera.keys() for camera in cameras["webcams"])
    if not info["klippy_connected"]:
        return shown
    told = await _waited_for(ask, "printer.info")
    shown.state, shown.message = told["state"], told["state_message"]
    config = (await _waited_for(ask, "printer.objects.query", {"objects": {"configfile": None}}))["status"]
    objects = (await _waited_for(ask, "printer.objects.list"))["objects"]
    every = await _waited_for(ask, "printer.objects.query", {"objects": dict.fromkeys(objects)})
    await _waited_for(ask, "printer.gcode.help")
    (await _waited_for(ask, "machine.system_info"))["system_info"]["cpu_info"]
    (await _waited_for(ask, "server.config"))["config"]["data_store"]["temperature_store_size"]
    status = every["status"]
    sections = config["configfile"]["config"]
    assert sections["printer"]["kinematics"]
    assert isinstance(sections["virtual_sdcard"]["path"], str)
    shown.tools = sorted(name for name in sections if re.fullmatch(r"extruder\d*", name))
    shown.heaters = [name for name in sections if name == "heater_bed" or name.startswith("heater_generic ")]
    for name in [*shown.tools, *shown.heaters]:
        assert {"temperature", "target"} <= status[name].keys(), name
        float(sections[name]["max_temp"]), float(sections[name]["min_temp"])
    for axis in "xyz":
        float(sections[f"stepper_{axis}"]["position_max"])
    for name in (name for name in sections if name.startswith("bed_mesh ")):
        mesh = sections[name]
        int(mesh["x_count"]), int(mesh["y_count"])
        [float(mesh[edge]) for edge in ("min_x", "max_x", "min_y", "max_y")]
    wanted = dict(SUBSCRIBED) | {name: ["temperature", "target", "power"] for name in [*shown.tools, *shown.heaters]}
    shown.status = (await _waited_for(ask, "printer.objects.subscribe", {"objects": wanted}))["status"]
    await _waited_for(ask, "server.temperature_store")
    for file in await _waited_for(ask, "server.files.list", {}):
        shown.files.append(file["path"])
        await ask("server.files.metadata", {"filename": file["path"]})
    shown.status = {name: status.get(name, {}) | fields for name, fields in shown.status.items() if name in status}
    shown.state = klipperscreen_s_state(shown.status)
    assert isinstance(shown.status["webhooks"]["state_message"].strip(), str)
    shown.ready = shown.state in {"ready", "printing", "paused"}
    return shown


def klipperscreen_s_state(status: Mapping[str, Any]) -> str:
    hooks = str(status["webhooks"]["state"].lower())
    prints = str(status["print_stats"]["state"])
    return prints if hooks == "ready" and prints in {"printing", "paused"} else hooks
