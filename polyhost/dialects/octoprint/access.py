"""``/api/access``: permissions, groups and users; ``/api/users``, where they were once, leads there.

Upstream: OctoPrint 1.11, docs/api/access.rst.  Groups are the host's roles: they are listed, and stay as they are.
"""

from typing import NoReturn
from urllib.parse import quote

import msgspec

from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotNow
from polyhost.core.user import Caller, Permission, Role, User
from polyhost.dialects.octoprint.commands import Flag
from polyhost.dialects.octoprint.permission_records import GROUP_RECORDS, RECORDS, GroupRecord, PermissionRecord
from polyhost.dialects.octoprint.permissions import GROUPS, needs_of, role_with
from polyhost.web.answers import Encoded, encoded
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Handler, Routes

routes = Routes()


class Permissions(msgspec.Struct):
    permissions: tuple[PermissionRecord, ...]


class Groups(msgspec.Struct):
    groups: tuple[GroupRecord, ...]


class UserRecord(msgspec.Struct):
    """``apikey`` is always null: nobody is told a key again."""

    name: str
    active: bool
    admin: bool
    user: bool
    apikey: None
    permissions: tuple[str, ...]
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    needs: dict[str, list[str]]
    settings: dict[str, object]


class Users(msgspec.Struct):
    users: list[UserRecord]


class NewGroup(msgspec.Struct):
    key: str | None = None
    name: str | None = None
    permissions: list[str] | None = None
    subgroups: list[str] | None = None


class Rights(msgspec.Struct, kw_only=True):
    """`admin` is of old clients, and counts where no groups are given."""

    groups: list[str] | None = None
    permissions: list[str] | None = None
    admin: Flag = None
    active: Flag = None


class NewUser(Rights, kw_only=True):
    name: str | None = None
    password: str | None = None


class NewPassword(msgspec.Struct):
    """`current` is for who changes their own."""

    password: str | None = None
    current: str | None = None


class PersonalKey(msgspec.Struct):
    """Told this once."""

    apikey: str


class Nothing(msgspec.Struct):
    pass


def record_of(user: User, settings: dict[str, object]) -> UserRecord:
    is_admin = user.role is Role.ADMINISTRATOR
    return UserRecord(
        name=user.name,
        active=user.active,
        admin=is_admin,
        user=True,
        apikey=None,
        permissions=(),
        groups=GROUPS[user.role],
        roles=("user", "admin") if is_admin else ("user",),
        needs=needs_of(Caller(user.name, user.role)),
        settings=settings,
    )


def role_of_rights(wanted: Rights, now: Role | None) -> Role | None:
    """What `wanted` makes of somebody who is `now` (None: new); None when nothing about it is said."""
    if wanted.groups is None and wanted.permissions is None:
        if wanted.admin is None:
            return None
        if truth_of(wanted.admin):
            return Role.ADMINISTRATOR
        return Role.OPERATOR if now is Role.ADMINISTRATOR else now
    groups = wanted.groups
    if groups is None:
        groups = list(GROUPS[now]) if now is not None else []
    return role_with(groups, wanted.permissions or ())


@routes.get("/api/access/permissions", open_door=True)
async def permissions(call: Call) -> Permissions:
    return Permissions(RECORDS)


# Groups


@routes.get("/api/access/groups", needs=Permission.ACCOUNTS)
async def groups(call: Call) -> Groups:
    return Groups(GROUP_RECORDS)


@routes.post("/api/access/groups", needs=Permission.ACCOUNTS)
async def add_group(call: Call) -> Groups:
    wanted = await call.body(NewGroup)
    for field in ("key", "name", "permissions", "subgroups"):
        if getattr(wanted, field) is None:
            raise Malformed(f"{field} is missing")
    if any(group.key == wanted.key for group in GROUP_RECORDS):
        raise NotNow(f"there is a group {wanted.key!r} already")
    _fixed()


@routes.get("/api/access/groups/{key}", needs=Permission.ACCOUNTS)
async def group(call: Call) -> GroupRecord:
    return _group(call.params["key"])


@routes.put("/api/access/groups/{key}", needs=Permission.ACCOUNTS)
async def change_group(call: Call) -> Groups:
    _group(call.params["key"])
    await call.body(dict[str, object])
    _fixed()


@routes.delete("/api/access/groups/{key}", needs=Permission.ACCOUNTS)
async def remove_group(call: Call) -> Groups:
    _group(call.params["key"])
    _fixed()


def _group(key: str) -> GroupRecord:
    for group in GROUP_RECORDS:
        if group.key == key:
            return group
    raise NotFound(f"no group {key!r}; there are {', '.join(group.key for group in GROUP_RECORDS)}")


def _fixed() -> NoReturn:
    raise NotAllowed("the groups are this host's roles and stay as they are; put the user into another group")


# Users


@routes.get("/api/access/users", needs=Permission.ACCOUNTS)
async def users(call: Call) -> Users:
    return _users(call)


@routes.post("/api/access/users", needs=Permission.ACCOUNTS)
async def add_user(call: Call) -> Users:
    wanted = await call.body(NewUser)
    if wanted.name is None or wanted.password is None or wanted.active is None:
        missing = next(field for field in ("name", "password", "active") if getattr(wanted, field) is None)
        raise Malformed(f"{missing} is missing")
    role = role_of_rights(wanted, None) or Role.OPERATOR  # as upstream, which puts everybody into "users"
    active = truth_of(wanted.active)
    await call.host.accounts.add_user(wanted.name, role, wanted.password, by=call.caller, active=active)
    return _users(call)


@routes.get("/api/access/users/{name}", needs=Permission.LOOK)
async def user(call: Call) -> UserRecord:
    accounts, name = call.host.accounts, call.params["name"]
    return record_of(accounts.user_for(name, by=call.caller), accounts.settings_of(name, by=call.caller))


@routes.put("/api/access/users/{name}", needs=Permission.ACCOUNTS)
async def change_user(call: Call) -> Users:
    accounts, name = call.host.accounts, call.params["name"]
    found = accounts.user_for(name, by=call.caller)
    wanted = await call.body(Rights)
    active = None if wanted.active is None else truth_of(wanted.active)
    await accounts.change_user(name, role_of_rights(wanted, found.role), active, by=call.caller)
    return _users(call)


@routes.delete("/api/access/users/{name}", needs=Permission.ACCOUNTS)
async def remove_user(call: Call) -> Users:
    await call.host.accounts.remove_user(call.params["name"], by=call.caller)
    return _users(call)


@routes.put("/api/access/users/{name}/password", needs=Permission.LOOK)
async def change_password(call: Call) -> Nothing:
    name, by = call.params["name"], call.caller
    call.host.accounts.user_for(name, by=by)
    wanted = await call.body(NewPassword)
    if not wanted.password:
        raise Malformed("new password is missing")
    if name == by.name and not wanted.current:
        raise Malformed("current password is missing")
    current = wanted.current if name == by.name else None
    address = call.peer.address
    await call.host.accounts.set_password(name, wanted.password, by=by, current=current, address=address)
    return Nothing()


@routes.get("/api/access/users/{name}/settings", needs=Permission.LOOK)
async def user_settings(call: Call) -> Encoded:
    return encoded(call.host.accounts.settings_of(call.params["name"], by=call.caller))


@routes.patch("/api/access/users/{name}/settings", needs=Permission.LOOK)
async def change_user_settings(call: Call) -> Nothing:
    name, by = call.params["name"], call.caller
    call.host.accounts.user_for(name, by=by)
    await call.host.accounts.change_settings(name, await call.body(dict[str, object]), by=by)
    return Nothing()


@routes.post("/api/access/users/{name}/apikey", needs=Permission.LOOK)
async def renew_key(call: Call) -> PersonalKey:
    return PersonalKey(await call.host.accounts.renew_personal_key(call.params["name"], by=call.caller))


@routes.delete("/api/access/users/{name}/apikey", needs=Permission.LOOK)
async def end_key(call: Call) -> Nothing:
    await call.host.accounts.end_personal_key(call.params["name"], by=call.caller)
    return Nothing()


def _users(call: Call) -> Users:
    accounts, by = call.host.accounts, call.caller
    return Users([record_of(user, accounts.settings_of(user.name, by)) for user in accounts.users(by)])


# Where they were once


def _moved(below: str) -> Handler:
    """307, which has the client repeat method and body, to ``/api/access/users`` + `below`."""

    async def redirect(call: Call) -> Encoded:
        path = "/api/access/users" + below.format(name=quote(call.params.get("name", ""), safe=""))
        return encoded(Nothing(), status=307, headers=[(b"location", (call.root + path).encode())])

    return redirect


for _below, _methods in {
    "": ("GET", "POST"),
    "/{name}": ("GET", "PUT", "DELETE"),
    "/{name}/password": ("PUT",),
    "/{name}/settings": ("GET", "PATCH"),
    "/{name}/apikey": ("POST", "DELETE"),
}.items():
    for _method in _methods:
        routes.add(_method, f"/api/users{_below}", needs=Permission.LOOK)(_moved(_below))
