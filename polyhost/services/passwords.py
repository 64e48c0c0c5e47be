"""Names and passwords: what they may be, and finding out slowly whether they are right (S10, S11).

Of passwords argon2id is kept.  A wrong name takes as long as a wrong password and is told in the same words.
"""

import asyncio
import logging
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import argon2

from polyhost.core.errors import Malformed, TooMany, WrongLogin
from polyhost.core.ports import Clock
from polyhost.core.user import User
from polyhost.services.throttle import Throttle, network_of

log = logging.getLogger(__name__)

MAX_NAME_BYTES: Final = 64
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 1024
RESERVED: Final = frozenset({"_API_KEY_USER_", "_TRUSTED_USER_"})
"""What clients are told instead of a name; nobody is called so."""
_VERIFYING_AT_ONCE: Final = 2
_VERIFYING_WAITING: Final = 16

Found = Callable[[str], tuple[User, str] | None]
"""The user of a name, and the hash of their password."""


class Passwords:
    def __init__(self, clock: Clock) -> None:
        self._by_pair = Throttle(clock, 5, 60.0)
        self._by_address = Throttle(clock, 20, 3600.0)
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        self._verifiers = ThreadPoolExecutor(_VERIFYING_AT_ONCE, "argon2")
        self._verifying = 0

    async def hash(self, password: str) -> str:
        """What is kept of `password`; `Malformed` when it is too short or too long."""
        password = checked_password(password)
        return await asyncio.get_running_loop().run_in_executor(self._verifiers, self._hasher.hash, password)

    async def proven(self, found: Found, name: str, password: str, address: str) -> User:
        """The active user whose name and password these are.

        `WrongLogin` in the same words for a wrong password, an unknown and an inactive user; `TooMany` after five
        wrong ones in a minute of this address and account, or twenty in an hour of this address.
        """
        name = unicodedata.normalize("NFC", name)[:MAX_NAME_BYTES]  # throttles remember it
        source = network_of(address)
        self._by_address.check(source)
        self._by_pair.check(source, name)
        if self._verifying >= _VERIFYING_AT_ONCE + _VERIFYING_WAITING:
            raise TooMany("too many people log in at once; wait 2 s", retry_after_s=2.0)
        # Counted before the answer is known, so that many at once are no way round.
        self._by_address.note(source)
        self._by_pair.note(source, name)
        before = found(name)
        user, password_hash = before or (None, None)
        is_right = len(password) <= MAX_PASSWORD and await self._verify(password_hash, password)
        if not is_right or user is None or not user.active or found(name) != before:
            log.warning("a log-in from %s failed", address)
            raise WrongLogin("the name or the password is wrong")
        self._by_address.forgive(source)
        self._by_pair.forgive(source, name)
        return user

    async def _verify(self, password_hash: str | None, password: str) -> bool:
        self._verifying += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._verifiers, _matches, self._hasher, password_hash, password)
        finally:
            self._verifying -= 1


def checked_user_name(name: str) -> str:
    """`name` in NFC, if it may name a user: 1 to 64 bytes, no blanks at its ends, no /, no control characters."""
    name = unicodedata.normalize("NFC", name)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Malformed("a user name must be valid Unicode") from None
    if not 1 <= size <= MAX_NAME_BYTES or name != name.strip() or has_control(name) or "/" in name:
        raise Malformed(
            f"a user name has 1 to {MAX_NAME_BYTES} bytes, no blanks at its ends, no / and no control characters"
        )
    if name in RESERVED:
        raise Malformed(f"nobody can be called {name}")
    return name


def checked_password(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Malformed(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise Malformed("a password must be valid Unicode") from None
    return password


def checked_app_name(app: str) -> str:
    try:
        size = len(app.encode())
    except UnicodeEncodeError:
        raise Malformed("an app's name must be valid Unicode") from None
    if size > 255 or has_control(app):
        raise Malformed("an app's name is at most 255 bytes, without control characters")
    return app


def has_control(text: str) -> bool:
    return any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)


def _matches(hasher: argon2.PasswordHasher, password_hash: str | None, password: str) -> bool:
    """Takes as long for a user who is not there as for one who is."""
    try:
        if password_hash is None:
            hasher.hash(password)
            return False
        return hasher.verify(password_hash, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False
