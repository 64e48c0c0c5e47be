"""``notify_filelist_changed`` and ``notify_metadata_update``: what became of files, whoever did it.

Upstream: docs/external_api/jsonrpc_notifications.md; specification, 2.16 and 6.  Of a folder it is told once, of G-code
when its header was read, and in the words of each connection's edition.
"""

from typing import Any, Final

from polyhost.core.errors import NotFound
from polyhost.core.events import FilesChanged
from polyhost.core.file import is_gcode
from polyhost.dialects.moonraker.connections import Connections
from polyhost.dialects.moonraker.metadata import READ_WITHIN_S, whole_metadata
from polyhost.dialects.moonraker.resource import Notification
from polyhost.dialects.moonraker.roots import GCODES, WireItem, gone, library_item, wire_item
from polyhost.services.folders import Entry
from polyhost.services.host import Host
from polyhost.services.printer import Printer

_MODERN: Final = {
    ("created", False): "create_file",
    ("created", True): "create_dir",
    ("modified", False): "modify_file",
    ("removed", False): "delete_file",
    ("removed", True): "delete_dir",
    ("moved", False): "move_file",
    ("moved", True): "move_dir",
    ("copied", False): "create_file",
    ("copied", True): "create_dir",
}
_EARLY: Final = {
    ("created", False): "upload_file",
    ("created", True): "create_dir",
    ("modified", False): "upload_file",
    ("removed", False): "delete_file",
    ("removed", True): "delete_dir",
    ("moved", False): "move_item",
    ("moved", True): "move_item",
    ("copied", False): "copy_item",
    ("copied", True): "copy_item",
}


def actions_of(change: FilesChanged) -> tuple[str, str]:
    """What it is called today, and in the early document."""
    key = change.change, change.is_folder
    modern = "modify_file" if change.change == "copied" and change.replaced else _MODERN[key]
    return modern, _EARLY[key]


def told(change: FilesChanged, item: WireItem) -> Notification:
    modern, early = actions_of(change)
    source = {"path": change.source, "root": change.source_root}
    today: dict[str, Any] = {"action": modern, "item": item}
    then: dict[str, Any] = {"action": early, "item": item}
    if change.change == "moved":
        today["source_item"] = source
    if change.source:
        then["source_item"] = source
    return Notification("filelist_changed", (today,), printer=change.printer, early=(then,))


class FileNews:
    """`run` tells until it is cancelled, each change after those before it."""

    def __init__(self, host: Host, connections: Connections) -> None:
        self._host = host
        self._connections = connections

    async def run(self) -> None:
        with self._host.bus.listen(FilesChanged, bound=1024) as listener:
            async for notice in listener:
                if isinstance(notice, FilesChanged) and len(self._connections):
                    self._connections.tell(await self._news(notice))

    async def _news(self, change: FilesChanged) -> list[Notification]:
        is_read = change.root == GCODES and not change.is_folder and is_gcode(change.path)
        if change.change == "removed":
            return [told(change, gone(change.root, change.path))]
        if is_read:
            await self._host.files.reading.until_read(change.path, READ_WITHIN_S)
        try:
            item = await self._item(change)
            news = [told(change, item)]
            if is_read and change.change != "moved" and self._host.files.get(change.path).metadata is not None:
                news += [await self._metadata(p, change.path) for p in self._listening()]
        except NotFound:
            return []  # gone again, which is told next
        return news

    def _listening(self) -> list[Printer]:
        """The printers that anybody is connected to; a connection may outlast its printer."""
        slugs = {one.slug for one in self._connections}
        return [p for p in self._host.printers.all() if p.slug in slugs]

    async def _metadata(self, p: Printer, path: str) -> Notification:
        """For those connected to one printer, whose prints it knows."""
        file = self._host.files.get(path)
        said = await whole_metadata(self._host, file, p, early=False)
        early = await whole_metadata(self._host, file, p, early=True)
        return Notification("metadata_update", (said,), printer=p.slug, early=(early,))

    async def _item(self, change: FilesChanged) -> WireItem:
        files = self._host.files
        if change.root == GCODES:
            return wire_item(library_item(files.folder(change.path) if change.is_folder else files.get(change.path)))
        entry: Entry = await self._host.printer_files.config(self._host.printers.get(change.printer)).entry(change.path)
        return WireItem(entry.path, change.root, entry.modified_at, entry.size_bytes, "rw" if entry.writable else "r")
