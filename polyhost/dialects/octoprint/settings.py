"""``/api/settings``: what clients are known to read there.

Upstream: OctoPrint 1.11, docs/api/settings.rst.  Nothing can be changed through it yet, and there is no webcam.
"""

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.octoprint.connection import BAUDS, VIRTUAL, ports_of
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()


class Api(msgspec.Struct, rename="camel"):
    key: str | None
    allow_cross_origin: bool


class Appearance(msgspec.Struct):
    name: str
    color: str


class Feature(msgspec.Struct, rename="camel"):
    sd_support: bool
    temperature_graph: bool = True
    auto_uppercase_blacklist: tuple[str, ...] = ("M117", "M118")


class GcodeAnalysis(msgspec.Struct, rename="camel"):
    run_at: str = "always"


class Serial(msgspec.Struct, rename="camel"):
    port: str | None
    baudrate: int | None
    autoconnect: bool
    port_options: list[str]
    baudrate_options: tuple[int, ...]


class Temperature(msgspec.Struct):
    profiles: tuple[()] = ()
    cutoff: int = 30


class Webcam(msgspec.Struct, rename="camel"):
    """Every classic key is here, since clients index them; `stream_url` must be a string."""

    webcam_enabled: bool = False
    timelapse_enabled: bool = False
    stream_url: str = ""
    snapshot_url: str = ""
    stream_ratio: str = "16:9"
    stream_timeout: int = 5
    snapshot_timeout: int = 5
    snapshot_ssl_validation: bool = True
    flip_h: bool = msgspec.field(default=False, name="flipH")
    flip_v: bool = msgspec.field(default=False, name="flipV")
    rotate90: bool = False
    bitrate: str = "10000k"
    ffmpeg_path: str | None = None
    ffmpeg_commandline: str = ""
    ffmpeg_threads: int = 1
    ffmpeg_video_codec: str = "libx264"
    watermark: bool = False
    render_after_print_delay: int = 0
    cache_buster: bool = False
    default_webcam: str | None = None
    snapshot_webcam: str | None = None
    webcams: tuple[()] = ()


class Settings(msgspec.Struct, rename="camel"):
    api: Api
    appearance: Appearance
    feature: Feature
    gcode_analysis: GcodeAnalysis
    serial: Serial
    temperature: Temperature
    webcam: Webcam
    access_control: dict[str, bool]
    controls: tuple[()] = ()
    devel: dict[str, str] = {}
    folder: dict[str, str] = {}
    plugins: dict[str, dict[str, str]] = {}
    scripts: dict[str, dict[str, str]] = msgspec.field(default_factory=lambda: {"gcode": {}})
    server: dict[str, dict[str, str]] = msgspec.field(default_factory=lambda: {"commands": {}})
    slicing: dict[str, str] = {}
    system: dict[str, tuple[()]] = msgspec.field(default_factory=lambda: {"actions": ()})
    terminal_filters: tuple[()] = ()


@routes.get("/api/settings", needs=Permission.LOOK)
async def settings(call: Call) -> Settings:
    printer = call.printer
    own = VIRTUAL if printer.driver_name == "virtual" else printer.settings.port
    return Settings(
        api=Api(None, bool(call.host.config.access.allow_origins)),
        appearance=Appearance(printer.name, printer.profile.color),
        feature=Feature(sd_support=True),
        gcode_analysis=GcodeAnalysis(),
        serial=Serial(
            own or None,
            printer.settings.baud or None,
            printer.settings.autoconnect,
            ports_of(call, printer),
            BAUDS,
        ),
        temperature=Temperature(),
        webcam=Webcam(),
        access_control={"enabled": True},
    )
