"""What subscribers are told of their printers: four times a second what changed, made once for all who want the same.

A printer nobody subscribed to costs nothing.  Nothing is queued for who reads slowly: it is passed over, and gets all
that changed meanwhile as soon as it took what it was sent (`objects.tree`).

Upstream: docs/external_api/printer.md, jsonrpc_notifications.md; specification, 2.2 and 6.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from polyhost.core.errors import NotNow
from polyhost.core.user import Permission
from polyhost.dialects.moonraker.connections import Connection, Connections, frame_of
from polyhost.dialects.moonraker.objects.source import Source
from polyhost.dialects.moonraker.objects.synthesised import ComputerStats, Synthesised, Understood
from polyhost.dialects.moonraker.objects.tree import MAX_NAMES, Selection, Tree, size_of, union_of
from polyhost.dialects.moonraker.request import Edition
from polyhost.dialects.moonraker.resource import Notification
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web.sockets import Frame

EVERY_S: Final = 0.25
MAX_ANSWERS: Final = 64
_AT_ONCE: Final = 200  # clients, before everything else has its turn

_encode: Final = msgspec.json.Encoder().encode


class Audience:
    """Those who want the same, of the same edition; how many they are."""

    __slots__ = ("count", "is_early", "selection")

    def __init__(self, selection: Selection, is_early: bool) -> None:
        self.selection = selection
        self.is_early = is_early
        self.count = 0


class Follower:
    """A connection that subscribed, or an early one, which is told what any early one asked for."""

    __slots__ = ("audience", "connection", "told")

    def __init__(self, connection: Connection, audience: Audience, told: int) -> None:
        self.connection = connection
        self.audience = audience
        self.told = told  # the tick it knows the status of


class Feed:
    """One printer's subscribers."""

    def __init__(self, slug: str, source: Source, connections: Connections) -> None:
        self._slug = slug
        self._source = source
        self._connections = connections
        self._tree = Tree()
        self._followers: dict[int, Follower] = {}
        self._audiences: dict[tuple[Selection, bool], Audience] = {}
        self._joined: Selection = ()  # by early clients without a connection
        self._everybody_early = Audience((), True)  # what they are all told
        self._version: object = None
        self._looked_at = -EVERY_S
        self._answers: dict[Selection, msgspec.Raw] = {}
        self._answers_of = 0
        self._listed: object = None  # the shape that clients know; None: none of them asked since they were told
        self._shape: object = None  # at the last tick

    @property
    def is_wanted(self) -> bool:
        return bool(self._followers or self._joined)

    # Asking

    async def names(self) -> list[str]:
        names = list(await self._source.names())
        if self._listed is None:
            self._listed = self._source.shape()
        return names

    async def answer(self, selection: Selection) -> msgspec.Raw:
        """``{eventtime, status}`` of all that is wanted, as it is now; encoded once for all who ask the same now."""
        await self._look(selection)
        if self._answers_of != self._tree.tick or len(self._answers) >= MAX_ANSWERS:
            self._answers.clear()
            self._answers_of = self._tree.tick
        made = self._answers.get(selection)
        if made is None:
            body: dict[str, Any] = {"eventtime": self._tree.at, "status": self._tree.whole(selection)}
            made = self._answers[selection] = msgspec.Raw(_encode(body))
        return made

    async def subscribe(self, connection: Connection, selection: Selection) -> msgspec.Raw:
        """Tell `connection` from now on what changes of it, instead of what it subscribed to before."""
        news = self._leave(connection.id)
        audience = self._audience(selection, connection.edition) if selection else None
        if news or (audience is not None and audience.count == 1):
            await self._follow()
        answer = await self.answer(selection)
        self._leave(connection.id)  # it may have asked twice at once
        if audience is not None:
            self._followers[connection.id] = Follower(connection, audience, self._tree.tick)
        return answer

    async def join(self, selection: Selection) -> msgspec.Raw:
        """The same for an early client that has no connection: all early ones are told, itself among them."""
        joined = union_of({self._joined, selection}) if selection else ()
        if size_of(joined) > MAX_NAMES:
            raise NotNow(
                f"early clients subscribed to {MAX_NAMES} objects and fields; subscribing to none ends all that"
            )
        self._joined = joined
        await self._follow()
        return await self.answer(selection)

    # Telling

    async def tell(self) -> None:
        """Tell everybody what changed since they were told last."""
        if self._everybody_early.selection:
            self._find_early()
        if not self._followers:
            return
        await self._look((), anew=True)
        self._tell_of_shape()
        frames: dict[tuple[Audience, int], Frame | None] = {}
        tick = self._tree.tick
        for number, follower in enumerate(list(self._followers.values()), 1):
            if self._tree.tick != tick:  # somebody asked while others had their turn
                tick = self._tree.tick
                frames.clear()
            connection = follower.connection
            # A connection may become one of another printer: when a key that is bound to that one is shown on it.
            if self._connections.find(connection.id) is not connection or connection.slug != self._slug:
                if self._leave(connection.id):
                    await self._follow()
                continue
            if connection.batches or not connection.socket.is_caught_up or not connection.may(Permission.LOOK):
                continue
            audience = self._everybody_early if follower.audience.is_early else follower.audience
            key = audience, follower.told
            if key not in frames:
                changes = self._tree.since(follower.told, audience.selection)
                frames[key] = frame_of("status_update", (changes, self._tree.at)) if changes else None
            frame = frames[key]
            follower.told = tick
            if frame is not None:
                connection.socket.send(frame)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _tell_of_shape(self) -> None:
        """Have clients look at a machine anew that turned out to have more, or less, than when they asked.

        They do so when a Klippy has restarted, and at no other time.  Some take that for the end of a print, so
        during one they are left alone.
        """
        shape, before = self._source.shape(), self._shape
        self._shape = shape
        status = self._tree.status
        is_printing = status.get("print_stats", {}).get("state") in {"printing", "paused"}
        if status.get("webhooks", {}).get("state") != "ready":
            self._listed = None  # they will be told when it is
        elif self._listed is not None and shape != self._listed and shape == before and not is_printing:
            self._listed = None
            told = (Notification(name, printer=self._slug) for name in ("klippy_disconnected", "klippy_ready"))
            self._connections.tell(told)

    def _find_early(self) -> None:
        """Early connections are told what others of them asked for, whether they asked for anything or not."""
        for connection in self._connections.of(self._slug):
            if connection.edition is Edition.EARLY and connection.id not in self._followers:
                audience = self._audience((), Edition.EARLY)
                self._followers[connection.id] = Follower(connection, audience, self._tree.tick)

    async def _look(self, wanted: Selection, *, anew: bool = False) -> None:
        """Bring the status up to date: `anew` if any time went on, else if there is news or it is old."""
        now, version = asyncio.get_running_loop().time(), self._source.version()
        if anew or version != self._version or now >= self._looked_at + EVERY_S:
            self._version, self._looked_at = version, now
            self._tree.take(*await self._source.look(wanted))

    def _audience(self, selection: Selection, edition: Edition) -> Audience:
        """That of those who want the same, one more now."""
        key = selection, edition is Edition.EARLY
        audience = self._audiences.setdefault(key, Audience(*key))
        audience.count += 1
        return audience

    def _leave(self, number: int) -> bool:
        """Forget a connection; whether it was the last that wanted what it did."""
        follower = self._followers.pop(number, None)
        if follower is None:
            return False
        audience = follower.audience
        audience.count -= 1
        if not audience.count:
            del self._audiences[audience.selection, audience.is_early]
        return not audience.count

    async def _follow(self) -> None:
        """Tell the source what is wanted now, which another audience changed."""
        early = {audience.selection for audience in self._audiences.values() if audience.is_early}
        self._everybody_early = Audience(union_of({self._joined, *early}), True)
        every = {audience.selection for audience in self._audiences.values()}
        await self._source.follow(union_of({self._joined, *every}))


class Feeds:
    """Of every printer."""

    def __init__(self, host: Host, connections: Connections, understood: Callable[[Host, Printer], Understood]) -> None:
        self._host = host
        self._understood = understood
        self._connections = connections
        self._feeds: dict[str, tuple[Printer, Synthesised, Feed]] = {}
        self._computer = ComputerStats()
        self._began_at = host.clock.now()
        self._somebody = asyncio.Event()

    def of(self, p: Printer) -> Feed:
        return self._there(p)[2]

    def synthesised(self, p: Printer) -> Synthesised:
        """What is shown of `p`, for what clients tell of it."""
        return self._there(p)[1]

    def _there(self, p: Printer) -> tuple[Printer, Synthesised, Feed]:
        there = self._feeds.get(p.slug)
        if there is None or there[0] is not p:
            source = Synthesised(self._host, p, self._computer, self._understood, self._began_at)
            there = self._feeds[p.slug] = p, source, Feed(p.slug, source, self._connections)
        return there

    async def subscribe(self, p: Printer, connection: Connection, selection: Selection) -> msgspec.Raw:
        """`Feed.subscribe`; a connection follows one printer."""
        answer = await self.of(p).subscribe(connection, selection)
        self._somebody.set()
        return answer

    async def join(self, p: Printer, selection: Selection) -> msgspec.Raw:
        answer = await self.of(p).join(selection)
        self._somebody.set()
        return answer

    async def run(self) -> None:
        """Tell all subscribers of all printers, for as long as there are any."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            await self._somebody.wait()
            due = max(due + EVERY_S, clock())
            await asyncio.sleep(due - clock())
            self._somebody.clear()
            for slug, (printer, _, feed) in list(self._feeds.items()):
                if self._host.printers.find(slug) is not printer:
                    del self._feeds[slug]
                elif feed.is_wanted:
                    self._somebody.set()
                    await feed.tell()
