"""Upstream's permissions and groups, and which of ours they are.

Upstream: OctoPrint 1.11, docs/api/access.rst.
"""

from collections.abc import Mapping
from typing import Final

from polyhost.core.user import Caller, Permission, Role

PERMISSIONS: Final[Mapping[str, Permission]] = {
    "STATUS": Permission.LOOK,
    "WEBCAM": Permission.LOOK,
    "FILES_LIST": Permission.LOOK,
    "FILES_DOWNLOAD": Permission.LOOK,
    "GCODE_VIEWER": Permission.LOOK,
    "MONITOR_TERMINAL": Permission.LOOK,
    "TIMELAPSE_LIST": Permission.LOOK,
    "TIMELAPSE_DOWNLOAD": Permission.LOOK,
    "SETTINGS_READ": Permission.LOOK,
    "FILES_UPLOAD": Permission.UPLOAD,
    "FILES_DELETE": Permission.DELETE,
    "FILES_SELECT": Permission.PRINT,
    "PRINT": Permission.PRINT,
    "SLICE": Permission.PRINT,
    "CONTROL": Permission.CONTROL,
    "CONNECTION": Permission.CONNECT,
    "TIMELAPSE_DELETE": Permission.DELETE,
    "TIMELAPSE_MANAGE_UNRENDERED": Permission.DELETE,
    "TIMELAPSE_ADMIN": Permission.CONTROL,
    "PLUGIN_APPKEYS_GRANT": Permission.CONTROL,
    "PLUGIN_APPKEYS_ADMIN": Permission.ACCOUNTS,
    "SETTINGS": Permission.SETTINGS,
    "SYSTEM": Permission.SYSTEM,
    "ADMIN": Permission.SYSTEM,
}

GROUPS: Final[Mapping[Role | None, tuple[str, ...]]] = {
    None: ("guests",),
    Role.VIEWER: ("readonly",),
    Role.UPLOADER: ("readonly",),
    Role.OPERATOR: ("users",),
    Role.ADMINISTRATOR: ("admins", "users"),
}

_ROLES: Final[Mapping[str, str]] = {
    "GCODE_VIEWER": "gcodeviewer",
    "PLUGIN_APPKEYS_GRANT": "plugin_appkeys_user",
    "PLUGIN_APPKEYS_ADMIN": "plugin_appkeys_admin",
}


def role_of(key: str) -> str:
    """The name of the role that holds the permission `key`."""
    return _ROLES.get(key, key.lower())


def keys_of(caller: Caller) -> list[str]:
    """The permissions of `caller`, by their upstream names."""
    held = caller.permissions
    return [key for key, ours in PERMISSIONS.items() if ours in held]


def needs_of(caller: Caller) -> dict[str, list[str]]:
    """The groups and roles that upstream's clients compare with what a control wants."""
    roles = [role_of(key) for key in keys_of(caller)]
    return {"group": list(GROUPS[caller.role])} | ({"role": roles} if roles else {})
