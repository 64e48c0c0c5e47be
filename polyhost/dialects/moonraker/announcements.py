"""``/server/announcements``: what the owner of a printer should know.

This host announces what it finds itself, for as long as it holds, and fetches no feeds.

Upstream: docs/external_api/announcements.md; specification, 2.10.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.events import NoticeDismissed, NoticesChanged, NoticeWoke
from polyhost.core.user import Caller, Permission, Role
from polyhost.dialects.moonraker.request import Request, listed
from polyhost.dialects.moonraker.resource import Notification, Resource
from polyhost.services.host import Host
from polyhost.services.notices import Notice
from polyhost.services.printer import Printer

resource = Resource("announcements")

FEED: Final = "polyhost"
_ITSELF: Final = Caller("announcements", Role.VIEWER)


class Entry(msgspec.Struct):
    """`url` is empty: what is to be done is in the description; typed clients want a string there all the same."""

    entry_id: str
    url: str
    title: str
    description: str
    priority: str
    date: float
    dismissed: bool
    date_dismissed: float | None
    dismiss_wake: float | None
    source: str
    feed: str


class Which(msgspec.Struct):
    include_dismissed: bool = True


class Dismissal(msgspec.Struct):
    entry_id: str
    wake_time: float | None = None


class Update(msgspec.Struct):
    subscriptions: list[str] | str | None = None


class Feed(msgspec.Struct):
    name: str


def entry_of(notice: Notice) -> Entry:
    return Entry(
        entry_id=id_of(notice.id),
        url="",
        title=notice.fact.title,
        description=notice.fact.description,
        priority="high" if notice.fact.urgent else "normal",
        date=notice.since,
        dismissed=notice.dismissed,
        date_dismissed=notice.dismissed_at,
        dismiss_wake=notice.wakes_at,
        source="internal",
        feed=FEED,
    )


def id_of(notice: str) -> str:
    return f"{FEED}/{notice}"


def entries_of(host: Host, p: Printer, by: Caller) -> list[Entry]:
    return [entry_of(notice) for notice in host.notices.all(p, by=by)]


@resource.on(NoticesChanged)
def told_of_notices(notice: NoticesChanged, host: Host) -> Iterator[Notification]:
    for p in host.printers.all():
        if p.slug == notice.printer:
            said: dict[str, Any] = {"entries": entries_of(host, p, _ITSELF)}
            yield Notification("announcement_update", (said,), printer=p.slug)


@resource.on(NoticeDismissed)
def told_of_dismissal(notice: NoticeDismissed, host: Host) -> Iterator[Notification]:
    yield Notification("announcement_dismissed", ({"entry_id": id_of(notice.notice)},), printer=notice.printer)


@resource.on(NoticeWoke)
def told_of_wake(notice: NoticeWoke, host: Host) -> Iterator[Notification]:
    yield Notification("announcement_wake", ({"entry_id": id_of(notice.notice)},), printer=notice.printer)


@resource.get("/server/announcements/list", needs=Permission.LOOK)
async def entries(request: Request) -> dict[str, Any]:
    which = request.read(Which)
    found = entries_of(request.host, request.printer, request.caller)
    return {
        "entries": [entry for entry in found if which.include_dismissed or not entry.dismissed],
        "feeds": [FEED],
    }


@resource.post("/server/announcements/dismiss", needs=Permission.CONTROL)
async def dismiss(request: Request) -> dict[str, str]:
    wanted = request.read(Dismissal)
    feed, _, notice = wanted.entry_id.partition("/")
    name = notice if feed == FEED else wanted.entry_id
    await request.host.notices.dismiss(request.printer, name, wanted.wake_time, by=request.caller)
    return {"entry_id": wanted.entry_id}


@resource.post("/server/announcements/update", needs=Permission.LOOK)
async def update(request: Request) -> dict[str, Any]:
    for name in listed(request.read(Update).subscriptions or []):
        if name.lower() != FEED:
            raise Malformed(f"No subscription for {name[:100]}")
    modified = await request.host.notices.look(request.printer, by=request.caller)
    return {"entries": entries_of(request.host, request.printer, request.caller), "modified": modified}


@resource.get("/server/announcements/feeds", needs=Permission.LOOK)
async def feeds(request: Request) -> dict[str, list[str]]:
    return {"feeds": [FEED]}


@resource.post("/server/announcements/feed", needs=Permission.SETTINGS)
async def post_feed(request: Request) -> dict[str, str]:
    name = request.read(Feed).name.lower()
    if name != FEED:
        raise Malformed(f"this host announces what it finds itself and fetches no feeds; there is {FEED} alone")
    return {"feed": name, "action": "skipped"}


@resource.delete("/server/announcements/feed", needs=Permission.SETTINGS)
async def delete_feed(request: Request) -> dict[str, str]:
    raise Malformed(f"Feed '{request.read(Feed).name[:100]}' not stored")
