"""What programs show that log in with a name and a password, or that can put a credential into a URL alone.

How tokens are made is in `tokens`; here is whom they stand for, and what ends them.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from polyhost.core.errors import Malformed, NotKnown
from polyhost.core.events import LoggedIn, LoggedOut
from polyhost.core.ports import AccountRecords, Clock
from polyhost.core.user import GUEST, Caller
from polyhost.services.bus import Bus
from polyhost.services.throttle import Throttle, network_of
from polyhost.services.tokens import Logins, OneShots, Tokens
from polyhost.services.unbroken import unbroken


class People(Protocol):
    """What `Accounts` knows of who there is."""

    async def prove(self, name: str, password: str, address: str) -> Caller: ...

    def caller_named(self, name: str) -> Caller: ...

    def still(self, caller: Caller) -> Caller: ...

    def end_all(self, ends: Callable[[Caller], bool]) -> None: ...


class TokenAccess:
    def __init__(self, records: AccountRecords, clock: Clock, secret_key: bytes, bus: Bus, people: People) -> None:
        self._people = people
        self._bus = bus
        self._logins = Logins(records, clock, secret_key)
        self._one_shots = OneShots(clock)
        self._wrong = Throttle(clock, 20, 60.0)

    async def log_in(self, name: str, password: str, address: str, issuer: str) -> tuple[Caller, Tokens]:
        """A log-in that lasts for ninety days, at the URL `issuer`.  Raises as `Accounts.log_in` does."""
        caller = await self._people.prove(name, password, address)
        tokens = await unbroken(self._logins.begin(caller.name, issuer))
        self._bus.publish(LoggedIn(caller.name))
        return self.caller_of(tokens.access), tokens

    def caller_of(self, access: str) -> Caller:
        """Whom an access token stands for; a guest when it is wrong, or has ended with its log-in."""
        named = self._logins.named(access)
        return GUEST if named is None else self.caller_logged_in(*named)

    def caller_logged_in(self, name: str, login: str) -> Caller:
        """Who that user is now, by that log-in; a guest when it or the account has ended."""
        caller = self._people.caller_named(name)
        if caller.is_guest or not self._logins.is_live(login, name):
            return GUEST
        return msgspec.structs.replace(caller, login=login)

    def refreshed(self, refresh: str, issuer: str) -> tuple[Caller, str]:
        """Who logged in with that refresh token, and a new access token; `NotKnown` when it is none that counts."""
        found = self._logins.refreshed(refresh, issuer)
        caller = GUEST if found is None else self.caller_logged_in(found[0], found[1])
        if found is None or caller.is_guest:
            raise NotKnown("that refresh token is wrong, or its log-in has ended; log in again")
        return caller, found[2]

    async def log_out(self, by: Caller) -> None:
        """End every log-in of `by`'s, and what was begun with one; `Malformed` for who is no user, or came by a key."""
        if self._people.caller_named(by.name).is_guest or by.key is not None:
            raise Malformed("only a user who has logged in logs out")
        await unbroken(self.forget(by.name))
        self._people.end_all(lambda caller: caller.name == by.name and bool(caller.login))
        self._bus.publish(LoggedOut(by.name))

    async def forget(self, user: str) -> None:
        """Every log-in of `user` ends."""
        await self._logins.end(user)

    # One-shot tokens

    def one_shot(self, by: Caller, address: str) -> str:
        """A token for the next request of `by` from the same address, within five seconds."""
        if by.is_guest:
            raise NotKnown("a guest has no tokens")
        return self._one_shots.make(by, address)

    def caller_of_one_shot(self, token: str, address: str) -> Caller | None:
        """Whom it stands for, this once; None when it is no such token."""
        caller = self._one_shots.redeem(token, address)
        return None if caller is None else self._people.still(caller)

    def end_one_shots(self, ends: Callable[[Caller], bool]) -> None:
        self._one_shots.end_all(ends)

    def note_wrong(self, address: str) -> None:
        """Nobody at `address` is known, and a token of theirs is wrong; `TooMany` after twenty in a minute."""
        source = network_of(address)
        self._wrong.check(source)
        self._wrong.note(source)
