"""Users, API keys and log-ins: who stands behind a request, and who may change that.

First start, roles and bounds are those of the reliability rules (S3, S10, S11, First start).  Users are held in
memory; the database has them for the next start.  No secret is ever logged or kept.  Keys, sessions and passwords are
in modules of their own; here are the rules, and what one change means for the others.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotNow, SetupNeeded, TooLarge
from polyhost.core.events import LoggedIn, LoggedOut, RightsChanged, UserAdded
from polyhost.core.ports import AccountRecords, Clock
from polyhost.core.user import GUEST, POWER, ApiKey, Caller, Permission, Role, User, weaker
from polyhost.services.bus import Bus
from polyhost.services.keys import Keys
from polyhost.services.passwords import Passwords, checked_app_name, checked_user_name
from polyhost.services.sessions import Session, Sessions
from polyhost.services.shown_keys import ShownKeys
from polyhost.services.token_access import TokenAccess
from polyhost.services.unbroken import unbroken

log = logging.getLogger(__name__)

LOCAL: Final = Caller(name="local", role=Role.ADMINISTRATOR)
"""Whoever reaches the Unix socket in the owner's runtime folder."""

PERSONAL: Final = "user key"
"""What the one key is for that a person has besides those of their programs, in place of a program's name."""

SETUP_TRIES: Final = 10
MAX_USERS: Final = 1000
MAX_KEYS_OF_USER: Final = 200
MAX_SETTINGS: Final = 16 * 1024
NOTE_USES_EVERY_S: Final = 60.0


class SetupCode(Protocol):
    """What the first administrator reads from the console."""

    text: str

    def forget(self) -> None: ...


class Accounts:
    def __init__(self, records: AccountRecords, clock: Clock, secret_key: bytes, bus: Bus) -> None:
        self.setup_code: SetupCode | None = None
        self._bus = bus
        self._records = records
        self._clock = clock
        self._users: dict[str, tuple[User, str]] = {user.name: (user, hash_) for user, hash_ in records.load_users()}
        self._names_key = hashlib.blake2b(key=secret_key, person=b"names", digest_size=32).digest()
        self._keys = Keys(records, clock, secret_key, self._caller_with)
        self._settings = records.load_user_settings()
        self._sessions = Sessions(records, clock, secret_key)
        self.tokens = TokenAccess(records, clock, secret_key, bus, self)
        self._passwords = Passwords(clock)
        self._setup_tries = 0
        self._changing = asyncio.Lock()
        self.shown_keys = ShownKeys(self._keys, self, self._changing)

    async def run(self) -> None:
        """Write down now and then, and at the end, which keys were used."""
        try:
            while True:
                await asyncio.sleep(NOTE_USES_EVERY_S)
                await self._keys.note_uses()
        finally:
            await self._keys.note_uses()

    def unguessable(self, what: str) -> str:
        """A name for `what` that only this host can make: the same at every start, 32 letters and digits."""
        return hashlib.blake2b(what.encode(), key=self._names_key, digest_size=16).hexdigest()

    # The first start

    @property
    def setup_needed(self) -> bool:
        """Whether nobody administers this host yet."""
        return not self.administrators()

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
        password_hash = await self._passwords.hash(password)

        async def make() -> tuple[User, str]:
            async with self._changing:
                if not self.setup_needed:
                    raise NotNow("this host is set up already; log in")
                user = User(name, Role.ADMINISTRATOR, created_at=self._clock.now())
                await self._records.keep_user(user, password_hash)
                self._users[name] = (user, password_hash)
                _, secret = await self._keys.make(user.name, user.role, "setup", (), None)
                if self.setup_code is not None:
                    await asyncio.to_thread(self.setup_code.forget)
                log.info("%s is the first administrator", name)
                return user, secret

        return await unbroken(make())

    # Who is calling

    def caller_of_key(self, secret: str) -> Caller:
        """Whom an API key stands for; a guest when it is unknown or past its end."""
        return self._keys.caller_of(secret)

    async def log_in(self, name: str, password: str, address: str, *, remember: bool = False) -> Session:
        """A session for `name`, asked for from `address`; with a token that outlives the server, if to `remember`.

        `WrongLogin` in the same words for a wrong password, an unknown and an inactive user; `TooMany` after five
        wrong ones in a minute of this address and account, or twenty in an hour of this address.
        """
        caller = await self.prove(name, password, address)
        begun = unbroken(self._sessions.begin_remembered(caller)) if remember else None
        session = await begun if begun is not None else self._sessions.begin(caller)
        self._bus.publish(LoggedIn(caller.name))
        return session

    async def prove(self, name: str, password: str, address: str) -> Caller:
        """Whose name and password these are, for this request alone.  Raises as `log_in` does."""
        if self.setup_needed:
            raise SetupNeeded("setup needed")
        user = await self._passwords.proven(self._users.get, name, password, address)
        return Caller(user.name, user.role)

    def begin_session(self, caller: Caller) -> Session:
        """A session for somebody known already, by a key for instance; `NotAllowed` for a trusted network's."""
        if caller.trusted:
            raise NotAllowed("who is known by a trusted network has no session: it would outlast being there")
        return self._sessions.begin(caller)

    def session(self, session_id: str) -> Session | None:
        """The session, and a note that it is in use; None when it never was, was left, or idled for a week."""
        return self._sessions.find(session_id)

    def recalled(self, token: str) -> Session | None:
        """The session that was to be remembered under `token`."""
        return self._sessions.recall(token, self.caller_named)

    async def log_out(self, session_id: str, token: str = "") -> None:
        """End a session, and what remembers it."""
        caller = await unbroken(self._sessions.end(session_id, token))
        if caller is not None:
            self._bus.publish(LoggedOut(caller.name))

    def caller_named(self, name: str) -> Caller:
        """Whom a user's name stands for; a guest when there is none, or an inactive one."""
        user, _ = self._users.get(name, (None, ""))
        return Caller(user.name, user.role) if user is not None and user.active else GUEST

    def still(self, caller: Caller, session: Session | None = None) -> Caller:
        """Who somebody known before is now: a guest when the key, log-in, `session` or account has ended."""
        if caller.trusted or caller == LOCAL:
            return caller
        if caller.key is not None:
            return self._keys.stands_for(caller.key.id)
        if caller.login:
            return self.tokens.caller_logged_in(caller.name, caller.login)
        if session is not None:
            found = self._sessions.find(session.id)
            return found.caller if found is not None else GUEST
        return self.caller_named(caller.name)

    # Users

    def users(self, by: Caller) -> list[User]:
        """Everybody for who manages accounts, oneself for others."""
        everybody = manages_accounts(by)
        return [user for user, _ in self._users.values() if everybody or user.name == by.name]

    def administrators(self) -> list[User]:
        """Those who are active."""
        return [user for user, _ in self._users.values() if user.active and user.role is Role.ADMINISTRATOR]

    def require_management(self, by: Caller) -> None:
        """`NotAllowed` unless `by` manages accounts."""
        _manages(by)

    def user(self, name: str) -> User:
        try:
            return self._users[name][0]
        except KeyError:
            raise NotFound(f"no user {name!r}") from None

    def user_for(self, name: str, by: Caller) -> User:
        """The same for `by`: themselves, and anybody for who manages accounts; else `NotAllowed`."""
        _manages_or_is(name, by)
        return self.user(name)

    async def add_user(self, name: str, role: Role, password: str, by: Caller, *, active: bool = True) -> User:
        _manages(by)
        name = checked_user_name(name)
        password_hash = await self._passwords.hash(password)
        async with self._changing:
            if name in self._users:
                raise NotNow(f"there is a user {name!r} already")
            if len(self._users) >= MAX_USERS:
                raise NotNow(f"there are {MAX_USERS} users, which is the limit")
            user = User(name, role, active, self._clock.now())
            await unbroken(self._keep_user(user, password_hash))
        self._bus.publish(UserAdded(name))
        return user

    async def remove_user(self, name: str, by: Caller) -> None:
        """And the keys and sessions of that user.  `NotNow` for the last administrator; nobody removes themselves."""
        _manages(by)
        if name == by.name:
            raise Malformed("nobody removes themselves; another administrator does")
        async with self._changing:
            self._stays_administered(replacing=self.user(name), by_whom=None)
            await unbroken(self._drop_user(name))
        self._bus.publish(RightsChanged(name, "removed"))

    async def change_user(
        self, name: str, role: Role | None, active: bool | None, by: Caller, *, password: str | None = None
    ) -> User:
        """Give a user another role or password, or make them (in)active; what is None stays.

        An inactive user keeps everything and may nothing.  Keys never have more than their user; sessions end.
        `NotNow` when nobody would administer the host any more.
        """
        _manages(by)
        new_hash = None if password is None else await self._passwords.hash(password)
        async with self._changing:
            old, password_hash = self._users.get(name) or (self.user(name), "")
            user = msgspec.structs.replace(
                old, role=old.role if role is None else role, active=old.active if active is None else active
            )
            if user == old and new_hash is None:
                return old
            self._stays_administered(replacing=old, by_whom=user)
            await unbroken(self._keep_user(user, new_hash or password_hash))
        self._bus.publish(RightsChanged(name, "stale" if user == old else "modified"))
        return user

    async def set_password(
        self, name: str, password: str, by: Caller, *, current: str | None = None, address: str = "a password change"
    ) -> None:
        """A new password; the user's sessions end.

        Who does not manage accounts changes their own, with the `current` one; what is given as that, must be right.
        """
        if not manages_accounts(by) and (by.name != name or by.is_guest or _is_bound(by)):
            raise NotAllowed(f"{by.name or 'a guest'} may not change that password")
        self.user(name)
        if current is not None or not manages_accounts(by):
            await self.prove(name, current or "", address)
        password_hash = await self._passwords.hash(password)
        async with self._changing:
            await unbroken(self._keep_user(self.user(name), password_hash))
        self._bus.publish(RightsChanged(name, "stale"))

    def settings_of(self, name: str, by: Caller) -> dict[str, object]:
        """What clients keep for a user, by their own names."""
        _manages_or_is(name, by)
        self.user(name)
        return msgspec.json.decode(self._settings.get(name, b"{}"), type=dict[str, object])

    async def change_settings(self, name: str, changes: Mapping[str, object], by: Caller) -> None:
        """Set some of them; `TooLarge` when all of them would have more than 16 KiB."""
        async with self._changing:
            body = msgspec.json.encode({**self.settings_of(name, by), **changes})
            if len(body) > MAX_SETTINGS:
                raise TooLarge(f"the settings of {name!r} would have {len(body)} bytes; {MAX_SETTINGS} is the limit")
            await unbroken(self._keep_settings(name, body))

    # Keys

    def keys(self, by: Caller, *, user: str | None = None) -> list[ApiKey]:
        """The keys of everybody for who manages accounts, one's own for others; of `user` alone if one is named."""
        everybody = manages_accounts(by)
        return [key for key in self._keys if (everybody or key.user == by.name) and user in {None, key.user}]

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
        app = checked_app_name(app)
        if ends_at is not None and not ends_at > self._clock.now():
            raise Malformed("the key would have ended already")
        async with self._changing:
            owner, role = self.checked_owner(user, role, by)
            if sum(key.user == owner.name for key in self._keys) >= MAX_KEYS_OF_USER:
                raise NotNow(f"{owner.name!r} has {MAX_KEYS_OF_USER} keys, which is the limit; revoke some")
            return await unbroken(self._keys.make(owner.name, role, app, tuple(printers), ends_at))

    def checked_owner(self, user: str, role: Role | None, by: Caller) -> tuple[User, Role]:
        """The user, and the role, of a key that `by` may make; "" is `by`, or the one administrator there is.

        Raises as `add_key` does.
        """
        if not user and by.may(Permission.ACCOUNTS) and by.name not in self._users:  # the local socket is nobody's
            administrators = [one.name for one in self.administrators()]
            if len(administrators) != 1:
                raise Malformed(f"say which user the key acts as, for example {administrators[0]!r}")
            user = administrators[0]
        user = user or by.name
        if _is_bound(by) or not (by.may(Permission.ACCOUNTS) or (by.name == user and not by.is_guest)):
            raise NotAllowed(f"{by.name or 'a guest'} may not make keys for {user!r}")
        owner = self.user(user)
        most = owner.role
        if by.role is not None and not by.may(Permission.ACCOUNTS):
            most = weaker(owner.role, by.role)
        role = most if role is None else role
        if POWER[role] > POWER[most]:
            raise NotAllowed(f"a key of {user!r} cannot be {role.value}: that is more than its maker may")
        return owner, role

    async def revoke_key(self, key_id: str, by: Caller) -> None:
        key = next((key for key in self.keys(by) if key.id == key_id), None)
        if key is None:
            raise NotFound(f"no key {key_id}")
        if _is_bound(by) and (by.key is None or by.key.id != key_id):
            raise NotAllowed("a key bound to printers may revoke itself only")

        async def revoke() -> None:
            await self._keys.drop(key_id)
            self.end_all(lambda caller: caller.key is not None and caller.key.id == key_id)

        await unbroken(revoke())
        self._bus.publish(RightsChanged(key.user, "modified"))

    async def renew_personal_key(self, name: str, by: Caller) -> str:
        """The secret of a new key of the user's own, told this once; the one before it ends."""
        _manages_or_is(name, by)
        old = [key.id for key in self.keys(by, user=name) if key.app == PERSONAL]
        _, secret = await self.add_key(name, None, PERSONAL, (), None, by)
        for key_id in old:
            await self.revoke_key(key_id, by)
        return secret

    async def end_personal_key(self, name: str, by: Caller) -> None:
        _manages_or_is(name, by)
        self.user(name)
        for key in self.keys(by, user=name):
            if key.app == PERSONAL:
                await self.revoke_key(key.id, by)

    async def revoke_secret(self, secret: str, by: Caller) -> None:
        """The same by the key itself; `NotAllowed` when it is none, or none of `by`'s."""
        key = self._keys.of_secret(secret)
        if key is None or not (manages_accounts(by) or key.user == by.name):
            raise NotAllowed(f"{by.name or 'a guest'} may not revoke that key")
        await self.revoke_key(key.id, by)

    # Inside

    def _caller_with(self, key: ApiKey) -> Caller:
        user, _ = self._users[key.user]
        if not user.active:
            return GUEST
        return Caller(user.name, weaker(user.role, key.role), key)

    async def _keep_settings(self, name: str, body: bytes) -> None:
        await self._records.keep_user_settings(name, body)
        self._settings[name] = body

    async def _keep_user(self, user: User, password_hash: str) -> None:
        await self._sessions.forget(user.name)
        await self.tokens.forget(user.name)
        await self._records.keep_user(user, password_hash)
        self._users[user.name] = (user, password_hash)
        self._keys.user_changed(user.name)
        self.end_all(lambda caller: caller.name == user.name)

    async def _drop_user(self, name: str) -> None:
        await self._sessions.forget(name)
        await self.tokens.forget(name)
        await self._records.drop_user(name)
        del self._users[name]
        self._keys.user_gone(name)
        self._settings.pop(name, None)
        self.end_all(lambda caller: caller.name == name)

    def end_all(self, ends: Callable[[Caller], bool]) -> None:
        """What lives in memory of whoever it is that loses a right."""
        self._sessions.end_all(ends)
        self.tokens.end_one_shots(ends)

    def _stays_administered(self, *, replacing: User, by_whom: User | None) -> None:
        others = [user for user, _ in self._users.values() if user.name != replacing.name]
        if by_whom is not None:
            others.append(by_whom)
        if not any(user.active and user.role is Role.ADMINISTRATOR for user in others):
            raise NotNow(f"{replacing.name!r} is the last administrator; make another one first")


def manages_accounts(by: Caller) -> bool:
    """An administrator, but by no key that is bound to printers."""
    return by.may(Permission.ACCOUNTS) and not _is_bound(by)


def _manages(by: Caller) -> None:
    if not manages_accounts(by):
        raise NotAllowed("only an administrator manages accounts")


def _manages_or_is(name: str, by: Caller) -> None:
    if not manages_accounts(by) and (by.is_guest or by.name != name):
        raise NotAllowed("this is for that user and for administrators")


def _is_bound(by: Caller) -> bool:
    return by.key is not None and bool(by.key.printers)


def _plain_code(code: str) -> bytes:
    return code.strip().replace("-", "").upper().encode("utf-8", "replace")
