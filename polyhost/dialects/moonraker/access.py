"""``/access``: keys, one-shot tokens, log-ins, users.

Upstream: docs/external_api/authorization.md; specification, 2.5.  Captures: ``*_GET_access_*``.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from polyhost.core.errors import Malformed, NotKnown
from polyhost.core.events import RightsChanged, UserAdded
from polyhost.core.user import Caller, Permission, Role, User
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Notification, Resource
from polyhost.services.accounts import LOCAL
from polyhost.services.host import Host
from polyhost.services.passwords import RESERVED
from polyhost.services.tokens import Tokens
from polyhost.web.addressing import base_url

resource = Resource("authorization")

SOURCE: Final = "moonraker"
TRUSTED_USER: Final = "_TRUSTED_USER_"
API_KEY_USER: Final = "_API_KEY_USER_"


class Login(msgspec.Struct):
    username: str
    password: str
    source: str = SOURCE


class Refresh(msgspec.Struct):
    refresh_token: str


class NamedUser(msgspec.Struct):
    username: str


class NewPassword(msgspec.Struct):
    password: str
    new_password: str


class LoggedIn(msgspec.Struct):
    username: str
    token: str
    source: str
    refresh_token: str
    action: str


class Refreshed(msgspec.Struct):
    username: str
    token: str
    source: str
    action: str = "user_jwt_refresh"


class Done(msgspec.Struct):
    username: str
    action: str


class UserRecord(msgspec.Struct):
    """`created_on` is in seconds since the epoch."""

    username: str
    source: str
    created_on: float


class UserList(msgspec.Struct):
    users: list[UserRecord]


class Info(msgspec.Struct):
    default_source: str
    available_sources: list[str]
    login_required: bool
    trusted: bool


def name_of(caller: Caller) -> str:
    """What clients call whoever asks: by a key, or from a trusted network, they are nobody in particular."""
    if caller.key is not None:
        return API_KEY_USER
    return TRUSTED_USER if caller.trusted or caller == LOCAL else caller.name


def record_of(user: User) -> UserRecord:
    return UserRecord(user.name, SOURCE, user.created_at)


def record_of_caller(caller: Caller, users: list[User]) -> UserRecord:
    """Of whoever asks; those without an account of their own are as old as the first one."""
    since = min((user.created_at for user in users), default=0.0)
    if caller.key is not None:
        since = caller.key.created_at
    named = next((user.created_at for user in users if user.name == caller.name), since)
    return UserRecord(name_of(caller), SOURCE, since if name_of(caller) in RESERVED else named)


def _logged_in(caller: Caller, tokens: Tokens, action: str) -> LoggedIn:
    return LoggedIn(caller.name, tokens.access, SOURCE, tokens.refresh, action)


def _checked(said: Login) -> Login:
    """`Malformed` for who cannot log in by name here."""
    if said.source.lower() != SOURCE:
        raise Malformed(f"Invalid 'source': {said.source}; there is {SOURCE}")
    if said.username in RESERVED:
        raise Malformed(f"Invalid Request for user {said.username}")
    return said


def _require_user(caller: Caller, what: str) -> None:
    """`Malformed` unless `caller` is a person with a name."""
    if name_of(caller) in RESERVED:
        raise Malformed(f"Invalid {what} for user {name_of(caller)}")


def _issuer(request: Request) -> str:
    return base_url(request.call.peer)


# Keys and one-shot tokens


@resource.get("/access/api_key", needs=Permission.ACCOUNTS, asked_by_all=True)
async def api_key(request: Request) -> str:
    """At the address of a printer, the one of that printer alone."""
    return await request.host.accounts.shown_keys.get(request.call.addressed or "", by=request.caller)


@resource.post("/access/api_key", needs=Permission.ACCOUNTS)
async def new_api_key(request: Request) -> str:
    return await request.host.accounts.shown_keys.renew(request.call.addressed or "", by=request.caller)


@resource.get("/access/oneshot_token", needs=Permission.LOOK)
async def oneshot_token(request: Request) -> str:
    return request.host.accounts.tokens.one_shot(request.caller, request.call.peer.address)


# Log-ins


@resource.post("/access/login", open_door=True)
async def log_in(request: Request) -> LoggedIn:
    said = _checked(request.read(Login))
    caller, tokens = await request.host.accounts.tokens.log_in(
        said.username, said.password, request.call.peer.address, _issuer(request)
    )
    if request.connection is not None:
        request.connection.become(caller)
    return _logged_in(caller, tokens, "user_logged_in")


@resource.post("/access/logout", needs=Permission.LOOK)
async def log_out(request: Request) -> Done:
    caller = request.caller
    _require_user(caller, "log out request")
    accounts = request.host.accounts
    await accounts.tokens.log_out(caller)
    request.call.part(Live).connections.rights_changed(accounts, caller.name)  # before they ask anything more
    return Done(caller.name, "user_logged_out")


@resource.post("/access/refresh_jwt", open_door=True)
async def refresh_jwt(request: Request) -> Refreshed:
    caller, token = request.host.accounts.tokens.refreshed(request.read(Refresh).refresh_token, _issuer(request))
    return Refreshed(caller.name, token, SOURCE)


@resource.get("/access/info", open_door=True)
async def info(request: Request) -> Info:
    is_trusted = request.caller.trusted or request.caller == LOCAL or request.call.is_trusted
    return Info(SOURCE, [SOURCE], not is_trusted, is_trusted)


# Users


@resource.get("/access/user", needs=Permission.LOOK)
async def current_user(request: Request) -> UserRecord:
    if request.caller.is_guest:
        raise NotKnown("nobody has logged in")
    return record_of_caller(request.caller, request.host.accounts.users(LOCAL))


@resource.post("/access/user", needs=Permission.ACCOUNTS)
async def add_user(request: Request) -> LoggedIn:
    said = _checked(request.read(Login))
    accounts = request.host.accounts
    user = await accounts.add_user(said.username, Role.OPERATOR, said.password, by=request.caller)
    caller, tokens = await accounts.tokens.log_in(user.name, said.password, request.call.peer.address, _issuer(request))
    return _logged_in(caller, tokens, "user_created")


@resource.delete("/access/user", needs=Permission.ACCOUNTS)
async def remove_user(request: Request) -> Done:
    name = request.read(NamedUser).username
    accounts = request.host.accounts
    if name in RESERVED:
        raise Malformed(f"Invalid Request for reserved user {name}")
    if name not in {user.name for user in accounts.users(request.caller)}:
        raise Malformed(f"No registered user: {name}")
    await accounts.remove_user(name, by=request.caller)
    return Done(name, "user_deleted")


@resource.post("/access/user/password", needs=Permission.LOOK)
async def set_password(request: Request) -> Done:
    said, caller = request.read(NewPassword), request.caller
    _require_user(caller, "Reset Request")
    await request.host.accounts.set_password(
        caller.name, said.new_password, caller, current=said.password, address=request.call.peer.address
    )
    return Done(caller.name, "user_password_reset")


@resource.get("/access/users/list", needs=Permission.LOOK)
async def users(request: Request) -> UserList:
    """Everybody for administrators, oneself for others."""
    return UserList([record_of(user) for user in request.host.accounts.users(request.caller)])


# What is told


@resource.on(UserAdded)
def told_of_new(notice: UserAdded, host: Host) -> Iterator[Notification]:
    yield Notification("user_created", ({"username": notice.user},), needs=Permission.ACCOUNTS)


@resource.on(RightsChanged)
def told_of_change(notice: RightsChanged, host: Host) -> Iterator[Notification]:
    if notice.reason == "removed":
        yield Notification("user_deleted", ({"username": notice.user},), needs=Permission.ACCOUNTS)
