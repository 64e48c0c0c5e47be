"""The accounts of one run: its time, how much of its file the machine has taken, and with how much filament."""

from polyhost.core.ports import Clock


class Accounts:
    """`file_bytes` and `lines` are what the firmware has acknowledged; `started_at` and `ended_at` since the epoch."""

    def __init__(self, clock: Clock, start_byte: int) -> None:
        self.file_bytes = start_byte
        self.lines = 0
        self.filament_mm = 0.0
        self.started_at = clock.now()
        self.ended_at: float | None = None
        self._clock = clock
        self._began = clock.monotonic()
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._ended: float | None = None
        self._pushed = 0.0  # filament that the machine had moved when the file began
        self._extruding_from: float | None = None  # `printing_s` when filament was pushed first

    def file_begins(self, pushed: float) -> None:
        """`pushed` is the filament that the machine has moved so far, in mm."""
        self._pushed = pushed

    def add(self, lines: int, file_bytes: int, pushed: float) -> None:
        """`lines` more were acknowledged, the last of which ends at `file_bytes`."""
        self.filament_mm = pushed - self._pushed
        if self._extruding_from is None and self.filament_mm > 0.0:
            self._extruding_from = self.printing_s
        self.file_bytes = file_bytes
        self.lines += lines

    def pause(self) -> None:
        self._paused_at = self._clock.monotonic()

    def resume(self) -> None:
        if self._paused_at is not None:
            self._paused_s += self._clock.monotonic() - self._paused_at
            self._paused_at = None

    def end(self) -> None:
        self.ended_at = self._clock.now()
        self._ended = self._clock.monotonic()

    @property
    def _now(self) -> float:
        return self._clock.monotonic() if self._ended is None else self._ended

    @property
    def elapsed_s(self) -> float:
        return self._now - self._began

    @property
    def printing_s(self) -> float:
        """`elapsed_s` without the pauses."""
        paused = self._paused_s + (0.0 if self._paused_at is None else self._now - self._paused_at)
        return max(0.0, self.elapsed_s - paused)

    @property
    def extruding_s(self) -> float | None:
        """`printing_s` since filament was pushed first; None before that."""
        return None if self._extruding_from is None else max(0.0, self.printing_s - self._extruding_from)
