"""The command line's end of the native API: over HTTP to a server that was named, else over the local socket."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import typer

from polyhost.commands.terminal import outcomes, show
from polyhost.core import errors
from polyhost.core.errors import LinkLost, Malformed, NotAllowed, PolyhostError
from polyhost.core.file import checked_path

if TYPE_CHECKING:
    import httpx

API: Final = "/native/v1"
_ERRORS: Final[Mapping[str, type[PolyhostError]]] = {
    "not_found": errors.NotFound,
    "not_allowed": errors.NotAllowed,
    "not_known": errors.NotKnown,
    "not_now": errors.NotNow,
    "in_use": errors.InUse,
    "setup_needed": errors.SetupNeeded,
    "too_many": errors.NotNow,
    "malformed": errors.Malformed,
    "too_large": errors.TooLarge,
    "unsupported": errors.Unsupported,
    "no_space": errors.NoSpace,
    "link_lost": errors.LinkLost,
    "machine_fault": errors.MachineFault,
}
_CHUNK: Final = 256 * 1024
_SILENCE_S: Final = 20.0  # a stream says something every 5 s, changed or not

T = TypeVar("T")


class _Unexpected(PolyhostError):
    """The host refused for a reason that has no exit code of its own."""


class _Refusal(msgspec.Struct):
    error: str
    message: str


def segment(name: str) -> str:
    """`name` as one part of a URL's path."""
    return quote(name, safe="")


def library_path(path: str) -> str:
    """A path of the library as the rest of a URL's path; `Malformed` when it can be none, or names nothing."""
    checked = checked_path(path)
    if not checked:
        raise Malformed("name a file of the library")
    return "/".join(map(segment, checked.split("/")))


class Client:
    """Requests to one host.  Errors of the host are raised as the class of `core.errors` that it named.

    `json` is whether the person asked for the host's answers as they are.
    """

    def __init__(self, server: str, key: str, data: Path | None, *, json: bool = False) -> None:
        import httpx

        self.json = json
        self.where = server
        if not key.isascii() or not key.isprintable():
            raise Malformed("that is no API key: it has characters that none has")
        headers = {"X-Api-Key": key} if key else {}
        if server:
            if urlsplit(server).scheme not in {"http", "https"}:
                raise Malformed(f"{server!r} is no address of a host; it looks like http://localhost:8080")
            self._http = httpx.Client(base_url=server.rstrip("/") + API, headers=headers)
            return
        from polyhost.commands.places import data_folder, local_socket

        path = local_socket(data_folder(data))
        self.where = str(path)
        if not path.exists():
            raise LinkLost(self._nobody())
        if path.stat().st_uid != os.getuid():
            raise NotAllowed(f"{path} belongs to somebody else; it is not this user's host")
        self._http = httpx.Client(
            base_url="http://localhost" + API,
            headers=headers,
            transport=httpx.HTTPTransport(uds=str(path)),
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | int | float | bool | None] | None = None,
    ) -> bytes:
        """The body of a 2xx answer."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        with self._stream(method, path, content=content, headers=headers, query=query) as response:
            return response.read()

    def get(self, path: str, **query: str | int | float | bool | None) -> bytes:
        return self.request("GET", path, query=query)

    def fetch(self, kind: type[T], path: str, **query: str | int | float | bool | None) -> T:
        """The answer to a GET, decoded."""
        return decode(self.get(path, **query), kind)

    def post(self, path: str, body: object = None) -> bytes:
        return self.request("POST", path, body)

    def follow(self, path: str) -> Iterator[bytes]:
        """The lines of a stream, one JSON object each, until the host ends it."""
        with self._stream("GET", path, silence_s=_SILENCE_S) as response:
            unread = b""
            for chunk in response.iter_bytes():
                *lines, unread = (unread + chunk).split(b"\n")
                yield from (line for line in lines if line.strip())

    def put_file(self, path: str, file: Path, progress: Callable[[int], None]) -> bytes:
        """Send the local `file` to `path` of the library; `progress` hears the bytes sent so far."""
        try:
            opened = file.open("rb")
        except OSError as error:
            raise errors.NotFound(f"{file}: {error.strerror}") from error
        with opened:
            total = os.fstat(opened.fileno()).st_size

            def chunks() -> Iterator[bytes]:
                sent = 0
                while chunk := opened.read(_CHUNK):
                    yield chunk
                    sent += len(chunk)
                    progress(sent)

            headers = {"Content-Length": str(total), "Content-Type": "application/octet-stream"}
            with self._stream("PUT", path, content=chunks(), headers=headers) as response:
                return response.read()

    def download(self, path: str, to: Callable[[bytes], object]) -> None:
        with self._stream("GET", path, query={"download": True}) as response:
            for chunk in response.iter_bytes():
                to(chunk)

    @contextmanager
    def _stream(
        self,
        method: str,
        path: str,
        *,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | float | bool | None] | None = None,
        silence_s: float = 60.0,
    ) -> Iterator["httpx.Response"]:
        """A 2xx answer whose body is still to be read."""
        import httpx

        with self._reached():
            request = self._http.build_request(
                method,
                path,
                content=content,
                headers=dict(headers or {}),
                params={name: value for name, value in (query or {}).items() if value is not None},
                timeout=httpx.Timeout(silence_s, connect=5.0),
            )
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    self._raise(response.status_code, response.read())
                yield response
            finally:
                response.close()

    def _raise(self, status: int, body: bytes) -> NoReturn:
        try:
            refusal = msgspec.json.decode(body, type=_Refusal)
        except msgspec.DecodeError:
            raise LinkLost(f"{self.where} answers {status}, but not as Polyhost does") from None
        raise _ERRORS.get(refusal.error, _Unexpected)(refusal.message)

    def _nobody(self) -> str:
        return f"no host answers at {self.where}; start one with `polyhost serve`, or name one with --server URL"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """httpx's errors become ours."""
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise LinkLost(self._nobody()) from None
        except httpx.TimeoutException:
            raise TimeoutError(f"{self.where} took too long to answer") from None
        except httpx.TransportError as error:
            raise LinkLost(f"{self.where} went away: {error or type(error).__name__}") from None


def decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise LinkLost(f"the host's answer cannot be read: {error}") from error


def show_json(body: bytes) -> None:
    """One object (or list) on one line of stdout."""
    show(body.decode().replace("\n", " ").strip())


Server = Annotated[
    str, typer.Option("--server", envvar="POLYHOST_SERVER", help="The host to talk to, as a URL.", metavar="URL")
]
Key = Annotated[str, typer.Option("--key", envvar="POLYHOST_KEY", help="An API key of that host.", metavar="KEY")]
Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="POLYHOST_DATA", help="The data folder of a host on this computer.", metavar="DIR"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]

_HOST_OPTIONS: Final = (("server", Server, ""), ("key", Key, ""), ("data", Data, None), ("json", Json, False))


def over_host(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Make `function` a command that talks to a running host.

    The function takes a `Client` first; the command line shows, in its place, the options that say which host.
    """

    @functools.wraps(function)
    def command(*, server: str, key: str, data: Path | None, json: bool, **own: Any) -> None:
        with outcomes(), Client(server, key, data, json=json) as client:
            function(client, **own)

    _, *own = inspect.signature(function).parameters.values()
    shared = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for option, kind, default in _HOST_OPTIONS
    ]
    shown = [*(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own), *shared]
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # Typer reads it
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    app.command(name)(command)


def by_itself(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Make `function` a command that needs no running host."""

    @functools.wraps(function)
    def command(**own: Any) -> None:
        with outcomes():
            function(**own)

    app.command(name)(command)


def read_secret(prompt: str, from_stdin: bool) -> str:
    """A password: typed twice on a terminal, or the first line of stdin where that was asked for."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    from getpass import getpass

    from polyhost.commands.terminal import can_ask

    if not can_ask():
        raise Malformed("there is no terminal to ask for the password on: add --password-stdin")
    first = getpass(f"{prompt}: ")
    if first != getpass("Again: "):
        raise Malformed("the two passwords differ")
    return first
