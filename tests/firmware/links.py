"""Links that misbehave, and a world that joins a session to a firmware over one, on a clock of its own.

A link damages what passes it, in either direction, with a chance per byte; its dice are seeded.  Order is kept, as it
is on a serial line.
"""

import heapq
import re
from collections.abc import Callable
from random import Random
from typing import Protocol

from polyhost.firmware.marlin.replies import CommandsDone, Dead, Reply
from polyhost.firmware.marlin.session import Lane, Session

BYTE_S = 10 / 115200


class Firmware(Protocol):
    written: set[bytes] | None
    executed: list[bytes]
    last_line: int

    def receive(self, data: bytes) -> bytes: ...


class Perfect:
    """Passes everything on; base of the others."""

    one_way = False

    def __init__(self, rate: float, seed: int) -> None:
        self.rate = rate
        self.dice = Random(seed)
        self.damaged = 0

    def to_firmware(self, data: bytes) -> bytes:
        return data if self.one_way else self.passed(data)

    def to_host(self, data: bytes) -> bytes:
        return self.passed(data)

    def passed(self, data: bytes) -> bytes:
        return data

    def late_s(self, data: bytes) -> float:
        """How much later than the wire alone would have it."""
        return 0.0

    def pieces(self, data: bytes) -> list[bytes]:
        return [data]


class _PerByte(Perfect):
    def passed(self, data: bytes) -> bytes:
        out = bytearray()
        skip = 0
        for place, byte in enumerate(data):
            if skip:
                skip -= 1
            elif self.dice.random() < self.rate:
                self.damaged += 1
                skip = self.damage(out, data, place)
            else:
                out.append(byte)
        return bytes(out)

    def damage(self, out: bytearray, data: bytes, place: int) -> int:
        """Put into `out` what becomes of the byte at `place`; how many bytes after it are gone too."""
        raise NotImplementedError


class Flipping(_PerByte):
    """One bit of a byte."""

    def damage(self, out: bytearray, data: bytes, place: int) -> int:
        out.append(data[place] ^ 1 << self.dice.randrange(8))
        return 0


class Dropping(_PerByte):
    def damage(self, out: bytearray, data: bytes, place: int) -> int:
        return 0


class Repeating(_PerByte):
    """A byte, or what was sent last up to it."""

    def damage(self, out: bytearray, data: bytes, place: int) -> int:
        out.append(data[place])
        out += data[max(0, place + 1 - self.dice.choice((1, 1, 5, 40))) : place + 1]
        return 0


class Cutting(_PerByte):
    """Some bytes in a row are gone."""

    def damage(self, out: bytearray, data: bytes, place: int) -> int:
        return self.dice.randrange(30)


class Late(Perfect):
    """Whole answers wait, up to seconds; reads are of one byte."""

    def late_s(self, data: bytes) -> float:
        if self.dice.random() < self.rate * len(data):
            self.damaged += 1
            return self.dice.choice((0.1, 0.4, 1.0, 8.0))
        return 0.0

    def pieces(self, data: bytes) -> list[bytes]:
        return [data[n : n + 1] for n in range(len(data))]


class BadOks(Perfect):
    """``ok`` is lost, doubled, or loses its line end; bytes to the firmware flip, for something to ask again."""

    def to_firmware(self, data: bytes) -> bytes:
        flipping = Flipping(self.rate, self.dice.getrandbits(32))
        out = flipping.passed(data)
        self.damaged += flipping.damaged
        return out

    def to_host(self, data: bytes) -> bytes:
        out = []
        for line in data.splitlines(keepends=True):
            if line.startswith(b"ok") and self.dice.random() < self.rate * 20:
                self.damaged += 1
                line = self.dice.choice((b"", line + line, line[:-1], line[:-1] + line))
            out.append(line)
        return b"".join(out)


class LateResends(BadOks):
    """Each Resend comes late, and everything after it."""

    def to_host(self, data: bytes) -> bytes:
        return data

    def late_s(self, data: bytes) -> float:
        return self.dice.choice((0.0, 0.02, 0.3, 2.0)) if re.search(rb"Resend", data) else 0.0


class World:
    """A session and a firmware, joined by a link.  `now` is simulated seconds."""

    def __init__(self, session: Session, firmware: Firmware, link: Perfect, *, oracle: bool = True) -> None:
        self.session, self.firmware, self.link = session, firmware, link
        self.oracle = oracle  # the firmware is told what was written, and takes nothing else
        self.now = 0.0
        self.turns = 0
        self.replies: list[Reply] = []
        self._coming: list[tuple[float, int, bool, bytes]] = []  # (when, order, to the host, data)
        self._count = 0
        self._last = -1.0
        self._at_once = 0
        self._free = {True: 0.0, False: 0.0}  # until when the wire is taken, by direction
        session.opened(0.0)

    def send(self, to_host: bool, data: bytes) -> None:
        data = self.link.to_host(data) if to_host else self.link.to_firmware(data)
        late = self.link.late_s(data)
        for piece in self.link.pieces(data):
            self._free[to_host] = max(self._free[to_host], self.now + late) + len(piece) * BYTE_S
            self._count += 1
            heapq.heappush(self._coming, (self._free[to_host], self._count, to_host, piece))

    def turn(self) -> None:
        """The next thing that happens; many at one moment would be a loop that never ends."""
        self.turns += 1
        self._at_once = self._at_once + 1 if self.now == self._last else 0
        self._last = self.now
        assert self._at_once < 1000, "a busy loop"
        if data := self.session.data_to_send(self.now):
            if self.oracle:
                if self.firmware.written is None:
                    self.firmware.written = set()
                self.firmware.written.update(data.split(b"\n"))
            self.send(False, data)
            return
        deadline = self.session.next_deadline()
        assert deadline is not None or self._coming or self.session.idle, "nothing will ever happen"
        if self._coming and (deadline is None or self._coming[0][0] <= deadline):
            self.now, _, to_host, data = heapq.heappop(self._coming)
            if to_host:
                self.replies += self.session.receive(data, self.now)
            elif answer := self.firmware.receive(data):
                self.send(True, answer)
        elif deadline is not None:
            self.now = max(self.now, deadline)
            self.replies += self.session.tick(self.now)

    def run_until(self, done: Callable[[], bool], limit_s: float) -> None:
        end = self.now + limit_s
        while not done() and self.now < end and not self.dead:
            self.turn()

    @property
    def dead(self) -> str:
        """Why the session gave up; empty if it did not."""
        return next((reply.reason for reply in self.replies if isinstance(reply, Dead)), "")

    def print_file(self, lines: list[bytes], limit_s: float = 36000.0) -> None:
        """Greet, then send `lines` as a file, until its end is confirmed, the session is dead, or the time is over."""
        self.run_until(lambda: self.session.greeted, limit_s)
        self.session.start_numbering()
        left = list(lines)

        def done() -> bool:
            if left and (room := self.session.room()):
                batch = left[:room]
                del left[:room]
                self.session.queue(batch, Lane.FILE, None if left else "end")
            return CommandsDone("end") in self.replies

        self.run_until(done, limit_s)
