"""Who has the port that a host wanted, and which one it takes instead."""

import errno
import os
import socket
from pathlib import Path
from typing import Final

from polyhost.core.errors import Malformed, NotAllowed, NotNow
from polyhost.web.server import tcp_socket

_TRIES: Final = 50


def listen(host: str, port: int) -> socket.socket:
    """As `tcp_socket`, but `NotNow` for a port in use, naming the program where it can be found."""
    try:
        return tcp_socket(host, port)
    except (socket.gaierror, UnicodeError, OverflowError):
        raise Malformed(f"{host!r} is no address to listen on") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NotNow(f"port {port} is in use by {holder_of_port(port) or 'another program'}") from None
        if error.errno == errno.EACCES:
            raise NotAllowed(f"port {port} needs more rights than this user has; use one above 1023") from None
        raise Malformed(f"cannot listen at {host}: {error.strerror}") from None


def listen_near(host: str, port: int) -> socket.socket:
    """As `listen`, at the first free port from `port` on; 0 is any free one."""
    for candidate in range(port, min(port + _TRIES, 65536)) if port else (0,):
        try:
            return listen(host, candidate)
        except NotNow:
            continue
    raise NotNow(f"the ports {port} to {port + _TRIES - 1} are all in use")


def port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def holder_of_port(port: int) -> str:
    """The program that listens at TCP `port`, as ``name (process 123)``; "" when it hides from this user."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listeners(Path("/proc/net", table), port)}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(descriptor) in sockets for descriptor in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # it ended, or belongs to somebody else
    return ""


def _listeners(table: Path, port: int) -> list[str]:
    """The inodes of sockets in state LISTEN at `port`; proc(5)."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
