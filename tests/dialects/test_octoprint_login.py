"""``/api/login`` and ``/api/logout``: by password, by what came with the request, and over a restart."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from polyhost.config import Access, Config
from polyhost.core.user import Role
from tests.web.hosting import Hosted, hosted

LOGIN = {"user": "root", "pass": "correct horse"}


async def _logged_in(client: httpx.AsyncClient, path: str = "/api/login", **more: Any) -> httpx.Response:
    answer = await client.post(path, json=LOGIN | more)
    assert answer.status_code == 200
    return answer


def _cookies(answer: httpx.Response) -> dict[str, str]:
    """What is said of each cookie, by its name."""
    said = [cookie.split("=", 1) for cookie in answer.headers.get_list("set-cookie")]
    return dict(said)


async def test_a_log_in_by_password(one: Hosted) -> None:
    async with one.client() as client:
        answer = await _logged_in(client)
    record = answer.json()
    assert record["name"] == "root"
    assert record["_login_mechanism"] == "password"
    assert record["_is_external_client"] is False
    assert (record["apikey"], record["settings"], record["roles"]) == (None, {}, ["user", "admin"])
    assert one.host.accounts.session(record["session"]) is not None
    cookies = _cookies(answer)
    assert cookies.keys() == {"session_P8080", "csrf_token_P8080", "active_logout_P8080"}
    assert cookies["session_P8080"].endswith("; Path=/; SameSite=Strict; HttpOnly")
    assert cookies["csrf_token_P8080"].endswith("; Path=/; SameSite=Strict")
    assert "Max-Age=0" in cookies["active_logout_P8080"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"user": "root"}, 400),
        ({"pass": "x"}, 400),
        ({"user": 5, "pass": "x"}, 400),
        ({"user": "root", "pass": ["x"]}, 400),
        ({"user": "root", "pass": "x" * 5000}, 403),
        ({"user": "nobody", "pass": "correct horse"}, 403),
        ({"passive": "no"}, 400),
        ({"passive": {}}, 400),
        ({"passive": True}, 200),
        ([], 400),
    ],
)
async def test_what_is_no_log_in(one: Hosted, body: Any, status: int) -> None:
    async with one.client() as client:
        answer = await client.post("/api/login", json=body)
        assert answer.status_code == status
        assert not answer.headers.get_list("set-cookie")
        assert (await client.get("/api/version")).status_code == 403
        if status == 200:
            assert answer.json() == {"needs": {"group": ["guests"]}}


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
@pytest.mark.parametrize("kind", ["application/json", "application/json;charset=UTF-8", ""])
async def test_farms_log_in_passively_by_the_url(one: Hosted, body: bytes, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post("/api/login?passive=true", content=body, headers=headers)
        assert answer.json()["session"]
        assert (await client.post("/api/login", content=body, headers=headers)).status_code == 400
    async with one.client() as client:
        answer = await client.post("/api/login?passive=true", content=body, headers=headers)
        assert answer.json() == {"needs": {"group": ["guests"]}}
        inside = await client.post("/api/login?user=root&pass=correct%20horse", content=body, headers=headers)
        assert inside.status_code == 400, "URLs stand in logs"


async def test_a_form_logs_in_as_well(one: Hosted) -> None:
    async with one.client() as client:
        assert (await client.post("/api/login", data=LOGIN)).status_code == 200
        assert (await client.get("/api/version")).status_code == 200


async def test_a_key_gets_a_session_that_is_no_more_than_the_key(one: Hosted) -> None:
    async with one.client(role=Role.UPLOADER) as client:
        record = (await client.post("/api/login", json={"passive": True})).json()
        assert (await client.post("/api/login", json={"passive": True})).json()["session"] == record["session"]
    assert record["_login_mechanism"] == "apikey"
    assert record["groups"] == ["uploaders"]
    assert record["needs"]["group"] == ["uploaders", "readonly"]
    session = one.host.accounts.session(record["session"])
    assert session is not None
    assert session.caller.role is Role.UPLOADER


async def test_who_is_logged_in_sees_so_passively(one: Hosted) -> None:
    async with one.client() as client:
        first = (await _logged_in(client)).json()
        token = {"X-CSRF-Token": client.cookies["csrf_token_P8080"]}
        assert (await client.post("/api/login", json={"passive": True})).status_code == 400
        again = (await client.post("/api/login", json={"passive": True}, headers=token)).json()
    assert (again["session"], again["_login_mechanism"]) == (first["session"], "password")


async def test_logging_out_ends_the_session_and_what_remembers_it(one: Hosted) -> None:
    async with one.client() as client:
        session = (await _logged_in(client, remember=True)).json()["session"]
        kept = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        token = {"X-CSRF-Token": client.cookies["csrf_token_P8080"]}
        assert (await client.post("/api/logout")).status_code == 400
        answer = await client.post("/api/logout", headers=token)
        assert answer.json() == {"needs": {"group": ["guests"]}}
        assert list(client.cookies) == ["active_logout_P8080"]
        assert one.host.accounts.session(session) is None
    async with one.client() as client:
        assert (await client.get("/api/version", headers={"Cookie": kept})).status_code == 403


async def test_a_log_in_is_remembered_over_a_restart(tmp_path: Path) -> None:
    async with hosted(tmp_path) as one, one.client() as client:
        answer = await _logged_in(client, remember="true")
        cookies = _cookies(answer)
        for name in ("session_P8080", "csrf_token_P8080", "remember_token_P8080"):
            assert "Max-Age=2592000" in cookies[name]
        assert "HttpOnly" in cookies["remember_token_P8080"]
        kept, session = dict(client.cookies), answer.json()["session"]
        stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert kept["remember_token_P8080"].encode() not in stored
        assert kept["remember_token_P8080"] not in answer.text
    async with hosted(tmp_path, set_up=False) as one:
        for names, status in (
            ({"session_P8080", "csrf_token_P8080"}, 403),
            ({"remember_token_P8080"}, 200),
            (set(kept), 200),
        ):
            cookie = "; ".join(f"{name}={kept[name]}" for name in names)
            async with one.client() as client:
                assert (await client.get("/api/version", headers={"Cookie": cookie})).status_code == status
                foreign = await client.post("/api/job", json={"command": "start"}, headers={"Cookie": cookie})
                assert foreign.status_code in {400, 403}
        async with one.client() as client:
            headers = {"Cookie": cookie, "X-CSRF-Token": kept["csrf_token_P8080"]}
            again = (await client.post("/api/login", json={"passive": True}, headers=headers)).json()
            assert (again["session"], again["_login_mechanism"]) == (session, "remember_me")
            rebound = await client.get("/api/version", headers={"Cookie": cookie, "Host": "evil.example"})
            assert rebound.status_code == 421


async def test_a_log_in_below_a_prefix_stays_there(one: Hosted) -> None:
    async with one.client() as client:
        answer = await _logged_in(client, "/p/one/api/login", remember=True)
        assert answer.status_code == 200
        cookies = _cookies(answer)
        assert cookies.keys() == {
            f"{name}_P8080_R|p|one" for name in ("session", "csrf_token", "remember_token", "active_logout")
        }
        assert all("Path=/p/one/;" in said for said in cookies.values())
        assert (await client.get("/p/one/api/version")).status_code == 200
        assert (await client.get("/api/version")).status_code == 403
        token = {"X-CSRF-Token": client.cookies["csrf_token_P8080_R|p|one"]}
        assert (await client.post("/p/one/api/job", json={"command": "start"}, headers=token)).status_code == 409
        assert (await client.post("/p/one/api/logout", headers=token)).status_code == 200
        assert (await client.get("/p/one/api/version")).status_code == 403


async def test_a_log_in_at_the_root_counts_below_it(one: Hosted) -> None:
    async with one.client() as client:
        await _logged_in(client)
        assert (await client.get("/p/one/api/version")).status_code == 200
        token = {"X-CSRF-Token": client.cookies["csrf_token_P8080"]}
        assert (await client.post("/p/one/api/job", json={"command": "start"})).status_code == 400
        assert (await client.post("/p/one/api/job", json={"command": "start"}, headers=token)).status_code == 409


async def test_cookies_have_the_port_that_the_client_sees(one: Hosted) -> None:
    async with one.client() as client:
        client.base_url = "http://localhost:9000"
        assert "session_P9000" in _cookies(await _logged_in(client))


async def test_behind_a_proxy_cookies_are_those_of_its_address(tmp_path: Path) -> None:
    said = {"X-Forwarded-Host": "host.local", "X-Forwarded-Proto": "https", "X-Script-Name": "/octo"}
    async with hosted(tmp_path, config=Config(access=Access(proxies=("127.0.0.1",)))) as one, one.client() as client:
        answer = await client.post("/api/login", json=LOGIN, headers=said)
        cookies = _cookies(answer)
        assert cookies.keys() >= {"session_P443_R|octo", "csrf_token_P443_R|octo"}
        assert all("Path=/octo/;" in cookie and "Secure" in cookie for cookie in cookies.values())
        cookie = "; ".join(f"{name}={said.split(';')[0]}" for name, said in cookies.items())
        assert (await client.get("/api/version", headers={**said, "Cookie": cookie})).status_code == 200
        moved = await client.get("/api/users", headers={**said, "Cookie": cookie})
        assert moved.headers["Location"] == "/octo/api/access/users"


async def test_a_program_may_ask_for_its_key_from_a_page(one: Hosted) -> None:
    async with one.client() as client:
        await _logged_in(client)  # the cookies alone are enough, for nothing is theirs to decide
        assert (await client.post("/plugin/appkeys/request", json={"app": "My App"})).status_code == 201
