"""Our errors as they are: ``{"error": class name in snake_case, "message": text}``."""

import re
from typing import Final

import msgspec

from polyhost.core import errors
from polyhost.core.errors import PolyhostError
from polyhost.web.errors import ErrorTable


class ErrorBody(msgspec.Struct):
    error: str
    message: str


def name_of(error: PolyhostError) -> str:
    """The nearest class of `core.errors`, or the kit's own where that would be the root.

    >>> name_of(errors.NotNow("…"))
    'not_now'
    """
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    name = type(error).__name__ if kind is PolyhostError else kind.__name__
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


ERRORS: Final = ErrorTable(lambda error: ErrorBody(name_of(error), str(error)))
