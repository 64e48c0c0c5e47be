"""``scripts.gcode`` of the settings: the scripts that the host sends by itself, as templates.

Upstream: OctoPrint 1.11, docs/features/gcode_scripts.rst.
"""

from collections.abc import Mapping
from typing import Final

from polyhost.core.errors import Malformed
from polyhost.services.scripts import GcodeScripts

_SNIPPETS: Final = "snippets"


def gcode_of(scripts: GcodeScripts) -> dict[str, object]:
    """All scripts by name, and their snippets; what is empty is left out."""
    there: dict[str, object] = {name: text for name, text in scripts.scripts.items() if text}
    return there | {_SNIPPETS: dict(scripts.snippets)}


def scripts_with(there: GcodeScripts, gcode: Mapping[str, object]) -> GcodeScripts:
    """`there` with what `gcode` names; what it does not name stays, a null is as if it were not named."""
    scripts, snippets = dict(there.scripts), dict(there.snippets)
    for name, text in gcode.items():
        if name == _SNIPPETS and isinstance(text, Mapping):
            snippets |= {str(key): _text(str(key), value) for key, value in text.items() if value is not None}
        elif text is not None:
            scripts[name] = _text(name, text)
    return GcodeScripts(scripts, snippets)


def _text(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise Malformed(f"the script {name} must be a text")
    return text.replace("\r\n", "\n")
