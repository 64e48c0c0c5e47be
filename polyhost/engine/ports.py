"""The serial ports of this host: which there are, what is plugged into them, who holds one.

A printer is its USB serial number, or the place it is plugged into, never ``ttyUSB0``: the kernel gives those
names out in the order of plugging.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import serial
from serial.tools import list_ports

from polyhost.core.errors import LinkLost, NotFound, NotNow, PolyhostError
from polyhost.engine.messages import SerialLink

BY_ID: Final = Path("/dev/serial/by-id")


class Port(msgspec.Struct, frozen=True):
    """A serial port.  `stable_path` is the one that names the device rather than the order of plugging, where there
    is one; `serial_number` is the USB device's, "" when it has none; `location` is the place it is plugged into."""

    path: str
    stable_path: str = ""
    description: str = ""
    serial_number: str = ""
    location: str = ""

    @property
    def identity(self) -> str:
        """What tells this device from another that answers at the same path; "" when nothing does."""
        if self.serial_number:
            return f"serial number {self.serial_number}"
        return f"USB place {self.location}" if self.location else ""


def ports() -> list[Port]:
    """Every serial port that a printer may be on, best first: USB devices, then the others."""
    stable = {os.path.realpath(link): str(link) for link in sorted(BY_ID.glob("*"))} if BY_ID.is_dir() else {}
    found = [
        Port(
            path=info.device,
            stable_path=stable.get(os.path.realpath(info.device), info.device),
            description=info.description if info.description not in (None, "n/a") else "",
            serial_number=info.serial_number or "",
            location=info.location or "",
        )
        for info in list_ports.comports()
    ]
    return sorted(found, key=lambda port: (not port.location, port.path))


def port_for(link: SerialLink, identity: str, present: Callable[[], Sequence[Port]]) -> tuple[str, str]:
    """The path to open for `link` now, and the identity of the device there.

    `identity` is what was there before, "" when nothing is known.  `NotFound` when the device is not plugged in,
    naming those that are; `LinkLost` when another device answers at its path.
    """
    known = present()
    if link.serial_number:
        for port in known:
            if port.serial_number == link.serial_number:
                return port.path, port.identity
        raise NotFound(f"no device with serial number {link.serial_number}; {_available(known)}")
    real = os.path.realpath(link.port)
    if not os.path.exists(real):
        raise NotFound(f"no port {link.port}; {_available(known)}")
    found = next((port.identity for port in known if os.path.realpath(port.path) == real), "")
    if identity and found != identity:
        raise LinkLost(f"another device is at {link.port}: {found or 'one without identity'}, not {identity}")
    return link.port, found


def _available(present: Sequence[Port]) -> str:
    return f"available: {', '.join(port.stable_path or port.path for port in present) or 'none'}"


def refusal(path: str, error: OSError) -> PolyhostError:
    """Why the port at `path` could not be opened, and the way out."""
    holder = holder_of(path)
    if error.errno in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or holder:
        return NotNow(f"port {path} is in use by {holder or 'another program'}; close it there first")
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotNow(
            f"no right to open {path}; add the user to the group dialout (sudo usermod -aG dialout $USER), log in again"
        )
    return LinkLost(f"port {path} cannot be opened: {error.strerror or error}")


def holder_of(path: str) -> str:
    """The program that has `path` open, as ``name (process 123)``; "" when none is found (or it hides from us)."""
    device = os.path.realpath(path)
    for process in _processes():
        try:
            descriptors = os.listdir(process / "fd")
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                if os.readlink(process / "fd" / descriptor) != device:
                    continue
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            return f"{name} (process {process.name})"
    return ""


def _processes() -> Iterator[Path]:
    own = str(os.getpid())
    for name in os.listdir("/proc"):
        if name.isdigit() and name != own:
            yield Path("/proc", name)


def open_serial(path: str, baud: int) -> serial.Serial:
    """The port at `path`, raw, at any rate the driver can make, and ours alone; what `refusal` makes of an error.

    Blocks for as long as the driver takes: call it in a thread.
    """
    if not os.path.realpath(path).startswith("/dev/pts/") and (holder := holder_of(path)):
        # A program that takes no lock would share the bytes with us.
        raise NotNow(f"port {path} is in use by {holder}; close it there first")
    try:
        return serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
    except serial.SerialException as error:
        raise refusal(path, error) from error
    except ValueError as error:
        raise LinkLost(f"port {path} cannot run at {baud} baud: {error}") from error
