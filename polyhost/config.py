"""Every setting, once: a tree of frozen structs, read from one TOML file.

Parts receive their own section as a constructor argument.  An unknown key is an error that names its nearest
neighbour.  Printers named here are locked: they are changed here and nowhere else.
"""

import difflib
import ipaddress
import os
import re
import tomllib
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.printer import PrinterProfile, checked_profile
from polyhost.core.user import Role

MAX_COMMAND_S: Final = 3600.0
MAX_POWER: Final = 32
_ROLES: Final = tuple(role.value for role in Role)
DIVIDER: Final = "divider"
_KEPT_FREE: Final = 0.02


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Server(_Section, frozen=True):
    """``[server]``"""

    host: str = "0.0.0.0"  # the address to listen on; every door listens there too
    port: int = 8080  # the main port: every API; 0 takes a free one
    name: str = "Polyhost"  # shown to people
    hosts: tuple[str, ...] = ()  # names, besides its own and .local, that this host may be called by


class Doors(_Section, frozen=True):
    """``[doors]``: further ports, each where clients of one API look; 0 closes a door."""

    octoprint: int = 5000  # where clients of OctoPrint look
    moonraker: int = 7125  # where clients of Moonraker look
    moonraker_early: int = 0  # where clients look that were written for Moonraker's first document, of 2020


class Access(_Section, frozen=True):
    """``[access]``"""

    proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-… headers count
    allow_origins: tuple[str, ...] = ()  # web pages of other origins that may call, by exact name
    trusted: dict[str, str] = {}  # networks whose people need no login, each with the role they have


class Discovery(_Section, frozen=True):
    """``[discovery]``: how slicers and home automation find this host by themselves."""

    enabled: bool = True  # announce name and port of each printer by mDNS, unless only this computer is listened to
    interfaces: tuple[str, ...] = ()  # addresses of the interfaces to announce at; none is all


class OctoPrint(_Section, frozen=True):
    """``[octoprint]``"""

    compat_version: str = "1.11.8"  # the version that clients are told
    heater_while_printing: bool = True  # False: the 2013 rule, 409 for targets set while printing


class Moonraker(_Section, frozen=True):
    """``[moonraker]``"""

    edition: Literal["modern", "early"] = "modern"  # whose words count where those of today and of 2020 cannot agree
    queue_uploads: bool = False  # queue an upload that is to be printed while its printer prints something else
    spoolman: str = ""  # the URL of the Spoolman that counts filament, such as "http://spoolman:7912"; "" is none


class Scripts(_Section, frozen=True):
    """``[scripts]``: the host's own G-code around a run, as Jinja2 templates; one default for every printer."""

    before_start: str = ""  # before the first line of the file
    after_done: str = ""  # after the last line of the file
    after_cancel: str = "M84\n{% for tool in tools %}M104 {{ tool }} S0\n{% endfor %}M140 S0\nM106 S0"  # after a cancel
    after_pause: str = ""  # when the moves under way have ended
    before_resume: str = ""  # before the file goes on
    after_failure: str = "M84\nM106 S0"  # before the heaters are switched off
    after_connect: str = ""  # when the firmware answers, also when a lost link is back
    before_disconnect: str = ""  # before a link is closed that nobody lost
    before_tool_change: str = ""  # before a `T` that selects another tool
    after_tool_change: str = ""  # after it


class Queue(_Section, frozen=True):
    """``[queue]``: what is to be printed next."""

    automatic: bool = False  # a queue that a person started goes on by itself behind a print that was completed


class Safety(_Section, frozen=True):
    """``[safety]``"""

    idle_off_s: float = 1800.0  # seconds after which heaters of an idle or paused printer are switched off


class Uploads(_Section, frozen=True):
    """``[uploads]``"""

    max_bytes: int = 1 << 30  # bytes of one upload
    max_at_once: int = 8  # uploads under way together; one more is refused
    keep_free_bytes: int = 500_000_000  # bytes of disk that uploads leave free (or 2 %, whichever is less)

    def kept_free(self, total_bytes: int) -> int:
        """Bytes that uploads leave free of a disk that has so many."""
        return min(self.keep_free_bytes, int(total_bytes * _KEPT_FREE))


class System(_Section, frozen=True):
    """``[system]``: commands that an administrator may have run, as words; no shell sees them; [] is none."""

    restart: tuple[str, ...] = ()  # restarts this host; the first word is an absolute path
    reboot: tuple[str, ...] = ()  # restarts the computer
    shutdown: tuple[str, ...] = ()  # switches the computer off
    time_limit_s: float = 60.0  # seconds after which one that still runs is ended


class Action(_Section, frozen=True):
    """``[[actions]]``: a command of the owner's own; `divider` as its action is a line between two others."""

    action: str  # [a-z0-9_-], by which programs call it
    name: str = ""  # shown to people; "" is the action
    command: tuple[str, ...] = ()  # words, run without a shell; the first is an absolute path
    confirm: str = ""  # what people are asked before it is run; "" asks nothing
    wait: bool = True  # False: answered as soon as it has begun


class Power(_Section, frozen=True):
    """``[[power]]``: a switch that printers, or what is around them, get their current through, asked over HTTP."""

    name: str  # shown to people
    type: Literal["tasmota", "shelly", "homeassistant", "http"]  # what it speaks
    url: str = ""  # of the switch, or of Home Assistant; with "http": asked for whether it is on, "" asks nothing
    printers: tuple[str, ...] = ()  # whose clients see it and switch it; none is all
    output: int | None = None  # tasmota, shelly: which of its switches; none is the first
    entity: str = ""  # homeassistant: such as "switch.printer"
    user: str = ""  # tasmota, shelly: who it wants to know
    password: str = ""  # the same
    token: str = ""  # homeassistant: a long-lived access token
    on_url: str = ""  # http: asked for to switch it on
    off_url: str = ""  # http: the same, off
    on_text: str = ""  # http: what the answer of `url` has in it while it is on
    locked_while_printing: bool = False  # nobody switches it while one of its printers prints


class Timelapse(_Section, frozen=True):
    """``[timelapse]``: how movies of prints are made; which prints are recorded is set while the host runs"""

    ffmpeg: str = ""  # the program; "" is the system's, or that of polyhost[timelapse]
    bitrate: str = "10000k"  # of the movies, in bits per second, as ffmpeg writes it
    threads: int = 1  # that ffmpeg may use
    max_recordings: int = 50  # prints of one printer whose pictures are kept without a movie; beyond it the oldest go


class Printer(_Section, frozen=True):
    """``[[printers]]``"""

    slug: str  # [a-z0-9_-], constant from now on
    driver: Literal["serial", "virtual"]  # "serial" is a machine on a port, "virtual" a simulated one
    name: str = ""  # "" is the slug
    port: str = ""  # serial: a device, best one of /dev/serial/by-id
    baud: int = 0  # serial: bits per second; 0 finds it
    speed: float = 1.0  # virtual: how many times a machine's own pace; 0 is as fast as possible
    listen: int = 0  # a port of its own on which every API means this printer; 0 is none
    autoconnect: bool = True  # open the link at start and keep it open
    window_lines: int = 0  # lines in flight; 0 is what the firmware shows that it can
    window_bytes: int = 0  # bytes in flight, the firmware's receive buffer; 0 as above
    profile: PrinterProfile = PrinterProfile()  # its shape and limits


class Config(_Section, frozen=True):
    """The whole tree."""

    server: Server = Server()
    doors: Doors = Doors()
    access: Access = Access()
    discovery: Discovery = Discovery()
    octoprint: OctoPrint = OctoPrint()
    moonraker: Moonraker = Moonraker()
    scripts: Scripts = Scripts()
    queue: Queue = Queue()
    safety: Safety = Safety()
    uploads: Uploads = Uploads()
    system: System = System()
    timelapse: Timelapse = Timelapse()
    actions: tuple[Action, ...] = ()
    power: tuple[Power, ...] = ()
    printers: tuple[Printer, ...] = ()


def read_config(path: Path) -> Config:
    """The settings in the TOML file `path`; `Malformed` names the file, the key and the nearest known one."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Malformed(f"no settings file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Malformed(f"{path}: {error}") from error
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise Malformed(f"{path}: {error}{_nearest(tree, str(error))}") from error
    for number, printer in enumerate(config.printers, 1):
        try:
            check_printer(printer)
        except Malformed as error:
            raise Malformed(f"{path}: printer {number}: {error}") from error
    try:
        check_access(config.access)
        check_commands(config.system, config.actions)
        check_spoolman(config.moonraker.spoolman)
        check_power(config.power)
    except Malformed as error:
        raise Malformed(f"{path}: {error}") from error
    slugs = [printer.slug for printer in config.printers]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise Malformed(f"{path}: two printers are called {slug!r}; give each its own slug")
    for number, printer in enumerate(config.printers):
        if other := on_the_port_of(printer, config.printers[:number]):
            raise Malformed(f"{path}: {printer.slug!r} and {other.slug!r} are both on port {printer.port}")
    return config


def on_the_port_of(printer: Printer, others: Iterable[Printer]) -> Printer | None:
    """Which of `others` has the port of `printer`, by whatever name.

    One machine under two names would be cooled, after a crash, by whichever opened the port first.
    """
    if printer.driver != "serial":
        return None
    device = os.path.realpath(printer.port)
    found = (other for other in others if other.driver == "serial" and os.path.realpath(other.port) == device)
    return next(found, None)


def check_access(access: Access) -> None:
    """`Malformed` names what is no network, or has no role."""
    for key, networks in {"proxies": access.proxies, "trusted": access.trusted}.items():
        for network in networks:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise Malformed(f'access.{key}: {network!r} is no network; one is written "192.168.1.0/24"') from None
    for network, role in access.trusted.items():
        if role not in _ROLES:
            raise Malformed(f"access.trusted: the role of {network} is one of {', '.join(_ROLES)}, not {role!r}")


def check_commands(system: System, actions: Iterable[Action]) -> None:
    """`Malformed` when a command of the owner's could not be run, or not be told from another."""
    named = {f"system.{name}": getattr(system, name) for name in ("restart", "reboot", "shutdown")}
    for action in actions:
        if action.action == DIVIDER:
            continue
        key = f"the action {action.action!r}"
        if not re.fullmatch(r"[a-z0-9_-]{1,64}", action.action):
            raise Malformed(f"{key} must be called by 1 to 64 of a-z, 0-9, _ and -")
        if key in named:
            raise Malformed(f"{key} is there twice; give each its own")
        if not action.command:
            raise Malformed(f"{key} has no command")
        named[key] = action.command
    for key, words in named.items():
        if words and not os.path.isabs(words[0]):
            raise Malformed(f"{key}: {words[0]!r} must be the absolute path of a program; no shell looks for it")
        if any("\0" in word for word in words):
            raise Malformed(f"{key}: a word of its command has a zero byte")
    if not 0 < system.time_limit_s <= MAX_COMMAND_S:
        raise Malformed(f"system.time_limit_s must be more than 0 and at most {MAX_COMMAND_S:g}")


def check_spoolman(url: str) -> None:
    """`Malformed` when `url` names no server."""
    if url and (not _is_url(url) or "?" in url or "#" in url):
        raise Malformed(f"moonraker.spoolman must be like http://host:7912, not {url!r}")


def check_power(devices: Sequence[Power]) -> None:
    """`Malformed` when a switch could not be asked, or not be told from another."""
    if len(devices) > MAX_POWER:
        raise Malformed(f"there are {len(devices)} power devices; {MAX_POWER} is the limit")
    for number, device in enumerate(devices):
        name = f"the power device {device.name!r}"
        if not device.name or len(device.name.encode()) > 255 or not device.name.isprintable():
            raise Malformed(f"{name} must have a name of at most 255 bytes, without control characters")
        if any(other.name == device.name for other in devices[:number]):
            raise Malformed(f"{name} is there twice; give each its own name")
        wanted = {"http": (device.on_url, device.off_url)}.get(device.type, (device.url,))
        for url in (*wanted, device.url or wanted[0]):
            if not _is_url(url):
                raise Malformed(f"{name} wants an address like http://host, not {url!r}")
        if device.type == "homeassistant" and not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", device.entity):
            raise Malformed(f"{name} wants an entity like switch.printer, not {device.entity!r}")
        if device.type == "http" and device.url and not device.on_text:
            raise Malformed(f"{name} asks whether it is on, and has no on_text to know it by")
        if device.output is not None and not 0 <= device.output <= 99:
            raise Malformed(f"{name} has no output {device.output}")


def _is_url(url: str) -> bool:
    """Whether it names a server to be asked over HTTP."""
    try:
        parts = urllib.parse.urlsplit(url)
        names_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return names_one and url.isascii() and url.isprintable() and " " not in url


def check_printer(printer: Printer) -> None:
    """`Malformed` when `printer` cannot be one, whoever named it."""
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", printer.slug):
        raise Malformed(f"the slug {printer.slug!r} must be 1 to 64 of a-z, 0-9, _ and -")
    if printer.driver == "serial" and not printer.port:
        raise Malformed(f'{printer.slug!r} is serial and names no port; add port = "/dev/…"')
    if len(printer.name.encode("utf-8", "replace")) > 255 or not (printer.name or printer.slug).isprintable():
        raise Malformed(f"the name of {printer.slug!r} must be at most 255 bytes, without control characters")
    if not (0 <= printer.speed < float("inf")):
        raise Malformed(f"the speed of {printer.slug!r} must be 0 or more, not {printer.speed}")
    if printer.listen > 65535:
        raise Malformed(f"{printer.slug!r} cannot listen at {printer.listen}; ports go up to 65535")
    checked_profile(printer.profile)
    for number in (printer.baud, printer.listen, printer.window_lines, printer.window_bytes):
        if number < 0:
            raise Malformed(f"a number of {printer.slug!r} is below 0: {number}")


def _nearest(tree: Mapping[str, Any], error: str) -> str:
    """ "; did you mean …?" for an error of msgspec's about an unknown field, else ""."""
    unknown = re.search(r"unknown field `(\w+)`(?: - at `\$\.?([^`]*)`)?", error)
    if unknown is None:
        return ""
    section: Any = Config
    for part in re.sub(r"\[[^]]*\]", "", unknown[2] or "").split("."):
        if part:
            tables = {"printers": Printer, "profile": PrinterProfile, "actions": Action, "power": Power}
            section = tables.get(part) or type(getattr(Config(), part))
    near = difflib.get_close_matches(unknown[1], section.__struct_fields__, n=1, cutoff=0.4)
    return f"; did you mean `{near[0]}`?" if near else f"; known here: {', '.join(section.__struct_fields__)}"
