"""The host's own G-code, as templates: which a printer has, who may set them, and what they come to.

Templates come from people who may change settings, and are rendered by a process with bounds (S13); those of the
settings file are its owner's, as this process is.  Values come from anywhere: what a file or a person is called must
not become a command, so values are made plain before they are shown to a template.
"""

import asyncio
import re
import sys
import unicodedata
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost import config
from polyhost.core.errors import Malformed, NoSpace, NotFound, TooMany
from polyhost.core.file import File
from polyhost.core.handling import ScriptName
from polyhost.core.placeholders import Values, filled, without_guard
from polyhost.core.ports import Scripts
from polyhost.core.printer import PrinterProfile, Snapshot
from polyhost.core.units import mm_min_from_mm_s
from polyhost.core.user import Caller, Permission
from polyhost.gcode.vetting import refusal_of
from polyhost.services import script_worker
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer
from polyhost.services.templates import SNIPPETS, NotRendered, Rendered, Rendering, called, render

MAX_SCRIPTS: Final = 100
MAX_BYTES: Final = 16 << 10  # of one template
MAX_ALL_BYTES: Final = 256 << 10
RENDER_S: Final = 10.0  # wall time, on a busy machine; the process bounds its own
KEPT: Final = 64  # renderings
MAX_WORKERS: Final = 2  # that render at once; the others wait
MAX_CALLS: Final = 16  # that wait for a rendering
MAX_NUMBER: Final = 1 << 53

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOOKS: Final = frozenset(name.value for name in ScriptName)
_OF_RUNS: Final = {
    "before_start": ScriptName.BEFORE_START,
    "after_done": ScriptName.AFTER_DONE,
    "after_cancel": ScriptName.AFTER_CANCEL,
    "after_pause": ScriptName.AFTER_PAUSE,
    "before_resume": ScriptName.BEFORE_RESUME,
}
_AFTER_FAILURE: Final = "after_failure"  # of the settings file alone
SNIPPETS_THERE: Final = {
    "disable_bed": "{% if printer_profile.heatedBed %}M140 S0{% endif %}",
    "disable_hotends": "{% if printer_profile.extruder.sharedNozzle %}M104 S0{% else %}"
    "{% for tool in tools %}M104 {{ tool }} S0\n{% endfor %}{% endif %}",
}
"""Those that scripts written for OctoPrint count on."""

# Braces would be filled by whoever holds the machine, the others end or change a command.
_plain: Final = str.maketrans({"{": "(", "}": ")", ";": ",", "*": "+", "\\": "/"})


class GcodeScripts(msgspec.Struct, frozen=True):
    """Templates by name: those of `ScriptName`, and people's own, which are called by their names."""

    scripts: dict[str, str] = {}
    snippets: dict[str, str] = {}


class ScriptLibrary:
    """What every printer's scripts are.  What nobody set for a printer is as in the settings file."""

    def __init__(self, defaults: config.Scripts, preferences: Preferences) -> None:
        self._defaults = defaults
        self._preferences = preferences
        self._kept: dict[bytes, Rendered] = {}
        self._workers = asyncio.Semaphore(MAX_WORKERS)
        self._calls = 0

    def get(self, p: Printer) -> GcodeScripts:
        """All that counts for `p`, what nobody set included."""
        own = self._preferences.get(GcodeScripts, p.slug)
        return GcodeScripts(self._defaults_by_name() | own.scripts, SNIPPETS_THERE | own.snippets)

    async def put(self, p: Printer, scripts: GcodeScripts, by: Caller) -> None:
        """Set all scripts of `p`; `Malformed` names the script, the line and what is wrong with it."""
        by.require(Permission.SETTINGS, p.slug)
        _check(scripts)
        there = GcodeScripts(self.get(p).scripts | scripts.scripts, SNIPPETS_THERE | scripts.snippets)
        hooks = tuple(name for name in there.scripts if name in _HOOKS)
        others = tuple(name for name in there.scripts if name not in _HOOKS)
        sample = File("folder/sample.gcode", 1000, 0.0, "", "", "")
        variables = _of_printer(p) | _of_run(sample, by.name)
        read = (*(SNIPPETS + name for name in there.snippets), *others)
        asked = Rendering(hooks, there.scripts, there.snippets, variables, p.profile.extruders, read)
        made = await self._rendered(asked, trusted=False)
        _check_heat(made, p.profile)
        defaults = self._defaults_by_name()
        own = {name: text for name, text in scripts.scripts.items() if text != defaults.get(name)}
        snippets = {name: text for name, text in scripts.snippets.items() if text != SNIPPETS_THERE.get(name)}
        await self._preferences.put(GcodeScripts(own, snippets), p.slug)

    async def of_run(self, p: Printer, file: File, by: Caller) -> Scripts:
        """Those of a run of `file`.

        Templates know what those of OctoPrint know, and besides ``printer`` (slug, name), ``profile``, ``tools``
        (``["T0", …]``), ``file`` (name, path, size_bytes) and ``user``.
        """
        there = self.get(p)
        variables = _of_printer(p) | _of_run(file, by.name)
        made = await self._lines(p, there, [name.value for name in _OF_RUNS.values()], variables)
        failure = GcodeScripts({_AFTER_FAILURE: self._defaults.after_failure}, there.snippets)
        after_failure = Rendering((_AFTER_FAILURE,), failure.scripts, SNIPPETS_THERE, variables, p.profile.extruders)
        return Scripts(
            **{field: made[name.value] for field, name in _OF_RUNS.items()},
            after_failure=(await self._rendered(after_failure, trusted=True)).lines[_AFTER_FAILURE],
        )

    async def of_machine(self, p: Printer) -> dict[ScriptName, tuple[str, ...]]:
        """Those that belong to the machine, whatever it prints."""
        names = [name for name in ScriptName if name not in _OF_RUNS.values()]
        made = await self._lines(p, self.get(p), [name.value for name in names], _of_printer(p))
        return {name: made[name.value] for name in names}

    async def called(
        self, p: Printer, name: str, parameters: Mapping[str, object], context: Mapping[str, object]
    ) -> tuple[str, ...]:
        """The commands of the script `name` now; `NotFound` when there is none such, `TooMany` beyond `MAX_CALLS`."""
        there = self.get(p)
        if name not in there.scripts:
            raise NotFound(f"no script {name!r}; there are {', '.join(sorted(there.scripts))}")
        variables = _of_printer(p) | {"parameters": plainly(parameters), "context": plainly(context)}
        if p.run is not None:
            variables |= {"user": plain(p.run.by)}
        asked = Rendering((name,), there.scripts, there.snippets, variables, p.profile.extruders)
        if self._calls >= MAX_CALLS:
            raise TooMany(f"{MAX_CALLS} scripts are being rendered already", retry_after_s=RENDER_S)
        self._calls += 1
        try:
            lines = (await self._rendered(asked, trusted=False)).lines[name]
        finally:
            self._calls -= 1
        values = values_of(p.snapshot)
        return tuple(line for line in (filled(line, values) for line in lines) if line)

    def _defaults_by_name(self) -> dict[str, str]:
        return {name.value: getattr(self._defaults, name.name.lower()) for name in ScriptName}

    async def _lines(
        self, p: Printer, there: GcodeScripts, wanted: list[str], variables: dict[str, object]
    ) -> dict[str, tuple[str, ...]]:
        own = self._preferences.get(GcodeScripts, p.slug)
        asked = Rendering(tuple(wanted), there.scripts, there.snippets, variables, p.profile.extruders)
        trusted = not own.snippets and own.scripts.keys().isdisjoint(wanted)
        made = await self._rendered(asked, trusted=trusted)
        _check_heat(made, p.profile)
        return made.lines

    async def _rendered(self, asked: Rendering, *, trusted: bool) -> Rendered:
        key = msgspec.msgpack.encode(asked)
        made = self._kept.pop(key, None)
        if made is None:
            answer = render(asked) if trusted else await self._apart(key)
            if isinstance(answer, NotRendered):
                line = "" if answer.line is None else f", line {answer.line}"
                raise Malformed(f"the {answer.script}{line}: {answer.reason}")
            made = answer
        self._kept[key] = made
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return made

    async def _apart(self, asked: bytes) -> Rendered | NotRendered:
        async with self._workers:
            return await _rendered_apart(asked)


def values_of(snapshot: Snapshot) -> Values:
    """What a machine says of itself, by the names of placeholders."""
    position = snapshot.position
    values: dict[str, float | str | None] = {
        "x": position.x,
        "y": position.y,
        "z": position.z,
        "e": position.e,
        "tool": snapshot.tool,
        "fan": round(snapshot.fan * 255),
        "port": snapshot.port,
        "baud": snapshot.baud,
    }
    for name, heater in snapshot.heaters.items():
        number = name.removeprefix("tool")
        values["target" + number if number.isdecimal() else name] = heater.target
        values[f"actual{number}" if number.isdecimal() else f"actual_{name}"] = heater.actual
    values["hotend"] = values.get(f"target{snapshot.tool}")
    values["actual_hotend"] = values.get(f"actual{snapshot.tool}")
    return values | {f"last_{name}": value for name, value in values.items()}


def _check_heat(made: Rendered, profile: PrinterProfile) -> None:
    """`Malformed` when a script sets a target that the machine must not have."""
    for name, lines in made.lines.items():
        if why := refusal_of((without_guard(line) for line in lines), profile):
            raise Malformed(f"the {called(name)}: {why}")


def _check(scripts: GcodeScripts) -> None:
    templates = scripts.scripts | {SNIPPETS + name: text for name, text in scripts.snippets.items()}
    if len(templates) > MAX_SCRIPTS:
        raise Malformed(f"{len(templates)} scripts and snippets; {MAX_SCRIPTS} is the limit")
    for name, text in templates.items():
        if not _NAME.fullmatch(name.removeprefix(SNIPPETS)):
            raise Malformed(
                f"{name.removeprefix(SNIPPETS)!r} is no name for a script: 1 to 64 of letters, digits, _ . -"
            )
        if len(text.encode("utf-8", "replace")) > MAX_BYTES:
            raise Malformed(f"the {called(name)} has more than {MAX_BYTES} bytes")
    if sum(len(text) for text in templates.values()) > MAX_ALL_BYTES:
        raise Malformed(f"the scripts and snippets together have more than {MAX_ALL_BYTES} bytes")


def _of_printer(p: Printer) -> dict[str, object]:
    return {
        "printer": {"slug": p.slug, "name": plain(p.name)},
        "profile": msgspec.to_builtins(p.profile),
        "printer_profile": _profile_for_users(p.profile_id, p.profile),
        "tools": [f"T{n}" for n in range(p.profile.extruders)],
    }


def _of_run(file: File, user: str) -> dict[str, object]:
    name, path, who = plain(file.name), plain(file.path), plain(user)
    event = {"name": name, "path": path, "origin": "local", "size": file.size_bytes, "owner": who, "user": who}
    return {"file": {"name": name, "path": path, "size_bytes": file.size_bytes}, "user": who, "event": event}


def _profile_for_users(identifier: str, profile: PrinterProfile) -> dict[str, object]:
    """``printer_profile`` as scripts written for OctoPrint know it; speeds in mm/min."""
    axes = {"x": profile.x, "y": profile.y, "z": profile.z, "e": profile.e}
    return {
        "id": identifier,
        "name": plain(profile.name),
        "model": plain(profile.model),
        "color": plain(profile.color),
        "volume": {
            "width": profile.width,
            "depth": profile.depth,
            "height": profile.height,
            "formFactor": "circular" if profile.circular else "rectangular",
            "origin": "center" if profile.circular or profile.origin_at_center else "lowerleft",
        },
        "heatedBed": profile.heated_bed,
        "heatedChamber": profile.heated_chamber,
        "extruder": {
            "count": profile.extruders,
            "offsets": profile.extruder_offsets,
            "nozzleDiameter": profile.nozzle_diameter,
            "sharedNozzle": profile.shared_nozzle,
            "defaultExtrusionLength": profile.default_extrusion_length,
        },
        "axes": {
            name: {"speed": round(mm_min_from_mm_s(axis.speed_mm_s), 3), "inverted": axis.inverted}
            for name, axis in axes.items()
        },
    }


def plain(text: str) -> str:
    """`text` as it can stand inside a command without becoming one."""
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text.translate(_plain))


def plainly(value: object) -> object:
    """`value`, as JSON has it, with every text in it plain; `Malformed` for a number that is too large."""
    match value:
        case str():
            return plain(value)
        case dict():
            return {plain(str(name)): plainly(item) for name, item in value.items()}
        case list() | tuple():
            return [plainly(item) for item in value]
        case int() if abs(value) > MAX_NUMBER:
            raise Malformed(f"a number is beyond {MAX_NUMBER}")
        case _:
            return value


async def _rendered_apart(asked: bytes) -> Rendered | NotRendered:
    """The answer of a process of its own, which is ended when it takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", script_worker.__name__), stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
    except OSError as error:
        raise NoSpace(f"no process can be started to render scripts: {error.strerror}") from error
    progress = b""
    try:
        async with asyncio.timeout(RENDER_S):
            answer, progress = await process.communicate(asked)
    except TimeoutError:
        answer = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        made: Rendered | NotRendered = script_worker.decode_answer(answer)
        return made
    except msgspec.DecodeError:
        at = progress.decode("utf-8", "replace").splitlines()
        reason = (
            f"it takes more than {script_worker.MAX_CPU_S:g} s or {script_worker.MAX_DATA_BYTES >> 20} MB to render"
        )
        return NotRendered(called(at[-1]) if at else "scripts", reason)
