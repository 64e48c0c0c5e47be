"""``/server/webcams``: the cameras that look at a printer, which are those of every other dialect, too.

A password in a URL is shown to who may set it, and to nobody in a notification; a URL that comes back without its
password keeps it.

Upstream: docs/external_api/webcams.md; specification, 2.11.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.errors import LinkLost, Malformed, NotFound, NotNow
from polyhost.core.events import PreferencesChanged
from polyhost.core.user import Caller, Permission
from polyhost.core.webcam import Webcam, without_password
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Notification, Resource
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.services.webcams import PrinterWebcams

resource = Resource("webcam")


class Cam(msgspec.Struct):
    name: str
    enabled: bool
    icon: str
    aspect_ratio: str
    target_fps: int
    target_fps_idle: int
    location: str
    service: str
    stream_url: str
    snapshot_url: str
    flip_horizontal: bool
    flip_vertical: bool
    rotation: int
    source: str
    extra_data: msgspec.Raw
    uid: str


class Named(msgspec.Struct):
    """By its uid, or by its name."""

    uid: str | None = None
    name: str | None = None


class Given(msgspec.Struct):
    """What is to be set; the rest of a webcam stays, or has its default."""

    uid: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    icon: str | UnsetType = UNSET
    aspect_ratio: str | UnsetType = UNSET
    target_fps: int | UnsetType = UNSET
    target_fps_idle: int | UnsetType = UNSET
    location: str | UnsetType = UNSET
    service: str | UnsetType = UNSET
    stream_url: str | UnsetType = UNSET
    snapshot_url: str | UnsetType = UNSET
    flip_horizontal: bool | UnsetType = UNSET
    flip_vertical: bool | UnsetType = UNSET
    rotation: int | UnsetType = UNSET
    extra_data: dict[str, Any] | UnsetType = UNSET


class Tested(msgspec.Struct):
    name: str
    snapshot_reachable: bool
    snapshot_url: str
    stream_url: str


def cam_of(webcam: Webcam, *, may_set: bool) -> Cam:
    stream, snapshot = urls_of(webcam, may_set=may_set)
    return Cam(
        *(webcam.name, webcam.enabled, webcam.icon, webcam.aspect_ratio, webcam.target_fps, webcam.target_fps_idle),
        *(webcam.location, webcam.service, stream, snapshot),
        *(webcam.flip_horizontal, webcam.flip_vertical, webcam.rotation, "database"),
        msgspec.Raw(webcam.extra_data.encode()),
        webcam.uid,
    )


def cams_of(host: Host, p: Printer, *, may_set: bool) -> list[Cam]:
    return [cam_of(webcam, may_set=may_set) for webcam in host.webcams.all(p)]


def urls_of(webcam: Webcam, *, may_set: bool) -> tuple[str, str]:
    """Of the stream and of the snapshot."""
    urls = webcam.stream_url, webcam.snapshot_url
    return urls if may_set else (without_password(urls[0]), without_password(urls[1]))


def wished(before: Webcam, given: Given) -> Webcam:
    """`before` with what is given; the uid is its own."""
    changes = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not UNSET}
    changes.pop("uid", None)
    if "extra_data" in changes:
        changes["extra_data"] = msgspec.json.encode(changes["extra_data"]).decode()
    for name in ("stream_url", "snapshot_url"):
        if name in changes:
            changes[name] = url_of(changes[name], getattr(before, name))
    return msgspec.structs.replace(before, **changes)


def url_of(given: str, before: str) -> str:
    """A path is one on the host, and a URL as it is shown without its password is the one that is there.

    >>> url_of("webcam/?action=stream", ""), url_of("http://cam/1", "http://ada:secret@cam/1")
    ('/webcam/?action=stream', 'http://ada:secret@cam/1')
    """
    given = given.strip()
    if given and given == without_password(before):
        return before
    return f"/{given}" if given and "://" not in given and not given.startswith("/") else given


def namespace_of(host: Host, p: Printer, *, may_set: bool) -> dict[str, Any]:
    """The webcams as upstream keeps them in its database."""
    return {
        cam.uid: {
            "name": cam.name,
            "service": cam.service,
            "targetFps": cam.target_fps,
            "urlStream": cam.stream_url,
            "urlSnapshot": cam.snapshot_url,
            "flipX": cam.flip_horizontal,
            "flipY": cam.flip_vertical,
            "enabled": cam.enabled,
            "targetFpsIdle": cam.target_fps_idle,
            "aspectRatio": cam.aspect_ratio,
            "icon": cam.icon,
            "location": cam.location,
            "rotation": cam.rotation,
            "extra_data": cam.extra_data,
        }
        for cam in cams_of(host, p, may_set=may_set)
    }


def may_set(caller: Caller, p: Printer) -> bool:
    return caller.may(Permission.SETTINGS, p.slug)


def _named(request: Request) -> Webcam:
    """The webcam that is asked for; `NotFound` when there is none."""
    named, webcams = request.read(Named), request.host.webcams
    if named.uid is not None:
        return webcams.get_by_uid(request.printer, named.uid)
    if named.name is None:
        raise Malformed("No data for argument: name")
    return webcams.get(request.printer, named.name)


def _shown(request: Request, webcam: Webcam) -> dict[str, Cam]:
    return {"webcam": cam_of(webcam, may_set=may_set(request.caller, request.printer))}


@resource.on(PreferencesChanged)
def told_of_webcams(notice: PreferencesChanged, host: Host) -> Iterator[Notification]:
    if notice.section != PrinterWebcams.__name__:
        return
    printers = [p for p in host.printers.all() if p.slug == notice.printer]
    for p in printers:
        cams = cams_of(host, p, may_set=False)
        yield Notification("webcams_changed", ({"webcams": cams},), printer=p.slug)


@resource.get("/server/webcams/list", needs=Permission.LOOK)
async def listed(request: Request) -> dict[str, list[Cam]]:
    p = request.printer
    return {"webcams": cams_of(request.host, p, may_set=may_set(request.caller, p))}


@resource.get("/server/webcams/item", needs=Permission.LOOK)
async def get_item(request: Request) -> dict[str, Cam]:
    return _shown(request, _named(request))


@resource.post("/server/webcams/item", needs=Permission.SETTINGS)
async def post_item(request: Request) -> dict[str, Cam]:
    """Sets what is given of the webcam of that uid or name; a name that there is none of is a new webcam's."""
    given = request.read(Given)
    try:
        before = _named(request)
    except NotFound:
        if given.uid is not UNSET:
            raise
        if given.stream_url is UNSET:
            raise Malformed("No data for argument: stream_url") from None
        before = Webcam(aspect_ratio="4:3")
    webcam = await request.host.webcams.put(request.printer, wished(before, given), by=request.caller)
    return _shown(request, webcam)


@resource.delete("/server/webcams/item", needs=Permission.SETTINGS)
async def delete_item(request: Request) -> dict[str, Cam]:
    webcam = _named(request)
    await request.host.webcams.remove(request.printer, webcam.name, by=request.caller)
    return _shown(request, webcam)


@resource.post("/server/webcams/test", needs=Permission.LOOK, waits=True)
async def test(request: Request) -> Tested:
    """Whether a picture comes from where it is said to; of a stream nothing is fetched."""
    webcam = _named(request)
    try:
        await request.host.webcams.snapshot(request.printer, webcam.name, by=request.caller)
        reachable = True
    except (LinkLost, NotNow):
        reachable = False
    stream, snapshot = urls_of(webcam, may_set=may_set(request.caller, request.printer))
    return Tested(webcam.name, reachable, snapshot, stream)
