"""``/api/printer/command``: commands, and scripts by their names.

Upstream: OctoPrint 1.11, docs/api/printer.rst.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import check_operational
from polyhost.web.answers import Encoded, no_content
from polyhost.web.bodies import decoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()

_PLACEHOLDER: Final = re.compile(r"%(?:\((\w+)\)([-+ 0]{0,3}\d{0,2}(?:\.\d{1,2})?)([sdifg])|%)")


class Lines(msgspec.Struct):
    """Exactly one of the first three."""

    command: str | None = None
    commands: list[str] | None = None
    script: str | None = None
    parameters: dict[str, object] = {}
    context: dict[str, object] = {}


@routes.post("/api/printer/command", needs=Permission.CONTROL)
async def send(call: Call) -> Encoded:
    check_operational(call.printer)
    body = await call.json()
    named = decoded(body, dict[str, msgspec.Raw]).keys() & {"command", "commands", "script"}
    if len(named) != 1:
        raise Malformed("give exactly one of command, commands and script")
    lines = decoded(body, Lines)
    terminal = call.host.terminal
    if lines.script is not None:
        await terminal.call(call.printer, lines.script, lines.parameters, lines.context, by=call.caller)
        return no_content()
    commands = lines.commands if lines.commands is not None else [lines.command] if lines.command is not None else None
    if commands is None:
        raise Malformed(f"{named.pop()} is null")
    if commands:
        await terminal.send(call.printer, [filled(command, lines.parameters) for command in commands], by=call.caller)
    return no_content()


def filled(command: str, parameters: Mapping[str, object]) -> str:
    """`command` with its ``%(name)s`` and ``%(name).2f`` replaced; `Malformed` names a parameter that is not given."""

    def value_of(match: re.Match[str]) -> str:
        name, form, kind = match.groups()
        if name is None:
            return "%"
        if name not in parameters:
            raise Malformed(f"the parameter {name!r} is not given")
        value = parameters[name]
        if isinstance(value, dict | list):
            raise Malformed(f"the parameter {name!r} must be a text or a number")
        try:
            return str(f"%{form}{kind}" % (value,))
        except (TypeError, ValueError, OverflowError):
            raise Malformed(f"the parameter {name!r} must be a number") from None

    return _PLACEHOLDER.sub(value_of, command) if parameters else command
