"""Upstream's permissions and groups, and which of ours they are.

Upstream: OctoPrint 1.11, docs/api/access.rst.  Its groups are the host's roles, which are fixed: what somebody may is
the row of a table (`core.user.MAY`), whatever API they come by.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from polyhost.core.errors import Malformed
from polyhost.core.user import MAY, POWER, Caller, Permission, Role

PERMISSIONS: Final[Mapping[str, Permission]] = {
    "ADMIN": Permission.ACCOUNTS,
    "STATUS": Permission.LOOK,
    "CONNECTION": Permission.CONNECT,
    "WEBCAM": Permission.LOOK,
    "SYSTEM": Permission.SYSTEM,
    "FILES_LIST": Permission.LOOK,
    "FILES_UPLOAD": Permission.UPLOAD,
    "FILES_DOWNLOAD": Permission.LOOK,
    "FILES_DELETE": Permission.DELETE,
    "FILES_SELECT": Permission.PRINT,
    "PRINT": Permission.PRINT,
    "GCODE_VIEWER": Permission.LOOK,
    "MONITOR_TERMINAL": Permission.LOOK,
    "CONTROL": Permission.CONTROL,
    "SLICE": Permission.PRINT,
    "TIMELAPSE_LIST": Permission.LOOK,
    "TIMELAPSE_DOWNLOAD": Permission.LOOK,
    "TIMELAPSE_DELETE": Permission.DELETE,
    "TIMELAPSE_MANAGE_UNRENDERED": Permission.DELETE,
    "TIMELAPSE_ADMIN": Permission.CONTROL,
    "SETTINGS_READ": Permission.LOOK,
    "SETTINGS": Permission.SETTINGS,
    "PLUGIN_ACTION_COMMAND_NOTIFICATION_SHOW": Permission.CONTROL,
    "PLUGIN_ACTION_COMMAND_NOTIFICATION_CLEAR": Permission.CONTROL,
    "PLUGIN_ACTION_COMMAND_PROMPT_INTERACT": Permission.CONTROL,
    "PLUGIN_APPKEYS_ADMIN": Permission.ACCOUNTS,
    "PLUGIN_APPKEYS_GRANT": Permission.CONTROL,
    "PLUGIN_LOGGING_MANAGE": Permission.SYSTEM,
}

GROUP: Final[Mapping[Role, str]] = {
    Role.VIEWER: "readonly",
    Role.UPLOADER: "uploaders",  # upstream has none between the other two
    Role.OPERATOR: "users",
    Role.ADMINISTRATOR: "admins",
}
GUESTS: Final = "guests"
SUBGROUPS: Final[Mapping[str, tuple[str, ...]]] = {"uploaders": ("readonly",)}

GROUPS: Final[Mapping[Role | None, tuple[str, ...]]] = {
    None: (GUESTS,),
    **{role: (group,) for role, group in GROUP.items()},
    Role.ADMINISTRATOR: ("admins", "users"),
}
"""The groups that a user of a role is in."""

_ROLES: Final[Mapping[str, str]] = {"GCODE_VIEWER": "gcodeviewer", "PLUGIN_APPKEYS_GRANT": "plugin_appkeys_user"}


def role_of(key: str) -> str:
    """Upstream's "role" that the permission `key` is held by."""
    return _ROLES.get(key, key.lower())


def keys_of(caller: Caller) -> list[str]:
    """The permissions of `caller`, by their upstream names."""
    held = caller.permissions
    return [key for key, ours in PERMISSIONS.items() if ours in held]


def needs_of(caller: Caller) -> dict[str, list[str]]:
    """The groups and roles that upstream's clients compare with what a control wants."""
    groups = [*GROUPS[caller.role]]
    groups += [below for group in groups for below in SUBGROUPS.get(group, ())]
    roles = [role_of(key) for key in keys_of(caller)]
    return {"group": groups} | ({"role": roles} if roles else {})


def role_with(groups: Iterable[str], permissions: Iterable[str]) -> Role:
    """The role that `groups` and single `permissions` make together, which never is more than they say.

    `Malformed` for names that there are not, and when no role may just that.
    """
    held: set[Permission] = set()
    by_group = {group: MAY[role] for role, group in GROUP.items()} | {GUESTS: frozenset()}
    for group in groups:
        if group not in by_group:
            raise Malformed(f"no group {group!r}; there are {', '.join(by_group)}")
        held |= by_group[group]
    for key in permissions:
        if key not in PERMISSIONS:
            raise Malformed(f"no permission {key!r}")
        held |= MAY[Role.ADMINISTRATOR] if key == "ADMIN" else {PERMISSIONS[key]}
    if not held:
        raise Malformed("a user without groups and permissions may nothing; make it inactive instead")
    for role in sorted(MAY, key=POWER.__getitem__):
        if MAY[role] == held:
            return role
        if MAY[role] > held:
            raise Malformed(f"no group may just that; {GROUP[role]!r} is the next that may, and may more")
    raise AssertionError("an administrator may everything")
