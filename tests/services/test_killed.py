"""`kill -9` at any moment leaves what was answered; the request under way happened or not, never half (R4, R6, R7).

`POLYHOST_SOAK=1` stops the server at every moment there is, and kills it under load as often as R7 says.
"""

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from polyhost.core.errors import NotFound
from polyhost.core.ports import Page
from tests.services import failpoints
from tests.services.world import ADMIN, World, living, until
from tests.soak import SOAK


@pytest.mark.parametrize("step", [1 if SOAK else 6])
def test_stopped_between_any_two_writes_nothing_is_half(step: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", failpoints.__name__, str(step)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if ": tried " not in line] == []
    assert len(lines) == len(failpoints.SCENARIOS)
    assert all(int(line.split()[-1]) >= 2 for line in lines)


async def mixed_load(data: Path, seed: int) -> None:
    """Ask for one thing after another, saying what before and after; for a process that is killed."""
    dice = random.Random(seed)
    async with living(World(data)) as world:
        known = {file.path for file in world.files.tree().all_files()}
        print(json.dumps(["ready"]), flush=True)
        while True:
            path, to = (f"{dice.choice('ab')}/{dice.choice('xyz')}.gcode" for _ in range(2))
            wishes = ["upload", "upload", "delete", "move", "queue", "queue", "unqueue", "note", "note"]
            wish = dice.choice([*wishes, "print", "print", "forget"])
            run = world.runs.current(world.printers.default())
            if run is not None and (run.path in {path, to} or wish in {"print", "forget"}):
                continue  # one that was going on when the server before this was killed
            content = dice.randbytes(dice.choice([10, 2_000_000])) if wish == "upload" else b""
            if wish == "queue" and len(world.queue.of(world.printers.default()).jobs) > 9:
                continue
            if wish not in {"upload", "unqueue", "note", "forget"} and (path not in known or to in known):
                continue
            wanted = [wish, path, hashlib.sha256(content).hexdigest() if wish == "upload" else to]
            print(json.dumps(["asked", *wanted]), flush=True)
            match wish:
                case "upload":
                    await world.upload(path, content)
                    known.add(path)
                case "delete":
                    await world.files.delete(path, ADMIN)
                    known.discard(path)
                case "move":
                    if not world.files.exists(os.path.dirname(to)):
                        await world.files.make_folder(os.path.dirname(to), ADMIN)
                    await world.files.move(path, to, ADMIN)
                    known = known - {path} | {to}
                case "queue":
                    await world.queue.add(world.printers.default(), [path], ADMIN)
                case "unqueue":
                    await world.queue.remove(world.printers.default(), None, ADMIN)
                case "note":
                    await world.host.namespaces.put(world.printers.default(), SPACE, path.split("/"), to, ADMIN)
                case "print":
                    await world.runs.start(world.printers.default(), path, ADMIN)
                    await failpoints.end(world)
                case "forget":
                    await world.runs.past.delete_all(world.printers.default(), ADMIN)
            print(json.dumps(["done", *wanted]), flush=True)


QUEUED = "how many are queued"
PRINTED = "how many are in the history"
SPACE = "front end"


async def notes(world: World) -> dict[str, str]:
    try:
        kept = json.loads(await world.host.namespaces.whole(world.printers.default(), SPACE, ADMIN))
    except NotFound:
        return {}
    return {f"note of {folder}/{name}": what for folder, names in kept.items() for name, what in names.items()}


def after(model: dict[str, str], wish: str, path: str, what: str) -> dict[str, str]:
    model = dict(model)
    match wish:
        case "queue":
            model[QUEUED] += "+"
        case "unqueue":
            model[QUEUED] = ""
        case "note":
            model[f"note of {path}"] = what
        case "print":
            model[PRINTED] += "+"
        case "forget":
            model[PRINTED] = ""
        case "upload":
            model[path] = what
        case "delete":
            del model[path]
        case "move":
            model[what] = model.pop(path)
    return model


@pytest.mark.parametrize("seed", range(8 if SOAK else 1))
async def test_killed_under_load_the_answers_still_hold(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    model: dict[str, str] = {QUEUED: "", PRINTED: ""}
    for life in range(4):
        server_of = [sys.executable, "-m", __name__, str(tmp_path), str(100 * seed + life)]
        with subprocess.Popen(server_of, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
            assert server.stdout is not None
            answered = dice.choice([0, 1, 20, 60])
            told = [json.loads(server.stdout.readline()) for _ in range(1 + 2 * answered)]
            await asyncio.sleep(dice.random() * 0.02)  # somewhere inside the next request
            server.send_signal(signal.SIGKILL)
            told += [json.loads(line) for line in server.stdout if line.endswith(b"\n")]
        for line in told:
            if line[0] == "done":
                model = after(model, *line[1:])
        under_way = [after(model, *told[-1][1:])] if told[-1][0] == "asked" else []
        async with living(World(tmp_path)) as world:
            await until(lambda world=world: not world.files.by_others.unhashed)
            listed = {file.path: file.sha256 for file in world.files.tree().all_files()}
            for path, sha256 in listed.items():
                assert hashlib.sha256(world.files.on_disk(path).read_bytes()).hexdigest() == sha256
            p = world.printers.default()
            listed[QUEUED] = "+" * len(world.queue.of(p).jobs)
            listed[PRINTED] = "+" * len(await world.runs.past.page(p, Page(1000, 0)))
            listed |= await notes(world)
            assert listed in [model, *under_way]
            assert list((tmp_path / "staging").iterdir()) == []
        model = listed


if __name__ == "__main__":
    asyncio.run(mixed_load(Path(sys.argv[1]), int(sys.argv[2])))
