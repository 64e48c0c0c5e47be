"""The simulated machine behind a real pty: a process that stands for a printer on a serial port.

    python -m polyhost.engine.pty_simulator --link /tmp/printer --baud 115200 --speed 20

It prints ``ready PATH`` when the port can be opened.  Opening it resets the board, as DTR does; the machine lives on
when the host closes it or dies.  Lines on standard input make it misbehave: ``fault corrupt 0.01``, ``unplug``,
``replug``.  ``SIGUSR1`` writes the statistics, ``SIGTERM`` too, and ends.

A pty has no byte rate, so each direction gets a `Wire` of its own.  Linux only: who opens and closes the port is told
by inotify; the master itself shows neither without being asked again and again, and misses a quick reopening.
"""

import argparse
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios
import time
import tty
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from polyhost.firmware.marlin.simulator import Fault, Machine, Simulator

_READ_AT_ONCE: Final = 1024
_WIRE_AHEAD: Final = 512  # bytes taken from the host beyond what its wire has carried
_BOARD_AHEAD: Final = 1024  # bytes given to the board beyond what it has taken up
_UNREAD_BYTES: Final = 1 << 16  # kept for a host that does not read
_FLUSH_RECORD_S: Final = 1.0
_RESET_S: Final = 0.25  # held in reset at any speed: a host that opens a port empties its buffer before it listens

_IN_OPEN: Final = 0x20
_IN_CLOSE: Final = 0x08 | 0x10
_INOTIFY_EVENT: Final = struct.Struct("iIII")
_TCGETS2: Final = 0x802C542A
_OSPEED: Final = struct.Struct("40xI")  # struct termios2: the output speed in bits per second


class Wire:
    """One direction of a serial line: bytes leave one after another at a rate and arrive `latency_s` later."""

    def __init__(self, bytes_per_s: float = 0.0, latency_s: float = 0.0) -> None:
        self._byte_s = 1.0 / bytes_per_s if bytes_per_s else 0.0
        self._latency_s = latency_s
        self._parts: deque[tuple[float, bytes]] = deque()  # when the first byte began to leave
        self._free_at = 0.0
        self.backlog = 0
        self.arrived_at = 0.0  # when the last byte taken did

    def put(self, data: bytes, now: float) -> None:
        begins = max(now, self._free_at)
        self._parts.append((begins, data))
        self._free_at = begins + len(data) * self._byte_s
        self.backlog += len(data)

    def take(self, now: float) -> bytes:
        """The bytes that have arrived by `now`."""
        arrived = []
        while self._parts:
            begins, data = self._parts[0]
            passed = now - self._latency_s - begins
            if passed < 0.0:
                break
            count = len(data) if not self._byte_s else min(int(passed / self._byte_s + 1e-6), len(data))
            if count:
                arrived.append(data[:count])
                self.arrived_at = begins + count * self._byte_s + self._latency_s
            if count < len(data):
                self._parts[0] = (begins + count * self._byte_s, data[count:])
                break
            self._parts.popleft()
        taken = b"".join(arrived)
        self.backlog -= len(taken)
        return taken

    def next_deadline(self) -> float | None:
        """When the next line has arrived whole, or all that is under way."""
        for begins, data in self._parts:
            end = data.find(b"\n") + 1
            if end:
                return begins + end * self._byte_s + self._latency_s
        return self._free_at + self._latency_s if self._parts else None

    def clear(self) -> None:
        self._parts.clear()
        self.backlog = 0
        self._free_at = 0.0


class Port:
    """A pty and its link in the file system; knows when the host's side is opened and closed."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self.master, False)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.events: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch = self._watched()
        self._holders = 0
        new = link.with_name(f"{link.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        new.symlink_to(self.path)
        new.replace(link)

    @property
    def is_open(self) -> bool:
        return self._holders > 0

    @property
    def bits_per_s(self) -> int:
        """The rate that the host has set."""
        speed: int = _OSPEED.unpack(fcntl.ioctl(self.master, _TCGETS2, bytes(44)))[0]
        return speed

    def changes(self) -> list[bool]:
        """What happened since the last call, in order: True the first opening, False the last closing."""
        data = self._read_events()
        changes = []
        offset = 0
        while offset < len(data):
            _, mask, _, length = _INOTIFY_EVENT.unpack_from(data, offset)
            offset += _INOTIFY_EVENT.size + length
            if not mask & (_IN_OPEN | _IN_CLOSE):
                continue
            was_open = self.is_open
            self._holders += 1 if mask & _IN_OPEN else -1
            if self.is_open != was_open:
                changes.append(self.is_open)
        # Equal events in a row are told once, so the count may be wrong; the hang-up never is.
        hung_up = self._hung_up()
        if hung_up == self.is_open:
            self._holders = 0 if hung_up else 1
            changes.append(self.is_open)
        return changes

    def _watched(self) -> int:
        watch: int = self._libc.inotify_add_watch(self.events, self.path.encode(), _IN_OPEN | _IN_CLOSE)
        if watch < 0:
            raise OSError(ctypes.get_errno(), f"cannot watch {self.path}: {os.strerror(ctypes.get_errno())}")
        return watch

    def _read_events(self) -> bytes:
        try:
            return os.read(self.events, 1 << 16)
        except BlockingIOError:
            return b""

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self.master, 0)
        return bool(poll.poll(0))

    def read(self) -> bytes:
        try:
            return os.read(self.master, _READ_AT_ONCE)
        except OSError:  # nothing there, or nobody (EIO)
            return b""

    def write(self, data: bytes) -> int:
        """How many bytes the host's side took."""
        try:
            return os.write(self.master, data)
        except OSError:
            return 0

    def forget_unread(self) -> None:
        """Drop what the host did not read before it closed, as a closed tty does.

        Only the host's own side can do that, so it is opened for a moment and nobody watches.
        """
        if not self._hung_up():
            return
        self._libc.inotify_rm_watch(self.events, self._watch)
        slave = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        termios.tcflush(slave, termios.TCIFLUSH)
        os.close(slave)
        self._watch = self._watched()
        self._read_events()
        self._holders = 0  # whoever came meanwhile is noticed because the port is not hung up

    def close(self) -> None:
        with suppress(OSError):
            if self._link.readlink() == Path(self.path):
                self._link.unlink()
        os.close(self.events)
        os.close(self.master)


class Runner:
    """Carries bytes between a port and a simulator, at the pace of a wire."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._link: Path = options.link
        self._baud: int = options.baud
        self._check_baud: bool = options.check_baud
        self._dtr_reset: bool = not options.no_reset
        self._stats: Path | None = options.stats
        self._record: BinaryIO | None = options.record.open("ab") if options.record else None
        self._flush_at = 0.0
        machine = Machine(tools=options.tools, advanced_ok=options.advanced_ok, strict_rx=options.strict_rx)
        self._simulator = Simulator(
            machine, speed=options.speed, seed=options.seed, record=self._write_record if self._record else None
        )
        rate = self._baud / 10.0  # 8N1
        latency_s = options.latency_ms / 2000.0
        self._to_board, self._to_host = Wire(rate, latency_s), Wire(rate, latency_s)
        self._unwritten = b""
        self._opens = 0
        self._resets_at: float | None = None
        self._port: Port | None = None
        self._commands = b""
        self._listening = True
        self._ending = self._stats_wanted = False
        now = time.monotonic()
        self._simulator.open(now)
        for fault, argument in options.fault:
            self._simulator.misbehave(fault, argument, now)

    def run(self) -> None:
        """Until ``SIGTERM``."""
        woken, waker = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGTERM, self._on_end)
        signal.signal(signal.SIGINT, self._on_end)
        signal.signal(signal.SIGUSR1, self._on_stats_wanted)
        self._port = Port(self._link)
        print(f"ready {self._link}", flush=True)
        readable: list[int] = []
        while not self._ending:
            deadline = self._turn(time.monotonic(), readable)
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([woken, *self._readers()], [], [], timeout)
            if woken in readable:
                os.read(woken, 4096)
            if 0 in readable:
                self._hear_commands()
        self._write_stats()
        if self._record is not None:
            self._record.close()
        if self._port is not None:
            self._port.close()

    def _readers(self) -> list[int]:
        readers = [0] if self._listening else []
        if (port := self._port) is not None:
            readers.append(port.events)
            if port.is_open and self._has_room():
                readers.append(port.master)
        return readers

    def _has_room(self) -> bool:
        return self._to_board.backlog < _WIRE_AHEAD and self._simulator.backlog < _BOARD_AHEAD

    def _turn(self, now: float, readable: list[int]) -> float | None:
        """Carry what can be carried now; when to come again, if not for one of the `_readers`."""
        if self._stats_wanted:
            self._stats_wanted = False
            self._write_stats()
        simulator = self._simulator
        if simulator.unplugged and self._port is not None:
            self._unplug(now)
        port = self._port
        if port is not None and port.events in readable:
            while changes := port.changes():
                for opened in changes:
                    self._host_came(now) if opened else self._host_went(now)
        if port is not None and port.master in readable and (data := port.read()):
            self._to_board.put(data if self._rates_match() else _garbled(data), now)
        arrived = self._to_board.take(now)
        # The board answers when the bytes arrive, not when this process wakes up for it.
        at = self._to_board.arrived_at if arrived else now
        if self._resets_at is not None:
            if now < self._resets_at:
                simulator.data_to_send(now)
                return self._resets_at
            self._resets_at = None
            simulator.open(now)
        elif arrived:
            simulator.receive(arrived, at)
        said = simulator.data_to_send(at)
        if port is None or not port.is_open:
            deadlines = [simulator.next_deadline(), self._to_board.next_deadline()]
            return min((at for at in deadlines if at is not None), default=None)
        if said:
            self._to_host.put(said if self._rates_match() else _garbled(said), at)
        self._unwritten = (self._unwritten + self._to_host.take(now))[-_UNREAD_BYTES:]
        deadlines = [simulator.next_deadline(), self._to_board.next_deadline(), self._to_host.next_deadline()]
        if self._unwritten:
            self._unwritten = self._unwritten[port.write(self._unwritten) :]
            if self._unwritten:
                deadlines.append(now + 0.01)
        if self._record is not None and now >= self._flush_at:
            self._record.flush()
            self._flush_at = now + _FLUSH_RECORD_S
        return min((at for at in deadlines if at is not None), default=None)

    def _rates_match(self) -> bool:
        return not self._check_baud or self._port is None or self._port.bits_per_s == self._baud

    def _host_came(self, now: float) -> None:
        self._opens += 1
        if self._dtr_reset:
            self._resets_at = now + _RESET_S

    def _host_went(self, now: float) -> None:
        self._to_host.clear()
        self._unwritten = b""
        if (port := self._port) is not None:
            while last_words := port.read():
                self._to_board.put(last_words, now)
            port.forget_unread()
        if self._record is not None:
            self._record.flush()

    def _unplug(self, now: float) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None
        self._resets_at = None
        self._to_board.clear()
        self._host_went(now)

    def _hear_commands(self) -> None:
        data = os.read(0, 4096)
        self._listening = bool(data)
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            try:
                self._obey(line.decode().split())
            except ValueError as error:
                print(f"error {error}", flush=True)

    def _obey(self, words: list[str]) -> None:
        now = time.monotonic()
        match words:
            case ["fault", name, *argument]:
                self._simulator.misbehave(Fault(name), float(argument[0]) if argument else 0.0, now)
            case ["unplug"]:
                self._simulator.misbehave(Fault.UNPLUG, now=now)
            case ["replug"]:
                self._simulator.replug()
                if self._port is None:
                    self._port = Port(self._link)
            case _:
                raise ValueError(f"{' '.join(words)!r}: known are fault NAME [ARGUMENT], unplug, replug")
        print("ok", *words, flush=True)

    def _write_record(self, body: bytes) -> None:
        if self._record is not None:
            self._record.write(body + b"\n")

    def _on_end(self, *_: object) -> None:
        self._ending = True

    def _on_stats_wanted(self, *_: object) -> None:
        self._stats_wanted = True

    def _write_stats(self) -> None:
        if self._record is not None:
            self._record.flush()
        simulator = self._simulator
        stats: dict[str, Any] = {
            "executed": simulator.executed,
            "digest": simulator.digest,
            "last_line": simulator.last_line,
            "resends": simulator.resends,
            "targets": {name: heater.target for name, heater in simulator.board.heaters().items()},
            "boots": simulator.boots,
            "opens": self._opens,
            "halted": simulator.halted,
            "card": {name: content.decode("latin-1") for name, content in simulator.board.card.contents()},
        }
        if self._stats is None:
            print(json.dumps(stats), flush=True)
            return
        new = self._stats.with_name(f"{self._stats.name}.new")
        new.write_text(json.dumps(stats))
        new.replace(self._stats)


def _garbled(data: bytes) -> bytes:
    """What a receiver at another rate makes of `data`."""
    return bytes(byte * 7 & 0xFF | 0x80 for byte in data)


def _fault(text: str) -> tuple[Fault, float]:
    name, _, argument = text.partition("=")
    return Fault(name), float(argument or 0.0)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pty_simulator", description="A simulated Marlin machine on a pty.")
    parser.add_argument("--link", type=Path, required=True, help="where to put the link to the port")
    parser.add_argument("--baud", type=int, default=0, help="bits per second of the wire, both ways; 0: no limit")
    parser.add_argument(
        "--check-baud", action="store_true", help="a host that sets another rate than --baud hears noise"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="times a machine's own pace; 0: takes no time")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="there and back, besides the bytes' own time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="append the body of every executed command")
    parser.add_argument("--stats", type=Path, help="where SIGUSR1 and SIGTERM write; else to standard output")
    parser.add_argument("--fault", type=_fault, action="append", default=[], metavar="NAME[=ARG]")
    parser.add_argument("--advanced-ok", action="store_true")
    parser.add_argument("--strict-rx", action="store_true", help="a receive buffer of 128 bytes that can overflow")
    parser.add_argument("--tools", type=int, default=1)
    parser.add_argument("--no-reset", action="store_true", help="opening the port does not reset the board")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    Runner(_options(sys.argv[1:])).run()
