"""Templates of scripts, rendered to commands: Jinja2 in a sandbox, with values that are known only later.

What the machine's holder alone will know (where a pause finds the toolhead) is a `Later` in a template: printed, it
is a placeholder (`core.placeholders`); compared, the template is rendered once for each way that the comparison can
turn out, and the lines of each are guarded by it.  So a script may be as clever as its author likes and still be
handed over whole.  Variables are those that OctoPrint's users know (its specification, section 7), and the house's.
"""

import functools
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import jinja2
import jinja2.sandbox
import msgspec
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser

from polyhost.core.errors import Malformed
from polyhost.core.handling import ScriptName
from polyhost.core.placeholders import DECIMALS, Term, number
from polyhost.gcode.vetting import fitting

MAX_LINES: Final = 1000
MAX_WAYS: Final = 32  # that a script's comparisons can turn out
SNIPPETS: Final = "snippets/"

_PAUSES: Final = frozenset({ScriptName.AFTER_PAUSE.value, ScriptName.BEFORE_RESUME.value})
_TOOL_CHANGES: Final = frozenset({ScriptName.BEFORE_TOOL_CHANGE.value, ScriptName.AFTER_TOOL_CHANGE.value})


class Rendering(msgspec.Struct, frozen=True):
    """What is to be rendered: those of `scripts` that are `wanted`, for a machine with so many `tools`.

    Of those that are `read` (a snippet's name begins with `SNIPPETS`) only the grammar is looked at.
    """

    wanted: tuple[str, ...]
    scripts: dict[str, str]
    snippets: dict[str, str]
    variables: dict[str, object]
    tools: int = 1
    read: tuple[str, ...] = ()


class Rendered(msgspec.Struct, frozen=True, tag=True):
    """The commands of each script: no comment, no empty line."""

    lines: dict[str, tuple[str, ...]]


class NotRendered(msgspec.Struct, frozen=True, tag=True):
    """What is wrong, with the name of the script and the line of it."""

    script: str
    reason: str
    line: int | None = None


class _Unknowable(jinja2.TemplateError):
    """A template does with a value what can only be done when it is known."""


class _Ways:
    """The way through the comparisons of one rendering: the first are `given`, the rest come out true."""

    def __init__(self, given: list[bool]) -> None:
        self.taken: list[bool] = []
        self.conditions: dict[str, bool] = {}
        self._given = given

    def turn(self, condition: str) -> bool:
        if condition not in self.conditions:
            place = len(self.taken)
            self.taken.append(self._given[place] if place < len(self._given) else True)
            self.conditions[condition] = self.taken[-1]
        return self.conditions[condition]

    @property
    def guard(self) -> str:
        """What must hold for this way to be the right one."""
        return "&".join(condition if holds else f"-{condition}" for condition, holds in self.conditions.items())


class Later:
    """A value that is known when the line is sent."""

    __slots__ = ("_decimals", "_otherwise", "_term", "_ways")

    def __init__(self, ways: _Ways, term: Term, decimals: int | None = None, otherwise: float | None = None) -> None:
        self._ways = ways
        self._term = term
        self._decimals = decimals
        self._otherwise = otherwise

    def __str__(self) -> str:
        decimals = "" if self._decimals is None else f":{self._decimals}"
        otherwise = "" if self._otherwise is None else f"|{number(self._otherwise)}"
        return f"{{{self._term}{decimals}{otherwise}}}"

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if len(spec) == 3 and spec[0] == "." and spec[1].isdecimal() and spec[2] == "f":
            return str(self.rounded(int(spec[1])))
        raise _Unknowable(f"{self} cannot be written as {spec!r}; its number of decimals can be given, as in .2f")

    def rounded(self, decimals: int) -> "Later":
        return Later(self._ways, self._term, max(0, min(decimals, DECIMALS)), self._otherwise)

    def otherwise(self, value: object) -> "Later":
        """With a value for when it is not known."""
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return Later(self._ways, self._term, self._decimals, self._number(value) if fits else None)

    def is_known(self) -> bool:
        return self._ways.turn(f"{Term(self._term.name)}!")

    def _reckoned(self, scale: float, offset: float) -> "Later":
        term = Term(self._term.name, self._term.scale * scale, self._term.offset * scale + offset)
        return Later(self._ways, term, self._decimals, self._otherwise)

    def _number(self, other: object) -> float:
        if isinstance(other, bool) or not isinstance(other, int | float):
            raise _Unknowable(f"{self} is known only later: it can be reckoned with numbers, not with {other}")
        return float(other)

    def __add__(self, other: object) -> "Later | str":
        return str(self) + other if isinstance(other, str) else self._reckoned(1, self._number(other))

    def __radd__(self, other: object) -> "Later | str":
        return other + str(self) if isinstance(other, str) else self._reckoned(1, self._number(other))

    def __sub__(self, other: object) -> "Later":
        return self._reckoned(1, -self._number(other))

    def __rsub__(self, other: object) -> "Later":
        return self._reckoned(-1, self._number(other))

    def __mul__(self, other: object) -> "Later":
        return self._reckoned(self._number(other), 0)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> "Later":
        return self._reckoned(1 / self._number(other), 0)

    def __neg__(self) -> "Later":
        return self._reckoned(-1, 0)

    def __pos__(self) -> "Later":
        return self

    def _compared(self, sign: str, other: object) -> bool:
        return self._ways.turn(f"{self._term}{sign}{number(self._number(other))}")

    def __lt__(self, other: object) -> bool:
        return self._compared("<", other)

    def __le__(self, other: object) -> bool:
        return self._compared("<=", other)

    def __gt__(self, other: object) -> bool:
        return self._compared(">", other)

    def __ge__(self, other: object) -> bool:
        return self._compared(">=", other)

    def __eq__(self, other: object) -> bool:
        return not self.is_known() if other is None else self._compared("=", other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._term)

    def __bool__(self) -> bool:
        return self.is_known() and not self._compared("=", 0)


class _Temperatures(dict[object, object]):
    """By the number of a tool, ``b`` and ``c``; also by the tool in use, whatever it will be."""

    def __init__(self, of: Callable[[str], object], tools: int) -> None:
        super().__init__({n: {"actual": of(f"actual{n}"), "target": of(f"target{n}")} for n in range(tools)})
        self["b"] = {"actual": of("actual_bed"), "target": of("bed")}
        self["c"] = {"actual": of("actual_chamber"), "target": of("chamber")}
        self._in_use = {"actual": of("actual_hotend"), "target": of("hotend")}

    def __missing__(self, key: object) -> object:
        if isinstance(key, Later):
            return self._in_use
        raise KeyError(key)


class _Snippet(Extension):
    """``{% snippet 'name' %}``: another template, as if it stood there."""

    tags = {"snippet"}  # noqa: RUF012 - the class's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        name = parser.parse_expression()
        if not isinstance(name, nodes.Const) or not isinstance(name.value, str):
            parser.fail("a snippet is called by its name in quotes", line)
        path = nodes.Const(SNIPPETS + name.value, lineno=line)
        return nodes.Include(path, True, False, lineno=line)


def _rounded(value: Any, precision: int = 0, method: str = "common") -> Any:
    return value.rounded(precision) if isinstance(value, Later) else FILTERS["round"](value, precision, method)


def _as_int(value: Any, *rest: Any, **named: Any) -> Any:
    return value.rounded(0) if isinstance(value, Later) else FILTERS["int"](value, *rest, **named)


def _as_float(value: Any, *rest: Any) -> Any:
    return value if isinstance(value, Later) else FILTERS["float"](value, *rest)


def _or_default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    return (
        value.otherwise(default_value)
        if isinstance(value, Later)
        else FILTERS["default"](value, default_value, boolean)
    )


def _is_none(value: Any) -> bool:
    return not value.is_known() if isinstance(value, Later) else value is None


def _is_number(value: Any) -> bool:
    return value.is_known() if isinstance(value, Later) else isinstance(value, int | float)


def _environment(asked: Rendering) -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    def source_of(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        snippet = name.startswith(SNIPPETS)
        source = asked.snippets.get(name.removeprefix(SNIPPETS)) if snippet else asked.scripts.get(name)
        return None if source is None else (source, name, lambda: True)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        extensions=[_Snippet],
        loader=jinja2.FunctionLoader(source_of),
    )
    made.filters |= {"round": _rounded, "int": _as_int, "float": _as_float, "default": _or_default, "d": _or_default}
    made.tests |= {"none": _is_none, "number": _is_number}
    return made


def render(asked: Rendering, begun: Callable[[str], None] = lambda name: None) -> Rendered | NotRendered:
    """`begun` hears the name of each template before it is rendered."""
    environment = _environment(asked)
    lines: dict[str, tuple[str, ...]] = {}
    for name in (*asked.read, *asked.wanted):
        begun(name)
        try:
            if name in asked.wanted:
                lines[name] = _lines_of(name, environment, asked)
            else:
                environment.get_template(name)
        except jinja2.TemplateNotFound as error:
            template, line = _place_of(error, asked) or (name, None)
            return NotRendered(called(template), f"there is no {called(str(error.name))}", line)
        except jinja2.TemplateSyntaxError as error:
            return NotRendered(called(error.filename or name), error.message or "it cannot be read", error.lineno)
        except (
            *(jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError),
            *(MemoryError, RecursionError),
        ) as error:
            template, line = _place_of(error, asked) or (name, None)
            return NotRendered(called(template), str(error) or type(error).__name__, line)
    return Rendered(lines)


def called(template: str) -> str:
    """What people call the template of this name."""
    return f"snippet {template.removeprefix(SNIPPETS)}" if template.startswith(SNIPPETS) else f"script {template}"


def _place_of(error: BaseException, asked: Rendering) -> tuple[str, int | None] | None:
    """The innermost template and line that `error` came through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in asked.scripts or frame.filename.startswith(SNIPPETS):
            return frame.filename, frame.lineno
    return None


def _lines_of(name: str, environment: jinja2.Environment, asked: Rendering) -> tuple[str, ...]:
    if not asked.scripts[name].strip():
        return ()
    template = environment.get_template(name)
    outcomes = list(_outcomes(template, functools.partial(_variables, name, asked)))
    if all(lines == outcomes[0][1] for _, lines in outcomes):
        return outcomes[0][1]
    made = tuple(f"{{?{guard}}}{line}" for guard, lines in outcomes for line in lines)
    if len(made) > MAX_LINES:
        raise jinja2.TemplateError(f"it makes more than {MAX_LINES} lines")
    return made


def _outcomes(
    template: jinja2.Template, variables: Callable[[_Ways], Mapping[str, object]]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each way that the comparisons can turn out: what must hold for it, and the commands."""
    given: list[bool] = []
    for _ in range(MAX_WAYS):
        ways = _Ways(given)
        lines = commands_in(template.render(variables(ways)))
        yield ways.guard, lines
        given = ways.taken
        while given and not given[-1]:
            given.pop()
        if not given:
            return
        given[-1] = False
    raise _Unknowable(f"what it compares with values that are known only later has more than {MAX_WAYS} outcomes")


def commands_in(text: str) -> tuple[str, ...]:
    """The commands in `text`; comments and empty lines are left out."""
    lines: list[str] = []
    for at, text_line in enumerate(text.splitlines(), 1):
        if line := text_line.partition(";")[0].strip():
            try:
                lines.append(fitting(line))
            except Malformed as error:
                raise jinja2.TemplateError(f"line {at} of what it makes: {error}") from None
    if len(lines) > MAX_LINES:
        raise jinja2.TemplateError(f"it makes more than {MAX_LINES} lines")
    return tuple(lines)


def _variables(name: str, asked: Rendering, ways: _Ways) -> dict[str, object]:
    def of(value: str) -> object:
        return Later(ways, Term(value))

    def moment(prefix: str, now: str) -> dict[str, object]:
        position = {axis: of(f"{now}{axis}") for axis in "xyzef"} | {"t": of(f"{now}tool")}
        return {
            f"{prefix}_position": position,
            f"{prefix}_temperature": _Temperatures(lambda value: of(f"{now}{value}"), asked.tools),
            f"{prefix}_fanspeed": of(f"{now}fan"),
        }

    made: dict[str, object] = {
        "script": {"type": "gcode", "name": name},
        "parameters": {},
        "context": {},
        "event": None,
    }
    made |= asked.variables
    made["params"] = made["parameters"]  # as macros of Klipper call them, and front ends look for
    made |= moment("last", "last_")
    if name in _PAUSES:
        made |= moment("pause", "")
    if name == ScriptName.AFTER_CANCEL.value:
        made |= moment("cancel", "")
    if name in _TOOL_CHANGES:
        made["tool"] = {"old": of("old"), "new": of("new")}
    if name == ScriptName.AFTER_CONNECT.value:
        made["event"] = {"port": of("port"), "baudrate": of("baud")}
    return made
