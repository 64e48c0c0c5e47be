"""What an administrator wants to know before they set it: is that path there, does that address answer?

Nothing is written, created or sent but the question.  An address is asked because an administrator named it (S12),
so it may be one of the inner network; redirects are told, never followed, proxies and passwords of the environment
have no say, and everything ends in time.
"""

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import httpx
import msgspec

from polyhost import __version__
from polyhost.core.errors import Malformed, TooMany
from polyhost.core.user import Caller
from polyhost.services.rights import needs_the_host

LONGEST_S: Final = 10.0
MAX_BODY: Final = 1 << 20
MAX_AT_ONCE: Final = 4
_ACCESS: Final = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}


class PathFound(msgspec.Struct, frozen=True):
    path: str
    exists: bool = False
    is_of_kind: bool = False
    may_access: bool = False
    is_broken_link: bool = False


class Answered(msgspec.Struct, frozen=True):
    """What came from a URL; `status` is 0 when nothing did.  `body` is None unless wanted, or when it is over 1 MiB."""

    status: int = 0
    content_type: str = ""
    body: bytes | None = None


class Network(msgspec.Struct, frozen=True):
    """`network` is the one of inner networks that has the address, "" when it is none of these."""

    address: str
    network: str = ""


_INNER: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)


class Probing:
    """Every method wants the right to manage the host; four questions at once are asked, one more is refused."""

    def __init__(self) -> None:
        self._asking = 0

    async def path(
        self, path: str, kind: Literal["file", "dir"] | None, access: frozenset[str], by: Caller
    ) -> PathFound:
        """Whether `path`, absolute, is there as a `kind`, and may be used for all of `access` (of "rwx")."""
        needs_the_host(by)
        if not os.path.isabs(path) or "\0" in path or len(path.encode("utf-8", "replace")) > 4096:
            raise Malformed("the path must be an absolute one of at most 4096 bytes")
        return await asyncio.to_thread(_found, path, kind, access)

    async def url(
        self,
        url: str,
        method: Literal["GET", "HEAD", "OPTIONS"],
        timeout_s: float,
        by: Caller,
        *,
        verify_tls: bool = True,
        body: bool = False,
    ) -> Answered:
        """What `url` answers to `method`, within `timeout_s` (10 s at the most)."""
        needs_the_host(by)
        with self._one():
            try:
                async with asyncio.timeout(min(timeout_s, LONGEST_S)):
                    return await _answered(url, method, verify_tls=verify_tls, body=body)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError):  # TimeoutError is an OSError
                return Answered()

    async def server(self, host: str, port: int, protocol: Literal["tcp", "udp"], timeout_s: float, by: Caller) -> bool:
        """Whether something listens there; of ``udp`` only whether it could be sent to, for nobody has to answer."""
        needs_the_host(by)
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with self._one():
            try:
                async with asyncio.timeout(min(timeout_s, LONGEST_S)):
                    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
                    return any([await _connects(*address) for address in found[:4]])
            except (OSError, UnicodeError):
                return False

    async def resolves(self, name: str, by: Caller) -> bool:
        """Whether `name` is that of some address."""
        needs_the_host(by)
        with self._one():
            try:
                async with asyncio.timeout(LONGEST_S):
                    return bool(await asyncio.get_running_loop().getaddrinfo(name, None))
            except (OSError, UnicodeError):
                return False

    def network(self, address: str, by: Caller) -> Network:
        """Which inner network has `address`."""
        needs_the_host(by)
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            raise Malformed(f"{address!r} is no IP address") from None
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        inner = next((str(network) for network in _INNER if network.version == ip.version and ip in network), "")
        return Network(address, inner)

    @contextlib.contextmanager
    def _one(self) -> Iterator[None]:
        if self._asking >= MAX_AT_ONCE:
            raise TooMany(f"{MAX_AT_ONCE} such questions are open already", retry_after_s=LONGEST_S)
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1


def _found(path: str, kind: Literal["file", "dir"] | None, access: frozenset[str]) -> PathFound:
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return PathFound(path, is_broken_link=Path(path).is_symlink())
    of_kind = kind is None or (stat.S_ISREG(mode) if kind == "file" else stat.S_ISDIR(mode))
    wanted = 0
    for letter in access:
        wanted |= _ACCESS[letter]
    return PathFound(path, True, of_kind, os.access(path, wanted or os.F_OK))


async def _answered(url: str, method: str, *, verify_tls: bool, body: bool) -> Answered:
    scheme = httpx.URL(url).scheme
    if scheme not in {"http", "https"}:
        return Answered()
    secure = scheme == "https" and verify_tls
    context: ssl.SSLContext | bool = await asyncio.to_thread(ssl.create_default_context) if secure else False
    headers = {"user-agent": f"Polyhost/{__version__}", "accept-encoding": "identity"}
    async with (
        httpx.AsyncClient(verify=context, trust_env=False, timeout=None, headers=headers) as client,
        client.stream(method, url, follow_redirects=False) as answer,
    ):
        kind = answer.headers.get("content-type", "")
        return Answered(answer.status_code, kind, await _body_of(answer) if body else None)


async def _body_of(answer: httpx.Response) -> bytes | None:
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def _connects(family: int, kind: int, protocol: int, _: str, address: tuple[object, ...]) -> bool:
    with socket.socket(family, kind, protocol) as probe:
        probe.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(probe, address)
        except OSError:
            return False
    return True
