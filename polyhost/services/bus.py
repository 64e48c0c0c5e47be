"""Who wants to hear what happens, hears it here; nobody who listens slowly holds up anybody.

A listener has room for a stated number of events and console lines; beyond it the oldest go and `lost` counts them.
Of snapshots it keeps the latest of each printer, so they need no room.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, Self

from polyhost.core.events import ConsoleLines, Event, Notice
from polyhost.core.printer import Snapshot

DEFAULT_BOUND: Final = 256


class Listener:
    """An endless async iterator over notices, for as long as its ``with`` block lasts.

    Waiting events come before waiting snapshots, so that whoever hears a snapshot knows what led to it.
    """

    def __init__(self, bus: "Bus", kinds: frozenset[type], bound: int) -> None:
        """`kinds` are those that it hears; none: all."""
        self.lost = 0
        self.kinds = kinds
        self._bus = bus
        self._bound = bound
        self._events: deque[Event | ConsoleLines] = deque()
        self._snapshots: dict[str, Snapshot] = {}
        self._something = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bus.forget(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notice:
        while not self._events and not self._snapshots:
            self._something.clear()
            await self._something.wait()
        if self._events:
            return self._events.popleft()
        return self._snapshots.pop(next(iter(self._snapshots)))

    def hear(self, notice: Notice) -> None:
        if isinstance(notice, Snapshot):
            self._snapshots[notice.printer] = notice
        else:
            if len(self._events) >= self._bound:
                self._events.popleft()
                self.lost += 1
            self._events.append(notice)
        self._something.set()


class Bus:
    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def publish(self, notice: Notice) -> None:
        """Hand `notice` to every listener; returns at once.  In the event loop's thread."""
        kind = type(notice)
        for listener in self._listeners:
            if not listener.kinds or kind in listener.kinds:
                listener.hear(notice)

    def listen(self, *kinds: type, bound: int = DEFAULT_BOUND) -> Listener:
        """Hear what is published from now on; leave the listener's ``with`` block to stop.

        Who names the `kinds` of notices that concern them is not woken by snapshots and console lines, and does not
        lose the few to the many.
        """
        listener = Listener(self, frozenset(kinds), bound)
        self._listeners.add(listener)
        return listener

    def forget(self, listener: Listener) -> None:
        self._listeners.discard(listener)
