"""What the inside asks of the outside, as protocols owned by the side that calls them."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from polyhost.core.events import ConsoleLines, DriverEvent
from polyhost.core.file import LayerIndex
from polyhost.core.printer import Snapshot


class Clock(Protocol):
    """Time, passed in so that a test can move it."""

    def now(self) -> float:
        """Seconds since the epoch; may jump."""

    def monotonic(self) -> float:
        """Seconds since some moment; never jumps."""


class Scripts(msgspec.Struct, frozen=True):
    """The host's own lines around a run, rendered when the run starts.

    ``{x}``, ``{y}``, ``{z}``, ``{e}``, ``{f}``, ``{tool}``, ``{hotend}``, ``{bed}`` and ``{fan}`` stand for what
    the machine had when the pause or the cancel was asked for; they are filled by whoever holds the machine.
    """

    before_start: tuple[str, ...] = ()
    after_done: tuple[str, ...] = ()
    after_cancel: tuple[str, ...] = ()
    after_pause: tuple[str, ...] = ()
    before_resume: tuple[str, ...] = ()
    after_failure: tuple[str, ...] = ()


class RunOrder(msgspec.Struct, frozen=True):
    """Everything needed to carry a run to its end with no server alive.

    `file` is an absolute path of the host's file system; the driver opens it once and reads that version to
    the end, whatever is put in its place.  A resumed run starts at `start_byte`, after `scripts.before_start`.
    """

    run_id: str
    file: str
    name: str
    size_bytes: int
    sha256: str
    scripts: Scripts = Scripts()
    layers: LayerIndex | None = None
    start_byte: int = 0


class Listener(Protocol):
    """Who hears a driver; called in the event loop, must return at once."""

    def heard(self, notice: Snapshot | ConsoleLines | DriverEvent) -> None: ...


class Driver(Protocol):
    """Our way to reach one machine.

    Every command answers when the machine's holder has taken it (not when the machine has done it), and raises
    `NotNow` in the wrong state, `LinkLost` when the holder cannot be reached, `NotFound` for a port that is
    not there (naming those that are), `MachineFault` when the firmware refused.
    """

    @property
    def snapshot(self) -> Snapshot:
        """What was heard last."""

    async def run(self) -> None:
        """Keep the machine's holder attached until cancelled; cancelling leaves the machine printing."""

    async def connect(self, port: str | None = None, baud: int | None = None) -> None:
        """Open the link (as configured unless told otherwise) and keep it open; returns when the opening began."""

    async def disconnect(self) -> None:
        """Close the link; `NotNow` during a run."""

    async def send(self, commands: Sequence[str]) -> None:
        """Queue `commands` behind what is being sent, between the lines of a run."""

    async def emergency_stop(self) -> None:
        """``M112`` ahead of everything."""

    async def start(self, order: RunOrder) -> None:
        """Begin a run; the same `run_id` again is the same run."""

    async def pause(self, run_id: str) -> None: ...

    async def resume(self, run_id: str) -> None: ...

    async def cancel(self, run_id: str) -> None: ...

    async def give_layers(self, run_id: str, layers: LayerIndex) -> None:
        """Hand over the layer index of a run's file, read after the run began."""

    async def resume_plan(self, run_id: str) -> "ResumePlan":
        """How an interrupted run would go on; `NotFound` when its journal is gone."""

    async def forget(self, run_id: str) -> None:
        """The end of this run is written down; its holder need not keep it."""

    async def remove(self) -> None:
        """Close the link and forget the machine; `NotNow` during a run."""


class ResumePlan(msgspec.Struct, frozen=True):
    """What is known of an interrupted run, from the journal.

    `script` is what would be sent before the file goes on at `start_byte`; `warnings` say what cannot be known.
    """

    run_id: str
    file: str
    sha256: str
    start_byte: int
    line: int
    script: tuple[str, ...]
    warnings: tuple[str, ...]
