"""Switches that printers get their current through: Tasmota, Shelly, Home Assistant, or any that HTTP can switch.

They, and nothing else, are asked as the settings file says (S12).  What a switch says itself is its state; who says
nothing is in error.  A switch that is locked is left alone while one of its printers prints.
"""

import asyncio
import contextlib
import urllib.parse
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from polyhost import config
from polyhost.core.errors import LinkLost, Malformed, NotFound, NotNow
from polyhost.core.events import PowerChanged
from polyhost.core.user import Caller, Permission
from polyhost.services.asking import ask
from polyhost.services.bus import Bus
from polyhost.services.printer import Printer
from polyhost.services.printers import Printers

LOOK_EVERY_S: Final = 15.0
ANSWERS_WITHIN_S: Final = 5.0
MAX_ANSWER: Final = 65536
ON: Final = "on"
OFF: Final = "off"
INIT: Final = "init"  # nobody asked it yet
ERROR: Final = "error"
TOGGLE: Final = "toggle"


class Switch:
    """One power device and what it said last."""

    def __init__(self, settings: config.Power) -> None:
        self.settings = settings
        self.status = INIT
        self.asking = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.settings.name

    def is_of(self, p: Printer) -> bool:
        return not self.settings.printers or p.slug in self.settings.printers


class Power:
    def __init__(self, devices: Sequence[config.Power], printers: Printers, bus: Bus) -> None:
        self._switches = {device.name: Switch(device) for device in devices}
        self._printers = printers
        self._bus = bus

    @property
    def is_configured(self) -> bool:
        return bool(self._switches)

    async def run(self) -> None:
        """Ask each of them now and then, all at once."""
        while self._switches:
            async with asyncio.TaskGroup() as group:
                for switch in self._switches.values():
                    group.create_task(self._look(switch), name=f"power device {switch.name}")
            await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.Event().wait()

    def all(self, p: Printer, by: Caller) -> list[Switch]:
        by.require(Permission.LOOK, p.slug)
        return [switch for switch in self._switches.values() if switch.is_of(p)]

    def get(self, p: Printer, name: str, by: Caller) -> Switch:
        for switch in self.all(p, by):
            if switch.name == name:
                return switch
        there = ", ".join(switch.name for switch in self.all(p, by)) or "none"
        raise NotFound(f"no switch {name[:255]!r} is for {p.slug}; there are: {there}")

    async def status(self, p: Printer, name: str, by: Caller) -> str:
        """What it says now: ``on`` or ``off``, or ``error`` when it says nothing."""
        switch = self.get(p, name, by)
        await self._look(switch)
        return switch.status

    async def switch(self, p: Printer, name: str, action: str, by: Caller) -> str:
        """Switch it ``on``, ``off``, or (``toggle``) to what it is not; its state then.

        `LinkLost` when it does not answer, `NotNow` when it is locked.
        """
        by.require(Permission.CONTROL, p.slug)
        if action not in {ON, OFF, TOGGLE}:
            raise Malformed(f"a switch cannot be told {action[:40]!r}; there are on, off and toggle")
        switch = self.get(p, name, by)
        async with switch.asking:
            if action == TOGGLE:
                action = OFF if await self._asked(switch, "") == ON else ON
            self._check_lock(switch)
            return await self._asked(switch, action)

    def _check_lock(self, switch: Switch) -> None:
        if not switch.settings.locked_while_printing:
            return
        printing = [p.slug for p in self._printers.all() if switch.is_of(p) and p.run_state is not None]
        if printing:
            raise NotNow(f"{switch.name} is left alone while {', '.join(printing)} prints")

    async def _look(self, switch: Switch) -> None:
        async with switch.asking:
            with contextlib.suppress(LinkLost):  # which its status says
                await self._asked(switch, "")

    async def _asked(self, switch: Switch, action: str) -> str:
        """Its state, after it was switched as `action` says ("": left alone); `LinkLost` without an answer."""
        try:
            status = await _SPEAK[switch.settings.type](switch, action)
        except LinkLost:
            self._note(switch, ERROR)
            raise
        self._note(switch, status)
        return status

    def _note(self, switch: Switch, status: str) -> None:
        if status != switch.status:
            switch.status = status
            self._bus.publish(PowerChanged(switch.name, status))


async def _tasmota(switch: Switch, action: str) -> str:
    device = switch.settings
    key = f"Power{device.output or 1}"
    said = {"cmnd": f"{key} {action}" if action else key}
    if device.user or device.password:
        said = {"user": device.user or "admin", "password": device.password, **said}
    answer = await _json(switch, "GET", f"/cm?{urllib.parse.urlencode(said, quote_via=urllib.parse.quote)}")
    state = answer.get(key.upper(), answer.get("POWER") if key == "Power1" else None)
    return _state_of(switch, state)


async def _shelly(switch: Switch, action: str) -> str:
    device = switch.settings
    turn = f"?turn={action}" if action else ""
    auth = (device.user or "admin", device.password) if device.user or device.password else None
    answer = await _json(switch, "GET", f"/relay/{device.output or 0}{turn}", auth=auth)
    ison = answer.get("ison")
    return _state_of(switch, (ON if ison else OFF) if isinstance(ison, bool) else None)


async def _home_assistant(switch: Switch, action: str) -> str:
    device = switch.settings
    headers = {"authorization": f"Bearer {device.token}"}
    if action:
        path = f"/api/services/{device.entity.split('.')[0]}/turn_{action}"
        await _text(switch, "POST", device.url.rstrip("/") + path, headers=headers, json={"entity_id": device.entity})
    answer = await _json(switch, "GET", f"/api/states/{device.entity}", headers=headers)
    return _state_of(switch, answer.get("state"))


async def _http(switch: Switch, action: str) -> str:
    """A switch that cannot be asked is what it was told last."""
    device = switch.settings
    if action:
        await _text(switch, "GET", device.on_url if action == ON else device.off_url)
    if not device.url:
        return action or switch.status
    return ON if device.on_text in await _text(switch, "GET", device.url) else OFF


_SPEAK: Final = {"tasmota": _tasmota, "shelly": _shelly, "homeassistant": _home_assistant, "http": _http}


def _state_of(switch: Switch, said: Any) -> str:
    state = said.lower() if isinstance(said, str) else ""
    if state not in {ON, OFF}:
        raise LinkLost(f"the power device {switch.name} does not say whether it is on")
    return state


async def _json(switch: Switch, method: str, path: str, **more: Any) -> dict[str, Any]:
    text = await _text(switch, method, switch.settings.url.rstrip("/") + path, **more)
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise LinkLost(f"what the power device {switch.name} answers is not JSON: {error}") from error


async def _text(switch: Switch, method: str, url: str, **more: Any) -> str:
    who = f"the power device {switch.name}"
    answer = await ask(who, method, url, within_s=ANSWERS_WITHIN_S, max_bytes=MAX_ANSWER, **more)
    if not 200 <= answer.status < 300:
        raise LinkLost(f"{who} answers {answer.status}")
    return answer.body.decode("utf-8", "replace")
