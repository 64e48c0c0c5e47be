"""The owner's commands, facts and disks, logs, languages and slicers, as OctoPrint's clients ask for them."""

import logging
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyhost import __version__
from polyhost.config import Action, Config, System
from polyhost.core.user import Role
from polyhost.services.log_files import RotatingFile, host_log
from tests.web.hosting import Hosted, hosted

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOUCH = (sys.executable, "-c", "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()")


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[Hosted]:
    """A host whose owner has named some commands."""
    actions = (
        Action("mark", "Make a mark", (*TOUCH, str(tmp_path / "mark")), "Sure?"),
        Action("divider"),
        Action("bad", command=(sys.executable, "-c", "import sys; sys.exit('no paper')")),
    )
    system = System(restart=(*TOUCH, str(tmp_path / "restart")), shutdown=(*TOUCH, str(tmp_path / "off")))
    async with hosted(tmp_path, config=Config(system=system, actions=actions)) as host:
        yield host


async def test_commands_are_listed_by_who_named_them(ours: Hosted) -> None:
    async with ours.client(role=Role.ADMINISTRATOR) as client:
        listed = (await client.get("/api/system/commands")).json()
        assert {source: [spec["action"] for spec in specs] for source, specs in listed.items()} == {
            "core": ["shutdown", "restart"],
            "plugin": [],
            "custom": ["mark", "divider", "bad"],
        }
        at = "http://127.0.0.1:8080/api/system/commands/custom"
        assert listed["custom"][:2] == [
            {"action": "mark", "source": "custom", "resource": f"{at}/mark", "name": "Make a mark", "confirm": "Sure?"},
            {"action": "divider", "source": "custom", "resource": f"{at}/divider"},
        ]
        for source in ("core", "plugin", "custom"):
            assert (await client.get(f"/api/system/commands/{source}")).json() == listed[source]
        assert (await client.get("/api/system/commands/nobody")).status_code == 404


async def test_the_settings_tell_the_owners_commands_and_what_they_run_to_who_may_run_them(
    ours: Hosted, tmp_path: Path
) -> None:
    async with ours.client(role=Role.ADMINISTRATOR) as client:
        mark, divider, bad = (await client.get("/api/settings")).json()["system"]["actions"]
    words = mark.pop("command")
    assert shlex.split(words) == [*TOUCH, str(tmp_path / "mark")]
    assert "no paper" in bad.pop("command")
    async with ours.client(role=Role.VIEWER) as client:
        assert (await client.get("/api/settings")).json()["system"]["actions"] == [
            {"action": "mark", "name": "Make a mark", "confirm": "Sure?"},
            {"action": "divider"},
            {"action": "bad", "name": "bad"},
        ]
    assert divider == {"action": "divider"}
    assert (mark, bad) == (
        {"action": "mark", "name": "Make a mark", "confirm": "Sure?"},
        {"action": "bad", "name": "bad"},
    )


async def test_without_settings_there_is_no_command(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        assert (await client.get("/api/system/commands")).json() == {"core": [], "plugin": [], "custom": []}
        for action in ("shutdown", "reboot", "restart", "restart_safe"):
            assert (await client.post(f"/api/system/commands/core/{action}")).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("custom/mark", 204),
        ("custom/bad", 500),
        ("custom/divider", 400),
        ("custom/nothing", 404),
        ("plugin/mark", 404),
        ("core/restart_safe", 404),
        ("sh/ls%20-l", 404),
    ],
)
async def test_what_running_a_command_answers(ours: Hosted, tmp_path: Path, path: str, status: int) -> None:
    async with ours.client(role=Role.ADMINISTRATOR) as client:
        answer = await client.post(f"/api/system/commands/{path}")
    assert answer.status_code == status, answer.text
    assert (tmp_path / "mark").exists() == (status == 204)
    if status == 500:
        assert "return code 1: no paper" in answer.json()["error"]


async def test_only_an_administrator_runs_a_command(ours: Hosted, tmp_path: Path) -> None:
    for role in (Role.VIEWER, Role.UPLOADER, Role.OPERATOR, None):
        async with ours.client(role=role) as client:
            for path in ("/api/system/commands/custom/mark", "/api/system"):
                assert (await client.post(path, json={"action": "mark"})).status_code == 403
            assert (await client.get("/api/system/info")).status_code == 403
    assert not (tmp_path / "mark").exists()


async def test_a_key_of_one_printer_does_not_reach_the_host(ours: Hosted, tmp_path: Path) -> None:
    RotatingFile(ours.host.logs.folder / "serial-another.log").append("G28\n")
    async with ours.client(await ours.key_of(Role.ADMINISTRATOR, "one")) as client:
        for method, path in (
            *(
                ("POST", "/api/system/commands/custom/mark"),
                ("GET", "/api/system/commands"),
                ("GET", "/api/system/info"),
            ),
            *(("GET", "/plugin/logging/logs"), ("GET", "/downloads/logs/serial-another.log")),
            *(("DELETE", "/plugin/logging/logs/serial-another.log"),),
        ):
            assert (await client.request(method, path)).status_code == 403, path
        asked = await client.post("/api/util/test", json={"command": "path", "path": "/"})
        assert asked.status_code == 403
    assert not (tmp_path / "mark").exists()
    assert (ours.host.logs.folder / "serial-another.log").exists()


async def test_a_print_keeps_the_computer_on(ours: Hosted, tmp_path: Path) -> None:
    await ours.put("part.gcode")
    async with ours.client(role=Role.ADMINISTRATOR) as client:
        await client.post("/api/files/local/part.gcode", json={"command": "select", "print": True})
        refused = await client.post("/api/system/commands/core/shutdown")
        assert refused.status_code == 409
        assert "printing" in refused.json()["error"]
        assert (await client.post("/api/system/commands/core/shutdown?force=true")).status_code == 204


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ('{"action": "mark"}', JSON, 204),
        ("action=mark", FORM, 204),
        ("{}", JSON, 400),
        ('{"action": 5}', JSON, 400),
        ("[]", JSON, 400),
        ("{", JSON, 400),
        ("", FORM, 400),
        ("action=nothing", FORM, 404),
        ("action=divider", FORM, 400),
        ("<a/>", {"Content-Type": "text/xml"}, 415),
    ],
)
async def test_the_older_way_to_run_one(
    ours: Hosted, tmp_path: Path, body: str, headers: dict[str, str], status: int
) -> None:
    async with ours.client(role=Role.ADMINISTRATOR) as client:
        answer = await client.post("/api/system", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert (tmp_path / "mark").exists() == (status == 204)


async def test_facts_and_disks(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        facts = (await client.get("/api/system/info")).json()["systeminfo"]
        assert facts["env.hardware.cores"] == os.cpu_count()
        assert facts["polyhost.version"] == __version__
        assert facts["octoprint.version"] == one.host.config.octoprint.compat_version
        assert facts["browser.user_agent"].startswith("python-httpx")
        usage = (await client.get("/api/system/usage")).json()["usage"]
        assert usage.keys() == {"logs", "timelapse", "uploads"}
        assert all(0 < disk["free"] < disk["total"] for disk in usage.values())
        assert (await client.get("/api/system/startup")).json() == {"startup": {}}


# Logs


async def test_logs_are_listed_downloaded_and_removed(one: Hosted) -> None:
    RotatingFile(one.host.logs.folder / "a b.log").append("hello\n")
    async with one.client(role=Role.ADMINISTRATOR) as client:
        listed = (await client.get("/plugin/logging/logs")).json()
        assert 0 < listed["free"] < listed["total"]
        (log,) = listed["files"]
        assert (log["name"], log["size"]) == ("a b.log", 6)
        for url in log["refs"].values():
            answer = await client.get(url)
            assert (answer.text, answer.headers["content-type"]) == ("hello\n", "text/plain; charset=utf-8")
            assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.log"
        assert (await client.delete(log["refs"]["resource"])).status_code == 204
        assert (await client.delete(log["refs"]["resource"])).status_code == 404
        assert (await client.get("/plugin/logging/logs")).json()["files"] == []


@pytest.mark.parametrize("name", ["nothing.log", "..%2Fsecret.key", "%2e%2e/secret.key", "%00", "polyhost.db"])
async def test_what_is_no_log_is_not_there(one: Hosted, name: str) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        for path in (f"/downloads/logs/{name}", f"/plugin/logging/logs/{name}"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.delete(f"/plugin/logging/logs/{name}")).status_code in {404, 405}
    assert (one.host.logs.folder.parent / "secret.key").exists()


async def test_logs_are_the_administrators(one: Hosted) -> None:
    RotatingFile(one.host.logs.folder / "polyhost.log").append("hello\n")
    async with one.client(role=Role.OPERATOR) as client:
        for method, path in (
            *(("GET", "/plugin/logging/logs"), ("GET", "/downloads/logs/polyhost.log"), ("GET", "/plugin/logging")),
            *(("DELETE", "/plugin/logging/logs/polyhost.log"), ("GET", "/plugin/logging/logs/polyhost.log")),
        ):
            assert (await client.request(method, path)).status_code == 403
    assert (one.host.logs.folder / "polyhost.log").exists()


async def test_what_the_log_plugin_says_of_itself(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        first = (await client.get("/plugin/logging/")).json()
        assert first.keys() == {"logs", "setup", "serial_log", "plugintimings_log"}
        assert first["setup"] == (await client.get("/plugin/logging/setup")).json()
        assert first["setup"] == {"loggers": ["polyhost"], "levels": {}}
        at = "/native/v1/printers/one/serial-log"
        switched = await client.put(at, json={"enabled": True})
        assert switched.json() == (await client.get(at)).json() == {"enabled": True, "log": "serial-one.log"}
        assert (await client.get("/plugin/logging/")).json()["serial_log"] == {"enabled": True}
        assert (await client.get("/plugin/logging/setup/levels")).json() == {}
        put = await client.put("/plugin/logging/setup/levels", json={})
        assert (put.status_code, put.json()) == (200, {})
        assert (await client.put("/plugin/logging/setup/levels", json={"polyhost": "DEBUG"})).status_code == 415
        assert (await client.put("/plugin/logging/setup/levels", json={"polyhost": 5})).status_code == 400


async def test_no_secret_is_in_the_log(one: Hosted, caplog: pytest.LogCaptureFixture) -> None:
    key = one.keys[Role.OPERATOR]
    with host_log(one.host.logs.folder, "%(message)s"), caplog.at_level(logging.DEBUG, "polyhost"):
        async with one.client() as client:
            await client.get("/api/version", params={"apikey": key})
            await client.get("/api/version", headers={"X-Api-Key": key + "x"})
            await client.post("/api/login", json={"user": "root", "pass": "correct horse"})
            await client.post("/api/login", json={"user": "root", "pass": "wrong battery"})
        logging.getLogger("polyhost").warning("the end")
    text = (one.host.logs.folder / "polyhost.log").read_text()
    assert "the end" in text
    assert not any(secret in text for secret in (key, "correct horse", "wrong battery"))


# What is not here


async def test_there_is_no_language_pack(one: Hosted) -> None:
    packs = {"language_packs": {"_core": {"identifier": "_core", "display": "Core", "languages": []}}}
    async with one.client(role=Role.ADMINISTRATOR) as client:
        assert (await client.get("/api/languages")).json() == packs
        assert (await client.delete("/api/languages/de/_core")).json() == packs
        refused = await client.post("/api/languages", files={"file": ("de.zip", b"PK", "application/zip")})
        assert refused.status_code == 415
        assert "language pack" in refused.json()["error"]


async def test_there_is_no_slicer(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        listed = await client.get("/api/slicing")
        assert (listed.status_code, listed.json()) == (200, {})
        at = "/api/slicing/cura/profiles"
        assert (await client.get(at)).status_code == 404
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            answer = await client.request(method, f"{at}/fast", headers=JSON, content="{}")
            assert answer.status_code == 404, method
            assert "cura" in answer.json()["error"]
