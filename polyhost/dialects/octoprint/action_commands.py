"""``/api/plugin/action_command_prompt`` and ``…_notification``: what the firmware asks and tells people.

Upstream: OctoPrint 1.11, docs/bundledplugins/action_command_prompt.rst and action_command_notification.rst.
"""

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.octoprint.plugins import Result, SimpleApi
from polyhost.web.answers import Encoded, encoded
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()
prompt = SimpleApi("action_command_prompt", reads=Permission.CONTROL, acts=Permission.CONTROL)
notification = SimpleApi("action_command_notification", reads=Permission.LOOK, acts=Permission.CONTROL)


class Prompt(msgspec.Struct):
    """Empty when nothing is asked."""

    text: str | msgspec.UnsetType = msgspec.UNSET
    choices: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class Select(msgspec.Struct, tag_field="command", tag="select"):
    choice: int


class Notification(msgspec.Struct):
    timestamp: float
    message: str


class Notifications(msgspec.Struct):
    notifications: list[Notification]


class Clear(msgspec.Struct, tag_field="command", tag="clear"):
    pass


@prompt.get
async def question(call: Call) -> Encoded:
    asked = call.host.prompts.open_prompt(call.printer)
    return encoded(Prompt() if asked is None else Prompt(asked.text, asked.choices))


@prompt.command(Select)
async def answer(call: Call, wanted: Select) -> Result:
    await call.host.prompts.answer(call.printer, wanted.choice, by=call.caller)
    return None


@notification.get
async def notices(call: Call) -> Encoded:
    heard = call.host.prompts.notifications(call.printer)
    return encoded(Notifications([Notification(notice.at, notice.text) for notice in heard]))


@notification.command(Clear)
async def clear(call: Call, wanted: Clear) -> Result:
    call.host.prompts.clear(call.printer, by=call.caller)
    return None


routes.include(prompt.routes, notification.routes)
