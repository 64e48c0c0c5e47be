"""What was said at a console: kept, bounded, and told to those who look."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import websockets

from polyhost.core.events import ConsoleLine, ConsoleLines, HostActionRequested
from polyhost.core.user import Role
from polyhost.dialects.moonraker.gcode.store import messages_of, prompt_lines
from tests.web.hosting import Hosted
from tests.web.serving import serving


def heard(*texts: str) -> tuple[ConsoleLine, ...]:
    return tuple(ConsoleLine(float(at), False, text) for at, text in enumerate(texts))


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        (["ok", "ok T:20.1 /0.0", "wait", "ok N5 P15 B3"], []),
        (["T:20.1 /0.0 B:20.0 /0.0 @:0 B@:0", " T:200.1 /200.0 @:10 W:3", "B:60 /60", "T0:20.1 /0"], []),
        (["echo:busy: processing", "busy: paused for user", "start", "Resend: 5"], []),
        (["FIRMWARE_NAME:Marlin 2.1", "Cap:EEPROM:1"], ["FIRMWARE_NAME:Marlin 2.1\nCap:EEPROM:1"]),
        (["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"], ["X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"]),
        (["echo:a", "Error:MINTEMP triggered", "echo:b"], ["echo:a", "!! MINTEMP triggered", "echo:b"]),
        (["//action:pause", "//action:prompt_begin Hi"], ["//action:pause"]),
        (['echo:Unknown command: "M150 R255"', "echo:x"], ['// Unknown command:"M150"', "echo:x"]),
        (["Unknown command: FROB"], ['// Unknown command:"FROB"']),
        (["echo:M851 X-10", ""], ["echo:M851 X-10"]),
    ],
)
def test_what_is_worth_telling(lines: list[str], messages: list[str]) -> None:
    assert [message for _, message in messages_of(heard(*lines))] == messages


def test_what_was_sent_is_no_answer() -> None:
    assert list(messages_of([ConsoleLine(1.0, True, "G28"), ConsoleLine(2.0, True, "echo:x")])) == []


def test_a_question_is_asked_as_klipper_s_macros_ask() -> None:
    assert prompt_lines("Filament out", ("Purge|more", "Go on")) == [
        "// action:prompt_begin Filament out",
        "// action:prompt_button Purge/more|M876 S0",
        "// action:prompt_button Go on|M876 S1",
        "// action:prompt_show",
    ]


def test_a_notice_without_choices_has_something_to_show() -> None:
    assert prompt_lines("Wait", ())[1] == "// action:prompt_text Wait"


async def entries(one: Hosted, query: str = "") -> list[dict[str, Any]]:
    async with one.client(role=Role.VIEWER) as client:
        answer = await client.get(f"/server/gcode_store{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["result"]["gcode_store"]
    return found


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_clients_are_told_and_may_ask_later(one: Hosted) -> None:
    async with serving(one) as (served, _):
        headers = {"X-Api-Key": one.keys[Role.OPERATOR]}
        address = f"{served.sockets}/websocket"
        async with (
            websockets.connect(address, additional_headers=headers) as client,
            websockets.connect(address) as stranger,
        ):

            async def told() -> str:
                async with asyncio.timeout(10):
                    while True:
                        notice = json.loads(await client.recv())
                        if notice.get("method") == "notify_gcode_response":
                            assert "id" not in notice
                            (message,) = notice["params"]
                            return str(message)

            call = {"jsonrpc": "2.0", "method": "printer.gcode.script", "id": 1, "params": {"script": "M118 hi\nM115"}}
            await client.send(json.dumps(call))
            assert await told() == "echo: hi"
            lines = [*heard("ok", "FIRMWARE_NAME:Marlin", "Cap:EEPROM:1"), ConsoleLine(9.0, True, "G1 X5")]
            one.host.printers.heard(ConsoleLines("one", tuple(lines)))
            assert await told() == "FIRMWARE_NAME:Marlin\nCap:EEPROM:1"

            one.host.printers.heard(HostActionRequested("one", "prompt_begin", "Filament out"))
            one.host.printers.heard(HostActionRequested("one", "prompt_button", "Purge"))
            one.host.printers.heard(HostActionRequested("one", "prompt_button", "Go on"))
            one.host.printers.heard(HostActionRequested("one", "prompt_show", ""))
            asked = [await told() for _ in range(4)]
            assert asked[2] == "// action:prompt_button Go on|M876 S1"
            call["params"] = {"script": asked[2].rpartition("|")[2]}
            await client.send(json.dumps(call))
            assert await told() == "// action:prompt_end"
            await eventually(lambda: one.machine.sent[-1] == "M876 S1")

            await stranger.send(json.dumps({"jsonrpc": "2.0", "method": "access.info", "id": 7}))
            assert json.loads(await stranger.recv())["id"] == 7  # and nothing was told before
        kept = await entries(one)
        assert [(one["message"], one["type"]) for one in kept][:3] == [
            ("M118 hi\nM115", "command"),
            ("echo: hi", "response"),
            ("FIRMWARE_NAME:Marlin\nCap:EEPROM:1", "response"),
        ]
        assert await entries(one, "?count=2") == kept[-2:]
        assert await entries(one, "?count=0") == []
        early = await entries(one, "?edition=early")
        assert [entry.keys() for entry in early] == [{"message", "time"}] * len(early)
        assert early[0]["message"] == "echo: hi"


async def test_a_thousand_are_kept(one: Hosted) -> None:
    from polyhost.dialects.moonraker.live import Live

    live = one.application.parts[Live]
    assert isinstance(live, Live)
    for number in range(1005):
        live.gcode.say("one", f"// {number}")
    kept = await entries(one)
    assert (len(kept), kept[0]["message"], kept[-1]["message"]) == (1000, "// 5", "// 1004")
    live.gcode.commanded("one", "x" * 100_000)
    assert len((await entries(one))[-1]["message"]) == 16 << 10


@pytest.mark.parametrize("query", ["?count=-1", "?count=x"])
async def test_a_count_is_a_count(one: Hosted, query: str) -> None:
    async with one.client(role=Role.VIEWER) as client:
        assert (await client.get(f"/server/gcode_store{query}")).status_code == 400
