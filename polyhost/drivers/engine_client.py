"""One connection to one engine: requests, their answers, and what the engine says by itself."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import msgspec

from polyhost.core import errors
from polyhost.core.errors import LinkLost, Malformed, NotNow, PolyhostError
from polyhost.engine import messages as m

ANSWER_S: Final = 20.0  # opening a port may take half of that
PLAN_S: Final = 120.0  # a large file is read for its hash
ATTACH_S: Final = 5.0


class EngineClient:
    """An attached engine.  `heard` is called for each `Heard`; `lost` is set when the connection is gone.

    `protocol` is what it and we speak: an engine that was started before an upgrade prints on in the previous one.
    """

    def __init__(self, heard: Callable[[m.Heard], None]) -> None:
        self.protocol = m.PROTOCOL
        self.lost = asyncio.Event()
        self._heard = heard
        self._frames = m.Frames()
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[m.Done]] = {}
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    async def attach(cls, socket: Path, heard: Callable[[m.Heard], None]) -> tuple[Self, m.Welcome]:
        """Connect and say hello; `LinkLost` when nobody answers there, `Malformed` for an engine we cannot speak to.

        `run` must be running for anything but this to be answered.
        """
        client = cls(heard)
        try:
            async with asyncio.timeout(ATTACH_S):
                client._reader, client._writer = await asyncio.open_unix_connection(str(socket))
                try:
                    return client, await client._greeted()
                except BaseException:
                    client.close()
                    raise
        except (OSError, TimeoutError) as error:
            raise LinkLost(f"no engine answers at {socket}") from error

    async def _greeted(self) -> m.Welcome:
        """Say hello in the newest protocol that both know."""
        while True:
            self._writer.write(m.frame(m.Hello(protocol=self.protocol)))
            try:
                return await self._welcome()
            except Malformed:
                if self.protocol <= m.OLDEST_PROTOCOL:
                    raise
                self.protocol -= 1

    async def _welcome(self) -> m.Welcome:
        while True:
            data = await self._reader.read(65536)
            if not data:
                raise LinkLost("the engine closed the connection")
            for body in self._frames.receive(data):
                match m.said_of(body):
                    case m.Done(_, welcome) if welcome is not None:
                        return welcome
                    case m.Refused() as refused:
                        raise error_of(refused)

    async def run(self) -> None:
        """Take what the engine says, until the connection ends."""
        try:
            while data := await self._reader.read(65536):
                for body in self._frames.receive(data):
                    self._take(m.said_of(body))
        except (OSError, ValueError, msgspec.DecodeError):
            pass  # gone, or not to be understood: either way it is attached anew
        finally:
            self.close()
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(LinkLost("the engine is gone; it is being restarted"))
                    asked.exception()  # whoever asked may have left
            self.lost.set()

    def _take(self, said: m.Said) -> None:
        if isinstance(said, m.Heard):
            self._heard(said)
            return
        asked = self._asked.get(said.id)
        if asked is None or asked.done():
            return
        if isinstance(said, m.Done):
            asked.set_result(said)
        else:
            asked.set_exception(error_of(said))

    async def ask(self, request: m.Request, *, answer_s: float | None = ANSWER_S) -> m.Done:
        """The answer to `request`; raises what the engine refused it with, `LinkLost` when none comes.

        None for `answer_s` waits as long as the engine lives.

        `NotNow` for what an engine of the previous version does not know: it would drop the connection.
        """
        if self.lost.is_set():
            raise LinkLost("the engine is gone; it is being restarted")
        if not m.understood(request, self.protocol):
            who = f"holds {request.printer}" if hasattr(request, "printer") else "is attached"
            raise NotNow(
                f"the engine that {who} is of an earlier version; "
                "this works once nothing that it holds prints or has a heater on, for then it is replaced"
            )
        id = next(self._ids)
        asked: asyncio.Future[m.Done] = asyncio.get_running_loop().create_future()
        self._asked[id] = asked
        try:
            self._writer.write(m.frame(msgspec.structs.replace(request, id=id)))
            async with asyncio.timeout(answer_s):
                return await asked
        except TimeoutError:
            raise LinkLost(f"the engine does not answer ({type(request).__name__}, {answer_s:.0f} s)") from None
        finally:
            del self._asked[id]

    async def welcome(self) -> m.Welcome:
        """What it holds, as it stands."""
        answer = await self.ask(m.Hello(protocol=self.protocol))
        assert answer.welcome is not None
        return answer.welcome

    def close(self) -> None:
        self._writer.close()


def error_of(refused: m.Refused) -> PolyhostError:
    """The error that the engine raised, as its own class."""
    kind = getattr(errors, refused.error, None)
    if not isinstance(kind, type) or not issubclass(kind, PolyhostError):
        return PolyhostError(f"{refused.error}: {refused.message}")
    if kind is errors.TooMany:
        return errors.TooMany(refused.message, 1.0)
    return kind(refused.message)
