"""Log-ins: who stands behind a cookie, or behind the id that a page shows when it opens a socket.

Sessions live in memory.  One that is to be remembered has a token as well, of which a keyed hash is in the database:
whoever shows the token, after a restart too, has that session again, the same id and the same token against forgery,
for both follow from it.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from polyhost.core.errors import NotAllowed
from polyhost.core.ports import AccountRecords, Clock
from polyhost.core.user import Caller, Remembered

MAX_SESSIONS: Final = 10_000
SESSION_IDLE_S: Final = 7 * 24 * 3600.0
REMEMBERED_S: Final = 30 * 24 * 3600.0
MAX_REMEMBERED: Final = 20
"""Of one user; one more, and the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in.  `csrf` is what unsafe requests with this session's cookie must repeat.

    `token` brings a session that is remembered back; only whoever has just logged in is told it.
    """

    id: str = field(repr=False)
    csrf: str = field(repr=False)
    caller: Caller
    token: str = field(default="", repr=False)
    remembered: bool = False


class Sessions:
    def __init__(self, records: AccountRecords, clock: Clock, secret_key: bytes) -> None:
        self._records = records
        self._clock = clock
        self._secret_key = secret_key
        self._live: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        self._of_keys: dict[str, str] = {}
        self._remembered: dict[bytes, Remembered] = {one.digest: one for one in records.load_remembered()}

    def begin(self, caller: Caller) -> Session:
        """A session for somebody known already; whoever came by a key has one session with it, however often."""
        if caller.is_guest:
            raise NotAllowed("a guest has no session")
        if caller.key is not None:
            session = self.find(self._of_keys.get(caller.key.id, ""))
            if session is not None:
                return session
        session = self._keep(Session(secrets.token_urlsafe(32), secrets.token_urlsafe(24), caller))
        if caller.key is not None:
            self._of_keys[caller.key.id] = session.id
        return session

    async def begin_remembered(self, caller: Caller) -> Session:
        """A session that lasts for thirty days, over restarts."""
        token = secrets.token_urlsafe(32)
        new = Remembered(self._derived(token, b"token"), caller.name, self._clock.now() + REMEMBERED_S)
        mine = sorted((one for one in self._remembered.values() if one.user == caller.name), key=_end)
        gone = [one.digest for one in self._remembered.values() if one.ends_at <= self._clock.now()]
        gone += [one.digest for one in mine[: max(0, len(mine) + 1 - MAX_REMEMBERED)]]
        await self._records.keep_remembered(new, gone)
        for digest in gone:
            self._remembered.pop(digest, None)
        self._remembered[new.digest] = new
        session = self._restored(token, caller)
        return Session(session.id, session.csrf, caller, token, remembered=True)

    def recall(self, token: str, caller_of: Callable[[str], Caller]) -> Session | None:
        """The session that `token` stands for, live again; None when there is none, or its end has come."""
        found = self._remembered.get(self._derived(token, b"token"))
        if found is None or found.ends_at <= self._clock.now():
            return None
        caller = caller_of(found.user)
        return None if caller.is_guest else self._restored(token, caller)

    def find(self, session_id: str) -> Session | None:
        """The session, and a note that it is in use; None when it never was, was left, or idled for a week."""
        found = self._live.get(session_id)
        if found is None:
            return None
        session, seen_at = found
        now = self._clock.monotonic()
        if now - seen_at > SESSION_IDLE_S:
            self._end(session_id)
            return None
        self._live[session_id] = (session, now)
        self._live.move_to_end(session_id)
        return session

    async def end(self, session_id: str, token: str) -> Caller | None:
        """End one session, and what remembers it; whose it was."""
        found = self._live.get(session_id)
        self._end(session_id)
        digest = self._derived(token, b"token")
        if digest in self._remembered:
            await self._records.drop_remembered([digest])
            self._remembered.pop(digest, None)
        return found[0].caller if found is not None else None

    async def forget(self, user: str) -> None:
        """Nothing brings a session of `user` back; those that live, live on."""
        digests = [one.digest for one in self._remembered.values() if one.user == user]
        if digests:
            await self._records.drop_remembered(digests)
            for digest in digests:
                self._remembered.pop(digest, None)

    def end_all(self, ends: Callable[[Caller], bool]) -> None:
        for session_id in [session_id for session_id, (session, _) in self._live.items() if ends(session.caller)]:
            self._end(session_id)

    def _restored(self, token: str, caller: Caller) -> Session:
        session_id, csrf = self._derived(token, b"id").hex(), self._derived(token, b"csrf").hex()
        session = Session(session_id, csrf, caller, remembered=True)
        return self.find(session.id) or self._keep(session)

    def _keep(self, session: Session) -> Session:
        while len(self._live) >= MAX_SESSIONS:
            self._end(next(iter(self._live)))
        self._live[session.id] = (session, self._clock.monotonic())
        return session

    def _end(self, session_id: str) -> None:
        found = self._live.pop(session_id, None)
        if found is not None and found[0].caller.key is not None:
            self._of_keys.pop(found[0].caller.key.id, None)

    def _derived(self, token: str, what: bytes) -> bytes:
        secret = token.encode("utf-8", "replace")
        return hashlib.blake2b(secret, key=self._secret_key, person=what, digest_size=32).digest()


def _end(one: Remembered) -> float:
    return one.ends_at
