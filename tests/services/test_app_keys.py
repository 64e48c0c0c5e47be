"""Programs that ask for a key: who hears of it, who decides, and what the key may (S3, S10, S11)."""

import asyncio
import logging
from pathlib import Path

import pytest

from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, TooMany
from polyhost.core.events import AppKeyRequested, AppKeyRequestEnded
from polyhost.core.user import GUEST, ApiKey, Caller, Permission, Role
from polyhost.services.accounts import LOCAL
from polyhost.services.app_keys import ASKED_WITHIN_S, FETCHED_WITHIN_S, MAX_WAITING, POLLED_WITHIN_S
from tests.services.world import ADMIN, OPERATOR, UPLOADER, VIEWER, World

HERE = "10.0.0.1"


@pytest.fixture
async def ready(world: World) -> World:
    await world.accounts.first_administrator("ada", "correct horse")
    await world.accounts.add_user("oz", Role.OPERATOR, "battery staple", ADMIN)
    return world


async def test_a_key_is_told_once_and_does_what_its_user_may(ready: World) -> None:
    request, token = ready.app_keys.ask("My App", "", "mk3", HERE)
    assert await ready.app_keys.poll(token, HERE) is None
    assert ready.app_keys.requests(OPERATOR) == [request]
    ready.app_keys.decide(request.id, True, OPERATOR)
    assert ready.app_keys.requests(ADMIN) == []
    assert ready.accounts.keys(ADMIN, user="oz") == []  # until it is fetched
    first, second = await asyncio.gather(
        ready.app_keys.poll(token, HERE), ready.app_keys.poll(token, HERE), return_exceptions=True
    )
    assert isinstance(second, NotFound)
    assert isinstance(first, str)
    caller = ready.accounts.caller_of_key(first)
    assert (caller.name, caller.role) == ("oz", Role.OPERATOR)
    assert caller.may(Permission.PRINT, "mk3")
    assert not caller.may(Permission.LOOK, "another")
    [key] = ready.accounts.keys(OPERATOR)
    assert (key.app, key.printers) == ("My App", ("mk3",))


async def test_a_denied_program_learns_no_more_than_one_that_never_asked(ready: World) -> None:
    request, token = ready.app_keys.ask("My App", "", "", HERE)
    ready.app_keys.decide(request.id, False, OPERATOR)
    told = []
    for one in (token, "never", "\udcff"):
        with pytest.raises(NotFound) as refused:
            await ready.app_keys.poll(one, HERE)
        told.append(str(refused.value))
    assert len(set(told)) == 1
    assert ready.accounts.keys(ADMIN, user="oz") == []


@pytest.mark.parametrize("wall_s", [0.0, -7200.0, 86400.0])
async def test_who_stays_away_asks_no_more(ready: World, wall_s: float) -> None:
    _, token = ready.app_keys.ask("My App", "", "", HERE)
    for _ in range(int(ASKED_WITHIN_S / POLLED_WITHIN_S)):
        ready.clock.steady += POLLED_WITHIN_S
        ready.clock.wall += wall_s
        assert await ready.app_keys.poll(token, HERE) is None
    ready.clock.steady += 0.1  # ten minutes have passed
    with pytest.raises(NotFound):
        await ready.app_keys.poll(token, HERE)
    request, token = ready.app_keys.ask("My App", "", "", HERE)
    ready.clock.steady += POLLED_WITHIN_S + 0.1
    with pytest.raises(NotFound):
        ready.app_keys.decide(request.id, True, ADMIN)
    with pytest.raises(NotFound):
        await ready.app_keys.poll(token, HERE)


async def test_a_key_that_nobody_fetches_is_not_made(ready: World) -> None:
    request, token = ready.app_keys.ask("My App", "", "", HERE)
    ready.app_keys.decide(request.id, True, OPERATOR)
    ready.clock.steady += FETCHED_WITHIN_S + 0.1
    with pytest.raises(NotFound):
        await ready.app_keys.poll(token, HERE)
    assert ready.accounts.keys(ADMIN, user="oz") == []


async def test_rights_lost_after_the_decision_count(ready: World) -> None:
    request, token = ready.app_keys.ask("My App", "", "", HERE)
    ready.app_keys.decide(request.id, True, OPERATOR)
    await ready.accounts.change_user("oz", Role.VIEWER, None, ADMIN)
    with pytest.raises(NotAllowed):
        await ready.app_keys.poll(token, HERE)
    assert ready.accounts.keys(ADMIN, user="oz") == []


BOUND = Caller("ada", Role.ADMINISTRATOR, ApiKey("k", "ada", Role.ADMINISTRATOR, printers=("mk3",)))


@pytest.mark.parametrize("by", [GUEST, VIEWER, UPLOADER, BOUND], ids=["guest", "viewer", "uploader", "bound key"])
async def test_who_may_not_move_a_machine_gives_no_keys(ready: World, by: Caller) -> None:
    request, _ = ready.app_keys.ask("My App", "", "", HERE)
    with pytest.raises(NotAllowed):
        ready.app_keys.decide(request.id, True, by)
    assert ready.app_keys.requests(OPERATOR) == [request]


async def test_a_request_for_somebody_is_theirs_and_the_administrators(ready: World) -> None:
    request, token = ready.app_keys.ask("My App", "ada", "", HERE)
    assert ready.app_keys.requests(OPERATOR) == []
    with pytest.raises(NotFound):
        ready.app_keys.decide(request.id, True, OPERATOR)
    ready.app_keys.decide(request.id, True, LOCAL)
    assert ready.accounts.caller_of_key(await ready.app_keys.poll(token, HERE) or "").name == "ada"
    nobody, _ = ready.app_keys.ask("My App", "nobody", "", HERE)
    with pytest.raises(NotFound, match="no user"):
        ready.app_keys.decide(nobody.id, True, ADMIN)


async def test_the_terminal_says_whom_the_key_acts_as(ready: World) -> None:
    request, token = ready.app_keys.ask("My App", "", "", HERE)
    ready.app_keys.decide(request.id, True, LOCAL, user="oz", role=Role.VIEWER)
    caller = ready.accounts.caller_of_key(await ready.app_keys.poll(token, HERE) or "")
    assert (caller.name, caller.role) == ("oz", Role.VIEWER)
    request, token = ready.app_keys.ask("My App", "", "", HERE)
    ready.app_keys.decide(request.id, True, LOCAL)  # there is one administrator
    assert ready.accounts.caller_of_key(await ready.app_keys.poll(token, HERE) or "").name == "ada"
    await ready.accounts.add_user("eve", Role.ADMINISTRATOR, "battery staple", ADMIN)
    request, _ = ready.app_keys.ask("My App", "", "", HERE)
    with pytest.raises(Malformed, match="which user"):
        ready.app_keys.decide(request.id, True, LOCAL)
    with pytest.raises(NotAllowed):
        ready.app_keys.decide(request.id, True, OPERATOR, role=Role.ADMINISTRATOR)
    with pytest.raises(NotAllowed):
        ready.app_keys.decide(request.id, True, OPERATOR, user="ada")
    assert ready.app_keys.requests(ADMIN) == [request]


async def test_asking_is_bounded(ready: World) -> None:
    asked = 0
    for _ in range(240):  # every 30 s for two hours
        try:
            ready.app_keys.ask("My App", "", "", HERE)
            asked += 1
        except TooMany:
            pass
        ready.clock.pass_s(30.0)
    assert asked == 20
    ready.clock.pass_s(3600.0)
    for _ in range(3):
        ready.app_keys.ask("My App", "", "", HERE)
    with pytest.raises(TooMany) as refused:
        ready.app_keys.ask("My App", "", "", HERE)
    assert 0 < refused.value.retry_after_s <= 60
    for n in range(MAX_WAITING - 3):
        ready.app_keys.ask("My App", "", "", f"10.0.1.{n}")
    with pytest.raises(TooMany):
        ready.app_keys.ask("My App", "", "", "10.0.2.1")
    assert len(ready.app_keys.requests(ADMIN)) == MAX_WAITING


async def test_guessing_a_token_is_slow_and_locks_out_nobody(ready: World) -> None:
    _, token = ready.app_keys.ask("My App", "", "", HERE)
    refused = 0
    for n in range(25):
        try:
            await ready.app_keys.poll(f"guess {n}", HERE)
        except TooMany:
            refused += 1
        except NotFound:
            pass
    assert refused == 5
    assert await ready.app_keys.poll(token, HERE) is None


@pytest.mark.parametrize("app", ["", "  ", "a\nb", "\u202eevil", "x" * 256, "\ud800"])
async def test_a_programs_name_can_be_shown(ready: World, app: str) -> None:
    with pytest.raises(Malformed):
        ready.app_keys.ask(app, "", "", HERE)


async def test_who_listens_hears_of_a_request_and_of_its_end(ready: World) -> None:
    with ready.bus.listen() as listener:
        request, _ = ready.app_keys.ask("My App", "oz", "", HERE)
        assert await anext(listener) == AppKeyRequested(request.id, "My App", "oz", HERE)
        ready.app_keys.decide(request.id, True, OPERATOR)
        assert await anext(listener) == AppKeyRequestEnded(request.id)
        request, _ = ready.app_keys.ask("My App", "", "", HERE)
        await anext(listener)
        ready.clock.pass_s(POLLED_WITHIN_S + 0.1)
        async with asyncio.timeout(5):  # nobody asks anything: it is told all the same
            assert await anext(listener) == AppKeyRequestEnded(request.id)


async def test_no_token_and_no_key_is_kept_or_logged(
    ready: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ready.bus.listen() as listener:
        request, token = ready.app_keys.ask("My App", "", "", HERE)
        ready.app_keys.decide(request.id, True, OPERATOR)
        secret = await ready.app_keys.poll(token, HERE)
        heard = [await anext(listener) for _ in range(2)]
    assert secret
    assert f"polyhost key allow {request.id}" in caplog.text
    await ready.records.change(lambda c: c.execute("PRAGMA user_version"))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for planted in (token, secret):
        assert planted.encode() not in kept
        assert planted not in caplog.text + repr(heard) + repr(request) + repr(ready.accounts.keys(ADMIN))


async def test_a_revoked_key_opens_nothing(ready: World) -> None:
    _, secret = await ready.accounts.add_key("oz", None, "My App", (), None, ADMIN)
    for by in (Caller("una", Role.OPERATOR), GUEST):
        with pytest.raises(NotAllowed):
            await ready.accounts.revoke_secret(secret, by)
    await ready.accounts.revoke_secret(secret, OPERATOR)
    assert ready.accounts.caller_of_key(secret) == GUEST
    with pytest.raises(NotAllowed):
        await ready.accounts.revoke_secret(secret, OPERATOR)


async def test_a_full_disk_loses_no_permission(ready: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person allowed is fetched as soon as there is room (R13)."""
    request, token = ready.app_keys.ask("My App", "", "", HERE)
    ready.app_keys.decide(request.id, True, OPERATOR)

    async def refused(*_: object) -> None:
        raise NoSpace("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(ready.records, "keep_key", refused)
        with pytest.raises(NoSpace):
            await ready.app_keys.poll(token, HERE)
    secret = await ready.app_keys.poll(token, HERE)
    assert secret is not None
    assert ready.accounts.caller_of_key(secret).name == "oz"
    assert len(ready.accounts.keys(ADMIN, user="oz")) == 1
