"""Our own API: what the command line and the dashboard rely on."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from polyhost.core import errors
from polyhost.core.job import RunSignal
from polyhost.core.printer import PrinterState
from polyhost.core.user import Role
from polyhost.dialects.native.errors import name_of
from polyhost.dialects.native.printers import slug_of
from polyhost.web.errors import Broken, Misdirected, NoRoute, TooSlow, WrongMethod
from tests.web.hosting import GCODE, Hosted, hosted

V1 = "/native/v1"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.NotFound("x"), "not_found"),
        (errors.NotAllowed("x"), "not_allowed"),
        (errors.NotNow("x"), "not_now"),
        (errors.SetupNeeded("x"), "setup_needed"),
        (errors.TooMany("x", 1.0), "too_many"),
        (errors.Malformed("x"), "malformed"),
        (errors.TooLarge("x"), "too_large"),
        (errors.Unsupported("x"), "unsupported"),
        (errors.NoSpace("x"), "no_space"),
        (errors.LinkLost("x"), "link_lost"),
        (errors.MachineFault("x"), "machine_fault"),
        (NoRoute("x"), "not_found"),
        (WrongMethod("x", ()), "malformed"),
        (Misdirected("x"), "not_allowed"),
        (TooSlow("x"), "too_slow"),
        (Broken("x"), "broken"),
    ],
)
def test_names_of_errors(error: errors.PolyhostError, name: str) -> None:
    assert name_of(error) == name


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Prusa MK3 (Küche)", "prusa-mk3-kuche"), ("  a__b  ", "a__b"), ("打印机", ""), ("X" * 99, "x" * 64), ("-", "")],
)
def test_slugs(name: str, slug: str) -> None:
    assert slug_of(name) == slug


async def test_a_stranger_hears_why(one: Hosted) -> None:
    async with one.client() as client:
        answer = await client.get(f"{V1}/printers")
    assert answer.status_code == 403
    assert answer.json()["error"] == "not_known"


async def test_the_host(one: Hosted) -> None:
    async with one.client(role=Role.VIEWER) as client:
        assert (await client.get(f"{V1}/host")).json() == {
            "name": "Polyhost",
            "version": "0.1.0",
            "needs_setup": False,
            "printers": 1,
        }


class TestPrinters:
    async def test_add_and_remove(self, one: Hosted) -> None:
        async with one.client(role=Role.ADMINISTRATOR) as client:
            for expected in ("virtual-mini", "virtual-mini-2"):
                added = await client.post(f"{V1}/printers", json={"name": "Virtual Mini", "driver": "virtual"})
                assert (added.status_code, added.json()["slug"]) == (201, expected)
                assert (await client.get(added.headers["location"])).json() == added.json()
            assert (await client.delete(f"{V1}/printers/virtual-mini")).status_code == 204
            assert (await client.get(f"{V1}/printers/virtual-mini")).status_code == 404
            locked = await client.delete(f"{V1}/printers/one")
            assert (locked.status_code, locked.json()["error"]) == (409, "not_now")

    @pytest.mark.parametrize(
        ("wish", "status"),
        [
            ({"name": "x"}, 400),
            ({"name": "x", "driver": "klipper"}, 400),
            ({"driver": "virtual"}, 400),
            ({"name": "打", "driver": "virtual"}, 400),
            ({"name": "x", "driver": "serial"}, 400),
            ({"slug": "Upper Case", "driver": "virtual"}, 400),
            ({"slug": "one", "driver": "virtual"}, 409),
            ({"name": "x", "driver": "virtual", "speed": -1}, 400),
            ({"name": "x", "driver": "virtual", "listen": 70000}, 400),
            ({"name": "x", "driver": "virtual", "profile": {"extruders": "two"}}, 400),
        ],
    )
    async def test_what_is_no_printer(self, one: Hosted, wish: dict[str, Any], status: int) -> None:
        async with one.client(role=Role.ADMINISTRATOR) as client:
            answer = await client.post(f"{V1}/printers", json=wish)
        assert answer.status_code == status, answer.text

    async def test_the_link_and_the_machine(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            at = f"{V1}/printers/one"
            assert (await client.post(f"{at}/disconnect")).status_code == 204
            assert (await client.get(at)).json()["state"] == "offline"
            offline = await client.post(f"{at}/commands", json={"commands": ["M105"]})
            assert (offline.status_code, offline.json()["error"]) == (409, "not_now")
            gone = await client.post(f"{at}/connect", json={"port": "/dev/gone"})
            assert (gone.status_code, gone.json()["message"]) == (404, "no port /dev/gone; available: none")
            assert (await client.post(f"{at}/connect", json={})).status_code == 204
            assert (await client.post(f"{at}/commands", json={"commands": ["M105"]})).status_code == 204
            assert (await client.post(f"{at}/targets", json={"tool0": 200, "bed": 60})).status_code == 204
            assert one.machine.sent == ["M105", "M104 T0 S200", "M140 S60"]
            for wrong in ({"tool9": 1}, {"tool0": 1000}, {"tool0": True}, {}):
                assert (await client.post(f"{at}/targets", json=wrong)).status_code in {400, 404}, wrong
            assert (await client.post(f"{at}/stop")).status_code == 204
            assert one.machine.snapshot.state is PrinterState.FAULTED

    async def test_every_field_of_the_view(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            view = (await client.get(f"{V1}/printers/one")).json()
        assert {"slug", "name", "driver", "state", "fault", "port", "baud", "firmware", "heaters"} <= set(view)
        assert {"position", "tool", "fan", "selected", "locked", "run"} <= set(view)
        assert view["heaters"]["tool0"] == {"actual": 21.5, "target": 0.0, "power": None}
        assert view["run"] is None
        assert view["prompt"] is None


class TestRuns:
    async def test_from_start_to_history(self, one: Hosted) -> None:
        await one.put("a.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            at = f"{V1}/printers/one"
            assert (await client.post(f"{at}/run/pause")).status_code == 409
            started = await client.post(f"{at}/runs", json={"path": "a.gcode"})
            run = started.json()
            assert (started.status_code, run["state"], run["path"]) == (201, "printing", "a.gcode")
            assert (await client.post(f"{at}/runs", json={"path": "a.gcode"})).status_code == 409
            assert (await client.post(f"{at}/run/pause")).json()["state"] == "paused"
            assert (await client.post(f"{at}/run/resume")).json()["state"] == "printing"
            one.machine.signal(RunSignal.END_OF_FILE, RunSignal.FINISH_DONE, file_bytes=len(GCODE))
            await one.ended()
            past = (await client.get(f"{V1}/runs?printer=one&limit=5")).json()
            assert [(each["id"], each["state"], each["fraction_done"]) for each in past] == [
                (run["id"], "completed", 1.0)
            ]
            assert (await client.get(started.headers["location"])).json() == past[0]
            assert (await client.get(f"{V1}/runs?printer=other")).json() == []
            for wrong in ("limit=-1", "limit=x", "since=yesterday", "offset=-1"):
                assert (await client.get(f"{V1}/runs?{wrong}")).status_code == 400, wrong
            assert (await client.get(f"{V1}/runs/none")).status_code == 404
            assert (await client.get(f"{V1}/runs/{run['id']}/resume-plan")).status_code == 409
            missing = await client.post(f"{at}/runs", json={"path": "none.gcode"})
            assert missing.status_code == 404

    async def test_cancelled(self, one: Hosted) -> None:
        await one.put("a.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            await client.post(f"{V1}/printers/one/runs", json={"path": "a.gcode"})
            assert (await client.post(f"{V1}/printers/one/run/cancel")).is_success
            await one.ended()
            assert [run["state"] for run in (await client.get(f"{V1}/runs")).json()] == ["cancelled"]

    async def test_runs_of_other_printers_are_not_there(self, tmp_path: Path) -> None:
        async with hosted(tmp_path) as host:
            await host.put("a.gcode")
            async with host.client(role=Role.OPERATOR) as client:
                run = (await client.post(f"{V1}/printers/one/runs", json={"path": "a.gcode"})).json()
            async with host.client(await host.key_of(Role.OPERATOR, "elsewhere")) as client:
                assert (await client.get(f"{V1}/runs")).json() == []
                assert (await client.get(f"{V1}/runs/{run['id']}")).status_code == 404
            await host.machine.cancel("")
            await host.ended()


class TestFollow:
    async def read(self, one: Hosted, count: int) -> list[dict[str, Any]]:
        """The first lines of a stream, then the client goes."""
        lines: list[dict[str, Any]] = []
        enough, asked = asyncio.Event(), False

        async def send(message: dict[str, Any]) -> None:
            if body := message.get("body"):
                lines.append(msgspec.json.decode(body))
                if len(lines) == 1:
                    one.machine.say(fan=0.5)
                if len(lines) >= count:
                    enough.set()

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await enough.wait()
            return {"type": "http.disconnect"}

        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "raw_path": b"/native/v1/printers/one/follow",
            "query_string": b"",
            "headers": [(b"x-api-key", one.keys[Role.VIEWER].encode())],
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 9),
        }
        await asyncio.wait_for(one.application(scope, receive, send), 10)  # type: ignore[arg-type]
        return lines

    async def test_a_line_now_and_one_for_each_change(self, one: Hosted) -> None:
        first, second = await self.read(one, 2)
        assert (first["fan"], second["fan"]) == (0.0, 0.5)
        assert first["slug"] == "one"

    async def test_silence_is_broken(self, one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polyhost.dialects.native.printers.HEARTBEAT_S", 0.25)
        _, second, third = await self.read(one, 3)
        assert second == third


class TestFiles:
    async def test_up_and_down(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            at = f"{V1}/files/sub/ä b.gcode"
            good = {"X-SHA256": hashlib.sha256(GCODE).hexdigest()}
            stored = await client.put(at, content=GCODE, headers=good)
            assert (stored.status_code, stored.json()["path"]) == (201, "sub/ä b.gcode")
            assert (await client.get(stored.headers["location"])).json()["size_bytes"] == len(GCODE)
            assert (await client.put(at, content=b"G28", headers=good)).status_code == 400
            assert (await client.put(f"{at}?overwrite=false", content=b"G28")).status_code == 409
            down = await client.get(f"{at}?download=true")
            assert (down.content, down.headers["content-disposition"][:10]) == (GCODE, "attachment")
            root = (await client.get(f"{V1}/files")).json()
            assert [(folder["path"], folder["files"]) for folder in root["folders"]] == [("sub", [])]
            deep = (await client.get(f"{V1}/files?recursive=true")).json()
            assert deep["folders"][0]["files"][0]["sha256"] == hashlib.sha256(GCODE).hexdigest()
            inner = (await client.get(f"{V1}/files?folder=sub")).json()
            assert inner["files"][0]["name"] == "ä b.gcode"
            assert (await client.get(f"{V1}/files?folder=none")).status_code == 404
            moved = await client.post(at, json={"move_to": "c.gcode"})
            assert moved.json()["path"] == "c.gcode"
            copied = await client.post(f"{V1}/files/c.gcode", json={"copy_to": "sub"})
            assert copied.json()["path"] == "sub/c.gcode"
            for wrong in ({}, {"move_to": "x", "copy_to": "y"}):
                assert (await client.post(f"{V1}/files/c.gcode", json=wrong)).status_code == 400
            assert (await client.delete(f"{V1}/files/c.gcode")).status_code == 204
            assert (await client.get(f"{V1}/files/c.gcode")).status_code == 404
            assert (await client.delete(f"{V1}/files/c.gcode")).status_code == 404

    async def test_a_sender_that_dies_leaves_nothing(self, one: Hosted, tmp_path: Path) -> None:
        messages = [
            {"type": "http.request", "body": b"G28\n" * 1000, "more_body": True},
            {"type": "http.disconnect"},
        ]
        left = iter(messages)
        answered = []

        async def receive() -> dict[str, Any]:
            return next(left)

        async def send(message: dict[str, Any]) -> None:
            answered.append(message)

        scope = {
            "type": "http",
            "method": "PUT",
            "scheme": "http",
            "raw_path": b"/native/v1/files/a.gcode",
            "query_string": b"",
            "headers": [(b"x-api-key", one.keys[Role.OPERATOR].encode())],
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 9),
        }
        await one.application(scope, receive, send)  # type: ignore[arg-type]
        assert not answered
        assert not one.host.files.tree().files
        assert not list((tmp_path / "staging").iterdir())


class TestAccounts:
    async def test_users(self, one: Hosted) -> None:
        async with one.client(role=Role.ADMINISTRATOR) as client:
            wish = {"name": "ann", "role": "viewer", "password": "a long password"}
            assert (await client.post(f"{V1}/users", json=wish)).status_code == 201
            assert (await client.post(f"{V1}/users", json=wish)).status_code == 409
            assert (await client.put(f"{V1}/users/ann", json={"role": "operator"})).json()["role"] == "operator"
            assert (await client.put(f"{V1}/users/ann", json={})).status_code == 400
            assert (await client.put(f"{V1}/users/bob", json={"role": "operator"})).status_code == 404
            assert (await client.put(f"{V1}/users/root", json={"role": "viewer"})).status_code == 409
            answer = await client.get(f"{V1}/users")
            assert [user["name"] for user in answer.json()] == ["root", "ann"]
            assert "argon2" not in answer.text
            assert (await client.delete(f"{V1}/users/ann")).status_code == 204
            for wrong in ({**wish, "role": "king"}, {**wish, "password": "short"}, {**wish, "name": "a/b"}, {}):
                assert (await client.post(f"{V1}/users", json=wrong)).status_code == 400, wrong

    async def test_a_viewers_key_makes_no_more_than_a_viewer(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            assert (await client.post(f"{V1}/keys", json={"role": "operator"})).status_code == 403
            assert (await client.post(f"{V1}/keys", json={"role": "viewer"})).status_code == 201
            assert (await client.put(f"{V1}/users/root", json={"role": "viewer"})).status_code == 403
            assert (await client.put(f"{V1}/users/root", json={"password": "another one"})).status_code == 403

    async def test_keys(self, one: Hosted) -> None:
        async with one.client(role=Role.ADMINISTRATOR) as client:
            wish = {"user": "root", "role": "operator", "app": "cura", "printers": ["one"]}
            nobody = await client.post(f"{V1}/keys", json={**wish, "printers": ["one", "oen"]})
            assert (nobody.status_code, "there are: one" in nobody.text) == (404, True)
            made = (await client.post(f"{V1}/keys", json=wish)).json()
            listed = await client.get(f"{V1}/keys")
            assert made["secret"] not in listed.text
            assert made["id"] in {key["id"] for key in listed.json()}
            used: httpx.Response
            async with one.client(made["secret"]) as other:
                used = await other.get("/api/version")
                assert used.status_code == 200
                assert (await client.delete(f"{V1}/keys/{made['id']}")).status_code == 204
                assert (await other.get("/api/version")).status_code == 403
            assert (await client.delete(f"{V1}/keys/{made['id']}")).status_code == 404


async def test_the_page_needs_nobody_else(one: Hosted) -> None:
    async with one.client() as client:
        page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
