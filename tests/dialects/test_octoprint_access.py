"""``/api/access``: who is told what about users, groups and permissions, and who may change it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from octorest import OctoRest

from polyhost.core.errors import Malformed
from polyhost.core.events import RightsChanged
from polyhost.core.user import GUEST, MAY, Caller, Permission, Role
from polyhost.dialects.octoprint.access import Rights, role_of_rights
from polyhost.dialects.octoprint.permission_records import GROUP_RECORDS, RECORDS
from polyhost.dialects.octoprint.permissions import GROUP, GROUPS, PERMISSIONS, keys_of, needs_of, role_with
from polyhost.services.accounts import LOCAL
from tests.web.hosting import Hosted
from tests.web.test_server import Served, serving

USERS = "/api/access/users"
PASSWORD = "battery staple"


@pytest.fixture
async def root(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator's client; there is an operator "oz", too."""
    await one.host.accounts.add_user("oz", Role.OPERATOR, PASSWORD, LOCAL)
    async with one.client(role=Role.ADMINISTRATOR) as client:
        yield client


@pytest.fixture
async def oz(one: Hosted, root: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    _, secret = await one.host.accounts.add_key("oz", None, "", (), None, LOCAL)
    async with one.client(secret) as client:
        yield client


def _named(answer: httpx.Response) -> dict[str, Any]:
    return {user["name"]: user for user in answer.json()["users"]}


# Words


def test_every_permission_has_a_record() -> None:
    assert [record.key for record in RECORDS] == list(PERMISSIONS)
    by_key = {record.key: record for record in RECORDS}
    assert by_key["STATUS"].default_groups == ("users", "readonly")
    assert by_key["FILES_UPLOAD"].default_groups == ("users", "uploaders")
    assert by_key["PRINT"].default_groups == ("users",)
    assert by_key["SYSTEM"].default_groups == ()
    assert by_key["ADMIN"].default_groups == ("admins",)
    assert by_key["GCODE_VIEWER"].needs == {"role": ("gcodeviewer",)}
    assert by_key["PLUGIN_APPKEYS_GRANT"].plugin == "appkeys"


def test_groups_say_what_their_role_may() -> None:
    by_key = {record.key: record for record in GROUP_RECORDS}
    assert list(by_key) == ["admins", "users", "uploaders", "readonly", "guests"]
    for role, key in GROUP.items():
        assert set(by_key[key].needs["role"]) == set(needs_of(Caller(role=role))["role"])
        named = {*by_key[key].permissions}
        for below in by_key[key].subgroups:
            named |= {*by_key[below].permissions}
        if role is not Role.ADMINISTRATOR:
            assert named == set(keys_of(Caller(role=role)))
    assert by_key["guests"].permissions == ()
    assert "role" not in by_key["guests"].needs
    assert keys_of(GUEST) == []


@pytest.mark.parametrize("role", list(Role))
def test_the_groups_of_a_role_make_that_role(role: Role) -> None:
    assert role_with(GROUPS[role], ()) is role
    assert role_with((), keys_of(Caller(role=role))) is role


@pytest.mark.parametrize(
    ("groups", "permissions", "role"),
    [
        (["readonly"], ["FILES_UPLOAD"], Role.UPLOADER),
        (["readonly", "guests"], [], Role.VIEWER),
        ([], ["STATUS"], Role.VIEWER),
        (["readonly"], ["STATUS", "WEBCAM"], Role.VIEWER),
        (["readonly", "users"], [], Role.OPERATOR),
        (["users"], ["ADMIN"], Role.ADMINISTRATOR),
        (["users", "admins"], [], Role.ADMINISTRATOR),
        ([], ["PRINT"], None),
        (["readonly"], ["CONTROL"], None),
        (["users"], ["SETTINGS"], None),
        (["guests"], [], None),
        ([], [], None),
        (["nope"], [], None),
        (["users"], ["NOPE"], None),
    ],
)
def test_what_groups_and_permissions_make(groups: list[str], permissions: list[str], role: Role | None) -> None:
    if role is None:
        with pytest.raises(Malformed):
            role_with(groups, permissions)
    else:
        assert role_with(groups, permissions) is role
        said = {PERMISSIONS[key] for key in permissions} | {
            held for each, group in GROUP.items() if group in groups for held in MAY[each]
        }
        assert MAY[role] == said or role is Role.ADMINISTRATOR  # never more than was said


@pytest.mark.parametrize(
    ("wanted", "now", "role"),
    [
        (Rights(), Role.VIEWER, None),
        (Rights(admin="true"), Role.VIEWER, Role.ADMINISTRATOR),
        (Rights(admin=False), Role.VIEWER, Role.VIEWER),
        (Rights(admin="false"), Role.ADMINISTRATOR, Role.OPERATOR),
        (Rights(admin=True, groups=["readonly"]), None, Role.VIEWER),
        (Rights(permissions=["FILES_UPLOAD"]), Role.VIEWER, Role.UPLOADER),
        (Rights(permissions=[]), Role.OPERATOR, Role.OPERATOR),
    ],
)
def test_what_a_change_makes_of_a_user(wanted: Rights, now: Role | None, role: Role | None) -> None:
    assert role_of_rights(wanted, now) is role


# Who is told


async def test_anybody_may_know_which_permissions_there_are(one: Hosted) -> None:
    async with one.client() as stranger:
        [first, *_] = (await stranger.get("/api/access/permissions")).json()["permissions"]
    assert first == {
        "key": "ADMIN",
        "name": "Admin",
        "description": "May do everything",
        "dangerous": True,
        "default_groups": ["admins"],
        "needs": {"role": ["admin"]},
    }


async def test_the_records_of_users(one: Hosted, root: httpx.AsyncClient, oz: httpx.AsyncClient) -> None:
    found = _named(await root.get(USERS))
    assert found.keys() == {"root", "oz"}
    assert found["oz"] == {
        "name": "oz",
        "active": True,
        "admin": False,
        "user": True,
        "apikey": None,
        "permissions": [],
        "groups": ["users"],
        "roles": ["user"],
        "needs": needs_of(Caller("oz", Role.OPERATOR)),
        "settings": {},
    }
    assert found["root"]["admin"] is True
    assert found["root"]["roles"] == ["user", "admin"]
    assert (await root.get(f"{USERS}/oz")).json() == (await oz.get(f"{USERS}/oz")).json() == found["oz"]
    assert (await root.get(f"{USERS}/nobody")).status_code == 404
    for path in (USERS, f"{USERS}/root", f"{USERS}/nobody", "/api/access/groups", "/api/access/groups/users"):
        assert (await oz.get(path)).status_code == 403


async def test_a_key_bound_to_a_printer_sees_and_changes_nobody(one: Hosted, root: httpx.AsyncClient) -> None:
    async with one.client(await one.key_of(Role.ADMINISTRATOR, "one")) as bound:
        assert _named(await bound.get(USERS)).keys() == {"root"}
        assert (await bound.get(f"{USERS}/oz")).status_code == 403
        for method, path, body in (
            ("POST", USERS, {"name": "eve", "password": PASSWORD, "active": True}),
            ("PUT", f"{USERS}/oz", {"active": False}),
            ("DELETE", f"{USERS}/oz", None),
            ("PUT", f"{USERS}/oz/password", {"password": PASSWORD}),
            ("PUT", f"{USERS}/root/password", {"password": PASSWORD, "current": "correct horse"}),
            ("PATCH", f"{USERS}/oz/settings", {}),
            ("POST", f"{USERS}/root/apikey", {}),
        ):
            assert (await bound.request(method, path, json=body)).status_code == 403, path


# Changes


async def test_a_user_comes_changes_and_goes(one: Hosted, root: httpx.AsyncClient) -> None:
    made = await root.post(USERS, json={"name": "una", "password": PASSWORD, "active": True})
    assert made.status_code == 200
    assert _named(made)["una"]["groups"] == ["users"]
    changed = await root.put(f"{USERS}/una", json={"groups": ["readonly"], "permissions": ["FILES_UPLOAD"]})
    assert _named(changed)["una"]["groups"] == ["uploaders"]
    assert one.host.accounts.user("una").role is Role.UPLOADER
    idle = await root.put(f"{USERS}/una", json={"active": False})
    assert (_named(idle)["una"]["active"], _named(idle)["una"]["groups"]) == (False, ["uploaders"])
    assert _named(await root.put(f"{USERS}/una", json={"admin": True}))["una"]["admin"] is True
    assert _named(await root.put(f"{USERS}/una", json={"admin": False}))["una"]["groups"] == ["users"]
    gone = await root.delete(f"{USERS}/una")
    assert gone.status_code == 200
    assert _named(gone).keys() == {"root", "oz"}


NEW = {"name": "una", "password": PASSWORD, "active": True}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", USERS, {"password": PASSWORD, "active": True}, 400),
        ("POST", USERS, {"name": "una", "active": True}, 400),
        ("POST", USERS, {"name": "una", "password": PASSWORD}, 400),
        ("POST", USERS, {**NEW, "name": 5}, 400),
        ("POST", USERS, {**NEW, "name": "a/b"}, 400),
        ("POST", USERS, {**NEW, "name": ""}, 400),
        ("POST", USERS, {**NEW, "name": "x" * 65}, 400),
        ("POST", USERS, {**NEW, "name": "oz"}, 409),
        ("POST", USERS, {**NEW, "password": "short"}, 400),
        ("POST", USERS, {**NEW, "password": ["a"]}, 400),
        ("POST", USERS, {**NEW, "active": []}, 400),
        ("POST", USERS, {**NEW, "groups": "users"}, 400),
        ("POST", USERS, {**NEW, "groups": ["nope"]}, 400),
        ("POST", USERS, {**NEW, "groups": []}, 400),
        ("POST", USERS, {**NEW, "permissions": ["NOPE"]}, 400),
        ("POST", USERS, {**NEW, "permissions": ["PRINT"]}, 400),
        ("POST", USERS, {**NEW, "permissions": [5]}, 400),
        ("POST", USERS, [], 400),
        ("PUT", f"{USERS}/nobody", {}, 404),
        ("PUT", f"{USERS}/oz", {}, 200),
        ("PUT", f"{USERS}/oz", {"groups": ["nope"]}, 400),
        ("PUT", f"{USERS}/oz", {"permissions": ["SETTINGS"]}, 400),
        ("PUT", f"{USERS}/oz", {"active": {}}, 400),
        ("PUT", f"{USERS}/root", {"active": False}, 409),
        ("PUT", f"{USERS}/root", {"admin": False}, 409),
        ("PUT", f"{USERS}/root", {"groups": ["users"]}, 409),
        ("DELETE", f"{USERS}/nobody", None, 404),
        ("DELETE", f"{USERS}/root", None, 400),
        ("PUT", f"{USERS}/oz/password", {}, 400),
        ("PUT", f"{USERS}/oz/password", {"password": ""}, 400),
        ("PUT", f"{USERS}/oz/password", {"password": "short"}, 400),
        ("PUT", f"{USERS}/oz/password", {"password": 5}, 400),
        ("PUT", f"{USERS}/nobody/password", {"password": PASSWORD}, 404),
        ("PUT", f"{USERS}/root/password", {"password": PASSWORD}, 400),
        ("PUT", f"{USERS}/root/password", {"password": PASSWORD, "current": "wrong"}, 403),
        ("GET", f"{USERS}/nobody/settings", None, 404),
        ("PATCH", f"{USERS}/nobody/settings", {}, 404),
        ("PATCH", f"{USERS}/oz/settings", [], 400),
        ("PATCH", f"{USERS}/oz/settings", {"a": "x" * 17_000}, 413),
        ("POST", f"{USERS}/nobody/apikey", None, 404),
        ("DELETE", f"{USERS}/nobody/apikey", None, 404),
        ("DELETE", f"{USERS}/oz/apikey", None, 200),
        ("POST", "/api/access/groups", {"name": "x", "permissions": [], "subgroups": []}, 400),
        ("POST", "/api/access/groups", {"key": "x", "permissions": [], "subgroups": []}, 400),
        ("POST", "/api/access/groups", {"key": "x", "name": "x", "subgroups": []}, 400),
        ("POST", "/api/access/groups", {"key": "x", "name": "x", "permissions": []}, 400),
        ("POST", "/api/access/groups", {"key": "users", "name": "x", "permissions": [], "subgroups": []}, 409),
        ("POST", "/api/access/groups", {"key": "x", "name": "x", "permissions": [], "subgroups": []}, 403),
        ("GET", "/api/access/groups/none", None, 404),
        ("GET", "/api/access/groups/users", None, 200),
        ("PUT", "/api/access/groups/none", {}, 404),
        ("PUT", "/api/access/groups/users", {"permissions": ["ADMIN"]}, 403),
        ("DELETE", "/api/access/groups/none", None, 404),
        ("DELETE", "/api/access/groups/readonly", None, 403),
    ],
)
async def test_what_an_administrator_may_ask(
    one: Hosted, root: httpx.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    before = one.host.accounts.users(LOCAL)
    answer = await root.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.json()["error"]
    assert one.host.accounts.users(LOCAL) == before


async def test_one_changes_ones_own_password(one: Hosted, oz: httpx.AsyncClient) -> None:
    path = f"{USERS}/oz/password"
    for body, status in (
        ({"password": "another one"}, 400),
        ({"password": "another one", "current": "wrong"}, 403),
        ({"password": "short", "current": PASSWORD}, 400),
        ({"password": "another one", "current": PASSWORD}, 200),
    ):
        assert (await oz.put(path, json=body)).status_code == status, body
    assert (await oz.put(f"{USERS}/root/password", json={"password": PASSWORD})).status_code == 403
    async with one.client() as client:
        assert (await client.post("/api/login", json={"user": "oz", "pass": PASSWORD})).status_code == 403
        assert (await client.post("/api/login", json={"user": "oz", "pass": "another one"})).status_code == 200


async def test_a_personal_key_is_told_once_and_replaces_the_one_before(one: Hosted, oz: httpx.AsyncClient) -> None:
    path = f"{USERS}/oz/apikey"
    first = (await oz.post(path)).json()["apikey"]
    second = (await oz.post(path, json={})).json()["apikey"]
    async with one.client(first) as old, one.client(second) as new:
        assert (await old.get("/api/printer")).status_code == 403
        assert (await new.get("/api/printer")).status_code == 200
        shown = [(await new.get(f"{USERS}/oz")).text, (await new.get("/api/plugin/appkeys")).text]
        shown.append((await new.post("/api/login", json={"passive": True})).text)
        assert not any(second in text for text in shown)
        assert (await oz.post(f"{USERS}/root/apikey")).status_code == 403
        assert (await new.delete(path)).json() == {}
        assert (await new.get("/api/printer")).status_code == 403
    assert (await oz.get("/api/printer")).status_code == 200  # another key of the same user


async def test_what_clients_keep_for_a_user(one: Hosted, root: httpx.AsyncClient, oz: httpx.AsyncClient) -> None:
    path = f"{USERS}/oz/settings"
    assert (await oz.patch(path, json={"interface": {"language": "de"}, "b": [1, None]})).json() == {}
    assert (await root.patch(path, json={"interface": {"theme": 2.5}})).status_code == 200
    kept = {"interface": {"theme": 2.5}, "b": [1, None]}
    assert (await oz.get(path)).json() == kept
    assert (await oz.post("/api/login", json={"passive": True})).json()["settings"] == kept
    assert _named(await root.get(USERS))["oz"]["settings"] == kept
    assert (await oz.get(f"{USERS}/root/settings")).status_code == 403
    assert (await oz.patch(f"{USERS}/root/settings", json={})).status_code == 403
    for n in range(40):  # however many small ones: there is an end
        answer = await oz.patch(path, json={f"n{n}": "x" * 1000})
    assert answer.status_code == 413
    assert len((await oz.get(path)).content) <= 16 * 1024


@pytest.mark.parametrize("body", [{"groups": ["readonly"]}, {"active": False}, None], ids=["less", "inactive", "gone"])
async def test_who_loses_rights_loses_the_session(one: Hosted, root: httpx.AsyncClient, body: Any) -> None:
    async with one.client() as browser:
        await browser.post("/api/login", json={"user": "oz", "pass": PASSWORD, "remember": True})
        assert (await browser.get("/api/printer")).status_code == 200
        with one.host.bus.listen() as listener:
            await (root.put(f"{USERS}/oz", json=body) if body is not None else root.delete(f"{USERS}/oz"))
            assert await anext(listener) == RightsChanged("oz", "removed" if body is None else "modified")
        assert (await browser.get("/api/printer")).status_code == 403


@pytest.mark.parametrize("value", [b'"\xff"', b"1e999", b"1" * 70, b'"\\ud800"', b"[" * 70 + b"]" * 70, b"9" * 60])
async def test_what_clients_keep_is_json(one: Hosted, oz: httpx.AsyncClient, value: bytes) -> None:
    answer = await oz.patch(
        f"{USERS}/oz/settings", content=b'{"a":' + value + b"}", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {200, 400}
    assert (await oz.get(f"{USERS}/oz/settings")).json() in ({}, {"a": int("9" * 60)})


# Where users were once


@pytest.mark.parametrize("prefix", ["", "/p/one"])
async def test_the_old_paths_lead_to_the_new_ones(one: Hosted, root: httpx.AsyncClient, prefix: str) -> None:
    for method, below in (
        *(("GET", ""), ("POST", ""), ("GET", "/a b"), ("PUT", "/oz"), ("DELETE", "/oz"), ("PUT", "/oz/password")),
        *(("GET", "/oz/settings"), ("PATCH", "/oz/settings"), ("POST", "/oz/apikey"), ("DELETE", "/oz/apikey")),
    ):
        answer = await root.request(method, f"{prefix}/api/users{below}")
        assert answer.status_code == 307, (method, below)
        assert answer.headers["Location"] == f"{prefix}{USERS}{below.replace(' ', '%20')}"


async def test_octorest_manages_users(one: Hosted) -> None:
    async with serving(one) as (served, _):
        await asyncio.to_thread(_manage, served)
    assert [user.name for user in one.host.accounts.users(LOCAL)] == ["root"]


def _manage(served: Served) -> None:
    client = OctoRest(url=f"http://127.0.0.1:{served.port}", apikey=served.one.keys[Role.ADMINISTRATOR])
    assert [user["name"] for user in client.users()["users"]] == ["root"]
    client.add_user("una", PASSWORD, active=True, admin=True)
    assert client.user("una")["admin"] is True
    client.update_user("una", active=True)
    client.reset_user_password("una", "another one")
    client.update_user_settings("una", {"a": 1})
    assert client.user_settings("una") == {"a": 1}
    key = client.regenerate_user_apikey("una")["apikey"]
    other = OctoRest(url=f"http://127.0.0.1:{served.port}", apikey=key)
    assert other.user("una")["name"] == "una"
    client.delete_user_apikey("una")
    with pytest.raises(RuntimeError):
        other.user("una")
    client.delete_user("una")
    assert [user["name"] for user in client.users()["users"]] == ["root"]
    client.session.close()
    other.session.close()


def test_every_permission_of_ours_has_a_name_there() -> None:
    assert set(PERMISSIONS.values()) == set(Permission)
