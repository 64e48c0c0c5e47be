"""Records captures from a real Moonraker, by hand: ``python -m tests.record_moonraker --moonraker VENV [NAME …]``.

VENV is a virtual environment with Moonraker (``pip install moonraker==0.11.0``) in it.  Each list
``tests/captures/moonraker/<name>.txt`` is played on a Moonraker of its own, with an empty folder and the stand-in for
Klippy of `tests.captures.klippy_stand_in`, and becomes ``<name>.json`` beside it.  ``ready``, ``without`` and
``afterprint`` were recorded on a whole Klipper, and stay as they are.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from tests.captures.machines import PASSWORDS
from tests.captures.playing import Capture, steps_of
from tests.captures.recorded import MOONRAKER
from tests.integration.processes import free_port
from tests.record_octoprint import laid_out

ON_A_KLIPPER: Final = frozenset({"ready", "without", "afterprint"})
STRANGER: Final = "0123456789ABCDEF0123456789ABCDEF"
CONFIGURATION: Final = """
[server]
host: 127.0.0.1
port: {port}
klippy_uds_address: {klippy}
[machine]
provider: none
validate_service: False
validate_config: False
[authorization]
force_logins: True
[file_manager]
enable_object_processing: False
[octoprint_compat]
[history]
[announcements]
enable_moonlight: False
[job_queue]
load_on_startup: False
"""


@contextlib.asynccontextmanager
async def moonraker(venv: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A running Moonraker that trusts nobody, on a printer that is ready: its URL, and the key of each caller."""
    with tempfile.TemporaryDirectory(prefix="moonraker-") as folder, contextlib.ExitStack() as stack:
        data, port = Path(folder), free_port()
        for name in ("config", "logs", "gcodes", "database", "comms"):
            (data / name).mkdir()
        klippy = data / "comms" / "klippy.sock"
        conf = data / "config" / "moonraker.conf"
        conf.write_text(CONFIGURATION.format(port=port, klippy=klippy))
        out = stack.enter_context((data / "out").open("wb"))
        stand_in = [sys.executable, "-m", "tests.captures.klippy_stand_in", klippy, data / "gcodes"]
        serve = [venv / "bin" / "moonraker", "-d", data, "-c", conf, "-l", data / "logs" / "moonraker.log"]
        running = [
            subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": os.getcwd()})
            for command in (stand_in, serve)
        ]
        try:
            key = await _key(data / "comms" / "moonraker.sock", running[1])
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, headers={"X-Api-Key": key}) as client:
                while (await client.get("/server/info")).json()["result"]["klippy_state"] != "ready":
                    await asyncio.sleep(0.1)
                await client.post("/access/user", json={"username": "admin", "password": PASSWORDS["admin"]})
            yield url, {"admin": key, "guest": "", "stranger": STRANGER}
        finally:
            for process in running:
                process.terminate()
                process.wait(30)


async def _key(local: Path, process: "subprocess.Popen[bytes]") -> str:
    """Its key, which the local socket tells without one."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(local)
            writer.write(json.dumps({"jsonrpc": "2.0", "method": "access.get_api_key", "id": 1}).encode() + b"\x03")
            while True:
                said: dict[str, Any] = json.loads((await reader.readuntil(b"\x03"))[:-1])
                if said.get("id") == 1:
                    writer.close()
                    return str(said["result"])
        await asyncio.sleep(0.1)
    raise RuntimeError("Moonraker ended at once")


async def record(venv: Path, name: str) -> int:
    steps = list(steps_of(MOONRAKER.list_of(name)))
    async with moonraker(venv) as (url, keys):
        player = MOONRAKER.player(url, keys)
        try:
            for step in steps:
                step.answer = await player.play(step)
        finally:
            await player.close()
    today = datetime.now(UTC).date().isoformat()
    said = subprocess.run(
        [venv / "bin" / "pip", "show", "moonraker"], check=True, capture_output=True, text=True
    ).stdout
    version = next(line.split()[1] for line in said.splitlines() if line.startswith("Version:"))
    capture = Capture(f"Moonraker {version}", today, "ready", steps)
    tree = laid_out(msgspec.to_builtins(capture))
    (MOONRAKER.folder / f"{name}.json").write_text(tree + "\n", encoding="utf-8")
    return sum(step.answer is not None for step in steps)


def version(venv: Path) -> str:
    asked = [venv / "bin" / "python", "-c", "import importlib.metadata as m; print(m.version('moonraker'))"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    lists = sorted(path.stem for path in MOONRAKER.folder.glob("*.txt"))
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--moonraker", type=Path, required=True, metavar="VENV")
    arguments.add_argument("names", nargs="*", default=[name for name in lists if name not in ON_A_KLIPPER])
    given = arguments.parse_args()
    for name in given.names:
        print(name, asyncio.run(record(given.moonraker, name)), flush=True)


if __name__ == "__main__":
    main()
