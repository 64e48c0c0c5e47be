"""``/machine/device_power``: switches that the printer, or what is around it, gets its current through.

Listed where the settings file names one.

Upstream: docs/external_api/devices.md; specification, 2.12.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from polyhost.core.errors import Malformed, NotFound
from polyhost.core.events import PowerChanged
from polyhost.core.user import Caller, Permission, Role
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Notification, Resource
from polyhost.services.host import Host
from polyhost.services.power import OFF, ON, Power, Switch

resource = Resource("power", listed=lambda host: host.power.is_configured)

MISSING: Final = "device_not_found"
_ITSELF: Final = Caller("power devices", Role.VIEWER)


class Device(msgspec.Struct):
    device: str
    status: str
    locked_while_printing: bool
    type: str


class Named(msgspec.Struct):
    device: str


class Wanted(msgspec.Struct):
    device: str
    action: str


def device_of(switch: Switch) -> Device:
    settings = switch.settings
    return Device(switch.name, switch.status, settings.locked_while_printing, settings.type)


@resource.on(PowerChanged)
def told_of_power(notice: PowerChanged, host: Host) -> Iterator[Notification]:
    for p in host.printers.all():
        for switch in host.power.all(p, by=_ITSELF):
            if switch.name == notice.device:
                device = msgspec.structs.replace(device_of(switch), status=notice.status)
                yield Notification("power_changed", (device,), printer=p.slug)


def _power(request: Request) -> Power:
    power = request.host.power
    if not power.is_configured:
        raise NotFound("Not Found")
    return power


def _names(request: Request) -> list[str]:
    """Devices are named by the arguments' names, whatever their values."""
    if not request.arguments:
        raise Malformed("name one device or more")
    return list(request.arguments)


async def _of_each(request: Request, action: str) -> dict[str, str]:
    """By name: its state, after it was switched as `action` says ("": it is asked alone)."""
    power, p, by = _power(request), request.printer, request.caller
    there = {switch.name for switch in power.all(p, by=by)}
    states: dict[str, str] = {}
    for name in _names(request):
        if name not in there:
            states[name] = MISSING
        elif action:
            states[name] = await power.switch(p, name, action, by=by)
        else:
            states[name] = await power.status(p, name, by=by)
    return states


@resource.get("/machine/device_power/devices", needs=Permission.LOOK)
async def devices(request: Request) -> dict[str, list[Device]]:
    found = _power(request).all(request.printer, by=request.caller)
    return {"devices": [device_of(switch) for switch in found]}


@resource.get("/machine/device_power/device", needs=Permission.LOOK, waits=True)
async def get_device(request: Request) -> dict[str, str]:
    power, name = _power(request), request.read(Named).device
    return {name: await power.status(request.printer, name, by=request.caller)}


@resource.post("/machine/device_power/device", needs=Permission.CONTROL, waits=True)
async def post_device(request: Request) -> dict[str, str]:
    power, wanted = _power(request), request.read(Wanted)
    state = await power.switch(request.printer, wanted.device, wanted.action.lower(), by=request.caller)
    return {wanted.device: state}


@resource.get("/machine/device_power/status", needs=Permission.LOOK, waits=True)
async def status(request: Request) -> dict[str, str]:
    return await _of_each(request, "")


@resource.post("/machine/device_power/on", needs=Permission.CONTROL, waits=True)
async def switch_on(request: Request) -> dict[str, str]:
    return await _of_each(request, ON)


@resource.post("/machine/device_power/off", needs=Permission.CONTROL, waits=True)
async def switch_off(request: Request) -> dict[str, str]:
    return await _of_each(request, OFF)
