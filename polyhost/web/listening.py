"""The sockets that a host answers on, and who has a port that it wanted."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from polyhost.core.errors import Malformed, NotAllowed, NotNow

BACKLOG: Final = 2048
_TRIES: Final = 50
_FLAGS: Final = socket.AI_PASSIVE


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host` (an address or a name) and `port`; 0 is any free one.

    `NotNow` for a port in use, naming the program where it can be found.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=_FLAGS)[0]
    except (socket.gaierror, UnicodeError, OverflowError):
        raise Malformed(f"{host!r} is no address to listen on") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            holder = holder_of_port(port)
            raise NotNow(f"port {port} is in use by {holder or 'another program'}") from None
        if error.errno == errno.EACCES:
            raise NotAllowed(f"port {port} needs more rights than this user has; use one above 1023") from None
        raise Malformed(f"cannot listen at {host}: {error.strerror}") from None
    listening.setblocking(False)
    return listening


def listen_near(host: str, port: int) -> socket.socket:
    """As `listen`, at the first free port from `port` on."""
    for candidate in range(port, min(port + _TRIES, 65536)) if port else (0,):
        try:
            return listen(host, candidate)
        except NotNow:
            continue
    raise NotNow(f"the ports {port} to {port + _TRIES - 1} are all in use")


def listen_local(path: Path) -> socket.socket:
    """A Unix socket at `path` for its owner alone.  What an ended process left there is replaced."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


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
