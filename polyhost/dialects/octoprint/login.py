"""``/api/login``, ``/api/logout``, ``/api/currentuser``: who the caller is.

Upstream: OctoPrint 1.11, docs/api/general.rst and access.rst.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.user import GUEST, Caller, User
from polyhost.dialects.octoprint import access
from polyhost.dialects.octoprint.commands import Flag
from polyhost.dialects.octoprint.permissions import GROUPS, keys_of, needs_of
from polyhost.services.sessions import REMEMBERED_S, Session
from polyhost.web.answers import Encoded, Headers, encoded
from polyhost.web.bodies import decoded
from polyhost.web.call import MAX_JSON, Call, query_of, truth_of
from polyhost.web.guard import CSRF, REMEMBER, SESSION, cookie_name, cookie_of, cookies_of
from polyhost.web.routes import Routes

routes = Routes()

_ACTIVE_LOGOUT: Final = "active_logout"
_EMPTY: Final = frozenset((b"", b"{}", b"null"))


class Login(msgspec.Struct):
    """By name and password, or (`passive`) by what came with the request."""

    user: str | None = None
    password: str | None = msgspec.field(default=None, name="pass")
    remember: Flag = False
    passive: Flag = False


class Anonymous(msgspec.Struct):
    needs: dict[str, list[str]]


class LoginRecord(access.UserRecord, kw_only=True):
    """``session`` is what the push socket wants to see."""

    session: str
    is_external_client: bool = msgspec.field(default=False, name="_is_external_client")
    login_mechanism: str = msgspec.field(name="_login_mechanism")
    credentials_seen: str = msgspec.field(name="_credentials_seen")


class CurrentUser(msgspec.Struct):
    name: str | None
    permissions: list[str]
    groups: tuple[str, ...]


def record_of(session: Session, settings: dict[str, object], mechanism: str, now: float) -> LoginRecord:
    caller = session.caller
    assert caller.role is not None  # a guest has no session
    return LoginRecord(
        *msgspec.structs.astuple(access.record_of(User(caller.name, caller.role), settings)),
        session=session.id,
        login_mechanism=mechanism,
        credentials_seen=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
    )


def current_user_of(caller: Caller) -> CurrentUser:
    return CurrentUser(caller.name or None, keys_of(caller), GROUPS[caller.role])


@routes.post("/api/login", open_door=True)
async def log_in(call: Call) -> Encoded:
    wish = await _wish(call)
    accounts = call.host.accounts
    if wish.user is not None and wish.password is not None:
        remember = truth_of(wish.remember)
        session = await accounts.log_in(wish.user, wish.password, call.peer.address, remember=remember)
        return encoded(_record(call, session, "password"), headers=_cookies(call, session))
    if not truth_of(wish.passive):
        raise Malformed("give user and pass, or passive")
    if call.caller.is_guest:
        return encoded(Anonymous(needs_of(GUEST)))
    if call.session is not None:
        return encoded(_record(call, call.session, "remember_me" if call.session.remembered else "password"))
    return encoded(_record(call, accounts.begin_session(call.caller), "apikey"))


def _record(call: Call, session: Session, mechanism: str) -> LoginRecord:
    name = session.caller.name
    try:
        settings = call.host.accounts.settings_of(name, by=session.caller)
    except NotFound:  # the local socket's caller is no user
        settings = {}
    return record_of(session, settings, mechanism, call.host.clock.now())


async def _wish(call: Call) -> Login:
    """What the body says.  Farms and older apps send none, or an empty one, and ``?passive=true``."""
    said = (await call.content(MAX_JSON)).strip()
    if said in _EMPTY:
        return Login(passive=call.flag("passive"))
    if call.media_type == "application/json":
        return decoded(said, Login)
    try:
        return msgspec.convert(query_of(said), Login)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from error


@routes.post("/api/logout", open_door=True)
async def log_out(call: Call) -> Encoded:
    cookies = cookies_of(call)
    await call.host.accounts.log_out(cookie_of(call, cookies, SESSION), cookie_of(call, cookies, REMEMBER))
    gone = [_cookie(call, name, "", 0) for name in (SESSION, CSRF, REMEMBER)]
    return encoded(Anonymous(needs_of(GUEST)), headers=[*gone, _cookie(call, _ACTIVE_LOGOUT, "true", None)])


@routes.get("/api/currentuser", open_door=True)
async def current_user(call: Call) -> CurrentUser:
    return current_user_of(call.caller)


def _cookies(call: Call, session: Session) -> Headers:
    """Those of a log-in; they stay for as long as the browser runs, or as the session is remembered."""
    max_age_s = round(REMEMBERED_S) if session.token else None
    cookies = [
        _cookie(call, SESSION, session.id, max_age_s),
        _cookie(call, CSRF, session.csrf, max_age_s, hidden=False),
        _cookie(call, _ACTIVE_LOGOUT, "", 0),
    ]
    return [*cookies, _cookie(call, REMEMBER, session.token, max_age_s)] if session.token else cookies


def _cookie(call: Call, name: str, value: str, max_age_s: int | None, *, hidden: bool = True) -> tuple[bytes, bytes]:
    """`hidden` from the page's scripts; the CSRF token is not, since they must repeat it."""
    said = f"{cookie_name(call, name)}={value}; Path={call.root}/; SameSite=Strict"
    said += "" if max_age_s is None else f"; Max-Age={max_age_s}"
    said += "; HttpOnly" if hidden else ""
    said += "; Secure" if call.peer.scheme == "https" else ""
    return b"set-cookie", said.encode()
