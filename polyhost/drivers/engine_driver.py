"""What all machines have in common that an engine holds: `core.ports.Driver`, as requests to that engine."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from polyhost.core.card import CardOrder
from polyhost.core.errors import LinkLost, NotFound
from polyhost.core.file import LayerIndex, NamedObject
from polyhost.core.handling import Handling
from polyhost.core.ports import LinkSettings, ResumePlan, RunOrder
from polyhost.core.printer import PrinterSignal, PrinterState, Snapshot, advance_printer
from polyhost.drivers.engine_client import ANSWER_S, PLAN_S, EngineClient
from polyhost.engine import messages as m

if TYPE_CHECKING:
    from polyhost.drivers.engines import EnginePool

CARD_S: Final = 45.0  # several questions to the firmware, one after another
RESTART_S: Final = 5.0  # a request waits so long for an engine that is being restarted


class EngineDriver:
    """The driver of printer `slug`, held by one of the engines of `pool`."""

    def __init__(self, pool: "EnginePool", slug: str, machine: m.MachineSettings) -> None:
        self.slug: Final = slug
        self.machine = machine
        self._pool = pool
        self._snapshot = Snapshot(slug)
        self._client: EngineClient | None = None
        self._held = asyncio.Event()

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    async def run(self) -> None:
        """Have an engine hold the printer, until cancelled; the engine goes on holding it then."""
        with self._pool.registered(self):
            await asyncio.get_running_loop().create_future()

    # --- the pool tells

    @property
    def held(self) -> bool:
        """Whether an engine is known to hold the printer, and is attached."""
        return self._held.is_set()

    def held_by(self, client: EngineClient, snapshot: Snapshot) -> None:
        self._client = client
        self._snapshot = snapshot
        self._held.set()

    def let_go(self) -> None:
        """Nobody runs this driver: its requests go nowhere."""
        self._client = None
        self._held.clear()

    def heard(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def engine_lost(self) -> Snapshot:
        """The engine is gone: what is known of the printer is what was heard last, but its state."""
        self.let_go()
        state = self._snapshot.state
        if state is not PrinterState.OFFLINE:
            state = advance_printer(state, PrinterSignal.LINK_LOST)
        self._snapshot = msgspec.structs.replace(
            self._snapshot, state=state, fault="the engine that holds the printer ended; it is being restarted"
        )
        return self._snapshot

    # --- core.ports.Driver

    async def configure(self, handling: Handling) -> None:
        await self._become(self.machine.handled(handling))

    async def relink(self, link: LinkSettings) -> None:
        port = self.machine.link
        match port:
            case m.SerialLink():
                # Another device is not told by the number of the one before.
                same = port.port == link.port
                port = m.SerialLink(link.port, link.baud, port.serial_number if same else "")
            case m.VirtualLink():
                port = msgspec.structs.replace(port, speed=link.speed)
        await self._become(
            msgspec.structs.replace(
                self.machine,
                link=port,
                autoconnect=link.autoconnect,
                window_lines=link.window_lines,
                window_bytes=link.window_bytes,
            )
        )

    async def _become(self, machine: m.MachineSettings) -> None:
        """Have the engine, when there is one, hold the printer as `machine`; a new one hears it from the pool."""
        if machine == self.machine:
            return
        self.machine = machine
        if self._client is not None:
            await self._client.ask(m.Hold(printer=self.slug, machine=machine))

    async def connect(self, port: str | None = None, baud: int | None = None) -> None:
        await self._ask(m.Connect(printer=self.slug, port=port or "", baud=baud or 0))

    async def disconnect(self) -> None:
        await self._ask(m.Disconnect(printer=self.slug))

    async def send(self, commands: Sequence[str], *, until_done: bool = False) -> tuple[str, ...]:
        request = m.Send(printer=self.slug, commands=tuple(commands), until_done=until_done)
        return (await self._ask(request, answer_s=None if until_done else ANSWER_S)).lines

    async def exclude(self, run_id: str, objects: Sequence[NamedObject]) -> None:
        await self._ask(m.ExcludeObjects(printer=self.slug, run_id=run_id, objects=tuple(objects)))

    async def set_offsets(self, offsets: Mapping[str, float]) -> None:
        await self._ask(m.SetOffsets(printer=self.slug, offsets=dict(offsets)))

    async def emergency_stop(self) -> None:
        await self._ask(m.EmergencyStop(printer=self.slug))

    async def start(self, order: RunOrder) -> None:
        await self._ask(m.StartRun(printer=self.slug, order=order))

    async def pause(self, run_id: str) -> None:
        await self._ask(m.PauseRun(printer=self.slug, run_id=run_id))

    async def resume(self, run_id: str) -> None:
        await self._ask(m.ResumeRun(printer=self.slug, run_id=run_id))

    async def cancel(self, run_id: str) -> None:
        await self._ask(m.CancelRun(printer=self.slug, run_id=run_id))

    async def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        await self._ask(m.GiveLayers(printer=self.slug, run_id=run_id, layers=layers))

    async def resume_plan(self, run_id: str) -> ResumePlan:
        plan = (await self._ask(m.AskResumePlan(printer=self.slug, run_id=run_id), answer_s=PLAN_S)).plan
        if plan is None:
            raise NotFound(f"no plan for the run {run_id}")
        return plan

    async def forget(self, run_id: str) -> None:
        await self._ask(m.ForgetRun(printer=self.slug, run_id=run_id))

    async def read_card(self) -> None:
        await self._ask(m.ReadCard(printer=self.slug, initialise=True), answer_s=CARD_S)

    async def refresh_card(self) -> None:
        await self._ask(m.ReadCard(printer=self.slug, initialise=False), answer_s=CARD_S)

    async def release_card(self) -> None:
        await self._ask(m.ReleaseCard(printer=self.slug))

    async def delete_from_card(self, name: str) -> None:
        await self._ask(m.DeleteFromCard(printer=self.slug, name=name), answer_s=CARD_S)

    async def send_to_card(self, order: CardOrder) -> None:
        await self._ask(m.SendToCard(printer=self.slug, order=order))

    async def stop_transfer(self) -> None:
        await self._ask(m.StopTransfer(printer=self.slug))

    async def remove(self) -> None:
        await self._ask(m.Release(printer=self.slug))
        self._pool.released(self)

    async def _ask(self, request: m.Request, *, answer_s: float | None = ANSWER_S) -> m.Done:
        if not self.held and self._pool.stopping:
            raise LinkLost(f"no engine holds {self.slug}: this server is stopping")
        try:
            async with asyncio.timeout(RESTART_S):
                await self._held.wait()
        except TimeoutError:
            raise LinkLost(f"no engine holds {self.slug}; see the log of the engine") from None
        assert self._client is not None
        return await self._client.ask(request, answer_s=answer_s)
