"""Who calls, before anything else is looked at: keys, cookies, the local socket; and what a foreign page may not do.

A credential is, first match wins: an access token (``Authorization: Bearer``, ``X-Access-Token``, ``access_token=`` in
the URL); a one-shot token, ``token=``; a key (``apikey=``, ``X-Api-Key``, ``Authorization: Bearer``); the cookie of a
session, or the one that brings it back after a restart; the address, where the owner trusts its network.  A wrong one
makes a guest, as none does; but a wrong ``token=`` and an empty key are none, since some clients always send them.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final

from polyhost.core.errors import Malformed
from polyhost.services.accounts import LOCAL
from polyhost.services.host import Host
from polyhost.web.addressing import KnownHosts
from polyhost.web.call import Call, Scope
from polyhost.web.errors import Misdirected
from polyhost.web.trust import Trust

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

NO_KEYS: Final = frozenset({"", "False"})  # KlipperScreen's words for none
SESSION: Final = "session"
CSRF: Final = "csrf_token"
REMEMBER: Final = "remember_token"


class Guard:
    def __init__(self, host: Host, known_hosts: KnownHosts, local_socket: str) -> None:
        self._host = host
        self._known_hosts = known_hosts
        self._local_socket = local_socket
        self._trust = Trust(host.config.access.trusted, known_hosts)

    def identify(self, call: Call) -> None:
        """Set `call.caller`; `Misdirected` for a cookie under a name that is not ours, `TooMany` for guessed tokens."""
        if self._is_local(call.scope):
            call.caller = LOCAL
            return
        accounts, address = self._host.accounts, call.peer.address
        if access := access_token_of(call):
            call.caller = accounts.tokens.caller_of(access)
            return
        token = call.query.get("token", "") if b"token=" in call.scope["query_string"] else ""
        if token and (caller := accounts.tokens.caller_of_one_shot(token, address)) is not None:
            call.caller = caller
            return
        if key := key_of(call):
            call.caller = accounts.caller_of_key(key)
        else:
            self._identify_by_cookie(call)
            if call.session is None:
                call.caller = self._trust.caller_of(call)
        if token and call.caller.is_guest:
            accounts.tokens.note_wrong(address)

    def trusts(self, call: Call) -> bool:
        """Whether nobody needs a login where `call` comes from."""
        return not self._trust.caller_of(call).is_guest

    def _identify_by_cookie(self, call: Call) -> None:
        cookies = cookies_of(call)
        session_id, token = cookie_of(call, cookies, SESSION), cookie_of(call, cookies, REMEMBER)
        if not session_id and not token:
            return
        name = call.peer.host.name
        if not self._known_hosts.knows(name, (printer.slug for printer in self._host.printers.all())):
            raise Misdirected(f"{name} is not a name of this host; add it to server.hosts to log in under it")
        accounts = self._host.accounts
        call.session = accounts.session(session_id) or (accounts.recalled(token) if token else None)
        if call.session is not None:
            call.caller = call.session.caller

    def check_forgery(self, call: Call) -> None:
        """Unsafe methods of a cookie's session prove that the page is ours: cookie and header hold its token (S8)."""
        if not call.csrf or call.scope["method"] in SAFE_METHODS:
            return
        given = call.headers.get(b"x-csrf-token", b"")
        kept = cookie_of(call, cookies_of(call), CSRF).encode()
        token = call.csrf.encode()
        if not (hmac.compare_digest(given, token) and hmac.compare_digest(kept, token)):
            raise Malformed("CSRF validation failed")

    def _is_local(self, scope: Scope) -> bool:
        server = scope.get("server")
        return bool(self._local_socket) and server is not None and server[0] == self._local_socket


def key_of(call: Call) -> str:
    """The key that came with the request, "" when there is none; what clients send that have none is none, either."""
    if b"apikey" in call.scope["query_string"]:
        key = call.query.get("apikey", "")
        if key not in NO_KEYS:
            return key
    key = call.header(b"x-api-key")
    return key if key not in NO_KEYS else _bearer(call)


def access_token_of(call: Call) -> str:
    """The access token that came with the request, "" when there is none; a Bearer may also be a key."""
    bearer = _bearer(call)
    if bearer.count(".") == 2:
        return bearer
    said = call.header(b"x-access-token")
    if not said and b"access_token=" in call.scope["query_string"]:
        said = call.query.get("access_token", "")
    return said


def _bearer(call: Call) -> str:
    scheme, _, token = call.header(b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def cookies_of(call: Call) -> dict[str, str]:
    said = call.header(b"cookie")
    if not said:
        return {}
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(said).items()}
    except CookieError:
        return {}


def cookie_of(call: Call, cookies: dict[str, str], name: str) -> str:
    """The value of our cookie `name`: the one of this address, else the one of the whole host, else ""."""
    own = cookies.get(cookie_name(call, name))
    return own if own is not None else cookies.get(f"{name}_P{_port(call)}", "")


def cookie_name(call: Call, name: str) -> str:
    """With the port, since all ports of a host name share cookies, and with the prefix of the path, if it has one."""
    root = call.root.replace("/", "|")
    return f"{name}_P{_port(call)}" + (f"_R{root}" if root else "")


def _port(call: Call) -> int:
    """As the client sees it."""
    return call.peer.host.port or (443 if call.peer.scheme == "https" else 80)
