"""A host of real parts on a real disk, with machines that do what the test says and a clock that it moves."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from polyhost import config
from polyhost.core.card import CardOrder, CardTransfer
from polyhost.core.errors import LinkLost, NotFound, NotNow, PolyhostError
from polyhost.core.events import RunStateChanged
from polyhost.core.file import Analysis, LayerIndex, Metadata, NamedObject
from polyhost.core.handling import Handling
from polyhost.core.job import RunProgress, RunState
from polyhost.core.ports import LinkSettings, ResumePlan, RunOrder
from polyhost.core.printer import PrinterState, Snapshot, Temperature
from polyhost.core.user import Caller, Role
from polyhost.engine.messages import EndedRun
from polyhost.services.accounts import Accounts
from polyhost.services.bus import Bus
from polyhost.services.host import build
from polyhost.storage.library import Library
from polyhost.storage.records import Records
from polyhost.storage.secret import secret_key
from polyhost.storage.timelapses import TimelapseFolder

ADMIN = Caller("ada", Role.ADMINISTRATOR)
OPERATOR = Caller("oz", Role.OPERATOR)
UPLOADER = Caller("una", Role.UPLOADER)
VIEWER = Caller("vi", Role.VIEWER)


class FakeClock:
    def __init__(self) -> None:
        self.wall = 1_795_000_000.0
        self.steady = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class FakeDriver:
    """A machine and its holder in one: remembers what it was told, says what the test has it say."""

    def __init__(self, settings: config.Printer, world: "World") -> None:
        self.world = world
        self.snapshot = Snapshot(
            settings.slug, PrinterState.READY, heaters={"tool0": Temperature(20.5, 0.0), "bed": Temperature(20.0, 0.0)}
        )
        self.told: list[Any] = []
        self.handling = Handling()
        self.link = LinkSettings()
        self.orders: list[RunOrder] = []
        self.layers: list[LayerIndex] = []
        self.forgotten: list[str] = []
        self.plan: ResumePlan | None = None
        self.refuses: PolyhostError | None = None

    async def run(self) -> None:
        await asyncio.Event().wait()

    def say(self, **changes: Any) -> None:
        self.snapshot = msgspec.structs.replace(self.snapshot, **changes)
        self.world.printers.heard(self.snapshot)

    def reach(self, state: RunState, *, file_bytes: int | None = None, reason: str = "", **more: Any) -> None:
        """The run is now in `state`; at its end the holder says how it ended, as an engine does."""
        assert self.snapshot.run is not None
        run = msgspec.structs.replace(self.snapshot.run, state=state, reason=reason, **more)
        if file_bytes is not None:
            run = msgspec.structs.replace(run, file_bytes=file_bytes)
        self.say(run=run)
        self.world.printers.heard(RunStateChanged(self.snapshot.printer, run.run_id, state, reason))
        if run.ended:
            self.world.runs.ended(self.ending())

    def ending(self) -> EndedRun:
        run = self.snapshot.run
        assert run is not None
        return EndedRun(
            *(run.run_id, run.state, run.reason, self.world.clock.now()),
            *(run.elapsed_s, run.printing_s, run.file_bytes),
        )

    def _hear(self, *words: Any) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.told.append(words)

    async def configure(self, handling: Handling) -> None:
        self.handling = handling

    async def relink(self, link: LinkSettings) -> None:
        self.link = link

    async def connect(self, port: str | None = None, baud: int | None = None) -> None:
        self._hear("connect", port, baud)
        self.say(state=PrinterState.READY)

    async def disconnect(self) -> None:
        self._hear("disconnect")
        self.say(state=PrinterState.OFFLINE)

    async def send(self, commands: Sequence[str], *, until_done: bool = False) -> tuple[str, ...]:
        self._hear("send", *commands)
        return ()

    async def exclude(self, run_id: str, objects: Sequence[NamedObject]) -> None:
        self._hear("exclude", run_id, *objects)
        assert self.snapshot.run is not None
        names = (*self.snapshot.run.excluded, *(named.name for named in objects))
        self.say(run=msgspec.structs.replace(self.snapshot.run, excluded=tuple(dict.fromkeys(names))))

    async def set_offsets(self, offsets: Mapping[str, float]) -> None:
        self._hear("offsets", *offsets)
        self.say(offsets=self.snapshot.offsets | offsets)

    async def emergency_stop(self) -> None:
        self._hear("M112")

    async def start(self, order: RunOrder) -> None:
        self._hear("start", order.run_id)
        self.orders.append(order)
        self.say(run=RunProgress(order.run_id, RunState.STARTING, 0, order.size_bytes))
        self.reach(RunState.PRINTING)

    async def pause(self, run_id: str) -> None:
        self._hear("pause", run_id)
        self.reach(RunState.PAUSED)

    async def resume(self, run_id: str) -> None:
        self._hear("resume", run_id)
        self.reach(RunState.PRINTING)

    async def cancel(self, run_id: str) -> None:
        self._hear("cancel", run_id)
        self.reach(RunState.CANCELLED)

    async def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        self.layers.append(layers)

    async def resume_plan(self, run_id: str) -> ResumePlan:
        if self.plan is None:
            raise NotFound("its journal is gone")
        return self.plan

    async def forget(self, run_id: str) -> None:
        self.forgotten.append(run_id)

    async def read_card(self) -> None:
        self._hear("read card")
        self.say(sd_ready=True)

    async def refresh_card(self) -> None:
        self._hear("refresh card")

    async def release_card(self) -> None:
        self._hear("release card")
        self.say(sd_ready=False)

    async def delete_from_card(self, name: str) -> None:
        self._hear("delete from card", name)

    async def send_to_card(self, order: CardOrder) -> None:
        self._hear("send to card", order.name)
        self.say(transfer=CardTransfer(order.path, order.name, order.size_bytes))

    async def stop_transfer(self) -> None:
        self._hear("stop transfer")

    async def remove(self) -> None:
        self._hear("remove")


class FakeReader:
    """Reads what the test says; until it says so, nothing."""

    def __init__(self) -> None:
        self.found: dict[str, Metadata | PolyhostError] = {}
        self.analyses: dict[str, Analysis | PolyhostError] = {}
        self.pictures: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def metadata(self, file: Path) -> tuple[Metadata, dict[str, bytes]]:
        self.asked.append(f"header of {file.name}")
        found = self.found.get(file.name, Metadata(slicer="Fake"))
        if isinstance(found, PolyhostError):
            raise found
        return found, self.pictures

    async def analysis(self, file: Path, motion: tuple[str, ...]) -> Analysis:
        self.asked.append(f"whole {file.name}")
        found = self.analyses.get(file.name, NotFound("not read in this test"))
        if isinstance(found, PolyhostError):
            raise found
        return found

    async def rest(self) -> None:
        pass


class World:
    """One server's life.  `data` outlives it; a second world on the same folder is the server after a restart."""

    def __init__(
        self, data: Path, *, printers: tuple[str, ...] = ("mk3",), settings: config.Config | None = None
    ) -> None:
        named = tuple(config.Printer(slug, "virtual") for slug in printers)
        self.config = msgspec.structs.replace(settings or config.Config(), printers=named)
        self.data = data
        self.clock = FakeClock()
        self.reader = FakeReader()
        self.drivers: dict[str, FakeDriver] = {}
        self.bus = Bus()

    def driver_for(self, settings: config.Printer) -> FakeDriver:
        self.drivers[settings.slug] = FakeDriver(settings, self)
        return self.drivers[settings.slug]

    async def build(self) -> None:
        self.records = Records.open(self.data)
        key = secret_key(self.data, may_make=not self.records.load_keys())
        self.accounts = Accounts(self.records, self.clock, key, self.bus)
        self.library = Library(self.data / "files", self.data / "staging", self.data / "thumbnails")
        self.host = await build(
            *(self.config, self.records, self.library, TimelapseFolder(self.data / "timelapse"), self.reader),
            *(self.clock, self.accounts),
            *(self.driver_for, list, self.bus, self.data),
        )
        self.files, self.printers, self.runs = self.host.files, self.host.printers, self.host.runs
        self.app_keys, self.steering, self.queue = self.host.app_keys, self.host.steering, self.host.queue

    @property
    def driver(self) -> FakeDriver:
        return next(iter(self.drivers.values()))

    async def upload(self, path: str, content: bytes = b"G28\n", by: Caller = ADMIN, **options: Any) -> None:
        folder, _, name = path.rpartition("/")
        async with self.files.upload(folder, name, by, **options) as upload:
            upload.write(content)
            await upload.drain()
            await upload.commit()


@asynccontextmanager
async def living(world: World) -> AsyncIterator[World]:
    """`world` with its background parts going."""
    await world.build()
    async with AsyncExitStack() as stack:
        stack.callback(world.records.close)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        host = world.host
        parts = (
            host.runs,
            host.queue,
            host.cards,
            host.files,
            host.accounts,
            host.app_keys,
            host.printers,
            host.system,
            host.serial_logs,
            host.treatment,
            host.timelapses,
            host.prompts,
            host.layers,
        )
        tasks = [group.create_task(part.run()) for part in parts]
        try:
            yield world
        finally:
            for task in tasks:
                task.cancel()


async def until(condition: Any, timeout_s: float = 5.0) -> None:
    """Give the loop turns until `condition()` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.001)


LOST = LinkLost("the engine is gone")
REFUSED = NotNow("the machine is busy")
