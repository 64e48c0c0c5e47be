"""Stored G-code: what it is called, what its slicer said, what reading it showed."""

import posixpath
import unicodedata
from typing import Final

import msgspec

from polyhost.core.errors import Malformed

MAX_NAME_BYTES: Final = 255
MAX_DEPTH: Final = 32
GCODE_SUFFIXES: Final = (".gcode", ".gco", ".g", ".gc~", ".nc")
_RESERVED: Final = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})


def checked_name(name: str) -> str:
    """`name` as it is stored (NFC), if it may name one file or folder; `Malformed` says why not.

    The rule is S5: at most 255 bytes of UTF-8, no separator, no control or direction character, no leading dot,
    no name that some file system keeps for itself.
    """
    name = unicodedata.normalize("NFC", name)
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise Malformed("a file name must be valid Unicode") from None
    if not name or name.isspace():
        raise Malformed("a file name must not be empty")
    if len(encoded) > MAX_NAME_BYTES:
        raise Malformed(f"the name is {len(encoded)} bytes long; {MAX_NAME_BYTES} is the limit")
    if "/" in name or "\\" in name:
        raise Malformed(f"{name!r}: a file name must not contain / or \\")
    if name.startswith("."):
        raise Malformed(f"{name!r}: a file name must not start with a dot")
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in name):
        raise Malformed(f"{name!r}: a file name must not contain control or direction characters")
    if name.split(".", 1)[0].rstrip().lower() in _RESERVED:
        raise Malformed(f"{name!r} is a reserved name")
    if name != name.strip() or name.endswith("."):
        raise Malformed(f"{name!r}: a file name must not start or end with a space, or end with a dot")
    return name


def checked_path(path: str) -> str:
    """`path` inside the library, each part judged by `checked_name`; "" is the library itself.

    One leading and one trailing slash are forgiven, since clients send them.
    """
    path = path.removeprefix("/").removesuffix("/")
    if not path:
        return ""
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise Malformed(f"the path is {len(parts)} folders deep; {MAX_DEPTH} is the limit")
    return "/".join(checked_name(part) for part in parts)


def is_gcode(name: str) -> bool:
    return name.lower().endswith(GCODE_SUFFIXES)


class Thumbnail(msgspec.Struct, frozen=True):
    """A picture from the file's header: size in pixels, and where its bytes are kept (`digest` names them)."""

    width: int
    height: int
    format: str  # png or jpg; qoi is converted when read
    size_bytes: int
    digest: str


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the slicer wrote about its file; None is not said.  mm, seconds, grams, °C, bytes."""

    slicer: str = "Unknown"
    slicer_version: str = "?"
    gcode_start_byte: int | None = None
    gcode_end_byte: int | None = None
    layer_count: int | None = None
    object_height: float | None = None
    estimated_time: float | None = None
    nozzle_diameter: float | None = None
    layer_height: float | None = None
    first_layer_height: float | None = None
    first_layer_extr_temp: float | None = None
    first_layer_bed_temp: float | None = None
    chamber_temp: float | None = None
    filament_name: str | None = None
    filament_type: tuple[str, ...] = ()
    filament_colors: tuple[str, ...] = ()
    extruder_colors: tuple[str, ...] = ()
    filament_temps: tuple[int, ...] = ()
    filament_change_count: int | None = None
    referenced_tools: tuple[int, ...] = ()
    mmu_print: bool | None = None
    filament_total: float | None = None
    filament_weight_total: float | None = None
    filament_weights: tuple[float, ...] = ()
    printer_vendor: str | None = None
    printer_model: str | None = None
    printer_variant: str | None = None
    profile_version: str | None = None
    thumbnails: tuple[Thumbnail, ...] = ()


class Box(msgspec.Struct, frozen=True):
    """An axis-parallel box in mm."""

    min_x: float
    min_y: float
    min_z: float
    max_x: float
    max_y: float
    max_z: float


class FilamentUse(msgspec.Struct, frozen=True):
    """Filament drawn by one tool: mm of filament, cm³ of plastic."""

    length: float
    volume: float


class LayerIndex(msgspec.Struct, frozen=True):
    """Where layers begin: byte offset of the first line of each, its Z in mm, and planned seconds before it.

    `total_s` is the planned time of the whole file.
    """

    offsets: tuple[int, ...]
    heights: tuple[float, ...]
    times: tuple[float, ...]
    total_s: float


class NamedObject(msgspec.Struct, frozen=True):
    """An object that the slicer named: its box in the XY plane, and the byte ranges [from, to) that draw it."""

    name: str
    min_x: float
    min_y: float
    max_x: float
    max_y: float
    ranges: tuple[tuple[int, int], ...]


class Analysis(msgspec.Struct, frozen=True):
    """What reading the whole file showed."""

    duration_s: float
    lines: int
    moves: int
    filament: dict[int, FilamentUse]  # by tool
    printed: Box | None  # of what is extruded
    travelled: Box | None  # of every move
    layers: LayerIndex
    objects: tuple[NamedObject, ...] = ()
    limits_from: str = "profile"  # "file", "slicer", "machine" or "profile"
    complete: bool = True  # False: reading stopped at its bound
    notes: tuple[str, ...] = ()  # what was strange about the file, for its owner
    waits_s: float = 0.0  # what heating and homing are expected to take besides; not in `duration_s`
    tells_progress: bool = False  # the file has ``M73`` of its own

    def outline(self) -> "Analysis":
        """The same without layers and objects, which grow with the file; `layers.total_s` stays."""
        return msgspec.structs.replace(self, layers=LayerIndex((), (), (), self.layers.total_s), objects=())


class File(msgspec.Struct, frozen=True):
    """A stored file.  `path` is its place in the library; times are seconds since the epoch."""

    path: str
    size_bytes: int
    modified_at: float
    sha256: str
    sha1: str
    md5: str
    by: str = ""
    metadata: Metadata | None = None
    analysis: Analysis | None = None
    userdata: str = ""  # JSON that an uploader attached

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)
