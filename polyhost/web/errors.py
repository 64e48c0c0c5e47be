"""What goes wrong before a dialect is asked, and how a dialect puts every error into its own words."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from polyhost.core.errors import (
    CommandFailed,
    LinkLost,
    MachineFault,
    Malformed,
    NoSpace,
    NotAllowed,
    NotFound,
    NotNow,
    PolyhostError,
    SetupNeeded,
    TooLarge,
    TooMany,
    Unsupported,
)
from polyhost.web.answers import Encoded, Headers, encoded


class NoRoute(NotFound):
    """Nothing is served at this path."""


class WrongMethod(Malformed):
    """The path is served, but not by this method; `allowed` are those that are."""

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotASocket(Malformed):
    """The path is for WebSockets, and this was a plain request; or the other way round."""


class Crowded(PolyhostError):
    """There are as many sockets as there may be."""


class Foreign(NotAllowed):
    """The page that asks is of another origin, and not of one that may (S8)."""


class NoPreflight(Foreign):
    """A page of such an origin asks beforehand whether it may call."""


class Misdirected(NotAllowed):
    """A cookie came with a host name that is not ours: some page may be pretending to be us."""


class TooSlow(PolyhostError):
    """The body came slower than a body may."""


class Broken(PolyhostError):
    """The server's own fault; what happened is in its log, not in the answer."""


STATUSES: Final[Mapping[type[PolyhostError], int]] = {
    NotFound: 404,
    NotAllowed: 403,
    Misdirected: 421,
    NotNow: 409,
    SetupNeeded: 403,
    TooMany: 429,
    Malformed: 400,
    WrongMethod: 405,
    TooLarge: 413,
    Unsupported: 415,
    NoSpace: 507,
    LinkLost: 503,
    MachineFault: 502,
    CommandFailed: 500,
    TooSlow: 408,
    Crowded: 503,
    Broken: 500,
}
"""The plain mapping; a dialect whose upstream differs overrides rows of it."""


class ErrorTable:
    """One dialect's words for errors: a status for each class (the nearest named ancestor's), and a body."""

    def __init__(
        self,
        body: Callable[[PolyhostError], msgspec.Struct],
        differing: Mapping[type[PolyhostError], int] | None = None,
    ) -> None:
        self._body = body
        self._statuses = {**STATUSES, **(differing or {})}

    def status(self, error: PolyhostError) -> int:
        return next(self._statuses[kind] for kind in type(error).__mro__ if kind in self._statuses)

    def answer(self, error: PolyhostError) -> Encoded:
        headers: Headers = []
        if isinstance(error, WrongMethod):
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        if isinstance(error, TooMany):
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
        return encoded(self._body(error), status=self.status(error), headers=headers)
