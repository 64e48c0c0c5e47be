"""Programs that ask for a key of their own: a person allows it or not, and the program fetches it.

A program asks and gets a token that nobody can guess.  With it it comes back about once a second; who stays away for
`POLLED_WITHIN_S`, or has waited for `ASKED_WITHIN_S`, asks no more.  People see the request under a short id, which
opens nothing.  The key is made when the program fetches it, so that none exists that nobody has.  What is asked is
forgotten at a restart.
"""

import asyncio
import hashlib
import logging
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Final

from polyhost.core.errors import Malformed, NoSpace, NotAllowed, NotFound, TooMany
from polyhost.core.events import AppKeyRequested, AppKeyRequestEnded
from polyhost.core.ports import Clock
from polyhost.core.user import Caller, Permission, Role
from polyhost.services.accounts import Accounts, manages_accounts
from polyhost.services.bus import Bus
from polyhost.services.passwords import checked_app_name
from polyhost.services.throttle import Throttle, network_of

log = logging.getLogger(__name__)

POLLED_WITHIN_S: Final = 5.0
ASKED_WITHIN_S: Final = 600.0
FETCHED_WITHIN_S: Final = 60.0
MAX_WAITING: Final = 20
_LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class AppKeyRequest:
    """What a program asks for: to act as `user` ("": whoever decides), on `printer` alone ("": on all of them)."""

    id: str
    app: str
    user: str
    printer: str
    address: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class _Decision:
    by: Caller
    user: str
    role: Role
    at: float  # monotonic, as in _Asked


@dataclass(slots=True)
class _Asked:
    request: AppKeyRequest
    began: float
    polled: float
    allowed: _Decision | None = None

    def is_dead(self, now: float) -> bool:
        if self.allowed is not None:
            return now - self.allowed.at > FETCHED_WITHIN_S
        return now - self.polled > POLLED_WITHIN_S or now - self.began > ASKED_WITHIN_S


class AppKeys:
    """The requests of the moment, by a hash of their token, so that the time of a look-up tells nothing."""

    def __init__(self, accounts: Accounts, bus: Bus, clock: Clock) -> None:
        self._accounts = accounts
        self._bus = bus
        self._clock = clock
        self._asked: dict[bytes, _Asked] = {}
        self._any = asyncio.Event()
        self._limits = tuple(Throttle(clock, tries, s) for tries, s in ((3, 60.0), (5, 600.0), (10, 3600.0)))
        self._wrong_tokens = Throttle(clock, 20, 60.0)

    async def run(self) -> None:
        """Tell of requests that ended by themselves soon after they did."""
        while True:
            await self._any.wait()
            while self._asked:
                await asyncio.sleep(_LOOK_EVERY_S)
                self._bury()
            self._any.clear()

    # The program's side; no one there is known

    def ask(self, app: str, user: str, printer: str, address: str) -> tuple[AppKeyRequest, str]:
        """A request, and the token that fetches what becomes of it.

        Whether there is such a `user` makes no difference here.  `TooMany` beyond three a minute, five in ten
        minutes and ten an hour from one address, or when `MAX_WAITING` wait already.
        """
        source = network_of(address)
        for limit in self._limits:
            limit.check(source)
        app = checked_app_name(app).strip()
        if not app:
            raise Malformed("No app name provided")
        user = unicodedata.normalize("NFC", user)
        if len(user.encode("utf-8", "replace")) > 64:
            raise Malformed("a user name has at most 64 bytes")
        self._bury()
        if len(self._asked) >= MAX_WAITING:
            raise TooMany(f"{MAX_WAITING} programs wait for a decision already; try again later", retry_after_s=60.0)
        for limit in self._limits:
            limit.note(source)
        token, now = secrets.token_urlsafe(32), self._clock.monotonic()
        request = AppKeyRequest(secrets.token_hex(4), app, user, printer, address, self._clock.now())
        self._asked[_digest(token)] = _Asked(request, now, now)
        self._any.set()
        log.warning(
            "%r at %s asks for a key for %s: polyhost key allow %s (or deny)",
            *(app, address, printer or "every printer", request.id),
        )
        self._bus.publish(AppKeyRequested(request.id, app, user, address))
        return request, token

    def asked(self, token: str, address: str) -> AppKeyRequest:
        """What the program with `token` asks, while nobody has decided; no sign of life of the program's.

        `NotFound` when it asks no more or never did; `TooMany` after twenty of those in a minute of one address.
        """
        found = self._find(token, address)
        if found.allowed is not None:
            raise NotFound("no such request")
        return found.request

    async def poll(self, token: str, address: str) -> str | None:
        """The key, once; None while nobody has decided.  Raises as `asked` does."""
        found = self._find(token, address)
        if found.allowed is None:
            found.polled = self._clock.monotonic()
            return None
        del self._asked[_digest(token)]  # first, so that two polls at once get one key
        decided, request = found.allowed, found.request
        printers = (request.printer,) if request.printer else ()
        try:
            _, secret = await self._accounts.add_key(
                decided.user, decided.role, request.app, printers, None, decided.by
            )
        except NoSpace:  # a person allowed it: the program may come again when there is room (R13)
            self._asked[_digest(token)] = found
            raise
        log.info("%r has its key of %s", request.app, decided.user)
        return secret

    # The people's side

    def requests(self, by: Caller) -> list[AppKeyRequest]:
        """What waits for a decision that is `by`'s to make, the oldest first."""
        self._bury()
        return [asked.request for _, asked in self._open_to(by)]

    def decide(
        self, request_id: str, allow: bool, by: Caller, *, user: str | None = None, role: Role | None = None
    ) -> None:
        """Allow or deny.  The key acts as `user` (the request's, else the decider) with `role` (else as they may).

        Who manages accounts decides for everybody, others for themselves: a request for somebody else is `NotFound`.
        """
        self._bury()
        if by.is_guest or (by.key is not None and by.key.printers) or not by.may(Permission.CONTROL):
            who = by.name or "a guest"
            raise NotAllowed(f"{who} may not give keys to programs; operators may, by no key that is bound to printers")
        found = [(digest, asked) for digest, asked in self._open_to(by) if asked.request.id == request_id]
        if not found:
            raise NotFound(f"no program asks for a key under {request_id}")
        [(digest, asked)] = found
        if allow:
            owner, role = self._accounts.checked_owner(user or asked.request.user, role, by)
            asked.allowed = _Decision(by, owner.name, role, self._clock.monotonic())
        else:
            del self._asked[digest]
        log.info("%s %s %r", by.name, "allows" if allow else "denies", asked.request.app)
        self._bus.publish(AppKeyRequestEnded(request_id))

    # Inside

    def _open_to(self, by: Caller) -> list[tuple[bytes, _Asked]]:
        """What `by` may decide, and nobody has."""
        everybodys = manages_accounts(by)
        return [
            (digest, asked)
            for digest, asked in self._asked.items()
            if asked.allowed is None
            and (everybodys or (by.may(Permission.CONTROL) and asked.request.user in {"", by.name}))
        ]

    def _find(self, token: str, address: str) -> _Asked:
        self._bury()
        found = self._asked.get(_digest(token))
        if found is None:
            source = network_of(address)
            self._wrong_tokens.check(source)
            self._wrong_tokens.note(source)
            raise NotFound("no such request: it was denied, or it ended")
        return found

    def _bury(self) -> None:
        now = self._clock.monotonic()
        for digest, asked in [(digest, asked) for digest, asked in self._asked.items() if asked.is_dead(now)]:
            del self._asked[digest]
            if asked.allowed is None:
                self._bus.publish(AppKeyRequestEnded(asked.request.id))


def _digest(token: str) -> bytes:
    return hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=32).digest()
