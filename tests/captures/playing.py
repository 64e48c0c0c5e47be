"""Plays lists of requests against a server, and writes down what it answers.

One program for both servers, so that what is compared was asked in the same way.  A list is a text with a step on
each line::

    = idle                                            wait until /api/job says so (offline, idle, printing, paused)
    until admin GET /api/job job.lastPrintTime        wait until this value is there, or is the one that follows it;
                                                      ``status`` is the answer's own
    admin POST /api/job {"command": "start"}          a request, by whom, with JSON
    guest POST /api/login form:user=a&pass=b          a form, or `raw:<content type>:<body>`
    admin POST /api/files/local parts:path=x;file=@small.gcode;print=true
    admin GET /api/files [If-None-Match: $etag]       with headers; `$name` is what an earlier step kept
    ~ admin POST /api/settings {}                     of the answer's body only the names at its top
    … -> etag=header etag, key=body api_key           what to keep of the answer
    admin WS server.files.move {"source": "a"}        a request of JSON-RPC over the WebSocket that `admin` has open;
                                                      ``raw:text:…`` sends what is no request
    admin HEAR notify_filelist_changed,notify_x       what came unasked over it, since it was last asked, until the
                                                      named have come in this order
    admin LEAVE /                                     close it

What changes from one run to the next is a placeholder (``<int>``, ``<time>``, ``<key>``), and so are texts for
people and every secret.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import httpx
import msgspec

from tests.captures.answers import OCTOPRINT, Answer, Words, answer_of, body_of, brief
from tests.captures.gcodes import cube, tiny
from tests.captures.rpc import Conversations

PATIENCE_S: Final = 20.0
STATES: Final = {"offline": "Offline", "idle": "Operational", "printing": "Printing", "paused": "Paused"}

SMALL: Final = "G28\nM104 S0\nG1 X10 Y10 Z0.2 F3000\nG1 X60 Y10 E2 F1500\nG1 X60 Y60 E4\nM84\n"
LONG: Final = "G28\nG1 Z0.2 F6000\n" + "".join(f"G1 X{10 + n % 2} E{n * 0.01:.2f}\nG4 P200\n" for n in range(4000))
CONTENTS: Final[Mapping[str, Callable[[], str]]] = {
    "small": lambda: SMALL,
    "long": lambda: LONG,
    "empty": lambda: "",
    "text": lambda: "no machine code\n",
    "cube": cube,
    "tiny": tiny,
}
"""What ``@small.gcode`` stands for in a form; ``small`` takes a moment, ``long`` minutes on every machine.
``@tiny=a.gcode`` has the one's content and the other's name."""


class Step(msgspec.Struct, omit_defaults=True):
    """One step of a capture, and what was answered to it."""

    by: str = ""
    request: str = ""
    json: Any = msgspec.UNSET
    form: str | None = None
    raw: list[str] | None = None  # content type and body
    parts: list[list[str]] | None = None  # name and value; "@x" is the content of that name
    headers: dict[str, str] = {}
    keep: dict[str, str] = {}
    brief: bool = False
    reach: str = ""
    until: list[str] | None = None  # whose GET of which path, and which value must be there
    answer: Answer | None = None


class Capture(msgspec.Struct):
    """A file of them."""

    server: str
    recorded: str
    machine: str
    steps: list[Step]


# Reading a list


_LINE: Final = re.compile(r"(\w+) ([A-Z]+) (\S+)(?: (.*))?")
_KEEP: Final = re.compile(r" -> ((?:\w+=[^,]+(?:, )?)+)$")
_HEADERS: Final = re.compile(r" ?\[([A-Z][\w-]*: [^\]]+)\]")


def steps_of(text: str) -> Iterator[Step]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            yield _step_of(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {line!r}: {error}") from error


def _step_of(line: str) -> Step:
    if line.startswith("= "):
        return Step(reach=line[2:])
    if line.startswith("until "):
        return Step(until=line.split()[1:2] + line.split()[3:])
    step = Step(brief=line.startswith("~ "))
    line = line.removeprefix("~ ")
    if kept := _KEEP.search(line):
        step.keep = dict(one.split("=", 1) for one in kept[1].split(", "))
        line = line[: kept.start()]
    for header in _HEADERS.findall(line):
        name, _, value = header.partition(": ")
        step.headers[name] = value
    line = _HEADERS.sub("", line)
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("no request")
    step.by, step.request = found[1], f"{found[2]} {found[3]}"
    body = found[4] or ""
    if body.startswith("form:"):
        step.form = body[5:]
    elif body.startswith("raw:"):
        step.raw = body[4:].split(":", 1)
    elif body.startswith("parts:"):
        step.parts = [part.split("=", 1) for part in body[6:].split(";")]
    elif body:
        step.json = json.loads(body)
    return step


def title_of(step: Step, state: str) -> str:
    """What a step is called where its differences are listed."""
    body: list[str] = []
    if step.json is not msgspec.UNSET:
        body.append(json.dumps(step.json, ensure_ascii=False))
    body += [step.form] if step.form is not None else []
    body += [":".join(step.raw)] if step.raw is not None else []
    body += [";".join("=".join(part) for part in step.parts)] if step.parts is not None else []
    body += [f"[{name}: {value}]" for name, value in step.headers.items()]
    return " ".join([*([f"{state}:"] if state else []), step.by, step.request, *body])


# Playing it


class Player:
    """One server, and who its callers are: a key for each name, "" for none."""

    def __init__(self, base: str, keys: Mapping[str, str], words: Words = OCTOPRINT, state: str = "offline") -> None:
        self.base = base
        self._words = words
        self._conversations = Conversations(base, keys, PATIENCE_S)
        self.keys = dict(keys)
        self.state = state
        self._kept: dict[str, str] = {}
        self._clients = {
            name: httpx.AsyncClient(base_url=base, timeout=30, headers={"X-Api-Key": key} if key else {})
            for name, key in keys.items()
        }

    async def close(self) -> None:
        await self._conversations.close()
        for client in self._clients.values():
            await client.aclose()

    async def play(self, step: Step) -> Answer | None:
        """The answer to a request; None when the step only waits."""
        try:
            return await self._play(step)
        except (TimeoutError, httpx.HTTPError, ValueError, KeyError) as error:
            error.add_note(f"at: {title_of(step, self.state)} {step.until or step.reach}")
            raise

    async def _play(self, step: Step) -> Answer | None:
        if step.reach:
            self.state = step.reach
            await self._until("admin", "/api/job", "state", STATES[step.reach])
            return None
        if step.until:
            by, path, where, *wanted = step.until
            await self._until(by, path, where, json.loads(wanted[0]) if wanted else None)
            return None
        if step.request.startswith(("WS ", "HEAR ", "LEAVE ")):
            return await self._converse(step)
        answer = await self._send(step)
        for name, where in step.keep.items():
            self._kept[name] = str(_kept_from(answer, where))
        prints = self.state in {"printing", "paused"}
        said = answer_of(answer, self.base, self._placeholders(), prints, self._words)
        if step.brief and isinstance(said.body, dict):
            said.body = {name: brief(value) for name, value in said.body.items()}
        elif step.brief and isinstance(said.body, str):
            said.body = re.sub(r"^<\d+ bytes>$", "<bytes>", said.body)
        return said

    def _placeholders(self) -> dict[str, str]:
        return {value: f"<{name}>" for name, value in self._kept.items()}

    async def _converse(self, step: Step) -> Answer | None:
        """A step over a WebSocket: its answer has the status 0."""
        what, name = self._filled(step.request).split(" ", 1)
        said: Any
        if what == "LEAVE":
            await self._conversations.leave(step.by)
            return None
        if what == "HEAR":
            said = await self._conversations.heard(step.by, name.split(","))
        elif step.raw is not None:
            said = await self._conversations.say(step.by, self._filled(step.raw[1]))
        else:
            params = msgspec.UNSET if step.json is msgspec.UNSET else json.loads(self._filled(json.dumps(step.json)))
            said = await self._conversations.ask(step.by, name, params)
        for kept, where in step.keep.items():
            self._kept[kept] = str(_at(said, where.removeprefix("body ")))
        body = body_of(said, self._words, self.base, self._placeholders())
        if step.brief and isinstance(body, dict):
            body = {
                name: {key: brief(each) for key, each in value.items()} if isinstance(value, dict) else value
                for name, value in body.items()
            }
        return Answer(0, {}, body)

    async def _send(self, step: Step) -> httpx.Response:
        method, path = self._filled(step.request).split(" ", 1)
        headers = {name: self._filled(value) for name, value in step.headers.items()}
        more: dict[str, Any] = {}
        if step.json is not msgspec.UNSET:
            more["content"] = self._filled(json.dumps(step.json))
            headers["Content-Type"] = "application/json"
        elif step.form is not None:
            more["content"] = self._filled(step.form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif step.raw is not None:
            headers["Content-Type"], more["content"] = step.raw
        elif step.parts is not None:
            headers["Content-Type"] = "multipart/form-data; boundary=X"
            more["content"] = b"".join(_part(name, value) for name, value in step.parts) + b"--X--\r\n"
        elif method in {"POST", "PUT", "PATCH"}:
            more["content"] = b""
        client = self._clients[step.by]
        try:
            return await client.request(method, self.base + path, headers=headers, follow_redirects=False, **more)
        finally:
            client.cookies.clear()  # every request stands for itself

    def _filled(self, text: str) -> str:
        for name, value in self._kept.items():
            text = text.replace(f"${name}", value)
        return text

    async def _until(self, by: str, path: str, where: str, wanted: object = None) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            answer = await self._clients[by].get(path)
            found = _at(answer.json(), where) if answer.status_code == 200 else None
            if where == "status":
                found = answer.status_code
            if found == wanted if wanted is not None else found is not None:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{path} has {where} {found!r}, not {wanted!r}: {answer.text}")
            await asyncio.sleep(0.05)


def _part(name: str, value: str) -> bytes:
    if not value.startswith("@"):
        head = f'name="{name}"'
        content = value
    else:
        content_name, _, filename = value[1:].rpartition("=")
        head = f'name="{name}"; filename="{filename}"\r\nContent-Type: application/octet-stream'
        content = _content_of(content_name or filename)
    return f"--X\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n".encode()


def _content_of(filename: str) -> str:
    name = filename.rpartition("/")[2]
    found = (make() for known, make in CONTENTS.items() if re.match(rf"{known}(?![a-z])", name))
    return next(found, CONTENTS["text"]())


def _kept_from(answer: httpx.Response, where: str) -> object:
    kind, _, name = where.partition(" ")
    if kind == "header":
        return answer.headers.get(name, "")
    if kind == "last":  # of the path in a header
        return answer.headers.get(name, "").rpartition("/")[2]
    return _at(answer.json(), name)


def _at(tree: Any, where: str) -> Any:
    for name in where.split("."):
        if name == "*":
            tree = next(iter(tree.values()), None) if isinstance(tree, dict) else None
            continue
        if isinstance(tree, list):
            tree = tree[int(name)] if int(name) < len(tree) else None
        elif isinstance(tree, dict):
            tree = tree.get(name)
        else:
            return None
    return tree


# What is different


_VARIES: Final = "last-modified"
"""We leave it out while another change may fall into the same second, so whether it is there is a matter of time."""
_NAMING: Final = ("key", "path", "id", "action", "name")


def differences(recorded: Answer, ours: Answer) -> list[str]:
    """Where `ours` is another answer than the one `recorded`, as "status", "header etag", "body.job.file missing"."""
    if recorded.status != ours.status:
        return [f"status {ours.status}"]
    found = [
        f"header {name}"
        for name in sorted({*recorded.headers, *ours.headers} - {_VARIES})
        if recorded.headers.get(name) != ours.headers.get(name)
    ]
    return found + list(_unlike(recorded.body, ours.body, "body"))


def _unlike(theirs: Any, ours: Any, where: str) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in theirs:
            if name not in ours:
                yield f"{where}.{name} missing"
            else:
                yield from _unlike(theirs[name], ours[name], f"{where}.{name}")
        yield from (f"{where}.{name} added" for name in ours if name not in theirs)
    elif isinstance(theirs, list) and isinstance(ours, list):
        yield from _unlike_lists(theirs, ours, where)
    elif type(theirs) is not type(ours):
        yield f"{where} type"
    elif theirs != ours:
        yield f"{where} value"


def _unlike_lists(theirs: list[Any], ours: list[Any], where: str) -> Iterator[str]:
    """Names are compared as sets, and things that have a name by their names."""
    if all(isinstance(one, str) for one in [*theirs, *ours]):
        yield from (f"{where} without {name}" for name in theirs if name not in ours)
        yield from (f"{where} with {name}" for name in ours if name not in theirs)
        return
    naming = next((key for key in _NAMING if all(isinstance(one, dict) and key in one for one in [*theirs, *ours])), "")
    if naming:
        named = {one[naming]: one for one in ours}
        for one in theirs:
            if one[naming] not in named:
                yield f"{where} without {one[naming]}"
            else:
                yield from _unlike(one, named.pop(one[naming]), f"{where}.{one[naming]}")
        yield from (f"{where} with {name}" for name in named)
        return
    if len(theirs) != len(ours):
        yield f"{where} length"
    for number, (one, other) in enumerate(zip(theirs, ours, strict=False)):
        yield from _unlike(one, other, f"{where}.{number}")
