"""Bodies of requests, within their bounds: size, rate, and for JSON depth and length of numbers."""

import asyncio
import functools
import itertools
import operator
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeVar, cast

import msgspec

from polyhost.core.errors import Malformed, TooLarge
from polyhost.web.errors import TooSlow

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_DEPTH: Final = 64
MAX_DIGITS: Final = 64
MAX_LISTS: Final = 32768
"""Lists and objects in one body; what is made of a megabyte of them would hold up everybody else."""
GRACE_S: Final = 10.0
SLOWEST_BYTES_S: Final = 1024

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_LONG_NUMBER: Final = re.compile(rb"[0-9.]{%d}" % (MAX_DIGITS + 1))


class ClientGone(Exception):
    """The client went away before its request was whole; there is nobody to answer."""


async def chunks_of(receive: Receive) -> AsyncGenerator[bytes, None]:
    """The body as it comes.  `TooSlow` below 1 KiB/s after 10 s; `ClientGone` when it breaks off."""
    loop = asyncio.get_running_loop()
    credit_s = GRACE_S  # what may be waited from now on; each received byte earns a little, up to the grace
    more = True
    while more:
        asked_at = loop.time()
        try:
            async with asyncio.timeout(credit_s):
                message = await receive()
        except TimeoutError:
            raise TooSlow(f"the body came slower than {SLOWEST_BYTES_S} bytes a second") from None
        if message["type"] != "http.request":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        credit_s = min(GRACE_S, credit_s - (loop.time() - asked_at) + len(chunk) / SLOWEST_BYTES_S)
        if chunk:
            yield chunk


async def whole(receive: Receive, headers: dict[bytes, bytes], max_bytes: int) -> bytes:
    """The body, if it is no longer than `max_bytes`; `TooLarge` as soon as that shows."""
    too_large = TooLarge(f"the body is longer than {max_bytes} bytes")
    if length_of(headers, 0) > max_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks_of(receive):
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        parts.append(chunk)
    return b"".join(parts)


def length_of(headers: dict[bytes, bytes], default: int) -> int:
    """``Content-Length``, or `default` when the client does not say."""
    said = headers.get(b"content-length", b"")
    return int(said) if said.isdigit() and len(said) < 20 else default


def check_json(data: bytes) -> None:
    """`Malformed` when `data` is nested deeper than 64, has 32,769 lists, or a number of more than 64 digits.

    It looks no closer than that: whether the rest is JSON is the decoder's matter.
    """
    brackets = data.count(b"[") + data.count(b"{")
    if brackets <= MAX_DEPTH and _LONG_NUMBER.search(data) is None:
        return
    bare = _STRING.sub(b"", data)
    if _LONG_NUMBER.search(bare) is not None:
        raise Malformed(f"a number has more than {MAX_DIGITS} digits")
    lists = bare.count(b"[") + bare.count(b"{")
    if lists > MAX_LISTS:
        raise Malformed(f"the JSON has {lists} lists and objects; {MAX_LISTS} is the limit")
    steps = bare.translate(_STEPS, _NO_BRACKETS)  # 2 for each that opens, 0 for each that closes
    if max(map(operator.sub, itertools.accumulate(steps), itertools.count(1)), default=0) > MAX_DEPTH:
        raise Malformed(f"the JSON is nested deeper than {MAX_DEPTH}")


_STEPS: Final = bytes.maketrans(b"[{]}", b"\2\2\0\0")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decoded(data: bytes, kind: type[T]) -> T:
    """`data`, JSON, as a `kind`; `Malformed` says what is wrong and where."""
    check_json(data)
    try:
        value: T = _decoder(cast(Any, kind)).decode(data)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    return value
