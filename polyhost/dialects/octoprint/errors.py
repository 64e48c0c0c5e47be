"""Our errors in OctoPrint's words: ``{"error": text}``."""

from typing import Final

import msgspec

from polyhost.core.errors import LinkLost, MachineFault
from polyhost.web.errors import ErrorTable


class ErrorBody(msgspec.Struct):
    error: str


# A printer that cannot be reached is "not operational" to these clients, which is a conflict.
ERRORS: Final = ErrorTable(lambda error: ErrorBody(str(error)), {LinkLost: 409, MachineFault: 409})
