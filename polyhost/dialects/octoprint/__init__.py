"""OctoPrint's REST API, version 1.11, what clients are known to send to it, and its first version's machine.

Specified by upstream's docs/api, and by what a live 1.11.8 answers where the two differ.
"""

from typing import Final

from polyhost.dialects.octoprint import (
    connection,
    control,
    files,
    job,
    legacy,
    login,
    printer,
    profiles,
    settings,
    uploads,
    version,
)
from polyhost.dialects.octoprint.errors import ERRORS
from polyhost.web.routes import Dialect, Routes

_routes = Routes()
_routes.include(
    version.routes,
    login.routes,
    connection.routes,
    files.routes,
    uploads.routes,
    job.routes,
    printer.routes,
    control.routes,
    legacy.routes,
    profiles.routes,
    settings.routes,
)

DIALECT: Final = Dialect("octoprint", _routes, ERRORS, ("/api/", "/downloads/", "/plugin/"))
