"""What apps made for OctoPrint ask, in their order, and what each needs to find in the answer.

Taken from what these programs send and read: OctoPod 3, OctoDash, OctoScreen 2.8 (go-octoprint), OctoFarm 2,
FDM Monster 1.9, octoprint-cli 3, two exporters for Prometheus, OctoPrint's own client in JavaScript.  `reads` holds
the fields a program decodes, as strictly as its language does: Go takes no ``12.0`` for an ``int``, and null for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

GCODE: Final = b"; a print that takes its time\nM117 Printing\n" + b"G4 P2000\nG1 X10 E0.1 F3000\n" * 400


@dataclass(frozen=True)
class Part:
    """One of a form; with a `filename` it is a file."""

    name: str
    value: bytes
    filename: str = ""


@dataclass(frozen=True)
class Ask:
    """A request, the answer that is awaited, and the state of the printer that follows.

    `{session}`, `{name}` and the like are what earlier answers said.
    """

    method: str
    path: str
    body: Any = None  # sent as JSON; bytes as they are
    status: int = 200
    reads: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Sequence[Part] = ()
    then: str = ""


@dataclass(frozen=True)
class Hear:
    """A WebSocket, what is said on it, and the messages that must come, by their kinds."""

    path: str
    says: tuple[object, ...]
    hears: Mapping[str, Any]
    framed: bool = False


@dataclass(frozen=True)
class App:
    name: str
    headers: Mapping[str, str]  # {key} is its key
    steps: Sequence[Ask | Hear]


class Flags(msgspec.Struct):
    operational: bool
    paused: bool
    pausing: bool
    printing: bool
    cancelling: bool
    error: bool
    ready: bool
    closed_or_error: bool = msgspec.field(name="closedOrError")
    sd_ready: bool = msgspec.field(name="sdReady")


class State(msgspec.Struct):
    text: str
    flags: Flags


class Login(msgspec.Struct):
    name: str
    session: str
    needs: dict[str, list[str]]


class Moved(msgspec.Struct):
    """Of ``progress``: what Go and Swift read as whole numbers."""

    completion: float | None
    filepos: int | None
    printTime: int | None
    printTimeLeft: int | None
    printTimeLeftOrigin: str | None


class Chosen(msgspec.Struct):
    name: str | None
    display: str | None
    path: str | None
    origin: str | None
    size: int | None
    date: int | None


class Filament(msgspec.Struct):
    length: float
    volume: float


class JobOf(msgspec.Struct):
    file: Chosen
    estimatedPrintTime: float | None
    averagePrintTime: float | None
    lastPrintTime: float | None
    filament: dict[str, Filament | None] | None


class Job(msgspec.Struct):
    job: JobOf
    progress: Moved
    state: str


class Temperature(msgspec.Struct):
    actual: float | None
    target: float | None
    offset: float = 0.0


class Full(msgspec.Struct):
    """``/api/printer`` as Go reads it: whatever is beside ``history`` is a heater."""

    state: State
    temperature: dict[str, Temperature]
    sd: dict[str, bool] = {}


class Point(msgspec.Struct):
    time: int
    tool0: Temperature
    bed: Temperature


class Current(msgspec.Struct):
    state: State
    job: JobOf
    progress: Moved
    temps: list[Point]
    logs: list[str]
    messages: list[str]
    offsets: dict[str, float]
    resends: dict[str, float]
    currentZ: float | None
    busyFiles: list[dict[str, str]]
    serverTime: float


class Last(msgspec.Struct):
    success: bool
    date: float


class Prints(msgspec.Struct):
    success: int
    failure: int
    last: Last  # OctoDash and OctoFarm ask for it wherever there are prints


class Analysis(msgspec.Struct):
    estimatedPrintTime: float
    filament: dict[str, Filament]


class Folder(msgspec.Struct, tag_field="type", tag="folder"):
    name: str
    display: str
    path: str
    origin: str
    size: int
    typePath: list[str]
    refs: dict[str, str]
    children: list["Folder | File"]


class File(msgspec.Struct, tag_field="type", tag="machinecode"):
    name: str
    display: str
    path: str
    origin: str
    size: int
    date: int
    hash: str
    typePath: list[str]
    refs: dict[str, str]
    gcodeAnalysis: Analysis | None = None
    prints: Prints | None = None


class Files(msgspec.Struct):
    files: list[Folder | File]
    free: int = 0
    total: int = 0


class Named(msgspec.Struct):
    id: str
    name: str


class Linked(msgspec.Struct):
    state: str
    port: str | None
    baudrate: int | None
    printerProfile: str


class Links(msgspec.Struct):
    ports: list[str]
    baudrates: list[int]
    printerProfiles: list[Named]
    portPreference: str | None
    baudratePreference: int | None
    printerProfilePreference: str


class Connection(msgspec.Struct):
    current: Linked
    options: Links


class Version(msgspec.Struct):
    api: str
    server: str
    text: str


class Axis(msgspec.Struct):
    speed: int
    inverted: bool


class Volume(msgspec.Struct):
    formFactor: Literal["rectangular", "circular"]
    origin: Literal["lowerleft", "center"]
    width: float
    depth: float
    height: float


class Extruder(msgspec.Struct):
    count: int
    sharedNozzle: bool


class Profile(msgspec.Struct):
    id: str
    name: str
    model: str
    current: bool
    default: bool
    volume: Volume
    extruder: Extruder
    axes: dict[str, Axis]
    heatedBed: bool
    heatedChamber: bool


class Profiles(msgspec.Struct):
    profiles: dict[str, Profile]


class Command(msgspec.Struct):
    name: str
    action: str
    source: str
    resource: str
    confirm: str | None = None


class Commands(msgspec.Struct):
    core: list[Command]
    custom: list[Command]
    plugin: list[Command]


class Plugin(msgspec.Struct):
    key: str
    name: str
    enabled: bool
    bundled: bool
    origin: str
    version: str | None
    author: str | None
    license: str | None
    url: str | None
    python: str | None
    managable: bool
    pending_disable: bool
    pending_enable: bool
    pending_install: bool
    pending_uninstall: bool


class Plugins(msgspec.Struct):
    plugins: list[Plugin]


class Webcam(msgspec.Struct):
    streamUrl: str | None
    snapshotUrl: str | None
    streamRatio: str
    flipH: bool
    flipV: bool
    rotate90: bool


class Serial(msgspec.Struct):
    port: str | None
    baudrate: int | None
    portOptions: list[str]
    baudrateOptions: list[int]
    autoconnect: bool
    timeoutConnection: float
    timeoutCommunication: float
    timeoutTemperature: float
    timeoutSdStatus: float
    log: bool
    longRunningCommands: list[str]
    helloCommand: str
    maxTimeoutsIdle: float


class Preset(msgspec.Struct):
    name: str
    extruder: float | None
    bed: float | None


class Temperatures(msgspec.Struct):
    profiles: list[Preset]
    cutoff: float


class Feature(msgspec.Struct):
    sdSupport: bool


class Appearance(msgspec.Struct):
    name: str
    color: str


class Settings(msgspec.Struct):
    feature: Feature
    webcam: Webcam
    plugins: dict[str, Any]
    serial: Serial
    temperature: Temperatures
    appearance: Appearance
    terminalFilters: list[dict[str, str]]
    server: dict[str, Any]
    folder: dict[str, Any]
    api: dict[str, Any]


class Record(msgspec.Struct):
    name: str
    admin: bool
    groups: list[str]


class Users(msgspec.Struct):
    users: list[Record]


class Timelapses(msgspec.Struct):
    config: dict[str, Any]
    enabled: bool
    files: list[dict[str, Any]]


class Uploaded(msgspec.Struct):
    files: dict[str, dict[str, Any]]
    done: bool


class Connected(msgspec.Struct):
    version: str
    display_version: str
    plugin_hash: str
    config_hash: str
    safe_mode: Any


class Requested(msgspec.Struct):
    app_token: str
    auth_dialog: str


class Event(msgspec.Struct):
    type: str
    payload: Any


OFFLINE: Final = (
    Ask("POST", "/api/connection", {"command": "disconnect"}, 204, then="Offline"),
    Ask("GET", "/api/printer", status=409),
    Ask("GET", "/api/connection", reads=Connection),
    Ask("GET", "/api/job", reads=Job),
    Ask("POST", "/api/job", {"command": "start"}, 409),
    Ask("POST", "/api/connection", {"command": "connect"}, 204, then="Operational"),
)
"""A printer that is taken away, and comes back."""

PASSIVE: Final = Ask("POST", "/api/login", {"passive": True}, reads=Login)
AUTH: Final = {"auth": "{name}:{session}"}


def job(command: str, then: str, **more: str) -> Ask:
    return Ask("POST", "/api/job", {"command": command, **more}, 204, then=then)


def upload(name: str, *before: Part, after: Sequence[Part] = ()) -> Ask:
    parts = (*before, Part("file", GCODE, name), *after)
    return Ask("POST", "/api/files/local", status=201, reads=Uploaded, form=parts)


def sent(path: str, command: str, **more: Any) -> Ask:
    return Ask("POST", f"/api/printer/{path}", {"command": command, **more}, 204)


KEY: Final = {"X-Api-Key": "{key}"}
JSON: Final = {"Content-Type": "application/json"}

OCTOPOD: Final = App(
    "OctoPod",
    {**KEY, "Accept": "*/*", "User-Agent": "OctoPod/3.27 CFNetwork/1408.0.4 Darwin/22.5.0"},
    [
        Ask("GET", "/plugin/appkeys/probe", status=204),
        Ask("POST", "/plugin/appkeys/request", {"app": "OctoPod"}, 201, reads=Requested),
        Ask("GET", "/plugin/appkeys/request/{app_token}", status=202),
        Ask("GET", "/api/version", reads=Version),
        PASSIVE,
        # A heartbeat that is no JSON comes first, and again every 40 s.
        Hear("/sockjs/websocket", (" ", AUTH), {"connected": Connected, "history": Current, "current": Current}),
        Ask("GET", "/api/settings", reads=Settings),
        Ask("GET", "/api/connection", reads=Connection),
        Ask("GET", "/api/printerprofiles", reads=Profiles),
        Ask("GET", "/api/system/commands", reads=Commands),
        Ask("GET", "/api/printer/command/custom", reads=dict[str, list[Any]]),
        Ask("GET", "/plugin/softwareupdate/check", reads=dict[str, Any]),
        upload("octopod.gcode", Part("path", b"phone")),
        Ask("GET", "/api/files?recursive=true", reads=Files),
        Ask("GET", "/api/files/local/phone?recursive=true", reads=Folder),
        Ask("POST", "/api/files/local/phone/octopod.gcode", {"command": "select", "print": True}, 204, then="Printing"),
        Ask("GET", "/api/job", reads=Job),
        Ask("GET", "/api/printer", reads=Full),
        sent("bed", "target", target=60),
        sent("tool", "target", targets={"tool0": 200}),
        sent("command", "M106 S127"),
        job("pause", "Paused", action="pause"),
        sent("printhead", "jog", z=0.10000000149011612),
        job("pause", "Printing", action="resume"),
        job("cancel", "Operational"),
        sent("printhead", "home", axes=["x", "y"]),
        sent("printhead", "feedrate", factor=110),
        sent("tool", "select", tool="tool0"),
        sent("tool", "extrude", amount=5, speed=300),
        sent("tool", "flowrate", factor=95),
        sent("command", "M18 X"),
        Ask("GET", "/api/timelapse", reads=Timelapses),
        # The app looks for the plugins it knows and does without those that are not there.
        Ask("POST", "/api/plugin/psucontrol", {"command": "getPSUState"}, 400),
        Ask("POST", "/api/plugin/octopod", {"command": "updateToken", "oldToken": ""}, 400),
        Ask("POST", "/api/system/commands/core/restart", b"", 204),
        Ask("DELETE", "/api/files/local/phone/octopod.gcode", status=204),
        *OFFLINE,
    ],
)

OCTODASH: Final = App(
    "OctoDash",
    {"x-api-key": "{key}", "Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"},
    [
        Ask("GET", "/api/settings", reads=Settings),
        Ask("GET", "/api/version", reads=Version),
        PASSIVE,
        Ask("GET", "/api/connection", reads=Connection),
        Ask("GET", "/sockjs/info?t=1795000000000", reads=dict[str, Any]),
        Hear("/sockjs/427/y3vmqb1q/websocket", (AUTH,), {"connected": Connected, "current": Current}, framed=True),
        Ask("POST", "/api/connection", {"command": "connect", "save": False}, 204, then="Operational"),
        Ask("GET", "/api/printerprofiles", reads=Profiles),
        upload("octodash.gcode"),
        Ask("GET", "/api/files", reads=Files),
        Ask("GET", "/api/files/local", reads=Files),
        # It escapes the path whole.
        Ask("GET", "/api/files%2Flocal%2Foctodash.gcode", reads=File),
        Ask("POST", "/api/files%2Flocal%2Foctodash.gcode", {"command": "select", "print": False}, 204),
        Ask("POST", "/api/job", {"command": "start"}, 204, then="Printing"),
        job("pause", "Paused", action="pause"),
        job("pause", "Printing", action="resume"),
        job("cancel", "Operational"),
        sent("printhead", "jog", x=10, y=0, z=0, speed=9000),
        sent("tool", "extrude", amount=100, speed=300),
        sent("tool", "target", targets={"tool0": 0}),
        sent("bed", "target", target=0),
        Ask("POST", "/api/printer/command", {"commands": ["M106 S0", "M410"]}, 204),
        Ask("POST", "/api/util/test", {"command": "address"}, reads=dict[str, Any]),
        Ask("POST", "/api/settings", {"plugins": {"octodash": {"a": 1}}}, reads=Settings),
        Ask("POST", "/api/system/commands/core/restart", None, 204),
        Ask("DELETE", "/api/files%2Flocal%2Foctodash.gcode", status=204),
    ],
)

GO: Final = {"User-Agent": "go-octoprint/0.1", "Accept": "*/*", "Connection": "close", **KEY, **JSON}

OCTOSCREEN: Final = App(
    "OctoScreen",
    GO,
    [
        Ask("GET", "/api/connection", reads=Connection),
        # Its zero values are said with every connect.
        Ask("POST", "/api/connection", {"command": "connect", "save": False, "autoconnect": False}, 204),
        Ask("GET", "/api/version", reads=Version, then="Operational"),
        Ask("GET", "/api/settings", reads=Settings),
        Ask("GET", "/api/printerprofiles/_default", reads=Profile),
        Ask("GET", "/api/plugin/pluginmanager", {"command": "get_settings"}, reads=Plugins),  # a GET with a body
        Ask("GET", "/api/plugin/zbolt_octoscreen?command=get_settings", status=404),
        Ask("GET", "/api/printer?history=false&limit=0&exclude=sd", reads=Full),
        Ask("GET", "/api/printer/tool", reads=dict[str, Temperature]),
        Ask("GET", "/api/printer/bed", reads=dict[str, Temperature]),
        Ask("GET", "/api/printer/sd", reads=dict[str, bool]),
        Ask("GET", "/api/printer/command/custom", reads=dict[str, list[Any]]),
        upload("octoscreen.gcode", after=(Part("select", b"true"), Part("print", b"true"))),
        Ask("GET", "/api/files/local?recursive=true", reads=Files, then="Printing"),
        Ask("GET", "/api/job", reads=Job),
        job("pause", "Paused", action="toggle"),
        job("restart", "Printing"),
        sent("printhead", "feedrate", factor=105),
        sent("tool", "offset", offsets={"tool0": 5}),
        sent("bed", "offset", offset=0),
        job("cancel", "Operational"),
        sent("printhead", "jog", x=0, y=0, z=10, absolute=False),
        sent("printhead", "home", axes=["x", "y", "z"]),
        sent("tool", "extrude", amount=-5),
        Ask("POST", "/api/printer/command", {"commands": ["M106 S255"]}, 204),
        Ask("GET", "/api/system/commands", reads=Commands),
        Ask("POST", "/api/system/commands/core/restart", b"", 204),
        Ask("DELETE", "/api/files/local/octoscreen.gcode", status=204),
        *OFFLINE,
    ],
)

OCTOFARM: Final = App(
    "OctoFarm",
    {**KEY, **JSON},
    [
        Ask("GET", "/"),
        Ask("POST", "/api/login?passive=true", {}, reads=Login),
        Ask("GET", "/api/users", reads=Users),
        Ask("GET", "/api/version", reads=Version),
        Ask("GET", "/api/settings", reads=Settings),
        Ask("GET", "/api/printerprofiles", reads=Profiles),
        Ask("GET", "/api/connection", reads=Connection),
        Ask("GET", "/api/system/info", reads=dict[str, Any]),
        Ask("GET", "/api/system/commands", reads=Commands),
        Ask("GET", "/api/plugin/pluginmanager", reads=Plugins),
        Ask("GET", "/plugin/softwareupdate/check", reads=dict[str, Any]),
        Ask("GET", "/api/plugin/pi_support", status=404),
        Hear("/sockjs/websocket", (AUTH, {"throttle": 1.2}), {"history": Current, "current": Current}),
        upload("octo farm.gcode", Part("select", b"true"), Part("print", b"false")),
        Ask("GET", "/api/files?recursive=true", reads=Files),
        Ask("GET", "/api/files/local/octo%20farm.gcode", reads=File),
        Ask("POST", "/api/files/local/octo%20farm.gcode", {"command": "select", "print": True}, 204, then="Printing"),
        job("pause", "Paused", action="pause"),
        job("pause", "Printing", action="resume"),
        job("cancel", "Operational"),
        Ask("POST", "/api/settings", {"appearance": {"name": "Farm 1"}, "webcam": {"flipH": False}}, reads=Settings),
        Ask("GET", "/api/timelapse?unrendered=true", reads=Timelapses),
        Ask("DELETE", "/api/files/local/octo%20farm.gcode", status=204),
    ],
)

FDM_MONSTER: Final = App(
    "FDM Monster",
    {**KEY, **JSON, "Accept": "application/json, text/plain, */*"},
    [
        Ask("GET", "/api/version", reads=Version),
        Ask("POST", "/api/login?passive=true", {}, reads=Login),
        Ask("GET", "/api/currentuser", reads=dict[str, Any]),
        Ask("GET", "/api/printer?history=false", reads=Full),
        Ask("GET", "/api/job", reads=Job),
        Hear("/sockjs/websocket", (AUTH, {"throttle": 1}), {"connected": Connected, "current": Current}),
        Ask("GET", "/api/users", reads=Users),
        Ask("POST", "/api/connection", {"command": "connect"}, 204, then="Operational"),
        upload("fdm.gcode", Part("select", b"true"), Part("print", b"true")),
        Ask("GET", "/api/files/local?recursive=false", reads=Files, then="Printing"),
        job("pause", "Paused", action="pause"),
        job("pause", "Printing", action="resume"),
        job("cancel", "Operational"),
        sent("printhead", "jog", x=0, y=0, z=0),
        sent("command", "M117 hello"),
        Ask("POST", "/api/settings", {"appearance": {"name": "Printer"}}, reads=Settings),
        Ask("POST", "/api/settings", {"gcodeAnalysis": {"runAt": "never"}}, reads=Settings),
        Ask("POST", "/api/settings", {"plugins": {"firmwareupdater": {"a": 1}}}, reads=Settings),
        Ask("POST", "/api/files/local", status=201, form=(Part("path", b"/"), Part("foldername", b"done"))),
        Ask("POST", "/api/files/local/fdm.gcode", {"command": "move", "destination": "done"}, 201),
        Ask("GET", "/downloads/files/local/done/fdm.gcode"),
        Ask("GET", "/plugin/pluginmanager/plugins", reads=Plugins),
        Ask("POST", "/api/system/commands/core/restart", {}, 204),
        Ask("DELETE", "/api/files/local/done", status=204),
    ],
)

OCTOPRINT_CLI: Final = App(
    "octoprint-cli",
    {"X-API-Key": "{key}"},
    [
        Ask("GET", "/api/version", reads=Version),
        # The second part is a file, too, by the name of its field.
        upload("cli.gcode", after=(Part("filename", b"/home/me/cli.gcode", "filename"),)),
        Ask("POST", "/api/files/local/cli.gcode", {"command": "select"}, 204),
        Ask("POST", "/api/job", {"command": "start"}, 204, then="Printing"),
        Ask("GET", "/api/job", reads=Job),
        job("pause", "Paused", action="pause"),
        job("pause", "Printing", action="resume"),
        job("cancel", "Operational"),
        Ask("GET", "/api/printer", reads=Full),
        Ask("GET", "/api/system/commands/core", reads=list[Command]),
        Ask("DELETE", "/api/files/local/cli.gcode", status=204),
    ],
)

EXPORTERS: Final = App(
    "exporters for Prometheus",
    {**KEY, "Accept-Encoding": "gzip"},
    [Ask("GET", "/api/job", reads=Job), Ask("GET", "/api/printer", reads=Full)],
)

JAVASCRIPT: Final = App(
    "OctoPrint's JavaScript",
    {
        **KEY,
        "Content-Type": "application/json; charset=UTF-8",
        "Accept": "application/json, text/javascript, */*; q=0.01",
        "Cache-Control": "no-cache",
        "X-Locale": "en",
    },
    [
        PASSIVE,
        Ask("GET", "/sockjs/info", reads=dict[str, Any]),
        Hear(
            "/sockjs/001/abcd1234/websocket",
            ({"throttle": 1}, {"subscribe": {"state": {"logs": True, "messages": False}, "events": True}}, AUTH),
            {"connected": Connected, "history": Current, "current": Current, "event": Event},
            framed=True,
        ),
        upload("client.gcode", after=(Part("print", b"false"), Part("userdata", b'{"a":1}'))),
        Ask("GET", "/api/files?recursive=true&force=true", reads=Files),
        Ask("POST", "/api/files/test", {"command": "exists", "storage": "local", "path": "", "filename": "a.gcode"}),
        Ask("POST", "/api/files/local/client.gcode", {"command": "select", "print": True}, 204, then="Printing"),
        job("pause", "Paused"),
        job("pause", "Printing", action="toggle"),
        job("cancel", "Operational"),
        sent("printhead", "jog", x=10, absolute=False),
        Ask("POST", "/api/printer/command", {"commands": ["M117 %(text)s"], "parameters": {"text": "hi"}}, 204),
        Ask("GET", "/api/printer?history=true&limit=10&exclude=sd,state", reads=dict[str, Any]),
        Ask("GET", "/api/printerprofiles", reads=Profiles),
        Ask("GET", "/api/timelapse?unrendered=true", reads=Timelapses),
        Ask("DELETE", "/api/files/local/client.gcode", status=204),
    ],
)

APPS: Final = (OCTOPOD, OCTODASH, OCTOSCREEN, OCTOFARM, FDM_MONSTER, OCTOPRINT_CLI, EXPORTERS, JAVASCRIPT)
