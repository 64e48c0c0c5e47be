"""Which commands are understood, and which macros there are."""

import importlib
import importlib.util
from collections.abc import Mapping

from polyhost.core.handling import ScriptName
from polyhost.services.host import Host
from polyhost.services.printer import Printer

_REGISTRY = "polyhost.dialects.moonraker.gcode.registry"
_HOOKS = frozenset(name.value for name in ScriptName)


def commands_of(p: Printer) -> Mapping[str, str]:
    """Name → help, "" for those that need none."""
    if importlib.util.find_spec(_REGISTRY.rpartition(".")[0]) is None:
        return {}
    registry = importlib.import_module(_REGISTRY)
    helped: Mapping[str, str] = registry.help_of(p)
    return dict.fromkeys(registry.names_of(p), "") | dict(helped)


def macros_of(host: Host, p: Printer) -> Mapping[str, str]:
    """The printer's own named scripts: name → template."""
    return {name: text for name, text in host.scripts.get(p).scripts.items() if name not in _HOOKS}
