"""uvicorn's connection, with the bounds it leaves open: how long a request's head may take and be, and how long
the rest of a body that nobody reads is waited for.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from polyhost.web.heads import Outgoing

HEAD_WAIT_S: Final = 10.0
LINGER_S: Final = 10.0
MAX_LINE: Final = 8 * 1024
MAX_DATA_LINE: Final = 64 * 1024  # of a request line whose query has a `data=`
MAX_HEAD: Final = 32 * 1024
MAX_FIELDS: Final = 100

_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 35\r\nconnection: close\r\n\r\n"
    b"the head of the request is too long"
)


class _HeadTooLarge(Exception):
    """Ends the parsing; uvicorn meets it as an invalid request."""


class Connection(HttpToolsProtocol):
    """One client's connection: 431 beyond the bounds of a head, closed when a head or an unread body takes too long."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = True  # waiting for a request, or inside its head
    _has_begun = False  # inside the head of a request
    _unread = 0  # bytes since the head began
    _fields = 0
    _size = 0
    _refused = False
    _upgraded = False  # the connection is a WebSocket's now

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._set_timer(HEAD_WAIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._unread += len(data)
        super().data_received(data)
        if self._upgraded or self.transport.is_closing() or not self._in_head:
            return
        # The parser keeps an unfinished field to itself, so it is counted here.
        if self._unread > MAX_HEAD + MAX_DATA_LINE:
            self._refused = True
            self.send_400_response("")
        elif self._timer is None and not self._is_answering:
            self._set_timer(HEAD_WAIT_S)

    @property
    def _is_answering(self) -> bool:
        """Whether a request that is here waits for its answer, which may take as long as a machine does."""
        return self.cycle is not None and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._has_begun = True
        self._fields = self._size = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_LINE and (b"data=" not in self.url or len(self.url) > MAX_DATA_LINE):
            self._refuse()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        line = len(name) + len(value) + 4
        self._size += line
        self._fields += 1
        if line > MAX_LINE or self._size > MAX_HEAD or self._fields > MAX_FIELDS:
            self._refuse()

    def on_headers_complete(self) -> None:
        self._in_head = self._has_begun = False
        self._unread = 0
        self._stop_timer()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # it is when a WebSocket is asked for
            self.cycle.transport = Outgoing(self.transport, self.loop)  # type: ignore[assignment]  # all that it uses

    def on_message_complete(self) -> None:
        self._in_head = True
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if not self._in_head:
            self._set_timer(LINGER_S)  # the client is still sending a body that nobody will read
        elif self._has_begun and not self._is_answering:
            self._set_timer(HEAD_WAIT_S)  # of the next request, which began while this one was answered

    def _should_upgrade(self) -> bool:
        """RFC 6455, 4.2.1: a GET.  With any other method it is a request like others."""
        return self.parser.get_method() == b"GET" and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        self._stop_timer()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            super().send_400_response(msg)
        elif not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _refuse(self) -> None:
        self._refused = True
        raise _HeadTooLarge

    def _set_timer(self, after_s: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(after_s, self._close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
