"""The one place that knows everyone: builds the parts of a host, wires them, starts and stops them in order.

Stopping (R20) goes from the outside in: first no more requests, then the engines, which keep what prints unless they
are told to cancel it, then what the services still have to write down, then the database.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from polyhost import config
from polyhost.config import Config
from polyhost.core.errors import NotAllowed, NotNow
from polyhost.core.events import ConsoleLines, DriverEvent
from polyhost.core.ports import Driver
from polyhost.core.printer import PrinterState, Snapshot
from polyhost.core.user import Role
from polyhost.dialects import moonraker, native, octoprint
from polyhost.drivers.engines import EnginePool, runtime_dir
from polyhost.engine.messages import EndedRun
from polyhost.engine.ports import ports
from polyhost.services.accounts import LOCAL, Accounts
from polyhost.services.bus import Bus
from polyhost.services.clock import SystemClock
from polyhost.services.discovery import is_announced
from polyhost.services.host import Host, build
from polyhost.services.printers import Port
from polyhost.services.reading import ReadingProcess
from polyhost.storage.library import Library
from polyhost.storage.records import Records
from polyhost.storage.secret import SetupCode, secret_key
from polyhost.storage.timelapses import TimelapseFolder
from polyhost.web.application import Application
from polyhost.web.listening import listen, port_of
from polyhost.web.own_ports import OwnPorts
from polyhost.web.own_sockets import OwnSockets
from polyhost.web.server import Server, unix_socket

log = logging.getLogger(__name__)

DIALECTS: Final = (octoprint.DIALECT, moonraker.DIALECT, native.DIALECT)  # the last one owns what nobody else does
RESTART_S: Final = 1.0  # between the end of a broken background part and its next start
HEARD_WITHIN_S: Final = 5.0  # before the first answer, for engines that print without a server to say so


class Account(msgspec.Struct, frozen=True):
    """A user with their secrets, which are told this once."""

    user: str
    password: str
    api_key: str


class App:
    """One host: opened by `open`, alive in `run` until `stop`."""

    def __init__(self, settings: Config, data: Path, records: Records, main_socket: socket.socket) -> None:
        self.started = asyncio.Event()
        self.host: Host
        self.restarting = False  # it ends to begin anew, with the settings as they are then
        self._stop = asyncio.Event()
        self._data = data
        self._records = records
        self._main_socket = main_socket
        self._engines = EnginePool(data, self, self._ended, self._attached, idle_off_s=settings.safety.idle_off_s)
        self._local_socket = runtime_dir(data) / "api.sock"
        self._further_ports: dict[int, str] = {}

    @classmethod
    async def open(cls, settings: Config, data: Path, main_socket: socket.socket) -> Self:
        """Everything built and loaded, nothing started.

        `main_socket` listens already and stays the caller's to close.  Raises what `Records.open` does: `NotNow` when
        another host has the data folder, `Damaged`, `NoSpace`.
        """
        records = Records.open(data)
        app = cls(settings, data, records, main_socket)
        clock, bus = SystemClock(), Bus()
        accounts = _accounts(data, records, clock, bus)
        if accounts.setup_needed:
            accounts.setup_code = SetupCode(data)
        library = Library(data / "files", data / "staging", data / "thumbnails")
        app.host = await build(
            *(settings, records, library, TimelapseFolder(data / "timelapse"), ReadingProcess(), clock),
            *(accounts, app._driver_for, _ports, bus, data),
        )
        return app

    @property
    def url(self) -> str:
        """Where a program on this computer reaches the host."""
        address = self._main_socket.getsockname()[0]
        name = {"0.0.0.0": "localhost", "::": "localhost"}.get(address, address)
        return f"http://{f'[{name}]' if ':' in name else name}:{port_of(self._main_socket)}"

    @property
    def further_ports(self) -> dict[int, str]:
        """Who is meant at each port besides the main one; known from `started` on."""
        return self._further_ports

    @property
    def setup_code(self) -> str:
        """What makes its reader the first administrator; "" once there is one."""
        code = self.host.accounts.setup_code
        return code.text if code is not None and self.host.accounts.setup_needed else ""

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Begin to end; `run` returns within 15 s."""
        self._stop.set()

    def restart(self) -> None:
        """Begin to end; whoever runs this then starts it again."""
        self.restarting = True
        self.stop()

    async def until_stopping(self) -> None:
        await self._stop.wait()

    async def run(self, *, cancel_runs: bool = False) -> None:
        """Answer until `stop`; then leave what prints to its engine, or cancel it first if `cancel_runs`."""
        sockets, doors = self._listen()
        application = Application(self.host, DIALECTS, doors=doors, local_socket=str(self._local_socket))

        async def started() -> None:
            await own_ports.adjust()
            self._further_ports |= {port: f"for {slug} alone" for slug, port in own_ports.opened.items()}
            self.started.set()

        serving = Server(application, stop=self._stop, started=started)
        own_sockets = OwnSockets(self.host.printers, self.host.bus, application, self._data)
        own_ports = OwnPorts(self.host.printers, self.host.bus, serving, self.host.config.server.host)
        try:
            async with asyncio.TaskGroup() as group:
                parts = [
                    group.create_task(_kept_going(name, run), name=name)
                    for name, run in {
                        "runs": self.host.runs.run,
                        "queues": self.host.queue.run,
                        "cards": self.host.cards.run,
                        "files": self.host.files.run,
                        "changes by others": self.host.watching.run,
                        "accounts": self.host.accounts.run,
                        "app keys": self.host.app_keys.run,
                        "treatment": self.host.treatment.run,
                        "prompts": self.host.prompts.run,
                        "layers": self.host.layers.run,
                        "engines": self._engines.run,
                        "printers": self.host.printers.run,
                        "commands of the owner's": self.host.system.run,
                        "logs": self.host.logs.run,
                        "serial logs": self.host.serial_logs.run,
                        "timelapses": self.host.timelapses.run,
                        "notices": self.host.notices.run,
                        "spoolman": self.host.spoolman.run,
                        "power devices": self.host.power.run,
                        **{kind.__name__.lower(): part.run for kind, part in application.parts.items()},
                        "ports of printers": own_ports.run,
                        "sockets of printers": own_sockets.run,
                        **self._announcer(),
                    }.items()
                ]
                await self.host.runs.until_heard(HEARD_WITHIN_S)
                await serving.answer(sockets)
                self._say_what_prints(cancel_runs)
                await self._engines.stop(cancel_runs)
                for part in parts:
                    part.cancel()
        finally:
            self._local_socket.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # engines that go on have theirs there
                self._local_socket.parent.rmdir()
            self._records.close()

    async def make_administrator(self, name: str) -> Account:
        """An administrator with a new password and API key; where there is one already, a further key of theirs."""
        if self.host.accounts.setup_needed:
            return await _first_administrator(self.host.accounts, name)
        owner = next(user for user in self.host.accounts.users(LOCAL) if user.role is Role.ADMINISTRATOR)
        _, api_key = await self.host.accounts.add_key(owner.name, None, "demo", (), None, LOCAL)
        return Account(owner.name, "", api_key)

    async def until_ready(self) -> None:
        """Return when every printer's firmware answers."""
        with self.host.bus.listen(Snapshot) as listener:
            notices = aiter(listener)
            while any(printer.snapshot.state is not PrinterState.READY for printer in self.host.printers.all()):
                await anext(notices)

    # What the engines say, passed on to parts that are built after them

    def heard(self, notice: Snapshot | ConsoleLines | DriverEvent) -> None:
        self.host.printers.heard(notice)

    def _ended(self, run: EndedRun) -> None:
        self.host.runs.ended(run)

    def _attached(self, slug: str, run_ids: frozenset[str]) -> None:
        self.host.runs.attached(slug, run_ids)

    def _driver_for(self, settings: config.Printer) -> Driver:
        return self._engines.driver_for(settings.slug, settings)

    # Inside

    def _announcer(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """The part that makes the printers known in the network; none when nobody there could reach them."""
        settings, listens_at = self.host.config.discovery, self._main_socket.getsockname()[0]
        if not is_announced(settings, listens_at):
            return {}
        from polyhost.services.announcing import Announcer

        announcer = Announcer(
            *(self.host.printers, self.host.discovery),
            listens_at=listens_at,
            port=port_of(self._main_socket),
            version=self.host.config.octoprint.compat_version,
            interfaces=settings.interfaces,
        )
        return {"mDNS": announcer.run}

    def _listen(self) -> tuple[list[socket.socket], dict[int, str]]:
        """The sockets of the host itself, and the dialect that owns each door.  A door in use is one warning."""
        address = self.host.config.server.host
        doors = self.host.config.doors
        sockets, owners = [self._main_socket, unix_socket(self._local_socket)], {}
        for name, clients, port in (
            ("octoprint", "OctoPrint", doors.octoprint),
            ("moonraker", "Moonraker", doors.moonraker),
            ("moonraker", "Moonraker of 2020", doors.moonraker_early),
        ):
            if port and (door := _try_to_listen(address, port, f"the door for clients of {clients}")):
                sockets.append(door)
                owners[port] = name
                self._further_ports[port] = f"for clients of {clients}"
        return sockets, owners

    def _say_what_prints(self, cancelled: bool) -> None:
        for printer in self.host.printers.all():
            run = self.host.runs.current(printer)
            if run is not None:
                becomes = "is cancelled" if cancelled else "goes on without the server"
                log.warning("%s: the print of %s %s", printer.slug, run.path, becomes)


async def make_first_administrator(data: Path, name: str) -> Account:
    """The same as the setup page does, for whoever holds the data folder; `NotNow` when it is done already."""
    records = Records.open(data)
    try:
        accounts = _accounts(data, records, SystemClock(), Bus())
        if not accounts.setup_needed:
            raise NotNow(f"{data} has an administrator already; add users and keys with `polyhost user` and `key`")
        return await _first_administrator(accounts, name)
    finally:
        records.close()


async def _first_administrator(accounts: Accounts, name: str) -> Account:
    password = secrets.token_urlsafe(12)
    user, api_key = await accounts.first_administrator(name, password)
    return Account(user.name, password, api_key)


def _accounts(data: Path, records: Records, clock: SystemClock, bus: Bus) -> Accounts:
    return Accounts(records, clock, secret_key(data, may_make=not records.load_keys()), bus)


def _ports() -> list[Port]:
    return [Port(port.path, port.stable_path, port.description, port.serial_number) for port in ports()]


def _try_to_listen(address: str, port: int, what: str) -> socket.socket | None:
    try:
        return listen(address, port)
    except (NotNow, NotAllowed) as taken:
        log.warning("%s: %s; the host runs without it", what, taken)
        return None


async def _kept_going(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a background part again whenever it breaks: one fault must not end the host."""
    while True:
        try:
            await run()
        except Exception:  # the supervisor's end of the world
            log.exception("%s broke and is started again", name)
        await asyncio.sleep(RESTART_S)
