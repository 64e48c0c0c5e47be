"""A whole host for tests: real services on a real database and folder, over machines that obey at once."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from polyhost.config import Config
from polyhost.config import Printer as PrinterSettings
from polyhost.core.card import CardFile, CardOrder, CardTransfer
from polyhost.core.errors import LinkLost, MachineFault, Malformed, NotFound, NotNow
from polyhost.core.events import CardTransferChanged, PrinterStateChanged, RunStateChanged, SdFilesListed
from polyhost.core.file import Analysis, LayerIndex, Metadata, NamedObject
from polyhost.core.handling import Handling
from polyhost.core.job import RunProgress, RunSignal, RunState, advance
from polyhost.core.ports import LinkSettings, Listener, ResumePlan, RunOrder
from polyhost.core.printer import PrinterState, Snapshot, Temperature
from polyhost.core.user import Role
from polyhost.dialects import moonraker, native, octoprint
from polyhost.services.accounts import LOCAL, Accounts
from polyhost.services.bus import Bus
from polyhost.services.clock import SystemClock
from polyhost.services.host import Host, build
from polyhost.services.reading_queue import Reader
from polyhost.storage.library import Library
from polyhost.storage.records import Records
from polyhost.storage.secret import SetupCode, secret_key
from polyhost.storage.timelapses import TimelapseFolder
from polyhost.web.application import Application

DIALECTS = (octoprint.DIALECT, moonraker.DIALECT, native.DIALECT)
GCODE = b"G28\nG1 X10 Y10 F3000\nM104 S0\n" * 20
READY = {"tool0": Temperature(21.5, 0.0), "bed": Temperature(20.0, 0.0)}


class Machine:
    """A driver without a link: does what it is told at once, and says so.

    A run goes on until the test ends it by `signal`.
    """

    def __init__(self, slug: str, listener: Callable[[], Listener]) -> None:
        self.snapshot = Snapshot(slug)
        self.sent: list[str] = []
        self.answers: dict[str, Sequence[str]] = {}  # what the firmware says, by a command's first word
        self.unknown: set[str] = set()  # first words that the firmware does not know
        self.order: RunOrder | None = None
        self.card: tuple[CardFile, ...] = ()
        self.refreshed = 0
        self.stopped = False
        self.handling = Handling()
        self.link = LinkSettings()
        self._listener = listener

    def say(self, **changes: object) -> None:
        """A new snapshot."""
        self.snapshot = msgspec.structs.replace(self.snapshot, **changes)
        self._listener().heard(self.snapshot)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def configure(self, handling: Handling) -> None:
        self.handling = handling

    async def relink(self, link: LinkSettings) -> None:
        self.link = link

    async def connect(self, port: str | None = None, baud: int | None = None) -> None:
        if port == "/dev/gone":
            raise NotFound("no port /dev/gone; available: none")
        self.say(state=PrinterState.READY, port=port or "virtual", baud=baud or 115200, heaters=READY, fault="")
        self._listener().heard(PrinterStateChanged(self.snapshot.printer, PrinterState.READY))

    async def disconnect(self) -> None:
        self.say(state=PrinterState.OFFLINE)

    async def send(self, commands: Sequence[str], *, until_done: bool = False) -> tuple[str, ...]:
        """Asked `until_done`, it says what `answers` has for a command, and refuses what `unknown` has."""
        if self.snapshot.state is not PrinterState.READY:
            raise LinkLost("no link")
        said: list[str] = []
        for command in commands:
            self.sent.append(command)
            word = command.partition(" ")[0].upper()
            if until_done and word in self.unknown:
                raise MachineFault(f'Unknown command: "{command}"')
            said += self.answers.get(word, ())
        return tuple(said) if until_done else ()

    async def exclude(self, run_id: str, objects: Sequence[NamedObject]) -> None:
        run = self.snapshot.run
        if run is None or run.ended or run.run_id != run_id:
            raise NotNow(f"no run {run_id} goes on")
        new = [named.name for named in objects if named.name not in run.excluded]
        self.say(run=msgspec.structs.replace(run, excluded=(*run.excluded, *new)))

    async def set_offsets(self, offsets: Mapping[str, float]) -> None:
        self.say(offsets=self.snapshot.offsets | offsets)

    async def emergency_stop(self) -> None:
        self.stopped = True
        self.say(state=PrinterState.FAULTED, fault="stopped by a person")

    async def start(self, order: RunOrder) -> None:
        self.order = order
        self.say(run=RunProgress(order.run_id, RunState.STARTING, 0, order.size_bytes))
        self._listener().heard(RunStateChanged(self.snapshot.printer, order.run_id, RunState.STARTING))
        self.signal(RunSignal.STARTED)

    async def pause(self, run_id: str) -> None:
        self.signal(RunSignal.PAUSE, RunSignal.PAUSE_DONE)

    async def resume(self, run_id: str) -> None:
        self.signal(RunSignal.RESUME, RunSignal.RESUME_DONE)

    async def cancel(self, run_id: str) -> None:
        self.signal(RunSignal.CANCEL, RunSignal.CANCEL_DONE)

    def signal(self, *signals: RunSignal, **progress: object) -> None:
        """Move the run along its table."""
        run = self.snapshot.run
        assert run is not None
        for signal in signals:
            state = advance(run.state, signal)
            run = msgspec.structs.replace(run, state=state, **progress)
            self.say(run=run)
            self._listener().heard(RunStateChanged(self.snapshot.printer, run.run_id, state))

    async def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        pass

    async def resume_plan(self, run_id: str) -> ResumePlan:
        raise NotFound("no journal")

    async def forget(self, run_id: str) -> None:
        pass

    async def read_card(self) -> None:
        self.sent.append("M21")
        self.say(sd_ready=True)
        self.list_card()

    async def refresh_card(self) -> None:
        self.refreshed += 1
        self.list_card()

    async def release_card(self) -> None:
        self.say(sd_ready=False)
        self._listener().heard(SdFilesListed(self.snapshot.printer, ()))

    async def delete_from_card(self, name: str) -> None:
        self.card = tuple(file for file in self.card if file.name != name)
        self.list_card()

    async def send_to_card(self, order: CardOrder) -> None:
        self.say(transfer=CardTransfer(order.path, order.name, order.size_bytes, order.size_bytes // 2, 3.0))
        self._listener().heard(CardTransferChanged(self.snapshot.printer, order.path, order.name, "started"))

    async def stop_transfer(self) -> None:
        self.end_transfer("failed")

    def end_transfer(self, state: str) -> None:
        transfer = self.snapshot.transfer
        assert transfer is not None
        if state == "done":
            self.card += (CardFile(transfer.name, transfer.size_bytes),)
            self.list_card()
        self.say(transfer=None)
        self._listener().heard(CardTransferChanged(self.snapshot.printer, transfer.path, transfer.name, state, 4.0))

    def list_card(self) -> None:
        self._listener().heard(SdFilesListed(self.snapshot.printer, self.card))

    async def remove(self) -> None:
        run = self.snapshot.run
        if run is not None and not run.ended:
            raise NotNow("printing")


class NoReader:
    """Reads nothing."""

    async def metadata(self, file: Path) -> tuple[Metadata, dict[str, bytes]]:
        return Metadata(), {}

    async def analysis(self, file: Path, motion: tuple[str, ...]) -> Analysis:
        raise Malformed("not read in this test")

    async def rest(self) -> None:
        pass


@dataclass
class Hosted:
    host: Host
    application: Application
    machines: dict[str, Machine]
    setup_code: SetupCode
    keys: dict[Role, str] = field(default_factory=dict)

    @property
    def machine(self) -> Machine:
        """The default printer's."""
        return next(iter(self.machines.values()))

    def client(self, key: str | None = None, role: Role | None = None, **options: object) -> httpx.AsyncClient:
        """A client with `key`, or the key of a `role`, or none."""
        headers = {"X-Api-Key": self.keys[role] if role is not None else key} if role or key is not None else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.application),
            base_url="http://127.0.0.1:8080",
            headers=headers,
            **options,
        )

    async def key_of(self, role: Role, *printers: str) -> str:
        _, secret = await self.host.accounts.add_key("root", role, "", printers, None, LOCAL)
        return secret

    async def ended(self) -> None:
        """Return when every run that is over is in the history."""
        with self.host.bus.listen() as listener:
            while any(printer.run_state is not None for printer in self.host.printers.all()):
                await anext(listener)

    async def put(self, path: str, content: bytes = GCODE) -> None:
        """A file of the library."""
        folder, _, name = path.rpartition("/")
        async with self.host.files.upload(folder, name, LOCAL) as upload:
            upload.write(content)
            await upload.commit()


async def raw_request(
    one: Hosted, method: str, path: str, body: bytes = b"", *, query: str = "", role: Role = Role.ADMINISTRATOR
) -> tuple[int, bytes]:
    """Status and body for a path sent as it is, which a client library would tidy up first."""
    answered: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        answered.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"x-api-key", one.keys[role].encode()), (b"content-type", b"application/json")],
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 9),
    }
    await one.application(scope, receive, send)
    return answered[0]["status"], b"".join(message.get("body", b"") for message in answered)


_furnished: tuple[tempfile.TemporaryDirectory[str], dict[Role, str]] | None = None


async def _furnish(data: Path) -> dict[Role, str]:
    """Make `data` the folder of a host that is set up, with a key for each role; made once, then copied."""
    global _furnished
    if _furnished is None:
        folder = tempfile.TemporaryDirectory()
        made = Path(folder.name)
        records = Records.open(made)
        try:
            accounts = Accounts(records, SystemClock(), secret_key(made, may_make=True), Bus())
            await accounts.first_administrator("root", "correct horse")
            keys = {role: (await accounts.add_key("root", role, "", (), None, LOCAL))[1] for role in Role}
        finally:
            records.close()
        _furnished = folder, keys
    shutil.copytree(_furnished[0].name, data, dirs_exist_ok=True)
    return dict(_furnished[1])


@contextlib.asynccontextmanager
async def hosted(
    data: Path,
    *,
    printers: Sequence[PrinterSettings] = (PrinterSettings("one", "virtual"),),
    config: Config | None = None,
    connected: bool = True,
    set_up: bool = True,
    doors: dict[int, str] | None = None,
    local_socket: str = "",
    reader: Reader | None = None,
) -> AsyncIterator[Hosted]:
    """A host on `data`, its printers connected, with a key for each role."""
    keys = await _furnish(data) if set_up else {}
    settings = msgspec.structs.replace(config or Config(), printers=tuple(printers))
    records = Records.open(data)
    clock, bus = SystemClock(), Bus()
    setup_code = SetupCode(data)
    accounts = Accounts(records, clock, secret_key(data, may_make=True), bus)
    accounts.setup_code = setup_code
    machines: dict[str, Machine] = {}

    def driver_for(wanted: PrinterSettings) -> Machine:
        return machines.setdefault(wanted.slug, Machine(wanted.slug, lambda: host.printers))

    library = Library(data / "files", data / "staging", data / "thumbnails")
    timelapses = TimelapseFolder(data / "timelapse")
    reads = reader or NoReader()
    host = await build(settings, records, library, timelapses, reads, clock, accounts, driver_for, list, bus, data)
    application = Application(host, DIALECTS, doors=doors, local_socket=local_socket)
    one = Hosted(host, application, machines, setup_code, keys)
    # No task group: a fixture begins and ends in different tasks.
    parts = [
        asyncio.create_task(part.run())
        for part in (
            *(
                host.runs,
                host.queue,
                host.cards,
                host.files,
                host.system,
                host.serial_logs,
                host.treatment,
                host.prompts,
                host.layers,
            ),
            host.timelapses,
        )
    ]
    try:
        if connected:
            for machine in machines.values():
                await machine.connect()
        yield one
    finally:
        for part in parts:
            part.cancel()
        ends = await asyncio.gather(*parts, return_exceptions=True)
        records.close()
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
