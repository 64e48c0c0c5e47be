"""What the server and an engine say to each other, over a Unix socket.

A frame is a length (4 bytes, big-endian) and that many bytes of msgpack: a `Request` one way, a `Said` the other.
Every request is answered once, by a `Done` or a `Refused` with its `id`; in between the engine says `Heard`
whenever something changed (snapshots at most ten times a second and printer).  An engine speaks this version of
the protocol and the one before it, and so does a server; each is told only what it can decode (`understood`,
`heard_in`).  Unknown fields are ignored by either, so a new field needs no new version; a new request, event or shape
of a field does.
"""

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from polyhost.core.card import CardFile, CardOrder
from polyhost.core.events import ConsoleLines, DriverEvent
from polyhost.core.file import LayerIndex, NamedObject
from polyhost.core.handling import Handling
from polyhost.core.job import RunState
from polyhost.core.ports import ResumePlan, RunOrder
from polyhost.core.printer import Snapshot, ToolPosition

PROTOCOL: Final = 3
OLDEST_PROTOCOL: Final = 2
MAX_FRAME: Final = 16 * 1024 * 1024  # a layer index of 100,000 layers is 3 MB


class SerialLink(msgspec.Struct, frozen=True, tag="serial"):
    """A device; `port` is a path (a stable one, from ``/dev/serial/by-id``, where there is one); baud 0: find it.

    `serial_number` is the USB serial of the device that is meant, "" when it has none.
    """

    port: str
    baud: int = 0
    serial_number: str = ""


class VirtualLink(msgspec.Struct, frozen=True, tag="virtual"):
    """The simulator, in memory; `speed` 1 is a machine's own pace, 0 is as fast as possible."""

    speed: float = 1.0
    tools: int = 1
    heated_chamber: bool = False
    seed: int = 0


Link = SerialLink | VirtualLink


class MachineSettings(msgspec.Struct, frozen=True):
    """What an engine must know of a machine to keep it safe with no server alive.

    `window_lines` and `window_bytes` bound what is in flight; 0 is what the firmware shows that it can (one line
    at a time until it shows more).
    """

    link: Link
    autoconnect: bool = True
    tools: int = 1
    heated_bed: bool = True
    heated_chamber: bool = False
    window_lines: int = 0
    window_bytes: int = 0
    idle_off_s: float = 1800.0
    off_script: tuple[str, ...] = ()  # after the heaters were told off for a failure: park, fan, motors
    handling: Handling = Handling()

    def handled(self, handling: Handling) -> "MachineSettings":
        """The same machine, treated so; what the off list needs is said twice, for engines that know no `handling`."""
        profile = handling.profile
        return msgspec.structs.replace(
            self,
            tools=1 if profile.shared_nozzle else profile.extruders,
            heated_bed=profile.heated_bed,
            heated_chamber=profile.heated_chamber,
            handling=handling,
        )


class _Asked(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    id: int = 0  # given by whoever sends it


class Hello(_Asked, frozen=True, kw_only=True):
    """The first request on a connection; both sides then speak the version it names."""

    protocol: int = PROTOCOL


class Ping(_Asked, frozen=True, kw_only=True):
    """Answered at once by a process whose loop turns."""


class Hold(_Asked, frozen=True, kw_only=True):
    """Take on a printer, or change its settings (the link's at the next connect)."""

    printer: str
    machine: MachineSettings


class Release(_Asked, frozen=True, kw_only=True):
    printer: str


class Connect(_Asked, frozen=True, kw_only=True):
    printer: str
    port: str = ""
    baud: int = 0


class Disconnect(_Asked, frozen=True, kw_only=True):
    printer: str


class Send(_Asked, frozen=True, kw_only=True):
    """With `until_done` answered when the machine has done them; an engine before 3 answers once it has them."""

    printer: str
    commands: tuple[str, ...]
    until_done: bool = False


class SetOffsets(_Asked, frozen=True, kw_only=True):
    printer: str
    offsets: dict[str, float]


class EmergencyStop(_Asked, frozen=True, kw_only=True):
    printer: str


class StartRun(_Asked, frozen=True, kw_only=True):
    printer: str
    order: RunOrder


class ExcludeObjects(_Asked, frozen=True, kw_only=True):
    """Leave out what is still to come of these `objects` of a run's file."""

    printer: str
    run_id: str
    objects: tuple[NamedObject, ...]


class PauseRun(_Asked, frozen=True, kw_only=True):
    printer: str
    run_id: str


class ResumeRun(_Asked, frozen=True, kw_only=True):
    printer: str
    run_id: str


class CancelRun(_Asked, frozen=True, kw_only=True):
    printer: str
    run_id: str


class GiveLayers(_Asked, frozen=True, kw_only=True):
    printer: str
    run_id: str
    layers: LayerIndex


class AskResumePlan(_Asked, frozen=True, kw_only=True):
    printer: str
    run_id: str


class ReadCard(_Asked, frozen=True, kw_only=True):
    """List the machine's own card; `initialise` has the firmware look for one first."""

    printer: str
    initialise: bool


class ReleaseCard(_Asked, frozen=True, kw_only=True):
    printer: str


class DeleteFromCard(_Asked, frozen=True, kw_only=True):
    printer: str
    name: str


class SendToCard(_Asked, frozen=True, kw_only=True):
    printer: str
    order: CardOrder


class StopTransfer(_Asked, frozen=True, kw_only=True):
    printer: str


class ForgetRun(_Asked, frozen=True, kw_only=True):
    """The server has written how the run ended; the engine need not keep it."""

    printer: str
    run_id: str


class Misbehave(_Asked, frozen=True, kw_only=True):
    """Only a virtual link takes this: a fault by its name (`firmware.marlin.simulator.Fault`) and its argument."""

    printer: str
    fault: str
    argument: float = 0.0


class Stop(_Asked, frozen=True, kw_only=True):
    """End the process: refused while something prints, unless `cancel_runs`, which first makes the machines safe."""

    cancel_runs: bool = False


Request = (
    Hello
    | Ping
    | Hold
    | Release
    | Connect
    | Disconnect
    | Send
    | SetOffsets
    | EmergencyStop
    | StartRun
    | ExcludeObjects
    | PauseRun
    | ResumeRun
    | CancelRun
    | GiveLayers
    | AskResumePlan
    | ForgetRun
    | ReadCard
    | ReleaseCard
    | DeleteFromCard
    | SendToCard
    | StopTransfer
    | Misbehave
    | Stop
)


class HeldPrinter(msgspec.Struct, frozen=True):
    """A printer of this engine, as it stands: its settings, state, and runs whose end nobody has confirmed yet.

    `card` is what is on its own card.
    """

    machine: MachineSettings
    snapshot: Snapshot
    ended: tuple["EndedRun", ...] = ()
    card: tuple[CardFile, ...] = ()


class EndedRun(msgspec.Struct, frozen=True):
    """How a run ended, kept by the engine until `ForgetRun`.  Times in seconds; `ended_at` since the epoch."""

    run_id: str
    state: RunState
    reason: str
    ended_at: float
    elapsed_s: float
    printing_s: float
    file_bytes: int
    position: ToolPosition | None = None  # where a cancel found the toolhead
    filament_mm: float = 0.0  # pushed, less what was pulled back
    extruding_s: float | None = None  # `printing_s` since filament was pushed first; None: never, or nobody counted


class Welcome(msgspec.Struct, frozen=True):
    """What `Hello` is answered with; `protocol` is what is spoken on this connection."""

    protocol: int
    version: str
    pid: int
    printers: tuple[HeldPrinter, ...]


class Done(msgspec.Struct, frozen=True, tag=True):
    id: int
    welcome: Welcome | None = None
    plan: ResumePlan | None = None
    lines: tuple[str, ...] = ()  # what the firmware said to what was sent


class Refused(msgspec.Struct, frozen=True, tag=True):
    """`error` is the name of a class of `core.errors`."""

    id: int
    error: str
    message: str


class Heard(msgspec.Struct, frozen=True, tag=True):
    """What changed since the last one, over all printers of the engine, in order."""

    snapshots: tuple[Snapshot, ...] = ()
    events: tuple[DriverEvent, ...] = ()
    console: tuple[ConsoleLines, ...] = ()
    ended: tuple[EndedRun, ...] = ()


Said = Done | Refused | Heard


def understood(request: Request, protocol: int) -> bool:
    """Whether an engine that speaks `protocol` does what `request` asks."""
    return protocol >= 3 or not isinstance(request, ExcludeObjects)


def heard_in(protocol: int, heard: Heard) -> Heard:
    """`heard` as a server that speaks `protocol` can decode it: there is no event that one of 2 does not know."""
    return heard


_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_said: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)
_length = struct.Struct(">I")


def frame(message: Request | Said) -> bytes:
    body = _encoder.encode(message)
    return _length.pack(len(body)) + body


class Frames:
    """Takes bytes as they come, gives the bodies of whole frames."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Bodies completed by `data`; `ValueError` for a frame beyond `MAX_FRAME`."""
        self._unread += data
        while len(self._unread) >= _length.size:
            (size,) = _length.unpack_from(self._unread)
            if size > MAX_FRAME:
                raise ValueError(f"a frame of {size} bytes; {MAX_FRAME} is the limit")
            end = _length.size + size
            if len(self._unread) < end:
                return
            body = bytes(self._unread[_length.size : end])
            del self._unread[:end]
            yield body


def request_of(body: bytes) -> Request:
    """The request in a frame's body; `msgspec.DecodeError` when it is none."""
    return _requests.decode(body)


def said_of(body: bytes) -> Said:
    return _said.decode(body)
