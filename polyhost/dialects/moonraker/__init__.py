"""Moonraker's API, of today (1.5) and of its first document, for printers of every driver.

Specified by upstream's docs/external_api, and by answers recorded from a live 0.11.0 where the two differ.  A printer
is one whole Moonraker: at ``/p/<printer>/``, at a port of its own, by a key that is bound to it.  What a client can
notice as different, on purpose:

Access

- Paths on the host's disk, tracebacks and keys are in no answer.
- People have roles.  A new user is an operator, another password ends all log-ins of theirs, and the key is shown to
  administrators alone.  Who shows a key is ``_API_KEY_USER_``, as upstream, and may what that key may.
- No address is trusted unless the owner says so, and CORS is for exact origins.
- A link commands nothing: GET with a cookie, or by a browser from a trusted address, is refused where it would.
- Being an agent, asking one, and telling others through it take an operator; there are at most 32 of a printer.

Objects and connections

- A subscription lasts as long as its connection, also when the printer is off meanwhile; a client that reads slowly is
  told all it missed in one update.  Who subscribes over HTTP names a WebSocket of their own.
- A machine that turns out to have more or fewer objects than when it was listed is told of as a Klippy that restarted,
  but not during a print.
- A print that is being cancelled is ``cancelled`` at once, one that is being paused ``paused``.
- Of a board, lines are counted where Klipper counts bytes; Marlin tells nothing of its load.
- A batch has at most 1,000 requests, and nothing more of it is done once its answers have 16 MiB; a message and a body
  have at most 1 MiB.
- Beyond 64 requests of one WebSocket that wait for the printer, others are refused with 503; an emergency stop is not.
- One selects at most 2,000 objects and fields; what a client says of itself has 255 bytes each; JSON has 32,768 lists
  and objects.  A WebSocket of which nobody knows whose it is may send 200 messages at once, and 20 a second.

Scripts and prints

- A script has at most 64 KiB and 1,000 lines of 4,096 characters, and is judged whole before its first line is sent;
  ``M112`` in it counts at once, and is then all that it does.  An emergency stop in a batch comes before its rest.
- A word that the machine does not know is told at the console and the script is answered 200, as upstream; a command
  of Klipper's that the machine lacks the word for, or that Marlin cannot do, is refused with 400 and the way out.
- A restart closes the link of a machine and opens it again; while it prints that is refused with 400.
- Who starts the file again that they started within the last 60 seconds is answered that it prints.
- ``CLEAR_PAUSE`` during a print, ``EXCLUDE_OBJECT RESET=1`` and ``RESTORE_GCODE_STATE MOVE=1`` to a place that was not
  known are refused.
- The console has one entry for lines that a machine said together, and neither its ``ok`` nor temperatures that nobody
  asked for.  Endstops are asked of the machine, by who may command it.

Files

- ``config`` is for administrators to write, ``logs`` for them to read; ``printer.cfg`` is the host's and read only.
  Names with a leading dot are refused, but for ``.theme``; ``docs`` and ``config_examples`` are the host's own.
- A picture of a file is served without a credential under a name that nobody guesses, and no other picture is.
  Lists have no folder of pictures; what a root's ``path`` says is where it is in URLs.
- What is printed, and a folder with it, is neither replaced nor moved nor deleted.
- A folder in an upload's own file name must be there; the one in ``path`` is made.  What its header says is told within
  five seconds or not at all.
- An upload that is to be printed waits in the queue only where the owner set ``queue_uploads``.
- A file's last print is told where it was this printer's.
- The model of a ``.ufp`` has the package's picture in front, in comments; an archive has at most 1,000 files.

What is kept

- Writing the database takes the right to control the machine.  ``moonraker`` and ``webcams`` are views of what this
  host has, the first with ``instance_id`` alone; writes to the namespaces of upstream's own parts are 403.
- To who may not write, a whole database namespace that is not there has nothing in it: front ends wait for theirs.
- A backup's ``backup_path`` is its name.  None is restored while the printer prints; nothing begins anew after it.
- A webcam's name has no slash.  A password in its URL is shown to who may set it; a URL that comes back without its
  password keeps it.
- Announcements are what the host finds itself; it fetches no feeds, so none can be added.
- Spoolman hears of filament at the end of a run.  To change something there takes an operator.
- The history is told at most 1,000 entries at a time, however many are asked for; ``start`` leads on.  A run that has
  not ended cannot be deleted, and is left when all are; a restart of the server ends none.  An unknown uid is 404, also
  to who deletes it.
- A job queue survives a restart, paused; moving a job to the front is told as ``jobs_added``; starting one that cannot
  begin (offline; printing, without ``queue.automatic``) is refused with the reason, and what pauses one later is told
  as a line of the console.
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
