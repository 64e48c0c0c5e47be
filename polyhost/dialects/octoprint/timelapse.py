"""``/api/timelapse``: how prints are recorded, their movies, and the pictures that are no movie yet.

Upstream: OctoPrint 1.11, docs/api/timelapse.rst.
"""

import contextlib
import hashlib
import time
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.timelapse import (
    THUMBNAIL_SUFFIX,
    Movie,
    RenderAfter,
    TimelapseConfig,
    TimelapseMode,
)
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import Commands
from polyhost.services.timelapses import Unrendered
from polyhost.web.answers import Encoded, Stored, encoded, no_content, not_modified, unchanged
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()

MODES: Final = {"off": TimelapseMode.OFF, "timed": TimelapseMode.TIMED, "zchange": TimelapseMode.LAYERS}
TYPES: Final = {mode: name for name, mode in MODES.items()}


class ConfigBody(msgspec.Struct, rename="camel"):
    """Off, it is its `type` alone."""

    type: str
    post_roll: int | UnsetType = UNSET
    fps: int | UnsetType = UNSET
    render_after_print: str | UnsetType = UNSET
    interval: int | UnsetType = UNSET
    retraction_z_hop: float | UnsetType = msgspec.field(default=UNSET, name="retractionZHop")
    min_delay: float | UnsetType = UNSET


class MovieBody(msgspec.Struct):
    name: str
    size: str
    bytes: int
    date: str
    timestamp: float
    url: str
    thumbnail: str | UnsetType = UNSET


class UnrenderedBody(msgspec.Struct):
    name: str
    count: int
    size: str
    bytes: int
    date: str
    recording: bool
    rendering: bool
    processing: bool


class TimelapseBody(msgspec.Struct):
    config: ConfigBody
    enabled: bool
    files: list[MovieBody]
    unrendered: list[UnrenderedBody] | UnsetType = UNSET


class Render(msgspec.Struct, tag_field="command", tag="render"):
    pass


COMMANDS: Final = Commands[Render](Render)


def config_of(config: TimelapseConfig) -> ConfigBody:
    if config.mode is TimelapseMode.OFF:
        return ConfigBody("off")
    body = ConfigBody(TYPES[config.mode], round(config.post_roll_s), config.fps, config.render_after.value)
    if config.mode is TimelapseMode.TIMED:
        body.interval = round(config.interval_s)
    else:
        body.retraction_z_hop, body.min_delay = config.z_hop_mm, config.min_delay_s
    return body


class PushedConfig(msgspec.Struct):
    type: str
    options: dict[str, float] | UnsetType = UNSET


def pushed_config_of(config: TimelapseConfig) -> PushedConfig | None:
    """As it is told to those who listen, which is of another shape than what is asked for; None for off."""
    match config.mode:
        case TimelapseMode.OFF:
            return None
        case TimelapseMode.TIMED:
            return PushedConfig("timed", {"interval": round(config.interval_s)})
        case TimelapseMode.LAYERS:
            return PushedConfig("zchange", {"retractionZHop": config.z_hop_mm})


def movie_of(movie: Movie, base: str) -> MovieBody:
    url = f"{base}/downloads/timelapse/{quote(movie.name)}"
    return MovieBody(
        *(movie.name, size_of(movie.size_bytes), movie.size_bytes, date_of(movie.modified_at), movie.modified_at, url),
        thumbnail=f"{url}{THUMBNAIL_SUFFIX}" if movie.has_thumbnail else UNSET,
    )


def unrendered_of(one: Unrendered) -> UnrenderedBody:
    recording = one.recording
    return UnrenderedBody(
        *(recording.name, recording.count, size_of(recording.size_bytes), recording.size_bytes),
        *(date_of(recording.started_at), one.is_recording, one.is_rendering, one.is_recording or one.is_rendering),
    )


def size_of(size_bytes: int) -> str:
    """
    >>> size_of(2_831_155), size_of(12)
    ('2.7MB', '12.0bytes')
    """
    size = float(size_bytes)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}TB"


def date_of(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def wished(fields: dict[str, object]) -> TimelapseConfig:
    """The config that `fields` ask for; what they do not name has its default.  `Malformed` names what is wrong."""
    mode = MODES.get(str(fields["type"]))
    if mode is None:
        raise Malformed(f"type is invalid: {fields['type']!r}; there are {', '.join(MODES)}")
    said: dict[str, object] = {}
    for name, ours, whole in (
        ("postRoll", "post_roll_s", True),
        ("fps", "fps", True),
        ("interval", "interval_s", True),
        ("retractionZHop", "z_hop_mm", False),
        ("minDelay", "min_delay_s", False),
    ):
        if name in fields:
            number = _number(name, fields[name], whole)
            said[ours] = int(number) if ours == "fps" else number
    if "renderAfterPrint" in fields:
        try:
            said["render_after"] = RenderAfter(fields["renderAfterPrint"])
        except ValueError:
            raise Malformed("renderAfterPrint is invalid: it is always, success, failure or never") from None
    return msgspec.structs.replace(TimelapseConfig(mode), **said)


def _number(name: str, value: object, whole: bool) -> float:
    """Of a form, too, where it is text."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 32:
            raise ValueError
        number = float(value)
        if whole:
            return float(int(value))  # which is not what "2.5" can be
    except (ValueError, OverflowError):
        raise Malformed(f"{name} is invalid: it must be a number") from None
    return number


def body_of(call: Call) -> TimelapseBody:
    timelapses, printer = call.host.timelapses, call.printer
    unrendered = call.flag("unrendered")
    return TimelapseBody(
        config_of(timelapses.config(printer)),
        timelapses.is_possible(printer),
        [movie_of(movie, call.base) for movie in timelapses.movies(printer)],
        [unrendered_of(one) for one in timelapses.unrendered(printer)] if unrendered else UNSET,
    )


@routes.get("/api/timelapse", needs=Permission.LOOK)
async def timelapses(call: Call) -> Encoded:
    answer = encoded(body_of(call))
    etag = f'"{hashlib.sha1(answer.body, usedforsecurity=False).hexdigest()}"'
    if not call.flag("force") and b"if-none-match" in call.headers and unchanged(call.headers, etag):
        return not_modified([(b"etag", etag.encode())])
    answer.headers.append((b"etag", etag.encode()))
    return answer


@routes.post("/api/timelapse", needs=Permission.CONTROL)
async def configure(call: Call) -> TimelapseBody:
    fields: dict[str, object]
    if call.media_type == "application/x-www-form-urlencoded":
        fields = {**call.query, **await call.form()}
    else:
        fields = await call.body(dict[str, object])
    if "type" in fields:
        save = truth_of(fields.get("save", ""))
        await call.host.timelapses.configure(call.printer, wished(fields), by=call.caller, save=save)
    return body_of(call)


@routes.get("/api/timelapse/{name}", needs=Permission.LOOK)
async def movie(call: Call) -> Stored:
    return await _movie(call)


@routes.get("/downloads/timelapse/{name}", needs=Permission.LOOK)
async def download(call: Call) -> Stored:
    return await _movie(call)


async def _movie(call: Call) -> Stored:
    name = call.params["name"]
    path, version = await call.host.timelapses.on_disk(call.printer, name, by=call.caller)
    kind = "image/jpeg" if name.endswith(THUMBNAIL_SUFFIX) else "video/mp4"
    return Stored(path, name=name, etag=f'"{version}"', content_type=kind)


@routes.delete("/api/timelapse/{name}", needs=Permission.DELETE)
async def delete(call: Call) -> TimelapseBody:
    """A movie that is not there is deleted already, as upstream has it."""
    printer = call.printer
    with contextlib.suppress(NotFound):
        await call.host.timelapses.delete(printer, call.params["name"], by=call.caller)
    return body_of(call)


@routes.post("/api/timelapse/unrendered/{name}", needs=Permission.DELETE)
async def command(call: Call) -> Encoded:
    (await COMMANDS.asked(call)).values()
    call.host.timelapses.render(call.printer, call.params["name"], by=call.caller)
    return no_content()


@routes.delete("/api/timelapse/unrendered/{name}", needs=Permission.DELETE)
async def delete_unrendered(call: Call) -> Encoded:
    """As `delete`."""
    printer = call.printer
    with contextlib.suppress(NotFound):
        await call.host.timelapses.delete_unrendered(printer, call.params["name"], by=call.caller)
    return no_content()
