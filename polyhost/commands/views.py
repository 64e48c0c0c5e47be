"""What the command line reads of the native API's answers.

Fields it has no use for are left out and unknown ones ignored, so that it goes on reading a newer host.
"""

import msgspec

from polyhost.core.file import Metadata
from polyhost.core.job import ENDED, RunState
from polyhost.core.printer import Temperature


class RunView(msgspec.Struct, frozen=True):
    id: str
    printer: str
    path: str
    state: RunState
    by: str = ""
    started_at: float = 0.0
    ended_at: float | None = None
    elapsed_s: float = 0.0
    printing_s: float = 0.0
    remaining_s: float | None = None
    fraction_done: float = 0.0
    layer: int = 0
    layers: int = 0
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class PromptView(msgspec.Struct, frozen=True):
    text: str
    choices: tuple[str, ...] = ()


class PrinterView(msgspec.Struct, frozen=True):
    slug: str
    name: str
    driver: str
    state: str
    fault: str = ""
    port: str = ""
    baud: int = 0
    heaters: dict[str, Temperature] = {}
    selected: str = ""
    run: RunView | None = None
    prompt: PromptView | None = None


class AnalysisView(msgspec.Struct, frozen=True):
    duration_s: float = 0.0


class FileView(msgspec.Struct, frozen=True):
    path: str
    size_bytes: int
    modified_at: float
    sha256: str = ""
    metadata: Metadata | None = None
    analysis: AnalysisView | None = None


class FolderView(msgspec.Struct, frozen=True):
    path: str
    files: tuple[FileView, ...] = ()
    folders: tuple["FolderView", ...] = ()


class ConsoleView(msgspec.Struct, frozen=True):
    at: float
    sent: bool
    text: str


class PortView(msgspec.Struct, frozen=True):
    path: str
    stable_path: str
    description: str = ""


class UserView(msgspec.Struct, frozen=True):
    name: str
    role: str
    active: bool = True


class KeyView(msgspec.Struct, frozen=True):
    id: str
    user: str
    role: str
    app: str = ""
    printers: tuple[str, ...] = ()
    last_used_at: float | None = None
    ends_at: float | None = None


class KeyRequestView(msgspec.Struct, frozen=True):
    id: str
    app: str
    user: str = ""
    printer: str = ""
    address: str = ""


class PlanView(msgspec.Struct, frozen=True):
    script: tuple[str, ...]
    warnings: tuple[str, ...]
    start_byte: int = 0


class JobView(msgspec.Struct, frozen=True):
    id: str
    path: str
    by: str = ""
    added_at: float = 0.0


class QueueView(msgspec.Struct, frozen=True):
    printer: str
    state: str
    reason: str = ""
    jobs: tuple[JobView, ...] = ()


class SerialLogView(msgspec.Struct):
    enabled: bool
    log: str
