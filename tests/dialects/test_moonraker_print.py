"""Prints started, paused, resumed and cancelled; the emergency stop and restarts."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import websockets

from polyhost.core.errors import NotFound
from polyhost.core.job import RunSignal, RunState
from polyhost.core.printer import PrinterState
from polyhost.core.user import Role
from polyhost.dialects.moonraker.websocket import MAX_WAITING
from tests.web.hosting import Hosted, hosted
from tests.web.serving import serving


async def post(one: Hosted, path: str, role: Role = Role.OPERATOR, **arguments: Any) -> tuple[int, Any]:
    async with one.client(role=role) as client:
        answer = await client.post(f"/printer/{path}", json=arguments)
    body = answer.json()
    return answer.status_code, body["result"] if "result" in body else body["error"]["message"]


@pytest.mark.parametrize("filename", ["dir/a.gcode", "/dir/a.gcode"])
async def test_a_print_goes_through_its_life(one: Hosted, filename: str) -> None:
    await one.put("dir/a.gcode")
    p = one.host.printers.default()
    assert await post(one, "print/start", filename=filename) == (200, "ok")
    assert (p.run_state, p.selected) == (RunState.PRINTING, "dir/a.gcode")
    assert await post(one, "print/pause") == (200, "ok")
    assert p.run_state is RunState.PAUSED
    assert await post(one, "print/pause") == (200, "ok")
    assert await post(one, "print/resume") == (200, "ok")
    assert p.run_state is RunState.PRINTING
    assert await post(one, "print/cancel") == (200, "ok")
    assert p.run_state is None
    assert p.run is not None
    assert p.run.state is RunState.CANCELLED


@pytest.mark.parametrize("what", ["pause", "resume", "cancel"])
async def test_what_is_idle_stays_so(one: Hosted, what: str) -> None:
    assert await post(one, f"print/{what}") == (200, "ok")
    assert one.machine.sent == []


@pytest.mark.parametrize("what", ["pause", "resume", "cancel"])
async def test_a_machine_that_is_not_there_is_not_idle(one: Hosted, what: str) -> None:
    await one.machine.emergency_stop()
    status, words = await post(one, f"print/{what}")
    assert (status, "has stopped" in words) == (400, True)
    await one.machine.disconnect()
    status, words = await post(one, f"print/{what}")
    assert (status, "is not connected" in words) == (503, True)


@pytest.mark.parametrize("what", ["pause", "resume", "cancel"])
async def test_the_answer_comes_when_it_is_done(one: Hosted, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await one.put("a.gcode")
    await post(one, "print/start", filename="a.gcode")
    if what == "resume":
        await post(one, "print/pause")
    signals = {
        "pause": (RunSignal.PAUSE, RunSignal.PAUSE_DONE),
        "resume": (RunSignal.RESUME, RunSignal.RESUME_DONE),
        "cancel": (RunSignal.CANCEL, RunSignal.CANCEL_DONE),
    }[what]
    asked = asyncio.Event()

    async def slowly(run_id: str) -> None:
        one.machine.signal(signals[0])
        asked.set()

    monkeypatch.setattr(one.machine, what, slowly)
    answer = asyncio.create_task(post(one, f"print/{what}"))
    await asked.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not answer.done()
    one.machine.signal(signals[1])
    assert await answer == (200, "ok")


async def test_a_machine_that_is_lost_while_it_pauses_is_no_wait_for_ever(
    one: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one.put("a.gcode")
    await post(one, "print/start", filename="a.gcode")

    async def dies(run_id: str) -> None:
        one.machine.say(state=PrinterState.UNREACHABLE)

    monkeypatch.setattr(one.machine, "pause", dies)
    assert await post(one, "print/pause") == (
        400,
        "one is unreachable; what becomes of its print is not known yet",
    )


async def test_what_cannot_be_started_says_why(one: Hosted) -> None:
    await one.put("a.gcode")
    await one.put("b.gcode")
    await one.put("c.stl")
    assert await post(one, "print/start", filename="c.stl") == (400, "c.stl is not G-code")
    assert await post(one, "print/start") == (400, "No data for argument: filename")
    assert await post(one, "print/start", filename="nope.gcode") == (400, "Unable to open file")
    assert await post(one, "print/start", filename="../../etc/passwd") == (400, "Unable to open file")
    assert await post(one, "print/start", filename="a.gcode") == (200, "ok")
    assert await post(one, "print/start", filename="b.gcode") == (400, "SD busy")


async def test_a_print_that_an_upload_began_is_not_begun_twice(one: Hosted) -> None:
    """Some slicers upload with ``print=true`` and start the same file again."""
    await one.put("a.gcode")
    assert await post(one, "print/start", filename="a.gcode") == (200, "ok")
    order = one.machine.order
    assert await post(one, "print/start", filename="/a.gcode") == (200, "ok")
    assert one.machine.order is order


async def test_a_file_that_is_reset_is_chosen_no_more(one: Hosted) -> None:
    await one.put("a.gcode")
    p = one.host.printers.default()
    await post(one, "print/start", filename="a.gcode")
    assert await post(one, "gcode/script", script="SDCARD_RESET_FILE") == (200, "ok")
    assert (p.run_state, p.selected) == (None, "")


@pytest.mark.parametrize("path", ["print/start", "print/pause", "print/resume", "print/cancel", "emergency_stop"])
async def test_who_may_not_print_does_not(one: Hosted, path: str) -> None:
    await one.put("a.gcode")
    assert (await post(one, path, Role.UPLOADER, filename="a.gcode"))[0] == 403


async def test_an_emergency_stop_and_the_way_back(one: Hosted) -> None:
    assert await post(one, "emergency_stop") == (200, "ok")
    assert one.machine.stopped
    assert one.machine.snapshot.state is PrinterState.FAULTED
    assert await post(one, "firmware_restart") == (200, "ok")
    assert one.machine.snapshot.state is PrinterState.READY
    assert one.machine.sent == []  # what is stopped hears nothing until its link is opened
    assert await post(one, "firmware_restart") == (200, "ok")
    assert one.machine.sent == ["M999"]
    assert await post(one, "restart") == (200, "ok")
    assert one.machine.sent == ["M999"]


async def test_a_port_that_is_gone_is_no_unknown_method(one: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(port: str | None = None, baud: int | None = None) -> None:
        raise NotFound("no port /dev/gone; available: none")

    monkeypatch.setattr(one.machine, "connect", gone)
    assert await post(one, "restart") == (400, "no port /dev/gone; available: none")


@pytest.mark.parametrize("path", ["restart", "firmware_restart"])
async def test_a_print_is_not_restarted_away(one: Hosted, path: str) -> None:
    await one.put("a.gcode")
    await post(one, "print/start", filename="a.gcode")
    assert await post(one, path) == (400, "one is printing; cancel the run first")


async def test_an_emergency_stop_passes_every_script_that_waits(tmp_path: Path) -> None:
    """Beyond the scripts that may wait, others are refused and not queued, so that it is heard at once."""

    def message(method: str, number: int, **params: Any) -> str:
        return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number})

    async with hosted(tmp_path) as one, serving(one) as (served, _):
        headers = {"X-Api-Key": one.keys[Role.OPERATOR]}
        async with websockets.connect(
            f"{served.sockets}/websocket", additional_headers=headers, max_queue=None
        ) as client:
            script = "TEMPERATURE_WAIT SENSOR=extruder MINIMUM=200"
            for number in range(MAX_WAITING + 2):
                await client.send(message("printer.gcode.script", number, script=script))
            await client.send(message("printer.emergency_stop", 1000))
            began, answers = time.monotonic(), {}
            while 1000 not in answers:
                heard = json.loads(await client.recv())
                if "id" in heard:
                    answers[heard["id"]] = heard
            assert time.monotonic() - began < 5
            assert answers[1000]["result"] == "ok"
            assert one.machine.stopped
            refused = [number for number, heard in answers.items() if heard.get("error", {}).get("code") == 503]
            assert refused == [MAX_WAITING, MAX_WAITING + 1]
