"""``/server/database``: what front ends keep for themselves with a printer, in namespaces of JSON.

Reading takes who may look, writing who may control the machine, since a dashboard's presets and macros are commands.
Front ends begin their namespace when they find none and wait until they can read it, so to who may not write, a
whole namespace that is not there is one with nothing in it.  The namespaces that upstream's own parts keep are
views of what this host has, and are set by the calls that are about it.

Upstream: docs/external_api/database.md; specification, 2.6.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyhost.core.errors import NotAllowed, NotFound
from polyhost.core.namespaces import found, path_of
from polyhost.core.user import Permission
from polyhost.dialects.moonraker import webcams
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource

resource = Resource("database")

FORBIDDEN: Final = frozenset({"database"})
PROTECTED: Final = frozenset(
    {"moonraker", "announcements", "authorized_users", "gcode_metadata", "history", "update_manager", "webcams"}
)
"""Upstream's own."""


class Item(msgspec.Struct):
    namespace: str
    key: list[str] | str | None
    value: Any


class Wanted(msgspec.Struct):
    namespace: str
    key: list[str] | str | None = None


class Named(msgspec.Struct):
    namespace: str
    key: list[str] | str


class Given(msgspec.Struct):
    namespace: str
    key: list[str] | str
    value: Any


class Backup(msgspec.Struct):
    filename: str


class NewBackup(msgspec.Struct):
    filename: str = ""


def own_namespaces(request: Request) -> Mapping[str, Any]:
    """Those of upstream's own parts that there is something of."""
    host, p = request.host, request.printer
    own: dict[str, Any] = {"moonraker": {"instance_id": host.discovery.uuid_of(p).replace("-", "")}}
    if cams := webcams.namespace_of(host, p, may_set=webcams.may_set(request.caller, p)):
        own["webcams"] = cams
    return own


def value_in(record: Any, namespace: str, key: list[str] | str | None) -> Any:
    """What is at `key` in a namespace of upstream's own; `NotFound` when nothing is."""
    try:
        return found(record, () if key is None else path_of(key))
    except NotFound:
        raise NotFound(f"Key '{key}' in namespace '{namespace}' not found") from None


def checked(namespace: str, *, writes: bool) -> str:
    """`NotAllowed` for a namespace that is not a client's to read, or to write."""
    if namespace in FORBIDDEN:
        raise NotAllowed(f"Read/Write access to namespace '{namespace}' is forbidden")
    if writes and namespace in PROTECTED:
        raise NotAllowed(f"Write access to namespace '{namespace}' is forbidden")
    return namespace


@resource.get("/server/database/list", needs=Permission.LOOK)
async def listed(request: Request) -> dict[str, list[str]]:
    kept = request.host.namespaces
    names = await kept.all(request.printer, by=request.caller)
    backups = await kept.backups(request.printer, by=request.caller)
    return {"namespaces": sorted({*names, *own_namespaces(request)}), "backups": backups}


@resource.get("/server/database/item", needs=Permission.LOOK)
async def get_item(request: Request) -> Item:
    wanted = request.read(Wanted)
    name, key = checked(wanted.namespace, writes=False), wanted.key
    own = own_namespaces(request)
    if name in own:
        return Item(name, key, value_in(own[name], name, key))
    kept, p = request.host.namespaces, request.printer
    try:
        if key is None:
            value = await kept.whole(p, name, by=request.caller)
        else:
            value = await kept.get(p, name, key, by=request.caller)
    except NotFound:
        if key is not None or name in PROTECTED or kept.may_change(p, request.caller):
            raise
        value = b"{}"
    return Item(name, key, msgspec.Raw(value))


@resource.post("/server/database/item", needs=Permission.CONTROL)
async def post_item(request: Request) -> Item:
    given = request.read(Given)
    name = checked(given.namespace, writes=True)
    await request.host.namespaces.put(request.printer, name, given.key, given.value, by=request.caller)
    return Item(name, given.key, given.value)


@resource.delete("/server/database/item", needs=Permission.CONTROL)
async def delete_item(request: Request) -> Item:
    named = request.read(Named)
    name = checked(named.namespace, writes=True)
    gone = await request.host.namespaces.remove(request.printer, name, named.key, by=request.caller)
    return Item(name, named.key, gone)


@resource.post("/server/database/compact", needs=Permission.SYSTEM, waits=True)
async def compact(request: Request) -> dict[str, int]:
    before, after = await request.host.namespaces.compact(by=request.caller)
    return {"previous_size": before, "new_size": after}


@resource.post("/server/database/backup", needs=Permission.SETTINGS, waits=True)
async def post_backup(request: Request) -> dict[str, str]:
    """The path is the file's name."""
    name = request.read(NewBackup).filename or time.strftime("sqldb-backup-%Y%m%d-%H%M%S.db")
    await request.host.namespaces.back_up(request.printer, name, by=request.caller)
    return {"backup_path": name}


@resource.delete("/server/database/backup", needs=Permission.SETTINGS, waits=True)
async def delete_backup(request: Request) -> dict[str, str]:
    name = request.read(Backup).filename
    await request.host.namespaces.drop_backup(request.printer, name, by=request.caller)
    return {"backup_path": name}


@resource.post("/server/database/restore", needs=Permission.SETTINGS, waits=True)
async def restore(request: Request) -> dict[str, list[str]]:
    """Nothing has to begin anew after it."""
    name = request.read(Backup).filename
    names = await request.host.namespaces.restore(request.printer, name, by=request.caller)
    return {"restored_tables": ["namespace_store"], "restored_namespaces": names}
