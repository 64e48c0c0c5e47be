"""Trusted networks, access tokens and one-shot tokens at the door: what counts, in which order, and what never does."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from polyhost.config import Access, Config, Server
from polyhost.core.user import Role
from polyhost.services.accounts import LOCAL
from polyhost.web.trust import is_public
from tests.web.hosting import Hosted, hosted

HOME = "192.168.1.20"
TRUSTED = {"192.168.1.0/24": "operator", "192.168.1.99/32": "viewer", "fd00::/8": "viewer"}
ISSUER = "http://127.0.0.1:8080"
REFUSED = 401


def from_address(one: Hosted, address: str, *, name: str = "127.0.0.1:8080") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(one.application, client=(address, 40000))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{name}")


async def asked(one: Hosted, address: str, *, path: str = "/server/info", name: str = "", **headers: str) -> int:
    async with from_address(one, address, name=name or "127.0.0.1:8080") as client:
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return (await client.get(path, headers=sent)).status_code


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Hosted]:
    access = Access(proxies=("192.168.1.5", "10.9.9.9"), trusted=TRUSTED, allow_origins=("https://mainsail.example",))
    config = Config(access=access, server=Server(hosts=("printer.example",)))
    async with hosted(tmp_path, config=config) as host:
        yield host


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (HOME, 200),
        (f"::ffff:{HOME}", 200),
        ("192.168.1.99", 200),
        ("fd12::1", 200),
        ("192.168.2.20", REFUSED),
        ("8.8.8.8", REFUSED),
        ("127.0.0.1", REFUSED),
        ("::1", REFUSED),
        ("", REFUSED),
        ("192.168.1.5", REFUSED),  # a proxy that does not say for whom it asks
    ],
)
async def test_an_address_of_a_trusted_network_needs_no_login(home: Hosted, address: str, status: int) -> None:
    assert await asked(home, address) == status


async def test_the_smallest_network_says_the_role(home: Hosted) -> None:
    for address, may in ((HOME, True), ("192.168.1.99", False)):
        async with from_address(home, address) as client:
            answer = await client.post("/api/printer/command", json={"command": "M105"})
            assert answer.is_success is may, address


async def test_no_address_is_trusted_by_default(one: Hosted) -> None:
    for address in (HOME, "127.0.0.1", "10.0.0.1", "::1"):
        assert await asked(one, address) == REFUSED


@pytest.mark.parametrize(
    ("network", "status"), [("0.0.0.0/0", REFUSED), ("127.0.0.0/8", 200), ("127.0.0.1", 200), ("::1", REFUSED)]
)
async def test_this_computer_is_trusted_only_by_name(tmp_path: Path, network: str, status: int) -> None:
    config = Config(access=Access(trusted={network: "viewer"}))
    async with hosted(tmp_path, config=config) as host:
        assert await asked(host, "127.0.0.1") == status


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("evil.example", REFUSED),
        ("evil.example:8080", REFUSED),
        ("printer.example", 200),
        ("polyhost.local", 200),
        ("192.168.1.2:7125", 200),
    ],
)
async def test_a_foreign_name_leads_to_no_trust(home: Hosted, name: str, status: int) -> None:
    """A page can have its own name resolve to this host: its requests come from the owner's browser (rebinding)."""
    assert await asked(home, HOME, name=name) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, REFUSED),
        ({"Origin": "null"}, REFUSED),
        ({"Origin": "http://127.0.0.1:8080"}, 200),
        ({"Origin": "https://mainsail.example"}, 200),
        ({"Origin": "https://mainsail.example.evil.example"}, REFUSED),
        ({"Sec_Fetch_Site": "cross-site"}, REFUSED),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
    ],
)
async def test_a_foreign_page_is_not_trusted(home: Hosted, headers: dict[str, str], status: int) -> None:
    assert await asked(home, HOME, **headers) == status


async def test_what_a_proxy_says_counts_from_a_proxy_alone(home: Hosted) -> None:
    assert await asked(home, "10.9.9.9", X_Forwarded_For=HOME) == 200
    assert await asked(home, "10.9.9.9", X_Forwarded_For=f"{HOME}, 8.8.8.8") == REFUSED
    assert await asked(home, "8.8.8.8", X_Forwarded_For=HOME) == REFUSED
    assert await asked(home, HOME, X_Forwarded_For="8.8.8.8") == 200  # says who is no proxy
    assert await asked(home, "10.9.9.9", X_Forwarded_For="8.8.8.8") == REFUSED


async def test_trust_counts_last(home: Hosted) -> None:
    """Who shows something wrong is nobody; what some clients send without having it is nothing."""
    assert await asked(home, HOME, X_Api_Key="wrong") == REFUSED
    assert await asked(home, HOME, Authorization="Bearer a.b.c") == REFUSED
    assert await asked(home, HOME, X_Access_Token="wrong") == REFUSED
    assert await asked(home, HOME, path="/server/info?access_token=wrong") == REFUSED
    assert await asked(home, HOME, path="/server/info?token=wrong") == 200
    for none in ("", "False"):
        assert await asked(home, HOME, X_Api_Key=none) == 200
        assert await asked(home, HOME, X_Api_Key=none, path=f"/server/info?token={none}") == 200
    assert await asked(home, HOME, Authorization="Basic cm9vdDpjb3JyZWN0IGhvcnNl") == 200
    async with from_address(home, HOME) as client:
        client.headers["X-Api-Key"] = home.keys[Role.VIEWER]
        assert (await client.post("/api/printer/command", json={"command": "M105"})).status_code == 403


async def test_who_is_trusted_is_given_nothing_that_lasts(home: Hosted) -> None:
    async with from_address(home, HOME) as client:
        answer = await client.post("/api/login", json={"passive": True})
        assert answer.status_code == 403
        assert not answer.headers.get_list("set-cookie")
        assert (await client.get("/api/currentuser")).json()["name"] == "192.168.1.0/24"


@pytest.mark.parametrize(
    "network", ["0.0.0.0/0", "::/0", "8.8.8.0/24", "192.168.0.0/15", "2001:db8::/32", "128.0.0.0/1"]
)
def test_public_networks_are_known(network: str) -> None:
    assert is_public(network)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.168.1.7/24", "127.0.0.1", "::1", "fe80::/64", "100.100.0.0/16"])
def test_networks_of_a_house_are_known(network: str) -> None:
    assert not is_public(network)


# Tokens

WAYS = {
    "bearer": lambda token: {"headers": {"Authorization": f"Bearer {token}"}},
    "header": lambda token: {"headers": {"X-Access-Token": token}},
    "query": lambda token: {"params": {"access_token": token}},
}


@pytest.mark.parametrize("way", WAYS)
async def test_an_access_token_is_a_credential(one: Hosted, way: str) -> None:
    _, tokens = await one.host.accounts.tokens.log_in("root", "correct horse", "10.0.0.1", ISSUER)
    head, body, signature = tokens.access.split(".")
    async with one.client() as client:
        assert (await client.get("/server/info", **WAYS[way](tokens.access))).status_code == 200
        for wrong in (tokens.refresh, f"{head}.{body}.{signature[::-1]}", f"{head}.{body}.", "a.b.c"):
            assert (await client.get("/server/info", **WAYS[way](wrong))).status_code == REFUSED
        await one.host.accounts.change_user("root", None, None, LOCAL, password="another horse")
        assert (await client.get("/server/info", **WAYS[way](tokens.access))).status_code == REFUSED


async def test_a_bearer_that_is_a_key_is_one(one: Hosted) -> None:
    async with one.client() as client:
        for path in ("/server/info", "/api/version"):
            answer = await client.get(path, headers={"Authorization": f"Bearer {one.keys[Role.VIEWER]}"})
            assert answer.status_code == 200


async def test_a_one_shot_token_is_a_credential_once(one: Hosted) -> None:
    viewer = one.host.accounts.caller_of_key(one.keys[Role.VIEWER])
    token = one.host.accounts.tokens.one_shot(viewer, HOME)
    path = f"/server/info?token={token}"
    assert await asked(one, "192.168.1.21", path=path) == REFUSED
    assert await asked(one, HOME, path=path) == 200
    assert await asked(one, HOME, path=path) == REFUSED


async def test_klipperscreen_s_way_of_showing_a_key_works(one: Hosted) -> None:
    """Its key is both where a one-shot token would be and in the header."""
    key = one.keys[Role.OPERATOR]
    for _ in range(30):
        assert await asked(one, HOME, path=f"/server/info?token={key}", X_Api_Key=key) == 200


async def test_guessing_one_shot_tokens_is_slow_and_locks_nobody_out(one: Hosted) -> None:
    viewer = one.host.accounts.caller_of_key(one.keys[Role.VIEWER])
    token = one.host.accounts.tokens.one_shot(viewer, HOME)
    answers = [await asked(one, HOME, path=f"/server/info?token=guess{n}") for n in range(25)]
    assert answers == [REFUSED] * 20 + [429] * 5
    assert await asked(one, HOME, path=f"/server/info?token={token}") == 200
    assert await asked(one, HOME, X_Api_Key=one.keys[Role.VIEWER]) == 200
