"""Who calls, before anything else is looked at: keys, cookies, the local socket; and what a foreign page may not do.

A credential is, first match wins: ``apikey=`` in the URL, ``X-Api-Key``, ``Authorization: Bearer``, the cookie
of a session.  A wrong one makes a guest, as none does.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final

from polyhost.core.errors import Malformed
from polyhost.core.user import GUEST
from polyhost.services.accounts import LOCAL
from polyhost.services.host import Host
from polyhost.web.addressing import KnownHosts
from polyhost.web.call import Call, Scope
from polyhost.web.errors import Misdirected

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    def __init__(self, host: Host, known_hosts: KnownHosts, local_socket: str) -> None:
        self._host = host
        self._known_hosts = known_hosts
        self._local_socket = local_socket

    def identify(self, call: Call) -> None:
        """Set `call.caller`; `Misdirected` for a cookie under a name that is not ours."""
        if self._is_local(call.scope):
            call.caller = LOCAL
            return
        key = key_of(call)
        if key is not None:
            call.caller = self._host.accounts.caller_of_key(key) if key else GUEST
            return
        session_id = cookies_of(call).get(session_cookie(call.scope))
        if session_id is None:
            return
        name = call.peer.host.name
        if not self._known_hosts.knows(name, (printer.slug for printer in self._host.printers.all())):
            raise Misdirected(f"{name} is not a name of this host; add it to server.hosts to log in under it")
        session = self._host.accounts.session(session_id)
        if session is not None:
            call.caller, call.csrf = session.caller, session.csrf

    def check_forgery(self, call: Call) -> None:
        """Unsafe methods of a cookie's session prove that the page is ours: cookie and header hold its token (S8)."""
        if not call.csrf or call.scope["method"] in SAFE_METHODS:
            return
        given = call.headers.get(b"x-csrf-token", b"")
        kept = cookies_of(call).get(csrf_cookie(call.scope), "").encode()
        token = call.csrf.encode()
        if not (hmac.compare_digest(given, token) and hmac.compare_digest(kept, token)):
            raise Malformed("CSRF validation failed")

    def _is_local(self, scope: Scope) -> bool:
        server = scope.get("server")
        return bool(self._local_socket) and server is not None and server[0] == self._local_socket


def key_of(call: Call) -> str | None:
    """The key that came with the request, None when there is none ("" is an empty one)."""
    if b"apikey" in call.scope["query_string"]:
        key = call.query.get("apikey")
        if key is not None:
            return key
    if b"x-api-key" in call.headers:
        return call.header(b"x-api-key")
    scheme, _, token = call.header(b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def cookies_of(call: Call) -> dict[str, str]:
    said = call.header(b"cookie")
    if not said:
        return {}
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(said).items()}
    except CookieError:
        return {}


def session_cookie(scope: Scope) -> str:
    """Cookies are shared by all ports of a name, so theirs is in ours."""
    return f"session_P{_port(scope)}"


def csrf_cookie(scope: Scope) -> str:
    return f"csrf_token_P{_port(scope)}"


def _port(scope: Scope) -> int:
    server = scope.get("server")
    return (server[1] if server else None) or 80
