"""``/api/printerprofiles``: the shapes that the machine may be given, and which it has.

The profile ``_default`` is the one of the printer's own settings and cannot be deleted; where the settings file names
the printer it cannot be changed here either (409), but further profiles may be added and chosen.  A profile is never
changed under another one's id.

Upstream: OctoPrint 1.11, docs/api/printerprofiles.rst.  Lengths in mm, speeds in mm/min.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.printer import Axis as CoreAxis
from polyhost.core.printer import PrinterProfile, Reach
from polyhost.core.units import mm_min_from_mm_s, mm_s_from_mm_min
from polyhost.core.user import Permission
from polyhost.services.printer import Printer
from polyhost.web.answers import Encoded, encoded, no_content, not_modified, unchanged
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()

MAX_OFFSETS: Final = 100
Number = int | float


class Box(msgspec.Struct):
    """Each side is the volume's where it is not given."""

    x_min: Number | None = None
    x_max: Number | None = None
    y_min: Number | None = None
    y_max: Number | None = None
    z_min: Number | None = None
    z_max: Number | None = None


class Volume(msgspec.Struct):
    form_factor: Literal["rectangular", "circular"] = msgspec.field(name="formFactor")
    origin: Literal["lowerleft", "center"]
    width: float
    depth: float
    height: float
    custom_box: Box | bool = False


class Extruder(msgspec.Struct, rename="camel"):
    count: int
    offsets: tuple[tuple[float, float], ...]
    nozzle_diameter: float
    shared_nozzle: bool
    default_extrusion_length: Number


class Axis(msgspec.Struct):
    speed: Number
    inverted: bool


class Axes(msgspec.Struct):
    x: Axis
    y: Axis
    z: Axis
    e: Axis


class Shape(msgspec.Struct, rename="camel"):
    """What of a profile a client may give; all of it, once it is merged into another."""

    name: str
    volume: Volume
    heated_bed: bool
    heated_chamber: bool
    extruder: Extruder
    axes: Axes
    model: str = ""
    color: str = "default"


class Profile(msgspec.Struct, rename="camel"):
    id: str
    name: str
    model: str
    color: str
    current: bool
    default: bool
    resource: str
    volume: Volume
    heated_bed: bool
    heated_chamber: bool
    extruder: Extruder
    axes: Axes


class Profiles(msgspec.Struct):
    profiles: dict[str, Profile]


class Wrapped(msgspec.Struct):
    profile: Profile


class Given(msgspec.Struct, rename="camel"):
    profile: dict[str, Any] | None = None
    based_on: Any = None


def shape_of(profile: PrinterProfile) -> Shape:
    box = profile.custom_box
    return Shape(
        profile.name,
        Volume(
            "circular" if profile.circular else "rectangular",
            "center" if profile.circular or profile.origin_at_center else "lowerleft",
            *(profile.width, profile.depth, profile.height),
            False if box is None else Box(**msgspec.structs.asdict(box)),
        ),
        profile.heated_bed,
        profile.heated_chamber,
        Extruder(
            profile.extruders,
            profile.extruder_offsets,
            profile.nozzle_diameter,
            profile.shared_nozzle,
            _plain(profile.default_extrusion_length),
        ),
        Axes(*(axis_of(axis) for axis in (profile.x, profile.y, profile.z, profile.e))),
        profile.model,
        profile.color,
    )


def profile_of(identifier: str, profile: PrinterProfile, base: str, *, current: bool, default: bool) -> Profile:
    shape = shape_of(profile)
    return Profile(
        *(identifier, shape.name, shape.model, shape.color, current, default),
        f"{base}/api/printerprofiles/{identifier}",
        *(shape.volume, shape.heated_bed, shape.heated_chamber, shape.extruder, shape.axes),
    )


def axis_of(axis: CoreAxis) -> Axis:
    return Axis(_plain(round(mm_min_from_mm_s(axis.speed_mm_s), 3)), axis.inverted)


def _plain(value: float) -> Number:
    """Whole numbers as upstream has them, without a point."""
    return int(value) if value == int(value) else value


def merged_profile(given: Mapping[str, Any], base: PrinterProfile) -> PrinterProfile:
    """`base` with what a client gives of a profile; `Malformed` names the value that is wrong.

    As upstream, it takes numbers that are written as texts, and leaves what it does not know.
    """
    tree = _merged(msgspec.to_builtins(shape_of(base)), given)
    try:
        shape = msgspec.convert(tree, Shape, strict=False)
    except msgspec.ValidationError as error:
        raise Malformed(f"profile is invalid: {error}") from error
    if len(shape.extruder.offsets) > MAX_OFFSETS:
        raise Malformed(f"profile is invalid: more than {MAX_OFFSETS} offsets")
    volume, extruder, axes = shape.volume, shape.extruder, shape.axes
    profile = msgspec.structs.replace(
        base,
        name=shape.name,
        model=shape.model,
        color=shape.color,
        width=volume.width,
        depth=volume.depth,
        height=volume.height,
        circular=volume.form_factor == "circular",
        origin_at_center=volume.origin == "center",
        custom_box=None,
        heated_bed=shape.heated_bed,
        heated_chamber=shape.heated_chamber,
        extruders=extruder.count,
        extruder_offsets=extruder.offsets,
        nozzle_diameter=extruder.nozzle_diameter,
        shared_nozzle=extruder.shared_nozzle,
        default_extrusion_length=float(extruder.default_extrusion_length),
        **{name: _core_axis(getattr(axes, name), getattr(base, name)) for name in ("x", "y", "z", "e")},
    )
    return msgspec.structs.replace(profile, custom_box=_reach_of(volume.custom_box, profile))


def _core_axis(axis: Axis, base: CoreAxis) -> CoreAxis:
    """A speed that is not changed stays exactly what it was."""
    if axis == axis_of(base):
        return base
    return CoreAxis(mm_s_from_mm_min(axis.speed), axis.inverted)


def _reach_of(box: Box | bool, profile: PrinterProfile) -> Reach | None:
    if box is True:
        raise Malformed("profile is invalid: custom_box is false, or an object with x_min to z_max")
    if box is False:
        return None
    volume = profile.volume()
    sides = {side: getattr(box, side) for side in Reach.__struct_fields__}
    return Reach(**{side: float(getattr(volume, side) if mm is None else mm) for side, mm in sides.items()})


def _merged(base: Any, over: Any) -> Any:
    """`over` laid over `base`, object by object; a null takes away what was there."""
    if not isinstance(base, dict) or not isinstance(over, Mapping):
        return over
    both = base | {name: _merged(base.get(name), value) for name, value in over.items()}
    return {name: value for name, value in both.items() if value is not None}


def _profile(call: Call, printer: Printer, identifier: str) -> Profile:
    book = printer.book
    return profile_of(
        identifier,
        call.host.profiles.get(printer, identifier),
        call.base,
        current=identifier == book.current_id,
        default=identifier == book.preferred_id,
    )


@routes.get("/api/printerprofiles", needs=Permission.CONNECT)
async def profiles(call: Call) -> Encoded:
    printer = call.printer
    known = Profiles(
        {identifier: _profile(call, printer, identifier) for identifier in call.host.profiles.all(printer)}
    )
    answer = encoded(known)
    etag = f'"{hashlib.sha1(answer.body, usedforsecurity=False).hexdigest()}"'
    tag = (b"etag", etag.encode())
    if unchanged(call.headers, etag) and not call.flag("force"):
        return not_modified([tag])
    answer.headers.append(tag)
    return answer


@routes.post("/api/printerprofiles", needs=Permission.SETTINGS)
async def add(call: Call) -> Wrapped:
    given = await call.body(Given)
    wanted, printer, known = _given(given), call.printer, call.host.profiles.all(call.printer)
    for field in ("id", "name"):
        if field not in wanted:
            raise Malformed(f"profile.{field} is missing")
    identifier = wanted["id"]
    if not isinstance(identifier, str):
        raise Malformed("profile.id is invalid")
    based_on = given.based_on if isinstance(given.based_on, str) and given.based_on in known else None
    base = known[printer.book.preferred_id if based_on is None else based_on]
    identifier = await call.host.profiles.add(
        printer, identifier, merged_profile(wanted, base), prefer=truth_of(wanted.get("default")), by=call.caller
    )
    return Wrapped(_profile(call, printer, identifier))


@routes.get("/api/printerprofiles/{id}", needs=Permission.CONNECT)
async def profile(call: Call) -> Profile:
    return _profile(call, call.printer, call.params["id"])


@routes.patch("/api/printerprofiles/{id}", needs=Permission.SETTINGS)
async def change(call: Call) -> Wrapped:
    wanted, printer, identifier = _given(await call.body(Given)), call.printer, call.params["id"]
    if wanted.get("id") not in (None, identifier):  # any JSON, so none that a set could have
        raise Malformed(f"a profile keeps its id; {identifier!r} cannot become {wanted['id']!r}")
    changed = merged_profile(wanted, call.host.profiles.get(printer, identifier))
    prefer = truth_of(wanted.get("default"))
    await call.host.profiles.change(printer, identifier, changed, prefer=prefer, by=call.caller)
    return Wrapped(_profile(call, printer, identifier))


@routes.delete("/api/printerprofiles/{id}", needs=Permission.SETTINGS)
async def remove(call: Call) -> Encoded:
    await call.host.profiles.remove(call.printer, call.params["id"], by=call.caller)
    return no_content()


def _given(body: Given) -> dict[str, Any]:
    if body.profile is None:
        raise Malformed("profile is missing")
    return body.profile
