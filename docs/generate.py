"""Writes the pages of `docs/` that say what the code says: cli.md, settings.md, states.md, klipper-commands.md, and
compat/ with every route of each API.

Run it as ``make docs``; a test holds the pages to what this makes.
"""

import ast
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import typer
from typer.models import OptionInfo

from polyhost import app, cli, config
from polyhost.core import job, printer
from polyhost.core.printer import PrinterProfile
from polyhost.dialects.moonraker.gcode.registry import TABLES
from polyhost.dialects.moonraker.gcode.upkeep import REFUSED
from polyhost.web.routes import Dialect, Route, SocketRoute

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # the captures are among the tests
_MADE = "<!-- made by docs/generate.py: `make docs` -->\n"


def pages() -> dict[str, str]:
    """Name and text of each generated page."""
    written = {"cli.md": cli_page(), "settings.md": settings_page(), "states.md": states_page()}
    written["klipper-commands.md"] = klipper_page()
    return written | {f"compat/{dialect.name}.md": compat_page(dialect) for dialect in app.DIALECTS}


# The command line


def cli_page() -> str:
    parts = [
        _MADE,
        "# The command line\n",
        "Commands that talk to a running host take `--server URL --key KEY` (or `POLYHOST_SERVER`, `POLYHOST_KEY`).\n"
        "Without a server they use the local socket of the data folder, which only its owner can open and which needs\n"
        "no key. Data goes to stdout, words to stderr; `--json` prints the native API's answer. Colour only on a\n"
        "terminal, and not with `NO_COLOR`. Without a terminal nothing asks: what would needs `--yes`.\n",
        "| Exit | Meaning |\n| --- | --- |\n" + "".join(f"| {code} | {words} |\n" for code, words in _EXITS.items()),
    ]
    parts += [_command(words, function) for words, function in _commands("polyhost", cli.app)]
    return "\n".join(parts)


_EXITS = {
    0: "done",
    1: "unexpected; `doctor`: something failed",
    2: "wrong usage or malformed input",
    3: "host or printer unreachable",
    4: "not allowed",
    5: "not found",
    6: "not now (wrong state; it says which)",
    7: "the print failed or was cancelled (`--follow`)",
    8: "timed out",
    130: "interrupted",
}
_OF_EVERY_HOST_COMMAND = {"server", "key", "data", "json"}


def _commands(prefix: str, app: typer.Typer) -> Iterator[tuple[str, Any]]:
    for command in app.registered_commands:
        yield f"{prefix} {command.name}", command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(f"{prefix} {group.name}", group.typer_instance)


def _command(words: str, function: Any) -> str:
    usage, rows = [words], []
    parameters = inspect.signature(function).parameters
    over_host = parameters.keys() >= _OF_EVERY_HOST_COMMAND
    for parameter in parameters.values():
        kind, info = typing.get_args(parameter.annotation)[:2]
        if over_host and parameter.name in _OF_EVERY_HOST_COMMAND:
            continue
        if isinstance(info, OptionInfo):
            # In an annotation, the first name given to Option is where a default would be.
            declared = ", ".join([str(info.default), *(info.param_decls or ())])
            name = declared if kind is bool else f"{declared} {info.metavar or _values(kind)}"
            usage.append(f"[{name.split(', ')[0] if kind is bool else name}]")
            rows.append(f"| `{name}` | {info.help}{_default(parameter.default)} |")
        else:
            name = (info.metavar or parameter.name.upper()).strip("[]")
            usage.append(name if parameter.default is inspect.Parameter.empty else f"[{name}]")
            rows.append(f"| `{name}` | {info.help} |")
    usage += ["[--json]", "[--server URL] [--key KEY] [--data DIR]"] * over_host
    lines = [f"## {words}\n", inspect.getdoc(function) or "", "", f"```text\n{' '.join(usage)}\n```\n"]
    if rows:
        lines += ["| | |\n| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _values(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "/".join(member.value for member in kind)
    return "N" if kind in {int, float, int | None} else "TEXT"


def _default(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if value in (None, "", False) or value is inspect.Parameter.empty:
        return ""
    return f" Default: `{value}`."


# Klipper's commands


def klipper_page() -> str:
    parts = [
        _MADE,
        "# Klipper's commands on a printer that speaks Marlin\n",
        "Mainsail, Fluidd and KlipperScreen steer printers with Klipper's own G-code. Polyhost carries these commands\n"
        "out on any printer; so does a person who types them into the console of such a client. A script is judged\n"
        "whole before its first line is sent. A command that cannot be carried out is answered with an error that\n"
        "says what to do instead, and ends the script. Everything else is plain G-code and goes to the printer as it\n"
        'is; one that the printer does not know is told at the console (`// Unknown command:"…"`).\n',
        "The printer's own scripts (*G-code scripts* of its settings) are called by their names as macros are, with\n"
        "`KEY=VALUE` parameters, which the script reads as `params.KEY` or `params.key` (`parameters` is the\n"
        "same): `G1 X{{ params.X|default(10) }}`. Front ends ask for those that the script names. One that is\n"
        "called as a command below replaces it.\n",
        "What is needed stands in the printer's answer to `M115`; a printer whose firmware denies it has not the\n"
        "command.\n",
    ]
    for title, table in TABLES.items():
        parts += [f"## {title}\n", "| Command | What becomes of it | Needs |", "| --- | --- | --- |"]
        for entry in sorted(table.entries, key=lambda entry: entry.name):
            parts.append(f"| `{entry.name}` | {entry.marlin} | {entry.needs and f'`{entry.needs}`'} |")
        parts.append("")
    parts += ["## What a printer with Marlin cannot do\n", "| Command | Instead |", "| --- | --- |"]
    parts += [f"| `{name}` | {words} |" for name, words in sorted(REFUSED.items())]
    return "\n".join([*parts, ""])


# Settings


def settings_page() -> str:
    parts = [
        _MADE,
        "# Settings\n",
        "One TOML file, named with `polyhost serve --config FILE`. Every setting has a default, so an empty file is a\n"
        "whole one. A key that is not listed here is an error that names its nearest neighbour. Printers named in the\n"
        "file cannot be changed or removed elsewhere; those added otherwise are kept in the data folder.\n",
    ]
    for struct in sections():
        title, _, words = (struct.__doc__ or "").partition("``: ")
        parts.append(_section(title.strip("`"), words, struct))
    parts.append(_section("[printers.profile]", "the shape and limits of a machine.", PrinterProfile))
    return "\n".join([*parts, _EXAMPLE])


def sections() -> list[type[msgspec.Struct]]:
    """The structs of the tree, one for each section of the file."""
    kinds = typing.get_type_hints(config.Config).values()
    return [kind if isinstance(kind, type) else typing.get_args(kind)[0] for kind in kinds]


def _section(title: str, words: str, struct: type[msgspec.Struct]) -> str:
    lines = [f"## {title}\n"]
    if words:
        lines.append(f"{words[0].upper()}{words[1:]}\n")
    lines += ["| key | default | meaning |", "| --- | --- | --- |"]
    comments = comments_of(struct)
    for field in msgspec.structs.fields(struct):
        value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        default = "" if field.required else _toml(value)
        lines.append(f"| `{field.name}` | {default} | {comments.get(field.name, '')} |")
    return "\n".join([*lines, ""])


def _toml(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        return "" if isinstance(value, PrinterProfile) else f"`{msgspec.json.encode(value).decode()}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[]`" if not value else "`" + str(list(value)).replace("(", "[").replace(")", "]") + "`"
    return f"`{msgspec.json.encode(value).decode()}`"


def comments_of(struct: type[msgspec.Struct]) -> Mapping[str, str]:
    """What the source says behind the ``#`` of each field of `struct`."""
    source = inspect.getsource(struct)
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rest = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset or 0 :].decode()
            if "#" in rest:
                found[node.target.id] = rest.partition("#")[2].strip()
    return found


_EXAMPLE = """## Example

```toml
[server]
port = 8080

[[printers]]
slug = "mk3"
name = "Prusa MK3"
driver = "serial"
port = "/dev/serial/by-id/usb-Prusa_Research__prusa3d.com__Original_Prusa_i3_MK3_CZPX1234-if00"

[printers.profile]
width = 250.0
depth = 210.0
height = 210.0

[[printers]]
slug = "practice"
driver = "virtual"
speed = 10.0
```
"""


# States


def states_page() -> str:
    return "\n".join(
        [
            _MADE,
            "# States\n",
            "Drawn from the tables `PRINTER` in `polyhost/core/printer.py` and `RUN` in `polyhost/core/job.py`;\n"
            "nothing moves a state but those tables.\n",
            "## A printer's link\n",
            _diagram(printer.PRINTER, {printer.PrinterState.OFFLINE}, set()),
            "## A run\n",
            _diagram(job.RUN, {job.RunState.STARTING}, set(job.ENDED)),
        ]
    )


def _diagram(table: Mapping[Any, Mapping[Any, Any]], first: set[Any], last: set[Any]) -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state.value}" for state in table if state in first]
    lines += [
        f"    {state.value} --> {to.value}: {signal.value}"
        for state, ways in table.items()
        for signal, to in ways.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in table if state in last]
    return "\n".join([*lines, "```\n"])


# Routes


def compat_page(dialect: Dialect) -> str:
    """Every route of a dialect, by the module that serves it; how it is proven, where there are captures."""
    if dialect.name == "moonraker":
        return moonraker_page(dialect)
    about = inspect.getdoc(sys.modules[f"polyhost.dialects.{dialect.name}"]) or ""
    parts = [_MADE, f"# {about.partition(chr(10))[0].rstrip('.')}\n", *_paragraphs(about)]
    proven = _proven() if dialect.name == "octoprint" else {}
    reasons = list(dict.fromkeys(reason for proof in proven.values() for reason in proof.reasons))
    if proven:
        parts.append(_HOW_PROVEN.format(apps=_apps()))
    by_module: dict[str, list[Route | SocketRoute]] = {}
    for route in (*dialect.routes.all, *dialect.routes.sockets):
        by_module.setdefault(route.handler.__module__, []).append(route)
    for module, routes in by_module.items():
        words = inspect.getdoc(sys.modules[module]) or ""
        parts.append(f"## {_code(words.partition(chr(10))[0].rstrip('.'))}\n")
        if proven:
            parts.append("| | | needs the right to | proven by | differs |\n| --- | --- | --- | --- | --- |")
            parts += [_route(route) + _proof(proven[_key(route)], reasons) for route in routes]
        else:
            parts.append("| | | needs the right to | |\n| --- | --- | --- | --- |")
            parts += [_route(route) for route in routes]
        parts.append("")
    parts += _numbered(reasons)
    return "\n".join(parts)


def moonraker_page(dialect: Dialect) -> str:
    """Every endpoint of Moonraker's, over HTTP and by its name for JSON-RPC, and how it is proven."""
    from tests.captures.moonraker_proofs import entries

    about = inspect.getdoc(sys.modules[f"polyhost.dialects.{dialect.name}"]) or ""
    parts = [_MADE, f"# {about.partition(chr(10))[0].rstrip('.')}\n", *_paragraphs(about), _HOW_MOONRAKER_IS_PROVEN]
    found = entries()
    reasons = list(dict.fromkeys(reason for entry in found for reason in entry.proof.reasons))
    modules = dict.fromkeys(entry.module for entry in found)
    for module in modules:
        words = inspect.getdoc(sys.modules[module]) or ""
        parts.append(f"## {_code(words.partition(chr(10))[0].rstrip('.'))}\n")
        parts.append(
            "| | | JSON-RPC | needs the right to | proven by | differs |\n| --- | --- | --- | --- | --- | --- |"
        )
        for entry in (entry for entry in found if entry.module == module):
            needs = "nothing" if entry.needs is None else entry.needs.value
            path, method = (f"`{name}`" if name else "" for name in (entry.path, entry.method))
            parts.append(f"| {entry.verb} | {path} | {method} | {needs} |{_proof(entry.proof, reasons)}")
        parts.append("")
    parts += _numbered(reasons)
    return "\n".join(parts)


def _numbered(reasons: list[str]) -> list[str]:
    if not reasons:
        return []
    numbered = (f"{number}. {_code(reason)}" for number, reason in enumerate(reasons, 1))
    return ["## Why answers differ\n", *numbered, ""]


_HOW_MOONRAKER_IS_PROVEN = """How each endpoint is proven: *captures* are exchanges recorded from Moonraker 0.11.0, on
a whole Klipper (`ready`, `without`, `afterprint`) and on a stand-in for it, that are asked of this host in every run of
the tests (`tests/captures/moonraker/`, by the name of the file and their number); *clients* (moonraker-api) run in the
tests as they are; of *front ends* (Mainsail, Fluidd, KlipperScreen) and *slicers and apps* (OrcaSlicer, SuperSlicer,
Cura, Home Assistant, Mobileraker, Obico) the tests make the requests as their sources do, and read of the answers what
those read. Where there is none, the tests of our own are named. The numbers behind say why some of its answers are not
the original's; they are explained at the end.
"""


_HOW_PROVEN = """How each route is proven: *captures* are exchanges recorded from OctoPrint 1.11.8 that are asked of
this host in every run of the tests (`tests/captures/octoprint/`, by the name of the file and their number); *clients*
are programs of others that call it in the tests as they are; *apps* are programs whose requests the tests make as
their sources do, and in whose types they read the answers: {apps}.
Where there is none, the tests of our own are named.
The numbers behind say why some of its answers are not the original's; they are explained at the end.
"""


def _proven() -> Mapping[tuple[str, str], Any]:
    from tests.captures.proofs import proofs

    return proofs()


def _apps() -> str:
    from tests.dialects.apps import APPS

    *most, last = (app.name for app in APPS)
    return f"{', '.join(most)} and {last}"


def _key(route: Route | SocketRoute) -> tuple[str, str]:
    return (route.method if isinstance(route, Route) else "WebSocket", route.path)


def _proof(proof: Any, reasons: list[str]) -> str:
    shown = [f"{name} {count}" for name, count in proof.captures.items()] + proof.clients
    counted = all(app in _SENDERS for app in proof.apps)
    shown += proof.apps if counted else [f"apps {len(proof.apps)}"]
    shown = shown or [f"`tests/dialects/{module}`" for module in proof.own]
    numbers = sorted(reasons.index(reason) + 1 for reason in proof.reasons)
    return f" {', '.join(shown)} | {', '.join(map(str, numbers))} |"


_SENDERS = ("front ends", "slicers and apps")


def _paragraphs(about: str) -> list[str]:
    rest = about.partition("\n")[2].strip()
    return [f"{_code(rest)}\n"] if rest else []


def _route(route: Route | SocketRoute) -> str:
    needs = "nothing" if route.needs is None else route.needs.value
    words = (inspect.getdoc(route.handler) or "").partition("\n")[0]
    method = route.method if isinstance(route, Route) else "WebSocket"
    if route.handler.__module__.startswith("polyhost.dialects.octoprint."):
        return f"| {method} | `{route.path}` | {needs} |"
    return f"| {method} | `{route.path}` | {needs} | {_code(words)} |"


def _code(words: str) -> str:
    return words.replace("``", "`")


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text, encoding="utf-8")
