"""Heat and its owner: nothing heats before the journal knows, nothing stays hot that nobody watches (R9)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from polyhost.core.errors import LinkLost, NoSpace
from polyhost.core.events import CommandSuppressed
from polyhost.core.handling import Handling
from polyhost.core.job import RunState
from polyhost.core.ports import Scripts
from polyhost.core.printer import PrinterProfile, PrinterState
from polyhost.engine import conversation
from polyhost.engine.idle import NOBODY_S
from polyhost.engine.journal import Entry, Journal, Kept, PrinterRecord
from polyhost.engine.links import SimulatedPort
from polyhost.engine.machine import Machine
from polyhost.engine.messages import MachineSettings, VirtualLink
from polyhost.firmware.marlin.simulator.board import Board
from tests.drivers.rigs import moves, order_of
from tests.engine.hubs import MovedClock, SilentHub

AS_IT_IS = Handling()


class HeldJournal(Journal):
    """A journal on a disk that answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"), lambda then: None)
        self.entries: list[Entry] = []
        self._thens: list[Callable[[], None]] = []

    def write(self, entry: Entry, then: Callable[[], None] | None = None) -> None:
        self.entries.append(entry)
        if then is not None:
            self._thens.append(then)

    def answer(self, failure: str = "") -> None:
        self.failure = failure
        thens, self._thens = self._thens, []
        for then in thens:
            then()

    @property
    def asked(self) -> bool:
        return bool(self._thens)


class Stage:
    """A machine on the simulator, which takes no time unless it is given a `speed`."""

    def __init__(
        self, journal: HeldJournal, *, idle_off_s: float = 1800.0, speed: float = 0.0, handling: Handling = AS_IT_IS
    ) -> None:
        self.clock = MovedClock()
        self.hub = SilentHub()
        self.journal = journal
        settings = MachineSettings(VirtualLink(speed=speed), idle_off_s=idle_off_s, handling=handling)
        self.machine = Machine("one", PrinterRecord(settings, wanted=True), journal, self.hub, self.clock)
        self.executed: list[str] = []

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)

    async def heat(self, *commands: str) -> None:
        """Send what heats, on a disk that takes it."""
        sending = asyncio.create_task(self.machine.send(commands))
        await self.until(lambda: self.journal.asked)
        self.journal.answer()
        await sending

    @property
    def board(self) -> Board:
        link = self.machine.connection.link
        assert isinstance(link, SimulatedPort)
        return link.simulator.board

    @property
    def targets(self) -> dict[str, float | None]:
        return {name: heater.target for name, heater in self.board.heaters().items()}


@contextlib.asynccontextmanager
async def staged(
    *, idle_off_s: float = 1800.0, speed: float = 0.0, handling: Handling = AS_IT_IS
) -> AsyncIterator[Stage]:
    stage = Stage(HeldJournal(), idle_off_s=idle_off_s, speed=speed, handling=handling)
    keeping = asyncio.create_task(stage.machine.connection.run())
    try:
        await stage.until(lambda: stage.machine.connection.state is PrinterState.READY)
        link = stage.machine.connection.link
        assert isinstance(link, SimulatedPort)
        link.simulator.record = lambda body: stage.executed.append(body.decode())
        yield stage
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        if stage.machine.run is not None:
            stage.machine.run.close()


async def turns(stage: Stage) -> None:
    """Long enough for whatever is on its way: the answer to a further command."""
    link = stage.machine.connection.link
    assert isinstance(link, SimulatedPort)
    for _ in range(200):
        await asyncio.sleep(0)


async def test_nothing_heats_before_the_journal_has_it_on_the_disk() -> None:
    async with staged() as stage:
        stage.journal.entries.clear()
        sending = [
            asyncio.create_task(stage.machine.send(lines)) for lines in (["M117 one", "M104 S200"], ["M117 two"])
        ]
        await turns(stage)
        assert stage.executed == []  # what comes behind waits too: the order is the sender's
        assert not any(sent.done() for sent in sending)
        (entry,) = stage.journal.entries
        assert isinstance(entry, Kept)
        assert entry.record.hot
        stage.journal.answer()
        await asyncio.gather(*sending)
        assert stage.machine.news.snapshot().heaters["tool0"].target == 200
        await stage.until(lambda: "M117 two" in stage.executed)
        assert stage.executed == ["M117 one", "M104 S200", "M117 two"]


async def test_a_file_waits_for_the_journal_at_its_first_heating_line(tmp_path: Path) -> None:
    async with staged() as stage:
        starting = asyncio.create_task(stage.machine.start(order_of(tmp_path, ["G28", "M104 S200", "G1 X1"])))
        await stage.until(lambda: stage.journal.asked)
        assert stage.executed == []  # not even the run began
        stage.journal.answer()
        await starting
        await stage.until(lambda: stage.machine.hot)
        await turns(stage)
        assert "M104 S200" not in stage.executed
        stage.journal.answer()
        run = stage.machine.run
        assert run is not None
        await stage.until(lambda: run.state is RunState.COMPLETED)
        assert run.shown_state is RunState.FINISHING  # the end is not on the disk yet
        stage.journal.answer()
        assert run.shown_state is RunState.COMPLETED
        assert [(end.run_id, end.state) for end in stage.hub.ends] == [("run-1", RunState.COMPLETED)]


async def test_who_was_told_that_the_disk_hangs_finds_nothing_heated_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "HELD_S", 0.05)
    async with staged() as stage:
        heating = asyncio.create_task(stage.machine.send(["M104 S200"]))
        await stage.until(lambda: stage.journal.asked)
        behind = asyncio.create_task(stage.machine.send(["M117 behind"]))
        with pytest.raises(NoSpace, match="look at the disk"):
            await heating
        await behind
        stage.journal.answer()
        await turns(stage)
        assert stage.executed == ["M117 behind"]


async def test_what_waits_for_the_disk_is_refused_when_the_link_goes() -> None:
    async with staged() as stage:
        sending = asyncio.create_task(stage.machine.send(["M104 S200"]))
        await stage.until(lambda: stage.journal.asked)
        await stage.machine.connect("", 0)
        with pytest.raises(LinkLost, match="connects anew"):
            await sending
        stage.journal.answer()
        await stage.until(lambda: stage.machine.connection.state is PrinterState.READY)
        await turns(stage)
        assert "M104 S200" not in stage.executed


async def test_a_disk_that_refuses_keeps_the_machine_cold(tmp_path: Path) -> None:
    async with staged() as stage:
        sending = asyncio.create_task(stage.machine.send(["M104 S200"]))
        await stage.until(lambda: stage.journal.asked)
        stage.journal.answer(failure="No space left on device")
        with pytest.raises(NoSpace, match="No space left"):
            await sending
        await turns(stage)
        assert not stage.machine.hot
        assert stage.executed == []
        with pytest.raises(NoSpace, match="No space left"):
            await stage.machine.send(["M140 S60"])
        starting = asyncio.create_task(stage.machine.start(order_of(tmp_path, ["G28"])))
        await stage.until(lambda: stage.journal.asked)
        stage.journal.answer(failure="No space left on device")
        with pytest.raises(NoSpace):
            await starting
        await stage.machine.send(["G28"])  # what needs no journal goes on
        await stage.until(lambda: stage.executed == ["G28"])
        stage.machine.every_second(stage.clock.monotonic())  # tries again
        stage.journal.answer()
        assert isinstance(stage.journal.entries[-1], Kept)
        await stage.heat("M140 S60")
        await stage.until(lambda: stage.targets["bed"] == 60)


async def test_an_idle_printer_is_switched_off_when_nobody_used_it_for_long() -> None:
    async with staged() as stage:
        await stage.heat("M104 S200", "M140 S60")
        await stage.until(lambda: stage.targets == {"tool0": 200, "bed": 60})
        stage.clock.ahead_s += 1700
        await stage.machine.send(["M117 somebody is here"])
        stage.clock.ahead_s += 1700
        stage.machine.every_second(stage.clock.monotonic())
        await turns(stage)
        assert stage.targets == {"tool0": 200, "bed": 60}
        stage.clock.ahead_s += 110
        stage.machine.every_second(stage.clock.monotonic())
        await stage.until(lambda: stage.targets == {"tool0": 0, "bed": 0})
        await stage.until(lambda: not stage.machine.hot)


async def test_with_no_server_for_long_even_a_patient_printer_is_switched_off() -> None:
    async with staged(idle_off_s=0) as stage:
        await stage.heat("M104 S200")
        await stage.until(lambda: stage.targets["tool0"] == 200)
        stage.clock.ahead_s += 10 * NOBODY_S
        stage.machine.every_second(stage.clock.monotonic())
        await turns(stage)
        assert stage.targets["tool0"] == 200
        stage.hub.nobody_since = stage.clock.monotonic()
        stage.clock.ahead_s += NOBODY_S + 1
        stage.machine.every_second(stage.clock.monotonic())
        await stage.until(lambda: stage.targets["tool0"] == 0)


async def test_a_cooled_pause_heats_again_before_it_goes_on(tmp_path: Path) -> None:
    commands = ["M140 S60", "M104 S200", "M109 S200", "M190 S60", "M0", *moves(10)]
    async with staged() as stage:
        starting = asyncio.create_task(stage.machine.start(order_of(tmp_path, commands)))
        for _ in range(2):
            await stage.until(lambda: stage.journal.asked)
            stage.journal.answer()
        await starting
        run = stage.machine.run
        assert run is not None
        await stage.until(lambda: run.state is RunState.PAUSED)
        stage.clock.ahead_s += 1801
        stage.machine.every_second(stage.clock.monotonic())
        await stage.until(lambda: stage.targets == {"tool0": 0, "bed": 0})
        await stage.until(lambda: not stage.machine.hot)
        before = len(stage.executed)
        stage.machine.resume("run-1")
        stage.journal.answer()
        await stage.until(lambda: run.state is RunState.COMPLETED)
        after_pause = ["G90", "M82", "G92 E0.00000"]
        after = [line for line in stage.executed[before:] if not line.startswith(("M105", "M110"))]
        assert after == ["M140 S60", "M104 T0 S200", "M190 S60", "M109 T0 S200", *after_pause, *commands[5:]]


async def test_a_pause_that_asks_for_no_position_knows_of_the_lines_still_on_the_wire(tmp_path: Path) -> None:
    commands = ["G28", *moves(400, length_mm=5)]  # more than the planner takes: `ok`s wait for room in it
    async with staged(speed=20, handling=Handling(position_on_pause=False)) as stage:
        order = order_of(tmp_path, commands, scripts=Scripts(after_pause=("M117 paused",)))
        starting = asyncio.create_task(stage.machine.start(order))
        await stage.until(lambda: stage.journal.asked)
        stage.journal.answer()
        await starting
        run, session = stage.machine.run, stage.machine.conversation.session
        assert run is not None
        await stage.until(lambda: len(stage.executed) > 20 and session.in_flight)
        known_mm = stage.machine.conversation.picture.modal.e
        stage.machine.pause("run-1")
        assert session.in_flight
        await stage.until(lambda: run.state is RunState.PAUSED)
        drawn = [line for line in stage.executed[: stage.executed.index("M117 paused")] if line.startswith("G1")]
        last_mm = float(drawn[-1].partition(" E")[2].split()[0])
        assert last_mm > known_mm + 0.005
        await stage.machine.send(["G91", "G1 E-1", "M117 mine"])
        await stage.until(lambda: "M117 mine" in stage.executed)
        stage.machine.resume("run-1")
        await stage.until(lambda: run.state is RunState.PRINTING)
        told = stage.executed[stage.executed.index("M117 mine") + 1 :]
        assert f"G92 E{last_mm:.5f}" in told


async def test_a_running_print_is_never_cooled_for_being_left_alone(tmp_path: Path) -> None:
    async with staged() as stage:
        starting = asyncio.create_task(stage.machine.start(order_of(tmp_path, ["M104 S200", *moves(100_000)])))
        for _ in range(2):
            await stage.until(lambda: stage.journal.asked)
            stage.journal.answer()
        await starting
        run = stage.machine.run
        assert run is not None
        await stage.until(lambda: run.state is RunState.PRINTING)
        stage.hub.nobody_since = stage.clock.monotonic()
        stage.clock.ahead_s += 40
        stage.machine.idle.cool(stage.clock.monotonic() + 100_000, stage.hub.nobody_since)
        await turns(stage)
        assert "M104 S0" not in stage.executed


async def test_a_heater_that_was_switched_on_behind_the_off_list_stays_known_as_hot() -> None:
    async with staged() as stage:
        await stage.heat("M104 S200")
        stage.machine.switch_off()
        await stage.machine.send(["M140 S60"])
        await stage.until(lambda: stage.targets == {"tool0": 0, "bed": 60})
        await turns(stage)
        assert stage.machine.hot


@pytest.mark.parametrize("last", ["M112", "M28 X.GCO", "no G-code \x01"])
async def test_nothing_goes_out_behind_a_line_that_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    async with staged() as stage:
        broken: list[str] = []
        monkeypatch.setattr(stage.machine, "run_broke", broken.append)  # before the machine gets to fail the run
        starting = asyncio.create_task(stage.machine.start(order_of(tmp_path, ["G28", last, *moves(600)])))
        await stage.until(lambda: stage.journal.asked)
        stage.journal.answer()
        await starting
        await stage.until(lambda: broken)
        for _ in range(3):
            stage.machine.conversation.pump()
            await turns(stage)
        assert len(broken) == 1
        assert not any(line.startswith("G1") for line in stage.executed)


async def test_a_print_that_was_started_at_the_machines_display_is_not_cooled() -> None:
    async with staged(speed=20) as stage:
        machine, card = stage.machine, stage.board.card
        await stage.until(lambda: machine.card.ready)
        card.put("PART.GCO", b"M104 S200\n" + b"".join(b"G1 X%d F600\n" % (5 * (n % 2)) for n in range(20_000)))
        card.select("PART.GCO")
        card.printing = True
        await machine.send(["M105"])
        await stage.until(lambda: stage.journal.asked)  # it is seen to be hot, whoever heated it
        stage.journal.answer()
        machine.every_second(stage.clock.monotonic())
        await stage.until(lambda: machine.card.prints_by_itself)
        machine.idle.cool(stage.clock.monotonic() + 100_000, stage.hub.nobody_since)
        await turns(stage)
        assert stage.targets["tool0"] == 200
        card.printing = False
        machine.every_second(stage.clock.monotonic() + 20)
        await stage.until(lambda: not machine.card.prints_by_itself)
        assert stage.targets["tool0"] == 200  # there was somebody a moment ago
        machine.idle.cool(stage.clock.monotonic() + 100_000, stage.hub.nobody_since)
        await stage.until(lambda: stage.targets["tool0"] == 0)


async def test_a_script_that_heats_when_the_link_opens_is_known_and_cooled() -> None:
    async with staged(handling=Handling(after_connect=("M104 S200", "M117 warm"))) as stage:
        await stage.until(lambda: stage.journal.asked)
        assert stage.targets["tool0"] == 0  # the disk comes first
        stage.journal.answer()
        await stage.until(lambda: stage.targets["tool0"] == 200)
        kept = [entry for entry in stage.journal.entries if isinstance(entry, Kept)]
        assert kept[-1].record.hot
        stage.clock.ahead_s += 1801
        stage.machine.every_second(stage.clock.monotonic())
        await stage.until(lambda: stage.targets["tool0"] == 0)
        await stage.until(lambda: not stage.machine.hot)


async def test_a_script_that_heats_when_the_link_closes_leaves_it_cold() -> None:
    async with staged(handling=Handling(before_disconnect=("M140 S60", "M117 bye"))) as stage:
        board = stage.board
        closing = asyncio.create_task(stage.machine.disconnect())
        await stage.until(lambda: stage.journal.asked)
        stage.journal.answer()
        await closing
        said = [line for line in stage.executed if line not in {"M105", "M20", "M20 L", "M20 L T", "M21", "M27"}]
        assert said == ["M140 S60", "M117 bye", "M104 S0", "M140 S0"]
        assert not any(heater.target for heater in board.heaters().values())
        assert not stage.machine.hot


async def test_a_tool_change_in_a_script_of_a_tool_change_begins_no_other() -> None:
    handling = Handling(
        PrinterProfile(extruders=2), before_tool_change=("M117 {old}-{new}", "T{new}"), after_tool_change=("T1", "M84")
    )
    async with staged(handling=handling) as stage:
        await stage.machine.send(["T1", "T1", "T0"])
        script = ["M117 0-1", "T1", "T1", "T1", "M84"]
        again = ["M117 1-0", "T0", "T0", "T1", "M84"]
        await stage.until(lambda: len(stage.executed) >= 11)
        assert stage.executed == [*script, "T1", *again]


async def test_what_a_script_may_not_say_is_left_out_and_told() -> None:
    script = ("@pause", "M0", "M104 S999", "M117 said")
    async with staged(handling=Handling(after_connect=script)) as stage:
        suppressed = [event.command for event in stage.hub.events if isinstance(event, CommandSuppressed)]
        assert suppressed == ["@pause", "M0", "M104 S999"]
        await stage.machine.send(["M117 later"])
        await stage.until(lambda: "M117 later" in stage.executed)
        assert not {"M0", "M104 S999", "@pause"} & {*stage.executed}


async def test_a_script_with_an_emergency_stop_stops_the_machine() -> None:
    async with staged(handling=Handling(PrinterProfile(extruders=2), before_tool_change=("M112",))) as stage:
        await stage.heat("M104 S200")
        await stage.machine.send(["T1"])
        await stage.until(lambda: stage.machine.connection.state is PrinterState.FAULTED)
        assert not any(stage.targets.values())
