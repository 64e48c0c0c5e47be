"""The owner's commands: run as they were named, bounded, and never what a client says."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from polyhost import config
from polyhost.core.errors import CommandFailed, NotAllowed, NotFound, NotNow
from polyhost.services import system
from polyhost.services.system import Source
from tests.services.world import ADMIN, OPERATOR, World, living, until


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


TOUCH = "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()"


def world_of(data: Path, *actions: config.Action, **commands: object) -> World:
    return World(data, settings=config.Config(system=config.System(**commands), actions=actions))


async def test_a_command_is_run_as_it_was_named(tmp_path: Path) -> None:
    mark = tmp_path / "a mark; $(touch nothing)"
    async with living(world_of(tmp_path, config.Action("mark", command=python(TOUCH, str(mark))))) as world:
        await world.host.system.execute(Source.CUSTOM, "mark", by=ADMIN)
    assert mark.exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (python("import sys; sys.exit('no paper')"), "return code 1: no paper"),
        (python("import os; os.kill(os.getpid(), 9)"), "return code -9: it said nothing"),
        (("/nothing/here",), "cannot be run"),
        (python("import time; print('waiting', flush=True); time.sleep(60)"), "took longer than 0.5 s"),
        (python("while True: print('x' * 65536)"), "said more than"),
    ],
    ids=["fails", "dies", "is not there", "hangs", "floods"],
)
async def test_a_command_that_does_not_end_well_says_why(tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    limit = 0.5 if "hangs" in words or "0.5" in words else 30.0
    async with living(world_of(tmp_path, config.Action("bad", command=command), time_limit_s=limit)) as world:
        with pytest.raises(CommandFailed, match=words):
            await world.host.system.execute(Source.CUSTOM, "bad", by=ADMIN)
        with pytest.raises(CommandFailed):  # and can be tried again
            await world.host.system.execute(Source.CUSTOM, "bad", by=ADMIN)


async def test_what_took_too_long_is_gone_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    nested = (
        "import os, sys, time; child = os.fork(); f = open(sys.argv[1], 'a'); f.write(f'{os.getpid()} ');"
        "f.flush(); time.sleep(60)"
    )
    action = config.Action("nest", command=python(nested, str(pids)))
    async with living(world_of(tmp_path, action, time_limit_s=1.0)) as world:
        with pytest.raises(CommandFailed, match="took longer"):
            await world.host.system.execute(Source.CUSTOM, "nest", by=ADMIN)
    numbers = [int(number) for number in pids.read_text().split()]
    assert len(numbers) == 2
    await until(lambda: not any(_runs(number) for number in numbers))


def _runs(pid: int) -> bool:
    """A process without a reaper stays as a zombie, which runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_command_runs_once_at_a_time_and_may_be_left_running(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    action = config.Action("gate", command=python("import sys; open(sys.argv[1]).read()", str(gate)), wait=False)
    async with living(world_of(tmp_path, action)) as world:
        await world.host.system.execute(Source.CUSTOM, "gate", by=ADMIN)
        with pytest.raises(NotNow, match="running already"):
            await world.host.system.execute(Source.CUSTOM, "gate", by=ADMIN)
        await asyncio.to_thread(gate.write_text, "go")
        await until(lambda: not world.host.system._running)
        await world.host.system.execute(Source.CUSTOM, "gate", by=ADMIN)
        await asyncio.to_thread(gate.write_text, "go")


async def test_what_restarts_the_host_outlives_it(tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    os.mkfifo(gate)
    code = "import sys, pathlib; open(sys.argv[1]).read(); print('on'); pathlib.Path(sys.argv[2]).touch()"
    async with living(world_of(tmp_path, restart=python(code, str(gate), str(mark)))) as world:
        await world.host.system.execute(Source.CORE, "restart", by=ADMIN)
    await asyncio.to_thread(gate.write_text, "go")  # the host is gone
    await until(mark.exists)


async def test_nothing_can_be_run_that_nobody_named(tmp_path: Path) -> None:
    async with living(world_of(tmp_path, config.Action("divider"))) as world:
        assert [command.action for command in world.host.system.commands(ADMIN)] == ["divider"]
        for source, action in ((Source.CORE, "shutdown"), (Source.CUSTOM, "divider"), ("shell", "ls")):
            with pytest.raises(NotFound):
                await world.host.system.execute(source, action, by=ADMIN)


async def test_the_computer_is_not_switched_off_under_a_print(tmp_path: Path) -> None:
    mark = tmp_path / "off"
    commands = dict.fromkeys(("shutdown", "reboot", "restart"), python(TOUCH, str(mark)))
    async with living(world_of(tmp_path, **commands)) as world:
        await world.upload("part.gcode")
        await world.runs.start(world.printers.default(), "part.gcode", by=ADMIN)
        for action in ("shutdown", "reboot"):
            with pytest.raises(NotNow, match="mk3 is printing"):
                await world.host.system.execute(Source.CORE, action, by=ADMIN)
        await world.host.system.execute(Source.CORE, "restart", by=ADMIN)  # the engine prints on
        await until(mark.exists)
        mark.unlink()
        await world.host.system.execute(Source.CORE, "shutdown", force=True, by=ADMIN)
        await until(mark.exists)


async def test_only_who_manages_the_host_runs_its_commands(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with living(world_of(tmp_path, config.Action("mark", command=python(TOUCH, str(mark))))) as world:
        for ask in (world.host.system.commands, world.host.system.facts):
            with pytest.raises(NotAllowed):
                ask(OPERATOR)
        with pytest.raises(NotAllowed):
            await world.host.system.execute(Source.CUSTOM, "mark", by=OPERATOR)
    assert not mark.exists()


def test_the_facts_are_this_computers() -> None:
    facts = system._facts()
    assert facts["env.hardware.cores"] == os.cpu_count()
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert abs(int(facts["env.hardware.ram"]) / (int(memory.split()[1]) * 1024) - 1) < 0.05
    assert facts["env.python.version"] == sys.version.split()[0]
