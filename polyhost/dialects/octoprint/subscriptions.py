"""What clients say on the socket: who they are, how often they want to hear, and of what.

Upstream: OctoPrint 1.11, docs/api/push.rst.  What cannot be understood is ignored, as there.
"""

from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.web.bodies import decoded
from polyhost.web.patterns import Pattern

MAX_NAMES: Final = 500
MAX_THROTTLE: Final = 7200  # an hour


class StateWish(msgspec.Struct, frozen=True):
    """The console lines that come with the state."""

    logs: "Lines" = True
    messages: "Lines" = True


Lines = bool | Pattern
"""All, none, or those in which the pattern is found."""


class Subscription(msgspec.Struct, frozen=True):
    """None is everything, for plugins and events; for the state it is none of it."""

    state: StateWish | None = StateWish()
    plugins: frozenset[str] | None = None
    events: frozenset[str] | None = None


EVERYTHING: Final = Subscription()
"""What a client hears that never subscribes."""


class Auth(msgspec.Struct, frozen=True):
    user: str
    session: str


class Throttle(msgspec.Struct, frozen=True):
    """At most one ``current`` in so many half seconds."""

    factor: int


Said = Auth | Throttle | Subscription


class _StateWire(msgspec.Struct):
    logs: bool | str = False
    messages: bool | str = False


class _SubscriptionWire(msgspec.Struct):
    state: bool | _StateWire = False
    plugins: bool | list[str] = False
    events: bool | list[str] = False


class _Wire(msgspec.Struct):
    auth: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    throttle: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    subscribe: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def said_in(message: bytes) -> Said | None:
    """What one message asks; None for what asks nothing.  `Malformed` says what is wrong with it."""
    wire = decoded(message, _Wire)
    if wire.auth is not msgspec.UNSET:
        user, colon, session = decoded(bytes(wire.auth), str).partition(":")
        if not colon or ":" in session:
            raise Malformed("auth is name:session")
        return Auth(user, session)
    if wire.throttle is not msgspec.UNSET:
        factor = decoded(bytes(wire.throttle), int)
        if factor < 1:
            raise Malformed("throttle is 1 or more")
        return Throttle(min(factor, MAX_THROTTLE))
    if wire.subscribe is not msgspec.UNSET:
        return _subscription(decoded(bytes(wire.subscribe), _SubscriptionWire))
    return None


def _subscription(wire: _SubscriptionWire) -> Subscription:
    match wire.state:
        case False:
            state = None
        case True:  # upstream's own reading
            state = StateWish(logs=True, messages=False)
        case _StateWire(logs, messages):
            state = StateWish(_lines(logs), _lines(messages))
    return Subscription(state, _names(wire.plugins), _names(wire.events))


def _lines(wanted: bool | str) -> Lines:
    return Pattern(wanted) if isinstance(wanted, str) else wanted


def _names(wanted: bool | list[str]) -> frozenset[str] | None:
    if isinstance(wanted, bool):
        return None if wanted else frozenset()
    if len(wanted) > MAX_NAMES:
        raise Malformed(f"more than {MAX_NAMES} names")
    return frozenset(wanted)
