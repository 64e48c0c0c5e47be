"""Records captures from a real OctoPrint, by hand: ``python -m tests.record_octoprint --octoprint VENV [NAME …]``.

VENV is a virtual environment with OctoPrint in it.  Each list ``tests/captures/octoprint/<name>.txt`` is played on
an OctoPrint of its own, with an empty folder and its own virtual printer, and becomes ``<name>.json`` beside it.
``push`` is what a listener hears.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from tests.captures.listening import heard
from tests.captures.machines import MACHINES, PASSWORDS, SPEED, Machine, machine_of
from tests.captures.playing import Capture, Player, steps_of
from tests.integration.processes import PtyPrinter, free_port

HERE: Final = Path(__file__).parent / "captures" / "octoprint"
GLOBAL_KEY: Final = "C0FFEEC0FFEEC0FFEEC0FFEEC0FFEE00"
GROUPS: Final = {"admin": ["admins", "users"], "operator": ["users"], "reader": ["readonly"]}


OFF: Final = ["softwareupdate", "announcements", "tracking", "errortracking", "discovery", "achievements"]
"""Its plugins that ask the internet."""


def configuration(port: int, machine: Machine, tty: Path | None) -> dict[str, Any]:
    return {
        "api": {"key": GLOBAL_KEY},
        "accessControl": {"salt": "salt"},
        "server": {
            "host": "127.0.0.1",
            "port": port,
            "firstRun": False,
            "seenWizards": {},
            "secretKey": "secret",
            "onlineCheck": {"enabled": False},
            "pluginBlacklist": {"enabled": False},
            "pythonEolCheck": {"enabled": False},
            "diskspace": {"warning": 1, "critical": 1},
        },
        "serial": {
            "port": str(tty or "VIRTUAL"),
            "baudrate": 115200,
            "autoconnect": False,
            "additionalPorts": [str(tty)] if tty else [],
            "sdLowerCase": True,
        },
        "gcodeAnalysis": {"runAt": "always"},
        "plugins": {
            "_disabled": [*OFF, "health_check"],
            "virtual_printer": {
                "_config_version": 1,
                "enabled": True,
                "sendWait": False,
                "throttle": 0.001,
                "numExtruders": machine.extruders,
                "hasChamber": machine.chamber,
            },
        },
    }


def profile(machine: Machine) -> dict[str, Any]:
    return {
        "id": "_default",
        "name": "Default",
        "heatedChamber": machine.chamber,
        "extruder": {"count": machine.extruders, "offsets": [[0.0, 0.0]] * machine.extruders},
    }


@contextlib.asynccontextmanager
async def octoprint(venv: Path, machine: Machine) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A running OctoPrint: its URL, and the key of each caller."""
    with contextlib.ExitStack() as stack:
        base, port = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="octoprint-"))), free_port()
        tty = stack.enter_context(PtyPrinter(base / "tty", ("--speed", str(SPEED)))).port if machine.simulated else None
        # JSON is YAML.
        (base / "config.yaml").write_text(json.dumps(configuration(port, machine, tty)))
        (base / "printerProfiles").mkdir()
        (base / "printerProfiles" / "_default.profile").write_text(json.dumps(profile(machine)))
        program = [venv / "bin" / "octoprint", "-b", base]
        user = [*program, "user", "add", "admin", "--password", PASSWORDS["admin"], "--admin"]
        subprocess.run(user, check=True, capture_output=True)
        serve = [*program, "serve", "--host", "127.0.0.1", "--port", str(port)]
        serve += ["--iknowwhatimdoing"] * (os.getuid() == 0)
        with (base / "out").open("wb") as out:
            process = subprocess.Popen(serve, stdout=out, stderr=out)
        try:
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, headers={"X-Api-Key": GLOBAL_KEY}) as client:
                await _up(client, process)
                shape = {"heatedChamber": machine.chamber}
                patched = await client.patch("/api/printerprofiles/_default", json={"profile": shape})
                patched.raise_for_status()
                yield url, await _keys(client)
        finally:
            process.terminate()
            process.wait(30)


async def _up(client: httpx.AsyncClient, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if (await client.get("/api/version")).status_code == 200:
                return
        await asyncio.sleep(0.2)
    raise RuntimeError("OctoPrint ended at once")


async def _keys(client: httpx.AsyncClient) -> dict[str, str]:
    keys = {"guest": "", "stranger": "0123456789ABCDEF0123456789ABCDEF"}
    for name, groups in GROUPS.items():
        user = {"name": name, "password": PASSWORDS[name], "active": True, "groups": groups}
        if name == "admin":  # who is of one group only when made by the command line
            (await client.put("/api/access/users/admin", json=user)).raise_for_status()
        else:
            (await client.post("/api/access/users", json=user)).raise_for_status()
        answer = await client.post(f"/api/access/users/{name}/apikey")
        keys[name] = answer.raise_for_status().json()["apikey"]
    return keys


async def record(venv: Path, name: str) -> int:
    steps = list(steps_of((HERE / f"{name}.txt").read_text(encoding="utf-8")))
    machine = machine_of(name)
    async with octoprint(venv, machine) as (url, keys):
        player = Player(url, keys)
        for step in steps:
            step.answer = await player.play(step)
        await player.close()
    today = datetime.now(UTC).date().isoformat()
    capture = Capture(f"OctoPrint {version(venv)}", today, next(n for n, m in MACHINES.items() if m is machine), steps)
    (HERE / f"{name}.json").write_text(laid_out(msgspec.to_builtins(capture)) + "\n", encoding="utf-8")
    return sum(step.answer is not None for step in steps)


async def record_push(venv: Path) -> int:
    """What a listener hears; the pictures as trees of names, the events of a print in order."""
    folder = HERE / "push"
    steps = steps_of((folder / "lifecycle.txt").read_text(encoding="utf-8"))
    async with octoprint(venv, MACHINES["one tool"]) as (url, keys):
        pictures, events = await heard(url, keys, steps)
    today = datetime.now(UTC).date().isoformat()
    recorded = {"server": f"OctoPrint {version(venv)}", "recorded": today, "pictures": pictures, "events": events}
    (folder / "lifecycle.json").write_text(laid_out(recorded) + "\n", encoding="utf-8")
    return len(events)


def version(venv: Path) -> str:
    said = subprocess.run([venv / "bin" / "octoprint", "--version"], check=True, capture_output=True, text=True).stdout
    return re.search(r"[\d.]+", said)[0]  # type: ignore[index]


def laid_out(tree: Any, indent: str = "", width: int = 118) -> str:
    """JSON for people: what fits on a line is on one."""
    line = json.dumps(tree, ensure_ascii=False)
    if len(indent) + len(line) <= width or not isinstance(tree, dict | list) or not tree:
        return line
    inner = indent + " "
    if isinstance(tree, dict):
        pieces = [
            f"{json.dumps(key, ensure_ascii=False)}: {laid_out(value, inner, width)}" for key, value in tree.items()
        ]
        return "{\n" + ",\n".join(inner + piece for piece in pieces) + "\n" + indent + "}"
    return "[\n" + ",\n".join(inner + laid_out(value, inner, width) for value in tree) + "\n" + indent + "]"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--octoprint", type=Path, required=True, metavar="VENV")
    arguments.add_argument("names", nargs="*", default=[*sorted(path.stem for path in HERE.glob("*.txt")), "push"])
    given = arguments.parse_args()
    for name in given.names:
        recording = record_push(given.octoprint) if name == "push" else record(given.octoprint, name)
        print(name, asyncio.run(recording), flush=True)


if __name__ == "__main__":
    main()
