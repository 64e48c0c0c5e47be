"""Tokens: they stand for who logged in, for as long as that log-in and that account do, and for nobody else."""

import asyncio
from pathlib import Path

import jwt
import pytest

from polyhost.core.errors import Malformed, NotAllowed, NotKnown, TooMany
from polyhost.core.events import LoggedOut
from polyhost.core.user import GUEST, Caller, Role
from polyhost.services.accounts import LOCAL
from polyhost.services.tokens import (
    ACCESS_S,
    MAX_LOGINS,
    MAX_ONE_SHOTS_OF_CALLER,
    ONE_SHOT_S,
    REFRESH_S,
    Logins,
    OneShots,
)
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, living

PASSWORD = "battery staple"
ISSUER = "http://printer.local:7125"


@pytest.fixture
async def ready(world: World) -> World:
    await world.accounts.first_administrator("ada", "correct horse")
    await world.accounts.add_user("oz", Role.OPERATOR, PASSWORD, ADMIN)
    return world


async def test_a_log_in_stands_for_its_user(ready: World) -> None:
    caller, tokens = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.1", ISSUER)
    assert (caller.name, caller.role, caller.key) == ("oz", Role.OPERATOR, None)
    assert ready.accounts.tokens.caller_of(tokens.access) == caller
    claims = jwt.decode(tokens.access, options={"verify_signature": False})
    now = int(ready.clock.now())
    assert (claims["iss"], claims["aud"], claims["username"]) == (ISSUER, "Moonraker", "oz")
    assert (claims["iat"], claims["exp"], claims["token_type"]) == (now, now + int(ACCESS_S), "access")
    claims = jwt.decode(tokens.refresh, options={"verify_signature": False})
    assert (claims["exp"], claims["token_type"]) == (now + int(REFRESH_S), "refresh")
    with pytest.raises(NotAllowed, match="name or the password"):
        await ready.accounts.tokens.log_in("oz", "wrong password", "10.0.0.1", ISSUER)


async def test_an_access_token_ends_and_its_refresh_token_makes_another(ready: World) -> None:
    caller, tokens = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.1", ISSUER)
    ready.clock.pass_s(ACCESS_S - 1)
    assert ready.accounts.tokens.caller_of(tokens.access) == caller
    ready.clock.pass_s(1)
    assert ready.accounts.tokens.caller_of(tokens.access) == GUEST
    again, access = ready.accounts.tokens.refreshed(tokens.refresh, ISSUER)
    assert again == caller == ready.accounts.tokens.caller_of(access)
    ready.clock.pass_s(REFRESH_S - ACCESS_S)
    with pytest.raises(NotKnown):
        ready.accounts.tokens.refreshed(tokens.refresh, ISSUER)


async def test_one_kind_of_token_is_not_the_other(ready: World) -> None:
    _, tokens = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.1", ISSUER)
    assert ready.accounts.tokens.caller_of(tokens.refresh) == GUEST
    with pytest.raises(NotKnown):
        ready.accounts.tokens.refreshed(tokens.access, ISSUER)


async def test_what_is_forged_stands_for_nobody(ready: World) -> None:
    _, tokens = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.1", ISSUER)
    claims = jwt.decode(tokens.access, options={"verify_signature": False})
    head, body, signature = tokens.access.split(".")
    forged = [
        *("", "x", "a.b.c", f"{head}.{body}.", f"{head}.{body}", "." * 2, "\udcff.a.b", "a." * 100_000),
        f"{head}.{body}.{signature[::-1]}",
        jwt.encode(claims | {"username": "ada"}, "x" * 32, algorithm="HS256"),
        jwt.encode(claims | {"username": "ada"}, "", algorithm="none"),
    ]
    for token in forged:
        assert ready.accounts.tokens.caller_of(token) == GUEST, token[:100]
        with pytest.raises(NotKnown):
            ready.accounts.tokens.refreshed(token, ISSUER)


async def test_a_log_in_of_one_does_not_stand_for_another(ready: World) -> None:
    """Even with our own signature: a name must be that of the log-in."""
    logins = Logins(ready.records, ready.clock, b"k" * 32)
    mine = await logins.begin("oz", ISSUER)
    named = logins.named(mine.access)
    assert named is not None
    assert named[0] == "oz"
    assert not logins.is_live(named[1], "ada")


async def test_a_log_in_outlives_the_server(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.accounts.first_administrator("ada", "correct horse")
        caller, tokens = await world.accounts.tokens.log_in("ada", "correct horse", "10.0.0.1", ISSUER)
    async with living(World(tmp_path)) as world:
        assert world.accounts.tokens.caller_of(tokens.access) == caller
        assert world.accounts.tokens.refreshed(tokens.refresh, ISSUER)[0] == caller
        kept = b"".join(file.read_bytes() for file in tmp_path.glob("polyhost.db*"))
        assert tokens.refresh.encode() not in kept
        assert tokens.access.encode() not in kept
        await world.accounts.tokens.log_out(caller)
    async with living(World(tmp_path)) as world:
        assert world.accounts.tokens.caller_of(tokens.access) == GUEST
        with pytest.raises(NotKnown):
            world.accounts.tokens.refreshed(tokens.refresh, ISSUER)


async def test_what_a_token_began_ends_with_its_log_in(ready: World) -> None:
    """A session that was begun with one, or a one-shot token; those of a browser's own log-in go on."""
    caller, _ = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.1", ISSUER)
    begun, own = ready.accounts.begin_session(caller), await ready.accounts.log_in("oz", PASSWORD, "10.0.0.1")
    one_shot = ready.accounts.tokens.one_shot(caller, "10.0.0.1")
    await ready.accounts.tokens.log_out(caller)
    assert ready.accounts.session(begun.id) is None
    assert ready.accounts.session(own.id) == own
    assert ready.accounts.tokens.caller_of_one_shot(one_shot, "10.0.0.1") is None


async def test_logging_out_ends_every_log_in_of_that_user_and_nobody_elses(ready: World) -> None:
    here, one = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.1", ISSUER)
    _, two = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.2", ISSUER)
    other, theirs = await ready.accounts.tokens.log_in("ada", "correct horse", "10.0.0.1", ISSUER)
    with ready.bus.listen(LoggedOut) as heard:
        await ready.accounts.tokens.log_out(here)
        assert await anext(aiter(heard)) == LoggedOut("oz")
    assert [ready.accounts.tokens.caller_of(tokens.access) for tokens in (one, two)] == [GUEST, GUEST]
    assert ready.accounts.tokens.caller_of(theirs.access) == other
    assert ready.accounts.still(here) == GUEST
    for by in (LOCAL, Caller("10.0.0.0/8", Role.OPERATOR, trusted=True)):
        with pytest.raises(Malformed):
            await ready.accounts.tokens.log_out(by)


@pytest.mark.parametrize("change", ["role", "password", "inactive", "removed"])
async def test_a_changed_account_ends_what_stands_for_it(ready: World, change: str) -> None:
    caller, tokens = await ready.accounts.tokens.log_in("oz", PASSWORD, "10.0.0.1", ISSUER)
    one_shot = ready.accounts.tokens.one_shot(caller, "10.0.0.1")
    match change:
        case "role":
            await ready.accounts.change_user("oz", Role.VIEWER, None, ADMIN)
        case "password":
            await ready.accounts.set_password("oz", "another password", ADMIN)
        case "inactive":
            await ready.accounts.change_user("oz", None, False, ADMIN)
        case _:
            await ready.accounts.remove_user("oz", ADMIN)
    assert ready.accounts.tokens.caller_of(tokens.access) == GUEST
    assert ready.accounts.still(caller) == GUEST
    assert ready.accounts.tokens.caller_of_one_shot(one_shot, "10.0.0.1") is None
    with pytest.raises(NotKnown):
        ready.accounts.tokens.refreshed(tokens.refresh, ISSUER)


async def test_the_oldest_log_in_of_a_user_ends_beyond_the_bound(ready: World) -> None:
    logins = Logins(ready.records, ready.clock, b"k" * 32)
    begun = []
    for _ in range(MAX_LOGINS + 2):
        begun.append(await logins.begin("oz", ISSUER))
        ready.clock.pass_s(1)
    live = [logins.named(tokens.access) is not None for tokens in begun]
    assert live == [False, False] + [True] * MAX_LOGINS
    assert len(ready.records.load_logins()) == MAX_LOGINS


async def test_a_one_shot_token_is_good_once_soon_and_at_its_address(ready: World) -> None:
    shots = OneShots(ready.clock)
    token = shots.make(OPERATOR, "10.0.0.1")
    assert len(token) == 32
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    assert shots.redeem(token, "10.0.0.2") is None
    assert shots.redeem(token, "10.0.0.1") == OPERATOR
    assert shots.redeem(token, "10.0.0.1") is None
    late = shots.make(OPERATOR, "10.0.0.1")
    ready.clock.pass_s(ONE_SHOT_S)
    assert shots.redeem(late, "10.0.0.1") is None
    with pytest.raises(NotKnown):
        ready.accounts.tokens.one_shot(GUEST, "10.0.0.1")


async def test_one_shot_tokens_are_bounded_and_one_caller_takes_no_others_place(ready: World) -> None:
    shots = OneShots(ready.clock)
    theirs = shots.make(VIEWER, "10.0.0.2")
    mine = [shots.make(OPERATOR, "10.0.0.1") for _ in range(MAX_ONE_SHOTS_OF_CALLER + 3)]
    good = [shots.redeem(token, "10.0.0.1") is not None for token in mine]
    assert good == [False] * 3 + [True] * MAX_ONE_SHOTS_OF_CALLER
    assert shots.redeem(theirs, "10.0.0.2") == VIEWER


async def test_guessing_tokens_is_slow_for_who_is_nobody(ready: World) -> None:
    for _ in range(20):
        ready.accounts.tokens.note_wrong("10.0.0.1")
    with pytest.raises(TooMany):
        ready.accounts.tokens.note_wrong("10.0.0.1")
    ready.accounts.tokens.note_wrong("10.0.0.2")


async def test_the_shown_key_is_the_same_until_it_is_renewed(ready: World) -> None:
    accounts = ready.accounts
    first = await accounts.shown_keys.get("", ADMIN)
    assert await accounts.shown_keys.get("", LOCAL) == first
    assert len(first) == 32
    assert accounts.caller_of_key(first).role is Role.ADMINISTRATOR
    bound = await accounts.shown_keys.get("one", ADMIN)
    assert bound != first
    key = accounts.caller_of_key(bound).key
    assert key is not None
    assert key.printers == ("one",)
    renewed = await accounts.shown_keys.renew("", ADMIN)
    assert renewed != first
    assert accounts.caller_of_key(first) == GUEST
    assert accounts.caller_of_key(bound).key == key
    assert await accounts.shown_keys.get("", ADMIN) == renewed
    for by in (OPERATOR, GUEST, accounts.caller_of_key(bound)):
        with pytest.raises(NotAllowed):
            await accounts.shown_keys.get("", by)
    for secret in (first, bound, renewed):
        kept = b"".join(file.read_bytes() for file in ready.records.folder.glob("polyhost.db*"))
        assert secret.encode() not in kept


async def test_a_key_that_somebody_named_like_it_is_not_shown(ready: World) -> None:
    _, named = await ready.accounts.add_key("ada", None, "Moonraker", (), None, ADMIN)
    assert await ready.accounts.shown_keys.get("", ADMIN) != named
    await ready.accounts.shown_keys.renew("", ADMIN)
    assert not ready.accounts.caller_of_key(named).is_guest


@pytest.mark.parametrize("name", ["_TRUSTED_USER_", "_API_KEY_USER_"])
async def test_nobody_is_called_as_clients_call_somebody_else(ready: World, name: str) -> None:
    with pytest.raises(Malformed, match="nobody can be called"):
        await ready.accounts.add_user(name, Role.VIEWER, PASSWORD, ADMIN)


async def test_keys_shown_and_renewed_at_once_leave_one(ready: World) -> None:
    accounts = ready.accounts
    shown = [accounts.shown_keys.get("", ADMIN) for _ in range(5)]
    renewed = [accounts.shown_keys.renew("", ADMIN) for _ in range(5)]
    secrets = set(await asyncio.gather(*shown, *renewed))
    live = {secret for secret in secrets if not accounts.caller_of_key(secret).is_guest}
    assert live == {await accounts.shown_keys.get("", ADMIN)}
