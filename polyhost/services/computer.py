"""The computer that the host runs on: what it is, how busy it is, what is plugged into it.

Linux's ``/proc`` and ``/sys`` are read by psutil and by hand; what a computer has not is left out.
"""

import asyncio
import contextlib
import os
import platform
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import psutil

from polyhost.core.ports import Clock

KEPT_SAMPLES: Final = 30
LOOK_AFTER_S: Final = 0.5
_THROTTLED: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_THERMAL: Final = Path("/sys/class/thermal/thermal_zone0/temp")
_FLAGS: Final = {
    0: "Under-Voltage Detected",
    1: "Frequency Capped",
    2: "Currently Throttled",
    3: "Temperature Limit Active",
    16: "Previously Under-Volted",
    17: "Previously Frequency Capped",
    18: "Previously Throttled",
    19: "Previously Temperature Limited",
}
"""What the bits mean that a Raspberry Pi's firmware tells."""


class Address(msgspec.Struct, frozen=True):
    family: str  # "ipv4" or "ipv6"
    address: str
    link_local: bool


class Interface(msgspec.Struct, frozen=True):
    hardware_address: str
    addresses: tuple[Address, ...]


class About(msgspec.Struct, frozen=True):
    """What does not change while the host runs.  Memory in bytes."""

    cores: int
    bits: int
    architecture: str
    processor: str
    model: str
    memory: int
    system: Mapping[str, str]  # what ``/etc/os-release`` says
    kernel: str
    virtualized_by: tuple[str, str]  # "none", "container" or "vm", and which


class Sample(msgspec.Struct, frozen=True):
    """How busy this process was at one moment: seconds since the epoch, a fraction of one core, bytes."""

    at: float
    cpu: float
    memory: int


class Traffic(msgspec.Struct, frozen=True):
    """Of one network interface, since the computer started; bytes a second over the last while."""

    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int
    rx_errs: int
    tx_errs: int
    rx_drop: int
    tx_drop: int
    bandwidth: float


class Vitals(msgspec.Struct, frozen=True):
    """The computer at one moment: fractions of each core in use, bytes, seconds, °C."""

    sample: Sample
    cpu: float
    cores: tuple[float, ...]
    memory: int
    memory_available: int
    uptime_s: float
    temperature: float | None
    throttled: tuple[int, tuple[str, ...]] | None  # bits and their words; None: this computer does not tell
    network: Mapping[str, Traffic]


class UsbDevice(msgspec.Struct, frozen=True):
    bus: int
    device: int
    vendor_id: str
    product_id: str
    manufacturer: str = ""
    product: str = ""
    serial: str = ""


class Camera(msgspec.Struct, frozen=True):
    """A device that pictures can be had from; `path` is its stable one where it has one."""

    device: str
    name: str
    driver: str
    path: str


class Computer:
    """`look` measures since it was called before; nothing is measured while nobody asks."""

    def __init__(self, clock: Clock) -> None:
        self.latest: Vitals | None = None
        self.samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._process = psutil.Process()
        self._clock = clock
        self._before: tuple[float, Mapping[str, int]] | None = None
        self._looked_at = -LOOK_AFTER_S
        self._about: About | None = None

    def look(self) -> Vitals:
        """Takes about a millisecond, or none when the last look was less than half a second ago."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if self.latest is None or monotonic - self._looked_at >= LOOK_AFTER_S:
            self._looked_at = monotonic
            self.latest = self._measured(now, monotonic)
        return self.latest

    def _measured(self, now: float, monotonic: float) -> Vitals:
        with self._process.oneshot():
            busy, memory = self._process.cpu_percent(None) / 100, self._process.memory_info().rss
        sample = Sample(now, busy, memory)
        self.samples.append(sample)
        cores = tuple(each / 100 for each in psutil.cpu_percent(None, percpu=True))
        ram = psutil.virtual_memory()
        return Vitals(
            sample=sample,
            cpu=sum(cores) / len(cores) if cores else 0.0,
            cores=cores,
            memory=ram.total,
            memory_available=ram.available,
            uptime_s=max(0.0, now - psutil.boot_time()),
            temperature=_temperature(),
            throttled=_throttled(),
            network=self._traffic(monotonic),
        )

    async def about(self) -> About:
        """Read once."""
        if self._about is None:
            self._about = await asyncio.to_thread(_about)
        return self._about

    async def interfaces(self) -> Mapping[str, Interface]:
        """By name; those that lead somewhere."""
        return await asyncio.to_thread(_interfaces)

    async def usb_devices(self) -> list[UsbDevice]:
        return await asyncio.to_thread(_usb_devices)

    async def cameras(self) -> list[Camera]:
        return await asyncio.to_thread(_cameras)

    def _traffic(self, monotonic: float) -> dict[str, Traffic]:
        counters = psutil.net_io_counters(pernic=True)
        totals = {name: one.bytes_recv + one.bytes_sent for name, one in counters.items()}
        since, before = self._before or (monotonic, totals)
        elapsed_s = monotonic - since
        self._before = monotonic, totals
        return {
            name: Traffic(
                *(one.bytes_recv, one.bytes_sent, one.packets_recv, one.packets_sent),
                *(one.errin, one.errout, one.dropin, one.dropout),
                bandwidth=max(0, totals[name] - before.get(name, 0)) / elapsed_s if elapsed_s > 0 else 0.0,
            )
            for name, one in counters.items()
        }


def _about() -> About:
    cpu = _fields(Path("/proc/cpuinfo"))
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    return About(
        cores=os.cpu_count() or 1,
        bits=64 if sys.maxsize > 2**32 else 32,
        architecture=platform.machine(),
        processor=cpu.get("model name", ""),
        model=cpu.get("Model", "") or _text(Path("/proc/device-tree/model")).rstrip("\0"),
        memory=psutil.virtual_memory().total,
        system=system,
        kernel=platform.release(),
        virtualized_by=_virtualized_by("hypervisor" in cpu.get("flags", "").split()),
    )


def _virtualized_by(under_hypervisor: bool) -> tuple[str, str]:
    for mark, name in {"/.dockerenv": "docker", "/run/.containerenv": "podman"}.items():
        if os.path.exists(mark):
            return "container", name
    return ("vm", "unknown") if under_hypervisor else ("none", "none")


def _interfaces() -> dict[str, Interface]:
    found = {}
    for name, addresses in psutil.net_if_addrs().items():
        if name == "lo":
            continue
        hardware = next((one.address for one in addresses if one.family == psutil.AF_LINK), "")
        kinds = {2: "ipv4", 10: "ipv6"}
        shown = tuple(
            Address(kinds[one.family], bare, bare.startswith(("fe80:", "169.254.")))
            for one in addresses
            if one.family in kinds and (bare := one.address.partition("%")[0])
        )
        if shown:
            found[name] = Interface(hardware, shown)
    return found


def _usb_devices() -> list[UsbDevice]:
    found = []
    for folder in sorted(Path("/sys/bus/usb/devices").glob("*")):
        said = {name: _text(folder / name) for name in ("busnum", "devnum", "idVendor", "idProduct")}
        if not (said["busnum"].isdigit() and said["devnum"].isdigit() and said["idVendor"]):
            continue  # an interface of a device
        words = (_text(folder / name) for name in ("manufacturer", "product", "serial"))
        found.append(UsbDevice(int(said["busnum"]), int(said["devnum"]), said["idVendor"], said["idProduct"], *words))
    return found


def _cameras() -> list[Camera]:
    stable = {}
    with contextlib.suppress(OSError):
        for link in Path("/dev/v4l/by-id").iterdir():
            stable[str(link.resolve())] = str(link)
    found = []
    for folder in sorted(Path("/sys/class/video4linux").glob("video*")):
        device = f"/dev/{folder.name}"
        driver = folder / "device" / "driver"
        name = os.path.basename(os.path.realpath(driver)) if driver.exists() else ""
        found.append(Camera(device, _text(folder / "name"), name, stable.get(device, device)))
    return found


def _temperature() -> float | None:
    said = _text(_THERMAL)
    try:
        return int(said) / 1000
    except ValueError:
        return None


def _throttled() -> tuple[int, tuple[str, ...]] | None:
    said = _text(_THROTTLED)
    try:
        bits = int(said, 16)
    except ValueError:
        return None
    return bits, tuple(words for bit, words in _FLAGS.items() if bits >> bit & 1)


def _fields(path: Path) -> dict[str, str]:
    """The first of each ``name : value`` of a file of the kernel's."""
    fields: dict[str, str] = {}
    for line in _text(path).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def _text(path: Path) -> str:
    """What a file of the kernel's says; "" when there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
