"""``/plugin/appkeys`` and ``/api/plugin/appkeys``: from a program's first question to its key, and the page between."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from octorest import OctoRest
from pyoctoprintapi import ApiError, OctoprintClient

from polyhost.config import Printer
from polyhost.core.events import AppKeyRequested
from polyhost.core.user import Role
from polyhost.services.accounts import LOCAL
from tests.web.hosting import Hosted, hosted
from tests.web.test_server import Served, serving

REQUEST = "/plugin/appkeys/request"
SETUP = {"app_id": "setup", "user_id": "root"}  # the key that the first administrator was given


@pytest.fixture
async def served(one: Hosted) -> AsyncIterator[Served]:
    async with serving(one) as (it, _):
        yield it


async def test_from_the_question_to_the_key(one: Hosted) -> None:
    async with one.client() as app, one.client(role=Role.OPERATOR) as person:
        probed = await app.get("/plugin/appkeys/probe")
        assert (probed.status_code, probed.content) == (204, b"")
        answer = await app.post(REQUEST, json={"app": "My App", "user": "root"})
        token = answer.json()["app_token"]
        assert answer.json() == {
            "app_token": token,
            "auth_dialog": f"http://127.0.0.1:8080/plugin/appkeys/auth/{token}?user=root",
        }
        waiting = await app.get(f"{REQUEST}/{token}")
        assert (waiting.status_code, waiting.json()) == (202, {"message": "Awaiting decision"})
        [(id_, pending)] = (await person.get("/api/plugin/appkeys")).json()["pending"].items()
        assert pending == {
            "app_id": "My App",
            "user_id": "root",
            "user_token": id_,
            "remote_address": "127.0.0.1",
        }
        assert token not in (await person.get("/api/plugin/appkeys")).text
        assert (await person.post(f"/plugin/appkeys/decision/{id_}", json={"decision": True})).status_code == 204
        granted = await app.get(f"{REQUEST}/{token}")
        assert granted.status_code == 200
        assert "no-store" in granted.headers["Cache-Control"]
        assert (await app.get(f"{REQUEST}/{token}")).status_code == 404
        app.headers["X-Api-Key"] = granted.json()["api_key"]
        assert (await app.get("/api/currentuser")).json()["name"] == "root"
        assert (await app.get("/api/printer")).status_code == 200
        listed = (await person.get("/api/plugin/appkeys")).json()
        assert listed == {"keys": [SETUP, {"app_id": "My App", "user_id": "root"}], "pending": {}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"app": ""}, 400),
        ({"app": None}, 400),
        ({"app": 5}, 400),
        ({"app": "a\u0007"}, 400),
        ({"app": "x" * 300}, 400),
        ({"app": "x", "user": 5}, 400),
        ({"app": "x", "user": "u" * 65}, 400),
        ([], 400),
        ({"app": "x", "user": "nobody at all"}, 201),
        ({"app": "x", "user": "root"}, 201),
        ({"app": "x", "user": None}, 201),
    ],
)
async def test_what_a_program_may_ask(one: Hosted, body: Any, status: int) -> None:
    async with one.client() as app:
        answer = await app.post(REQUEST, json=body)
        assert answer.status_code == status, answer.text
        assert "error" in answer.json() or "app_token" in answer.json()


async def test_too_many_questions(one: Hosted) -> None:
    async with one.client() as app:
        statuses = [(await app.post(REQUEST, json={"app": "My App"})) for _ in range(4)]
        assert [answer.status_code for answer in statuses] == [201, 201, 201, 429]
        assert int(statuses[-1].headers["Retry-After"]) > 0
        guesses = [(await app.get(f"{REQUEST}/guess-{n}")).status_code for n in range(25)]
        assert guesses == [404] * 20 + [429] * 5


async def test_who_decides(one: Hosted) -> None:
    async with one.client() as app:
        await app.post(REQUEST, json={"app": "My App"})
        [request] = one.host.app_keys.requests(LOCAL)
        path = f"/plugin/appkeys/decision/{request.id}"
        assert (await app.post(path, json={"decision": True})).status_code == 403
        for role in (Role.VIEWER, Role.UPLOADER):
            async with one.client(role=role) as person:
                assert (await person.post(path, json={"decision": True})).status_code == 403
                assert (await person.get("/api/plugin/appkeys")).json()["pending"] == {}
        async with one.client(await one.key_of(Role.ADMINISTRATOR, "one")) as bound:
            assert (await bound.post(path, json={"decision": True})).status_code == 403
        async with one.client(role=Role.OPERATOR) as person:
            assert (await person.post(path, json={})).status_code == 400
            assert (await person.post("/plugin/appkeys/decision/none", json={"decision": 1})).status_code == 404
            assert one.host.app_keys.requests(LOCAL) == [request]
            assert (await person.post(path, json={"decision": "no"})).status_code == 204
            assert (await person.post(path, json={"decision": True})).status_code == 404


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Hosted]:
    printers = (Printer("one", "virtual"), Printer("two", "virtual", listen=5001))
    async with hosted(tmp_path, printers=printers) as host:
        yield host


@pytest.mark.parametrize(
    ("base", "prefix", "printers"),
    [
        ("http://127.0.0.1:8080", "", ()),
        ("http://127.0.0.1:8080", "/p/two", ("two",)),
        ("http://127.0.0.1:8080", "/p/one", ("one",)),
        ("http://127.0.0.1:5001", "", ("two",)),
        ("http://two.localhost:8080", "", ("two",)),
        ("http://other.localhost:8080", "", ()),
    ],
)
async def test_a_key_is_for_the_printer_that_its_program_knows(
    two: Hosted, base: str, prefix: str, printers: tuple[str, ...]
) -> None:
    async with two.client() as app:
        app.base_url = base
        answer = await app.post(f"{prefix}{REQUEST}", json={"app": "My App"})
        poll = answer.headers["Location"]
        assert poll.startswith(f"{base}{prefix}{REQUEST}/")
        [request] = two.host.app_keys.requests(LOCAL)
        two.host.app_keys.decide(request.id, True, LOCAL)
        app.headers["X-Api-Key"] = (await app.get(poll)).json()["api_key"]
        [key] = [key for key in two.host.accounts.keys(LOCAL) if key.app == "My App"]
        assert key.printers == printers
        for slug in ("one", "two"):
            status = 200 if not printers or slug in printers else 403
            app.base_url = "http://127.0.0.1:8080"
            assert (await app.get(f"/p/{slug}/api/printer")).status_code == status
        if printers:
            assert (await app.get("/api/printer")).status_code == 200  # without an address of its own: its printer


async def test_a_request_for_a_printer_that_is_not(one: Hosted) -> None:
    async with one.client() as app:
        assert (await app.post(f"/p/none{REQUEST}", json={"app": "My App"})).status_code == 404


# The page


def _form(body: str) -> set[str]:
    return set(re.findall(r'<(?:input|button)[^>]* name="(\w+)"', body))


async def _page(one: Hosted, app: httpx.AsyncClient, **wanted: str) -> tuple[str, str]:
    answer = await app.post(REQUEST, json={"app": "<b>App</b>", **wanted})
    return answer.json()["auth_dialog"], answer.headers["Location"]


async def test_the_page_takes_name_and_password(one: Hosted) -> None:
    async with one.client() as app, one.client() as browser:
        page, poll = await _page(one, app)
        shown = await browser.get(page)
        assert shown.status_code == 200
        assert _form(shown.text) == {"user", "pass", "decision"}
        assert "<b>App</b>" not in shown.text
        assert "&lt;b&gt;App" in shown.text
        assert "script" not in shown.headers["Content-Security-Policy"]
        for form, status in (
            ({"user": "root", "pass": "wrong", "decision": "allow"}, 403),
            ({"user": "nobody", "pass": "wrong", "decision": "allow"}, 403),
            ({"decision": "allow"}, 403),
            ({"user": "root", "pass": "correct horse"}, 400),
        ):
            refused = await browser.post(page, data=form)
            assert refused.status_code == status, form
            assert (await app.get(poll)).status_code == 202
        done = await browser.post(page, data={"user": "root", "pass": "correct horse", "decision": "allow"})
        assert done.status_code == 200
        assert "set-cookie" not in done.headers
        assert (await app.get(poll)).status_code == 200
        assert (await browser.get(page)).status_code == 404


async def test_the_page_knows_who_is_logged_in(one: Hosted) -> None:
    async with one.client() as app, one.client() as browser:
        await browser.post("/api/login", json={"user": "root", "pass": "correct horse"})
        for decision, status in (("allow", 200), ("deny", 404)):
            page, poll = await _page(one, app)
            shown = (await browser.get(page)).text
            assert _form(shown) == {"csrf", "decision"}
            [token] = re.findall(r'name="csrf" value="([^"]+)"', shown)
            for forged in ("", "wrong"):
                refused = await browser.post(page, data={"csrf": forged, "decision": decision})
                assert refused.status_code == 400
            assert (await app.get(poll)).status_code == 202
            assert (await browser.post(page, data={"csrf": token, "decision": decision})).status_code == 200
            assert (await app.get(poll)).status_code == status


async def test_the_page_of_somebody_elses_request(one: Hosted) -> None:
    await one.host.accounts.add_user("oz", Role.OPERATOR, "battery staple", LOCAL)
    async with one.client() as app, one.client() as browser:
        page, poll = await _page(one, app, user="root")
        form = {"user": "oz", "pass": "battery staple", "decision": "allow"}
        refused = await browser.post(page, data=form)
        assert refused.status_code == 404
        assert "somebody else" in refused.text
        assert (await app.get(poll)).status_code == 202


async def test_guessing_at_the_page_is_slow(one: Hosted) -> None:
    async with one.client() as app, one.client() as browser:
        page, _ = await _page(one, app)
        form = {"user": "root", "pass": "wrong", "decision": "allow"}
        statuses = [(await browser.post(page, data=form)).status_code for _ in range(7)]
        assert statuses == [403] * 5 + [429] * 2


# The keys that there are


async def test_keys_are_made_and_revoked(one: Hosted) -> None:
    path = "/api/plugin/appkeys"
    await one.host.accounts.add_user("oz", Role.OPERATOR, "battery staple", LOCAL)
    _, secret = await one.host.accounts.add_key("oz", None, "", (), None, LOCAL)
    async with one.client(secret) as oz, one.client(role=Role.ADMINISTRATOR) as root:
        made = await oz.post(path, json={"command": "generate", "app": "Gen"})
        assert made.status_code == 200
        key = made.json()["api_key"]
        assert made.json() == {"user_id": "oz", "app_id": "Gen", "api_key": key}
        again = await oz.post(path, json={"command": "generate", "app": "GEN"})
        async with one.client(key) as first, one.client(again.json()["api_key"]) as second:
            assert (await first.get("/api/printer")).status_code == 200
            assert (await second.get("/api/printer")).status_code == 200
        assert len((await oz.get(path)).json()["keys"]) == 1
        answer = await oz.get(f"{path}?app=gEn")
        assert answer.json()["key"]["user_id"] == "oz"
        assert key not in answer.text
        assert (await oz.get(f"{path}?app=none")).status_code == 404
        assert (await oz.get(f"{path}?app=none&user=root")).status_code == 403
        assert (await root.get(f"{path}?app=gen&user=oz")).status_code == 200
        assert (await root.get(path)).json()["keys"] == [SETUP]
        own = (await oz.get(f"{path}?all=true")).json()["keys"]
        assert (await root.get(f"{path}?all=true")).json()["keys"] == [SETUP, *own]
        for body, status in (
            ({"command": "generate"}, 400),
            ({"command": "generate", "app": " "}, 400),
            ({"command": "generate", "app": 5}, 400),
            ({"command": "generate", "app": "x", "user": "root"}, 403),
            ({"command": "revoke"}, 400),
            ({"command": "revoke", "app": "none"}, 400),
            ({"command": "revoke", "key": "none"}, 403),
            ({"command": "revoke", "app": "setup", "user": "root"}, 400),
            ({"command": "nope"}, 400),
            ({"app": "x"}, 400),
        ):
            assert (await oz.post(path, json=body)).status_code == status, body
        assert (await oz.post(path, json={"command": "revoke", "key": key})).status_code == 204
        assert (await oz.post(path, json={"command": "revoke", "app": "gen"})).status_code == 204
        assert (await oz.get(path)).json()["keys"] == []
        async with one.client(key) as first, one.client(again.json()["api_key"]) as second:
            assert (await first.get("/api/printer")).status_code == 403
            assert (await second.get("/api/printer")).status_code == 403


async def test_what_a_key_bound_to_a_printer_may_not(one: Hosted) -> None:
    async with one.client(await one.key_of(Role.ADMINISTRATOR, "one")) as bound:
        for body in (
            {"command": "generate", "app": "x"},
            {"command": "revoke", "app": "setup"},
            {"command": "revoke", "key": one.keys[Role.VIEWER]},
        ):
            assert (await bound.post("/api/plugin/appkeys", json=body)).status_code in {400, 403}
    async with one.client(role=Role.VIEWER) as viewer:
        assert (await viewer.get("/api/printer")).status_code == 200


async def test_our_own_api_lists_and_decides(one: Hosted) -> None:
    path = "/native/v1/app-key-requests"
    async with one.client() as app, one.client(role=Role.OPERATOR) as person:
        asked = await app.post(f"/p/one{REQUEST}", json={"app": "My App"})
        [shown] = (await person.get(path)).json()
        at = shown.pop("asked_at")
        assert abs(at - one.host.clock.now()) < 60
        assert shown == {**shown, "app": "My App", "user": "", "printer": "one", "address": "127.0.0.1"}
        for body, status in (
            ({}, 400),
            ({"allow": "yes"}, 400),
            ({"allow": True, "role": "emperor"}, 400),
            ({"allow": True, "role": "administrator"}, 403),
            ({"allow": True, "user": "nobody"}, 403),
            ({"allow": True, "role": "viewer"}, 204),
            ({"allow": True}, 404),
        ):
            assert (await person.post(f"{path}/{shown['id']}", json=body)).status_code == status, body
        app.headers["X-Api-Key"] = (await app.get(asked.headers["Location"])).json()["api_key"]
        assert (await app.get("/api/printer")).status_code == 200
        assert (await app.post("/api/job", json={"command": "start"})).status_code == 403


# Libraries that others wrote


async def _decide(one: Hosted, allow: bool) -> None:
    """What a person does when they hear of it."""
    with one.host.bus.listen() as listener:
        async for notice in listener:
            if isinstance(notice, AppKeyRequested):
                one.host.app_keys.decide(notice.request_id, allow, LOCAL)
                return


async def test_octorest_gets_a_key(served: Served) -> None:
    client = await asyncio.to_thread(OctoRest, url=f"http://127.0.0.1:{served.port}", apikey=served.key)
    client.session.headers.pop("X-Api-Key")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(_decide(served.one, True))
        result, key = await asyncio.to_thread(client.try_get_api_key, "My App", None)
    assert result.name == "GRANTED"
    other = await asyncio.to_thread(OctoRest, url=f"http://127.0.0.1:{served.port}", apikey=key)
    assert (await asyncio.to_thread(other.printer))["state"]["flags"]["operational"]
    for each in (client, other):
        await asyncio.to_thread(each.session.close)


@pytest.mark.parametrize("allow", [True, False])
async def test_home_assistant_gets_a_key(served: Served, allow: bool) -> None:
    async with aiohttp.ClientSession() as session:
        client = OctoprintClient(host="127.0.0.1", session=session, port=served.port, ssl=False, path="/p/one/")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(_decide(served.one, allow))
            if not allow:
                with pytest.raises(ApiError):
                    await client.request_app_key("Home Assistant", "root", 30)
                return
            key = await client.request_app_key("Home Assistant", "root", 30)
        client.set_api_key(key)
        assert (await client.get_printer_info()).state.flags.operational
    [made] = [made for made in served.one.host.accounts.keys(LOCAL) if made.app == "Home Assistant"]
    assert made.printers == ("one",)
