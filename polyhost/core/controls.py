"""Custom controls: buttons and lines of output that an owner adds to what clients show of a printer.

Facts: OctoPrint's custom controls, docs/features/custom_controls.rst, whose names these are.  What is a program's text
(`javascript`, `enabled`, `regex`) is kept for the clients that know it; nothing here runs it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.errors import Malformed

MAX_CONTROLS: Final = 500
MAX_DEPTH: Final = 16
MAX_COMMANDS: Final = 1000  # of one control
MAX_INPUTS: Final = 50  # of one control
MAX_TEXT_BYTES: Final = 4096
MAX_ALL_BYTES: Final = 64 << 10
MAX_NUMBER: Final = 1 << 53
_LAYOUTS: Final = frozenset({"vertical", "horizontal", "horizontal_grid"})

Number = int | float


class Slider(msgspec.Struct, frozen=True):
    min: Number = 0
    max: Number = 255
    step: Number = 1


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value that a person gives; `parameter` is its name in the commands."""

    name: str
    parameter: str
    default: str | int | float | bool | UnsetType | None = UNSET
    slider: Slider | bool | UnsetType | None = UNSET


class Control(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """With `children` a box of controls, else a button or a line of output."""

    name: str | UnsetType | None = UNSET
    command: str | UnsetType | None = UNSET
    commands: tuple[str, ...] | UnsetType | None = UNSET
    script: str | UnsetType | None = UNSET
    javascript: str | UnsetType | None = UNSET
    additional_classes: str | UnsetType | None = UNSET
    enabled: str | bool | UnsetType | None = UNSET
    input: tuple[Input, ...] | UnsetType | None = UNSET
    regex: str | UnsetType | None = UNSET
    template: str | UnsetType | None = UNSET
    confirm: str | UnsetType | None = UNSET
    default: str | UnsetType | None = UNSET  # shown while nothing matched `regex`
    layout: str | UnsetType | None = UNSET
    collapsed: bool | UnsetType | None = UNSET
    children: tuple["Control", ...] | UnsetType = UNSET


def checked_controls(controls: tuple[Control, ...]) -> tuple[Control, ...]:
    """`controls`, if they are within bounds and each says what it is; `Malformed` names what is not."""
    if len(msgspec.json.encode(controls)) > MAX_ALL_BYTES:
        raise Malformed(f"the controls together have more than {MAX_ALL_BYTES} bytes")
    for count, (control, depth) in enumerate(_all(controls, 1), 1):
        if count > MAX_CONTROLS:
            raise Malformed(f"there are more than {MAX_CONTROLS} controls")
        if depth > MAX_DEPTH:
            raise Malformed(f"the controls are nested deeper than {MAX_DEPTH}")
        _check(control)
    return controls


def _all(controls: Iterable[Control], depth: int) -> Iterator[tuple[Control, int]]:
    for control in controls:
        yield control, depth
        if depth <= MAX_DEPTH and control.children is not UNSET:
            yield from _all(control.children, depth + 1)


def _check(control: Control) -> None:
    label = control.name if isinstance(control.name, str) else "without a name"
    if control.children is UNSET and not isinstance(control.name, str):
        raise Malformed("a control has a name, or children")
    if isinstance(control.layout, str) and control.layout not in _LAYOUTS:
        raise Malformed(f"the layout of the control {label} is one of {', '.join(sorted(_LAYOUTS))}")
    said = [name for name in ("command", "commands", "script") if getattr(control, name) not in {None, UNSET}]
    if len(said) > 1:
        raise Malformed(f"the control {label} has {' and '.join(said)}; one of them is enough")
    commands = control.commands if isinstance(control.commands, tuple) else ()
    inputs = control.input if isinstance(control.input, tuple) else ()
    if len(commands) > MAX_COMMANDS or len(inputs) > MAX_INPUTS:
        raise Malformed(f"the control {label} has more than {MAX_COMMANDS} commands or {MAX_INPUTS} inputs")
    texts = [value for value in msgspec.structs.asdict(control).values() if isinstance(value, str)]
    for text in (*texts, *commands):
        if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
            raise Malformed(f"a text of the control {label} has more than {MAX_TEXT_BYTES} bytes")
    for number in _numbers(inputs):
        if abs(number) > MAX_NUMBER:
            raise Malformed(f"a number of the control {label} is beyond {MAX_NUMBER}")


def _numbers(inputs: Iterable[Input]) -> Iterator[Number]:
    for one in inputs:
        if isinstance(one.default, int | float):
            yield one.default
        if isinstance(one.slider, Slider):
            yield from (one.slider.min, one.slider.max, one.slider.step)
