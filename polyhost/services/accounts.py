"""Users, API keys and sessions: who stands behind a request.

First start, roles and bounds are those of the reliability rules (S3, S10, S11, First start).  Users and keys are
held in memory, so that naming the caller of a request costs one keyed hash and one look-up; the database has them
for the next start.  No secret is ever logged or kept: of passwords argon2id, of keys a keyed BLAKE2b.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import secrets
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import argon2
import msgspec

from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, NotNow, SetupNeeded, TooMany
from polyhost.core.ports import AccountRecords, Clock
from polyhost.core.user import GUEST, POWER, ApiKey, Caller, Permission, Role, User
from polyhost.services.throttle import Throttle
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)

LOCAL: Final = Caller(name="local", role=Role.ADMINISTRATOR)
"""Whoever reaches the Unix socket in the owner's runtime folder."""

PERSONAL: Final = "user key"
"""What the one key is for that a person has besides those of their programs, in place of a program's name."""

SETUP_TRIES: Final = 10
MAX_NAME_BYTES: Final = 64
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 1024
MAX_USERS: Final = 1000
MAX_KEYS_OF_USER: Final = 200
MAX_SESSIONS: Final = 10_000
SESSION_IDLE_S: Final = 7 * 24 * 3600.0
NOTE_USES_EVERY_S: Final = 60.0
_VERIFYING_AT_ONCE: Final = 2
_VERIFYING_WAITING: Final = 16


class SetupCode(Protocol):
    """What the first administrator reads from the console."""

    text: str

    def forget(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in.  `csrf` is what unsafe requests with this session's cookie must repeat."""

    id: str
    csrf: str
    caller: Caller


@dataclass(slots=True)
class _Key:
    key: ApiKey
    caller: Caller
    used_at: float | None = None


class Accounts:
    def __init__(self, records: AccountRecords, clock: Clock, secret_key: bytes) -> None:
        self.setup_code: SetupCode | None = None
        self._records = records
        self._clock = clock
        self._secret_key = secret_key
        self._users: dict[str, tuple[User, str]] = {user.name: (user, hash_) for user, hash_ in records.load_users()}
        self._keys: dict[bytes, _Key] = {}
        for key, digest in records.load_keys():
            self._keys[digest] = _Key(key, self._caller_with(key), key.last_used_at)
        self._sessions: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        self._setup_tries = 0
        self._by_pair = Throttle(clock, 5, 60.0)
        self._by_address = Throttle(clock, 20, 3600.0)
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        self._verifiers = ThreadPoolExecutor(_VERIFYING_AT_ONCE, "argon2")
        self._verifying = 0
        self._changing = asyncio.Lock()
        self._used: set[bytes] = set()

    async def run(self) -> None:
        """Write down now and then, and at the end, which keys were used."""
        try:
            while True:
                await asyncio.sleep(NOTE_USES_EVERY_S)
                await self._note_uses()
        finally:
            await self._note_uses()

    # The first start

    @property
    def setup_needed(self) -> bool:
        """Whether nobody administers this host yet."""
        return not any(user.role is Role.ADMINISTRATOR and user.active for user, _ in self._users.values())

    async def set_up(self, code: str, name: str, password: str) -> tuple[User, str]:
        """The first administrator and an API key of theirs, for whoever knows the code of this start.

        `NotAllowed` for a wrong code, and for every code after ten wrong ones; `NotNow` when it is done already.
        """
        if not self.setup_needed or self.setup_code is None:
            raise NotNow("this host is set up already; log in")
        if self._setup_tries >= SETUP_TRIES:
            raise NotAllowed("too many wrong setup codes; restart the server for a new one")
        if not hmac.compare_digest(_plain_code(code), _plain_code(self.setup_code.text)):
            self._setup_tries += 1
            log.warning("a wrong setup code was tried, %d of %d", self._setup_tries, SETUP_TRIES)
            raise NotAllowed("the setup code is wrong; it is on the server's console and in the file setup-code")
        return await self.first_administrator(name, password)

    async def first_administrator(self, name: str, password: str) -> tuple[User, str]:
        """The same for whoever holds the data folder itself; `NotNow` when there is an administrator."""
        name = checked_user_name(name)
        password_hash = await self._hash(checked_password(password))

        async def make() -> tuple[User, str]:
            async with self._changing:
                if not self.setup_needed:
                    raise NotNow("this host is set up already; log in")
                user = User(name, Role.ADMINISTRATOR, created_at=self._clock.now())
                await self._records.keep_user(user, password_hash)
                self._users[name] = (user, password_hash)
                _, secret = await self._make_key(user, user.role, "setup", (), None)
                if self.setup_code is not None:
                    await asyncio.to_thread(self.setup_code.forget)
                log.info("%s is the first administrator", name)
                return user, secret

        return await unbroken(make())

    # Who is calling

    def caller_of_key(self, secret: str) -> Caller:
        """Whom an API key stands for; a guest when it is unknown or past its end."""
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

    async def log_in(self, name: str, password: str, address: str) -> Session:
        """A session for `name`, asked for from `address`.

        `NotAllowed` in the same words for a wrong password, an unknown and an inactive user; `TooMany` after five
        wrong ones in a minute of this address and account, or twenty in an hour of this address.
        """
        return self.begin_session(await self.prove(name, password, address))

    async def prove(self, name: str, password: str, address: str) -> Caller:
        """Whose name and password these are, for this request alone.  Raises as `log_in` does."""
        user = await self._proven(name, password, address)
        return Caller(user.name, user.role)

    def begin_session(self, caller: Caller) -> Session:
        """A session for somebody known already, by a key for instance."""
        if caller.is_guest:
            raise NotAllowed("a guest has no session")
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(24), caller)
        self._sessions[session.id] = (session, self._clock.monotonic())
        return session

    def session(self, session_id: str) -> Session | None:
        """The session, and a note that it is in use; None when it never was, was left, or idled for a week."""
        found = self._sessions.get(session_id)
        if found is None:
            return None
        session, seen_at = found
        now = self._clock.monotonic()
        if now - seen_at > SESSION_IDLE_S:
            del self._sessions[session_id]
            return None
        self._sessions[session_id] = (session, now)
        self._sessions.move_to_end(session_id)
        return session

    async def log_out(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    # Users

    def users(self, by: Caller) -> list[User]:
        """Everybody for who manages accounts, oneself for others."""
        everybody = by.may(Permission.ACCOUNTS)
        return [user for user, _ in self._users.values() if everybody or user.name == by.name]

    def user(self, name: str) -> User:
        try:
            return self._users[name][0]
        except KeyError:
            raise NotFound(f"no user {name!r}") from None

    async def add_user(self, name: str, role: Role, password: str, by: Caller) -> User:
        _manages(by)
        name = checked_user_name(name)
        password_hash = await self._hash(checked_password(password))
        async with self._changing:
            if name in self._users:
                raise NotNow(f"there is a user {name!r} already")
            if len(self._users) >= MAX_USERS:
                raise NotNow(f"there are {MAX_USERS} users, which is the limit")
            user = User(name, role, created_at=self._clock.now())
            await unbroken(self._keep_user(user, password_hash))
            return user

    async def remove_user(self, name: str, by: Caller) -> None:
        """And the keys and sessions of that user.  `NotNow` for the last administrator."""
        _manages(by)
        async with self._changing:
            self._stays_administered(replacing=self.user(name), by_whom=None)
            await unbroken(self._drop_user(name))

    async def set_role(self, name: str, role: Role, by: Caller) -> User:
        """Give a user another role; their keys never have more, their sessions end."""
        _manages(by)
        return await self._change_user(name, role=role)

    async def set_active(self, name: str, active: bool, by: Caller) -> User:
        """An inactive user keeps everything and may nothing."""
        _manages(by)
        return await self._change_user(name, active=active)

    async def set_password(self, name: str, password: str, by: Caller, *, current: str | None = None) -> None:
        """A new password; the user's sessions end.  Who does not manage accounts changes their own, with `current`."""
        if not by.may(Permission.ACCOUNTS) or _is_bound(by):
            if by.name != name or by.is_guest or _is_bound(by):
                raise NotAllowed("this caller may not change that password")
            await self._proven(name, current or "", "a password change")
        password_hash = await self._hash(checked_password(password))
        async with self._changing:
            await unbroken(self._keep_user(self.user(name), password_hash))

    # Keys

    def keys(self, by: Caller, *, user: str | None = None) -> list[ApiKey]:
        """The keys of everybody for who manages accounts, one's own for others; of `user` alone if one is named."""
        everybody = by.may(Permission.ACCOUNTS)
        return [
            msgspec.structs.replace(found.key, last_used_at=found.used_at)
            for found in self._keys.values()
            if (everybody or found.key.user == by.name) and user in {None, found.key.user}
        ]

    async def add_key(
        self,
        user: str,
        role: Role | None,
        app: str,
        printers: Sequence[str],
        ends_at: float | None,
        by: Caller,
    ) -> tuple[ApiKey, str]:
        """A key of `user` and its secret, which is told this once.

        `role` None is the user's own, and never more than it counts.  A key bound to printers makes no keys.
        """
        owner, role = self.checked_owner(user, role, by)
        app = checked_app_name(app)
        if ends_at is not None and not ends_at > self._clock.now():
            raise Malformed("the key would have ended already")
        if sum(found.key.user == user for found in self._keys.values()) >= MAX_KEYS_OF_USER:
            raise NotNow(f"{user!r} has {MAX_KEYS_OF_USER} keys, which is the limit; revoke some")
        async with self._changing:
            return await unbroken(self._make_key(owner, role, app, tuple(printers), ends_at))

    def checked_owner(self, user: str, role: Role | None, by: Caller) -> tuple[User, Role]:
        """The user, and the role, of a key that `by` may make; "" is `by`, or the one administrator there is.

        Raises as `add_key` does.
        """
        if not user and by.may(Permission.ACCOUNTS) and by.name not in self._users:  # the local socket is nobody's
            administrators = [one.name for one, _ in self._users.values() if one.active and one.role is by.role]
            if len(administrators) != 1:
                raise Malformed(f"say which user the key acts as, for example {administrators[0]!r}")
            user = administrators[0]
        user = user or by.name
        if _is_bound(by) or not (by.may(Permission.ACCOUNTS) or (by.name == user and not by.is_guest)):
            raise NotAllowed(f"this caller may not make keys for {user!r}")
        owner = self.user(user)
        most = (
            owner.role
            if by.may(Permission.ACCOUNTS) or by.role is None
            else min(owner.role, by.role, key=POWER.__getitem__)
        )
        role = most if role is None else role
        if POWER[role] > POWER[most]:
            raise NotAllowed(f"a key of {user!r} cannot be {role.value}: that is more than its maker may")
        return owner, role

    async def revoke_key(self, key_id: str, by: Caller) -> None:
        mine = [
            (digest, found)
            for digest, found in self._keys.items()
            if found.key.id == key_id and (by.may(Permission.ACCOUNTS) or found.key.user == by.name)
        ]
        if not mine:
            raise NotFound(f"no key {key_id}")
        [(digest, found)] = mine
        if _is_bound(by) and by.key is not found.key:
            raise NotAllowed("a key bound to printers may revoke itself only")

        async def revoke() -> None:
            await self._records.drop_key(key_id)
            self._keys.pop(digest, None)
            self._end_sessions(lambda caller: caller.key is not None and caller.key.id == key_id)

        await unbroken(revoke())

    async def revoke_secret(self, secret: str, by: Caller) -> None:
        """The same by the key itself; `NotAllowed` when it is none, or none of `by`'s."""
        found = self._keys.get(self._digest(secret))
        if found is None or not (by.may(Permission.ACCOUNTS) or found.key.user == by.name):
            raise NotAllowed("this caller may not revoke that key")
        await self.revoke_key(found.key.id, by)

    # Inside

    def _digest(self, secret: str) -> bytes:
        return hashlib.blake2b(secret.encode("utf-8", "replace"), key=self._secret_key, digest_size=32).digest()

    async def _proven(self, name: str, password: str, address: str) -> User:
        """The user whose name and password these are."""
        if self.setup_needed:
            raise SetupNeeded("setup needed")
        name = unicodedata.normalize("NFC", name)[:MAX_NAME_BYTES]  # throttles remember it
        source = network_of(address)
        self._by_address.check(source)
        self._by_pair.check(source, name)
        if self._verifying >= _VERIFYING_AT_ONCE + _VERIFYING_WAITING:
            raise TooMany("too many people log in at once; wait 2 s", retry_after_s=2.0)
        # Counted before the answer is known, so that many at once are no way round.
        self._by_address.note(source)
        self._by_pair.note(source, name)
        user, password_hash = self._users.get(name, (None, None))
        is_right = len(password) <= MAX_PASSWORD and await self._verify(password_hash, password)
        if not is_right or user is None or not user.active or self._users.get(name) != (user, password_hash):
            log.warning("a log-in from %s failed", address)
            raise NotAllowed("the name or the password is wrong")
        self._by_address.forgive(source)
        self._by_pair.forgive(source, name)
        return user

    async def _make_key(
        self, user: User, role: Role, app: str, printers: tuple[str, ...], ends_at: float | None
    ) -> tuple[ApiKey, str]:
        secret = secrets.token_hex(16).upper()  # 32 hexadecimal digits: some clients take nothing else
        digest = self._digest(secret)
        key = ApiKey(secrets.token_hex(8), user.name, role, app, printers, self._clock.now(), None, ends_at)
        await self._records.keep_key(key, digest)
        self._keys[digest] = _Key(key, self._caller_with(key))
        return key, secret

    def _caller_with(self, key: ApiKey) -> Caller:
        user, _ = self._users[key.user]
        if not user.active:
            return GUEST
        return Caller(user.name, min(user.role, key.role, key=POWER.__getitem__), key)

    async def _change_user(self, name: str, role: Role | None = None, active: bool | None = None) -> User:
        async with self._changing:
            old, password_hash = self._users.get(name) or (self.user(name), "")
            user = msgspec.structs.replace(
                old, role=old.role if role is None else role, active=old.active if active is None else active
            )
            self._stays_administered(replacing=old, by_whom=user)
            await unbroken(self._keep_user(user, password_hash))
            return user

    async def _keep_user(self, user: User, password_hash: str) -> None:
        await self._records.keep_user(user, password_hash)
        self._users[user.name] = (user, password_hash)
        for found in self._keys.values():
            if found.key.user == user.name:
                found.caller = self._caller_with(found.key)
        self._end_sessions(lambda caller: caller.name == user.name)

    async def _drop_user(self, name: str) -> None:
        await self._records.drop_user(name)
        del self._users[name]
        self._keys = {digest: found for digest, found in self._keys.items() if found.key.user != name}
        self._end_sessions(lambda caller: caller.name == name)

    def _stays_administered(self, *, replacing: User, by_whom: User | None) -> None:
        others = [user for user, _ in self._users.values() if user.name != replacing.name]
        if by_whom is not None:
            others.append(by_whom)
        if not any(user.active and user.role is Role.ADMINISTRATOR for user in others):
            raise NotNow(f"{replacing.name!r} is the last administrator; make another one first")

    def _end_sessions(self, ends: Callable[[Caller], bool]) -> None:
        for session_id in [session_id for session_id, (session, _) in self._sessions.items() if ends(session.caller)]:
            del self._sessions[session_id]

    async def _note_uses(self) -> None:
        used, self._used = self._used, set()
        at = {found.key.id: found.used_at for digest in used if (found := self._keys.get(digest)) and found.used_at}
        if at:
            try:
                await self._records.note_key_uses(at)
            except (NoSpace, NotNow) as error:
                self._used |= used
                log.warning("the last use of %d keys is not written yet: %s", len(at), error)

    async def _hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._verifiers, self._hasher.hash, password)

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
    if not 1 <= size <= MAX_NAME_BYTES or name != name.strip() or _has_control(name) or "/" in name:
        raise Malformed(
            f"a user name has 1 to {MAX_NAME_BYTES} bytes, no blanks at its ends, no / and no control characters"
        )
    return name


def checked_app_name(app: str) -> str:
    try:
        size = len(app.encode())
    except UnicodeEncodeError:
        raise Malformed("an app's name must be valid Unicode") from None
    if size > 255 or _has_control(app):
        raise Malformed("an app's name is at most 255 bytes, without control characters")
    return app


def checked_password(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Malformed(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise Malformed("a password must be valid Unicode") from None
    return password


def _matches(hasher: argon2.PasswordHasher, password_hash: str | None, password: str) -> bool:
    """Takes as long for a user who is not there as for one who is."""
    try:
        if password_hash is None:
            hasher.hash(password)
            return False
        return hasher.verify(password_hash, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False


def _manages(by: Caller) -> None:
    if not by.may(Permission.ACCOUNTS) or _is_bound(by):
        raise NotAllowed("only an administrator manages accounts")


def _is_bound(by: Caller) -> bool:
    return by.key is not None and bool(by.key.printers)


def _has_control(text: str) -> bool:
    return any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)


def _plain_code(code: str) -> bytes:
    return code.strip().replace("-", "").upper().encode("utf-8", "replace")


def network_of(address: str) -> str:
    """What counts as one address: an IPv6 client has a /64 to itself."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
