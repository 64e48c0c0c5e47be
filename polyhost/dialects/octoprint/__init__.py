"""OctoPrint's REST API, version 1.11, what clients are known to send to it, and its first version's machine.

Specified by upstream's docs/api, and by what a live 1.11.8 answers where the two differ.  Its answers have these
statuses, fields and kinds of numbers, except where we differ on purpose:

- A request without key or cookie needs no CSRF token, for there is nothing to forge: a guest is refused with 403
  where upstream says 400. ``/api/login`` never repeats a key, and takes no password from the URL.
- An application's key is told once, to the application: ``generate`` for one that has a key makes another, and no
  list shows it again. It acts on one printer alone when it was asked for at ``/p/<printer>/``, at a printer's own
  port or host name, else on every printer. Administrators see, and decide, requests limited to another user. After
  twenty polls in a minute with tokens that are none, the next is 429.
- Groups are the host's roles (``uploaders`` stands between ``readonly`` and ``users``) and stay as they are: making,
  changing and removing one is 403. Single permissions are taken where together with the groups they make a role, else
  400; so are unknown ones, which upstream ignores. ``admin`` counts again where no groups are given.
- No user is shown their key again. A password has 8 characters, a user's settings 16 KiB. The last administrator
  stays one (409). Sessions end when what a user may changes. ``/api/users`` leads on only who may look.
- A cookie of the whole host counts below ``/p/<printer>/``, too. There is no global key and no HTTP Basic.
- What upstream answers with 500, or takes and does nothing about, is 400 and says why: a speed or limit that is no
  number, a jog without an axis, ``axes`` that is empty or no list, a tool that the printer has not, a target that is
  negative or beyond what the printer's profile allows, a command that is no text, a name that no file may have.
- ``M28`` typed, in a script or in a printed file is not sent: what follows, the heaters' off list too, would go into a
  file of the card. A command is one line of at most 83 bytes, which is what Marlin's buffer holds.
- ``start`` with no file chosen is 409, not a 204 after which nothing happens.
- The chosen file stays chosen when the printer is disconnected. A file is analysed at once, not only when nothing
  prints, so ``gcodeAnalysis`` is there within seconds, and ``analyse`` has nothing to add.
- A print that is restarted counts as one that was not completed.
- Copies make the folders they go into. ``DELETE`` and ``exists`` at an unknown location are 404 and 400.
- A file goes to the printer's own card only while no heater is on (409), for nothing could switch one off meanwhile;
  until it is there, commands, ``pause`` and jogging are 409, and ``cancel`` gives it up. What was written is held
  against the card's list: it is there as it was sent, or ``TransferFailed`` and deleted. Deleting waits for the
  firmware's answer. A file there is also found by its long name.
- There is no slicer: ``slice`` of a file that is there is 415, whatever slicer it names.
- Errors are JSON everywhere, where upstream has pages of HTML below ``/downloads/`` and for ``unselect``. A form of
  another content type than forms have is 415, a file without a name 400.
- ``history`` of one heater has its ``time``, and ``/api/connection`` a rate for the virtual printer.
- Texts say their charset; ``If-Range`` is heeded; a ``Range`` that is none is ignored. What changed in the same
  second has an ``ETag`` and no ``Last-Modified``, and so has an entry, which its print counts change too.
- The owner's commands are lists of words that no shell sees. ``shutdown`` and ``reboot`` are 409 while something
  prints, unless the URL says ``force=true``; there is no safe mode. One that fails says why in its 500.
- ``/api/system/info`` reaches out to nobody, and ``usage`` names the folders that this host has: uploads,
  timelapse and logs.
- A log is downloaded where upstream redirects to it, its last 5 MB at the most; how much is logged is what the host
  was started with, so another level is 415, and so is a language pack, for there are no pages to translate.
- ``/api/util/test`` asks with GET, HEAD or OPTIONS, follows no redirect and creates no folder; what upstream meets
  with 500 there is 400. Nobody has to answer on ``udp``, there or here.
- Only ids behind which something stands are in the list of plugins; nothing can be installed, and ``check`` for
  updates asks nobody.
- A printer profile keeps its id, ``_default`` cannot be deleted, and a change of one that is not there is 404; each
  printer has its own. One that the settings file names keeps its own profile, name, port and autoconnect (409), but
  may be given further profiles and be shown under another name; ``autoconnect`` without ``save`` is passed over.
- Settings of the wrong type are 400 and nothing of the rest is set. What only tells what this host does (timeouts,
  lists of commands, folders, commands of the system) stays as it is when it is sent back. ``webcam.streamUrl`` and its
  neighbours may be set as ``plugins.classicwebcam`` may. No key is repeated: ``api.key`` is null for everybody, and
  ``/api/settings/apikey`` makes a key of the caller's in the place of the one that it made before. Paths on the host's
  disk are not told. Lists of profiles and settings have an ``ETag`` and no ``Last-Modified``.
- A webcam's URLs lose their password for who may not change settings.  Which ffmpeg makes movies, and how it is
  called, is the owner's settings file's to say: ``ffmpeg…`` and ``bitrate`` are read only, and there is no watermark.
- A movie rests on its last picture for the post roll: nothing is recorded for minutes after the print, and the next
  print is not in it.  A print that goes on without the server is recorded on when it is back.
- Movies are named without the server's folders in events.  Of the prints of one printer the last fifty are kept
  without a movie, not those of a week.  ``render`` of what is not there is 404; an unknown ``type`` is 400.
- A script of the settings that cannot be rendered is 400 when it is set, with its name and line; upstream sends
  nothing of it when its time comes. ``beforeToolChange`` and ``afterToolChange`` are sent when the tool really changes.
- A target beyond the profile is not sent: typed or in a script it is 400, a file that has one ends as failed.
- An ``Error:`` that a damaged line may have made is told and ends nothing; one about heat ends everything, whatever the
  settings say.
- Who listens hears the last 300 lines of the console in one ``current``, and of a pattern for them what RE2 can find:
  no look-arounds, no references back, classes of ASCII, 200 bytes; none on a computer without the package
  ``google-re2``, which is there for x86_64 and aarch64. ``current`` has no lines about states; upstream's
  ``OPEN_SERIAL`` is told as ``CONNECTING``. Requests for keys are told to those who may grant them. A wrong session
  ends what the socket heard before; a key bound to a printer hears that one. A page of another origin may not listen
  unless it is named; 64 may from one address. Who answers no ping, or reads nothing, is dropped after half a minute.
- Of SockJS there are WebSockets, ``xhr``, ``xhr_streaming`` and ``eventsource``; what only pages of other origins in
  browsers without those need (``jsonp``, ``htmlfile``, iframes) is not there. What is sent wrongly is 400, not 500.
- Of a print's events ``PrintCancelled`` has its ``reason`` and ``PrintDone`` its ``user``, ``FileSelected`` names who
  brought the file, a copied file was ``add``ed, and ``MetadataStatisticsUpdated`` comes when the end is written: after
  ``PrintFailed``.
- A line of a script whose value nobody knows is left out, where upstream sends ``None``. ``M0`` and ``M1`` of a script
  are left out, too.
- A profile has 1 to 32 extruders, and speeds and a nozzle above 0; ``default: false`` changes nothing, for one always
  is the default. Custom controls that are none are 400. A key of one printer changes nothing of the whole host's (403).
- ``POST /api/setup/wizard`` takes JSON (415).
- Slashes may be doubled, and one may end a path.
- ``/api/printer/heater`` and ``/feeder`` are there, and ``/api/printer/sd`` is open, as in the first version.
"""

from typing import Final

from polyhost.dialects.octoprint import (
    access,
    action_commands,
    appkeys,
    appkeys_page,
    connection,
    control,
    files,
    job,
    languages,
    legacy,
    login,
    logs,
    plugins,
    printer,
    profiles,
    settings,
    slicing,
    sockjs,
    system,
    terminal,
    timelapse,
    uploads,
    util,
    version,
    wizard,
)
from polyhost.dialects.octoprint.errors import ERRORS
from polyhost.dialects.octoprint.push import Push
from polyhost.dialects.octoprint.sockjs_sessions import Sessions
from polyhost.web.routes import Dialect, Routes

_routes = Routes()
_routes.include(
    version.routes,
    login.routes,
    access.routes,
    appkeys.routes,
    appkeys_page.routes,
    connection.routes,
    files.routes,
    uploads.routes,
    job.routes,
    printer.routes,
    control.routes,
    terminal.routes,
    legacy.routes,
    profiles.routes,
    settings.routes,
    timelapse.routes,
    plugins.routes,
    action_commands.routes,
    system.routes,
    logs.routes,
    languages.routes,
    slicing.routes,
    util.routes,
    wizard.routes,
    sockjs.routes,
)

_PREFIXES: Final = ("/api/", "/downloads/", "/plugin/", "/sockjs/")
DIALECT: Final = Dialect("octoprint", _routes, ERRORS, _PREFIXES, (Push, Sessions))
