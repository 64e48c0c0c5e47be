"""uvicorn's WebSocket, with the bounds it leaves open, and bytes on the wire that many clients may share.

Nothing is compressed: what is sent to one client is then, byte for byte, what is sent to all (RFC 6455, 5.2), and a
socket needs no memory for a dictionary.  Clients that send more than `MAX_FRAMES` at once, and `FRAMES_S` from then on,
are dropped at once.  Clients that do not answer a ping are dropped within `PING_EVERY_S` +
`PONG_WITHIN_S`, whatever they still have to read (R16).
"""

from collections.abc import Callable
from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from polyhost.web.sockets import POLICY

EXTENSION: Final = "polyhost.wire"
"""Where a socket's scope has its `SocketConnection`, among the extensions."""

MAX_MESSAGE: Final = 1 << 20
PING_EVERY_S: Final = 15.0
PONG_WITHIN_S: Final = 12.0
CLOSE_WITHIN_S: Final = 5.0
STOP_WITHIN_S: Final = 1.0
GOING_AWAY: Final = 1001
MAX_FRAMES: Final = 200  # of a client, at once
FRAMES_S: Final = 20.0  # and as many more in a second
_MAX_UNREAD: Final = 1 << 20  # answers to pings of a client that never reads
_COUNTS_AS_ONE: Final = 8192  # bytes
_SLICE: Final = 4096  # bytes that are read before it is looked at how many frames they were


class SocketConnection(WebSocketsSansIOProtocol):
    """One client's WebSocket; satisfies `polyhost.web.sockets.Wire`."""

    on_writable: Callable[[], None] = staticmethod(lambda: None)
    _at_once = float(MAX_FRAMES)
    _in_a_second = FRAMES_S
    _credit = float(MAX_FRAMES)  # frames that the client may send now
    _credited_at = 0.0

    @property
    def is_open(self) -> bool:
        return not (self.close_sent or self.disconnected or self.transport.is_closing())

    @property
    def is_writable(self) -> bool:
        """Whether the transport would take more without keeping too much."""
        return self.writable.is_set()

    def write(self, wire: bytes) -> None:
        """Send a whole frame, as `polyhost.web.sockets.text_frame` makes it."""
        if self.is_open:
            self.transport.write(wire)

    def buffered(self) -> int:
        """Bytes that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def allow(self, at_once: int, in_a_second: float) -> None:
        """Take so many frames of the client from now on."""
        self._credit += at_once - self._at_once
        self._at_once, self._in_a_second = at_once, in_a_second

    def end(self, code: int, reason: str = "", within_s: float = CLOSE_WITHIN_S) -> None:
        """Begin to close, and wait no longer than `within_s` for the client to agree."""
        if not self.is_open:
            return
        self.stop_keepalive()
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(within_s, self.transport.abort)
        self.on_writable()

    # uvicorn's own, mended

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # the application's task has not begun yet
            self.scope["extensions"][EXTENSION] = self  # type: ignore[assignment]  # a typed dict of its own

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return  # the rest is of a client that is done with
            try:
                super().data_received(data[start : start + _SLICE])
            except (AssertionError, ValueError):  # a head that only one of the two parsers takes for one
                self.transport.abort()
            if self.transport.get_write_buffer_size() > _MAX_UNREAD:
                self.transport.abort()

    def handle_events(self) -> None:
        """Frames of every kind count, and 8 KiB of a large one as one: many would hold up all others (S6)."""
        now = self.loop.time()
        spent = max(len(self.conn.events), _SLICE / _COUNTS_AS_ONE)
        self._credit = min(self._at_once, self._credit + (now - self._credited_at) * self._in_a_second) - spent
        self._credited_at = now
        if self._credit < 0:
            self.end(POLICY, f"more than {self._at_once:g} messages at once")
            self.transport.close()
            return
        super().handle_events()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.on_writable()  # who waits for room waits for nobody

    def handle_close(self, event: object) -> None:
        super().handle_close(event)  # type: ignore[arg-type]
        self._abort_soon()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._abort_soon()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    def shutdown(self) -> None:
        if self.handshake_complete:
            self.end(GOING_AWAY, "the server stops", STOP_WITHIN_S)
        else:
            super().shutdown()

    def _abort_soon(self) -> None:
        """A client that closes and does not read would keep its bytes here for hours."""
        if self.close_timer is None and not self.disconnected:
            self.close_timer = self.loop.call_later(CLOSE_WITHIN_S, self.transport.abort)
