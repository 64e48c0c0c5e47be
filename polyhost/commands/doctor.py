"""`doctor`: what on this computer keeps Polyhost from working, and how to mend it.  Needs no running host."""

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
import typer

from polyhost.commands.client import Data
from polyhost.commands.places import data_folder, local_socket
from polyhost.commands.terminal import Exit, show, size, styled
from polyhost.config import Config, read_config
from polyhost.core.errors import Malformed, PolyhostError

_ENOUGH_SPACE: Final = 2_000_000_000
_ANSWERS_WITHIN_S: Final = 2.0
_BUILT_AFTER: Final = 1_735_689_600  # 2025-01-01: a clock before this was never set


class Level(Enum):
    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: how it stands, and what to do about it."""

    check: str
    level: Level
    words: str
    fix: str = ""


def doctor(
    data: Data = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The settings file that `serve` would read.", metavar="FILE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Look for what keeps this computer from being a good host."""
    findings = list(examine(data_folder(data), config))
    if json:
        show(msgspec.json.encode(findings).decode())
    else:
        style = {Level.OK: "32", Level.WARN: "33", Level.FAIL: "31;1"}
        for finding in findings:
            show(f"{styled(f'{finding.level.value:<4}', style[finding.level])}  {finding.check}: {finding.words}")
            if finding.fix:
                show(f"      {finding.fix}")
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(Exit.UNEXPECTED)


def examine(data: Path, config_file: Path | None) -> Iterator[Finding]:
    """Everything that can be looked at without a running host."""
    try:
        config = read_config(config_file) if config_file else Config()
    except Malformed as error:
        yield Finding("settings", Level.FAIL, str(error))
        config = Config()
    if config_file:
        yield from _secrets(config, config_file)
    yield _python()
    yield _folder(data)
    yield _disk(data)
    yield _logs(data)
    yield _database(data)
    yield _clock()
    yield from _commands(config)
    yield from _trusted(config)
    yield from _servers(config)
    yield from _local_sockets(config, data)
    yield from _ports(config, data)
    yield from _serial()


def _secrets(config: Config, file: Path) -> Iterator[Finding]:
    """A settings file may hold passwords of switches, and tokens."""
    if any(switch.password or switch.token for switch in config.power) and file.stat().st_mode & 0o077:
        words = f"others of this computer can read {file}, and with it the passwords and tokens in it"
        yield Finding("settings", Level.WARN, words, f"chmod 600 '{file}'")


def _servers(config: Config) -> Iterator[Finding]:
    """Those that the settings name: whether somebody listens there.  Nothing is sent to them."""
    named = {"Spoolman": config.moonraker.spoolman}
    named |= {f"power {switch.name}": switch.url or switch.on_url for switch in config.power}
    for check, url in named.items():
        if not url:
            continue
        parts = urlsplit(url)
        where = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection(where, _ANSWERS_WITHIN_S).close()
        except OSError as error:
            way_out = "Switch it on, or correct its address in the settings file."
            yield Finding(check, Level.WARN, f"{where[0]}:{where[1]} does not answer: {error}", way_out)
        else:
            yield Finding(check, Level.OK, f"{where[0]}:{where[1]} answers")


def _local_sockets(config: Config, data: Path) -> Iterator[Finding]:
    """Printers whose own local socket would have a path that the system does not take."""
    from polyhost.web.own_sockets import MAX_PATH

    folders = {data / "printers" / printer.slug for printer in config.printers}
    with contextlib.suppress(OSError):
        folders |= set((data / "printers").iterdir())
    for folder in sorted(folders):
        place = folder / "comms" / "moonraker.sock"
        if len(os.fsencode(place)) > MAX_PATH:
            words = f"{place} has more than {MAX_PATH} bytes, so there is none"
            yield Finding(f"local socket of {folder.name}", Level.WARN, words, "Have the data in a folder higher up.")


def _python() -> Finding:
    return Finding("Python", Level.OK, ".".join(map(str, sys.version_info[:3])))


def _folder(data: Path) -> Finding:
    try:
        status = data.stat()
    except FileNotFoundError:
        return Finding("data folder", Level.OK, f"{data} is made at the first start")
    except PermissionError as error:
        return Finding("data folder", Level.FAIL, str(error), "Run this as the user that runs the host.")
    if status.st_uid != os.geteuid():
        return Finding(
            "data folder", Level.FAIL, f"{data} belongs to user {status.st_uid}", f"sudo chown -R $(id -un) '{data}'"
        )
    if status.st_mode & 0o077:
        return Finding("data folder", Level.WARN, f"others of this computer can read {data}", f"chmod 700 '{data}'")
    if not os.access(data, os.W_OK):
        return Finding("data folder", Level.FAIL, f"{data} cannot be written", f"chmod u+rwx '{data}'")
    return Finding("data folder", Level.OK, str(data))


def _disk(data: Path) -> Finding:
    place = next(folder for folder in (data, *data.parents) if folder.exists())
    usage = shutil.disk_usage(place)
    words = f"{size(usage.free)} of {size(usage.total)} free"
    if usage.free < 500_000_000:
        return Finding("disk", Level.FAIL, words, "Uploads are refused below 500 MB: delete files, or move the data.")
    if usage.free < _ENOUGH_SPACE:
        return Finding("disk", Level.WARN, words, "Uploads are refused below 500 MB.")
    return Finding("disk", Level.OK, words)


def _logs(data: Path) -> Finding:
    try:
        sizes = [entry.stat().st_size for entry in (data / "log").iterdir()]
    except OSError:
        return Finding("logs", Level.OK, "none yet")
    return Finding("logs", Level.OK, f"{len(sizes)} in {data / 'log'}, {size(sum(sizes))}")


def _database(data: Path) -> Finding:
    import sqlite3
    from contextlib import closing

    path = data / "polyhost.db"
    if not path.exists():
        return Finding("database", Level.OK, "not made yet")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        backups = sorted((data / "backups").glob("*"))
        fix = f"Stop the host and put a backup in its place: {backups[-1]}" if backups else "There is no backup."
        return Finding("database", Level.FAIL, f"{path}: {answer}", fix)
    return Finding("database", Level.OK, f"whole, {size(path.stat().st_size)}")


def _clock() -> Finding:
    now = time.strftime("%Y-%m-%d %H:%M %Z")
    if time.time() < _BUILT_AFTER:
        return Finding("clock", Level.WARN, f"it says {now}", "Set it, or let it be set: timedatectl set-ntp true")
    return Finding("clock", Level.OK, now)


def _commands(config: Config) -> Iterator[Finding]:
    """Those of the owner's; a host starts without their programs, and says so only when somebody asks for one."""
    system = config.system
    named = {"restart": system.restart, "reboot": system.reboot, "shutdown": system.shutdown}
    named |= {action.action: action.command for action in config.actions}
    for name, words in named.items():
        if not words:
            continue
        if os.access(words[0], os.X_OK) and os.path.isfile(words[0]):
            yield Finding(f"command {name}", Level.OK, words[0])
        else:
            yield Finding(f"command {name}", Level.WARN, f"{words[0]} is no program that this user may run")


def _trusted(config: Config) -> Iterator[Finding]:
    """Networks whose people need no login."""
    from polyhost.web.trust import is_public

    for network, role in config.access.trusted.items():
        check = f"trusted network {network}"
        if is_public(network):
            way_out = "Name the network of your house in access.trusted, for example 192.168.1.0/24."
            words = f"people on the internet are {role} without a login, if they reach this host"
            yield Finding(check, Level.WARN, words, way_out)
        else:
            yield Finding(check, Level.OK, f"its people are {role} without a login")


def _ports(config: Config, data: Path) -> Iterator[Finding]:
    from polyhost.web.listening import listen

    wanted = {"main port": config.server.port}
    wanted |= {"OctoPrint door": config.doors.octoprint, "Moonraker door": config.doors.moonraker}
    wanted |= {"door for Moonraker's first document": config.doors.moonraker_early}
    wanted |= {f"port of {printer.slug}": printer.listen for printer in config.printers}
    if _answers(data):
        yield Finding("host", Level.OK, "a host of this data folder is running; its ports are its own")
        return
    for name, port in wanted.items():
        if not port:
            continue
        main = name == "main port"
        try:
            listen(config.server.host, port).close()
        except PolyhostError as error:
            level = Level.FAIL if main else Level.WARN
            way_out = "Stop that program, or choose another: polyhost serve --port N" if main else "It is left out."
            yield Finding(name, level, str(error), way_out)
        else:
            yield Finding(name, Level.OK, f"{port} is free")


def _answers(data: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(local_socket(data)))
        except OSError:
            return False
    return True


def _serial() -> Iterator[Finding]:
    from polyhost.engine.ports import holder_of, ports

    found = ports()
    if not found:
        yield Finding("serial ports", Level.WARN, "none", "Plug the printer in; use a cable that carries data.")
    for port in found:
        check = f"port {port.stable_path or port.path}"
        if not os.access(port.path, os.R_OK | os.W_OK):
            way_out = "sudo usermod -aG dialout $USER, then log in again."
            yield Finding(check, Level.FAIL, "this user may not open it", way_out)
        elif holder := holder_of(port.path):
            yield Finding(check, Level.WARN, f"in use by {holder}", "Fine if that is Polyhost; else end that program.")
        else:
            yield Finding(check, Level.OK, "free")
