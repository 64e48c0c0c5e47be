"""What clients decode of a printer, as strictly as their languages do.

Taken from their public sources, each in the file that is named.  What a client reads without looking whether it is
there is a field without a default; Dart, Go and TypeScript take no text for a number.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

# Mobileraker, common/lib/data/dto/config/: all sections are decoded at once, and one that cannot be is no printer.


class Extruder(msgspec.Struct):
    """``config_extruder.dart``"""

    nozzle_diameter: float
    max_extrude_only_distance: float
    min_temp: float
    min_extrude_temp: float
    max_temp: float
    max_power: float
    filament_diameter: float
    max_extrude_only_velocity: float | None
    max_extrude_only_accel: float | None


class HeaterBed(msgspec.Struct):
    """``config_heater_bed.dart``"""

    heater_pin: str
    sensor_type: str
    control: str
    min_temp: float
    max_temp: float


class HeaterGeneric(msgspec.Struct):
    """``config_heater_generic.dart``"""

    control: str
    heater_pin: str
    sensor_type: str
    max_power: float
    max_temp: float
    min_temp: float


class Stepper(msgspec.Struct):
    """``config_stepper.dart``"""

    step_pin: str
    dir_pin: str
    rotation_distance: int
    position_min: float = 0.0
    position_endstop: float | None = None
    position_max: float | None = None


class Fan(msgspec.Struct):
    """``fan/config_print_cooling_fan.dart``"""

    pin: str
    max_power: float = 1.0
    off_below: float = 0.0


class Macro(msgspec.Struct):
    """``config_gcode_macro.dart``"""

    gcode: str
    description: str | None = None


class Printer(msgspec.Struct):
    """``config_printer.dart``"""

    kinematics: str
    max_velocity: float
    max_accel: float
    square_corner_velocity: float = 5.0


MOBILERAKER: Final[Mapping[str, type]] = {
    r"extruder\d*": Extruder,
    "heater_bed": HeaterBed,
    "heater_generic .+": HeaterGeneric,
    r"stepper_\w+": Stepper,
    "fan": Fan,
    "gcode_macro .+": Macro,
    "printer": Printer,
}
"""Sections of ``configfile.settings``."""


def decoded_sections(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Each section that Mobileraker knows, decoded; fails where the app would."""
    return {
        name: msgspec.convert(fields, kind)
        for pattern, kind in MOBILERAKER.items()
        for name, fields in settings.items()
        if re.fullmatch(pattern, name)
    }


# KlipperScreen: its sections are text, of which it makes numbers itself.


def klipperscreen_s_mesh(section: Mapping[str, str]) -> list[list[float]]:
    """``ks_includes/printer.py`` until 2024, at its start: any of this missing ends it."""
    counts = int(section["x_count"]), int(section["y_count"])
    edges = [float(section[edge]) for edge in ("max_x", "min_x", "max_y", "min_y")]
    points = [[float(point) for point in line.split(",")] for line in section["points"].strip().split("\n")]
    assert (len(points[0]), len(points)) == counts
    assert len(edges) == 4
    return points


def klipperscreen_s_panels(config: Mapping[str, Mapping[str, str]]) -> list[float]:
    """Numbers that panels ``limits.py``, ``retraction.py``, ``job_status.py``, ``move.py`` make as they open."""
    printer, retraction, fan = config["printer"], config["firmware_retraction"], config["fan"]
    found = [float(printer[name]) for name in ("max_accel", "max_velocity", "max_z_velocity")]
    found += [int(float(printer["square_corner_velocity"])), int(float(printer["minimum_cruise_ratio"]) * 100)]
    found += [float(retraction[name]) for name in ("retract_length", "retract_speed", "unretract_speed")]
    found += [float(fan["max_power"]), float(fan["off_below"])]
    found += [float(config[name]["filament_diameter"]) for name in config if re.fullmatch(r"extruder\d*", name)]
    return [*found, float(config["stepper_z"]["position_endstop"])]


# Fluidd, src/typings/klipper.d.ts: objects and their fields.

Place = tuple[float, float, float, float]
Row = list[float]


class GcodeMove(msgspec.Struct):
    speed_factor: float
    speed: float
    extrude_factor: float
    absolute_coordinates: bool
    absolute_extrude: bool
    homing_origin: list[float]
    position: Place
    gcode_position: Place
    axis_map: dict[str, int] | None = None


class IdleTimeout(msgspec.Struct):
    state: Literal["Idle", "Printing", "Ready"]
    printing_time: float


class SystemStats(msgspec.Struct):
    sysload: float
    cputime: float
    memavail: float


class Toolhead(msgspec.Struct):
    homed_axes: str
    axis_minimum: list[float]
    axis_maximum: list[float]
    print_time: float
    stalls: float
    estimated_print_time: float
    extruder: str
    position: Place
    max_velocity: float
    max_accel: float
    square_corner_velocity: float
    minimum_cruise_ratio: float | None = None
    extra_axes: dict[str, float] | None = None


class Webhooks(msgspec.Struct):
    state: Literal["ready", "startup", "shutdown", "error"]
    state_message: str


class MeshParams(msgspec.Struct):
    min_x: float
    max_x: float
    min_y: float
    max_y: float
    x_count: int
    y_count: int
    mesh_x_pps: int
    mesh_y_pps: int
    algo: str
    tension: float


class Profile(msgspec.Struct):
    points: list[Row]
    mesh_params: MeshParams


class BedMesh(msgspec.Struct):
    profile_name: str
    mesh_min: tuple[float, float]
    mesh_max: tuple[float, float]
    probed_matrix: list[Row]
    mesh_matrix: list[Row]
    profiles: dict[str, Profile] | None = None


class DisplayStatus(msgspec.Struct):
    progress: float
    message: str | None


class Shape(msgspec.Struct):
    name: str
    polygon: list[tuple[float, float]]
    center: tuple[float, float]


class ExcludeObject(msgspec.Struct):
    objects: list[Shape]
    current_object: str | None
    excluded_objects: list[str]


class FanState(msgspec.Struct):
    speed: float
    rpm: float | None


class FilamentSensor(msgspec.Struct):
    enabled: bool
    filament_detected: bool


class FirmwareRetraction(msgspec.Struct):
    retract_length: float
    retract_speed: float
    unretract_extra_length: float
    unretract_speed: float


class ExtruderState(msgspec.Struct):
    temperature: float
    target: float
    power: float
    can_extrude: bool
    pressure_advance: float
    smooth_time: float
    motion_queue: str | None = None


class HeaterState(msgspec.Struct):
    temperature: float
    target: float
    power: float


class Heaters(msgspec.Struct):
    available_heaters: list[str]
    available_sensors: list[str]
    available_monitors: list[str] | None = None


class Mcu(msgspec.Struct):
    mcu_version: str | None = None
    mcu_build_versions: str | None = None
    mcu_constants: dict[str, str | float] | None = None
    last_stats: dict[str, float] | None = None


class MotionReport(msgspec.Struct):
    live_position: Place
    live_velocity: float
    live_extruder_velocity: float
    steppers: list[str]
    trapq: list[str]


class PauseResume(msgspec.Struct):
    is_paused: bool


class Layers(msgspec.Struct):
    total_layer: int | None
    current_layer: int | None


class PrintStats(msgspec.Struct):
    filename: str
    total_duration: float
    print_duration: float
    filament_used: float
    state: Literal["printing", "paused", "standby", "complete", "cancelled", "error"]
    message: str
    info: Layers


class QueryEndstops(msgspec.Struct):
    last_query: dict[str, int]


class StepperEnable(msgspec.Struct):
    steppers: dict[str, bool]


class TemperatureSensor(msgspec.Struct):
    temperature: float
    measured_min_temp: float
    measured_max_temp: float


class VirtualSdcard(msgspec.Struct):
    file_path: str | None
    progress: float
    is_active: bool
    file_position: int
    file_size: int


FLUIDD: Final[Mapping[str, type]] = {
    "gcode_move": GcodeMove,
    "idle_timeout": IdleTimeout,
    "system_stats": SystemStats,
    "toolhead": Toolhead,
    "webhooks": Webhooks,
    "bed_mesh": BedMesh,
    "display_status": DisplayStatus,
    "exclude_object": ExcludeObject,
    "fan": FanState,
    "filament_switch_sensor .+": FilamentSensor,
    "firmware_retraction": FirmwareRetraction,
    r"extruder\d*": ExtruderState,
    "heater_bed|heater_generic .+": HeaterState,
    "heaters": Heaters,
    "mcu": Mcu,
    "motion_report": MotionReport,
    "pause_resume": PauseResume,
    "print_stats": PrintStats,
    "query_endstops": QueryEndstops,
    "stepper_enable": StepperEnable,
    "temperature_sensor .+": TemperatureSensor,
    "virtual_sdcard": VirtualSdcard,
}


def decoded_objects(status: Mapping[str, Any]) -> dict[str, Any]:
    """Each object that Fluidd knows, decoded."""
    return {
        name: msgspec.convert(fields, kind)
        for pattern, kind in FLUIDD.items()
        for name, fields in status.items()
        if re.fullmatch(pattern, name)
    }


def motors_may_be_let_go(steppers: list[str], enabled: Mapping[str, bool]) -> bool:
    """Whether Fluidd offers it (``src/store/printer/getters.ts``): one that is not known to be off is on."""
    return any(enabled.get(name, True) for name in steppers)


# prometheus-klipper-exporter, collector/process_stats.go, directory_information.go, history.go, server_info.go.


class GoSample(msgspec.Struct):
    time: float
    cpu_usage: float
    memory: int
    mem_units: str


class GoTraffic(msgspec.Struct):
    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int
    rx_errs: int
    tx_errs: int
    rx_drop: int
    tx_drop: int
    bandwidth: float


class GoMemory(msgspec.Struct):
    total: int
    available: int
    used: int


class GoStats(msgspec.Struct):
    moonraker_stats: list[GoSample]
    cpu_temp: float | None
    network: dict[str, GoTraffic]
    system_cpu_usage: dict[str, float]
    system_memory: GoMemory
    system_uptime: float
    websocket_connections: int


class GoSpace(msgspec.Struct):
    total: int
    used: int
    free: int


class GoDisk(msgspec.Struct):
    disk_usage: GoSpace


class GoTotals(msgspec.Struct):
    total_jobs: float  # 0.11.0 itself answers 3.0, which an exporter of before 2024 took for no number
    total_time: float
    total_print_time: float
    total_filament_used: float
    longest_job: float
    longest_print: float


class GoHistory(msgspec.Struct):
    job_totals: GoTotals


class GoServer(msgspec.Struct):
    klippy_connected: bool
    klippy_state: str
    components: list[str]
    failed_components: list[str]
    moonraker_version: str
    api_version: list[int]


class GoCpu(msgspec.Struct):
    cpu_count: int
    total_memory: int
    memory_units: str


class GoComputer(msgspec.Struct):
    cpu_info: GoCpu


class GoSystem(msgspec.Struct):
    system_info: GoComputer


EXPORTER: Final[Mapping[str, type]] = {
    "/machine/proc_stats": GoStats,
    "/server/files/directory?path=gcodes&extended=false": GoDisk,
    "/server/history/totals": GoHistory,
    "/server/info": GoServer,
    "/machine/system_info": GoSystem,
}

_MAINSAIL_S: Final = re.compile(
    r"""\{%?.*?params\.([A-Za-z_0-9]+)(?:\|(?:int|string|double))?(?:\|default\('?"?(.*?)"?'?\))?.*?%?\}"""
)


def mainsail_s_parameters(gcode: str) -> dict[str, str | None]:
    """Each that gets a field, with its default."""
    return {found[1]: found[2] for found in _MAINSAIL_S.finditer(gcode)}


def fluidd_s_parameters(gcode: str) -> list[str]:
    return re.findall(r"params\.(\w+).*", gcode, re.IGNORECASE)
