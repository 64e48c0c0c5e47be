"""Announces the printers in the local network by mDNS, so that slicers and home automation find them by themselves.

Facts: the OctoPrint specification, section 7 (Zeroconf), RFC 6762 and 6763.  Of a printer its name, its port and where
it is below it are told, and the uuid by which a client that was given a key knows it again; of the host nothing more.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterable, Sequence
from typing import Final

import ifaddr
import msgspec
from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from polyhost.services.discovery import Discovery
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers

log = logging.getLogger(__name__)

OCTOPRINT: Final = "_octoprint._tcp.local."
HTTP: Final = "_http._tcp.local."
API_VERSION: Final = "0.1"
LOOK_EVERY_S: Final = 15.0  # for printers that came or went, and other addresses of this computer
RETRY_S: Final = 60.0
GOODBYE_S: Final = 2.0
MAX_NAME_BYTES: Final = 63


class Service(msgspec.Struct, frozen=True):
    """One service as it is announced."""

    kind: str
    name: str  # of the instance, at most 63 bytes
    port: int
    addresses: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]

    def info(self, server: str) -> ServiceInfo:
        return ServiceInfo(
            self.kind,
            f"{self.name}.{self.kind}",
            port=self.port,
            properties=dict(self.properties),
            server=server,
            parsed_addresses=list(self.addresses),
        )


class Announcer:
    """`listens_at` is the address that the host listens on and `port` its main port; `version` is what clients of
    OctoPrint are told.  `interfaces` are addresses of those to announce at; none is all.
    """

    def __init__(
        self,
        printers: Printers,
        discovery: Discovery,
        *,
        listens_at: str,
        port: int,
        version: str,
        interfaces: Sequence[str] = (),
    ) -> None:
        self._printers = printers
        self._discovery = discovery
        self._listens_at = listens_at
        self._port = port
        self._version = version
        self._interfaces = interfaces

    async def run(self) -> None:
        """Announce until cancelled, then say goodbye.  A network that refuses is one warning, and tried again."""
        warned = False
        while True:
            try:
                await self._announce()
            except* (OSError, ZeroconfError) as refused:
                if not warned:
                    log.warning("the printers cannot be announced by mDNS: %r", refused.exceptions[0])
                warned = True
            await asyncio.sleep(RETRY_S)

    async def _announce(self) -> None:
        version = IPVersion.All if ":" in self._listens_at else IPVersion.V4Only
        zeroconf = AsyncZeroconf(interfaces=list(self._interfaces) or InterfaceChoice.All, ip_version=version)
        announced: dict[Service, ServiceInfo] = {}
        host = host_name()
        try:
            while True:
                wanted = self._services(host)
                for service in announced.keys() - wanted:
                    await (await zeroconf.async_unregister_service(announced.pop(service)))
                new = {service: service.info(f"{host}.local.") for service in wanted if service not in announced}
                async with asyncio.TaskGroup() as group:
                    for info in new.values():
                        group.create_task(_register(zeroconf, info), name=f"announcing {info.name}")
                announced |= new
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            try:
                async with asyncio.timeout(GOODBYE_S):
                    await zeroconf.async_unregister_all_services()
            except TimeoutError:
                log.info("the goodbyes to the network took too long")
            await zeroconf.async_close()

    def _services(self, host: str) -> Sequence[Service]:
        addresses = addresses_at(self._listens_at, self._interfaces)
        if not addresses:
            return ()
        found: list[Service] = []
        for printer in self._printers.all():
            default = printer is self._printers.default()
            taken = {service.name for service in found}
            found += services_of(
                *(printer, name_of(printer, host, taken), self._discovery.uuid_of(printer)),
                port=self._port,
                default=default,
                version=self._version,
                addresses=addresses,
            )
        return found


async def _register(zeroconf: AsyncZeroconf, info: ServiceInfo) -> None:
    """Asks whether the name is free, which takes half a second, and takes another if it is not."""
    await (await zeroconf.async_register_service(info, allow_name_change=True))


def services_of(
    printer: Printer,
    name: str,
    uuid: str,
    *,
    port: int,
    default: bool,
    version: str,
    addresses: tuple[str, ...],
) -> tuple[Service, Service]:
    """What is announced of `printer`: as OctoPrint's, and as a web page.  On a port of its own it is at ``/``."""
    path = "/" if default or printer.listen else f"/p/{printer.slug}/"
    at = printer.listen or port
    properties = (("path", path), ("version", version), ("api", API_VERSION), ("uuid", uuid))
    return (
        Service(OCTOPRINT, name, at, addresses, properties),
        Service(HTTP, name, at, addresses, (("path", path),)),
    )


def name_of(printer: Printer, host: str, taken: Iterable[str]) -> str:
    """What people see in a list: the printer's name and its host's, and the slug where another has that name."""
    for words in (printer.name, f"{printer.name} ({printer.slug})"):
        name = shortened(f"{words} on {host}")
        if name not in taken:
            return name
    return shortened(f"{printer.slug} on {host}")


def shortened(name: str) -> str:
    """`name` in at most 63 bytes, cut between two characters, without what would end a label or a line."""
    plain = "".join(c if c.isprintable() and c != "." else " " for c in name)
    return plain.encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip()


def host_name() -> str:
    return socket.gethostname().partition(".")[0] or "polyhost"


def addresses_at(listens_at: str, interfaces: Sequence[str]) -> tuple[str, ...]:
    """The addresses of this computer at which a host that listens at `listens_at` is reached, of `interfaces` if any.

    Of every interface when it listens at all of them; those that only this computer or one cable knows are left out.
    """
    if interfaces:
        return tuple(sorted(interfaces))
    try:
        here = ipaddress.ip_address(listens_at)
    except ValueError:
        return ()
    if not here.is_unspecified:
        return (str(here),)
    found = (ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    known = (ipaddress.ip_address(address) for address in found)
    return tuple(
        sorted(
            str(address)
            for address in known
            if not (address.is_loopback or address.is_link_local) and (here.version == 6 or address.version == 4)
        )
    )
