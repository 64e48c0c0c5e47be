"""JSON-RPC 2.0: what a client's message asks, and the answer to it.

Upstream: docs/external_api/introduction.md; specification, 1.6.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed, NotAllowed, NotKnown, PolyhostError
from polyhost.dialects.moonraker.errors import (
    BUSY,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    TOO_LARGE,
    ErrorWords,
    rpc_error_of,
)
from polyhost.dialects.moonraker.request import NO_ARGUMENTS, Request
from polyhost.dialects.moonraker.resource import Endpoint
from polyhost.web import bodies

MAX_BATCH: Final = 1000
MAX_BATCH_BYTES: Final = 16 << 20
"""Of the answers to one; beyond it nothing more of the batch is done."""
_TOO_LARGE: Final = f"not done: the answers before this one have {MAX_BATCH_BYTES >> 20} MiB; send it by itself"
_FAIR: Final = 16  # requests of a batch, before all others have their turn
_encode: Final = msgspec.json.Encoder().encode

RequestFor = Callable[[Mapping[str, Any]], Request]
"""Makes the request with these arguments, of whoever sent the message."""


class Rpc:
    """Answers messages by these `methods`."""

    def __init__(self, methods: Mapping[str, Endpoint]) -> None:
        self.methods = methods

    def read(self, message: str | bytes) -> Any:
        """A message as JSON; what cannot be read is answered by `answer`, too."""
        try:
            return bodies.decoded(message.encode() if isinstance(message, str) else message, Any)
        except (Malformed, UnicodeEncodeError):
            return _UNREADABLE

    def waits(self, said: Any) -> bool:
        """Whether the answer may take so long that others should not wait behind it."""
        several = said if isinstance(said, list) else [said]
        return any(
            (endpoint := self._endpoint(one)) is not None and endpoint.waits and not self._stops(one)
            for one in several[:MAX_BATCH]
        )

    def _endpoint(self, one: Any) -> Endpoint | None:
        """What is meant by one request, if it is anything."""
        name = one.get("method") if isinstance(one, dict) else None
        return self.methods.get(name) if isinstance(name, str) else None

    def _stops(self, one: Any) -> bool:
        """Whether one request is an emergency stop."""
        endpoint = self._endpoint(one)
        if endpoint is None or endpoint.stops is None:
            return False
        params = one.get("params")
        return endpoint.stops(params if isinstance(params, dict) else {})

    async def stop_first(self, said: Any, request_for: RequestFor) -> dict[int, bytes | None]:
        """Do the emergency stops in a batch before all else in it; their answers, by their places in it."""
        if not isinstance(said, list) or len(said) > MAX_BATCH:
            return {}
        return {
            place: _encoded(await self._one(one, request_for, True))
            for place, one in enumerate(said)
            if self._stops(one)
        }

    def refusal(self, said: Any, words: str) -> bytes:
        """The answer where there is no room for another request."""
        number = said.get("id") if isinstance(said, dict) else None
        return _encode(_failed(number, ErrorWords(BUSY, words)))

    async def answer(
        self,
        said: Any,
        request_for: RequestFor,
        *,
        on_socket: bool,
        answered: Mapping[int, bytes | None] | None = None,
    ) -> bytes | None:
        """The answer to one message or a batch, None where there is nothing to say.

        `on_socket`: it came over a connection that lasts, so what is about that connection may be asked.  `answered`
        are those of a batch that are, by their places.
        """
        if not isinstance(said, list):
            return _encoded(await self._one(said, request_for, on_socket))
        if not said:
            return _encode(_failed(None, ErrorWords(INVALID_REQUEST, "Invalid Request")))
        if len(said) > MAX_BATCH:
            words = f"a batch has at most {MAX_BATCH} requests, not {len(said)}"
            return _encode(_failed(None, ErrorWords(INVALID_REQUEST, words)))
        if answered is None:
            answered = await self.stop_first(said, request_for)
        return await self._batch(said, request_for, on_socket, answered)

    async def _batch(
        self, said: list[Any], request_for: RequestFor, on_socket: bool, answered: Mapping[int, bytes | None]
    ) -> bytes | None:
        """One after the other, with turns for everybody else; no more is asked once the answers are large enough."""
        answers: list[bytes] = []
        size = 0
        for count, one in enumerate(said):
            if count % _FAIR == 0:
                await asyncio.sleep(0)
            if count in answered:
                answer = answered[count]
            elif size > MAX_BATCH_BYTES:
                number = one.get("id") if isinstance(one, dict) else None
                answer = _encode(_failed(number, ErrorWords(TOO_LARGE, _TOO_LARGE)))
            else:
                answer = _encoded(await self._one(one, request_for, on_socket))
            if answer is not None:
                answers.append(answer)
                size += len(answer)
        return b"[" + b",".join(answers) + b"]" if answers else None

    async def _one(self, said: Any, request_for: RequestFor, on_socket: bool) -> dict[str, Any] | None:
        if said is _UNREADABLE:
            return _failed(None, ErrorWords(PARSE_ERROR, "Parse error"))
        if not isinstance(said, dict):
            return _failed(None, ErrorWords(INVALID_REQUEST, "Invalid Request"))
        number, name = said.get("id"), said.get("method")
        if said.get("jsonrpc") != "2.0" or not isinstance(name, str):
            return _failed(number, ErrorWords(INVALID_REQUEST, "Invalid Request"))
        endpoint = self.methods.get(name)
        if endpoint is None or (endpoint.socket_only and not on_socket):
            return _failed(number, ErrorWords(METHOD_NOT_FOUND, "Method not found"))
        params = said.get("params", {})
        if not isinstance(params, dict):
            return _failed(number, ErrorWords(INVALID_PARAMS, "Invalid params: an object is expected"))
        arguments = {key: value for key, value in params.items() if key not in _ABOUT_HTTP}
        request = request_for(arguments)
        try:
            if endpoint.needs is not None:
                request.require(endpoint.needs)
            result = await endpoint.handle(request)
        except PolyhostError as error:
            refused = endpoint.asked_by_all and isinstance(error, NotAllowed) and not isinstance(error, NotKnown)
            # Codes of HTTP's are shown to people; this one is not.
            said = ErrorWords(INVALID_PARAMS, str(error)) if refused else rpc_error_of(error)
            return _failed(number, said)
        return None if number is None else {"jsonrpc": "2.0", "result": result, "id": number}


class _Unreadable:
    pass


_UNREADABLE: Final = _Unreadable()
_ABOUT_HTTP: Final = NO_ARGUMENTS - {"access_token", "token"}  # ``identify`` has a token for its argument


def _encoded(answer: dict[str, Any] | None) -> bytes | None:
    return None if answer is None else _encode(answer)


def _failed(number: Any, error: ErrorWords) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error, "id": number}
