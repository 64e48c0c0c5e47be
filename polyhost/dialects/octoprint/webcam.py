"""``webcam`` and ``plugins.classicwebcam`` of ``/api/settings``: the printer's main webcam, as clients read and set it.

Upstream: OctoPrint 1.11, docs/api/settings.rst.  Which program makes the movies, and how it is called, is the
owner's (`config.Timelapse`): it can be read here and not be set.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.errors import Malformed
from polyhost.core.user import Caller, Permission
from polyhost.core.webcam import Webcam, without_password
from polyhost.dialects.octoprint.commands import Flag
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web.call import truth_of

COMMAND_LINE: Final = (
    '{ffmpeg} -framerate {fps} -i "{input}" -vcodec {videocodec} -threads {threads} -b:v {bitrate} '
    '-f {containerformat} -y {filters} "{output}"'
)
ICE_SERVERS: Final = ("stun:stun.l.google.com:19302",)
PROVIDER: Final = "classicwebcam"


class Compat(msgspec.Struct, rename="camel"):
    """What a client needs that knows one kind of webcam only."""

    stream: str
    stream_timeout: int
    stream_ratio: str
    stream_webrtc_ice_servers: tuple[str, ...]
    cache_buster: bool
    snapshot: str
    snapshot_timeout: int
    snapshot_ssl_validation: bool


class WebcamRecord(msgspec.Struct, rename="camel"):
    name: str
    display_name: str
    can_snapshot: bool
    snapshot_display: str
    flip_h: bool = msgspec.field(name="flipH")
    flip_v: bool = msgspec.field(name="flipV")
    rotate90: bool
    extras: dict[str, str]
    compat: Compat
    provider: str = PROVIDER


class WebcamTree(msgspec.Struct, rename="camel"):
    """Every classic key is here, since clients index them; ``streamUrl`` must be a string."""

    webcam_enabled: bool
    timelapse_enabled: bool
    ffmpeg_path: str | None
    ffmpeg_commandline: str
    bitrate: str
    ffmpeg_threads: int
    ffmpeg_video_codec: str
    watermark: bool
    render_after_print_delay: int
    webcams: list[WebcamRecord]
    default_webcam: str | None
    snapshot_webcam: str | None
    flip_h: bool = msgspec.field(name="flipH")
    flip_v: bool = msgspec.field(name="flipV")
    rotate90: bool
    stream_url: str
    stream_ratio: str
    stream_timeout: int
    stream_webrtc_ice_servers: tuple[str, ...]
    snapshot_url: str
    snapshot_timeout: int
    snapshot_ssl_validation: bool
    cache_buster: bool


class ClassicTree(msgspec.Struct, rename="camel"):
    """``plugins.classicwebcam``: where clients since 1.9 read and set the same."""

    stream: str
    snapshot: str
    flip_h: bool = msgspec.field(name="flipH")
    flip_v: bool = msgspec.field(name="flipV")
    rotate90: bool
    stream_timeout: int
    stream_ratio: str
    snapshot_timeout: int
    snapshot_ssl_validation: bool
    stream_webrtc_ice_servers: tuple[str, ...] = ICE_SERVERS
    cache_buster: bool = False


class _Wish(msgspec.Struct, rename="camel"):
    """What may be set under the same name in both places; other keys are not ours to set and are left alone."""

    flip_h: Flag | UnsetType = msgspec.field(default=UNSET, name="flipH")
    flip_v: Flag | UnsetType = msgspec.field(default=UNSET, name="flipV")
    rotate90: Flag | UnsetType = UNSET
    stream_ratio: str | UnsetType = UNSET
    stream_timeout: int | float | UnsetType = UNSET
    snapshot_timeout: int | float | UnsetType = UNSET
    snapshot_ssl_validation: Flag | UnsetType = UNSET


class WebcamWish(_Wish, rename="camel"):
    """What may be set of ``webcam``."""

    webcam_enabled: Flag | UnsetType = UNSET
    stream_url: str | UnsetType | None = UNSET
    snapshot_url: str | UnsetType | None = UNSET


class ClassicWish(_Wish, rename="camel"):
    """What may be set of ``plugins.classicwebcam``."""

    stream: str | UnsetType | None = UNSET
    snapshot: str | UnsetType | None = UNSET

    def as_webcam(self) -> WebcamWish:
        values = msgspec.structs.asdict(self)
        return WebcamWish(stream_url=values.pop("stream"), snapshot_url=values.pop("snapshot"), **values)


def turned(webcam: Webcam) -> tuple[bool, bool, bool]:
    """``flipH``, ``flipV`` and ``rotate90`` (counter-clockwise) that show the picture as `webcam` says.

    A half turn is both flips.
    """
    half = webcam.rotation in {90, 180}
    return webcam.flip_horizontal != half, webcam.flip_vertical != half, webcam.rotation in {90, 270}


def record_of(webcam: Webcam, *, may_set: bool) -> WebcamRecord:
    stream, snapshot = urls_of(webcam, may_set=may_set)
    classic = classic_of(webcam, may_set=may_set)
    compat = Compat(
        *(stream, classic.stream_timeout, classic.stream_ratio, ICE_SERVERS, False),
        *(snapshot, classic.snapshot_timeout, classic.snapshot_ssl_validation),
    )
    return WebcamRecord(
        name=webcam.name,
        display_name=webcam.name,
        can_snapshot=bool(webcam.snapshot_url),
        snapshot_display=snapshot,
        flip_h=classic.flip_h,
        flip_v=classic.flip_v,
        rotate90=classic.rotate90,
        extras={"stream": stream},
        compat=compat,
    )


def classic_of(webcam: Webcam, *, may_set: bool) -> ClassicTree:
    flip_h, flip_v, rotate90 = turned(webcam)
    return ClassicTree(
        *(*urls_of(webcam, may_set=may_set), flip_h, flip_v, rotate90),
        *(round(webcam.stream_timeout_s), webcam.aspect_ratio, round(webcam.snapshot_timeout_s), webcam.verify_tls),
    )


def urls_of(webcam: Webcam, *, may_set: bool) -> tuple[str, str]:
    """Of the stream and of the snapshot; a password in them is for those who may set it."""
    urls = webcam.stream_url, webcam.snapshot_url
    return urls if may_set else (without_password(urls[0]), without_password(urls[1]))


def webcam_tree(host: Host, printer: Printer, caller: Caller) -> WebcamTree:
    """``webcam`` of the settings."""
    main = host.webcams.main(printer)
    may_set = caller.may(Permission.SETTINGS, printer.slug)
    classic = classic_of(main or Webcam(), may_set=may_set)
    name = main.name if main is not None else None
    return WebcamTree(
        webcam_enabled=main is not None and main.enabled,
        timelapse_enabled=host.timelapses.is_possible(printer),
        ffmpeg_path=host.timelapses.program or None,
        ffmpeg_commandline=COMMAND_LINE,
        bitrate=host.config.timelapse.bitrate,
        ffmpeg_threads=host.config.timelapse.threads,
        ffmpeg_video_codec="libx264",
        watermark=False,
        render_after_print_delay=0,
        webcams=[record_of(webcam, may_set=may_set) for webcam in host.webcams.all(printer)],
        default_webcam=name,
        snapshot_webcam=name,
        flip_h=classic.flip_h,
        flip_v=classic.flip_v,
        rotate90=classic.rotate90,
        stream_url=classic.stream,
        stream_ratio=classic.stream_ratio,
        stream_timeout=classic.stream_timeout,
        stream_webrtc_ice_servers=ICE_SERVERS,
        snapshot_url=classic.snapshot,
        snapshot_timeout=classic.snapshot_timeout,
        snapshot_ssl_validation=classic.snapshot_ssl_validation,
        cache_buster=False,
    )


def classic_tree(host: Host, printer: Printer, caller: Caller) -> ClassicTree:
    """``plugins.classicwebcam`` of the settings."""
    may_set = caller.may(Permission.SETTINGS, printer.slug)
    return classic_of(host.webcams.main(printer) or Webcam(), may_set=may_set)


def wished(webcam: Webcam, wish: WebcamWish) -> Webcam:
    """`webcam` with what `wish` sets; the rest stays.  `Malformed` for a time that is none."""
    changes: dict[str, object] = {}
    for name in ("stream_url", "snapshot_url"):
        url = getattr(wish, name)
        if url is not UNSET:
            changes[name] = (url or "").strip()
    if wish.webcam_enabled is not UNSET:
        changes["enabled"] = truth_of(wish.webcam_enabled)
    if wish.snapshot_ssl_validation is not UNSET:
        changes["verify_tls"] = truth_of(wish.snapshot_ssl_validation)
    if wish.stream_ratio is not UNSET:
        changes["aspect_ratio"] = wish.stream_ratio
    for name in ("stream_timeout", "snapshot_timeout"):
        seconds = getattr(wish, name)
        if seconds is not UNSET:
            if isinstance(seconds, bool):
                raise Malformed(f"{name} must be a number of seconds")
            changes[f"{name}_s"] = float(seconds)
    said = wish.flip_h, wish.flip_v, wish.rotate90
    if any(flag is not UNSET for flag in said):
        flip_h, flip_v, rotate90 = (
            was if flag is UNSET else truth_of(flag) for was, flag in zip(turned(webcam), said, strict=True)
        )
        changes |= {"flip_horizontal": flip_h, "flip_vertical": flip_v, "rotation": 270 if rotate90 else 0}
    return msgspec.structs.replace(webcam, **changes)


async def set_webcam(host: Host, printer: Printer, wish: WebcamWish, by: Caller) -> None:
    """Set the main webcam's part of the settings; without a webcam so far, there is one from now on."""
    main = host.webcams.main(printer) or Webcam()
    webcam = wished(main, wish)
    if webcam != main:
        await host.webcams.put(printer, webcam, by=by)
