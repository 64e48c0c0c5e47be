"""Which printer a request means, and how its client calls us.

A printer is meant by, first match wins: the path's prefix ``/p/<slug>/``, a port of its own, a key bound to it,
a host name that starts with its slug, being the default.  What a proxy says about its client counts only from
``access.proxies``.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Final, NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}))(?::(\d{1,5}))?")
_PREFIX: Final = re.compile(r"/p/([^/]+)(/.*)?", re.DOTALL)
_SCRIPT_NAME: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class HostHeader(NamedTuple):
    """A ``Host`` that could be one: the name (IPv6 in brackets) and the port, None when it is not said."""

    name: str
    port: int | None


def host_header_of(value: str) -> HostHeader | None:
    """`value` taken apart; None when it is no host name (it must never reach a URL of ours)."""
    match = _HOST.fullmatch(value)
    if match is None:
        return None
    port = int(match[2]) if match[2] else None
    if port is not None and not 0 < port < 65536:
        return None
    return HostHeader(match[1].lower(), port)


def is_address(name: str) -> bool:
    """Whether `name` is an IP address; a foreign page cannot make a browser believe that it has one."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class KnownHosts:
    """The names that this host may be called by (S9): addresses, localhost, its own, ``.local``, those configured."""

    def __init__(self, configured: Iterable[str]) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", own, own.split(".")[0], *(name.lower() for name in configured)}

    def knows(self, name: str, slugs: Iterable[str] = ()) -> bool:
        """Whether `name` is ours, with or without one of `slugs` before it."""
        if name in self._names or name.endswith((".local", ".localhost")) or is_address(name):
            return True
        slug, _, rest = name.partition(".")
        return rest in self._names and slug in slugs


class Peer(NamedTuple):
    """Who is at the other end, as far as it can be believed."""

    address: str
    scheme: str
    host: HostHeader
    root: str  # what a proxy has cut off the path; no slash at its end


class Peers:
    """Reads a request's peer off its connection and, behind a trusted proxy, its headers."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """`proxies` are networks or addresses; `ValueError` names one that is neither."""
        self._proxies: tuple[Network, ...] = tuple(ipaddress.ip_network(proxy, strict=False) for proxy in proxies)

    def peer(
        self, client: str, server: tuple[str, int | None] | None, scheme: str, headers: dict[bytes, bytes]
    ) -> Peer:
        port = (server[1] if server else None) or DEFAULT_PORTS.get(scheme, 80)
        here = server[0] if server and server[1] else "localhost"
        host = host_header_of(_text(headers.get(b"host")))
        root = ""
        address = client = unmapped(client)
        if self._proxies and self.is_proxy(client):
            host = host_header_of(_last(headers.get(b"x-forwarded-host"))) or host
            said = _last(headers.get(b"x-forwarded-proto")) or _text(headers.get(b"x-scheme"))
            scheme = said.lower() if said.lower() in DEFAULT_PORTS else scheme
            script_name = _text(headers.get(b"x-script-name")).rstrip("/")
            root = script_name if _SCRIPT_NAME.fullmatch(script_name) else ""
            address = self._client(headers.get(b"x-forwarded-for"), client)
        elif host is not None and host.port is None:
            # Some clients leave the port out of Host; the URLs we give must still lead here.
            host = HostHeader(host.name, port)
        if host is None:
            host = HostHeader(f"[{here}]" if ":" in here else here, port)
        return Peer(address, scheme, host, root)

    def is_shared(self, address: str) -> bool:
        """Whether many may stand behind `address`: it is this computer's own, or that of a trusted proxy."""
        try:
            return ipaddress.ip_address(address).is_loopback or self.is_proxy(address)
        except ValueError:
            return not address  # a Unix socket has none

    def _client(self, forwarded_for: bytes | None, peer: str) -> str:
        """The nearest address in front of our own proxies."""
        address = peer
        for hop in reversed(_text(forwarded_for).split(",")):
            hop = hop.strip()
            if not is_address(hop):
                break
            address = hop = unmapped(hop)
            if not self.is_proxy(hop):
                break
        return address

    def is_proxy(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._proxies if network.version == ip.version)


def unmapped(address: str) -> str:
    """An IPv4 address as such: where one socket listens for both kinds, it comes as one of IPv6.

    >>> unmapped("::ffff:192.168.1.5"), unmapped("fe80::1%eth0"), unmapped("")
    ('192.168.1.5', 'fe80::1%eth0', '')
    """
    if not address.lower().startswith("::ffff:"):
        return address
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return address if mapped is None else str(mapped)


def base_url(peer: Peer) -> str:
    """Scheme, host and root; nothing after it, and no port that the scheme implies."""
    name, port = peer.host
    port_text = "" if port is None or port == DEFAULT_PORTS.get(peer.scheme) else f":{port}"
    return f"{peer.scheme}://{name}{port_text}{peer.root}"


def below_root(path: str, root: str) -> str:
    """`path` without the `root` that a proxy says it has added; some take it off themselves."""
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def split_prefix(path: str) -> tuple[str | None, str]:
    """The slug of a ``/p/<slug>/…`` path, and the path below it.

    >>> split_prefix("/p/mk3/api/job")
    ('mk3', '/api/job')
    """
    if not path.startswith("/p/"):
        return None, path
    match = _PREFIX.fullmatch(path)
    return (match[1], match[2] or "/") if match is not None else (None, path)


def _text(value: bytes | None) -> str:
    return value.decode("latin-1").strip() if value else ""


def _last(value: bytes | None) -> str:
    """The last of a list: what the proxy nearest to us added."""
    return _text(value).rsplit(",", 1)[-1].strip()
