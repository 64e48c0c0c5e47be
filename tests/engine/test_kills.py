"""Servers and engines that are killed, with a real printer's port in between (reliability, R8 and R9)."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from polyhost.core.errors import NotFound, NotNow
from polyhost.core.file import NamedObject
from polyhost.core.job import ENDED, RunState
from polyhost.core.ports import Scripts
from polyhost.core.printer import PrinterState
from polyhost.drivers.engines import EnginePool
from tests.drivers.rigs import (
    FOOTER,
    HEADER,
    Ear,
    PtyPrinter,
    moves,
    order_of,
    pool_in,
    reached,
    ready,
    running,
    serial_settings,
)

STAND_IN = Path(__file__).with_name("stand_in.py")


async def test_killing_the_server_ten_times_changes_nothing_for_the_printer(tmp_path: Path) -> None:
    commands = [*HEADER, *moves(3000, length_mm=4), *FOOTER]
    order = order_of(tmp_path, commands)
    (tmp_path / "order.json").write_bytes(msgspec.json.encode(order))
    async with PtyPrinter(tmp_path / "printer", "--speed", "60") as printer:
        arguments = [str(tmp_path / "data"), str(printer.port), str(tmp_path / "order.json")]
        lines = []
        for _ in range(10):
            server = await asyncio.create_subprocess_exec(
                sys.executable, str(STAND_IN), *arguments, stdout=asyncio.subprocess.PIPE
            )
            assert server.stdout is not None
            said = await asyncio.wait_for(server.stdout.readline(), 20)
            assert said.startswith(b"attached")
            lines.append(int(said.split()[1]))
            server.send_signal(signal.SIGKILL)
            await server.wait()
            arguments = arguments[:2]
        ear = Ear()
        async with pool_in(tmp_path / "data", ear) as pool:
            driver = pool.driver_for("mk3", serial_settings(printer.port))
            async with running(driver):
                await ear.until(lambda: ear.attached)
                assert driver.snapshot.run is not None
                assert driver.snapshot.run.state is RunState.PRINTING, "the kills took longer than the print"
                await reached(driver, ear, *ENDED)
                await ear.until(lambda: ear.ends)
                assert await printer.executed() == commands
        assert ear.attached[0] == ("mk3", frozenset({"run-1"}))
        assert lines == sorted(lines)
        assert [(end.run_id, end.state) for end in ear.ends] == [("run-1", RunState.COMPLETED)]


async def test_a_killed_engine_comes_back_and_cools_its_printer_first(tmp_path: Path) -> None:
    commands = [*HEADER, "M106 S255", *moves(20000, length_mm=20)]
    order = order_of(tmp_path, commands)
    ear = Ear()
    async with (
        PtyPrinter(tmp_path / "printer", "--speed", "300", "--no-reset") as printer,
        pool_in(tmp_path / "data", ear) as pool,
    ):
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with running(driver):
            await ready(driver, ear)
            await driver.start(order)
            await ear.until(lambda: (run := driver.snapshot.run) is not None and run.lines > 60)
            assert driver.snapshot.hot
            now, journal = time.time(), tmp_path / "data" / "engines" / "1" / "journal"
            await ear.until(lambda: journal.stat().st_mtime > now, "the journal to know of these lines")
            before = len(await printer.heard())
            os.kill(engine_of(pool), signal.SIGKILL)
            await ear.until(lambda: driver.snapshot.state is PrinterState.UNREACHABLE)
            await ear.until(lambda: ear.ends, "the end of the run", 15)
            assert (ear.ends[0].run_id, ear.ends[0].state) == ("run-1", RunState.INTERRUPTED)
            await ready(driver, ear)
            await ear.until(lambda: not driver.snapshot.hot, "a cold printer", 15)
            # The old engine may have sent a line of the file or a checkpoint more before it died.
            after = [line for line in (await printer.heard())[before:] if not line.startswith(("G1", "M105"))]
            assert after[:3] == ["M108", "M104 S0", "M140 S0"]
            assert (await printer.stats())["targets"] == {"tool0": 0.0, "bed": 0.0}

            plan = await driver.resume_plan("run-1")
            assert 0 < plan.start_byte < order.size_bytes
            assert plan.line > 50
            assert {"M109 S200", "M190 S60", "M106 S255"} <= set(plan.script)
            assert plan.warnings
            await driver.forget("run-1")

            resumed = msgspec.structs.replace(
                order, run_id="run-2", start_byte=plan.start_byte, scripts=Scripts(before_start=plan.script)
            )
            await driver.start(resumed)
            await ear.until(lambda: (run := driver.snapshot.run) is not None and run.lines > 5)
            heard = await printer.executed()
            sent = heard[heard.index(plan.script[0]) :]
            assert sent[: len(plan.script) + 3] == [*plan.script, *commands[plan.line : plan.line + 3]]
            await driver.cancel("run-2")
            await reached(driver, ear, RunState.CANCELLED)
            with pytest.raises(NotFound):
                await driver.resume_plan("run-1")


async def test_what_is_left_out_stays_so_when_the_server_and_the_engine_were_killed(tmp_path: Path) -> None:
    commands = [*HEADER, "M83"]
    for n in range(200):
        commands += [f"M117 bad {n}", *(f"G1 X50 Y{y} E0.01 F6000" for y in range(20))]
        commands += [f"M117 good {n}", *(f"G1 X{150 + n % 2} Y{y} E0.01 F6000" for y in range(30))]
    order = order_of(tmp_path, commands)
    data = Path(order.file).read_bytes()
    spans = tuple((data.index(b"M117 bad %d " % n), data.index(b"M117 good %d " % n)) for n in range(200))
    bad = NamedObject("bad", 0, 0, 1, 1, spans)
    async with PtyPrinter(tmp_path / "printer", "--speed", "300", "--no-reset") as printer:
        ear = Ear()
        async with pool_in(tmp_path / "data", ear) as pool:
            driver = pool.driver_for("mk3", serial_settings(printer.port))
            async with running(driver):
                await ready(driver, ear)
                await driver.start(order)
                await ear.until(lambda: (run := driver.snapshot.run) is not None and run.lines > 60)
                await driver.exclude("run-1", [bad])
            async with running(driver):  # a server that comes later hears of it
                await ear.until(lambda: (run := driver.snapshot.run) is not None and run.excluded == ("bad",))
                now, journal = time.time(), tmp_path / "data" / "engines" / "1" / "journal"
                lines = driver.snapshot.run.lines if driver.snapshot.run is not None else 0
                await ear.until(lambda: (run := driver.snapshot.run) is not None and run.lines > lines + 300)
                await ear.until(lambda: journal.stat().st_mtime > now, "the journal to know of these lines")
                os.kill(engine_of(pool), signal.SIGKILL)
                await ear.until(lambda: ear.ends, "the end of the run", 15)
                await ready(driver, ear)
                plan = await driver.resume_plan("run-1")
                before = len(await printer.executed())
                scripts = Scripts(before_start=plan.script)
                await driver.start(
                    msgspec.structs.replace(order, run_id="run-2", start_byte=plan.start_byte, scripts=scripts)
                )
                await ear.until(lambda: (run := driver.snapshot.run) is not None and run.lines > 300)
                run = driver.snapshot.run
                assert run is not None
                assert (run.run_id, run.excluded) == ("run-2", ("bad",))
                after = (await printer.executed())[before + len(plan.script) :]
                assert sum(line.startswith("G1 X15") and "E0.01" in line for line in after) > 100
                assert not [line for line in after if line.startswith("G1 X50") and "E" in line]
                await driver.cancel("run-2")
                await reached(driver, ear, RunState.CANCELLED)


async def test_an_interrupted_run_cannot_go_on_with_another_file(tmp_path: Path) -> None:
    order = order_of(tmp_path, [*HEADER, *moves(20000, length_mm=20)])
    ear = Ear()
    async with PtyPrinter(tmp_path / "printer", "--speed", "300") as printer, pool_in(tmp_path / "data", ear) as pool:
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with running(driver):
            await ready(driver, ear)
            await driver.start(order)
            await reached(driver, ear, RunState.PRINTING)
            os.kill(engine_of(pool), signal.SIGKILL)
            await ear.until(lambda: ear.ends)
            data = bytearray(Path(order.file).read_bytes())
            data[-2] ^= 1
            Path(order.file).write_bytes(data)
            with pytest.raises(NotNow, match="replaced"):
                await driver.resume_plan("run-1")


async def test_a_stop_leaves_what_prints_and_a_hard_stop_cancels_it(tmp_path: Path) -> None:
    order = order_of(tmp_path, [*HEADER, *moves(20000, length_mm=20)])
    async with PtyPrinter(tmp_path / "printer", "--speed", "300") as printer:
        for attempt in ("first", "second"):
            ear = Ear()
            pool = EnginePool(tmp_path / "data", ear, ear.ended)
            driver = pool.driver_for("mk3", serial_settings(printer.port))
            supervising = asyncio.create_task(pool.run())
            async with running(driver):
                await ready(driver, ear)
                await driver.start(order)  # the second time, it is under way
                await reached(driver, ear, RunState.PRINTING)
                engine = engine_of(pool)
                await pool.stop(cancel_runs=attempt == "second")
                supervising.cancel()
                await asyncio.wait([supervising])
        assert [end.state for end in ear.ends] == [RunState.CANCELLED]
        await asyncio.wait_for(asyncio.to_thread(os.waitpid, engine, 0), 10)  # the child of the first pool
        assert (await printer.stats())["targets"] == {"tool0": 0.0, "bed": 0.0}


async def test_sigterm_makes_the_machine_safe(tmp_path: Path) -> None:
    order = order_of(tmp_path, [*HEADER, *moves(20000, length_mm=20)])
    ear = Ear()
    async with PtyPrinter(tmp_path / "printer", "--speed", "300") as printer, pool_in(tmp_path / "data", ear) as pool:
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with running(driver):
            await ready(driver, ear)
            await driver.start(order)
            await reached(driver, ear, RunState.PRINTING)
            engine = engine_of(pool)
            os.kill(engine, signal.SIGHUP)  # a terminal that went away is nobody's business
            os.kill(engine, signal.SIGTERM)
            await ear.until(lambda: ear.ends)
            assert ear.ends[0].state is RunState.CANCELLED
            assert (await printer.stats())["targets"] == {"tool0": 0.0, "bed": 0.0}


async def test_an_engine_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhost.drivers.engines.HUNG_S", 0.5)
    monkeypatch.setattr("polyhost.drivers.engines.PING_EVERY_S", 0.1)
    ear = Ear()
    async with PtyPrinter(tmp_path / "printer", "--speed", "300") as printer, pool_in(tmp_path / "data", ear) as pool:
        driver = pool.driver_for("mk3", serial_settings(printer.port))
        async with running(driver):
            await ready(driver, ear)
            hanging = engine_of(pool)
            os.kill(hanging, signal.SIGSTOP)
            await ear.until(lambda: driver.snapshot.state is PrinterState.UNREACHABLE)
            await ready(driver, ear)
            assert engine_of(pool) != hanging


def engine_of(pool: EnginePool) -> int:
    """The process of the only engine."""
    (engine,) = pool.processes()
    return engine
