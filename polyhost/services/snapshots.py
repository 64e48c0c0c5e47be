"""Fetches one picture over HTTP, from the address that was named and from no other (S12).

The host's name is resolved once, and what it resolved to is what is connected to; a redirect is followed within the
same origin only; nothing of the environment (proxies, netrc) has a say.  A picture is at most 10 MB and 10 s, and is
known by its first bytes, whatever its sender calls it.
"""

import asyncio
import functools
import ipaddress
import ssl
from typing import Final

import httpx
import msgspec

from polyhost import __version__
from polyhost.core.errors import LinkLost
from polyhost.core.webcam import MAX_TIMEOUT_S, SNAPSHOT_SCHEMES

MAX_PICTURE: Final = 10_000_000  # bytes
MAX_HOPS: Final = 3
_KINDS: Final = (
    ("image/jpeg", ".jpg", b"\xff\xd8\xff", b""),
    ("image/png", ".png", b"\x89PNG\r\n\x1a\n", b""),
    ("image/webp", ".webp", b"RIFF", b"WEBP"),
)
_ENOUGH: Final = 12  # bytes, to know what it is
_HEADERS: Final = {"accept": "image/*", "accept-encoding": "identity", "user-agent": f"Polyhost/{__version__}"}


class Picture(msgspec.Struct, frozen=True):
    """`suffix` is what files of its kind end with."""

    data: bytes
    media_type: str
    suffix: str


class Fetcher:
    async def fetch(self, url: str, timeout_s: float, *, verify_tls: bool = True) -> Picture:
        """The picture at `url`, whole within `timeout_s` (10 s at the most); `LinkLost` says what came instead."""
        within_s = min(timeout_s, MAX_TIMEOUT_S)
        try:
            async with asyncio.timeout(within_s):
                return picture_of(await _fetched(httpx.URL(url), verify_tls))
        except TimeoutError:
            raise LinkLost(f"no whole picture came within {within_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise LinkLost(f"no picture came: {error or type(error).__name__}") from error


def picture_of(data: bytes) -> Picture:
    """`LinkLost` when `data` is no picture."""
    for media_type, suffix, head, at_8 in _KINDS:
        if data.startswith(head) and data[8:].startswith(at_8):
            return Picture(data, media_type, suffix)
    raise LinkLost("what came is no JPEG, PNG or WebP")


async def _fetched(url: httpx.URL, verify_tls: bool) -> bytes:
    if url.scheme not in SNAPSHOT_SCHEMES or not url.host:
        raise LinkLost("its snapshot URL must start with http:// or https:// and name a host")
    address = await _resolved(url)
    secure = url.scheme == "https" and verify_tls
    context: ssl.SSLContext | bool = await asyncio.to_thread(_trusting) if secure else False
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=None, headers=_HEADERS) as client:
        here = url
        for _ in range(MAX_HOPS + 1):
            request = client.build_request(
                "GET",
                here.copy_with(host=address),
                headers={"host": here.netloc.decode()},
                extensions={"sni_hostname": here.host},
            )
            answer = await client.send(request, stream=True, follow_redirects=False)
            try:
                if not answer.is_redirect:
                    return await _body_of(answer)
                target = here.join(answer.headers.get("location", ""))
            finally:
                await answer.aclose()
            if _origin_of(target) != _origin_of(url):
                raise LinkLost("it sends to another address, where this host does not go; name that address itself")
            here = target.copy_with(userinfo=url.userinfo)
    raise LinkLost(f"it redirects more than {MAX_HOPS} times")


async def _body_of(answer: httpx.Response) -> bytes:
    if answer.status_code != 200:
        raise LinkLost(f"it answers {answer.status_code} {answer.reason_phrase}")
    body = bytearray()
    known = False
    async for piece in answer.aiter_raw():
        body += piece
        if not known and len(body) >= _ENOUGH:
            picture_of(bytes(body[:_ENOUGH]))  # a stream has no end to wait for
            known = True
        if len(body) > MAX_PICTURE:
            raise LinkLost(f"its picture has more than {MAX_PICTURE} bytes")
    return bytes(body)


async def _resolved(url: httpx.URL) -> str:
    """The address to connect to, as part of a URL."""
    found = await asyncio.get_running_loop().getaddrinfo(url.host, _port_of(url))
    return str(ipaddress.ip_address(str(found[0][4][0]).partition("%")[0]))


def _origin_of(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, _port_of(url)


def _port_of(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


@functools.cache
def _trusting() -> ssl.SSLContext:
    """Made once: reading the certificates of all authorities takes a while."""
    return ssl.create_default_context()
