"""``/api/login``, ``/api/logout``, ``/api/currentuser``: who the caller is.

Upstream: OctoPrint 1.11, docs/api/general.rst and access.rst.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.user import GUEST, Caller, Role
from polyhost.dialects.octoprint.commands import Flag
from polyhost.dialects.octoprint.permissions import GROUPS, keys_of, needs_of
from polyhost.services.sessions import Session
from polyhost.web.answers import Encoded, Headers, encoded
from polyhost.web.call import Call, truth_of
from polyhost.web.guard import cookies_of, csrf_cookie, session_cookie
from polyhost.web.routes import Routes

routes = Routes()

_REMEMBER_S: Final = 30 * 24 * 3600


class Login(msgspec.Struct):
    """By name and password, or (`passive`) by what came with the request."""

    user: str | None = None
    password: str | None = msgspec.field(default=None, name="pass")
    remember: Flag = False
    passive: Flag = False


class Anonymous(msgspec.Struct):
    needs: dict[str, list[str]]


class UserRecord(msgspec.Struct):
    name: str
    active: bool
    admin: bool
    user: bool
    apikey: None
    permissions: list[str]
    groups: tuple[str, ...]
    roles: list[str]
    needs: dict[str, list[str]]
    settings: dict[str, str]
    session: str
    is_external_client: bool = msgspec.field(name="_is_external_client")
    login_mechanism: str = msgspec.field(name="_login_mechanism")
    credentials_seen: str = msgspec.field(name="_credentials_seen")


class CurrentUser(msgspec.Struct):
    name: str | None
    permissions: list[str]
    groups: tuple[str, ...]


def record_of(session: Session, mechanism: str, now: float) -> UserRecord:
    caller = session.caller
    is_admin = caller.role is Role.ADMINISTRATOR
    return UserRecord(
        name=caller.name,
        active=True,
        admin=is_admin,
        user=True,
        apikey=None,
        permissions=[],
        groups=GROUPS[caller.role],
        roles=["user", "admin"] if is_admin else ["user"],
        needs=needs_of(caller),
        settings={},
        session=session.id,
        is_external_client=False,
        login_mechanism=mechanism,
        credentials_seen=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
    )


def current_user_of(caller: Caller) -> CurrentUser:
    return CurrentUser(caller.name or None, keys_of(caller), GROUPS[caller.role])


@routes.post("/api/login", open_door=True)
async def log_in(call: Call) -> Encoded:
    wish = await _wish(call)
    accounts, now = call.host.accounts, call.host.clock.now()
    if wish.user is not None and wish.password is not None:
        session = await accounts.log_in(wish.user, wish.password, call.peer.address)
        cookies = _cookies(call, session, _REMEMBER_S if truth_of(wish.remember) else None)
        return encoded(record_of(session, "password", now), headers=cookies)
    if not truth_of(wish.passive):
        raise Malformed("give user and pass, or passive")
    if call.caller.is_guest:
        return encoded(Anonymous(needs_of(GUEST)))
    known = accounts.session(cookies_of(call).get(session_cookie(call.scope), "")) if call.csrf else None
    session = known or accounts.begin_session(call.caller)
    return encoded(record_of(session, "remember_me" if known else "apikey", now))


async def _wish(call: Call) -> Login:
    if call.media_type == "application/json":
        return await call.body(Login)
    try:
        return msgspec.convert(await call.form(), Login)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from error


@routes.post("/api/logout", open_door=True)
async def log_out(call: Call) -> Encoded:
    session_id = cookies_of(call).get(session_cookie(call.scope))
    if session_id is not None:
        await call.host.accounts.log_out(session_id)
    gone = [_cookie(call, name, "", 0) for name in (session_cookie(call.scope), csrf_cookie(call.scope))]
    return encoded(Anonymous(needs_of(GUEST)), headers=gone)


@routes.get("/api/currentuser", open_door=True)
async def current_user(call: Call) -> CurrentUser:
    return current_user_of(call.caller)


def _cookies(call: Call, session: Session, max_age_s: int | None) -> Headers:
    return [
        _cookie(call, session_cookie(call.scope), session.id, max_age_s),
        _cookie(call, csrf_cookie(call.scope), session.csrf, max_age_s, hidden=False),
    ]


def _cookie(call: Call, name: str, value: str, max_age_s: int | None, *, hidden: bool = True) -> tuple[bytes, bytes]:
    """`hidden` from the page's scripts; the CSRF token is not, since they must repeat it."""
    said = f"{name}={value}; Path=/; SameSite=Strict"
    said += "" if max_age_s is None else f"; Max-Age={max_age_s}"
    said += "; HttpOnly" if hidden else ""
    said += "; Secure" if call.peer.scheme == "https" else ""
    return b"set-cookie", said.encode()
