"""What a firmware's errors lead to, as its owner wants it, and what no owner may want."""

import asyncio

import pytest

from polyhost.core.events import DriverEvent, FirmwareSpoke
from polyhost.core.handling import Handling, OnError
from polyhost.core.printer import Cause
from polyhost.engine import faults
from polyhost.engine.messages import MachineSettings, VirtualLink
from polyhost.firmware.marlin.replies import FirmwareError, parse_reply


class Link:
    def __init__(self) -> None:
        self.first: list[bytes] = []

    def write_first(self, data: bytes) -> None:
        self.first.append(data)


class Part:
    def __init__(self) -> None:
        self.link = Link()
        self.session = self
        self.damaged = self.resends = 0


class Holder:
    name = "one"

    def __init__(self, on_error: OnError) -> None:
        self.settings = MachineSettings(VirtualLink(), handling=Handling(on_error=on_error))
        self.conversation = self.connection = Part()
        self.spoke: list[str] = []
        self.ends: list[str] = []

    def say_event(self, event: DriverEvent) -> None:
        assert isinstance(event, FirmwareSpoke)
        self.spoke.append(event.consequence)

    def stop_for(self, reason: str, cause: Cause) -> None:
        self.ends.append(f"stop {cause.value}")

    def break_run(self, reason: str) -> None:
        self.ends.append("break")


async def led_to(holder: Holder, line: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    [error] = parse_reply(line)
    assert isinstance(error, FirmwareError)
    monkeypatch.setattr(faults, "CONFIRM_S", 0.0)
    faults.Faults(holder).hear(error)  # type: ignore[arg-type]  # what it asks of a holder and no more
    while not holder.spoke:
        await asyncio.sleep(0)
    return holder.spoke, holder.ends


@pytest.mark.parametrize(
    ("line", "disconnect", "cancel", "ignore"),
    [
        ("Error:Thermal Runaway, system stopped! Heater_ID: 0", *["stop emergency"] * 3),
        ("Error:MINTEMP triggered, system stopped!", *["stop emergency"] * 3),
        ("Error:Printer halted. kill() called!", *["stop firmware"] * 3),
        ("Error:Homing failed", "stop firmware", "break", None),
        ("Error:Failed to enable Bed Leveling", "stop firmware", "break", None),
        ("Error:volume.init failed", None, None, None),
        ("Error:EEPROM version mismatch", None, None, None),
    ],
)
async def test_an_error_leads_to_what_its_owner_wants(
    monkeypatch: pytest.MonkeyPatch, line: str, disconnect: str | None, cancel: str | None, ignore: str | None
) -> None:
    wanted = {OnError.DISCONNECT: disconnect, OnError.CANCEL: cancel, OnError.IGNORE: ignore}
    for on_error, end in wanted.items():
        holder = Holder(on_error)
        spoke, ends = await led_to(holder, line, monkeypatch)
        assert ends == ([] if end is None else [end]), on_error
        consequence = {None: "", "break": "cancel", "stop firmware": "disconnect", "stop emergency": "emergency"}[end]
        assert spoke == [consequence]
        assert holder.connection.link.first == ([b"M112\n"] if end == "stop emergency" else [])


@pytest.mark.parametrize("sign", ["damaged", "resends"])
async def test_what_may_be_a_damaged_line_is_told_and_no_more(monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    holder = Holder(OnError.DISCONNECT)
    setattr(holder.conversation, sign, 1)
    assert await led_to(holder, "Error:chezksom misma, Lost Line: 5", monkeypatch) == ([""], [])
