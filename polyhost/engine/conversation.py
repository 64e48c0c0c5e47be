"""The conversation with the firmware on an open link: the loop of bytes, replies and deadlines around a `Session`.

`heard` feeds the session, `pump` writes what the session wants written and sleeps until its deadline.  The host's own
lines go through `say` and `send`, and are held back, in order, while the journal must first learn that they heat
(reliability, R9).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from polyhost.core.errors import LinkLost, MachineFault, NoSpace, NotNow, PolyhostError
from polyhost.core.ports import Clock
from polyhost.core.printer import PrinterState
from polyhost.engine.connection import Connection
from polyhost.engine.heaters import Heat
from polyhost.engine.links import Link
from polyhost.engine.messages import MachineSettings
from polyhost.engine.picture import Picture
from polyhost.firmware.marlin.asking import Asked
from polyhost.firmware.marlin.replies import CommandsDone, FirmwareReported, Reply
from polyhost.firmware.marlin.session import Lane, Session

LOOK_S: Final = 0.1  # how late a deadline of the conversation may be seen
HELD_S: Final = 10.0  # how long `send` waits for the journal


class Holder(Protocol):
    """Who holds the machine, and hears what the conversation does not settle by itself."""

    settings: MachineSettings
    connection: Connection
    changed: bool  # there is news for a snapshot

    def begun(self) -> None:
        """There is a new session, which has not greeted yet."""

    def greeted(self) -> None:
        """The firmware answers."""

    def feed(self) -> None:
        """Give the session lines of a file, if there is one and it has room."""

    def take(self, reply: Reply) -> None: ...


class _Held:
    """Lines that wait, and who waits for them; `handed` is told None, or why they were dropped."""

    __slots__ = ("asked", "handed", "lines", "then")

    def __init__(
        self, lines: Sequence[bytes], then: Callable[[], None] | None = None, asked: Asked | None = None
    ) -> None:
        self.lines = lines
        self.then = then
        self.asked = asked  # the same lines, of which somebody wants to know how they end
        self.handed: asyncio.Future[PolyhostError | None] | None = None


class Conversation:
    """`session` and `picture` are new with every link."""

    def __init__(self, holder: Holder, heat: Heat, clock: Clock) -> None:
        self.session = Session()
        self.picture = Picture()
        self.said = 0  # host lines so far
        self._holder = holder
        self._heat = heat
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._greeting = False  # a conversation began and does not stand yet
        self._held: deque[_Held] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # --- the loop

    def begin(self, link: Link) -> None:
        settings = self._holder.settings
        self.session.forsake()
        self.session = Session(window_lines=settings.window_lines, window_bytes=settings.window_bytes)
        self.picture = Picture()
        self._greeting = True
        self.drop_held(LinkLost("the link was opened anew"))
        self.session.opened(self._clock.monotonic())
        self._holder.begun()
        self.pump()

    def end(self, reason: str) -> None:
        """The link is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.session.forsake()
        self.drop_held(LinkLost(reason))

    def heard(self, data: bytes) -> None:
        now = self._clock.monotonic()
        for reply in self.session.receive(data, now):
            self._take(reply)
        if self._greeting and self.session.greeted:
            self._greeting = False
            self._holder.greeted()
        self.pump(now)

    def pump(self, now: float | None = None) -> None:
        """Write what there is to write, and wake at the session's next deadline."""
        holder, session = self._holder, self.session
        link = holder.connection.link
        if link is None or holder.connection.state is PrinterState.FAULTED:
            return
        holder.feed()
        if now is None:
            now = self._clock.monotonic()
        data = session.data_to_send(now)
        soon = now + LOOK_S
        if data:
            link.write(data)
            if self._timer is not None and self._timer_at <= soon:
                return  # in a running print this is every time
        at = session.next_deadline()
        if data and (at is None or at > soon):
            at = soon
        if at is not None and (self._timer is None or at < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(max(0.0, at - now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        deadline = self.session.next_deadline()
        if deadline is not None and deadline <= now and self._holder.connection.link is not None:
            for reply in self.session.tick(now):
                self._take(reply)
        self.pump()

    def _take(self, reply: Reply) -> None:
        self._holder.changed = True
        self.picture.hear(reply, self._holder.settings.handling.profile)
        match reply:
            case CommandsDone(tag):
                if callable(tag):
                    tag()
            case FirmwareReported(firmware):
                if "EEPROM" in firmware.capabilities:
                    self.picture.motion.clear()
                    self.session.queue([b"M503"], Lane.HOST)
            case _:
                self._holder.take(reply)

    # --- the host's own lines

    def say(self, lines: Sequence[bytes], then: Callable[[], None] | None = None) -> None:
        """Send host lines after those before them; `then` is called when the last is acknowledged."""
        if lines:
            self._held.append(_Held(lines, then))
            self.say_held()
        elif then is not None:
            then()

    async def send(self, lines: Sequence[bytes]) -> None:
        """Say `lines`, and wait until they are with the session, no longer held.

        Raises why they will not be sent: `NoSpace` when the journal does not take them in time, `LinkLost`,
        or what they were dropped with.
        """
        if lines:
            await self._hand_over(_Held(lines))

    async def ask(self, lines: Sequence[bytes]) -> tuple[str, ...]:
        """Say `lines`, and wait until the machine has done them: what it said to them, at most 200 lines.

        `MachineFault` in its words when it refused one: those after it were not sent.  `LinkLost` and `NotNow` when
        nobody will know, and what `send` raises.
        """
        if not lines:
            return ()
        done = asyncio.Event()
        asked = Asked(lines, self._told, done.set)
        await self._hand_over(_Held(lines, asked=asked))
        await done.wait()
        if asked.fault:
            raise MachineFault(asked.fault)
        if asked.lost:
            state = self._holder.connection.state
            if state is not PrinterState.READY:
                raise LinkLost(f"the printer is {state.value}: what it was asked to do may not be done")
            raise NotNow("what the printer was asked to do was dropped: a run was cancelled, or its firmware restarted")
        return tuple(asked.heard)

    def _told(self, line: bytes) -> None:
        self.picture.told([line])

    async def _hand_over(self, held: _Held) -> None:
        handed = held.handed = self._loop.create_future()
        self._held.append(held)
        self.say_held()
        try:
            await asyncio.wait([handed], timeout=HELD_S)
        finally:
            if not handed.done():
                self._held.remove(held)  # not behind the back of one who was told no
                self.say_held()
        if not handed.done():
            raise NoSpace(f"nothing is heated: the journal was not written in {HELD_S:.0f} s; look at the disk")
        if (why := handed.result()) is not None:
            raise why

    def say_held(self) -> None:
        """Hand over what need not wait any more."""
        while self._held and self.ready_to_send(self._held[0].lines):
            held = self._held.popleft()
            self._heat.sent(held.lines)
            self.said += len(held.lines)
            if held.asked is not None:
                self.session.ask(held.asked)
            else:
                self.session.queue(held.lines, Lane.HOST, held.then)
                self.picture.told(held.lines)
            if held.handed is not None:
                held.handed.set_result(None)
        self._holder.changed = True
        self.pump()

    def ready_to_send(self, lines: Sequence[bytes]) -> bool:
        """False when `lines` must wait for the journal (the file is asked for again by itself)."""
        return self._heat.allows(lines)

    def drop(self, why: PolyhostError) -> None:
        """Forget the host's lines that are not on the wire."""
        self.session.drop(Lane.HOST)
        self.drop_held(why)

    def drop_held(self, why: PolyhostError) -> None:
        """Forget those that wait for the journal."""
        dropped, self._held = self._held, deque()
        for held in dropped:
            if held.handed is not None:
                held.handed.set_result(why)

    def break_waits(self) -> None:
        """End a heat-up in the firmware, where it can be ended."""
        if self.session.firmware.capabilities.get("EMERGENCY_PARSER"):
            self.session.emergency(b"M108")
