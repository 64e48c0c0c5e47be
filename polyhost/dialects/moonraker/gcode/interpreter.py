"""A script carried out: all of it is judged before its first line is sent, and the first error ends it.

Lines of Marlin that follow each other are sent together, so that nothing comes between a ``G91`` and its move.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from polyhost.core.errors import MachineFault, Malformed, NotFound
from polyhost.core.user import Caller, Permission
from polyhost.dialects.moonraker.gcode import talk, upkeep
from polyhost.dialects.moonraker.gcode.grammar import Command, command_in, commands_of
from polyhost.dialects.moonraker.gcode.motion import modes_of
from polyhost.dialects.moonraker.gcode.registry import COMMANDS, HELP, help_of, macros_of
from polyhost.dialects.moonraker.gcode.store import is_noise
from polyhost.dialects.moonraker.gcode.table import Between, Do, Doing, Step
from polyhost.dialects.moonraker.objects.synthesised import Synthesised
from polyhost.gcode.vetting import refusal_of
from polyhost.services.commands import checked_commands, is_emergency_stop
from polyhost.services.host import Host
from polyhost.services.printer import Printer

_FOR_MARLIN: Final = re.compile(r"(?:[AE][01]|P\d)(?:\s|$)", re.IGNORECASE)
"""How Marlin's own ``M118`` begins when it is not for people."""
_ANSWER: Final = re.compile(r"S\s*(\d{1,3})", re.IGNORECASE)
_AT_ONCE: Final = 16  # lines, before all others have their turn
_TEMPERATURES: Final = "M105"
_UNKNOWN: Final = re.compile(r"(?:echo:\s*)?Unknown command:\s*(.*)", re.IGNORECASE)


async def carry_out(
    host: Host, p: Printer, script: str, say: Callable[[str], None], shown: Synthesised, by: Caller
) -> None:
    """Do what `script` says; returns when the machine has taken all of it, and done what it waits for.

    `say` tells everybody who looks at the console.  ``M112`` in it is all that happens, at once.
    """
    by.require(Permission.CONTROL, p.slug)
    if stops_at_once(script):
        await host.steering.emergency_stop(p, by)
        return
    commands = commands_of(script)
    macros = macros_of(host, p)
    steps: list[Step] = []
    for number, command in enumerate(commands, 1):
        steps.append(_step_of(command, p, macros))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    if not steps:
        return
    doing = Doing(host, p, by, say, shown, modes_of(p))
    pending: list[_Line] = []
    for number, (command, step) in enumerate(zip(commands, steps, strict=True), 1):
        if number % _AT_ONCE == 0 and not pending:
            await asyncio.sleep(0)
        if isinstance(step, Between):
            lines = step.lines(doing)
        elif callable(step):
            await _send(doing, pending)
            await step(doing)
            doing.modes = modes_of(p)
            continue
        else:
            lines = step
        doing.read(lines)
        name = "" if lines == [command.line] else command.name
        pending += (_Line(line, name) for line in lines)
    await _send(doing, pending)


def stops_at_once(script: str) -> bool:
    """Whether an emergency stop is in it, which is then all that it does, whatever is wrong with the rest."""
    if "112" not in script:
        return False
    found = (command_in(line) for line in script.split("\n") if "112" in line)
    return any(command is not None and is_emergency_stop(command.line) for command in found)


class _Line(NamedTuple):
    """A line of Marlin; `name` is the command that it came of, if that is another."""

    text: str
    name: str


async def _send(doing: Doing, pending: list[_Line]) -> None:
    """Send what is `pending`, and wait until it is done.

    As Klipper, a machine that does not know a word says so, and goes on with the rest.
    """
    while pending:
        lines = list(pending)
        pending.clear()
        try:
            said = await doing.ask(*(line.text for line in lines))
            if any(line.text.upper().startswith(_TEMPERATURES) for line in lines):
                for text in filter(is_noise, said):  # this time somebody asked for it
                    doing.say(text)
        except MachineFault as fault:
            unknown = _UNKNOWN.fullmatch(str(fault))
            if unknown is None:
                raise
            word = unknown[1].strip('" ').partition(" ")[0].upper()
            at = next((n for n, line in enumerate(lines) if line.text.split()[0].upper() == word), None)
            if at is None:
                raise
            if lines[at].name:
                raise MachineFault(
                    f"{lines[at].name} is not possible on {doing.p.slug}: its firmware has no {word}"
                ) from fault
            pending += lines[at + 1 :]  # the machine itself has told the console


def _step_of(command: Command, p: Printer, macros: dict[str, str]) -> Step:
    """What becomes of `command`; `Malformed` when it must not be sent."""
    if command.name in macros:
        return _called(command, macros[command.name])
    if command.name in COMMANDS:
        entry = COMMANDS[command.name]
        if entry.missing(p):
            raise Malformed(f"{entry.name}: the firmware of {p.slug} has no {entry.needs} (M115 says so)")
        step = entry.handle(command.parameters(), p)
        return _judged(step, p) if isinstance(step, Sequence) else step
    if command.name in upkeep.REFUSED:
        raise upkeep.refusal_of(command.name)
    if command.name == HELP:
        return _help(p, macros)
    if command.name == "M118" and not _FOR_MARLIN.match(command.rest):
        return talk.echo(command)
    if command.name == "M876" and (answer := _ANSWER.fullmatch(command.rest)) is not None:
        return talk.answer_to_prompt(int(answer[1]))
    if (tool := command.tool) is not None and tool >= p.profile.extruders:
        raise Malformed(f"there is no tool {tool}: the profile has {p.profile.extruders}")
    return _judged([command.line], p)


def _judged(lines: Sequence[str], p: Printer) -> Sequence[str]:
    checked = list(checked_commands(lines)) if lines else []
    if why := refusal_of(checked, p.profile):
        raise Malformed(why)
    return checked


def _called(command: Command, script: str) -> Do:
    """One of the machine's own scripts, with parameters as macros of Klipper have them."""
    parameters: dict[str, object] = dict(command.parameters().all())
    parameters |= {name.lower(): value for name, value in parameters.items()}

    async def call(doing: Doing) -> None:
        try:
            await doing.host.terminal.call(doing.p, script, parameters, {}, doing.by, until_done=True)
        except NotFound as gone:  # it was removed a moment ago
            raise Malformed(str(gone)) from gone

    return call


def _help(p: Printer, macros: dict[str, str]) -> Do:
    async def tell(doing: Doing) -> None:
        known = help_of(p, macros)
        lines = [f"{name:10}: {text}" for name, text in sorted(known.items())]
        doing.remark("\n".join(["Besides plain G-code there are:", *lines]))

    return tell
