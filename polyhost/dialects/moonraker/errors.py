"""Our errors in Moonraker's words: ``{"error": {"code": …, "message": …}}`` over HTTP, a code of JSON-RPC elsewhere.

Upstream: docs/external_api/introduction.md; specification, 1.3 and 1.6.  Beside a strange number of JSON-RPC, codes are
HTTP's, as positive numbers.

Words are ours, beside those that clients compare or take apart, or that the captures have for a refusal that clients
show as it is.  These are facts: ``Unauthorized``, ``Method not found``, ``Parse error``, ``Invalid Request``,
``No data for argument: …``, ``Missing Argument […]``, ``Invalid Argument Type […]``, ``File currently in use: …``,
``Namespace … not found`` and ``Key … in namespace … not found`` (front ends make theirs then), ``Invalid root
directory (…)``, ``Directory does not exist (…)``, ``Invalid job uid: …``, ``No registered user: …``, ``Agent …``,
``Remote method …``, ``Feed … not stored``.  Those of G-code are named in `gcode`.
"""

from typing import Any, Final

import msgspec

from polyhost.core.errors import (
    CommandFailed,
    InUse,
    MachineFault,
    NotFound,
    NotIntact,
    NotKnown,
    NotNow,
    PolyhostError,
    WrongLogin,
)
from polyhost.dialects.moonraker.request import Edition
from polyhost.web.answers import Encoded, encoded
from polyhost.web.errors import ErrorTable, NoPreflight

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
TOO_LARGE: Final = 413
BUSY: Final = 503
UNAUTHORIZED: Final = "Unauthorized"
_KEPT_BY_EARLY: Final = frozenset({401, 404})


class AgentFailed(PolyhostError):
    """An agent that was asked answered with an error, which is `data`, or not at all."""

    def __init__(self, message: str, data: Any = msgspec.UNSET) -> None:
        super().__init__(message)
        self.data = data


class ErrorWords(msgspec.Struct):
    code: int
    message: str
    data: Any = msgspec.UNSET


class ErrorBody(msgspec.Struct):
    error: ErrorWords


def _body(error: PolyhostError) -> ErrorBody:
    return ErrorBody(ErrorWords(ERRORS.status(error), words_of(error), _data_of(error)))


def _data_of(error: PolyhostError) -> Any:
    return error.data if isinstance(error, AgentFailed) else msgspec.UNSET


ERRORS: Final = ErrorTable(
    _body,
    {
        NotKnown: 401,
        WrongLogin: 400,
        NoPreflight: 405,
        NotNow: 400,
        InUse: 403,
        NotIntact: 422,
        MachineFault: 400,
        CommandFailed: 400,
        AgentFailed: 424,
    },
)


def words_of(error: PolyhostError) -> str:
    """Clients compare this one: nobody logged in is ``Unauthorized``, and nothing else."""
    if isinstance(error, NotKnown):
        return UNAUTHORIZED
    return f"File currently in use: {error}" if isinstance(error, InUse) else str(error)


def answer_of(error: PolyhostError, edition: Edition) -> Encoded:
    """`error` as an answer over HTTP.  The early edition knows 500 for whatever went wrong, 401 and 404 beside it."""
    if edition is Edition.MODERN or ERRORS.status(error) in _KEPT_BY_EARLY:
        return ERRORS.answer(error)
    return encoded(ErrorBody(ErrorWords(500, words_of(error))), status=500)


def rpc_error_of(error: PolyhostError) -> ErrorWords:
    """`error` as JSON-RPC says it: what is not there is a method not found, who is not known sent wrong params."""
    words = words_of(error)
    if isinstance(error, NotKnown):
        return ErrorWords(INVALID_PARAMS, words)
    if isinstance(error, NotFound):
        return ErrorWords(METHOD_NOT_FOUND, words)
    return ErrorWords(ERRORS.status(error), words, _data_of(error))
