"""An upgrade while a machine prints: engines and servers of protocol 2 with those of this version.

``protocol2/`` holds bytes that the last version of that protocol wrote, on a print over a pty: the frames of a server
and of an engine, one a line, and the journal of the engine when it was killed.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import msgspec
import pytest

from polyhost import config
from polyhost.core.errors import Malformed, NotNow
from polyhost.core.handling import Handling
from polyhost.core.job import ENDED, RunState
from polyhost.core.printer import PrinterProfile
from polyhost.drivers import engines
from polyhost.drivers.engines import runtime_dir
from polyhost.engine import messages as m
from polyhost.engine.journal import PrinterRecord, entries_of, fold
from polyhost.engine.loop import Engine, Server
from polyhost.engine.past_runs import PastRuns
from tests.drivers.rigs import Ear, moves, order_of, pool_in, reached, ready, running

RECORDED = Path(__file__).parent / "protocol2"


def recorded(name: str) -> list[bytes]:
    """The bodies of the frames in a file."""
    data = bytes.fromhex((RECORDED / name).read_text())
    return list(m.Frames().receive(data))


REQUESTS = recorded("requests.hex")
SAID = recorded("said.hex")
KNOWN_REQUESTS = {msgspec.msgpack.decode(body)["type"] for body in REQUESTS}
KNOWN_EVENTS = {event["type"] for body in SAID for event in msgspec.msgpack.decode(body).get("events", ())}


def lacks(old: object, new: object, at: str = "") -> str:
    """Where `new` does not have what `old` has; more in it is ignored by who knows only `old`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return next((why for key in old if (why := lacks(old[key], new.get(key, "missing"), f"{at}.{key}"))), "")
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return next((why for n, (a, b) in pairs if (why := lacks(a, b, f"{at}[{n}]"))), "")
    return "" if old == new else f"{at}: {old!r} is now {new!r}"


@pytest.mark.parametrize("body", REQUESTS, ids=[msgspec.msgpack.decode(body)["type"] for body in REQUESTS])
def test_what_an_older_server_asks_is_understood(body: bytes) -> None:
    request = m.request_of(body)
    assert m.understood(request, 2)
    assert not lacks(msgspec.msgpack.decode(body), msgspec.msgpack.decode(m.frame(request)[4:]))


@pytest.mark.parametrize("body", SAID)
def test_what_an_older_engine_says_is_understood_and_said_in_the_same_shape(body: bytes) -> None:
    said = m.said_of(body)
    assert not lacks(msgspec.msgpack.decode(body), msgspec.msgpack.decode(m.frame(said)[4:]))
    assert not isinstance(said, m.Heard) or m.heard_in(2, said) == said


def test_the_journal_of_an_older_engine_is_read_to_its_end() -> None:
    data = bytes.fromhex((RECORDED / "journal.hex").read_text())
    entries = entries_of(data)
    assert len(entries) > 10
    records: dict[str, PrinterRecord] = {}
    fold(records, entries)
    record = records["mk3"]
    assert record.hot
    assert record.wanted
    assert record.run is not None
    assert record.run.state is RunState.PRINTING
    past = PastRuns("mk3", record, 0.0)
    (ended,) = past.ended
    assert (ended.run_id, ended.state) == ("run-1", RunState.INTERRUPTED)
    resumable = past.resumable("run-1")
    assert resumable.file_bytes == ended.file_bytes > 1000
    assert resumable.modal is not None
    assert resumable.modal.homed == "XYZ"


def test_objects_are_not_left_out_by_an_older_engine() -> None:
    assert not m.understood(m.ExcludeObjects(printer="mk3", run_id="run-1", objects=()), 2)
    assert m.understood(m.Send(printer="mk3", commands=("G28",), until_done=True), 2)


# --- live


class OlderEngine(Engine):
    """Speaks protocol 2 alone: refuses a greeting in another, and drops who asks what it does not know."""

    def answer(self, server: Server, request: m.Request) -> m.Done | Coroutine[None, None, m.Done]:
        if type(request).__name__ not in KNOWN_REQUESTS:
            server.drop()
        if isinstance(request, m.Hello) and request.protocol != 2:
            raise Malformed("this engine speaks protocol 1 to 2")
        if isinstance(request, m.Send):
            request = msgspec.structs.replace(request, until_done=False)
        return super().answer(server, request)


@contextlib.asynccontextmanager
async def older_engine(data: Path) -> AsyncIterator[asyncio.Task[None]]:
    """The engine that a server of the data folder finds."""
    socket = runtime_dir(data) / "engine-1.sock"
    engine = OlderEngine(data / "engines" / "1", socket)
    running = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(10):
            while not socket.exists():
                await asyncio.sleep(0.005)
        yield running
    finally:
        engine.stop()
        await running


async def test_a_print_goes_on_under_a_newer_server_and_its_engine_is_replaced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PING_EVERY_S", 0.1)
    data = tmp_path / "data"
    (data / "engines" / "1").mkdir(parents=True)
    ear = Ear()
    async with older_engine(data) as older:
        reader, writer = await asyncio.open_unix_connection(str(runtime_dir(data) / "engine-1.sock"))
        order = order_of(tmp_path, ["G28", "M104 S200", *moves(200), "M0", *moves(200), "M104 S0"])
        machine = m.MachineSettings(m.VirtualLink(speed=0))
        writer.write(m.frame(m.Hello(id=1, protocol=2)) + m.frame(m.Hold(id=2, printer="v", machine=machine)))
        frames = m.Frames()
        started = False
        while not started:
            for body in frames.receive(await reader.read(65536)):
                said = m.said_of(body)
                for snapshot in said.snapshots if isinstance(said, m.Heard) else ():
                    if snapshot.state.value == "ready" and not started:
                        writer.write(m.frame(m.StartRun(id=3, printer="v", order=order)))
                        started = True
        async with pool_in(data, ear) as pool:
            driver = pool.driver_for("v", config.Printer("v", "virtual", speed=0))
            async with running(driver):
                await reached(driver, ear, RunState.PAUSED)
                with pytest.raises(NotNow, match="holds v is of an earlier version; this works once"):
                    await driver.exclude("run-1", ())
                assert await driver.send(["M117 over"], until_done=True) == ()
                await driver.configure(Handling(PrinterProfile(extruders=2)))
                assert not older.done()
                await driver.resume("run-1")
                await reached(driver, ear, *ENDED)
                assert ear.ends[-1].state is RunState.COMPLETED
                await asyncio.wait_for(older, 20)
                await ear.until(lambda: pool.processes() not in ([], [os.getpid()]), "an engine of this version")
                await ready(driver, ear)
                await ear.until(lambda: driver.snapshot.sd_ready, "its card")
                await driver.refresh_card()
                assert [run.run_id for run in ear.ends] == ["run-1"] * len(ear.ends)
        writer.close()


async def test_an_older_server_hears_a_newer_engine(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "engine", tmp_path / "sock")
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(20):
        while not (tmp_path / "sock").exists():
            await asyncio.sleep(0.005)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "sock"))
        machine = m.MachineSettings(
            m.VirtualLink(speed=0),
            handling=Handling(after_connect=("M117 hello",), before_tool_change=("M117 change",)),
        )
        hold = m.Hold(id=2, printer="mk3", machine=machine)
        order = order_of(tmp_path, ["G28", "@hello", "T1", *moves(20)])
        writer.write(m.frame(m.Hello(id=1, protocol=2)) + m.frame(hold))
        frames, events, over = m.Frames(), set(), False
        while not over:
            for body in frames.receive(await reader.read(65536)):
                said = msgspec.msgpack.decode(body)
                if said.get("welcome"):
                    assert said["welcome"]["protocol"] == 2
                for event in said.get("events", ()):
                    events.add(event["type"])
                    if event["type"] == "PrinterStateChanged" and event["state"] == "ready":
                        writer.write(m.frame(m.StartRun(id=3, printer="mk3", order=order)))
                over = over or bool(said.get("ended"))
        assert {"PrinterStateChanged", "RunStateChanged", "AtCommandSeen", "ScriptRan"} <= events <= KNOWN_EVENTS, (
            events
        )
        writer.close()
        engine.stop()
        await running
