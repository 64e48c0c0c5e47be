"""What happens, told to those who listen: ``connected``, ``history``, ``current``, ``event``, ``plugin``.

A client is told that it is connected, and nothing more until it says who it is.  What a printer is now is put into
words once for all who hear the same, at most twice a second, and only while somebody listens; a client that is slow
misses some of it and holds up nobody (R16).

Upstream: OctoPrint 1.11, docs/api/push.rst.
"""

import asyncio
import contextlib
import hashlib
import logging
import platform
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from polyhost import __version__
from polyhost.core.errors import Malformed, NotFound
from polyhost.core.events import (
    ConsoleLines,
    LoggedOut,
    Notice,
    PreferencesChanged,
    PrinterStateChanged,
    RightsChanged,
    RunStateChanged,
)
from polyhost.core.job import ENDED, RunState
from polyhost.core.printer import Snapshot
from polyhost.core.user import GUEST, Caller, Permission
from polyhost.dialects.octoprint import current
from polyhost.dialects.octoprint.derived import Derived
from polyhost.dialects.octoprint.events import About, PluginSays, Told, events_of, plugin_says, printer_of, says
from polyhost.dialects.octoprint.messages import Link, Message, message
from polyhost.dialects.octoprint.permission_records import RECORDS, PermissionRecord
from polyhost.dialects.octoprint.permissions import PERMISSIONS
from polyhost.dialects.octoprint.settings import hash_of
from polyhost.dialects.octoprint.subscriptions import EVERYTHING, Auth, Subscription, Throttle, said_in
from polyhost.dialects.octoprint.timelapse import pushed_config_of
from polyhost.services.bus import Listener
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web.call import Call

log = logging.getLogger(__name__)

EVERY_S: Final = 0.5
MAX_HELD: Final = 100
CHECK_EVERY_S: Final = 30.0
_BOUND: Final = 4096  # notices that wait for us; a batch of the console is one


class Connected(msgspec.Struct):
    """The first message, before anybody said who they are."""

    version: str
    display_version: str
    branch: str
    python_version: str
    plugin_hash: str
    config_hash: str
    debug: bool
    safe_mode: str | None
    online: bool
    permissions: tuple[PermissionRecord, ...]


class Client:
    """One who listens."""

    def __init__(self, call: Call, link: Link) -> None:
        self.link = link
        self.caller: Caller = GUEST
        self.subscription: Subscription = EVERYTHING
        self.terminal = False  # whether it may see the console
        self.throttle = 1
        self.feed: Feed | None = None
        self.call = call
        self.slug = call.slug  # of the printer that is meant, which may depend on who this is
        self.session_id = ""
        self.held: deque[PluginSays] = deque(maxlen=MAX_HELD)  # said before it was known who this is
        self.heard = current.Heard()
        self.told_news = 0  # the number of the feed's news that it was told last
        self.due_at = 0.0  # when it may be told again, on the loop's clock

    @property
    def address(self) -> str:
        return self.call.peer.address

    def may(self, permission: Permission) -> bool:
        """On the printer that it listens to."""
        return self.caller.may(permission, self.slug)

    def wants_event(self, name: str) -> bool:
        events = self.subscription.events
        return events is None or name in events

    def wants_plugin(self, name: str) -> bool:
        plugins = self.subscription.plugins
        return plugins is None or name in plugins


class Feed:
    """What one printer's listeners share."""

    def __init__(self, host: Host, printer: Printer) -> None:
        self.printer = printer
        self.clients: set[Client] = set()
        self.news = 1
        self.link_was = printer.snapshot.state
        self.run_was = printer.run_state
        self.derived = Derived(printer.snapshot.tool, printer.snapshot.position.z)
        self._host = host

    def about(self) -> About:
        return About(self._host, self.printer, self.link_was, self.run_was)

    def note(self, notice: Notice) -> None:
        """What was, for the next notice."""
        match notice:
            case PrinterStateChanged(_, state):
                self.link_was = state
            case RunStateChanged(_, _, state):
                if state is RunState.STARTING:
                    self.derived.new_run()
                self.run_was = None if state in ENDED else state
                if state is RunState.PAUSED and notice.position is not None:
                    self.derived.told(notice.position)
            case _:
                pass

    def tell(self, now: float) -> bool:
        """Tell the news to those who may be told by now; whether somebody has to wait for them."""
        common: bytes | None = None
        made: dict[object, Message] = {}
        waiting = False
        told = current.heard_now(self.printer)
        for client in self.clients:
            state = client.subscription.state
            if client.told_news == self.news or state is None:
                continue
            if now < client.due_at:
                waiting = True
                continue
            key = client.heard, state, client.terminal
            body = made.get(key)
            if body is None:
                if common is None:
                    common = current.common_of(self._host, self.printer)
                body = made[key] = current.current(common, self.printer, client.heard, state, terminal=client.terminal)
            client.link.send(body)
            self._told(client, told, now)
        return waiting

    def begin(self, client: Client, now: float) -> None:
        """Tell `client` everything that is kept."""
        state = client.subscription.state
        if state is None:
            return
        told = current.heard_now(self.printer)
        common = current.common_of(self._host, self.printer)
        client.link.send(current.history(common, self.printer, state, terminal=client.terminal))
        self._told(client, told, now)
        client.told_news = 0  # and what is now, as soon as it may be told

    def _told(self, client: Client, heard: current.Heard, now: float) -> None:
        client.heard = heard
        client.told_news = self.news
        client.due_at = now + EVERY_S * client.throttle - 0.01  # the loop's clock is not as exact as ours


class Push:
    """All who listen to this host by OctoPrint's API (`polyhost.web.routes.Part`)."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._clients: set[Client] = set()
        self._feeds: dict[str, Feed] = {}
        self._hashes: dict[str, str] = {}
        self._listener: Listener | None = None
        self._somebody = asyncio.Event()
        self._nobody = asyncio.Event()
        self._news = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self._somebody.wait()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop(), name="push") for loop in (self._hear, self._tell, self._check)]
                await self._nobody.wait()
                for task in tasks:
                    task.cancel()
            if not self._clients:
                self._rest()

    # Clients: what transports call

    def open(self, call: Call, link: Link) -> Client:
        """A new client, told that it is connected."""
        client = Client(call, link)
        if self._listener is None:
            self._listener = self._host.bus.listen(bound=_BOUND)
            self._feeds = {printer.slug: Feed(self._host, printer) for printer in self._host.printers.all()}
        self._clients.add(client)
        self._nobody.clear()
        self._somebody.set()
        link.send(message("connected", self._connected(call.slug or "")))
        self._tell_of(client, "ClientOpened")
        return client

    def close(self, client: Client) -> None:
        """The client is gone."""
        self._leave(client)
        self._clients.discard(client)
        self._tell_of(client, "ClientClosed", everybody=True)
        if not self._clients:
            self._somebody.clear()
            self._nobody.set()

    def said(self, client: Client, text: str | bytes) -> None:
        """What a client says; nonsense is ignored."""
        try:
            said = said_in(text.encode() if isinstance(text, str) else text)
        except (Malformed, UnicodeEncodeError) as error:
            log.debug("a message of %s is ignored: %s", client.address, error)
            return
        match said:
            case Auth(user, session_id):
                self._authenticate(client, user, session_id)
            case Throttle(factor):
                client.throttle = factor
            case Subscription():
                self._subscribe(client, said)
            case None:
                pass

    # Saying things

    def tell(self, slug: str, told: Iterable[Told]) -> None:
        """Tell everybody who listens to the printer `slug` ("": to any)."""
        for one in told:
            whole: Message | None = None
            bare: Message | None = None
            for client in self._listening_to(slug):
                if not client.wants_event(one.type) or not client.may(one.needs):
                    continue
                if one.bare is not msgspec.UNSET and not client.may(Permission.ACCOUNTS):
                    bare = bare or message("event", {"type": one.type, "payload": one.bare})
                    client.link.send(bare)
                else:
                    whole = whole or message("event", {"type": one.type, "payload": one.payload})
                    client.link.send(whole)

    def _say(self, slug: str, said: PluginSays) -> None:
        body = message("plugin", {"plugin": said.plugin, "data": said.data})
        for client in list(self._clients):
            if slug and client.slug != slug:
                continue
            if client.feed is None:
                client.held.append(said)
            elif client.wants_plugin(said.plugin) and client.may(said.needs):
                client.link.send(body)

    def _listening_to(self, slug: str) -> list[Client]:
        if slug:
            feed = self._feeds.get(slug)
            return list(feed.clients) if feed is not None else []
        return [client for client in self._clients if client.feed is not None]

    def _tell_of(self, client: Client, what: str, *, everybody: bool = False, **more: str) -> None:
        payload = {**more, "remoteAddress": client.address}
        self.tell("", [Told(what, payload, bare=msgspec.UNSET if everybody else {})])

    def _connected(self, slug: str) -> Connected:
        version = self._host.config.octoprint.compat_version
        return Connected(
            version=version,
            display_version=f"{version} (Polyhost {__version__})",
            branch="polyhost",
            python_version=platform.python_version(),
            plugin_hash=hashlib.md5(__version__.encode(), usedforsecurity=False).hexdigest(),
            config_hash=self._hash(slug),
            debug=False,
            safe_mode=None,
            online=True,
            permissions=RECORDS,
        )

    # Who a client is

    def _authenticate(self, client: Client, user: str, session_id: str) -> None:
        session = self._host.accounts.session(session_id)
        if session is None or session.caller.name != user:
            self._log_out(client, "stale")
            return
        client.call.caller = client.caller = session.caller
        client.session_id = session_id
        held, client.held = client.held, deque(maxlen=MAX_HELD)
        self._join(client)
        for said in held:
            if client.wants_plugin(said.plugin) and client.may(said.needs):
                client.link.send(message("plugin", {"plugin": said.plugin, "data": said.data}))
        self._tell_of(client, "ClientAuthed", username=user)

    def _log_out(self, client: Client, reason: str) -> None:
        self._leave(client)
        client.call.caller = client.caller = GUEST
        client.session_id = ""
        client.link.send(message("reauthRequired", {"reason": reason}))

    def _join(self, client: Client) -> None:
        """Listen to the printer that is meant, if the client may; that may be another than before."""
        client.slug = client.call.slug
        client.terminal = client.may(PERMISSIONS["MONITOR_TERMINAL"])
        feed = self._feed(client.slug) if client.slug and client.may(Permission.LOOK) else None
        if feed is client.feed:
            return
        self._leave(client)
        if feed is None:
            return
        client.feed = feed
        feed.clients.add(client)
        feed.begin(client, asyncio.get_running_loop().time())
        recorded = pushed_config_of(self._host.timelapses.config(feed.printer))
        client.link.send(message("timelapse", recorded, latest="timelapse"))
        self._news.set()

    def _leave(self, client: Client) -> None:
        if client.feed is not None:
            client.feed.clients.discard(client)
            client.feed = None

    def _subscribe(self, client: Client, wanted: Subscription) -> None:
        before, client.subscription = client.subscription.state, wanted
        if client.feed is not None and wanted.state is not None and wanted.state != before:
            client.feed.begin(client, asyncio.get_running_loop().time())
            self._news.set()

    # What runs while somebody listens

    async def _hear(self) -> None:
        assert self._listener is not None
        async for notice in self._listener:
            self._heard(notice)

    def _heard(self, notice: Notice) -> None:
        slug = printer_of(notice)
        feed = self._feed(slug) if slug else None
        match notice:
            case Snapshot():
                pass
            case ConsoleLines(_, lines):
                if feed is not None and feed.clients:
                    self.tell(slug, feed.derived.heard(lines))
            case _:
                about = feed.about() if feed is not None else About(self._host, None)
                self.tell(slug, events_of(notice, about))
                if feed is not None:
                    feed.note(notice)
                if (said := plugin_says(notice)) is not None:
                    self._say(slug, said)
                if (other := says(notice, about)) is not None:
                    body = message(other.kind, other.payload, latest=other.kind)
                    for client in self._listening_to(slug):
                        client.link.send(body)
                if isinstance(notice, RightsChanged | LoggedOut):
                    self._rights_changed(notice)
                if isinstance(notice, PreferencesChanged):
                    self._settings_changed(slug)
        if feed is not None:
            feed.news += 1
            if feed.clients:
                self._news.set()

    def _feed(self, slug: str) -> Feed | None:
        feed, printer = self._feeds.get(slug), self._host.printers.find(slug)
        if feed is None and printer is not None:
            feed = self._feeds[slug] = Feed(self._host, printer)
        elif feed is not None and printer is not None:
            feed.printer = printer  # another of that name may have come since
        return feed

    def _rights_changed(self, notice: RightsChanged | LoggedOut) -> None:
        reason = "logout" if isinstance(notice, LoggedOut) else notice.reason
        for client in list(self._clients):
            if client.caller.name == notice.user and client.session_id:
                self._verify(client, reason)

    def _verify(self, client: Client, reason: str) -> None:
        """Whether its session still is what it was; being here keeps the session in use."""
        session = self._host.accounts.session(client.session_id)
        if session is None:
            self._log_out(client, reason)
        elif session.caller != client.caller:
            client.call.caller = client.caller = session.caller
            client.link.send(message("reauthRequired", {"reason": "modified"}))
            self._join(client)

    def _settings_changed(self, slug: str) -> None:
        """Tell those who listen to a printer (`slug` "": to any) when what they would read is not what it was."""
        for each in [slug] if slug else list(self._feeds):
            was = self._hashes.pop(each, None)
            if (now := self._hash(each)) != was:
                self.tell(each, [Told("SettingsUpdated", {"config_hash": now, "effective_hash": now})])

    def _hash(self, slug: str) -> str:
        """Of the settings of a printer, as they were when somebody last heard of them; "" without a printer."""
        if slug not in self._hashes:
            with contextlib.suppress(NotFound):
                self._hashes[slug] = hash_of(self._host, self._host.printers.get(slug))
        return self._hashes.get(slug, "")

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            self._news.clear()
            now = loop.time()
            for feed in self._feeds.values():
                if feed.clients and feed.tell(now):
                    self._news.set()
            await asyncio.sleep(EVERY_S)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            for client in list(self._clients):
                if client.session_id:
                    self._verify(client, "stale")

    def _rest(self) -> None:
        if self._listener is not None:
            self._host.bus.forget(self._listener)
            self._listener = None
        self._feeds = {}
        self._hashes = {}
