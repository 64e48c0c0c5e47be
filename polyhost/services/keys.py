"""API keys, held in memory so that naming the caller of a request costs one keyed hash and one look-up.

The database has them for the next start.  Of a secret only a keyed BLAKE2b is kept.  The secret of a key that can be
shown again follows from its id by the host's own secret, so that nothing more is kept of it than of others.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from polyhost.core.errors import NoSpace, NotNow
from polyhost.core.ports import AccountRecords, Clock
from polyhost.core.user import GUEST, ApiKey, Caller, Role

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Key:
    key: ApiKey
    caller: Caller
    used_at: float | None = None


class Keys:
    """Who may make, see and revoke one is `accounts`' matter; `caller_with` is whom a key stands for at the moment."""

    def __init__(
        self, records: AccountRecords, clock: Clock, secret_key: bytes, caller_with: Callable[[ApiKey], Caller]
    ) -> None:
        self._records = records
        self._clock = clock
        self._secret_key = secret_key
        self._caller_with = caller_with
        self._keys = {digest: _Key(key, caller_with(key), key.last_used_at) for key, digest in records.load_keys()}
        self._used: set[bytes] = set()

    def __iter__(self) -> Iterator[ApiKey]:
        """All of them, with their last uses."""
        return (msgspec.structs.replace(found.key, last_used_at=found.used_at) for found in self._keys.values())

    def of_secret(self, secret: str) -> ApiKey | None:
        found = self._keys.get(self._digest(secret))
        return found.key if found is not None else None

    def caller_of(self, secret: str) -> Caller:
        """Whom the key stands for, and a note of its use; a guest when it is unknown or past its end."""
        digest = self._digest(secret)
        found = self._keys.get(digest)
        if found is None:
            return GUEST
        now = self._clock.now()
        if found.key.ends_at is not None and found.key.ends_at <= now:
            return GUEST
        found.used_at = now
        self._used.add(digest)
        return found.caller

    async def make(
        self,
        user: str,
        role: Role,
        app: str,
        printers: tuple[str, ...],
        ends_at: float | None,
        *,
        shown_again: bool = False,
    ) -> tuple[ApiKey, str]:
        """The key and its secret, which `shown` tells again if it is to be `shown_again`."""
        key = ApiKey(secrets.token_hex(8), user, role, app, printers, self._clock.now(), None, ends_at)
        # 32 hexadecimal digits: some clients take nothing else
        secret = self._derived(key.id) if shown_again else secrets.token_hex(16).upper()
        digest = self._digest(secret)
        await self._records.keep_key(key, digest)
        self._keys[digest] = _Key(key, self._caller_with(key))
        return key, secret

    def stands_for(self, key_id: str) -> Caller:
        """Whom a key that was shown before stands for now; a guest when it has ended."""
        found = next((found for found in self._keys.values() if found.key.id == key_id), None)
        if found is None or (found.key.ends_at is not None and found.key.ends_at <= self._clock.now()):
            return GUEST
        return found.caller

    def shown(self, key_id: str) -> str | None:
        """The secret of a key that can be shown again; None of others."""
        secret = self._derived(key_id)
        found = self._keys.get(self._digest(secret))
        return secret if found is not None and found.key.id == key_id else None

    async def drop(self, key_id: str) -> None:
        await self._records.drop_key(key_id)
        self._keys = {digest: found for digest, found in self._keys.items() if found.key.id != key_id}

    def user_changed(self, user: str) -> None:
        """What the keys of `user` may has changed."""
        for found in self._keys.values():
            if found.key.user == user:
                found.caller = self._caller_with(found.key)

    def user_gone(self, user: str) -> None:
        """The database has dropped the keys of `user`."""
        self._keys = {digest: found for digest, found in self._keys.items() if found.key.user != user}

    async def note_uses(self) -> None:
        """Write down which were used since the last time."""
        used, self._used = self._used, set()
        at = {found.key.id: found.used_at for digest in used if (found := self._keys.get(digest)) and found.used_at}
        if at:
            try:
                await self._records.note_key_uses(at)
            except (NoSpace, NotNow) as error:
                self._used |= used
                log.warning("the last use of %d keys is not written yet: %s", len(at), error)

    def _derived(self, key_id: str) -> str:
        return (
            hashlib.blake2b(key_id.encode(), key=self._secret_key, person=b"shown key", digest_size=16)
            .hexdigest()
            .upper()
        )

    def _digest(self, secret: str) -> bytes:
        return hashlib.blake2b(secret.encode("utf-8", "replace"), key=self._secret_key, digest_size=32).digest()
