"""What libraries that others wrote ask of the host itself: commands, logs, languages, tests, slicers."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from octorest import OctoRest
from pyoctoprintapi import OctoprintClient

from polyhost.config import Action, Config, System
from polyhost.core.user import Role
from polyhost.services.log_files import RotatingFile
from tests.services.world import until
from tests.web.hosting import hosted
from tests.web.test_server import Served, serving

T = TypeVar("T")


def touch(path: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()", str(path))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A host whose owner has named the commands that clients have buttons for."""
    system = System(*(touch(tmp_path / name) for name in ("restart", "reboot", "shutdown")))
    config = Config(system=system, actions=(Action("lamp", "Lamp on", touch(tmp_path / "lamp"), "Sure?"),))
    async with hosted(tmp_path, config=config) as one, serving(one) as (it, _):
        yield it


async def test_octorest_looks_after_the_host(served: Served, tmp_path: Path) -> None:
    async def do(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return await asyncio.to_thread(call, *arguments, **named)

    client = await do(OctoRest, url=f"http://127.0.0.1:{served.port}", apikey=served.one.keys[Role.ADMINISTRATOR])
    commands = await do(client.system_commands)
    assert [command["action"] for command in commands["core"]] == ["shutdown", "reboot", "restart"]
    assert await do(client.source_system_commands, "custom") == commands["custom"]
    await do(client.execute_system_command, "custom", "lamp")
    assert (tmp_path / "lamp").exists()
    with pytest.raises(RuntimeError, match="404"):
        await do(client.execute_system_command, "custom", "nothing")

    RotatingFile(tmp_path / "log" / "polyhost.log").append("hello\n")
    assert [log["name"] for log in (await do(client.logs))["files"]] == ["polyhost.log"]
    await do(client.delete_log, "polyhost.log")
    assert (await do(client.logs))["files"] == []

    assert (await do(client.languages))["language_packs"]["_core"]["languages"] == []
    await do(client.delete_language, "de", "_core")
    pack = tmp_path / "de.zip"
    pack.write_bytes(b"PK")
    with pytest.raises(RuntimeError, match="language pack"):
        await do(client.upload_language, str(pack))

    assert await do(client.slicers) == {}
    with pytest.raises(RuntimeError, match="no slicer"):
        await do(client.slicer_profiles, "curalegacy")

    folder = await do(client.util_test_path, str(tmp_path), "dir", ["r", "w"])
    assert folder["result"]
    there = await do(client.util_test_server, "127.0.0.1", served.port, "tcp")
    assert there["result"]
    url = f"http://127.0.0.1:{served.port}/online.txt"
    assert (await do(client.util_test_url, url, 200, "GET", True, timeout=5))["result"]
    await do(client.session.close)


async def test_home_assistant_has_buttons_for_the_computer(served: Served, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        client = OctoprintClient(host="127.0.0.1", session=session, port=served.port, ssl=False, path="/")
        client.set_api_key(served.one.keys[Role.ADMINISTRATOR])
        buttons = {"shutdown": client.shutdown, "reboot": client.reboot_system, "restart": client.restart}
        for name, press in buttons.items():
            await press()
            await until((tmp_path / name).exists)
