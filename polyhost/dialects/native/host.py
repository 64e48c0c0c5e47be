"""``/native/v1/host``, the first start (``/setup``), and the page at ``/``."""

import html
from typing import Final

import msgspec

from polyhost import __version__
from polyhost.core.user import Permission
from polyhost.web.answers import PAGE_HEAD, Encoded, encoded, page
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)


class HostView(msgspec.Struct):
    name: str
    version: str
    needs_setup: bool
    printers: int


class SetUp(msgspec.Struct):
    """`code` is on the server's console and in its data folder."""

    code: str
    name: str
    password: str


class Administrator(msgspec.Struct):
    """The first one, and an API key of theirs, which is told this once."""

    user: str
    api_key: str


@routes.get("/native/v1/host", needs=Permission.LOOK)
async def host(call: Call) -> HostView:
    printers = sum(call.caller.may(Permission.LOOK, printer.slug) for printer in call.host.printers.all())
    return HostView(call.host.config.server.name, __version__, call.host.accounts.setup_needed, printers)


@routes.post("/native/v1/setup", open_door=True, before_setup=True)
async def set_up(call: Call) -> Encoded:
    return await _set_up(call, await call.body(SetUp))


@routes.get("/setup", open_door=True, before_setup=True)
async def setup_page(call: Call) -> Encoded:
    return page(_SETUP if call.host.accounts.setup_needed else _SET_UP_ALREADY)


@routes.post("/setup", open_door=True, before_setup=True)
async def set_up_by_form(call: Call) -> Encoded:
    """The page's own form, or the same as JSON; a browser is answered with a page."""
    if call.media_type == "application/json":
        return await _set_up(call, await call.body(SetUp))
    fields = await call.form()
    wanted = SetUp(fields.get("code", ""), fields.get("name", ""), fields.get("password", ""))
    return await _set_up(call, wanted)


async def _set_up(call: Call, wanted: SetUp) -> Encoded:
    user, key = await call.host.accounts.set_up(wanted.code, wanted.name, wanted.password)
    if "text/html" in call.header(b"accept"):
        return page(_SET_UP_NOW.format(user=html.escape(user.name), key=key), status=201)
    return encoded(Administrator(user.name, key), status=201)


@routes.get("/", open_door=True)
async def landing(call: Call) -> Encoded:
    return page(_LANDING.replace("VERSION", __version__))


_SETUP: Final = (
    PAGE_HEAD
    + """<p>This host is new: nobody administers it yet, so it answers nothing but this page.</p>
<p>The setup code is on the server's console, and in the file <code>setup-code</code> of its data folder.
From a shell, <code>polyhost init</code> does the same.</p>
<form method="post" action="/setup">
<label>Setup code <input name="code" autocomplete="off" required></label>
<label>User name <input name="name" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="new-password" minlength="8" required></label>
<button>Make me the administrator</button>
</form></body></html>
"""
)

_SET_UP_NOW: Final = (
    PAGE_HEAD.replace("{", "{{").replace("}", "}}")
    + """<p><b>{user}</b> administers this host now.</p>
<p>An API key, for a slicer or an app; it is shown this once:</p>
<pre>{key}</pre></body></html>
"""
)

_SET_UP_ALREADY: Final = PAGE_HEAD + "<p>This host is set up already.</p></body></html>\n"

_LANDING: Final = (
    PAGE_HEAD
    + """<p>Version VERSION: one 3D-printer host, every print-server API.</p>
<p><b>From a slicer:</b> add a printer of the host type OctoPrint, or Klipper (via Moonraker), with this page's
address and an API key. Several printers on one host: put <code>/p/&lt;printer&gt;</code> behind the address.</p>
<p><b>From a shell:</b></p>
<pre>curl -F file=@part.gcode -F print=true -H "X-Api-Key: …" this-address/api/files/local
polyhost print part.gcode --follow</pre>
<p><code>polyhost key add</code> makes a key; <code>polyhost --help</code> shows the rest.</p></body></html>
"""
)
