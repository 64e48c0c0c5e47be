"""Networks whose people need no login, because the owner says so (``access.trusted``).

A front end without a login works from nowhere else.  Trust is the last credential that counts.  It wants a name of
this host in ``Host``, so that no foreign name leads here, and no page of a foreign origin behind the request (S8, S9).
"""

import ipaddress
import logging
from collections.abc import Mapping
from typing import Final

from polyhost.core.errors import PolyhostError
from polyhost.core.user import GUEST, Caller, Role
from polyhost.web.addressing import KnownHosts, Network
from polyhost.web.call import Call

log = logging.getLogger(__name__)

USUAL: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
        *("100.64.0.0/10", "fc00::/7", "fe80::/10", "::1/128"),
    )
)
"""Addresses that no one on the internet has; 100.64.0.0/10 is that of overlay networks, and of some providers."""


class Trust:
    def __init__(self, networks: Mapping[str, str], known_hosts: KnownHosts) -> None:
        """The role of each network; the smallest that an address is in counts."""
        made = {ipaddress.ip_network(network, strict=False): Role(role) for network, role in networks.items()}
        self._callers = [
            (network, Caller(str(network), made[network], trusted=True))
            for network in sorted(made, key=lambda network: network.prefixlen, reverse=True)
        ]
        self._known_hosts = known_hosts
        for network in filter(is_public, networks):
            log.warning("access.trusted: people on the internet may have addresses of %s; name a smaller one", network)

    def caller_of(self, call: Call) -> Caller:
        """Whom the address stands for; a guest where it counts for nothing."""
        if not self._callers:
            return GUEST
        caller = self.at(call.peer.address)
        if caller.is_guest or call.is_proxy:
            return GUEST
        slugs = (printer.slug for printer in call.host.printers.all())
        if not self._known_hosts.knows(call.peer.host.name, slugs) or _is_foreign(call):
            return GUEST
        return caller

    def at(self, address: str) -> Caller:
        """Whom `address` stands for; this computer's own only where a network of its own is named."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return GUEST
        ip = getattr(ip, "ipv4_mapped", None) or ip
        for network, caller in self._callers:
            if ip.version == network.version and ip in network and (network.is_loopback or not ip.is_loopback):
                return caller
        return GUEST


def is_public(network: str) -> bool:
    """Whether people on the internet may have addresses of it."""
    trusted = ipaddress.ip_network(network, strict=False)
    return not any(_is_within(trusted, usual) for usual in USUAL)


def _is_within(network: Network, other: Network) -> bool:
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]  # of one version


def _is_foreign(call: Call) -> bool:
    """Whether a page that may not call is behind it, as far as a browser says."""
    try:
        call.check_origin()
    except PolyhostError:
        return True
    return b"origin" not in call.headers and call.header(b"sec-fetch-site").lower() == "cross-site"
