"""Upstream's permissions as records, for pages that list them.

Upstream: OctoPrint 1.11, docs/api/access.rst.
"""

from typing import Final

import msgspec

from polyhost.dialects.octoprint.permissions import PERMISSIONS, role_of


class PermissionRecord(msgspec.Struct, frozen=True):
    key: str
    name: str
    dangerous: bool
    default_groups: tuple[str, ...]
    description: str
    needs: dict[str, tuple[str, ...]]


_READERS: Final = ("users", "readonly")
_USERS: Final = ("users",)
_ADMINS: Final = ("admins",)

_ABOUT: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "ADMIN": ("Admin", _ADMINS, "May do everything"),
    "STATUS": ("Status", _READERS, "See the printer's state, temperatures and progress"),
    "CONNECTION": ("Connection", _USERS, "Open and close the link to the printer"),
    "WEBCAM": ("Webcam", _READERS, "See the webcam"),
    "SYSTEM": ("System", _ADMINS, "Run commands of the host"),
    "FILES_LIST": ("File List", _READERS, "See which files there are"),
    "FILES_UPLOAD": ("File Upload", _USERS, "Add files"),
    "FILES_DOWNLOAD": ("File Download", _READERS, "Download files"),
    "FILES_DELETE": ("File Delete", _USERS, "Delete files"),
    "FILES_SELECT": ("File Select", _USERS, "Choose the file of the next print"),
    "PRINT": ("Print", _USERS, "Start, pause, resume and cancel prints"),
    "GCODE_VIEWER": ("GCODE viewer", _READERS, "Look at a file's layers"),
    "MONITOR_TERMINAL": ("Terminal", _READERS, "See what is said to the printer and by it"),
    "CONTROL": ("Control", _USERS, "Move, heat, and send commands"),
    "SLICE": ("Slice", _USERS, "Slice models"),
    "TIMELAPSE_LIST": ("Timelapse List", _READERS, "See which timelapses there are"),
    "TIMELAPSE_DOWNLOAD": ("Timelapse Download", _READERS, "Download timelapses"),
    "TIMELAPSE_DELETE": ("Timelapse Delete", _USERS, "Delete timelapses"),
    "TIMELAPSE_MANAGE_UNRENDERED": ("Timelapse Manage Unrendered", _USERS, "Render and delete recordings"),
    "TIMELAPSE_ADMIN": ("Timelapse Admin", _USERS, "Set how timelapses are made"),
    "SETTINGS_READ": ("Settings Access", _READERS, "See the settings"),
    "SETTINGS": ("Settings Admin", _ADMINS, "Change the settings"),
    "PLUGIN_APPKEYS_ADMIN": ("Application Keys: Admin Access", _ADMINS, "See and revoke everybody's application keys"),
    "PLUGIN_APPKEYS_GRANT": ("Application Keys: Grant", _USERS, "Allow and deny requests for application keys"),
}

RECORDS: Final = tuple(
    PermissionRecord(key, name, groups == _ADMINS, groups, words, {"role": (role_of(key),)})
    for key, (name, groups, words) in _ABOUT.items()
)

if _ABOUT.keys() != PERMISSIONS.keys():
    raise AssertionError(f"permissions without a record, or the other way round: {_ABOUT.keys() ^ PERMISSIONS.keys()}")
