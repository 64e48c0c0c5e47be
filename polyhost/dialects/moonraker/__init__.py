"""Moonraker's API, of today (1.5) and of its first document, for printers of every driver.

Specified by upstream's docs/external_api, and by answers recorded from a live 0.11.0 where the two differ.  A printer
is one whole Moonraker: at ``/p/<printer>/``, at a port of its own, by a key that is bound to it.  On purpose:

- Paths on the host's disk, tracebacks and keys are in no answer.
- People have roles.  A new user is an operator, another password ends all log-ins of theirs, and the key is shown to
  administrators alone.  Who shows a key is ``_API_KEY_USER_``, as upstream, and may what that key may.
- No address is trusted unless the owner says so, and CORS is for exact origins.
- A subscription lasts as long as its connection, also when the printer is off meanwhile; a client that reads slowly is
  told all it missed in one update.  Who subscribes over HTTP names a WebSocket of their own.
- A machine that turns out to have more objects than when it was listed is told of as a Klippy that restarted.
- A print that is being cancelled is ``cancelled`` at once, one that is being paused ``paused``.
- Of a board, lines are counted where Klipper counts bytes; Marlin tells nothing of its load.
- A picture of a file is served without a credential under a name that nobody guesses, and no other picture is.
  Lists have no folder of pictures; what a root's ``path`` says is where it is in URLs.
- ``config`` is for administrators to write, ``logs`` for them to read; ``printer.cfg`` is the host's and read only.
  Names with a leading dot are refused, but for ``.theme``.
- The model of a ``.ufp`` has the package's picture in front, in comments; an archive has at most 1,000 files.
- A batch has at most 1,000 requests, a message 1 MiB, a body 1 MiB.
- To who may not write, a whole database namespace that is not there has nothing in it: front ends wait for theirs.
- A password in a webcam's URL is shown to who may set it; a URL that comes back without its password keeps it.
- Announcements are what the host finds itself; it fetches no feeds, so none can be added.
- Nothing begins anew when a backup of the database is restored.
- The history is told at most 1,000 entries at a time, however many are asked for; ``start`` leads on.  A run that has
  not ended cannot be deleted, and is left when all are; a restart of the server ends none.
- A job queue survives a restart, paused; moving a job to the front is told as ``jobs_added``; starting one that cannot
  begin (offline; printing, without ``queue.automatic``) is refused with the reason, and what pauses one later is told
  as a line of the console.
- A script has at most 64 KiB and 1,000 lines, and is judged whole before its first line is sent; ``M112`` in it counts
  at once.  Beyond 64 requests of one WebSocket that wait for the printer, others are refused with 503.
- A restart closes the link of a machine and opens it again; while it prints that is refused.
- A link commands nothing: GET with a cookie, or by a browser from a trusted address, is refused where it would.
- The console has one entry for lines that a machine said together, and neither its ``ok`` nor temperatures that nobody
  asked for.  Endstops are asked of the machine, by who may command it.
"""

from typing import Final

from polyhost.dialects.moonraker import (
    access,
    announcements,
    database,
    directories,
    downloads,
    extensions,
    files,
    history,
    job_queue,
    machine,
    metadata,
    power,
    printer,
    server,
    settings,
    spoolman,
    subscriptions,
    temperature_store,
    uploads,
    ways_out,
    webcams,
    websocket,
)
from polyhost.dialects.moonraker import print as prints
from polyhost.dialects.moonraker.errors import ERRORS
from polyhost.dialects.moonraker.gcode import routes as gcode
from polyhost.dialects.moonraker.live import Live
from polyhost.dialects.moonraker.resource import methods_of, routes_of
from polyhost.dialects.moonraker.rpc import Rpc
from polyhost.web.routes import Dialect

RESOURCES: Final = (
    websocket.resource,
    server.resource,
    metadata.resource,
    files.resource,
    directories.resource,
    uploads.resource,
    downloads.resource,
    settings.resource,
    machine.resource,
    database.resource,
    history.resource,
    job_queue.resource,
    printer.resource,
    subscriptions.resource,
    temperature_store.resource,
    webcams.resource,
    access.resource,
    ways_out.resource,
    gcode.resource,
    prints.resource,
    announcements.resource,
    extensions.resource,
    spoolman.resource,
    power.resource,
)
RPC: Final = Rpc(methods_of(RESOURCES))

_routes = routes_of(RESOURCES)
_routes.include(websocket.transports(RPC), ways_out.bridges())

_PREFIXES: Final = ("/server/", "/printer/", "/machine/", "/access/", "/debug/", "/websocket", "/klippysocket")
PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Origin, Accept, Content-Type, X-Requested-With, X-CRSF-Token, Authorization, X-Access-Token, X-Api-Key",
    ),
)
"""What a page of an origin that may call is told that it may send; the misspelt header is upstream's."""

DIALECT: Final = Dialect(
    *("moonraker", _routes, ERRORS, _PREFIXES, (lambda host: Live(host, RESOURCES),)),
    local={"moonraker.sock": websocket.speaker(RPC)},
    preflight=PREFLIGHT,
)
