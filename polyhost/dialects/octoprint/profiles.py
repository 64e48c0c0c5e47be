"""``/api/printerprofiles``: the shape of the machine; each printer has one, called ``_default``.

Upstream: OctoPrint 1.11, docs/api/printerprofiles.rst.  Lengths in mm, speeds in mm/min.
"""

import msgspec

from polyhost.core.errors import NotFound
from polyhost.core.printer import Axis as CoreAxis
from polyhost.core.printer import PrinterProfile
from polyhost.core.units import mm_min_from_mm_s
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.metadata import PROFILE
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()


class Volume(msgspec.Struct):
    form_factor: str = msgspec.field(name="formFactor")
    origin: str
    width: float
    depth: float
    height: float
    custom_box: bool = False


class Extruder(msgspec.Struct, rename="camel"):
    count: int
    offsets: tuple[tuple[float, float], ...]
    nozzle_diameter: float
    shared_nozzle: bool
    default_extrusion_length: float


class Axis(msgspec.Struct):
    speed: float
    inverted: bool


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
    axes: dict[str, Axis]


class Profiles(msgspec.Struct):
    profiles: dict[str, Profile]


def profile_of(profile: PrinterProfile, base: str) -> Profile:
    return Profile(
        id=PROFILE,
        name=profile.name,
        model=profile.model,
        color=profile.color,
        current=True,
        default=True,
        resource=f"{base}/api/printerprofiles/{PROFILE}",
        volume=Volume(
            "circular" if profile.circular else "rectangular",
            "center" if profile.circular or profile.origin_at_center else "lowerleft",
            *(profile.width, profile.depth, profile.height),
        ),
        heated_bed=profile.heated_bed,
        heated_chamber=profile.heated_chamber,
        extruder=Extruder(
            profile.extruders,
            profile.extruder_offsets,
            profile.nozzle_diameter,
            profile.shared_nozzle,
            profile.default_extrusion_length,
        ),
        axes={"x": axis_of(profile.x), "y": axis_of(profile.y), "z": axis_of(profile.z), "e": axis_of(profile.e)},
    )


def axis_of(axis: CoreAxis) -> Axis:
    return Axis(round(mm_min_from_mm_s(axis.speed_mm_s), 3), axis.inverted)


@routes.get("/api/printerprofiles", needs=Permission.CONNECT)
async def profiles(call: Call) -> Profiles:
    return Profiles({PROFILE: profile_of(call.printer.profile, call.base)})


@routes.get("/api/printerprofiles/{id}", needs=Permission.CONNECT)
async def profile(call: Call) -> Profile:
    if call.params["id"] != PROFILE:
        raise NotFound(f"no profile {call.params['id']!r}; there is {PROFILE}")
    return profile_of(call.printer.profile, call.base)
