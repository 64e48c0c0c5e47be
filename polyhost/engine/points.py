"""What the machine is set to at one moment, as scripts of the host may ask for it, and how it is set so again."""

from collections.abc import Iterable, Sequence
from typing import Final

from polyhost.core.placeholders import Values, filled
from polyhost.core.printer import ToolPosition
from polyhost.core.units import mm_min_from_mm_s
from polyhost.engine.picture import Picture
from polyhost.gcode.modal import ModalState

FULL_FAN: Final = 255


def values_at(picture: Picture) -> dict[str, float | str | None]:
    """By the names of `core.placeholders`, in G-code's units."""
    modal, position, targets = picture.modal, picture.reported, picture.targets
    values: dict[str, float | str | None] = {
        "x": position.x,
        "y": position.y,
        "z": position.z,
        "e": position.e,
        "f": mm_min_from_mm_s(modal.feedrate_mm_s) or None,
        "tool": modal.tool,
        "fan": round(modal.fan * FULL_FAN),
        "hotend": targets.get(f"tool{modal.tool}"),
    }
    for name, target in targets.items():
        values[_name_of("target", name, name)] = target
    for name, heater in picture.heaters.items():
        values[_name_of("actual", name, f"actual_{name}")] = heater.actual
        if name == f"tool{modal.tool}":
            values["actual_hotend"] = heater.actual
    return values


def _name_of(kind: str, heater: str, otherwise: str) -> str:
    number = heater.removeprefix("tool")
    return f"{kind}{number}" if number.isdecimal() else otherwise


def both(then: Values, now: Values) -> Values:
    """`then`, and what is so `now` under names of its own."""
    return {**then, **{f"last_{name}": value for name, value in now.items()}}


def commands_of(script: Iterable[str], values: Values) -> list[bytes]:
    """The lines of `script` with their placeholders filled; a line that needs something unknown is left out."""
    lines = (filled(line.partition(";")[0].strip(), values) for line in script)
    return [line.encode("ascii", "replace") for line in lines if line]


def position_in(picture: Picture) -> ToolPosition:
    """Where the firmware said last that it is."""
    reported, modal = picture.reported, picture.modal
    return ToolPosition(
        *(reported.x, reported.y, reported.z, reported.e), feedrate_mm_s=modal.feedrate_mm_s or None, tool=modal.tool
    )


def again(modal: ModalState) -> Sequence[bytes]:
    """The modes of `modal`, to be set again after somebody moved or extruded: a file counts on them.

    On Marlin ``G90`` alone makes E absolute too, and an extrusion by hand shifts an absolute E.
    """
    lines = [b"G90" if modal.absolute else b"G91"]
    if modal.extruder_absolute:
        lines += [b"M82", f"G92 E{modal.e:.5f}".encode()]
    else:
        lines.append(b"M83")
    if modal.feedrate_mm_s:
        lines.append(f"G1 F{mm_min_from_mm_s(modal.feedrate_mm_s):.5g}".encode())
    return lines
