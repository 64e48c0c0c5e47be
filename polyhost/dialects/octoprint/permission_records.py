"""Upstream's permissions and groups as records, for pages that list them.

Upstream: OctoPrint 1.11, docs/api/access.rst.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost.core.user import GUEST, MAY, Caller, Role
from polyhost.dialects.octoprint.permissions import GROUP, GUESTS, PERMISSIONS, SUBGROUPS, keys_of, role_of


class PermissionRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str
    name: str
    description: str
    dangerous: bool
    default_groups: tuple[str, ...]
    needs: dict[str, tuple[str, ...]]
    plugin: str = ""


class GroupRecord(msgspec.Struct, frozen=True):
    key: str
    name: str
    description: str
    permissions: tuple[str, ...]
    subgroups: tuple[str, ...]
    needs: dict[str, tuple[str, ...]]
    default: bool
    dangerous: bool
    removable: bool = False
    changeable: bool = False
    toggleable: bool = True


_ABOUT: Final[Mapping[str, tuple[str, str]]] = {
    "ADMIN": ("Admin", "May do everything"),
    "STATUS": ("Status", "See the printer's state, temperatures and progress"),
    "CONNECTION": ("Connection", "Open and close the link to the printer"),
    "WEBCAM": ("Webcam", "See the webcam"),
    "SYSTEM": ("System", "Run commands of the host"),
    "FILES_LIST": ("File List", "See which files there are"),
    "FILES_UPLOAD": ("File Upload", "Add files"),
    "FILES_DOWNLOAD": ("File Download", "Download files"),
    "FILES_DELETE": ("File Delete", "Delete files"),
    "FILES_SELECT": ("File Select", "Choose the file of the next print"),
    "PRINT": ("Print", "Start, pause, resume and cancel prints"),
    "GCODE_VIEWER": ("GCODE viewer", "Look at a file's layers"),
    "MONITOR_TERMINAL": ("Terminal", "See what is said to the printer and by it"),
    "CONTROL": ("Control", "Move, heat, and send commands"),
    "SLICE": ("Slice", "Slice models"),
    "TIMELAPSE_LIST": ("Timelapse List", "See which timelapses there are"),
    "TIMELAPSE_DOWNLOAD": ("Timelapse Download", "Download timelapses"),
    "TIMELAPSE_DELETE": ("Timelapse Delete", "Delete timelapses"),
    "TIMELAPSE_MANAGE_UNRENDERED": ("Timelapse Manage Unrendered", "Render and delete recordings"),
    "TIMELAPSE_ADMIN": ("Timelapse Admin", "Set how timelapses are made"),
    "SETTINGS_READ": ("Settings Access", "See the settings"),
    "SETTINGS": ("Settings Admin", "Change the settings"),
    "PLUGIN_ACTION_COMMAND_NOTIFICATION_SHOW": ("Notifications: Show", "See what the printer wants people to read"),
    "PLUGIN_ACTION_COMMAND_NOTIFICATION_CLEAR": ("Notifications: Clear", "Put notifications away"),
    "PLUGIN_ACTION_COMMAND_PROMPT_INTERACT": ("Prompts: Interact", "Answer what the printer asks"),
    "PLUGIN_APPKEYS_ADMIN": ("Application Keys: Admin", "See and revoke everybody's application keys"),
    "PLUGIN_APPKEYS_GRANT": ("Application Keys: Grant", "Allow and deny requests for application keys"),
    "PLUGIN_LOGGING_MANAGE": ("Logging: Manage", "Read and delete logs, and say what they tell"),
}
_DANGEROUS: Final = frozenset({"ADMIN", "SYSTEM", "SETTINGS", "PLUGIN_APPKEYS_ADMIN"})
_OF_ADMINS: Final = ("ADMIN", "PLUGIN_APPKEYS_ADMIN", "PLUGIN_LOGGING_MANAGE")
"""What upstream names in that group; the rest follows from ADMIN."""

_NAMES: Final[Mapping[Role, tuple[str, str]]] = {
    Role.ADMINISTRATOR: ("Admins", "Administrators"),
    Role.OPERATOR: ("Operator", "May print, move and heat"),
    Role.UPLOADER: ("Uploader", "May look, and add files"),
    Role.VIEWER: ("Read-only Access", "May look"),
}


def _own(role: Role) -> tuple[str, ...]:
    """The permissions that the group of `role` names itself."""
    if role is Role.ADMINISTRATOR:
        return _OF_ADMINS
    subgroups = SUBGROUPS.get(GROUP[role], ())
    inherited = {ours for below, group in GROUP.items() if group in subgroups for ours in MAY[below]}
    return tuple(key for key, ours in PERMISSIONS.items() if ours in MAY[role] - inherited)


def _needs(role: Role | None) -> dict[str, tuple[str, ...]]:
    group = GUESTS if role is None else GROUP[role]
    roles = tuple(role_of(key) for key in keys_of(GUEST if role is None else Caller(role=role)))
    return {"group": (group, *SUBGROUPS.get(group, ()))} | ({"role": roles} if roles else {})


def _plugin(key: str) -> str:
    """``appkeys`` of ``PLUGIN_APPKEYS_GRANT``."""
    return key.removeprefix("PLUGIN_").rpartition("_")[0].lower() if key.startswith("PLUGIN_") else ""


RECORDS: Final = tuple(
    PermissionRecord(
        *(key, *_ABOUT[key], key in _DANGEROUS),
        tuple(GROUP[role] for role in _NAMES if key in _own(role)),
        {"role": (role_of(key),)},
        _plugin(key),
    )
    for key in PERMISSIONS
)
"""Every permission."""

GROUP_RECORDS: Final = (
    *(
        GroupRecord(
            *(GROUP[role], *words, _own(role), SUBGROUPS.get(GROUP[role], ()), _needs(role)),
            default=role is Role.OPERATOR,
            dangerous=role is Role.ADMINISTRATOR,
        )
        for role, words in _NAMES.items()
    ),
    GroupRecord(
        *(GUESTS, "Guests", "Whoever is not logged in", (), (), _needs(None)),
        default=False,
        dangerous=False,
        toggleable=False,
    ),
)
"""Every group.  They are the host's roles, which nobody changes."""
