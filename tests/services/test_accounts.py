"""Who is calling: the first start, log-ins that are slow to guess, keys that do what they say (S3, S10, S11)."""

import logging
import time
from pathlib import Path

import pytest

from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotNow, SetupNeeded, TooMany
from polyhost.core.events import LoggedIn, LoggedOut, RightsChanged
from polyhost.core.user import GUEST, Permission, Role
from polyhost.services.accounts import LOCAL
from polyhost.services.sessions import MAX_REMEMBERED, MAX_SESSIONS, REMEMBERED_S
from polyhost.storage.secret import SetupCode
from tests.services.world import ADMIN, OPERATOR, World, living

PASSWORD = "correct horse"


@pytest.fixture
async def ready(world: World) -> World:
    await world.accounts.first_administrator("ada", PASSWORD)
    await world.accounts.add_user("oz", Role.OPERATOR, "battery staple", ADMIN)
    return world


async def test_the_first_administrator_needs_the_code(world: World, tmp_path: Path) -> None:
    accounts = world.accounts
    assert accounts.setup_needed
    with pytest.raises(SetupNeeded):
        await accounts.log_in("ada", PASSWORD, "127.0.0.1")
    accounts.setup_code = SetupCode(tmp_path)
    with pytest.raises(NotAllowed, match="code is wrong"):
        await accounts.set_up("0000-0000", "ada", PASSWORD)
    with pytest.raises(Malformed):
        await accounts.set_up(accounts.setup_code.text, "ada", "short")
    user, secret = await accounts.set_up(accounts.setup_code.text.lower().replace("-", ""), "ada", PASSWORD)
    assert user.role is Role.ADMINISTRATOR
    assert accounts.caller_of_key(secret).permissions == frozenset(Permission)
    assert not accounts.setup_needed
    assert not (tmp_path / "setup-code").exists()
    with pytest.raises(NotNow, match="set up already"):
        await accounts.set_up(accounts.setup_code.text, "eve", PASSWORD)
    with pytest.raises(NotNow, match="set up already"):
        await accounts.first_administrator("eve", PASSWORD)


async def test_the_code_is_good_for_ten_tries(world: World, tmp_path: Path) -> None:
    world.accounts.setup_code = SetupCode(tmp_path)
    for _ in range(10):
        with pytest.raises(NotAllowed, match="code is wrong"):
            await world.accounts.set_up("wrong", "ada", PASSWORD)
    with pytest.raises(NotAllowed, match="restart the server"):
        await world.accounts.set_up(world.accounts.setup_code.text, "ada", PASSWORD)
    assert world.accounts.setup_needed


async def test_a_session_stands_for_who_logged_in(ready: World) -> None:
    session = await ready.accounts.log_in("oz", "battery staple", "10.0.0.1")
    found = ready.accounts.session(session.id)
    assert found is not None
    assert (found.caller.name, found.caller.role) == ("oz", Role.OPERATOR)
    assert session.csrf
    assert ready.accounts.session("another") is None
    await ready.accounts.log_out(session.id)
    assert ready.accounts.session(session.id) is None


async def test_a_session_ends_by_idling(ready: World) -> None:
    session = await ready.accounts.log_in("oz", "battery staple", "10.0.0.1")
    for _ in range(3):
        ready.clock.pass_s(6 * 24 * 3600)
        assert ready.accounts.session(session.id) == session
    ready.clock.wall -= 10**6  # whatever the wall clock does
    ready.clock.steady += 8 * 24 * 3600
    assert ready.accounts.session(session.id) is None


async def test_wrong_name_and_wrong_password_are_told_the_same(ready: World) -> None:
    told = []
    wrong = [
        ("oz", "wrong password"),
        ("nobody", "wrong password"),
        ("oz", "x" * 5000),
        ("\ud800" * 99, "\ud800"),
        ("oz", "\ud800"),
    ]
    for name, password in wrong:
        with pytest.raises(NotAllowed) as refused:
            await ready.accounts.log_in(name, password, f"10.0.0.{len(told)}")
        told.append(str(refused.value))
    assert len(set(told)) == 1


async def test_guessing_is_slow(ready: World) -> None:
    log_in = ready.accounts.log_in
    for _ in range(5):
        with pytest.raises(NotAllowed):
            await log_in("oz", "wrong password", "10.0.0.1")
    with pytest.raises(TooMany) as refused:  # also for who knows it by now
        await log_in("oz", "battery staple", "10.0.0.1")
    assert 0 < refused.value.retry_after_s <= 60
    await log_in("oz", "battery staple", "10.0.0.2")  # the owner elsewhere is not locked out
    ready.clock.wall += 10**6
    with pytest.raises(TooMany):
        await log_in("oz", "battery staple", "10.0.0.1")
    ready.clock.pass_s(60)
    await log_in("oz", "battery staple", "10.0.0.1")


async def test_an_address_has_twenty_guesses_an_hour(ready: World) -> None:
    wrong = 0
    for n in range(25):
        try:
            await ready.accounts.log_in(f"user-{n}", "wrong password", f"2001:db8::{n:x}")  # one /64
        except NotAllowed:
            wrong += 1
        except TooMany:
            assert wrong == 20
    with pytest.raises(TooMany) as refused:
        await ready.accounts.log_in("oz", "battery staple", "2001:db8::ffff")
    assert refused.value.retry_after_s > 3000


async def test_log_ins_that_are_right_are_not_counted(ready: World) -> None:
    for _ in range(8):
        await ready.accounts.log_in("oz", "battery staple", "10.0.0.1")


async def test_a_key_stands_for_its_user_at_its_role_until_its_end(ready: World) -> None:
    accounts = ready.accounts
    key, secret = await accounts.add_key("ada", Role.OPERATOR, "Cura", ("mk3",), ready.clock.now() + 100, ADMIN)
    caller = accounts.caller_of_key(secret)
    assert (caller.name, caller.role) == ("ada", Role.OPERATOR)
    assert caller.may(Permission.PRINT, "mk3")
    assert not caller.may(Permission.PRINT, "ender")
    assert not caller.may(Permission.SETTINGS)
    assert accounts.caller_of_key(secret.lower()) == GUEST
    assert accounts.caller_of_key("") == accounts.caller_of_key("ü\udcff") == GUEST
    assert accounts.keys(ADMIN, user="ada")[-1].last_used_at == ready.clock.now()
    ready.clock.pass_s(101)
    assert accounts.caller_of_key(secret) == GUEST
    other, _ = await accounts.add_key("ada", None, "", (), None, ADMIN)
    with pytest.raises(NotAllowed):
        await accounts.revoke_key(other.id, caller)
    await accounts.revoke_key(key.id, caller)  # a key may end itself
    with pytest.raises(NotFound):
        await accounts.revoke_key(key.id, ADMIN)


async def test_a_revoked_key_and_a_demoted_user_lose_at_once(ready: World) -> None:
    accounts = ready.accounts
    key, secret = await accounts.add_key("oz", None, "", (), None, ADMIN)
    session = await accounts.log_in("oz", "battery staple", "10.0.0.1")
    assert accounts.caller_of_key(secret).role is Role.OPERATOR
    await accounts.change_user("oz", Role.VIEWER, None, ADMIN)
    assert accounts.caller_of_key(secret).role is Role.VIEWER
    assert accounts.session(session.id) is None
    await accounts.change_user("oz", None, False, ADMIN)
    assert accounts.caller_of_key(secret) == GUEST
    with pytest.raises(NotAllowed):
        await accounts.log_in("oz", "battery staple", "10.0.0.1")
    await accounts.change_user("oz", None, True, ADMIN)
    assert accounts.caller_of_key(secret).role is Role.VIEWER
    of_key = accounts.begin_session(accounts.caller_of_key(secret))
    await accounts.revoke_key(key.id, ADMIN)
    assert accounts.caller_of_key(secret) == GUEST
    assert accounts.session(of_key.id) is None


async def test_nobody_gives_more_than_they_have(ready: World) -> None:
    accounts = ready.accounts
    oz = (await accounts.log_in("oz", "battery staple", "10.0.0.1")).caller
    await accounts.add_key("oz", Role.VIEWER, "", (), None, oz)
    for user, role in (("oz", Role.ADMINISTRATOR), ("ada", Role.VIEWER)):
        with pytest.raises(NotAllowed):
            await accounts.add_key(user, role, "", (), None, oz)
    with pytest.raises(NotAllowed):
        await accounts.add_key("oz", Role.ADMINISTRATOR, "", (), None, ADMIN)
    _, secret = await accounts.add_key("ada", None, "", ("mk3",), None, ADMIN)
    bound = accounts.caller_of_key(secret)
    assert bound.role is Role.ADMINISTRATOR
    for attempt in (
        accounts.add_key("ada", None, "", (), None, bound),
        accounts.add_user("eve", Role.ADMINISTRATOR, PASSWORD, bound),
        accounts.set_password("ada", PASSWORD, bound),
        accounts.set_password("ada", PASSWORD, oz),
        accounts.add_user("eve", Role.VIEWER, PASSWORD, oz),
        accounts.remove_user("ada", oz),
        accounts.change_user("oz", Role.ADMINISTRATOR, None, oz),
        accounts.add_key("", None, "", (), None, GUEST),
    ):
        with pytest.raises(NotAllowed):
            await attempt
    assert {key.user for key in accounts.keys(oz)} == {"oz"}
    assert [user.name for user in accounts.users(oz)] == ["oz"]
    assert accounts.users(GUEST) == accounts.keys(GUEST) == []


async def test_one_changes_ones_password_with_the_old_one(ready: World) -> None:
    accounts = ready.accounts
    session = await accounts.log_in("oz", "battery staple", "10.0.0.1")
    with pytest.raises(NotAllowed):
        await accounts.set_password("oz", "new password", session.caller, current="wrong")
    await accounts.set_password("oz", "new password", session.caller, current="battery staple")
    assert accounts.session(session.id) is None
    with pytest.raises(NotAllowed):
        await accounts.log_in("oz", "battery staple", "10.0.0.1")
    await accounts.log_in("oz", "new password", "10.0.0.1")


async def test_somebody_always_administers(ready: World) -> None:
    accounts = ready.accounts
    for locking_out in (
        lambda: accounts.remove_user("ada", LOCAL),
        lambda: accounts.change_user("ada", Role.OPERATOR, None, ADMIN),
        lambda: accounts.change_user("ada", None, False, ADMIN),
    ):
        with pytest.raises(NotNow, match="last administrator"):
            await locking_out()
    await accounts.add_user("eve", Role.ADMINISTRATOR, PASSWORD, ADMIN)
    with pytest.raises(Malformed, match="themselves"):
        await accounts.remove_user("ada", ADMIN)
    await accounts.remove_user("ada", LOCAL)
    with pytest.raises(NotFound):
        await accounts.remove_user("ada", LOCAL)


@pytest.mark.parametrize("name", ["", " ada", "a\nb", "a/b", "a" * 65, "\u202eeve", "\ud800"])
async def test_names_that_would_confuse_are_refused(ready: World, name: str) -> None:
    with pytest.raises(Malformed):
        await ready.accounts.add_user(name, Role.VIEWER, PASSWORD, ADMIN)


async def test_a_name_is_taken_once(ready: World) -> None:
    with pytest.raises(NotNow, match="already"):
        await ready.accounts.add_user("oz", Role.VIEWER, PASSWORD, ADMIN)


async def test_accounts_are_there_after_a_restart(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        _, admins = await world.accounts.first_administrator("ada", PASSWORD)
        await world.accounts.add_user("oz", Role.OPERATOR, "battery staple", ADMIN)
        _, secret = await world.accounts.add_key("oz", None, "Cura", (), None, ADMIN)
        world.accounts.caller_of_key(secret)
        before = world.accounts.users(ADMIN), world.accounts.keys(ADMIN)
    async with living(World(tmp_path)) as world:
        assert (world.accounts.users(ADMIN), world.accounts.keys(ADMIN)) == before
        assert world.accounts.caller_of_key(secret).name == "oz"
        assert world.accounts.caller_of_key(admins).role is Role.ADMINISTRATOR
        await world.accounts.log_in("oz", "battery staple", "10.0.0.1")


async def test_no_secret_is_kept_or_logged(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.accounts.setup_code = SetupCode(tmp_path)
    _, secret = await world.accounts.set_up(world.accounts.setup_code.text, "ada", PASSWORD)
    world.accounts.caller_of_key(secret)
    session = await world.accounts.log_in("ada", PASSWORD, "10.0.0.1")
    with pytest.raises(NotAllowed):
        await world.accounts.log_in("ada", PASSWORD + "?", "10.0.0.1")
    await world.records.change(lambda c: c.execute("PRAGMA user_version"))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for planted in (secret, PASSWORD, session.id, session.csrf):
        assert planted.encode() not in kept
        assert planted not in caplog.text
        assert planted not in repr(world.accounts.keys(ADMIN)) + repr(world.accounts.users(ADMIN))


async def test_a_caller_is_found_in_microseconds(ready: World) -> None:
    _, secret = await ready.accounts.add_key("oz", None, "", (), None, ADMIN)
    ready.accounts.caller_of_key(secret)
    best = min(_seconds(lambda: ready.accounts.caller_of_key(secret)) for _ in range(200))
    assert best < 100e-6  # twenty times what it takes: a slow hash on the way would be a thousand times


def _seconds(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


async def test_a_key_has_one_session_however_often_it_logs_in(ready: World) -> None:
    accounts = ready.accounts
    person = await accounts.log_in("oz", "battery staple", "10.0.0.1")
    key, secret = await accounts.add_key("oz", None, "Cura", (), None, ADMIN)
    first = accounts.begin_session(accounts.caller_of_key(secret))
    for _ in range(MAX_SESSIONS + 1):  # a client that asks with every poll
        assert accounts.begin_session(accounts.caller_of_key(secret)) is first
    assert accounts.session(person.id) is not None
    await accounts.change_user("oz", Role.UPLOADER, None, ADMIN)
    again = accounts.begin_session(accounts.caller_of_key(secret))
    assert (again.id == first.id, again.caller.role) == (False, Role.UPLOADER)
    await accounts.revoke_key(key.id, ADMIN)
    assert accounts.session(again.id) is None


async def test_a_remembered_log_in_outlives_the_server(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.accounts.first_administrator("ada", PASSWORD)
        kept = await world.accounts.log_in("ada", PASSWORD, "10.0.0.1", remember=True)
        passing = await world.accounts.log_in("ada", PASSWORD, "10.0.0.1")
        assert world.accounts.session(kept.id) is not None
    async with living(World(tmp_path)) as world:
        accounts = world.accounts
        assert accounts.session(kept.id) is None
        assert accounts.recalled("another") is None
        assert accounts.recalled(passing.id) is None
        found = accounts.recalled(kept.token)
        assert found is not None
        assert (found.id, found.csrf, found.caller.role) == (kept.id, kept.csrf, Role.ADMINISTRATOR)
        assert found.token == ""
        assert accounts.session(kept.id) == found
        await accounts.log_out(kept.id, kept.token)
        assert accounts.session(kept.id) is None
        assert accounts.recalled(kept.token) is None
    async with living(World(tmp_path)) as world:
        assert world.accounts.recalled(kept.token) is None


async def test_what_ends_a_remembered_log_in(ready: World) -> None:
    accounts = ready.accounts
    await accounts.add_user("eve", Role.VIEWER, PASSWORD, ADMIN)

    async def remembered() -> str:
        return (await accounts.log_in("eve", PASSWORD, "10.0.0.1", remember=True)).token

    token, other = await remembered(), (await accounts.log_in("ada", PASSWORD, "10.0.0.1", remember=True)).token
    await accounts.change_user("eve", Role.UPLOADER, None, ADMIN)
    assert accounts.recalled(token) is None
    token = await remembered()
    await accounts.set_password("eve", PASSWORD, ADMIN)
    assert accounts.recalled(token) is None
    tokens = [await remembered() for _ in range(MAX_REMEMBERED + 2)]
    assert [accounts.recalled(token) is not None for token in tokens] == [False] * 2 + [True] * MAX_REMEMBERED
    ready.clock.pass_s(REMEMBERED_S - 1)
    assert accounts.recalled(tokens[-1]) is not None
    ready.clock.pass_s(1)
    assert accounts.recalled(tokens[-1]) is None
    assert accounts.recalled(other) is None
    token = await remembered()
    assert [one.user for one in ready.records.load_remembered()] == ["eve"]  # what is over is not kept
    await accounts.remove_user("eve", ADMIN)
    assert accounts.recalled(token) is None
    assert ready.records.load_remembered() == []


async def test_log_ins_and_lost_rights_are_told(ready: World) -> None:
    accounts = ready.accounts
    with ready.bus.listen() as listener:
        session = await accounts.log_in("oz", "battery staple", "10.0.0.1")
        await accounts.log_out(session.id)
        await accounts.log_out(session.id)  # nobody logs out twice
        await accounts.change_user("oz", None, None, ADMIN)  # nothing changed
        await accounts.change_user("oz", Role.VIEWER, None, ADMIN)
        await accounts.set_password("oz", "another one", ADMIN)
        key, _ = await accounts.add_key("oz", None, "", (), None, ADMIN)
        await accounts.revoke_key(key.id, ADMIN)
        await accounts.remove_user("oz", ADMIN)
        told = [await anext(listener) for _ in range(6)]
    assert told == [
        LoggedIn("oz"),
        LoggedOut("oz"),
        RightsChanged("oz", "modified"),
        RightsChanged("oz", "stale"),
        RightsChanged("oz", "modified"),
        RightsChanged("oz", "removed"),
    ]


async def test_a_change_of_a_user_happens_whole_or_not(ready: World) -> None:
    before = ready.accounts.users(ADMIN)
    with pytest.raises(Malformed):
        await ready.accounts.change_user("oz", Role.VIEWER, False, ADMIN, password="short")
    with pytest.raises(NotNow):
        await ready.accounts.change_user("ada", Role.VIEWER, None, ADMIN, password="another one")
    assert ready.accounts.users(ADMIN) == before
    await ready.accounts.log_in("ada", PASSWORD, "10.0.0.1")
    await ready.accounts.change_user("oz", Role.VIEWER, None, ADMIN, password="another one")
    assert (await ready.accounts.log_in("oz", "another one", "10.0.0.1")).caller.role is Role.VIEWER


async def test_what_clients_keep_for_a_user_is_there_after_a_restart(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        await world.accounts.first_administrator("ada", PASSWORD)
        await world.accounts.change_settings("ada", {"a": {"b": [1]}}, ADMIN)
    async with living(World(tmp_path)) as world:
        assert world.accounts.settings_of("ada", ADMIN) == {"a": {"b": [1]}}
        for by in (GUEST, OPERATOR):
            with pytest.raises(NotAllowed):
                world.accounts.settings_of("ada", by)
            with pytest.raises(NotAllowed):
                await world.accounts.change_settings("ada", {}, by)
