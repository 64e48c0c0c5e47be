"""Ports that are busy, missing, forbidden or somebody else's; rates that are found."""

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyhost.core.errors import LinkLost, NotFound, NotNow
from polyhost.core.printer import PrinterState
from polyhost.engine import connection as connections
from polyhost.engine.connection import Connection
from polyhost.engine.links import Link
from polyhost.engine.loop import SystemClock
from polyhost.engine.messages import SerialLink, VirtualLink
from polyhost.engine.ports import Port, holder_of, open_serial, port_for, refusal
from tests.drivers.rigs import Ear, PtyPrinter, pool_in, ready, running, serial_settings

USB = [
    Port("/dev/ttyUSB0", "/dev/serial/by-id/usb-A", "Prusa", "A1", "1-1"),
    Port("/dev/ttyUSB1", "/dev/serial/by-id/usb-B", "Ender", "", "1-2"),
]


@contextlib.asynccontextmanager
async def held_by_another_program(port: Path) -> AsyncIterator[int]:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c"),
        "import serial, sys; p = serial.Serial(sys.argv[1], exclusive=1); print('held', flush=True); sys.stdin.read()",
        str(port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stdin is not None
    await program.stdout.readline()
    try:
        yield program.pid
    finally:
        program.stdin.close()
        await program.wait()


async def test_a_busy_port_names_the_program_that_has_it(tmp_path: Path) -> None:
    async with PtyPrinter(tmp_path) as printer, held_by_another_program(printer.port) as pid:
        with pytest.raises(NotNow, match=rf"in use by python.* \(process {pid}\)"):
            await asyncio.to_thread(open_serial, str(printer.port), 115200)


async def test_the_driver_says_so_too_and_connects_once_the_port_is_free(tmp_path: Path) -> None:
    ear = Ear()
    async with PtyPrinter(tmp_path / "printer", "--speed", "100") as printer, pool_in(tmp_path / "data", ear) as pool:
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with held_by_another_program(printer.port) as pid, running(driver):
            await ear.until(lambda: driver.snapshot.state is PrinterState.UNREACHABLE)
            assert f"(process {pid})" in driver.snapshot.fault
            with pytest.raises(NotNow, match=f"process {pid}"):
                await driver.connect()
        async with running(driver):
            await ready(driver, ear)


async def test_a_port_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    ear = Ear()
    async with pool_in(tmp_path, ear) as pool:
        driver = pool.driver_for("mk3", serial_settings(tmp_path / "tty"))
        async with running(driver):
            await ear.until(lambda: driver.snapshot.state is PrinterState.UNREACHABLE)
            with pytest.raises(NotFound, match=r"no port .*; available: "):
                await driver.connect()


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EACCES, NotNow, "dialout"),
        (errno.EBUSY, NotNow, "in use by another program"),
        (errno.EIO, LinkLost, "Input/output error"),
    ],
)
def test_what_keeps_a_port_from_opening_is_said(code: int, kind: type[Exception], words: str) -> None:
    refused = refusal("/dev/nowhere", OSError(code, os.strerror(code)))
    assert type(refused) is kind
    assert words in str(refused)


def test_nobody_holds_a_port_that_nobody_opened(tmp_path: Path) -> None:
    assert holder_of(str(tmp_path / "tty")) == ""


def test_a_device_is_found_by_its_serial_number_wherever_it_is_plugged_in() -> None:
    link = SerialLink("/dev/ttyUSB7", serial_number="A1")
    assert port_for(link, "", lambda: USB) == ("/dev/ttyUSB0", "serial number A1")
    with pytest.raises(NotFound, match=r"A1; available: /dev/serial/by-id/usb-B"):
        port_for(link, "", lambda: USB[1:])


class Boards:
    """Two boards on ptys, and the names that the kernel gave them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ttyUSB0"
        self._ptys = {name: os.openpty() for name in ("A", "B")}
        self._there = ""

    def plug(self, name: str) -> None:
        """Board `name` is the one at ``ttyUSB0`` now; "" is none."""
        self._there = name
        self.path.unlink(missing_ok=True)
        if name:
            self.path.symlink_to(os.ttyname(self._ptys[name][1]))

    def present(self) -> list[Port]:
        return [Port(str(self.path), serial_number=self._there)] if self._there else []

    def hang_up(self, name: str) -> None:
        for end in self._ptys.pop(name):
            os.close(end)

    def replace(self, name: str) -> None:
        self._ptys[name] = os.openpty()

    def close(self) -> None:
        for name in list(self._ptys):
            self.hang_up(name)


class Owner:
    """Takes any open link for a greeted one."""

    def __init__(self) -> None:
        self.connection: Connection
        self.begun = 0
        self.news = asyncio.Event()

    def begin(self, link: Link) -> None:
        self.begun += 1
        self.connection.greeted()

    def heard(self, data: bytes) -> None: ...

    def link_lost(self, reason: str) -> None: ...

    def state_changed(self) -> None:
        self.news.set()

    async def until(self, state: PrinterState, words: str = "") -> None:
        async with asyncio.timeout(10):
            while self.connection.state is not state or words not in self.connection.fault:
                self.news.clear()
                await self.news.wait()


async def test_another_device_at_the_same_path_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PAUSES_S", (0.02,))
    boards, owner = Boards(tmp_path), Owner()
    link = SerialLink(str(boards.path), 115200)
    owner.connection = Connection("mk3", link, owner, owner, SystemClock(), present=boards.present)
    boards.plug("A")
    keeping = asyncio.create_task(owner.connection.run())
    try:
        owner.connection.want()
        await owner.until(PrinterState.READY)
        assert owner.connection.identity == "serial number A"
        boards.hang_up("A")
        boards.plug("")
        await owner.until(PrinterState.UNREACHABLE, "no port")
        boards.plug("B")
        await owner.until(PrinterState.UNREACHABLE, "another device")
        assert owner.begun == 1
        boards.replace("A")
        boards.plug("A")
        await owner.until(PrinterState.READY)
        assert owner.begun == 2
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        boards.close()


async def test_the_rate_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: an engine would wait for a board that may be booting."""
    monkeypatch.setattr(connections, "FIRST_RATE_S", 0.2)
    from polyhost.engine.journal import Journal, PrinterRecord
    from polyhost.engine.machine import Machine
    from polyhost.engine.messages import MachineSettings
    from tests.engine.hubs import SilentHub

    async with PtyPrinter(tmp_path, "--speed", "100", "--baud", "250000", "--check-baud") as printer:
        journal = Journal(tmp_path / "journal", asyncio.get_running_loop().call_soon_threadsafe)
        journal.start()
        record = PrinterRecord(MachineSettings(SerialLink(str(printer.port))), wanted=True)
        machine = Machine("mk3", record, journal, SilentHub(), SystemClock())
        keeping = asyncio.create_task(machine.connection.run())
        try:
            async with asyncio.timeout(20):
                while machine.connection.state is not PrinterState.READY:
                    assert machine.connection.state in (PrinterState.OFFLINE, PrinterState.DETECTING)
                    await asyncio.sleep(0.01)
            assert machine.connection.baud == 250000
            assert machine.conversation.session.firmware.name.startswith("Marlin")
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            journal.close()


class SlowOwner(Owner):
    """Greets the second link only: a person connects anew before the first firmware has answered."""

    def begin(self, link: Link) -> None:
        self.begun += 1
        if self.begun == 1:
            self.news.set()
        else:
            self.connection.greeted()


async def test_a_person_who_connects_during_the_greeting_is_greeted_too() -> None:
    owner = SlowOwner()
    owner.connection = Connection("one", VirtualLink(), owner, owner, SystemClock())
    keeping = asyncio.create_task(owner.connection.run())
    try:
        owner.connection.want()
        async with asyncio.timeout(10):
            while not owner.begun:
                owner.news.clear()
                await owner.news.wait()
        await owner.connection.connect("", 0)
        await owner.until(PrinterState.READY)
        assert owner.begun == 2
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
