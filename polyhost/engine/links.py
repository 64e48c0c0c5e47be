"""Links: an open serial port, and the simulator in memory, both driven by the event loop.

A link hands over what it reads, takes what is to be written and never blocks.  What waits to be written is bounded;
the conversation keeps little in flight, so a link that reaches the bound takes nothing any more and counts as lost.
"""

import asyncio
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable
from typing import Final, Protocol

import serial

from polyhost.firmware.marlin.simulator import Fault, Simulator

MAX_WAITING: Final = 64 * 1024
_READ_BYTES: Final = 65536
_TURNS: Final = 32  # exchanges with the simulator before others get their turn

# Linux: struct termios2 is four flag words, a line discipline (1 byte), 19 control characters, two speeds.
_TCGETS2: Final = 0x802C542A
_TCSETS2: Final = 0x402C542B
_TERMIOS2_BYTES: Final = 44
_CONTROL_CHARACTERS: Final = 17

Heard = Callable[[bytes], None]
Lost = Callable[[str], None]


class Link(Protocol):
    def attach(self, heard: Heard, lost: Lost) -> None:
        """Begin to read; `lost` is called once, with the reason, when the link is gone."""

    def write(self, data: bytes) -> None:
        """Write `data` behind what waits."""

    def write_first(self, data: bytes) -> None:
        """Write `data` before what waits (whole lines wait, or the rest of one is finished first)."""

    def set_baud(self, baud: int) -> None:
        """Change the rate without letting go of the port (which would reset the board)."""

    def close(self) -> None: ...


class SerialPort:
    """A port opened by `ports.open_serial`."""

    def __init__(self, port: serial.Serial) -> None:
        self._port = port
        self._fd: int = port.fileno()
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._heard: Heard = lambda data: None
        self._lost: Lost = lambda reason: None
        self._open = True

    def attach(self, heard: Heard, lost: Lost) -> None:
        self._heard, self._lost = heard, lost
        self._configure()
        self._loop.add_reader(self._fd, self._read)

    def _configure(self) -> None:
        # pyserial reads with VMIN 0, where an empty read may mean "nothing yet"; with VMIN 1 it means "gone".
        # By termios2, since termios itself would lose a rate such as 250000.
        settings = bytearray(_TERMIOS2_BYTES)
        fcntl.ioctl(self._fd, _TCGETS2, settings)
        settings[_CONTROL_CHARACTERS + termios.VMIN] = 1
        settings[_CONTROL_CHARACTERS + termios.VTIME] = 0
        fcntl.ioctl(self._fd, _TCSETS2, settings)
        if not os.ttyname(self._fd).startswith("/dev/pts/"):
            fcntl.ioctl(self._fd, termios.TIOCEXCL)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(f"the port is gone: {error.strerror}")
            return
        if data:
            self._heard(data)
        else:
            self._gone("the port is gone: it was unplugged")

    def write(self, data: bytes) -> None:
        if not self._open:
            return
        if not self._waiting:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                written = 0
            except OSError as error:
                # Not from within a call of the machine's: it is in the middle of something.
                self._loop.call_soon(self._gone, f"the port is gone: {error.strerror}")
                return
            if written == len(data):
                return
            data = data[written:]
            self._loop.add_writer(self._fd, self._write_waiting)
        self._waiting += data
        if len(self._waiting) > MAX_WAITING:
            self._loop.call_soon(self._gone, "the port takes no data")

    def write_first(self, data: bytes) -> None:
        if self._waiting:
            rest = self._waiting.find(b"\n") + 1
            self._waiting[rest:rest] = data
        else:
            self.write(data)

    def _write_waiting(self) -> None:
        try:
            written = os.write(self._fd, self._waiting)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(f"the port is gone: {error.strerror}")
            return
        del self._waiting[:written]
        if not self._waiting:
            self._loop.remove_writer(self._fd)

    def set_baud(self, baud: int) -> None:
        self._waiting.clear()
        self._loop.remove_writer(self._fd)
        try:
            self._port.baudrate = baud
            self._configure()
        except (OSError, termios.error, ValueError) as error:
            self._loop.call_soon(self._gone, f"the port cannot run at {baud} baud: {error}")

    def _gone(self, reason: str) -> None:
        if self._open:
            self.close()
            self._lost(reason)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        with contextlib.suppress(OSError, termios.error):
            # The kernel would wait 30 s for an unplugged or stuck device to take what is left.
            termios.tcflush(self._fd, termios.TCOFLUSH)
        with contextlib.suppress(OSError):
            self._port.close()


class SimulatedPort:
    """The simulator in this process, in real time times its speed."""

    def __init__(self, simulator: Simulator, monotonic: Callable[[], float]) -> None:
        self.simulator = simulator
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._heard: Heard = lambda data: None
        self._lost: Lost = lambda reason: None
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._open = True

    def attach(self, heard: Heard, lost: Lost) -> None:
        self._heard, self._lost = heard, lost
        self.simulator.open(self._monotonic())
        self._soon()

    def write(self, data: bytes) -> None:
        if self._open:
            self.simulator.receive(data, self._monotonic())
            self._soon()

    write_first = write  # nothing waits here

    def set_baud(self, baud: int) -> None: ...

    def _soon(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        simulator = self.simulator
        for _ in range(_TURNS):
            if not self._open:
                return
            data = simulator.data_to_send(self._monotonic())
            if simulator.unplugged:
                self.close()
                self._lost("the port is gone: it was unplugged")
                return
            if not data:
                self._turn_due = False
                self._sleep()
                return
            self._heard(data)
        self._loop.call_soon(self._turn)

    def _sleep(self) -> None:
        deadline = self.simulator.next_deadline()
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - self._monotonic()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._open:
            self._soon()

    def misbehave(self, fault: Fault, argument: float) -> None:
        self.simulator.misbehave(fault, argument, self._monotonic())
        self._soon()

    def close(self) -> None:
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
