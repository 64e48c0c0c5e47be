"""WebSockets, as a route sees them, and how many there may be.

What is sent is a `Frame`: made once, sent to as many clients as want it.  Sending never waits: what a client does
not take in time is kept up to a bound, and beyond it only the newest of each kind of snapshot is (R16).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, NewType, Protocol, Self

from polyhost.web.bodies import Receive
from polyhost.web.errors import Crowded

Frame = NewType("Frame", bytes)
"""A message as it is on the wire, header and all."""

MAX_QUEUED: Final = 256
MAX_QUEUED_BYTES: Final = 256 * 1024
MAX_SOCKETS: Final = 2000
REQUESTS_AT_ONCE: Final = 5000
REQUESTS_S: Final = 5000.0
MAX_SOCKETS_OF_ADDRESS: Final = 64

NORMAL: Final = 1000
POLICY: Final = 1008
BROKEN: Final = 1011
TRY_LATER: Final = 1013
_MAX_REASON: Final = 123  # bytes, RFC 6455, 5.5.1


class SocketClosed(Exception):
    """The client or the server closed the socket; nothing more comes, and nothing more is sent."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Wire(Protocol):
    """The connection below a socket."""

    on_writable: Callable[[], None]

    @property
    def is_open(self) -> bool: ...

    @property
    def is_writable(self) -> bool: ...

    def write(self, wire: bytes) -> None: ...

    def buffered(self) -> int: ...

    def allow(self, at_once: int, in_a_second: float) -> None: ...

    def end(self, code: int, reason: str = "") -> None: ...


def text_frame(payload: bytes) -> Frame:
    """`payload`, UTF-8, as one unmasked text frame: RFC 6455, 5.2.

    >>> text_frame(b"hi")
    b'\\x81\\x02hi'
    """
    size = len(payload)
    if size < 126:
        return Frame(b"\x81" + size.to_bytes(1, "big") + payload)
    if size < 65536:
        return Frame(b"\x81\x7e" + size.to_bytes(2, "big") + payload)
    return Frame(b"\x81\x7f" + size.to_bytes(8, "big") + payload)


def payload_of(frame: bytes) -> bytes:
    """What `text_frame` made a frame of.

    >>> payload_of(text_frame(b"hi"))
    b'hi'
    """
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class Outbox:
    """What waits for a client: bounded by count and bytes, then the newest of each kind of snapshot alone.

    `lost` counts what was left out.
    """

    __slots__ = ("_bytes", "_frames", "_latest", "lost")

    def __init__(self) -> None:
        self.lost = 0
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._latest: dict[str, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._frames or self._latest)

    def put(self, frame: bytes, latest: str, buffered: int) -> None:
        """Keep `frame`; `buffered` bytes are on their way already.  `latest` names the kind of a snapshot."""
        # Behind a snapshot that waits beyond the bound nothing may overtake it, so the bound stays reached till then.
        full = self._latest or len(self._frames) >= MAX_QUEUED
        if not full and self._bytes + buffered + len(frame) <= MAX_QUEUED_BYTES:
            self._frames.append(frame)
            self._bytes += len(frame)
        elif latest:
            self.lost += self._latest.pop(latest, None) is not None
            self._latest[latest] = frame
        else:
            self.lost += 1

    def keep(self, frame: bytes) -> None:
        """Keep `frame`, whatever the bounds."""
        self._frames.append(frame)
        self._bytes += len(frame)

    def take(self) -> bytes:
        """The oldest."""
        if self._frames:
            frame = self._frames.popleft()
            self._bytes -= len(frame)
            return frame
        return self._latest.pop(next(iter(self._latest)))


class Socket:
    """One client's open WebSocket."""

    def __init__(self, wire: Wire, receive: Receive) -> None:
        self._wire = wire
        self._receive = receive
        self._outbox = Outbox()
        self._taken = asyncio.Event()  # there may be room again, or nobody to send to
        wire.on_writable = self._flush

    @property
    def is_open(self) -> bool:
        """False as soon as either side began to close; who only sends asks this."""
        return self._wire.is_open

    @property
    def lost(self) -> int:
        """How many messages this client was too slow for."""
        return self._outbox.lost

    @property
    def is_caught_up(self) -> bool:
        """Whether the client took all that it was sent: what is sent now is not kept, and not left out."""
        return not self._outbox and self._wire.is_writable

    async def receive(self) -> str | bytes:
        """The client's next message, at most 1 MiB; `SocketClosed` when there is none."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise SocketClosed(message.get("code") or 1005)
        text: str | None = message.get("text")
        return text if text is not None else message["bytes"]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except SocketClosed:
            raise StopAsyncIteration from None

    def send(self, frame: Frame, *, latest: str = "") -> None:
        """Send, or keep until the client takes it; never waits.

        Beyond 256 frames or 256 KiB only snapshots are kept: of those with the same name `latest`, the newest.
        """
        if self._outbox or not self._wire.is_writable:
            self._outbox.put(frame, latest, self._wire.buffered())
        else:
            self._wire.write(frame)

    async def deliver(self, frame: Frame) -> None:
        """Send what must not be left out, behind what waits, and return when the client has taken it.

        Whoever answers requests with this takes no further one from a client that does not read.
        """
        if not self._outbox and self._wire.is_writable:
            self._wire.write(frame)
        else:
            self._outbox.keep(frame)
        while self.is_open and (self._outbox or not self._wire.is_writable):
            self._taken.clear()
            await self._taken.wait()

    def expect_requests(self) -> None:
        """The client asks and is answered: it may send many more messages than one that only listens."""
        self._wire.allow(REQUESTS_AT_ONCE, REQUESTS_S)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Begin to close; `receive` raises from now on."""
        self._wire.end(code, reason.encode()[:_MAX_REASON].decode(errors="ignore"))

    def _flush(self) -> None:
        while self._outbox and self._wire.is_writable:
            self._wire.write(self._outbox.take())
        self._taken.set()


class Seat:
    """One place among the sockets, given back when its ``with`` block ends."""

    def __init__(self, seats: "Seats") -> None:
        self._seats = seats

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Give it back; once is enough, twice is no harm."""
        self._seats.give_back(self)


class Seats:
    """How many sockets, and connections that stand for one, may be open: in all, and for one address."""

    def __init__(self, in_all: int = MAX_SOCKETS, of_address: int = MAX_SOCKETS_OF_ADDRESS) -> None:
        self._in_all = in_all
        self._of_address = of_address
        self._taken: dict[Seat, str] = {}
        self._by_address: Counter[str] = Counter()

    def take(self, address: str, *, bounded: bool = True) -> Seat:
        """A seat for `address`; `Crowded` when there is none.  `bounded`: an address has only so many."""
        if len(self._taken) >= self._in_all:
            raise Crowded(f"{self._in_all} sockets are open, which is the limit")
        if bounded and self._by_address[address] >= self._of_address:
            raise Crowded(f"{address} has {self._of_address} sockets open, which is the limit")
        seat = Seat(self)
        self._taken[seat] = address
        self._by_address[address] += 1
        return seat

    def give_back(self, seat: Seat) -> None:
        address = self._taken.pop(seat, None)
        if address is None:
            return
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
