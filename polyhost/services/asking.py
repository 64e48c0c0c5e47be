"""Asks servers that the settings file names, over HTTP: no redirects, no proxies, in bounded time and space (S12)."""

import asyncio
import functools
import ssl
from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from polyhost import __version__
from polyhost.core.errors import LinkLost

MAX_HEADERS: Final = 50
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": f"Polyhost/{__version__}"}


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    headers: dict[str, str]


async def ask(
    who: str,
    method: str,
    url: str,
    *,
    json: object = msgspec.UNSET,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    within_s: float,
    max_bytes: int,
) -> Answer:
    """What `url` answers, whatever its status; `LinkLost` calls the server `who` and says what came instead."""
    context: ssl.SSLContext | bool = await asyncio.to_thread(_trusting) if url.startswith("https:") else False
    content = None if json is msgspec.UNSET else msgspec.json.encode(json)
    said = {**_HEADERS, **(headers or {}), **({} if content is None else {"content-type": "application/json"})}
    try:
        async with (
            asyncio.timeout(within_s),
            httpx.AsyncClient(verify=context, trust_env=False, timeout=None, headers=said, auth=auth) as client,
            client.stream(method, httpx.URL(url), content=content, follow_redirects=False) as answer,
        ):
            data = bytearray()
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) > max_bytes:
                    raise LinkLost(f"what {who} answers has more than {max_bytes} bytes")
            return Answer(answer.status_code, bytes(data), dict(list(answer.headers.items())[:MAX_HEADERS]))
    except TimeoutError:
        raise LinkLost(f"{who} not available: no answer within {within_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise LinkLost(f"{who} not available: {error or type(error).__name__}") from error


@functools.cache
def _trusting() -> ssl.SSLContext:
    return ssl.create_default_context()
