"""What every driver promises of a machine's own card; `contract` says how it is run."""

from pathlib import Path

import pytest

from polyhost.core.card import CardFile, CardOrder
from polyhost.core.errors import NotFound, NotNow
from polyhost.core.events import CardTransferChanged, SdFilesListed
from polyhost.core.job import ENDED, RunState
from polyhost.core.ports import RunOrder, Scripts
from polyhost.core.printer import PrinterState
from tests.drivers.contract import Rig
from tests.drivers.rigs import FOOTER, HEADER, NO_SCRIPTS, moves, reached, ready

CUBE = [*HEADER, *moves(40), *FOOTER]


def to_card(folder: Path, name: str, commands: list[str]) -> CardOrder:
    """A file of `commands`, with what a firmware does not keep between them, and the order to send it."""
    path = folder / f"{name}.gcode"
    path.write_text("".join(f"; a comment\n\n{command} ; and another\n" for command in commands))
    return CardOrder(path.name, str(path), name, path.stat().st_size)


def on_card(rig: Rig) -> tuple[CardFile, ...]:
    listed = [notice.files for notice in rig.ear.notices if isinstance(notice, SdFilesListed)]
    return listed[-1] if listed else ()


def transfers(rig: Rig) -> list[str]:
    return [notice.state for notice in rig.ear.notices if isinstance(notice, CardTransferChanged)]


async def sent_to_card(rig: Rig, order: CardOrder) -> None:
    before = len(transfers(rig))
    await rig.driver.send_to_card(order)
    await rig.ear.until(lambda: transfers(rig)[before:] == ["started", "done"], f"{order.name} on the card")
    await rig.ear.until(lambda: any(file.name == order.name for file in on_card(rig)), f"{order.name} in the list")


def from_card(name: str, *, run_id: str = "run-1", scripts: Scripts = NO_SCRIPTS) -> RunOrder:
    return RunOrder(run_id, "", name, 0, "", scripts, on_card=True)


def size_of(commands: list[str]) -> int:
    return len("".join(f"{command}\n" for command in commands))


class CardContract:
    """A subclass gives the fixture `rig`."""

    async def test_the_card_is_found_and_listed_when_the_printer_is_connected(self, rig: Rig) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.ear.until(lambda: any(isinstance(notice, SdFilesListed) for notice in rig.ear.notices))

    async def test_a_file_arrives_whole_and_is_listed_and_deleted(self, rig: Rig, tmp_path: Path) -> None:
        commands = [*HEADER, "M105", *moves(900), "M290 Z0.1", *FOOTER]
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await sent_to_card(rig, to_card(tmp_path, "PART.GCO", commands))
        kept = [command for command in commands if command != "M105"]
        assert on_card(rig) == (CardFile("PART.GCO", size_of(kept), "PART.GCO"),)
        assert rig.driver.snapshot.transfer is None
        assert await rig.on_card("PART.GCO") in (kept, None)
        assert not rig.driver.snapshot.hot
        await rig.driver.delete_from_card("PART.GCO")
        assert on_card(rig) == ()
        with pytest.raises(NotFound, match=r"PART\.GCO"):
            await rig.driver.delete_from_card("PART.GCO")

    # As often as a print must bear (R1): while it writes, Marlin refuses what has no number, so a line that lost its N
    # is asked for again as any damaged one.
    @pytest.mark.parametrize("fault", ["corrupt 0.01", "drop 0.01", "lose_ok 0.1", "double_ok 0.2"])
    async def test_a_file_arrives_whole_over_a_link_that_damages(self, rig: Rig, tmp_path: Path, fault: str) -> None:
        commands = moves(200)
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        name, _, argument = fault.partition(" ")
        await rig.misbehave(name, float(argument))
        await sent_to_card(rig, to_card(tmp_path, "PART.GCO", commands))
        await rig.misbehave(name, 0.0)
        await rig.driver.refresh_card()
        listed = [file.size_bytes for file in on_card(rig)]
        assert listed == [size_of(commands)], (on_card(rig), size_of(commands))
        assert await rig.on_card("PART.GCO") in (commands, None)

    async def test_an_emergency_stop_is_heard_while_the_card_is_written_to(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.misbehave("delay", 0.02)
        await rig.driver.send_to_card(to_card(tmp_path, "PART.GCO", moves(3000)))
        await rig.ear.until(lambda: (t := rig.driver.snapshot.transfer) is not None and t.sent_bytes > 100)
        await rig.driver.emergency_stop()
        await rig.ear.until(lambda: rig.driver.snapshot.state is PrinterState.FAULTED)
        await rig.ear.until(lambda: transfers(rig) == ["started", "failed"])
        await rig.ear.until(lambda: any("kill() called" in line for line in rig.ear.received()))
        await rig.misbehave("delay", 0.0)
        await rig.driver.connect()
        await ready(rig.driver, rig.ear)
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.ear.until(lambda: any("M30 PART.GCO" in line for line in rig.ear.sent()))
        await rig.driver.refresh_card()
        assert on_card(rig) == ()
        sent = await rig.sent()
        assert len([line for line in sent if line.startswith("G1 ")]) < 3000
        assert "G1 " not in "".join(sent[sent.index("M30 PART.GCO") :])

    async def test_an_emergency_stop_ends_a_print_from_the_card(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await sent_to_card(rig, to_card(tmp_path, "SLOW.GCO", [*HEADER, *moves(2000, length_mm=20)]))
        await rig.driver.start(from_card("SLOW.GCO"))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.file_bytes > 200)
        await rig.driver.emergency_stop()
        await reached(rig.driver, rig.ear, RunState.FAILED)
        await rig.driver.connect()
        await ready(rig.driver, rig.ear)
        await rig.ear.until(lambda: not rig.driver.snapshot.hot, "heaters off")

    async def test_a_file_is_printed_from_the_card_to_its_end(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await sent_to_card(rig, to_card(tmp_path, "CUBE.GCO", CUBE))
        scripts = Scripts(before_start=("M117 before",), after_done=("M117 after",))
        await rig.driver.start(from_card("CUBE.GCO", scripts=scripts))
        await reached(rig.driver, rig.ear, *ENDED)
        run = rig.driver.snapshot.run
        assert run is not None
        assert (run.state, run.reason) == (RunState.COMPLETED, "")
        assert (run.size_bytes, run.fraction_done) == (size_of(CUBE), 1.0)
        sent = await rig.sent()
        ours = [line for line in sent if line.startswith(("M117", "M23", "M24", "M400"))]
        assert ours == ["M117 before", "M23 CUBE.GCO", "M24", "M400", "M117 after"]
        await rig.ear.until(lambda: not rig.driver.snapshot.hot, "heaters off")

    async def test_a_print_from_the_card_pauses_and_goes_on_and_is_cancelled(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        slow = [*HEADER, *moves(2000, length_mm=20)]
        await sent_to_card(rig, to_card(tmp_path, "SLOW.GCO", slow))
        scripts = Scripts(after_pause=("M117 paused",), before_resume=("M117 on",), after_cancel=("M117 over",))
        await rig.driver.start(from_card("SLOW.GCO", scripts=scripts))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.file_bytes > 200)
        assert rig.driver.snapshot.hot
        with pytest.raises(NotNow):
            await rig.driver.delete_from_card("SLOW.GCO")
        await rig.driver.pause("run-1")
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        await rig.driver.resume("run-1")
        await reached(rig.driver, rig.ear, RunState.PRINTING)
        await rig.driver.cancel("run-1")
        await reached(rig.driver, rig.ear, RunState.CANCELLED)
        assert not rig.driver.snapshot.hot
        sent = [line for line in await rig.sent() if line[0] == "M" and line != "M108" and line not in HEADER]
        assert sent[sent.index("M25") :] == [
            *["M25", "M400", "M117 paused", "M117 on", "M24"],
            *["M25", "M26 S0", "M117 over", "M104 S0", "M140 S0"],
        ]
        await rig.driver.delete_from_card("SLOW.GCO")

    async def test_a_file_that_is_not_there_fails_the_run(self, rig: Rig) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.driver.start(from_card("GONE.GCO"))
        await reached(rig.driver, rig.ear, *ENDED)
        run = rig.driver.snapshot.run
        assert run is not None
        assert run.state is RunState.FAILED
        assert "open failed" in run.reason
        assert "M24" not in await rig.sent()

    async def test_a_reset_ends_a_print_from_the_card(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await sent_to_card(rig, to_card(tmp_path, "SLOW.GCO", [*HEADER, *moves(2000, length_mm=20)]))
        await rig.driver.start(from_card("SLOW.GCO"))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.file_bytes > 200)
        await rig.misbehave("reset")
        await reached(rig.driver, rig.ear, RunState.FAILED)
        await rig.ear.until(lambda: not rig.driver.snapshot.hot, "heaters off")

    async def test_a_transfer_is_cancelled_and_leaves_nothing(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.misbehave("delay", 0.02)
        await rig.driver.send_to_card(to_card(tmp_path, "PART.GCO", moves(3000)))
        await rig.ear.until(lambda: (t := rig.driver.snapshot.transfer) is not None and t.sent_bytes > 100)
        for refused in (
            rig.driver.send(["M104 S200"]),
            rig.driver.start(from_card("PART.GCO")),
            rig.driver.refresh_card(),
            rig.driver.disconnect(),
            rig.driver.send_to_card(to_card(tmp_path, "B.GCO", ["G28"])),
        ):
            with pytest.raises(NotNow, match=r"PART\.GCO"):
                await refused
        await rig.driver.stop_transfer()
        await rig.ear.until(lambda: transfers(rig) == ["started", "failed"])
        await rig.misbehave("delay", 0.0)
        await rig.driver.refresh_card()
        assert on_card(rig) == ()
        with pytest.raises(NotNow, match="nothing"):
            await rig.driver.stop_transfer()

    async def test_a_full_card_fails_the_transfer_and_keeps_no_part_of_it(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.misbehave("card_full", 2000)
        await rig.driver.send_to_card(to_card(tmp_path, "PART.GCO", ["G28", *moves(300)]))
        await rig.ear.until(lambda: transfers(rig) == ["started", "failed"])
        (reason,) = [n.reason for n in rig.ear.notices if isinstance(n, CardTransferChanged) and n.reason]
        assert "error writing" in reason
        await rig.driver.refresh_card()
        assert on_card(rig) == ()
        await rig.driver.send(["M117 still here"])
        assert not any(line.startswith("G28 X") for line in await rig.sent())

    async def test_a_file_that_would_end_its_own_transfer_is_not_sent(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.driver.send_to_card(to_card(tmp_path, "PART.GCO", ["G28", "M29", "M112"]))
        await rig.ear.until(lambda: transfers(rig) == ["started", "failed"])
        await rig.driver.refresh_card()
        assert on_card(rig) == ()

    async def test_an_unplugged_printer_comes_back_without_the_part_of_a_file(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.misbehave("delay", 0.02)
        await rig.driver.send_to_card(to_card(tmp_path, "PART.GCO", moves(3000)))
        await rig.ear.until(lambda: (t := rig.driver.snapshot.transfer) is not None and t.sent_bytes > 100)
        await rig.misbehave("unplug")
        await rig.ear.until(lambda: transfers(rig) == ["started", "failed"])
        await rig.misbehave("replug")
        await ready(rig.driver, rig.ear)
        await rig.misbehave("delay", 0.0)
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.ear.until(lambda: any("M30 PART.GCO" in line for line in rig.ear.sent()))
        await rig.driver.refresh_card()
        assert on_card(rig) == ()

    async def test_nothing_is_written_to_the_card_of_a_hot_machine(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await rig.driver.send(["M104 S50"])
        await rig.ear.until(lambda: rig.driver.snapshot.hot)
        with pytest.raises(NotNow, match="heaters"):
            await rig.driver.send_to_card(to_card(tmp_path, "PART.GCO", ["G28"]))

    async def test_a_card_that_goes_and_comes(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready)
        await sent_to_card(rig, to_card(tmp_path, "CUBE.GCO", CUBE))
        await rig.misbehave("card_out", 0)
        await rig.ear.until(lambda: not rig.driver.snapshot.sd_ready and not on_card(rig))
        with pytest.raises(NotNow, match="not initialised"):
            await rig.driver.refresh_card()
        await rig.misbehave("card_out", 1)
        await rig.ear.until(lambda: rig.driver.snapshot.sd_ready and on_card(rig))
        await rig.driver.release_card()
        assert not rig.driver.snapshot.sd_ready
        assert on_card(rig) == ()
        await rig.driver.read_card()
        assert rig.driver.snapshot.sd_ready
        assert [file.name for file in on_card(rig)] == ["CUBE.GCO"]
