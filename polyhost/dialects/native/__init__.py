"""Polyhost's own API, below ``/native/v1``: the command line's and the dashboard's.

Everything is JSON in our own words and units; errors name a class of `core.errors`.  The local socket speaks it
without a key, as the administrator.
"""

from typing import Final

from polyhost.dialects.native import accounts, files, host, printers, queue, runs, settings, webcams
from polyhost.dialects.native.errors import ERRORS
from polyhost.web.routes import Dialect, Routes

_routes = Routes()
_routes.include(host.routes, printers.routes, settings.routes, files.routes, runs.routes)
_routes.include(accounts.routes, webcams.routes, queue.routes)

DIALECT: Final = Dialect("native", _routes, ERRORS, ("/native/",))
