"""``/machine/…``: the computer, how busy it is, what is plugged into it, and what may be restarted.

Upstream: docs/external_api/machine.md; specification, 2.3.  Clients call the host ``moonraker``, and the program that
drives the machine ``klipper``: restarting that one opens the printer's link anew.
"""

import getpass
import platform
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotFound, NotNow
from polyhost.core.events import PrinterStateChanged
from polyhost.core.printer import PrinterState
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import OK, Notification, Resource
from polyhost.services.computer import About, Interface, Sample, Traffic, UsbDevice, Vitals
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.services.printers import Port

resource = Resource("machine", "proc_stats")

SERVICES: Final = ("klipper", "moonraker")
_ACTIVE: Final = frozenset({PrinterState.READY, PrinterState.CONNECTING, PrinterState.DETECTING})


class ServiceState(msgspec.Struct):
    active_state: str
    sub_state: str


class Service(msgspec.Struct):
    service: str


class CanBus(msgspec.Struct):
    interface: str = "can0"


class ProcSample(msgspec.Struct):
    time: float
    cpu_usage: float  # percent
    memory: int  # kB
    mem_units: str = "kB"


# What the computer is


def system_info_of(about: About, interfaces: dict[str, Interface], p: Printer) -> dict[str, Any]:
    version = about.system.get("VERSION_ID", "")
    major, _, minor = version.partition(".")
    virtualized, by = about.virtualized_by
    return {
        "python": {
            "version": list(sys.version_info),
            "version_string": " ".join(sys.version.split()),
        },
        "cpu_info": {
            "cpu_count": about.cores,
            "bits": f"{about.bits}bit",
            "processor": about.architecture,
            "cpu_desc": about.processor,
            "serial_number": "",
            "hardware_desc": "",
            "model": about.model,
            "total_memory": about.memory // 1024,
            "memory_units": "kB",
        },
        "sd_info": {},
        "distribution": {
            "name": about.system.get("PRETTY_NAME", platform.system()),
            "id": about.system.get("ID", ""),
            "version": version,
            "version_parts": {"major": major, "minor": minor, "build_number": ""},
            "like": about.system.get("ID_LIKE", ""),
            "codename": about.system.get("VERSION_CODENAME", ""),
            "release_info": {},
            "kernel_version": about.kernel,
        },
        "virtualization": {"virt_type": virtualized, "virt_identifier": by},
        "network": {
            name: {
                "mac_address": interface.hardware_address,
                "ip_addresses": [
                    {"family": one.family, "address": one.address, "is_link_local": one.link_local}
                    for one in interface.addresses
                ],
            }
            for name, interface in interfaces.items()
        },
        "canbus": {},
        "provider": "none",
        "available_services": list(SERVICES),
        "service_state": service_states(p.snapshot.state),
        "instance_ids": {"moonraker": "moonraker", "klipper": "klipper"},
    }


def service_states(state: PrinterState) -> dict[str, ServiceState]:
    klipper = ServiceState("active", "running") if state in _ACTIVE else ServiceState("inactive", "dead")
    return {"klipper": klipper, "moonraker": ServiceState("active", "running")}


@resource.get("/machine/system_info", needs=Permission.LOOK)
async def system_info(request: Request) -> dict[str, Any]:
    computer = request.host.computer
    about, interfaces = await computer.about(), await computer.interfaces()
    return {"system_info": system_info_of(about, dict(interfaces), request.printer)}


# How busy it is


def _sample_of(one: Sample) -> ProcSample:
    return ProcSample(one.at, round(one.cpu * 100, 2), one.memory // 1024)


def _network_of(traffic: Traffic) -> dict[str, float]:
    return {**msgspec.structs.asdict(traffic), "bandwidth": round(traffic.bandwidth, 2)}


def pushed_stats_of(vitals: Vitals, connections: int) -> dict[str, Any]:
    """What clients are told every second."""
    kb, available = vitals.memory // 1024, vitals.memory_available // 1024
    cores = {f"cpu{number}": round(each * 100, 2) for number, each in enumerate(vitals.cores)}
    return {
        "moonraker_stats": _sample_of(vitals.sample),
        "cpu_temp": vitals.temperature,
        "network": {name: _network_of(traffic) for name, traffic in vitals.network.items()},
        "system_cpu_usage": {"cpu": round(vitals.cpu * 100, 2), **cores},
        "system_memory": {"total": kb, "available": available, "used": kb - available},
        "websocket_connections": connections,
    }


@resource.get("/machine/proc_stats", needs=Permission.LOOK)
async def proc_stats(request: Request) -> dict[str, Any]:
    live, computer = request.call.part(Live), request.host.computer
    vitals = computer.look()
    throttled = vitals.throttled
    return pushed_stats_of(vitals, len(live.connections)) | {
        "moonraker_stats": [_sample_of(one) for one in computer.samples],
        "throttled_state": None if throttled is None else {"bits": throttled[0], "flags": throttled[1]},
        "system_uptime": vitals.uptime_s,
    }


@resource.each_second
def told_of_vitals(host: Host, connections: int) -> Iterator[Notification]:
    """Mainsail closes a connection that is silent for ten seconds; this is what keeps it."""
    before = host.computer.latest
    vitals = host.computer.look()
    stats = pushed_stats_of(vitals, connections)
    yield Notification("proc_stat_update", (stats,), latest="proc_stat_update")
    if vitals.throttled is not None and before is not None and before.throttled != vitals.throttled:
        yield Notification("cpu_throttled", ({"bits": vitals.throttled[0], "flags": vitals.throttled[1]},))


# What may be restarted


@resource.post("/machine/services/restart", needs=Permission.CONNECT, waits=True)
async def restart_service(request: Request) -> str:
    if _service(request) == "moonraker":
        await request.host.system.restart(request.caller)
    else:
        await _close(request)
        await _open(request)
    return OK


@resource.post("/machine/services/stop", needs=Permission.CONNECT, waits=True)
async def stop_service(request: Request) -> str:
    _only_klipper(request, "stopped")
    await _close(request)
    return OK


@resource.post("/machine/services/start", needs=Permission.CONNECT, waits=True)
async def start_service(request: Request) -> str:
    _only_klipper(request, "started")
    await _open(request)
    return OK


def _service(request: Request) -> str:
    name = request.read(Service).service
    if name not in SERVICES:
        raise Malformed(f"Service '{name}' is not available; there are {', '.join(SERVICES)}")
    return name


def _only_klipper(request: Request, how: str) -> None:
    if _service(request) == "moonraker":
        raise Malformed(f"this server cannot be {how} by its own clients; it can be restarted")


async def _close(request: Request) -> None:
    if request.printer.snapshot.state is not PrinterState.OFFLINE:
        await request.host.printers.disconnect(request.printer, request.caller)


async def _open(request: Request) -> None:
    if request.printer.snapshot.state in {PrinterState.OFFLINE, PrinterState.FAULTED}:
        await request.host.printers.connect(request.printer, None, None, request.caller)


@resource.on(PrinterStateChanged)
def told_of_service(notice: PrinterStateChanged, host: Host) -> Iterator[Notification]:
    state = {"klipper": service_states(notice.state)["klipper"]}
    yield Notification("service_state_changed", (state,), notice.printer, latest="service_state_changed")


@resource.post("/machine/shutdown", needs=Permission.SYSTEM, waits=True)
async def shutdown(request: Request) -> str:
    return await _end(request, "shutdown", "shut the computer down")


@resource.post("/machine/reboot", needs=Permission.SYSTEM, waits=True)
async def reboot(request: Request) -> str:
    return await _end(request, "reboot", "restart the computer")


async def _end(request: Request, action: str, what: str) -> str:
    if not request.host.system.can_end(action):
        raise NotNow(f"nothing here may {what}; [system] {action} in the settings file says what does")
    await request.host.system.execute("core", action, by=request.caller)
    return OK


@resource.post("/server/restart", needs=Permission.SYSTEM)
async def restart(request: Request) -> str:
    await request.host.system.restart(request.caller)
    return OK


@resource.get("/machine/sudo/info", needs=Permission.SYSTEM)
async def sudo_info(request: Request) -> dict[str, Any]:
    return {"sudo_access": None, "linux_user": getpass.getuser(), "sudo_requested": False, "request_messages": []}


@resource.post("/machine/sudo/password", needs=Permission.SYSTEM)
async def sudo_password(request: Request) -> str:
    raise NotNow("this host never becomes root, and takes no password for that")


# What is plugged into it


def _usb_view(device: UsbDevice) -> dict[str, Any]:
    words = {name: getattr(device, name) for name in ("manufacturer", "product", "serial") if getattr(device, name)}
    return {
        "bus_num": device.bus,
        "device_num": device.device,
        "usb_location": f"{device.bus}:{device.device}",
        "vendor_id": device.vendor_id,
        "product_id": device.product_id,
        **words,
        "description": device.product or f"{device.vendor_id}:{device.product_id}",
    }


def _port_view(port: Port) -> dict[str, Any]:
    by_id = port.stable_path if "/by-id/" in port.stable_path else None
    return {
        "device_type": "usb" if port.serial_number or by_id else "hardware_uart",
        "device_path": port.path,
        "device_name": port.path.rpartition("/")[2],
        "driver_name": port.description or "port",
        "path_by_hardware": port.stable_path if "/by-path/" in port.stable_path else None,
        "path_by_id": by_id,
        "usb_location": None,
    }


@resource.get("/machine/peripherals/usb", needs=Permission.LOOK)
async def usb(request: Request) -> dict[str, Any]:
    return {"usb_devices": [_usb_view(device) for device in await request.host.computer.usb_devices()]}


@resource.get("/machine/peripherals/serial", needs=Permission.LOOK)
async def serial(request: Request) -> dict[str, Any]:
    return {"serial_devices": [_port_view(port) for port in request.host.printers.ports()]}


@resource.get("/machine/peripherals/video", needs=Permission.LOOK)
async def video(request: Request) -> dict[str, Any]:
    cameras: list[dict[str, Any]] = [
        {
            "device_name": camera.device.rpartition("/")[2],
            "device_path": camera.device,
            "camera_name": camera.name,
            "driver_name": camera.driver,
            "hardware_bus": "",
            "modes": [],
            "capabilities": [],
            "version": "",
            "path_by_hardware": None,
            "path_by_id": camera.path if camera.path != camera.device else None,
            "alt_name": camera.name,
            "usb_location": None,
        }
        for camera in await request.host.computer.cameras()
    ]
    return {"v4l2_devices": cameras, "libcamera_devices": []}


@resource.get("/machine/peripherals/canbus", needs=Permission.LOOK)
async def canbus(request: Request) -> dict[str, Any]:
    raise NotFound(f"no CAN bus {request.read(CanBus).interface!r} on this computer")
