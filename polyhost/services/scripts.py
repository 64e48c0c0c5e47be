"""The host's own G-code around a run: Jinja2 templates of the settings, rendered when the run starts.

Templates come from the host's settings, values from anywhere: what a file or a person is called must not become a
command, so values are made plain before they are shown to a template.
"""

import unicodedata
from collections.abc import Mapping
from typing import Final

import jinja2
import jinja2.sandbox

from polyhost import config
from polyhost.core.errors import Malformed
from polyhost.core.file import File
from polyhost.core.ports import Scripts
from polyhost.core.printer import PrinterProfile

MAX_LINES: Final = 1000
MAX_LINE_BYTES: Final = 255

_environment: Final = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
# Braces would be filled by whoever holds the machine, the others end or change a command.
_plain: Final = str.maketrans({"{": "(", "}": ")", ";": ",", "*": "+", "\\": "/"})


def scripts_of(
    templates: config.Scripts, *, slug: str, name: str, profile: PrinterProfile, file: File, user: str
) -> Scripts:
    """`templates` rendered for one run.

    Templates know ``printer`` (slug, name), ``profile``, ``tools`` (``["T0", …]``), ``file`` (name, path, size_bytes)
    and ``user``.  `Malformed` names the script and what is wrong with it.
    """
    variables = {
        "printer": {"slug": slug, "name": plain(name)},
        "profile": profile,
        "tools": [f"T{n}" for n in range(profile.extruders)],
        "file": {"name": plain(file.name), "path": plain(file.path), "size_bytes": file.size_bytes},
        "user": plain(user),
    }
    return Scripts(
        **{field: rendered(field, getattr(templates, field), variables) for field in Scripts.__struct_fields__}
    )


def rendered(name: str, template: str, variables: Mapping[str, object]) -> tuple[str, ...]:
    """The commands that the script called `name` makes of `template`; comments and empty lines are left out."""
    try:
        text = _environment.from_string(template).render(variables)
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"the script {name} of the settings cannot be rendered: {error}") from error
    stripped = (line.partition(";")[0].strip() for line in text.splitlines())
    lines = tuple(line for line in stripped if line)
    if len(lines) > MAX_LINES or any(len(line.encode()) > MAX_LINE_BYTES for line in lines):
        raise Malformed(f"the script {name} makes more than {MAX_LINES} lines or {MAX_LINE_BYTES} bytes a line")
    return lines


def plain(text: str) -> str:
    """`text` as it can stand inside a command without becoming one."""
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text.translate(_plain))
