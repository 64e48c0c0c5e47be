"""Who may do what: roles, users, keys."""

from enum import Enum
from typing import Final

import msgspec

from polyhost.core.errors import NotAllowed, NotKnown


class Permission(Enum):
    """One thing a caller may be allowed to do; dialects translate theirs to these."""

    LOOK = "look"  # status, files, history, pictures
    UPLOAD = "add files"
    PRINT = "print"  # start, pause, resume, cancel
    CONTROL = "control"  # move, heat, send commands
    CONNECT = "connect"  # open and close the link
    DELETE = "delete files"
    SETTINGS = "change settings"
    ACCOUNTS = "manage accounts"
    SYSTEM = "manage the host"


class Role(Enum):
    """Ordered by power: each role may all that the one before it may, and its own part."""

    VIEWER = "viewer"
    UPLOADER = "uploader"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


POWER: Final = {role: rank for rank, role in enumerate(Role)}

_VIEWER: Final = frozenset({Permission.LOOK})
_UPLOADER: Final = _VIEWER | {Permission.UPLOAD}
_OPERATOR: Final = _UPLOADER | {Permission.PRINT, Permission.CONTROL, Permission.CONNECT, Permission.DELETE}

MAY: Final = {
    Role.VIEWER: _VIEWER,
    Role.UPLOADER: _UPLOADER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMINISTRATOR: frozenset(Permission),
}


def weaker(one: Role, other: Role) -> Role:
    return min(one, other, key=POWER.__getitem__)


class User(msgspec.Struct, frozen=True):
    """A person (or program) with a password.  The password's hash stays in storage."""

    name: str
    role: Role
    active: bool = True
    created_at: float = 0.0


class ApiKey(msgspec.Struct, frozen=True):
    """A key without its secret.  It acts as `user` with `role` at the most, on `printers` only if any are named."""

    id: str
    user: str
    role: Role
    app: str = ""
    printers: tuple[str, ...] = ()
    created_at: float = 0.0
    last_used_at: float | None = None
    ends_at: float | None = None


class Remembered(msgspec.Struct, frozen=True):
    """A log-in that outlives the server, by the hash of what brings it back.  `ends_at` is seconds since the epoch."""

    digest: bytes
    user: str
    ends_at: float


class Caller(msgspec.Struct, frozen=True):
    """Whoever stands behind a request.  A guest has no role and may nothing.

    `login` is the log-in that an access token came from.  One who is `trusted` is nobody, but at an address of a
    network that the owner trusts; it is their name, which no user can have.
    """

    name: str = ""
    role: Role | None = None
    key: ApiKey | None = None
    login: str = ""
    trusted: bool = False

    @property
    def is_guest(self) -> bool:
        return self.role is None

    @property
    def permissions(self) -> frozenset[Permission]:
        return MAY[self.role] if self.role is not None else frozenset()

    def may(self, permission: Permission, printer: str | None = None) -> bool:
        """Whether this caller may do `permission`, on `printer` (a slug) where one is meant."""
        if printer is not None and self.key is not None and self.key.printers and printer not in self.key.printers:
            return False
        return permission in self.permissions

    def require(self, permission: Permission, printer: str | None = None) -> None:
        """`NotAllowed` unless this caller may; `NotKnown` for a guest."""
        if not self.may(permission, printer):
            on = "" if printer is None else f" on {printer}"
            refused = NotKnown if self.is_guest else NotAllowed
            raise refused(f"{self.name or 'a guest'} may not {permission.value}{on}")


GUEST: Final = Caller()
