"""What people set of a printer and of the host while it runs, and who may.

Each section says itself what may be in it.  Sections of a printer are its own; `PortOptions` and `AnalysisOptions`
are the whole host's, and nobody's whose key is bound to some printers.
"""

import fnmatch
import glob
import posixpath
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, Self, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.controls import Control, checked_controls
from polyhost.core.errors import Malformed, NotAllowed
from polyhost.core.user import Caller, Permission
from polyhost.services.handling import MachineOptions
from polyhost.services.preferences import HOST, Preferences
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers

MAX_PRESETS: Final = 100
MAX_FILTERS: Final = 100
MAX_WORDS: Final = 100
MAX_PATTERNS: Final = 20
MAX_PORTS: Final = 200
MAX_TEXT_BYTES: Final = 255
MAX_REGEX_BYTES: Final = 1024
HOTTEST: Final = 1000.0  # °C
BAUDS: Final = (1000000, 500000, 250000, 230400, 115200, 57600, 38400, 19200, 9600)
MAX_BAUD: Final = 4_000_000


class Appearance(msgspec.Struct, frozen=True):
    """How clients show a printer.  `name` counts where the settings file names the printer; "" is what is there."""

    name: str = ""
    color: str = ""

    def checked(self) -> Self:
        checked_text(self.name, "the printer's name")
        checked_text(self.color, "the printer's color")
        return self


class Preset(msgspec.Struct, frozen=True):
    """Temperatures to choose together, in °C; None is a heater that the material does not need."""

    name: str
    extruder: float | None = None
    bed: float | None = None
    chamber: float | UnsetType | None = UNSET  # for clients that speak of chambers


class Presets(msgspec.Struct, frozen=True):
    presets: tuple[Preset, ...] = (Preset("ABS", 210.0, 100.0), Preset("PLA", 180.0, 60.0))

    def checked(self) -> Self:
        if len(self.presets) > MAX_PRESETS:
            raise Malformed(f"there are more than {MAX_PRESETS} temperature presets")
        for preset in self.presets:
            checked_text(preset.name, "the name of a temperature preset")
            for celsius in (preset.extruder, preset.bed, preset.chamber):
                if isinstance(celsius, float) and not 0 <= celsius <= HOTTEST:
                    raise Malformed(f"the preset {preset.name!r} is of 0 to {HOTTEST:g} °C, not {celsius:g}")
        return self


class CustomControls(msgspec.Struct, frozen=True):
    controls: tuple[Control, ...] = ()

    def checked(self) -> Self:
        checked_controls(self.controls)
        return self


class Filter(msgspec.Struct, frozen=True):
    """What a client leaves out of the console when a person says so; the expression is the client's to run."""

    name: str
    regex: str


class ConsoleFilters(msgspec.Struct, frozen=True):
    """None is what clients start with."""

    filters: tuple[Filter, ...] | None = None

    def checked(self) -> Self:
        if len(self.filters or ()) > MAX_FILTERS:
            raise Malformed(f"there are more than {MAX_FILTERS} filters of the console")
        for one in self.filters or ():
            checked_text(one.name, "the name of a filter of the console")
            checked_text(one.regex, f"the expression of the filter {one.name!r}", MAX_REGEX_BYTES)
        return self


class ClientOptions(msgspec.Struct, frozen=True):
    """What clients keep here for each other: how they show things and when they ask back.  Nothing here heeds it."""

    color_transparent: bool = False
    color_icon: bool = True
    default_language: str = "_default"
    show_fahrenheit_also: bool = False
    fuzzy_times: bool = True
    close_modals_with_click: bool = True
    show_internal_filename: bool = True
    temperature_graph: bool = True
    keyboard_control: bool = True
    model_size_detection: bool = True
    remember_file_folder: bool = False
    print_start_confirmation: bool = False
    print_cancel_confirmation: bool = True
    upload_overwrite_confirmation: bool = True
    file_delete_confirmation: bool = True
    enable_drag_drop_upload: bool = True
    auto_uppercase_blacklist: tuple[str, ...] = ("M117", "M118", "M707", "M708")
    cutoff_min: int = 30  # minutes that the graph of temperatures goes back
    send_automatically: bool = False
    send_automatically_after_s: int = 1

    def checked(self) -> Self:
        checked_text(self.default_language, "the language")
        if len(self.auto_uppercase_blacklist) > MAX_WORDS:
            raise Malformed(f"there are more than {MAX_WORDS} commands that keep their case")
        for word in self.auto_uppercase_blacklist:
            checked_text(word, "a command that keeps its case")
        if not 1 <= self.cutoff_min <= 24 * 60:
            raise Malformed(f"the graph of temperatures goes back 1 to 1440 minutes, not {self.cutoff_min}")
        if not 0 <= self.send_automatically_after_s <= 30:
            raise Malformed(f"targets are sent after 0 to 30 s, not {self.send_automatically_after_s}")
        return self


class PortOptions(msgspec.Struct, frozen=True):
    """Which ports and rates a person is offered besides those that are found; patterns as a shell's, of last parts."""

    additional_ports: tuple[str, ...] = ()
    hidden_ports: tuple[str, ...] = ()
    additional_bauds: tuple[int, ...] = ()
    hidden_bauds: tuple[int, ...] = ()

    def checked(self) -> Self:
        for patterns in (self.additional_ports, self.hidden_ports, self.additional_bauds, self.hidden_bauds):
            if len(patterns) > MAX_PATTERNS:
                raise Malformed(f"there are more than {MAX_PATTERNS} further or hidden ports or rates")
        for pattern in (*self.additional_ports, *self.hidden_ports):
            checked_text(pattern, "a pattern of ports")
            if not pattern.startswith("/") or glob.has_magic(posixpath.dirname(pattern)):
                raise Malformed(f"{pattern!r} is no pattern of ports: a path, with * and ? in its last part only")
        for baud in (*self.additional_bauds, *self.hidden_bauds):
            if not 0 < baud <= MAX_BAUD:
                raise Malformed(f"{baud} is no rate of a serial port")
        return self


class RunAt(Enum):
    """When files are analysed: while nothing prints, as soon as they are there, or not at all."""

    IDLE = "idle"
    ALWAYS = "always"
    NEVER = "never"


class AnalysisOptions(msgspec.Struct, frozen=True):
    run_at: RunAt = RunAt.ALWAYS

    def checked(self) -> Self:
        return self


Section = (
    Appearance
    | Presets
    | CustomControls
    | ConsoleFilters
    | ClientOptions
    | MachineOptions
    | PortOptions
    | AnalysisOptions
)
S = TypeVar("S", bound=Section)
_OF_HOST: Final = (PortOptions, AnalysisOptions)


class Settings:
    def __init__(self, printers: Printers, preferences: Preferences) -> None:
        self.analysis_changed: Callable[[], None] = lambda: None  # called when files may be analysed at other times
        self._printers = printers
        self._preferences = preferences
        for printer in printers.all():
            printer.shown_name = self.get(Appearance, printer).name if printer.locked else ""

    def get(self, section: type[S], p: Printer) -> S:
        return self._preferences.get(section, _owner(section, p))

    def check(self, p: Printer, sections: Iterable[Section], by: Caller) -> None:
        """Raise what `put` would, so that a change of many can be judged before any of them is made."""
        by.require(Permission.SETTINGS, p.slug)
        for section in sections:
            if isinstance(section, _OF_HOST) and section != self.get(type(section), p) and _is_bound(by):
                raise NotAllowed("a key bound to printers may not change what concerns the whole host")
            section.checked()

    async def put(self, p: Printer, sections: Iterable[Section], by: Caller) -> None:
        """Set whole sections; all are judged before the first is set, and those that stay as they are left alone."""
        sections = tuple(sections)
        self.check(p, sections, by)
        changed: dict[str, list[Section]] = {}
        for section in sections:
            if section != self.get(type(section), p):
                changed.setdefault(_owner(type(section), p), []).append(section)
        await self._preferences.put_all(changed)
        if any(isinstance(section, MachineOptions) for section in changed.get(p.slug, ())):
            await self._printers.configure(p)
        if any(isinstance(section, AnalysisOptions) for section in changed.get(HOST, ())):
            self.analysis_changed()
        if p.locked:
            p.shown_name = self.get(Appearance, p).name

    def port_names(self) -> list[str]:
        """What a printer may be connected to: ports by their constant names, then what further patterns match."""
        options = self._preferences.get(PortOptions)
        found = [port.stable_path or port.path for port in self._printers.ports()]
        for pattern in options.additional_ports:
            found += sorted(glob.glob(pattern))[:MAX_PORTS]
        hidden = options.hidden_ports
        shown = [name for name in found if not any(fnmatch.fnmatchcase(name, pattern) for pattern in hidden)]
        return list(dict.fromkeys(shown))[:MAX_PORTS]

    def bauds(self) -> tuple[int, ...]:
        """Rates to choose from, the highest first."""
        options = self._preferences.get(PortOptions)
        rates = {*BAUDS, *options.additional_bauds} - set(options.hidden_bauds)
        return tuple(sorted(rates, reverse=True))

    def may_analyse(self) -> bool:
        """Whether a file may be analysed now."""
        match self._preferences.get(AnalysisOptions).run_at:
            case RunAt.ALWAYS:
                return True
            case RunAt.NEVER:
                return False
            case RunAt.IDLE:
                return not any(printer.is_moving for printer in self._printers.all())


def checked_text(text: str, what: str, most: int = MAX_TEXT_BYTES) -> str:
    if len(text.encode("utf-8", "replace")) > most or not (text.isprintable() or not text):
        raise Malformed(f"{what} is at most {most} bytes, without control characters")
    return text


def _owner(section: type[msgspec.Struct], p: Printer) -> str:
    return HOST if section in _OF_HOST else p.slug


def _is_bound(by: Caller) -> bool:
    return by.key is not None and bool(by.key.printers)
