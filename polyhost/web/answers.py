"""What a route may answer with: a struct (sent as JSON), or one of these."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]

_json = msgspec.json.Encoder()
JSON: Final = (b"content-type", b"application/json")
TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
HTML: Final = (b"content-type", b"text/html; charset=utf-8")
_POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
)

PAGE_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Polyhost</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}
input,button{font:inherit;display:block;margin:.2rem 0 1rem;padding:.4rem}code{background:#8882;padding:.1rem .3rem}
</style></head><body><h1>Polyhost</h1>
"""
"""How every page of ours begins."""


class Encoded:
    """A whole answer, ready to send; may be kept and sent again."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def encoded(value: Any, *, status: int = 200, headers: Headers | None = None) -> Encoded:
    """`value` as JSON."""
    body = _json.encode(value)
    return Encoded(status, [JSON, (b"content-length", b"%d" % len(body)), *(headers or ())], body)


def text(value: str) -> Encoded:
    body = value.encode()
    return Encoded(200, [TEXT, (b"content-length", b"%d" % len(body))], body)


def page(value: str, *, status: int = 200) -> Encoded:
    """HTML that needs nothing but itself, and may load nothing else."""
    body = value.encode()
    return Encoded(status, [HTML, (b"content-length", b"%d" % len(body)), _POLICY], body)


def no_content(headers: Headers | None = None) -> Encoded:
    """204.  It says its length, as the servers do that our clients were made for: small ones wait seconds for it."""
    return Encoded(204, [(b"content-type", b"text/plain"), (b"content-length", b"0"), *(headers or ())], b"")


def unchanged(request_headers: dict[bytes, bytes], etag: str) -> bool:
    """Whether the client already has what `etag` (with its quotes) names."""
    said = request_headers.get(b"if-none-match", b"").decode("latin-1")
    return said.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in said.split(","))


def not_modified(headers: Headers) -> Encoded:
    return Encoded(304, headers, b"")


def created(location: str, value: Any) -> Encoded:
    """201 with the place of what was made; `location` is an absolute URL, already quoted."""
    return encoded(value, status=201, headers=[(b"location", location.encode("ascii"))])


class Stored:
    """A file of the disk, sent with ranges, `etag` (with its quotes) and a name to save it under."""

    def __init__(self, path: Path, *, name: str, etag: str, content_type: str) -> None:
        self.path = path
        self.name = name
        self.etag = etag
        self.content_type = content_type


class Streamed:
    """An answer without an end known in advance; `chunks` is closed when the client or the server goes."""

    def __init__(self, chunks: Callable[[], AsyncGenerator[bytes, None]], *, content_type: str) -> None:
        self.chunks = chunks
        self.content_type = content_type


Answer = Encoded | Stored | Streamed


class Latest:
    """What was made last, by key, each for as long as what it was made of is the same.

    Bounded: beyond `bound` keys the oldest goes.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._kept: dict[object, tuple[tuple[object, ...], Any]] = {}

    def get(self, key: object, made_of: tuple[object, ...], make: Callable[[], T]) -> T:
        """What is kept under `key`, made anew if it was made of something else than `made_of`."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == made_of:
            value: T = kept[1]
            return value
        value = make()
        self.keep(key, made_of, value)
        return value

    def find(self, key: object, made_of: tuple[object, ...]) -> Any | None:
        """What is kept under `key`, None when it was made of something else; for what is not made at once."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and kept[0] == made_of else None

    def keep(self, key: object, made_of: tuple[object, ...], value: object) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= self._bound:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (made_of, value)
