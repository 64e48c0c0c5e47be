import asyncio

import msgspec
import pytest

from polyhost.core.errors import Malformed, TooLarge
from polyhost.web import bodies
from polyhost.web.bodies import ClientGone, check_json, chunks_of, decoded, whole
from polyhost.web.errors import TooSlow


def receiving(*chunks: bytes, gone: bool = False) -> bodies.Receive:
    """A body of `chunks`, which breaks off if `gone`."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False})
    left = iter(messages)

    async def receive() -> dict[str, object]:
        return next(left)

    return receive


async def test_a_body_is_put_together() -> None:
    assert await whole(receiving(b"ab", b"", b"c"), {}, 3) == b"abc"


@pytest.mark.parametrize("headers", [{}, {b"content-length": b"4"}, {b"content-length": b"x"}])
async def test_a_body_beyond_its_bound_is_refused(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(TooLarge):
        await whole(receiving(b"abcd"), headers, 3)


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    async def receive() -> dict[str, object]:
        raise AssertionError("read")

    with pytest.raises(TooLarge):
        await whole(receive, {b"content-length": b"1000000000"}, 3)


async def test_a_body_that_breaks_off_is_no_body() -> None:
    with pytest.raises(ClientGone):
        await whole(receiving(b"ab", gone=True), {}, 100)


async def test_a_body_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE_S", 0.05)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"", "more_body": True}

    with pytest.raises(TooSlow):
        await asyncio.wait_for(whole(receive, {}, 100), 5)


async def test_a_body_at_a_fair_rate_may_take_longer_than_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE_S", 0.05)
    left = iter(range(40))

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.005)
        return {"type": "http.request", "body": bytes(1024), "more_body": next(left, None) is not None}

    assert sum([len(chunk) async for chunk in chunks_of(receive)]) == 41 * 1024


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 64 + b"]" * 64,
        b'"' + b"[" * 1000 + b'"',
        b'["\\"' + b"{" * 100 + b'"]',
        b"9" * 64,
        b'"' + b"9" * 99 + b'"',
    ],
)
def test_deep_looking_text_is_not_deep(data: bytes) -> None:
    check_json(data)


@pytest.mark.parametrize("data", [b"[" * 65, b'{"a":' * 65, b"[" * 100_000, b"9" * 65, b'{"a": 0.' + b"1" * 65 + b"}"])
def test_what_is_too_deep_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        check_json(data)


class Wanted(msgspec.Struct):
    x: float
    names: list[str] = []


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"null", b"[]", b"{}", b"\xff", b'{"x": NaN}', b'{"x": Infinity}', b'{"x": 1e999}'),
        *(b'{"x": true}', b'{"x": "1"}', b'{"x": null}', b'{"x": [1]}', b'{"x": 1} 2', b'{"x": 1, "names": [1]}'),
        *(b'{"x": 1, "names": "\\ud800"}', b"\x00", b'{"x": 0x10}', b"{'x': 1}"),
    ],
)
def test_what_is_not_the_json_that_is_wanted_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        decoded(data, Wanted)


@pytest.mark.parametrize(
    ("data", "x"), [(b'{"x": 1}', 1.0), (b'{"x": -0.5, "y": {}}', -0.5), (b' {"x": 1e3}\n', 1000.0)]
)
def test_unknown_fields_are_let_be(data: bytes, x: float) -> None:
    assert decoded(data, Wanted).x == x
