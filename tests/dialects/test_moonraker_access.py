"""Who is who for clients of Moonraker: log-ins, tokens, users, keys; over HTTP and on WebSockets."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from polyhost.config import Access, Config
from polyhost.config import Printer as PrinterSettings
from polyhost.core.user import MAY, Permission, Role
from polyhost.dialects.moonraker import RPC, access
from polyhost.services.accounts import LOCAL
from tests.dialects.moonraker_sockets import UNAUTHORIZED, opened
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving

PASSWORD = "battery staple"
TWO = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))


@pytest.fixture
async def ready(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path, printers=TWO) as host:
        await host.host.accounts.add_user("oz", Role.OPERATOR, PASSWORD, LOCAL)
        yield host


def result_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def error_of(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["message"]


async def logged_in(client: httpx.AsyncClient, name: str = "oz", password: str = PASSWORD) -> dict[str, str]:
    said: dict[str, str] = result_of(await client.post("/access/login", json={"username": name, "password": password}))
    return said


# Over HTTP


async def test_a_log_in_over_http(ready: Hosted) -> None:
    async with ready.client() as client:
        said = await logged_in(client)
        assert list(said) == ["username", "token", "source", "refresh_token", "action"]
        assert (said["username"], said["source"], said["action"]) == ("oz", "moonraker", "user_logged_in")
        claims = jwt.decode(said["token"], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 3600
        client.headers["Authorization"] = f"Bearer {said['token']}"
        user = result_of(await client.get("/access/user"))
        assert (user["username"], user["source"]) == ("oz", "moonraker")
        assert user["created_on"] == ready.host.accounts.user("oz").created_at
        again = result_of(await client.post("/access/refresh_jwt", json={"refresh_token": said["refresh_token"]}))
        assert (again["username"], again["source"], again["action"]) == ("oz", "moonraker", "user_jwt_refresh")
        assert list(again) == ["username", "token", "source", "action"]
        assert result_of(await client.post("/access/logout")) == {"username": "oz", "action": "user_logged_out"}
        for token in (said["token"], again["token"]):
            client.headers["Authorization"] = f"Bearer {token}"
            assert error_of(await client.get("/access/user")) == (401, "Unauthorized")
        refused = await client.post("/access/refresh_jwt", json={"refresh_token": said["refresh_token"]})
        assert error_of(refused) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"username": "oz", "password": "wrong password"}, 400, "the name or the password is wrong"),
        ({"username": "nobody", "password": PASSWORD}, 400, "the name or the password is wrong"),
        ({"username": "oz"}, 400, "No data for argument: password"),
        ({"username": "oz", "password": PASSWORD, "source": "ldap"}, 400, "Invalid 'source': ldap"),
        ({"username": "_TRUSTED_USER_", "password": PASSWORD}, 400, "Invalid Request for user _TRUSTED_USER_"),
        ({"username": {}, "password": []}, 400, "an argument cannot be read"),
    ],
)
async def test_a_log_in_that_is_refused(ready: Hosted, said: dict[str, Any], status: int, words: str) -> None:
    async with ready.client() as client:
        answered, message = error_of(await client.post("/access/login", json=said))
        assert answered == status
        assert message.startswith(words)


async def test_guessing_is_slow_and_locks_no_key_out(ready: Hosted) -> None:
    async with ready.client() as client:
        wrong = {"username": "oz", "password": "wrong password"}
        statuses = [(await client.post("/access/login", json=wrong)).status_code for _ in range(7)]
        assert statuses == [400] * 5 + [429] * 2
        right = await client.post("/access/login", json={"username": "oz", "password": PASSWORD})
        assert right.status_code == 429
        assert int(right.headers["retry-after"]) > 0
        answer = await client.get("/server/info", headers={"X-Api-Key": ready.keys[Role.VIEWER]})
        assert answer.status_code == 200


async def test_users_are_made_listed_and_removed_by_administrators(ready: Hosted) -> None:
    async with ready.client(role=Role.ADMINISTRATOR) as client:
        made = result_of(await client.post("/access/user", json={"username": "eve", "password": PASSWORD}))
        assert (made["username"], made["action"]) == ("eve", "user_created")
        assert ready.host.accounts.user("eve").role is Role.OPERATOR
        assert ready.host.accounts.tokens.caller_of(made["token"]).name == "eve"
        again = await client.post("/access/user", json={"username": "eve", "password": PASSWORD})
        assert error_of(again)[0] == 400
        listed = result_of(await client.get("/access/users/list"))["users"]
        assert {user["username"] for user in listed} == {"eve", "oz", "root"}
        assert set(listed[0]) == {"username", "source", "created_on"}
        gone = await client.request("DELETE", "/access/user", json={"username": "eve"})
        assert result_of(gone) == {"username": "eve", "action": "user_deleted"}
        for name, words in (
            ("eve", "No registered user: eve"),
            ("root", "nobody removes themselves"),
            ("_API_KEY_USER_", "Invalid Request for reserved user"),
        ):
            status, message = error_of(await client.delete("/access/user", params={"username": name}))
            assert status == 400
            assert message.startswith(words)
    async with ready.client() as client:
        client.headers["Authorization"] = f"Bearer {(await logged_in(client))['token']}"
        assert [user["username"] for user in result_of(await client.get("/access/users/list"))["users"]] == ["oz"]


async def test_a_new_password_ends_what_the_old_one_began(ready: Hosted) -> None:
    async with ready.client() as client:
        said = await logged_in(client)
        client.headers["Authorization"] = f"Bearer {said['token']}"
        wrong = await client.post("/access/user/password", json={"password": "wrong one", "new_password": "x" * 10})
        assert error_of(wrong)[0] == 400
        short = await client.post("/access/user/password", json={"password": PASSWORD, "new_password": "x"})
        assert error_of(short)[0] == 400
        right = await client.post("/access/user/password", json={"password": PASSWORD, "new_password": "x" * 10})
        assert result_of(right) == {"username": "oz", "action": "user_password_reset"}
        assert (await client.get("/access/user")).status_code == 401
        await logged_in(client, password="x" * 10)


async def test_who_shows_a_key_is_nobody_in_particular(ready: Hosted) -> None:
    async with ready.client(role=Role.OPERATOR) as client:
        assert result_of(await client.get("/access/user"))["username"] == "_API_KEY_USER_"
        for path in ("/access/logout", "/access/user/password"):
            answer = await client.post(path, json={"password": "correct horse", "new_password": "correct horse 2"})
            status, message = error_of(answer)
            assert (status, message.split(" for user ")[1]) == (400, "_API_KEY_USER_")


async def test_access_info_is_for_everybody(ready: Hosted) -> None:
    async with ready.client() as client:
        said = result_of(await client.get("/access/info"))
    assert said == {
        "default_source": "moonraker",
        "available_sources": ["moonraker"],
        "login_required": True,
        "trusted": False,
    }


async def test_a_trusted_client_is_told_so(tmp_path: Path) -> None:
    config = Config(access=Access(trusted={"127.0.0.0/8": "operator"}))
    async with hosted(tmp_path, config=config) as host, host.client() as client:
        said = result_of(await client.get("/access/info"))
        assert (said["login_required"], said["trusted"]) == (False, True)
        user = result_of(await client.get("/access/user"))
        assert user["username"] == "_TRUSTED_USER_"
        assert isinstance(user["created_on"], float)
        assert error_of(await client.post("/access/logout"))[0] == 400
        assert (await client.get("/access/api_key")).status_code == 403
        assert len(result_of(await client.get("/access/oneshot_token"))) == 32


async def test_the_api_key_can_be_read_again_and_made_anew(ready: Hosted) -> None:
    async with ready.client(role=Role.ADMINISTRATOR) as client:
        key = result_of(await client.get("/access/api_key"))
        assert len(key) == 32
        assert result_of(await client.get("/access/api_key")) == key
        bound = result_of(await client.get("/p/two/access/api_key"))
        assert bound != key
        new = result_of(await client.post("/access/api_key"))
        assert new != key
        assert result_of(await client.get("/access/api_key")) == new
    for secret, path, status in (
        (key, "/server/info", 401),
        (new, "/p/two/server/info", 200),
        (bound, "/server/info", 200),  # means its own printer
        (bound, "/p/two/server/info", 200),
        (bound, "/p/one/server/info", 403),
        (bound, "/p/two/access/api_key", 403),
    ):
        async with ready.client(secret) as client:
            assert (await client.get(path)).status_code == status, path


async def test_a_one_shot_token_is_good_for_one_request(ready: Hosted) -> None:
    async with ready.client(role=Role.VIEWER) as client:
        token = result_of(await client.get("/access/oneshot_token"))
    async with ready.client() as client:
        assert (await client.get("/server/info", params={"token": token})).status_code == 200
        assert (await client.get("/server/info", params={"token": token})).status_code == 401


# On a WebSocket


async def test_a_stranger_s_socket_becomes_who_logs_in_on_it(ready: Hosted) -> None:
    async with serving(ready) as (served, _), opened(served) as socket:
        for method in ("server.info", "access.get_user", "access.oneshot_token", "access.get_api_key"):
            assert await socket.ask(method) == UNAUTHORIZED
        assert (await socket.ask("access.info"))["login_required"] is True
        wrong = await socket.ask("access.login", username="oz", password="wrong password")
        assert wrong == {"code": 400, "message": "the name or the password is wrong"}
        said = await socket.ask("access.login", username="oz", password=PASSWORD)
        assert said["action"] == "user_logged_in"
        assert (await socket.ask("access.get_user"))["username"] == "oz"
        assert (await socket.ask("access.refresh_jwt", refresh_token=said["refresh_token"]))["username"] == "oz"
        assert await socket.ask("access.refresh_jwt", refresh_token="wrong") == UNAUTHORIZED
        assert (await socket.ask("access.post_api_key"))["code"] == 403
        assert await socket.ask("access.logout") == {"username": "oz", "action": "user_logged_out"}
        assert await socket.ask("access.get_user") == UNAUTHORIZED


async def test_identify_shows_who_it_is(ready: Hosted) -> None:
    who = {"client_name": "x", "version": "1", "type": "web", "url": "http://x"}
    _, tokens = await ready.host.accounts.tokens.log_in("oz", PASSWORD, "127.0.0.1", "http://x")
    async with serving(ready) as (served, _):
        for wrong in ({"api_key": "wrong"}, {"access_token": "wrong"}, {"access_token": tokens.refresh}):
            async with opened(served) as socket:
                assert await socket.ask("server.connection.identify", **who, **wrong) == UNAUTHORIZED
                assert await socket.ask("server.connection.identify", **who) == UNAUTHORIZED
                assert await socket.ask("server.websocket.id") == UNAUTHORIZED
        for right, name in (
            ({"api_key": ready.keys[Role.VIEWER]}, "_API_KEY_USER_"),
            ({"access_token": tokens.access}, "oz"),
            ({"access_token": tokens.access, "api_key": ""}, "oz"),
        ):
            async with opened(served) as socket:
                assert "connection_id" in await socket.ask("server.connection.identify", **who, **right)
                assert (await socket.ask("access.get_user"))["username"] == name
        for none in ("", "False", False, None):
            async with opened(served, X_Api_Key=ready.keys[Role.VIEWER]) as socket:
                assert "connection_id" in await socket.ask("server.connection.identify", **who, api_key=none)
                assert (await socket.ask("access.get_user"))["username"] == "_API_KEY_USER_"


async def test_a_socket_opens_with_every_credential(ready: Hosted) -> None:
    accounts = ready.host.accounts
    caller, tokens = await accounts.tokens.log_in("oz", PASSWORD, "127.0.0.1", "http://x")
    key = ready.keys[Role.OPERATOR]
    async with serving(ready) as (served, _):
        for path, headers, is_known in (
            (f"/websocket?token={accounts.tokens.one_shot(caller, '127.0.0.1')}", {}, True),
            (f"/websocket?token={accounts.tokens.one_shot(caller, '127.0.0.2')}", {}, False),
            (f"/websocket?access_token={tokens.access}", {}, True),
            ("/websocket", {"Authorization": f"Bearer {tokens.access}"}, True),
            ("/websocket", {"Authorization": f"Bearer {tokens.refresh}"}, False),
            (f"/websocket?token={key}", {"X_Api_Key": key}, True),
            (f"/websocket?token={key}", {}, False),
            ("/websocket", {"X_Api_Key": "wrong"}, False),
        ):
            async with opened(served, path, **headers) as socket:
                assert (await socket.ask("server.info") != UNAUTHORIZED) is is_known, (path, headers)


@pytest.mark.parametrize("end", ["key", "logout", "role", "removed", "inactive"])
async def test_who_loses_a_right_is_told_nothing_more(ready: Hosted, end: str) -> None:
    """Not even what was under way: the socket stays, and owes who it is."""
    accounts = ready.host.accounts
    caller, tokens = await accounts.tokens.log_in("oz", PASSWORD, "127.0.0.1", "http://x")
    _, key = await accounts.add_key("oz", None, "", (), None, LOCAL)
    shown = {"X_Api_Key": key} if end == "key" else {"Authorization": f"Bearer {tokens.access}"}
    async with (
        serving(ready) as (served, _),
        opened(served, **shown) as socket,
        opened(served, X_Api_Key=ready.keys[Role.VIEWER]) as other,
    ):
        assert "klippy_state" in await socket.ask("server.info")
        assert "klippy_state" in await other.ask("server.info")
        match end:
            case "key":
                await accounts.revoke_secret(key, LOCAL)
            case "logout":
                await accounts.tokens.log_out(caller)
            case "role":
                await accounts.change_user("oz", Role.VIEWER, None, LOCAL)
            case "removed":
                await accounts.remove_user("oz", LOCAL)
            case _:
                await accounts.change_user("oz", None, False, LOCAL)
        assert await socket.until_told("notify_user_logged_out") == [{"username": "oz"}]
        socket.told.clear()
        await ready.machine.disconnect()
        await ready.machine.connect()
        await other.until_told("notify_klippy_ready")
        assert await socket.ask("server.info") == UNAUTHORIZED
        assert socket.told == []


async def test_a_key_that_ends_ends_on_open_sockets_too(ready: Hosted) -> None:
    clock = ready.host.clock
    _, key = await ready.host.accounts.add_key("oz", None, "", (), clock.now() + 0.5, LOCAL)
    async with serving(ready) as (served, _), opened(served, X_Api_Key=key) as socket:
        assert "klippy_state" in await socket.ask("server.info")
        async with asyncio.timeout(5):
            while await socket.ask("server.info") != UNAUTHORIZED:
                await asyncio.sleep(0.05)


async def test_administrators_are_told_of_users(ready: Hosted) -> None:
    async with (
        serving(ready) as (served, _),
        opened(served, X_Api_Key=ready.keys[Role.ADMINISTRATOR]) as socket,
        opened(served, X_Api_Key=ready.keys[Role.OPERATOR]) as operator,
    ):
        await socket.ask("access.post_user", username="eve", password=PASSWORD)
        assert await socket.until_told("notify_user_created") == [{"username": "eve"}]
        await socket.ask("access.delete_user", username="eve")
        assert await socket.until_told("notify_user_deleted") == [{"username": "eve"}]
        await operator.ask("server.info")
        assert not [one for one in operator.told if one["method"].startswith("notify_user")]


async def test_a_log_in_on_a_trusted_socket_ends_in_trust(tmp_path: Path) -> None:
    config = Config(access=Access(trusted={"127.0.0.0/8": "viewer"}))
    async with hosted(tmp_path, config=config) as host, serving(host) as (served, _), opened(served) as socket:
        await host.host.accounts.add_user("oz", Role.OPERATOR, PASSWORD, LOCAL)
        assert (await socket.ask("access.get_user"))["username"] == "_TRUSTED_USER_"
        await socket.ask("access.login", username="oz", password=PASSWORD)
        assert (await socket.ask("access.get_user"))["username"] == "oz"
        await socket.ask("access.logout")
        assert (await socket.ask("access.get_user"))["username"] == "_TRUSTED_USER_"


async def test_fluidd_begins_for_an_operator_without_a_complaint(ready: Hosted) -> None:
    """It asks for the key, whoever uses it, and shows people what is refused with a code of HTTP's."""
    async with serving(ready) as (served, _), opened(served) as socket:
        await socket.ask("access.login", username="oz", password=PASSWORD)
        assert (await socket.ask("access.get_user"))["username"] == "oz"
        assert [user["username"] for user in (await socket.ask("access.users.list"))["users"]] == ["oz"]
        refused = await socket.ask("access.get_api_key")
        assert refused["code"] == -32602
        assert "manage accounts" in refused["message"]


@pytest.mark.parametrize("role", [None, *Role])
async def test_a_role_may_of_each_method_what_its_row_says(ready: Hosted, role: Role | None) -> None:
    """Every method of the table, asked on a WebSocket without what it would need to do anything (S3)."""
    headers = {"X_Api_Key": ready.keys[role]} if role is not None else {}
    permissions = MAY[role] if role is not None else frozenset[Permission]()
    async with serving(ready) as (served, _), opened(served, **headers) as socket:
        for name, endpoint in RPC.methods.items():
            if endpoint.needs is None or (endpoint.needs in permissions and endpoint.needs is not Permission.LOOK):
                continue  # what these do is tested where they are
            answer = await socket.ask(name)
            if endpoint.needs in permissions:
                assert answer != UNAUTHORIZED, name
                assert not isinstance(answer, dict) or answer.get("code") != 403, (name, answer)
                continue
            if role is None:
                assert answer == UNAUTHORIZED, name
            else:
                assert answer["code"] == (-32602 if endpoint.asked_by_all else 403), (name, answer)
    assert not any(machine.sent for machine in ready.machines.values())


# Several at once, and secrets


def test_no_door_is_open_by_oversight() -> None:
    opens = {endpoint.method for endpoint in access.resource.endpoints if endpoint.needs is None}
    assert opens == {"access.login", "access.refresh_jwt", "access.info"}


async def test_no_secret_is_in_logs_or_in_answers_to_others(ready: Hosted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ready.client() as client, ready.client(role=Role.ADMINISTRATOR) as root:
        said = await logged_in(client)
        key = result_of(await root.get("/access/api_key"))
        shot = result_of(await root.get("/access/oneshot_token"))
        secrets = [said["token"], said["refresh_token"], key, shot, PASSWORD, ready.keys[Role.VIEWER]]
        for secret in secrets:
            answers = [
                await client.get("/server/info", params={"token": f"{secret}x"}),
                await client.get("/server/info", headers={"Authorization": f"Bearer {secret}x"}),
                await client.get("/server/info", headers={"X-Access-Token": f"{secret}x"}),
                await client.post("/access/refresh_jwt", json={"refresh_token": f"{secret}x"}),
                await client.post("/access/login", json={"username": "oz", "password": f"{secret}x"}),
                await root.get("/access/users/list"),
                await root.get("/server/config"),
            ]
            assert not [answer.text for answer in answers if secret in answer.text]
    shown = [record.getMessage() for record in caplog.records if record.name.startswith("polyhost")]
    assert not [line for line in shown for secret in secrets if secret in line]
