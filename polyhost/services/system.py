"""The computer below the host: the owner's commands that an administrator may have run, and what there is to know.

Which commands there are is in the settings file and nowhere else (S13, S14): no word of a client's reaches one.
"""

import asyncio
import contextlib
import logging
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from polyhost import config
from polyhost.core.errors import CommandFailed, NotFound, NotNow
from polyhost.core.user import Caller, Permission
from polyhost.services.printers import Printers
from polyhost.services.rights import needs_the_host

log = logging.getLogger(__name__)

MAX_OUTPUT: Final = 1 << 20
SHOWN_OUTPUT: Final = 4096
FIRST_LOOK_S: Final = 0.005
LOOK_EVERY_S: Final = 0.5
KILLED_WITHIN_S: Final = 2.0


class Source:
    """Who named a command."""

    CORE: Final = "core"  # ``[system]``
    CUSTOM: Final = "custom"  # ``[[actions]]``


class Command(msgspec.Struct, frozen=True):
    """Something that can be run.  `words` are empty for a divider, which is a line between two others."""

    source: str
    action: str
    name: str
    words: tuple[str, ...]
    confirm: str = ""
    wait: bool = True
    ends_prints: bool = False  # the computer goes, and with it whatever prints

    @property
    def is_divider(self) -> bool:
        return self.action == config.DIVIDER


class System:
    """Every method but `actions` wants the right to manage the host."""

    def __init__(self, settings: config.System, actions: Sequence[config.Action], printers: Printers) -> None:
        self._printers = printers
        self._time_limit_s = settings.time_limit_s
        self._commands = (*_core(settings), *map(_custom, actions))
        self._running: set[tuple[str, str]] = set()
        self._group: asyncio.Future[asyncio.TaskGroup] = asyncio.Future()
        self.begin_anew: Callable[[], None] | None = None  # what ends this process and starts it again, if anything can

    async def run(self) -> None:
        """Own the commands that run, until cancelled; those that nobody waits for live on."""
        async with asyncio.TaskGroup() as group:
            self._group.set_result(group)
            try:
                await asyncio.Event().wait()
            finally:
                self._group = asyncio.Future()

    def commands(self, by: Caller) -> Sequence[Command]:
        """In the order of the settings file."""
        needs_the_host(by)
        return self._commands

    def actions(self, by: Caller) -> Sequence[Command]:
        """The owner's own, for anybody to see; what they run is told to those alone who may run it."""
        own = [command for command in self._commands if command.source == Source.CUSTOM]
        if by.may(Permission.SYSTEM):
            return own
        return [msgspec.structs.replace(command, words=()) for command in own]

    async def execute(self, source: str, action: str, *, force: bool = False, by: Caller) -> None:
        """Run a command and return when it has ended well, or, where nobody waits for it, when it has begun.

        `NotFound` when there is none, `NotNow` while it runs already or would end a print (unless `force`),
        `CommandFailed` says with which code it ended, and the last it said.
        """
        needs_the_host(by)
        found = (c for c in self._commands if (c.source, c.action) == (source, action) and not c.is_divider)
        command = next(found, None)
        if command is None:
            raise NotFound(f"no command {action!r} of {source!r}; the settings file names those there are")
        printing = [p.slug for p in self._printers.all() if p.run_state is not None]
        if command.ends_prints and printing and not force:
            raise NotNow(f"{', '.join(printing)} is printing, and that would end with it; cancel it first, or force it")
        key = command.source, command.action
        if key in self._running:
            raise NotNow(f"{action} is running already")
        group = await asyncio.shield(self._group)  # there since the start, but for its first moment
        log.warning("%s runs %s:%s", by.name or "somebody", source, action)
        self._running.add(key)
        try:
            running = await _Running.start(command, self._time_limit_s)
        except OSError as error:
            self._running.discard(key)
            log.warning("%s:%s cannot be run: %s", source, action, error)
            raise CommandFailed(f"{action} cannot be run: {error.strerror}: {command.words[0]}") from error
        task = group.create_task(self._followed(running, key), name=f"command {source}:{action}")
        if command.wait and (failure := await asyncio.shield(task)):
            raise CommandFailed(failure)

    async def restart(self, by: Caller) -> None:
        """Restart the host, by the owner's command if there is one; prints go on.  `NotNow` where nothing can."""
        needs_the_host(by)
        if any((command.source, command.action) == (Source.CORE, "restart") for command in self._commands):
            await self.execute(Source.CORE, "restart", by=by)
        elif self.begin_anew is not None:
            log.warning("%s restarts the host", by.name or "somebody")
            self.begin_anew()
        else:
            raise NotNow("this host cannot restart itself; [system] restart in the settings file can say how")

    def can_end(self, action: str) -> bool:
        """Whether there is a command to shut the computer down (``shutdown``) or to ``reboot`` it."""
        return any((command.source, command.action) == (Source.CORE, action) for command in self._commands)

    async def _followed(self, running: "_Running", key: tuple[str, str]) -> str:
        """ "" when it ended well, else how it ended."""
        try:
            failure = await running.ended()
        finally:
            self._running.discard(key)
        if failure:
            log.warning("%s", failure)
        else:
            log.info("%s:%s is done", *key)
        return failure

    def facts(self, by: Caller) -> Mapping[str, str | int | float | bool]:
        """About the computer and the Python on it, by dotted names."""
        needs_the_host(by)
        return _facts()


class _Running:
    """A command that has begun: a process in a session of its own, what it says kept in memory."""

    def __init__(self, command: Command, process: "subprocess.Popen[bytes]", output: int, limit_s: float) -> None:
        self._command = command
        self._process = process
        self._output = output
        self._limit_s = limit_s

    @classmethod
    async def start(cls, command: Command, limit_s: float) -> "_Running":
        """`OSError` when the system does not run it."""
        # Not a pipe: a command that restarts this host must be able to speak on when the host is gone. For the same
        # reason not asyncio's subprocess, which kills what it is still holding at the end.
        output = os.memfd_create("output")
        try:
            process = await asyncio.to_thread(_spawn, command.words, output)
        except OSError:
            os.close(output)
            raise
        return cls(command, process, output, limit_s)

    async def ended(self) -> str:
        """Wait; "" when it ended well, else how it ended.  At its bounds, or when the host ends, it is killed.

        A command that nobody waits for is left alone when the host ends: it may be what ends it.
        """
        name = f"{self._command.source}:{self._command.action}"
        clock = asyncio.get_running_loop().time
        ends_at = clock() + self._limit_s
        pause_s = FIRST_LOOK_S
        try:
            while self._process.poll() is None:
                if clock() >= ends_at:
                    await self._kill()
                    return f"{name} took longer than {self._limit_s:g} s and was ended: {self._said()}"
                if os.fstat(self._output).st_size > MAX_OUTPUT:
                    await self._kill()
                    return f"{name} said more than {MAX_OUTPUT} bytes and was ended"
                await asyncio.sleep(min(pause_s, max(0.0, ends_at - clock())))
                pause_s = min(pause_s * 2, LOOK_EVERY_S)
            code = self._process.returncode
            return f"{name} failed with return code {code}: {self._said()}" if code else ""
        except asyncio.CancelledError:
            if self._command.wait:
                await self._kill()
            else:
                self._process.returncode = 0  # nobody will ask again, which subprocess would warn of
            raise
        finally:
            os.close(self._output)

    async def _kill(self) -> None:
        """End it and what it started.  What runs as another user cannot be ended, and is let go."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, KILLED_WITHIN_S)

    def _said(self) -> str:
        """The end of what it said."""
        size = os.fstat(self._output).st_size
        said = os.pread(self._output, SHOWN_OUTPUT, max(0, size - SHOWN_OUTPUT)).decode("utf-8", "replace").strip()
        return said or "it said nothing"


def _spawn(words: Sequence[str], output: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
    )


def _core(settings: config.System) -> list[Command]:
    ends = "Whatever prints ends with it."
    known = (
        Command(Source.CORE, "shutdown", "Shut the computer down", settings.shutdown, ends, False, True),
        Command(Source.CORE, "reboot", "Restart the computer", settings.reboot, ends, False, True),
        Command(
            Source.CORE, "restart", "Restart Polyhost", settings.restart, "Prints go on without the server.", False
        ),
    )
    return [command for command in known if command.words]


def _custom(action: config.Action) -> Command:
    name = action.name or action.action
    return Command(Source.CUSTOM, action.action, name, action.command, action.confirm, action.wait)


def _facts() -> dict[str, str | int | float | bool]:
    facts: dict[str, str | int | float | bool] = {
        "env.hardware.cores": os.cpu_count() or 1,
        "env.hardware.freq": _mhz(),
        "env.hardware.ram": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "env.os.bits": 64 if sys.maxsize > 2**32 else 32,
        "env.os.id": sys.platform,
        "env.os.platform": platform.platform(),
        "env.python.version": platform.python_version(),
        "env.python.virtualenv": sys.prefix != sys.base_prefix,
    }
    with contextlib.suppress(metadata.PackageNotFoundError):
        facts["env.python.pip"] = metadata.version("pip")
    return facts


def _mhz() -> float:
    """The fastest that the first core may run, 0 when the kernel does not tell."""
    try:
        return int(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").read_text()) / 1000
    except (OSError, ValueError):
        return 0.0
