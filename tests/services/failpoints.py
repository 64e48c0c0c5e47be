"""Stops a server at every moment between two writes, and looks at what the next one finds.

Run as a program, so that it may fork (it has no threads): for each scenario and each moment a child is killed there,
and another opens what it left.  Prints a line for each finding that should not be, and how many moments it tried.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import argon2

from polyhost.core.job import RunProgress, RunState
from polyhost.core.user import Role
from polyhost.storage.library import Library, StagedFile
from polyhost.storage.records import Records
from tests.services.world import ADMIN, OPERATOR, World, living, until

Scenario = Callable[[World], Awaitable[Any]]

SCENARIOS: Final[dict[str, Scenario]] = {
    "upload": lambda w: w.upload("new/deep/n.gcode", b"new"),
    "replace": lambda w: w.upload("a.gcode", b"another"),
    "move a file": lambda w: w.files.move("a.gcode", "f/b.gcode", ADMIN),
    "move a folder": lambda w: w.files.move("f", "g", ADMIN),
    "move over a file": lambda w: w.files.move("a.gcode", "f/x.gcode", ADMIN, overwrite=True),
    "delete": lambda w: w.files.delete("f", ADMIN),
    "select": lambda w: w.runs.select(w.printers.default(), "f/x.gcode", OPERATOR),
    "start": lambda w: w.runs.start(w.printers.default(), "a.gcode", OPERATOR),
    "end": lambda w: end(w),  # of the run that its preparation began
    "queue": lambda w: w.queue.add(w.printers.default(), ["a.gcode", "f/x.gcode"], OPERATOR, replace=True),
    "start a queue": lambda w: start_queue(w),
    "delete from the history": lambda w: w.runs.past.delete_all(w.printers.default(), OPERATOR),
    "post to the database": lambda w: w.host.namespaces.put(w.printers.default(), "s", "k.l", [1], OPERATOR),
    "restore the database": lambda w: w.host.namespaces.restore(w.printers.default(), "kept.db", ADMIN),
    "add a user": lambda w: w.accounts.add_user("oz", Role.OPERATOR, "battery staple", ADMIN),
    "remove a user": lambda w: w.accounts.remove_user("eve", ADMIN),
}


async def prepare(world: World) -> None:
    for path in ("a.gcode", "f/x.gcode", "f/y/z.gcode"):
        async with world.files.upload(*os.path.split(path), OPERATOR) as upload:
            upload.write(path.encode())
            await upload.commit(userdata=f'"of {path}"')
    await world.accounts.first_administrator("ada", "correct horse")
    await world.accounts.add_user("eve", Role.VIEWER, "battery staple", ADMIN)
    await world.accounts.add_key("eve", None, "", (), None, ADMIN)
    p, spaces = world.printers.default(), world.host.namespaces
    await spaces.put(p, "s", "k.m", "before", OPERATOR)
    await spaces.back_up(p, "kept.db", ADMIN)
    await spaces.put(p, "s", "k.m", "after", OPERATOR)
    await spaces.put(p, "t", "k", 5, OPERATOR)


async def prepare_end(world: World) -> None:
    await prepare(world)
    await world.runs.start(world.printers.default(), "a.gcode", OPERATOR)


async def prepare_queue(world: World) -> None:
    await prepare(world)
    await world.queue.add(world.printers.default(), ["a.gcode", "f/x.gcode"], OPERATOR)


async def start_queue(world: World) -> None:
    p = world.printers.default()
    await world.queue.start(p, OPERATOR)
    await until(lambda: len(world.queue.of(p).jobs) == 1)


async def prepare_past(world: World) -> None:
    await prepare_end(world)
    await end(world)


FEW: Final = frozenset({"start a queue"})
"""Each of its moments is between the start of a machine and what says that it was started."""

PREPARED: Final = {"end": prepare_end, "start a queue": prepare_queue, "delete from the history": prepare_past}


async def end(world: World) -> None:
    p = world.printers.default()
    [run] = world.records.load_last_runs()
    world.driver.say(run=RunProgress(run.id, RunState.PRINTING, 0, run.size_bytes))
    world.driver.reach(RunState.COMPLETED)
    await until(lambda: world.runs.current(p) is None)


def state_of(world: World) -> Any:
    """All that clients could have been told, without what differs from one try to the next."""
    return [
        sorted((f.path, f.sha256, f.by, f.userdata) for f in world.files.tree().all_files()),
        sorted(folder.path for folder in _folders(world.files.tree())),
        [(run.path, run.state.value, run.by) for run in world.records.load_last_runs()],
        world.records.load_selected(),
        [job.path for queue in world.records.load_queues() for job in queue.jobs],
        [user.name for user in world.accounts.users(ADMIN)],
        [key.user for key in world.accounts.keys(ADMIN)],
        _kept_for_programs(world),
    ]


def _kept_for_programs(world: World) -> Any:
    with contextlib.closing(sqlite3.connect(world.data / "polyhost.db")) as database:
        asked = "SELECT namespace, key, CAST(value AS TEXT) FROM namespaces ORDER BY 1, 2"
        return [list(row) for row in database.execute(asked)]


def _folders(folder: Any) -> Any:
    for each in folder.folders.values():
        yield each
        yield from _folders(each)


def arm(moment: int) -> None:
    """Kill this process before or after its `moment`th write."""
    passed = 0

    def point() -> None:
        nonlocal passed
        if passed == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def armed(owner: type, name: str) -> None:
        work = getattr(owner, name)

        def wrapped(*arguments: Any) -> Any:
            point()
            outcome = work(*arguments)
            point()
            return outcome

        setattr(owner, name, wrapped)

    for name in ("stage", "place", "remove", "make_folder", "move"):
        armed(Library, name)
    armed(StagedFile, "finish")
    armed(Records, "_commit")


async def play(data: Path, scenario: Scenario, moment: int = -1) -> Any:
    async with living(World(data)) as world:
        world.accounts._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        if moment >= 0:
            arm(moment)
        await scenario(world)
        await asyncio.sleep(0)
        return state_of(world)


async def look(data: Path) -> Any:
    async with living(World(data)) as world:
        await until(lambda: not world.files.by_others.unhashed)
        state = state_of(world)
        on_disk = sorted(
            path.relative_to(data / "files").as_posix() for path in (data / "files").rglob("*") if path.is_file()
        )
        staged = [path.name for path in (data / "staging").iterdir()]
        assert on_disk == [file[0] for file in state[0]], (on_disk, state[0])
        assert staged == [], staged
        [check] = await world.records.read(lambda c: c.execute("PRAGMA integrity_check").fetchone())
        assert check == "ok", check
        return state


def in_child(work: Callable[..., Awaitable[Any]], *arguments: Any) -> tuple[int, Any]:
    """The status of a child that did `work`, and what came of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, json.dumps(asyncio.run(work(*arguments))).encode())  # type: ignore[arg-type]
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        answer = told.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), json.loads(answer) if answer else None


def try_all(name: str, step: int) -> int:
    """Stop `name` at each `step`th moment; how many there were."""
    moments = 0
    after: Any = None
    for moment in [-1, *range(0, 200, step)]:  # -1: not at all, for what should come of it
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder)
            _, before = in_child(play, data, PREPARED.get(name, prepare))
            status, state = in_child(play, data, SCENARIOS[name], moment)
            if moment < 0:
                after = state
                if status or state == before:
                    print(f"{name}: does nothing")
            looked, found = in_child(look, data)
            if looked:
                print(f"{name}, stopped at {moment}: what is left cannot be opened or is torn")
            elif found not in ([after] if status == 0 else [before, after]):
                torn = [part for part in zip(before, found, after, strict=True) if part[1] not in (part[0], part[2])]
                print(f"{name}, stopped at {moment}: neither before nor after: {torn or found}")
            if moment >= 0 and status == 0:
                break
            moments += 1
    return moments


if __name__ == "__main__":
    logging.disable()
    for each in SCENARIOS:
        print(f"{each}: tried {try_all(each, 1 if each in FEW else int(sys.argv[1]))}")
