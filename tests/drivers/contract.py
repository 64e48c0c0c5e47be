"""What every driver promises, run against each of them by a subclass that builds the printer."""

import asyncio
from pathlib import Path
from typing import Protocol

import pytest

from polyhost.core.errors import LinkLost, MachineFault, NotFound, NotNow, PolyhostError
from polyhost.core.events import AtCommandSeen, CommandSuppressed, FirmwareSpoke, RunStateChanged, ScriptRan
from polyhost.core.file import LayerIndex, NamedObject
from polyhost.core.handling import Handling
from polyhost.core.job import ENDED, RunState
from polyhost.core.ports import Scripts
from polyhost.core.printer import PrinterProfile, PrinterState
from polyhost.drivers.engine_driver import EngineDriver
from polyhost.firmware.marlin.endstops import endstops_in
from polyhost.gcode.limits import limits_from_m503
from tests.drivers.rigs import FOOTER, HEADER, Ear, moves, order_of, reached, ready

SLOW = [*HEADER, *moves(4000, length_mm=20), *FOOTER]  # about 13 machine minutes


class Rig(Protocol):
    driver: EngineDriver
    ear: Ear

    async def misbehave(self, fault: str, argument: float = 0.0) -> None: ...

    async def sent(self) -> list[str]:
        """Commands that reached the machine, in order, without the host's questions."""

    async def on_card(self, name: str) -> list[str] | None:
        """The lines of a file on the machine's card; None where nobody can look but by printing it."""


def paused(rig: Rig) -> list[RunStateChanged]:
    """What was told of pauses."""
    changes = [notice for notice in rig.ear.notices if isinstance(notice, RunStateChanged)]
    return [change for change in changes if change.state is RunState.PAUSED]


def scripts_run(rig: Rig) -> list[tuple[str, bool]]:
    return [(notice.name, notice.finished) for notice in rig.ear.notices if isinstance(notice, ScriptRan)]


class DriverContract:
    """A subclass gives the fixture `rig`."""

    async def test_a_connected_printer_says_who_it_is(self, rig: Rig) -> None:
        await rig.ear.until(lambda: {"tool0", "bed"} <= rig.driver.snapshot.heaters.keys())
        assert rig.driver.snapshot.firmware.name.startswith("Marlin")
        assert not rig.driver.snapshot.hot

    async def test_a_file_is_printed_whole_and_once(self, rig: Rig, tmp_path: Path) -> None:
        commands = [*HEADER, *moves(300), *FOOTER]
        scripts = Scripts(before_start=("M117 before",), after_done=("M117 after ; the end",))
        order = order_of(tmp_path, commands, scripts=scripts)
        await rig.driver.start(order)
        await rig.driver.start(order)  # asked again, it is the same run
        await reached(rig.driver, rig.ear, *ENDED)
        run = rig.driver.snapshot.run
        assert run is not None
        assert (run.state, run.reason) == (RunState.COMPLETED, "")
        assert (run.lines, run.file_bytes, run.fraction_done) == (len(commands), order.size_bytes, 1.0)
        assert await rig.sent() == ["M117 before", *commands, "M117 after"]
        await rig.ear.until(lambda: rig.ear.ends)
        assert [(end.run_id, end.state) for end in rig.ear.ends] == [("run-1", RunState.COMPLETED)]
        states = [notice.state for notice in rig.ear.notices if isinstance(notice, RunStateChanged)]
        assert states == [RunState.STARTING, RunState.PRINTING, RunState.FINISHING, RunState.COMPLETED]
        await rig.driver.forget("run-1")

    async def test_a_pause_loses_and_repeats_nothing(self, rig: Rig, tmp_path: Path) -> None:
        commands = [*HEADER, *moves(800, length_mm=10), *FOOTER]
        scripts = Scripts(after_pause=("M117 at {x} of {nonsense}",), before_resume=("M117 hot {hotend}",))
        await rig.driver.start(order_of(tmp_path, commands, scripts=scripts))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.lines > 20)
        await rig.driver.pause("run-1")
        await rig.driver.pause("run-1")
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        await rig.driver.send(["G91", "G1 Z5 F300", "G1 Z-5", "G90"])  # somebody looks at it
        await rig.driver.resume("run-1")
        await reached(rig.driver, rig.ear, *ENDED)
        sent = await rig.sent()
        first = sent.index("M400")
        last = first + sent[first:].index("G1 F6000")
        between = sent[first : last + 1]
        assert between[1].startswith("M117 at 1")
        assert between[2:-2] == ["G91", "G1 Z5 F300", "G1 Z-5", "G90", "M117 hot 200", "G90", "M82"]
        assert between[-2] == f"G92 E{float(sent[first - 1].split(' E')[1].split()[0]):.5f}"
        assert sent[:first] + sent[last + 1 :] == commands

    async def test_a_file_may_pause_its_own_run(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, ["G28", "M0 look at it", "M117 on", "M25", "G28 X"]))
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        await rig.driver.resume("run-1")
        await rig.ear.until(lambda: len(paused(rig)) == 2)
        assert [(event.position.x, event.position.tool) for event in paused(rig) if event.position] == [(0.0, 0)] * 2
        assert "M117 on" in await rig.sent()
        await rig.driver.resume("run-1")
        await reached(rig.driver, rig.ear, RunState.COMPLETED)
        assert [line for line in await rig.sent() if line != "M400"] == ["G28", "M117 on", "G28 X"]

    async def test_an_emergency_stop_in_a_file_fails_the_run_and_is_not_sent(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, ["M104 S200", "G28", "M112", "G28 X"]))
        await reached(rig.driver, rig.ear, RunState.FAILED)
        assert rig.driver.snapshot.run is not None
        assert "M112" in rig.driver.snapshot.run.reason
        await rig.ear.until(lambda: not rig.driver.snapshot.hot, "heaters off")
        sent = await rig.sent()
        assert not {"M112", "G28 X"} & set(sent)
        assert "M104 S0" in sent

    async def test_a_cancelled_run_leaves_the_machine_cold(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, SLOW, scripts=Scripts(after_cancel=("M117 cancelled",))))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.lines > 10)
        assert rig.driver.snapshot.hot
        await rig.driver.cancel("run-1")
        await reached(rig.driver, rig.ear, RunState.CANCELLED)
        assert not rig.driver.snapshot.hot
        sent = await rig.sent()
        after = sent[sent.index("M117 cancelled") :]
        assert [line for line in after if line != "M108"] == ["M117 cancelled", "M104 S0", "M140 S0"]

    async def test_a_wait_for_heat_can_be_cancelled(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, ["G28", *["M190 S110", "M190 R40"] * 5, "G28 X"]))
        await rig.ear.until(lambda: rig.driver.snapshot.hot and "M190 S110" in " ".join(rig.ear.sent()))
        await rig.driver.cancel("run-1")
        await reached(rig.driver, rig.ear, RunState.CANCELLED)
        assert not rig.driver.snapshot.hot
        assert "G28 X" not in await rig.sent()

    async def test_a_pause_behind_a_wait_for_heat_can_be_taken_back(self, rig: Rig, tmp_path: Path) -> None:
        wait = ["M190 S110", "M190 R40"] * 3
        scripts = Scripts(after_pause=("M117 paused",), before_resume=("M117 resumed",))
        await rig.driver.start(order_of(tmp_path, ["G28", *wait, "G28 X"], scripts=scripts))
        await rig.ear.until(lambda: "M190 S110" in " ".join(rig.ear.sent()))
        await rig.driver.pause("run-1")
        await reached(rig.driver, rig.ear, RunState.PAUSING)
        await rig.driver.resume("run-1")
        await reached(rig.driver, rig.ear, RunState.PRINTING)
        await rig.driver.cancel("run-1")
        await reached(rig.driver, rig.ear, RunState.CANCELLED)
        assert not {"M117 paused", "M117 resumed"} & set(await rig.sent())

    async def test_a_wait_for_heat_is_ended_by_the_command_for_it(self, rig: Rig) -> None:
        await rig.driver.send(["M190 S110", "M117 warm", "M140 S0"])
        await rig.ear.until(lambda: "M190 S110" in " ".join(rig.ear.sent()))
        await rig.driver.send(["M108"])
        await rig.ear.until(lambda: "M117 warm" in " ".join(rig.ear.sent()))
        sent = rig.ear.sent()
        assert sent.index("M108") < next(n for n, line in enumerate(sent) if "M117 warm" in line)

    async def test_hook_scripts(self, rig: Rig) -> None:
        script = Handling(after_connect=("M117 at {baud}", "M117 {nothing}"), before_disconnect=("M117 bye",))
        await rig.driver.configure(script)
        await rig.driver.disconnect()
        assert (await rig.sent())[-1] == "M117 bye"
        await rig.driver.connect()
        await ready(rig.driver, rig.ear)
        await rig.ear.until(lambda: ("afterPrinterConnected", True) in scripts_run(rig))
        assert (await rig.sent())[-2:] == [f"M117 at {rig.driver.snapshot.baud}", "M117 {nothing}"]
        assert scripts_run(rig)[:3] == [
            *(("beforePrinterDisconnected", False), ("beforePrinterDisconnected", True)),
            ("afterPrinterConnected", False),
        ]

    async def test_tools_are_changed_by_script_and_only_those_that_are_there(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.configure(
            Handling(
                PrinterProfile(extruders=2),
                before_tool_change=("M117 {old} to {new}",),
                after_tool_change=("M117 now {new}",),
            )
        )
        await rig.driver.start(order_of(tmp_path, ["G28", "T0", "T1", "T5", "M104 T7 S200", "@OBJECT it", "G28 X"]))
        await reached(rig.driver, rig.ear, RunState.COMPLETED)
        await rig.driver.send(["T9", "T0"])
        await rig.ear.until(lambda: scripts_run(rig).count(("afterToolChange", True)) == 2)
        await rig.ear.until(lambda: "M117 now 0" in " ".join(rig.ear.sent()))
        changed = ["M117 0 to 1", "T1", "M117 now 1"]
        assert await rig.sent() == ["G28", "T0", *changed, "G28 X", "M117 1 to 0", "T0", "M117 now 0"]
        suppressed = [notice.command for notice in rig.ear.notices if isinstance(notice, CommandSuppressed)]
        assert suppressed == ["T5", "M104 T7 S200", "T9"]
        assert AtCommandSeen(rig.driver.slug, "@OBJECT it") in rig.ear.notices

    async def test_a_file_that_asks_for_too_much_heat_fails_before_it_heats(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, ["G28", "M140 S60", "M109 S450", "G28 X"]))
        await reached(rig.driver, rig.ear, RunState.FAILED)
        run = rig.driver.snapshot.run
        assert run is not None
        assert "M109 S450" in run.reason
        assert "300 °C" in run.reason
        await rig.ear.until(lambda: not rig.driver.snapshot.hot, "heaters off")
        assert "M109 S450" not in await rig.sent()

    @pytest.mark.parametrize("command", ["@cancel", "@abort"])
    async def test_a_file_may_cancel_its_own_run(self, rig: Rig, tmp_path: Path, command: str) -> None:
        await rig.driver.start(order_of(tmp_path, ["G28", command, "G28 X"]))
        await reached(rig.driver, rig.ear, RunState.CANCELLED)
        sent = await rig.sent()
        assert sent[0] == "G28"
        assert not {"G28 X", command} & set(sent)

    async def test_a_cancel_tells_where_it_was_if_that_is_wanted(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.configure(Handling(position_on_cancel=True))
        scripts = Scripts(after_cancel=("M117 at {x}",))
        await rig.driver.start(order_of(tmp_path, ["G28", "G1 X50 F6000", "@pause"], scripts=scripts))
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        await rig.driver.cancel("run-1")
        await rig.ear.until(lambda: rig.ear.ends)
        assert rig.ear.ends[0].position is not None
        assert rig.ear.ends[0].position.x == 50
        assert "M117 at 50" in await rig.sent()

    async def test_commands_are_sent_as_given(self, rig: Rig) -> None:
        await rig.driver.send(["G28 X", "M106 S51", "M220 S150", "T0"])
        await rig.ear.until(lambda: rig.driver.snapshot.fan == 0.2 and "T0" in " ".join(rig.ear.sent()))
        assert rig.driver.snapshot.feedrate_factor == 1.5
        await rig.ear.until(lambda: any("T0*" in line for line in rig.ear.sent()))
        assert await rig.sent() == ["G28 X", "M106 S51", "M220 S150", "T0"]

    async def test_what_is_waited_for_is_done_and_says_what_the_machine_said(self, rig: Rig) -> None:
        said = await rig.driver.send(["G28", "G1 X12 F9000", "M114", "M104 S30", "M109 S30"], until_done=True)
        assert [line for line in said if line.startswith("X:12.00 Y:0.00 Z:0.00")]
        assert not any("T:" in line or line.startswith("ok") for line in said), said
        tool = rig.driver.snapshot.heaters["tool0"]
        assert tool.target == 30
        assert await rig.driver.send([], until_done=True) == ()
        sent = await rig.sent()
        assert sent == ["G28", "G1 X12 F9000", "M104 S30", "M109 S30"], sent

    async def test_the_first_command_that_the_firmware_does_not_know_ends_what_is_waited_for(self, rig: Rig) -> None:
        with pytest.raises(MachineFault, match=r'^Unknown command: "BED_MESH_CLEAR NOW"$'):
            await rig.driver.send(["M117 one", "BED_MESH_CLEAR NOW", "M117 two"], until_done=True)
        await rig.driver.send(["M117 three"], until_done=True)
        sent = await rig.sent()
        assert [line for line in sent if line.startswith("M117")] == ["M117 one", "M117 three"], sent
        assert rig.driver.snapshot.state is PrinterState.READY

    async def test_what_is_waited_for_is_in_one_piece_in_a_run(self, rig: Rig, tmp_path: Path) -> None:
        commands = [*HEADER, *moves(600, length_mm=5), *FOOTER]
        await rig.driver.start(order_of(tmp_path, commands))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.lines > 20)
        script = ["G91", "G1 Z1 F600", "G1 Z-1", "G90"]
        waiting = asyncio.ensure_future(rig.driver.send(script, until_done=True))
        await rig.driver.send(["M117 later"])
        await waiting
        left = asyncio.ensure_future(rig.driver.send(["M117 nobody waits", "M117 to the end"], until_done=True))
        await asyncio.sleep(0)
        left.cancel()
        await reached(rig.driver, rig.ear, *ENDED)
        sent = await rig.sent()
        at = sent.index("G91")
        assert sent[at : at + 4] == script
        own = {*script, "M117 later", "M117 nobody waits", "M117 to the end"}
        assert [line for line in sent if line not in own] == commands

    async def test_what_is_waited_for_ends_with_the_link(self, rig: Rig) -> None:
        waiting = asyncio.ensure_future(rig.driver.send(["M0 look", "M117 then"], until_done=True))
        await rig.ear.until(lambda: "M0 look" in " ".join(rig.ear.sent()))
        await rig.misbehave("unplug")
        with pytest.raises(LinkLost):
            await waiting
        await rig.misbehave("replug")
        await ready(rig.driver, rig.ear)

    async def test_what_is_waited_for_is_dropped_by_an_emergency_stop(self, rig: Rig) -> None:
        waiting = asyncio.ensure_future(rig.driver.send(["M0 look", "M117 then"], until_done=True))
        await rig.ear.until(lambda: "M0 look" in " ".join(rig.ear.sent()))
        await rig.driver.emergency_stop()
        with pytest.raises(PolyhostError):
            await waiting

    async def test_a_heated_printer_is_marked_hot_until_it_is_off(self, rig: Rig) -> None:
        await rig.driver.send(["M104 S50"])
        await rig.ear.until(lambda: rig.driver.snapshot.hot)
        await rig.driver.send(["M104 S0"])
        await rig.ear.until(lambda: not rig.driver.snapshot.hot)

    async def test_a_target_shows_when_it_is_sent_and_not_first_in_the_next_report(self, rig: Rig) -> None:
        await rig.driver.send(["M140 S40"])
        assert rig.driver.snapshot.heaters["bed"].target == 40
        assert not any("/40.00" in line for line in rig.ear.received())

    async def test_a_file_without_a_command_is_no_print(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, ["; only words"]))
        await reached(rig.driver, rig.ear, RunState.FAILED)
        run = rig.driver.snapshot.run
        assert run is not None
        assert "holds no command" in run.reason

    async def test_offsets_raise_what_the_file_sets_and_nothing_else(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.set_offsets({"tool0": 5.0})
        assert rig.driver.snapshot.offsets == {"tool0": 5.0}
        await rig.driver.send(["M104 S20"])
        await rig.driver.start(order_of(tmp_path, ["M104 S30", "M140 S31", "M104 S0"]))
        await reached(rig.driver, rig.ear, RunState.COMPLETED)
        sent = await rig.sent()
        assert [line for line in sent if line.startswith(("M104", "M140"))][:4] == [
            "M104 S20",
            "M104 S35",
            "M140 S31",
            "M104 S0",
        ]

    async def test_the_machine_says_how_fast_it_moves(self, rig: Rig) -> None:
        await rig.ear.until(lambda: any(line.startswith("M203 ") for line in rig.driver.snapshot.firmware.motion))
        assert limits_from_m503(rig.driver.snapshot.firmware.motion).source == "machine"

    async def test_what_cannot_be_now_is_refused(self, rig: Rig, tmp_path: Path) -> None:
        order = order_of(tmp_path, SLOW)
        with pytest.raises(NotFound, match="run-1"):
            await rig.driver.pause("run-1")
        with pytest.raises(NotFound):
            await rig.driver.resume_plan("run-1")
        await rig.driver.start(order)
        with pytest.raises(NotNow, match="run"):
            await rig.driver.start(order_of(tmp_path, ["G28"], run_id="run-2"))
        with pytest.raises(NotNow):
            await rig.driver.disconnect()
        with pytest.raises(NotNow):
            await rig.driver.remove()
        with pytest.raises(NotFound):
            await rig.driver.cancel("run-2")
        await rig.driver.cancel("run-1")
        await reached(rig.driver, rig.ear, RunState.CANCELLED)
        (tmp_path / "run-3.gcode").unlink(missing_ok=True)
        gone = order_of(tmp_path, ["G28"], run_id="run-3")
        (tmp_path / "run-3.gcode").unlink()
        with pytest.raises(NotFound, match=r"run-3\.gcode"):
            await rig.driver.start(gone)

    async def test_a_closed_link_stays_closed_until_it_is_opened(self, rig: Rig) -> None:
        await rig.driver.disconnect()
        await rig.ear.until(lambda: rig.driver.snapshot.state is PrinterState.OFFLINE)
        with pytest.raises(NotNow, match="connect"):
            await rig.driver.send(["G28"])
        with pytest.raises(NotNow):
            await rig.driver.emergency_stop()
        await rig.driver.connect()
        await ready(rig.driver, rig.ear)

    async def test_a_link_is_closed_cold(self, rig: Rig) -> None:
        await rig.driver.send(["M104 S50"])
        await rig.ear.until(lambda: rig.driver.snapshot.hot)
        await rig.driver.disconnect()
        await rig.ear.until(lambda: rig.driver.snapshot.state is PrinterState.OFFLINE)
        assert not rig.driver.snapshot.hot
        assert "M104 S0" in await rig.sent()

    async def test_an_emergency_stop_ends_the_run_and_wants_a_person(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, SLOW))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.lines > 10)
        await rig.driver.emergency_stop()
        await reached(rig.driver, rig.ear, RunState.FAILED)
        await rig.ear.until(lambda: rig.driver.snapshot.state is PrinterState.FAULTED)
        with pytest.raises(NotNow):
            await rig.driver.send(["G28"])
        await rig.driver.connect()
        await ready(rig.driver, rig.ear)
        await rig.ear.until(lambda: not rig.driver.snapshot.hot)

    async def test_a_thermal_fault_ends_the_run_in_the_words_of_the_firmware(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, SLOW))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.lines > 10)
        await rig.misbehave("thermal")
        await reached(rig.driver, rig.ear, RunState.FAILED)
        assert rig.driver.snapshot.run is not None
        assert "Thermal Runaway" in rig.driver.snapshot.run.reason
        assert rig.driver.snapshot.state is PrinterState.FAULTED
        assert "Thermal Runaway" in rig.driver.snapshot.fault
        await rig.ear.until(lambda: any(isinstance(n, FirmwareSpoke) and n.fault for n in rig.ear.notices))

    async def test_a_reset_of_the_firmware_ends_the_run(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, SLOW))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.lines > 10)
        await rig.misbehave("reset")
        await reached(rig.driver, rig.ear, RunState.FAILED)
        assert rig.driver.snapshot.run is not None
        assert "restarted" in rig.driver.snapshot.run.reason
        lines = len([line for line in await rig.sent() if line.startswith("G1")])
        await rig.ear.until(lambda: not rig.driver.snapshot.hot, "heaters off")
        await rig.driver.send(["M117 still here"])
        await rig.ear.until(lambda: any("still here" in line for line in rig.ear.sent()))
        assert len([line for line in await rig.sent() if line.startswith("G1")]) == lines

    async def test_an_unplugged_printer_fails_its_run_and_comes_back_cold(self, rig: Rig, tmp_path: Path) -> None:
        await rig.driver.start(order_of(tmp_path, SLOW))
        await rig.ear.until(lambda: (run := rig.driver.snapshot.run) is not None and run.lines > 10)
        await rig.misbehave("unplug")
        await reached(rig.driver, rig.ear, RunState.FAILED)
        assert rig.driver.snapshot.run is not None
        assert "link lost" in rig.driver.snapshot.run.reason
        await rig.misbehave("replug")
        await ready(rig.driver, rig.ear)
        await rig.ear.until(lambda: not rig.driver.snapshot.hot, "heaters off")
        assert rig.driver.snapshot.run.state is RunState.FAILED

    async def test_the_firmware_may_pause_and_resume(self, rig: Rig, tmp_path: Path) -> None:
        commands = ["G28", "M118 A1 action:pause", *moves(300)]
        await rig.driver.start(order_of(tmp_path, commands))
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        await rig.driver.send(["M118 A1 action:resume"])
        await reached(rig.driver, rig.ear, RunState.COMPLETED)

    async def test_objects_are_left_out_from_the_moment_on(self, rig: Rig, tmp_path: Path) -> None:
        def drawing(x: int) -> list[str]:
            return [f"G1 X{x + n % 2} Y{n / 10:g} E0.1" for n in range(400)]

        a, b, c = drawing(10), drawing(60), drawing(110)
        commands = ["G28", "M104 S200", "M109 S200", "G90", "M83", "G1 Z0.2 F6000", *a[:40], "M0", *a[40:200]]
        commands += ["M106 S77", *a[200:], "M117 second", *b[:10], "M0", *b[10:], "M117 third", *c, "M84"]
        order = order_of(tmp_path, commands)
        data = Path(order.file).read_bytes()
        second, third = data.index(b"M117 second"), data.index(b"M117 third")
        objects = [
            NamedObject("one", 0, 0, 1, 1, ((0, second),)),
            NamedObject("two", 0, 0, 1, 1, ((second, third),)),
        ]
        with pytest.raises(NotFound):
            await rig.driver.exclude("run-1", objects)
        await rig.driver.start(order)
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        await rig.driver.exclude("run-1", objects[:1])
        run = rig.driver.snapshot.run
        assert run is not None
        assert run.excluded == ("one",)
        await rig.driver.resume("run-1")
        await rig.ear.until(lambda: len(paused(rig)) == 2)
        await rig.driver.exclude("run-1", objects[1:])
        await rig.driver.resume("run-1")
        await reached(rig.driver, rig.ear, RunState.COMPLETED)
        run = rig.driver.snapshot.run
        assert run.excluded == ("one", "two")
        assert (run.file_bytes, run.fraction_done) == (order.size_bytes, 1.0)
        sent = [line for line in await rig.sent() if line != "M400"]
        begin, end = commands.index("M0"), commands.index("M84")
        assert sent == [
            *(*commands[:begin], "M106 S77", "M117 second", "G1 Y39.9 F6000", "G1 F6000", *b[:10]),
            *("M117 third", "G1 Y39.9 F6000", "G1 F6000", *commands[end - 400 :]),
        ]

    async def test_a_machine_shows_what_it_said_and_was_told(self, rig: Rig, tmp_path: Path) -> None:
        await rig.ear.until(lambda: rig.driver.snapshot.retraction is not None)
        limits = rig.driver.snapshot.limits
        assert (limits.velocity, limits.acceleration, limits.z_velocity) == (300.0, 1250.0, 12.0)
        script = ["G28", "G29", "M420 S0 V", "M290 Z0.05", "M204 P800", "M412", "G91", "G1 F1200", "M117 to you"]
        await rig.driver.send(script, until_done=True)
        now = rig.driver.snapshot
        assert now.mesh is not None
        assert ([len(row) for row in now.mesh.heights], now.mesh.used) == ([5] * 5, False)
        assert (now.z_offset, now.limits.acceleration, now.filament) == (0.05, 800.0, {"filament": True})
        assert (now.absolute, now.absolute_e, now.feedrate_mm_s, now.message) == (False, False, 20.0, "to you")
        await rig.driver.send(["M412 S0", "M412"], until_done=True)
        assert (set(rig.driver.snapshot.filament), rig.driver.snapshot.filament_watched) == ({"filament"}, False)
        endstops = endstops_in(await rig.driver.send(["M119"], until_done=True))
        assert endstops.keys() == {"x", "y", "z", "z_probe"}
        commands = ["G90", "M83", "M104 S200", "M109 S200", "G1 X1 E7", "G1 E-2", "M73 P40 R3", "M117 half", "M0"]
        await rig.driver.start(order_of(tmp_path, commands))
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        now = rig.driver.snapshot
        assert now.run is not None
        assert (now.run.filament_mm, now.told_progress, now.message) == (5.0, 0.4, "half")
        assert now.run.extruding_s is not None
        await rig.driver.resume("run-1")
        await rig.ear.until(lambda: rig.ear.ends)
        assert rig.ear.ends[0].filament_mm == 5.0
        assert rig.ear.ends[0].extruding_s is not None

    async def test_a_file_sliced_for_klipper_is_printed(self, rig: Rig, tmp_path: Path) -> None:
        commands = ["START_PRINT BED=0", f"EXCLUDE_OBJECT_DEFINE NAME=a POLYGON=[{'[1,2],' * 100}[3,4]]", "G28"]
        commands += [
            "SET_PRESSURE_ADVANCE ADVANCE=0.04",
            "_CLIENT_EXTRUDE_SOMETHING " + "X" * 100,
            "EXCLUDE_OBJECT_START NAME=a",
        ]
        await rig.driver.start(order_of(tmp_path, [*commands, *moves(50), "EXCLUDE_OBJECT_END NAME=a", "END_PRINT"]))
        await reached(rig.driver, rig.ear, RunState.COMPLETED)
        sent = [line for line in await rig.sent() if line[0] in "GM"]
        assert sent == ["G28", "M900 K0.04", *moves(50)]
        left_out = [notice.command.split()[0] for notice in rig.ear.notices if isinstance(notice, CommandSuppressed)]
        assert left_out == [
            "EXCLUDE_OBJECT_DEFINE",
            "SET_PRESSURE_ADVANCE",
            "_CLIENT_EXTRUDE_SOMETHING",
            "EXCLUDE_OBJECT_START",
            "EXCLUDE_OBJECT_END",
        ]

    async def test_layers_count_once_they_are_known(self, rig: Rig, tmp_path: Path) -> None:
        order = order_of(tmp_path, ["G28", *moves(40), "M0", *moves(40)])
        await rig.driver.start(order)
        half = order.size_bytes // 4
        index = LayerIndex((0, half, 2 * half, 3 * half), (0.2, 0.4, 0.6, 0.8), (0.0, 10.0, 20.0, 30.0), 40.0)
        await rig.driver.give_layers("run-1", index)
        await reached(rig.driver, rig.ear, RunState.PAUSED)
        run = rig.driver.snapshot.run
        assert run is not None
        assert (run.layer, run.layers) == (2 if run.file_bytes < 2 * half else 3, 4)
        assert run.file_time_s == pytest.approx(40 * run.fraction_done, abs=0.1)

    async def test_requests_at_once_are_answered_each(self, rig: Rig) -> None:
        await asyncio.gather(*(rig.driver.send([f"M117 {n}"]) for n in range(50)))
        await rig.ear.until(lambda: sum("M117" in line for line in rig.ear.sent()) >= 50)
        assert sorted(await rig.sent()) == sorted(f"M117 {n}" for n in range(50))
