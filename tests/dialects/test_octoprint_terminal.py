"""Commands, scripts by name, and what a firmware asks, over HTTP; statuses as a live 1.11.8 has them."""

import asyncio
from typing import Any

import httpx
import pytest

from polyhost.core.errors import Malformed
from polyhost.core.events import HostActionRequested
from polyhost.core.printer import Cause, PrinterState
from polyhost.core.user import Role
from polyhost.dialects.octoprint.terminal import filled
from polyhost.services.accounts import LOCAL
from polyhost.services.scripts import GcodeScripts
from tests.web.hosting import Hosted

COMMAND = "/api/printer/command"
PROMPT = "/api/plugin/action_command_prompt"
NOTICES = "/api/plugin/action_command_notification"


@pytest.mark.parametrize(
    ("command", "parameters", "sent"),
    [
        ("M104 S%(t)s", {"t": 200}, "M104 S200"),
        ("G1 X%(x).2f Y%(x)d", {"x": 1.256}, "G1 X1.26 Y1"),
        ("M117 50%% %(who)s", {"who": "ada"}, "M117 50% ada"),
        ("M117 50%% %(who)s", {}, "M117 50%% %(who)s"),
    ],
)
def test_parameters_are_put_in_their_places(command: str, parameters: dict[str, object], sent: str) -> None:
    assert filled(command, parameters) == sent


@pytest.mark.parametrize("value", ["warm", None, [1], {}, 1e400])
def test_a_parameter_that_is_no_number_is_named(value: object) -> None:
    with pytest.raises(Malformed, match="'t'"):
        filled("M104 S%(t)d", {"t": value})


@pytest.mark.parametrize(
    ("body", "status", "sent"),
    [
        ({"script": "purge", "parameters": {"mm": 5}}, 204, ["G1 E5", "M117 "]),
        (
            {"script": "purge", "parameters": {"mm": 5}, "context": {"who": "a\nM112;{x}"}},
            204,
            ["G1 E5", "M117 a M112,(x)"],
        ),
        ({"script": "purge"}, 400, []),
        ({"script": "nothing"}, 404, []),
        ({"script": "purge", "command": "G28"}, 400, []),
        ({"script": "purge", "parameters": [5]}, 400, []),
        ({"script": None}, 400, []),
        ({"commands": ["@OBJECT it", "G28"]}, 204, ["G28"]),
        ({"command": "M104 S301"}, 400, []),
        ({"command": "M104 S%(t)s", "parameters": {"t": 301}}, 400, []),
        ({"command": "M0"}, 204, []),
    ],
)
async def test_commands_and_scripts(one: Hosted, body: dict[str, Any], status: int, sent: list[str]) -> None:
    scripts = GcodeScripts({"purge": "G1 E{{ parameters.mm }}\nM117 {{ context.who|default('') }} ;"})
    await one.host.scripts.put(one.host.printers.default(), scripts, LOCAL)
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post(COMMAND, json=body)
    assert answer.status_code == status, answer.text
    assert [line.strip() for line in one.machine.sent] == [line.strip() for line in sent]
    if status == 400 and "301" in str(body):
        assert "300 °C" in answer.json()["error"]


async def asked(client: httpx.AsyncClient, path: str, until: Any) -> Any:
    """What GET answers once `until` holds of it."""
    async with asyncio.timeout(5):
        while not until(answer := (await client.get(path)).json()):
            await asyncio.sleep(0)
    return answer


async def test_a_prompt_is_read_and_answered(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        assert (await client.get(PROMPT)).json() == {}
        assert (await client.post(PROMPT, json={"command": "select", "choice": 0})).status_code == 409
        for action, text in (("begin", "Load <b>it</b>?"), ("choice", "Yes"), ("choice", "No"), ("show", "")):
            one.host.printers.heard(HostActionRequested("one", f"prompt_{action}", text))
        assert await asked(client, PROMPT, bool) == {"text": "Load <b>it</b>?", "choices": ["Yes", "No"]}
        for wrong in (2, -1, "0", True, None, 0.5):
            answer = await client.post(PROMPT, json={"command": "select", "choice": wrong})
            assert answer.status_code == 400, wrong
        assert (await client.post(PROMPT, json={"command": "select"})).status_code == 400
        assert (await client.post(PROMPT, json={"command": "select", "choice": 1})).status_code == 204
        assert one.machine.sent == ["M876 S1"]
        assert (await client.get(PROMPT)).json() == {}


async def test_notices_are_read_and_cleared(one: Hosted) -> None:
    one.host.printers.heard(HostActionRequested("one", "notification", "Door open"))
    async with one.client(role=Role.VIEWER) as viewer, one.client(role=Role.OPERATOR) as client:
        [notice] = (await asked(viewer, NOTICES, lambda answer: answer["notifications"]))["notifications"]
        assert notice == {"timestamp": notice["timestamp"], "message": "Door open"}
        assert (await viewer.post(NOTICES, json={"command": "clear"})).status_code == 403
        assert (await client.post(NOTICES, json={"command": "clear"})).status_code == 204
        assert (await client.get(NOTICES)).json() == {"notifications": []}


@pytest.mark.parametrize(
    ("state", "cause", "reason", "consequence"),
    [
        (PrinterState.FAULTED, Cause.EMERGENCY, "firmware", "emergency"),
        (PrinterState.FAULTED, Cause.FIRMWARE, "firmware", "disconnect"),
        (PrinterState.UNREACHABLE, Cause.RESEND, "resend", "disconnect"),
        (PrinterState.UNREACHABLE, Cause.TIMEOUT, "timeout", "disconnect"),
        (PrinterState.UNREACHABLE, None, "connection", "disconnect"),
    ],
)
async def test_the_last_error_says_why(
    one: Hosted, state: PrinterState, cause: Cause | None, reason: str, consequence: str
) -> None:
    async with one.client(role=Role.VIEWER) as client:
        assert (await client.get("/api/printer/error")).json() == {"error": "", "reason": ""}
        one.machine.say(state=state, fault="it said so", cause=cause)
        told = (await client.get("/api/printer/error")).json()
        assert told == {"error": "it said so", "reason": reason, "consequence": consequence}
