"""A movie of a print: when its pictures are taken, and how they are put together."""

import math
import posixpath
from enum import Enum
from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.file import checked_name

MAX_FPS: Final = 120
MAX_POST_ROLL_S: Final = 600.0
MAX_WAIT_S: Final = 86_400.0
MAX_Z_HOP: Final = 1000.0  # mm
MOVIE_SUFFIX: Final = ".mp4"
THUMBNAIL_SUFFIX: Final = ".thumb.jpg"
_STEM_BYTES: Final = 160  # leaves room for the time and the suffixes


class TimelapseMode(Enum):
    OFF = "off"
    TIMED = "timed"  # a picture every so many seconds
    LAYERS = "layers"  # one at each new layer


class RenderAfter(Enum):
    """After which prints the movie is made without being asked for."""

    ALWAYS = "always"
    SUCCESS = "success"
    FAILURE = "failure"
    NEVER = "never"


class TimelapseConfig(msgspec.Struct, frozen=True):
    """How the prints of one printer are recorded.  `post_roll_s` is how long the movie rests on its last picture."""

    mode: TimelapseMode = TimelapseMode.OFF
    fps: int = 25
    post_roll_s: float = 0.0
    render_after: RenderAfter = RenderAfter.ALWAYS
    interval_s: float = 10.0  # TIMED
    z_hop_mm: float = 0.0  # LAYERS, of a file whose layers are not known: a rise by so much is no layer
    min_delay_s: float = 5.0  # LAYERS: between two pictures


class Recording(msgspec.Struct, frozen=True):
    """The pictures of one print, not yet a movie.  `name` tells it from its printer's others."""

    name: str
    run_id: str
    path: str  # of what was printed
    started_at: float
    config: TimelapseConfig
    suffix: str = ".jpg"  # of its pictures
    turned: tuple[bool, bool, int] = (False, False, 0)  # flipped sideways, upside down, then turned clockwise
    count: int = 0
    size_bytes: int = 0


class Movie(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int
    modified_at: float
    has_thumbnail: bool = False


def checked_config(config: TimelapseConfig) -> TimelapseConfig:
    """`config`, if prints can be recorded so; `Malformed` names what is wrong."""
    if not 1 <= config.fps <= MAX_FPS:
        raise Malformed(f"fps is invalid: {config.fps}; 1 to {MAX_FPS} are possible")
    for name, value, least, most in (
        ("postRoll", config.post_roll_s, 0.0, MAX_POST_ROLL_S),
        ("interval", config.interval_s, 1.0, MAX_WAIT_S),
        ("retractionZHop", config.z_hop_mm, 0.0, MAX_Z_HOP),
        ("minDelay", config.min_delay_s, 0.01, MAX_WAIT_S),
    ):
        if not (math.isfinite(value) and least <= value <= most):
            raise Malformed(f"{name} is invalid: {value:g}; {least:g} to {most:g} are possible")
    return config


def name_of(path: str, stamp: str) -> str:
    """What a recording of `path` is called; `stamp` is when it began.

    >>> name_of("parts/a cube.gcode", "20261120214500")
    'a cube_20261120214500'
    """
    stem = posixpath.splitext(posixpath.basename(path))[0]
    while len(stem.encode()) > _STEM_BYTES:
        stem = stem[:-1]
    return checked_name(f"{stem.strip() or 'print'}_{stamp}")
