"""Hears that other hands changed the library's folder or a printer's files, and has it looked at again.

The kernel tells (inotify), so an idle host does nothing.  Where it cannot, for its limits or on a network disk, the
folders are looked through now and then, which is said once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from watchfiles import awatch

from polyhost.core.errors import NoSpace

log = logging.getLogger(__name__)

DEBOUNCE_MS: Final = 1000
STEP_MS: Final = 500
POLL_S: Final = 30.0
_FOREVER_MS: Final = 3_600_000


class Watch(Protocol):
    def __call__(self, places: Sequence[Path]) -> AsyncIterator[object]:
        """Something for each time that anything below `places` changed; `OSError` when that cannot be told."""


async def told_by_kernel(
    places: Sequence[Path], *, debounce_ms: int = DEBOUNCE_MS, step_ms: int = STEP_MS
) -> AsyncIterator[object]:
    """Changes that follow one another within `step_ms` are told together, after `debounce_ms` at the latest."""
    changes = awatch(
        *places,
        watch_filter=None,
        debounce=debounce_ms,
        step=step_ms,
        rust_timeout=_FOREVER_MS,
        force_polling=False,
        ignore_permission_denied=True,
    )
    async for change in changes:
        yield change


class Watching:
    """`look` returns False when it wants to look again after `again_s`."""

    def __init__(
        self,
        places: Sequence[Path],
        look: Callable[[], Awaitable[bool]],
        *,
        again_s: float,
        watch: Watch = told_by_kernel,
        poll_s: float = POLL_S,
    ) -> None:
        self._places = places
        self._look = look
        self._again_s = again_s
        self._watch = watch
        self._poll_s = poll_s
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        for place in self._places:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="changes of folders")
            while True:
                await self._changed.wait()
                self._changed.clear()
                if not await self._looked():
                    await asyncio.sleep(self._again_s)
                    self._changed.set()

    async def _looked(self) -> bool:
        try:
            return await self._look()
        except NoSpace as error:
            log.warning("what changed in the library cannot be taken yet: %s", error)
            return False

    async def _hear(self) -> None:
        try:
            async for _ in self._watch(self._places):
                self._changed.set()
        except OSError as error:
            log.warning(
                "changes of files by other programs cannot be told by the kernel (%s); looked for every %g s instead",
                *(error, self._poll_s),
            )
        while True:
            await asyncio.sleep(self._poll_s)
            self._changed.set()
