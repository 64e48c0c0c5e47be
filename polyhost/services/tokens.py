"""Tokens of programs that log in with a name and a password, and tokens that are good for one request.

A log-in has a refresh token for ninety days, of which a keyed hash is in the database, and makes access tokens of an
hour with it.  Both are JWTs that this host signs (HS256, with a key that follows from the host's secret); an access
token counts for as long as the log-in that it names, so that an end of it ends all at once.  One-shot tokens live in
memory for five seconds, for programs that can put a credential nowhere but into a URL.
"""

import base64
import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt

from polyhost.core.ports import AccountRecords, Clock
from polyhost.core.user import Caller, Remembered

if TYPE_CHECKING:
    from jwt.types import Options

ACCESS_S: Final = 3600.0
REFRESH_S: Final = 90 * 24 * 3600.0
ONE_SHOT_S: Final = 5.0
MAX_LOGINS: Final = 50
"""Of one user; one more, and the oldest ends."""
MAX_ONE_SHOTS: Final = 4096
MAX_ONE_SHOTS_OF_CALLER: Final = 64
MAX_TOKEN: Final = 4096
"""Characters; what is longer is none of ours, and is not read."""

AUDIENCE: Final = "Moonraker"
_ALGORITHM: Final = "HS256"
_UNCHECKED: "Final[Options]" = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
"""What is checked here, by our own clock."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one log-in is given; told this once."""

    access: str
    refresh: str


class Logins:
    """Log-ins that have tokens, by a name of their own that opens nothing."""

    def __init__(self, records: AccountRecords, clock: Clock, secret_key: bytes) -> None:
        self._records = records
        self._clock = clock
        self._secret_key = secret_key
        self._signing_key = hashlib.blake2b(key=secret_key, person=b"jwt", digest_size=32).digest()
        self._logins = {_name_of(one.digest): one for one in records.load_logins()}

    def is_live(self, login: str, user: str) -> bool:
        """Whether that log-in of `user` goes on."""
        found = self._logins.get(login)
        return found is not None and found.user == user and found.ends_at > self._clock.now()

    async def begin(self, user: str, issuer: str) -> Tokens:
        """A log-in of `user`, who asked at the address `issuer`."""
        refresh = self._signed(user, issuer, "refresh", REFRESH_S, jti=secrets.token_urlsafe(24))
        new = Remembered(self._digest(refresh), user, self._clock.now() + REFRESH_S)
        mine = sorted((one for one in self._logins.values() if one.user == user), key=lambda one: one.ends_at)
        gone = {one.digest for one in self._logins.values() if one.ends_at <= self._clock.now()}
        gone |= {one.digest for one in mine[: max(0, len(mine) + 1 - MAX_LOGINS)]}
        await self._records.keep_login(new, list(gone))
        for digest in gone:
            self._logins.pop(_name_of(digest), None)
        self._logins[_name_of(new.digest)] = new
        return Tokens(self._access(user, issuer, _name_of(new.digest)), refresh)

    def refreshed(self, refresh: str, issuer: str) -> tuple[str, str, str] | None:
        """Whose refresh token that is, its log-in, and a new access token; None when it is none that counts."""
        if self._claims(refresh, "refresh") is None:
            return None
        found = self._logins.get(login := _name_of(self._digest(refresh)))
        if found is None or not self.is_live(login, found.user):
            return None
        return found.user, login, self._access(found.user, issuer, login)

    def named(self, access: str) -> tuple[str, str] | None:
        """The user of an access token and its log-in; None when it is none that counts."""
        claims = self._claims(access, "access")
        if claims is None:
            return None
        user, login = claims.get("username"), claims.get("login")
        if not isinstance(user, str) or not isinstance(login, str) or not self.is_live(login, user):
            return None
        return user, login

    async def end(self, user: str) -> bool:
        """End all of a user's; whether there was any."""
        digests = [one.digest for one in self._logins.values() if one.user == user]
        if digests:
            await self._records.drop_logins(digests)
            for digest in digests:
                self._logins.pop(_name_of(digest), None)
        return bool(digests)

    def _access(self, user: str, issuer: str, login: str) -> str:
        return self._signed(user, issuer, "access", ACCESS_S, login=login)

    def _signed(self, user: str, issuer: str, kind: str, lasts_s: float, **more: str) -> str:
        now = int(self._clock.now())
        claims = {"iss": issuer, "aud": AUDIENCE, "iat": now, "exp": now + int(lasts_s)}
        return jwt.encode(
            {**claims, "username": user, "token_type": kind, **more}, self._signing_key, algorithm=_ALGORITHM
        )

    def _claims(self, token: str, kind: str) -> dict[str, Any] | None:
        """What a token of ours says, while it counts by our own clock; None otherwise."""
        if len(token) > MAX_TOKEN:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(token, self._signing_key, algorithms=[_ALGORITHM], options=_UNCHECKED)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        ends_at = claims.get("exp")
        is_ours = claims.get("aud") == AUDIENCE and claims.get("token_type") == kind
        return claims if is_ours and isinstance(ends_at, int) and ends_at > self._clock.now() else None

    def _digest(self, refresh: str) -> bytes:
        secret = refresh.encode("utf-8", "replace")
        return hashlib.blake2b(secret, key=self._secret_key, person=b"refresh", digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class _OneShot:
    caller: Caller
    address: str
    ends: float  # monotonic


class OneShots:
    """Tokens that stand for who asked for them: for five seconds, once, from the same address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made: OrderedDict[bytes, _OneShot] = OrderedDict()

    def make(self, caller: Caller, address: str) -> str:
        """32 characters of base32.  Beyond the bounds the oldest end: of a caller's own, then of everybody's."""
        self._bury()
        who = _key_of(caller)
        if Counter(_key_of(one.caller) for one in self._made.values())[who] >= MAX_ONE_SHOTS_OF_CALLER:
            del self._made[next(digest for digest, one in self._made.items() if _key_of(one.caller) == who)]
        while len(self._made) >= MAX_ONE_SHOTS:
            self._made.popitem(last=False)
        token = base64.b32encode(secrets.token_bytes(20)).decode()
        self._made[_plain_digest(token)] = _OneShot(caller, address, self._clock.monotonic() + ONE_SHOT_S)
        return token

    def redeem(self, token: str, address: str) -> Caller | None:
        """Whom it stands for, this once; None when it is no such token, or of another address, which leaves it be."""
        self._bury()
        digest = _plain_digest(token)
        found = self._made.get(digest)
        if found is None or found.address != address:
            return None
        del self._made[digest]
        return found.caller

    def end_all(self, ends: Callable[[Caller], bool]) -> None:
        for digest in [digest for digest, one in self._made.items() if ends(one.caller)]:
            del self._made[digest]

    def _bury(self) -> None:
        now = self._clock.monotonic()
        while self._made and next(iter(self._made.values())).ends <= now:
            self._made.popitem(last=False)


def _name_of(digest: bytes) -> str:
    """Of a log-in: what access tokens name it by."""
    return digest[:16].hex()


def _key_of(caller: Caller) -> tuple[str, str]:
    return caller.name, caller.key.id if caller.key is not None else ""


def _plain_digest(token: str) -> bytes:
    """So that the time of a look-up tells nothing."""
    return hashlib.blake2b(token[:MAX_TOKEN].encode("utf-8", "replace"), digest_size=32).digest()
