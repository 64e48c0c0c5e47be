"""The owner's Spoolman: which spool a printer has, what it used of it, and questions passed on.

Only the server that the settings file names is ever asked, below its ``/api``, without redirects, in bounded time and
with bounded answers (S12).  What a run drew is reported when it ends; what cannot be reported is kept until it can.
"""

import asyncio
import logging
import re
from typing import Any, Final

import msgspec

from polyhost.core.errors import LinkLost, Malformed, NoSpace, NotFound, NotNow
from polyhost.core.events import ActiveSpoolSet, RunEnded, SpoolmanChanged
from polyhost.core.user import Caller, Permission
from polyhost.core.webcam import without_password
from polyhost.services.asking import ask
from polyhost.services.bus import Bus
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers

log = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 10.0
ANSWERS_WITHIN_S: Final = 10.0
MAX_ANSWER: Final = 4 << 20  # bytes
MAX_QUERY: Final = 8192
MAX_SPOOL: Final = (1 << 31) - 1
MAX_PENDING: Final = 1000  # spools with something to report, of one printer
_NOTHING_MM: Final = 1e-6
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_PATH: Final = re.compile(r"/v1/[\w.~@-]+(?:/[\w.~@-]+)*/?", re.ASCII)
_QUERY: Final = re.compile(r"[!-~]*", re.ASCII)  # what a URL is made of


class SpoolUse(msgspec.Struct, frozen=True):
    """Preferences of one printer: its spool, and mm of filament by spool that were drawn and not reported.

    `counted_mm` of the run `run_id` are in there, or reported already.
    """

    spool_id: int | None = None
    pending: dict[int, float] = {}
    run_id: str = ""
    counted_mm: float = 0.0


class SpoolmanAnswer(msgspec.Struct, frozen=True):
    status: int
    body: Any  # JSON, or None
    headers: dict[str, str]

    @property
    def is_error(self) -> bool:
        return self.status >= 300

    @property
    def message(self) -> str:
        said = self.body.get("message") or self.body.get("detail") if isinstance(self.body, dict) else None
        return str(said or f"Spoolman answers {self.status}")


class Spoolman:
    def __init__(self, url: str, printers: Printers, preferences: Preferences, bus: Bus) -> None:
        """`url` is that of the server; "" is none, and then everything here is not found."""
        self.connected = False
        self._url = url.rstrip("/")
        self._printers = printers
        self._preferences = preferences
        self._bus = bus
        self._changing = asyncio.Lock()
        self._something = asyncio.Event()
        self._ended = bus.listen(RunEnded) if url else None  # from the first moment on, for a run may end in it

    @property
    def is_configured(self) -> bool:
        return bool(self._url)

    async def run(self) -> None:
        if self._ended is None:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="filament of runs")
            group.create_task(self._keep_reporting(), name="reports to Spoolman")

    # Looking

    def use(self, p: Printer) -> SpoolUse:
        return self._preferences.get(SpoolUse, p.slug)

    async def proxy(
        self, p: Printer, method: str, path: str, query: str | None, body: Any, by: Caller
    ) -> SpoolmanAnswer:
        """What Spoolman answers; `LinkLost` when it does not.  To change something there takes who controls `p`.

        A query may stand behind the path, too, where KlipperScreen puts it.
        """
        self._check_configured()
        by.require(Permission.LOOK if method == "GET" else Permission.CONTROL, p.slug)
        if method not in METHODS:
            raise Malformed(f"Spoolman is not asked by {method[:20]!r}; there are {', '.join(sorted(METHODS))}")
        if body is not None and method == "GET":
            raise Malformed("a GET has no body; put what is asked into the query")
        path, _, behind = path.partition("?")
        query = "&".join(part for part in (behind, query) if part)
        if not _PATH.fullmatch(path) or any(set(part) == {"."} for part in path.split("/") if part):
            raise Malformed("the path begins with the version of Spoolman's API, such as /v1, and has plain names")
        if len(query) > MAX_QUERY or not _QUERY.fullmatch(query) or "#" in query:
            raise Malformed(f"the query has at most {MAX_QUERY} characters, encoded as in a URL")
        return await self._ask(method, path, query, body)

    # Changing

    async def set_spool(self, p: Printer, spool_id: int | None, by: Caller) -> None:
        """From now on filament is drawn from another spool, or from one that nobody counts."""
        self._check_configured()
        by.require(Permission.CONTROL, p.slug)
        if spool_id is not None and not 0 <= spool_id <= MAX_SPOOL:
            raise Malformed(f"there is no spool {spool_id}")
        await self._set_spool(p, spool_id)

    async def _set_spool(self, p: Printer, spool_id: int | None) -> None:
        async with self._changing:
            use = self.use(p)
            if use.spool_id == spool_id:
                return
            live = p.snapshot.run
            if p.run_state is not None and p.run is not None and live is not None and live.run_id == p.run.id:
                use = drawn(use, p.run.id, live.filament_mm)
            await self._preferences.put(msgspec.structs.replace(use, spool_id=spool_id), p.slug)
        self._bus.publish(ActiveSpoolSet(p.slug, spool_id))
        self._something.set()

    # Reporting

    async def _hear(self) -> None:
        assert self._ended is not None
        async for notice in self._ended:
            if not isinstance(notice, RunEnded) or notice.run.filament_mm is None:
                continue
            for p in self._printers.all():
                if p.slug == notice.printer:
                    await self._count(p, notice.run.id, notice.run.filament_mm)
            self._something.set()

    async def _count(self, p: Printer, run_id: str, filament_mm: float) -> None:
        async with self._changing:
            try:
                await self._preferences.put(drawn(self.use(p), run_id, filament_mm), p.slug)
            except (NoSpace, NotNow) as error:
                log.warning("%s: %.0f mm of filament are not counted: %s", p.slug, filament_mm, error)

    async def _keep_reporting(self) -> None:
        while True:
            self._something.clear()
            await self._check()
            if self.connected:
                for p in self._printers.all():
                    await self._report(p)
            try:
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._something.wait()
            except TimeoutError:
                pass

    async def _check(self) -> None:
        try:
            connected = not (await self._ask("GET", "/v1/health", "", None)).is_error
        except LinkLost as error:
            connected = False
            log.debug("Spoolman: %s", error)
        if connected != self.connected:
            self.connected = connected
            log.info("Spoolman at %s %s", without_password(self._url), "answers" if connected else "does not answer")
            self._bus.publish(SpoolmanChanged(connected))

    async def _report(self, p: Printer) -> None:
        for spool_id, used_mm in self.use(p).pending.items():
            try:
                answer = await self._ask("PUT", f"/v1/spool/{spool_id}/use", "", {"use_length": round(used_mm, 3)})
            except LinkLost as error:
                log.debug("Spoolman: %s", error)
                return
            if answer.is_error and answer.status != 404:
                log.warning("%s: Spoolman does not take what spool %d used: %s", p.slug, spool_id, answer.message)
                continue
            async with self._changing:
                use = self.use(p)
                left = {**use.pending, spool_id: use.pending.get(spool_id, 0.0) - used_mm}
                kept = {
                    spool: mm for spool, mm in left.items() if mm > 1e-6 and (spool != spool_id or not answer.is_error)
                }
                try:
                    await self._preferences.put(msgspec.structs.replace(use, pending=kept), p.slug)
                except (NoSpace, NotNow) as error:
                    log.warning("%s: a report to Spoolman cannot be noted, and will be sent again: %s", p.slug, error)
                    return
            if answer.status == 404 and use.spool_id == spool_id:
                log.info("%s: Spoolman has no spool %d any more", p.slug, spool_id)
                await self._set_spool(p, None)

    async def _ask(self, method: str, path: str, query: str, body: Any) -> SpoolmanAnswer:
        answer = await ask(
            *("Spoolman server", method, f"{self._url}/api{path}{'?' if query else ''}{query}"),
            json=msgspec.UNSET if body is None else body,
            within_s=ANSWERS_WITHIN_S,
            max_bytes=MAX_ANSWER,
        )
        return SpoolmanAnswer(answer.status, _json_of(answer.body), answer.headers)

    def _check_configured(self) -> None:
        if not self._url:
            raise NotFound("no Spoolman is named in the settings: [moonraker] spoolman")


def drawn(use: SpoolUse, run_id: str, filament_mm: float) -> SpoolUse:
    """`use`, when the run `run_id` has drawn so much by now: what was not counted is the present spool's."""
    counted = use.counted_mm if use.run_id == run_id else 0.0
    used_mm = filament_mm - counted
    pending = use.pending
    if use.spool_id is not None and used_mm > 0 and (use.spool_id in pending or len(pending) < MAX_PENDING):
        pending = {**pending, use.spool_id: pending.get(use.spool_id, 0.0) + used_mm}
    return SpoolUse(use.spool_id, pending, run_id, max(filament_mm, counted))


def _json_of(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data) if data else None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise LinkLost(f"what Spoolman answers is not JSON: {error}") from error
