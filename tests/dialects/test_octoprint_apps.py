"""Apps made for OctoPrint, as they are in the wild, through a whole use of a real server process."""

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import msgspec
import pytest
from websockets.sync.client import connect

from tests.dialects.apps import APPS, App, Ask, Full, Hear, Job, Part, Version
from tests.integration.processes import Host, free_port, host, until

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
WITHIN_S = 10.0
TOLD = ("name", "session", "app_token")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, str, str]]:
    """A host, and where its one printer is found: at a port of its own, and below a prefix."""
    own = free_port()
    printer = f'[[printers]]\nslug = "mini"\ndriver = "virtual"\nspeed = 50\nlisten = {own}\n'
    system = '[system]\nrestart = ["/bin/true"]\n'
    with host(tmp_path_factory.mktemp("apps"), system + printer) as it:
        it.wait_ready()
        yield it, f"http://127.0.0.1:{own}", f"{it.url}/p/mini"


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_an_app_is_used(running: tuple[Host, str, str], app: App) -> None:
    it, own, below = running
    base = below if app.name in {"OctoPod", "octoprint-cli"} else own  # those whose users may type a path
    known = {"key": it.key}
    headers = filled(app.headers, known)
    with httpx.Client(timeout=20, headers={"Accept": "*/*"}, follow_redirects=True) as client:
        for step in app.steps:
            if isinstance(step, Hear):
                listen(base, step, known)
            else:
                ask(client, base, headers, step, known)


def ask(client: httpx.Client, base: str, headers: dict[str, str], step: Ask, known: dict[str, str]) -> None:
    content, kind = body_of(step)
    sent = {**headers, **step.headers, **({"Content-Type": kind} if kind else {})}
    if content is None and step.method != "GET":
        sent["Content-Length"] = "0"
    answer = client.request(step.method, base + step.path.format(**known), content=content, headers=sent)
    assert answer.status_code == step.status, (step, answer.text)
    if step.reads is not None:
        said = msgspec.json.decode(answer.content, type=step.reads)
        assert answer.headers["content-type"].startswith("application/json")
        known |= {name: value for name in TOLD if isinstance(value := getattr(said, name, None), str)}
    if "location" in answer.headers:
        assert answer.headers["location"].startswith(base), "an app asks nobody but the address that it was given"
    if step.then:
        until(lambda: client.get(f"{base}/api/job", headers=headers).json()["state"] == step.then, step.then, WITHIN_S)


def body_of(step: Ask) -> tuple[bytes | None, str]:
    """What is sent, and of which kind it says to be where the app's headers do not tell."""
    if step.form:
        return form_of(step.form), f"multipart/form-data; boundary={BOUNDARY}"
    if step.body is None or isinstance(step.body, bytes):
        return step.body, ""
    return json.dumps(step.body).encode(), "application/json"


def form_of(parts: Sequence[Part]) -> bytes:
    """Without an end of line at its end, as apps write it by hand."""
    said = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (BOUNDARY.encode(), part.name.encode(), filename_of(part), part.value)
        for part in parts
    ]
    return b"".join([*said, b"--%s--" % BOUNDARY.encode()])


def filename_of(part: Part) -> bytes:
    return (
        b'; filename="%s"\r\nContent-Type: application/octet-stream' % part.filename.encode() if part.filename else b""
    )


def listen(base: str, step: Hear, known: Mapping[str, str]) -> None:
    """Say what the app says at once, and hear until each kind has come."""
    missing = dict(step.hears)
    with connect(base.replace("http", "ws", 1) + step.path, open_timeout=WITHIN_S) as socket:
        for message in step.says:
            text = message if isinstance(message, str) else json.dumps(filled(message, known))
            socket.send(json.dumps([text]) if step.framed else text)
        while missing:
            for kind, payload in messages_of(socket.recv(timeout=WITHIN_S), framed=step.framed):
                if kind in missing:
                    msgspec.convert(payload, missing.pop(kind))
        socket.ping().wait(WITHIN_S)


def messages_of(said: str | bytes, *, framed: bool) -> list[tuple[str, Any]]:
    assert isinstance(said, str)
    if not framed:
        return list(json.loads(said).items())
    if said[:1] != "a":
        assert said in {"o", "h"}
        return []
    return [pair for one in json.loads(said[1:]) for pair in (json.loads(one) if isinstance(one, str) else one).items()]


def filled(said: Any, known: Mapping[str, str]) -> Any:
    """`said` with what is known in the place of its ``{names}``."""
    if not isinstance(said, Mapping):
        return said
    return {name: value.format(**known) if isinstance(value, str) else value for name, value in said.items()}


# What microcontrollers send, byte for byte, and as much as they read


@pytest.fixture
def wire(running: tuple[Host, str, str]) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(running[1].rsplit(":", 1)[1])), WITHIN_S) as connected:
        connected.settimeout(WITHIN_S)
        yield connected


def test_octoprintapi_for_esp8266_reads_until_the_length_that_it_was_told(
    running: tuple[Host, str, str], wire: socket.socket
) -> None:
    """It finds ``Content-Length: `` letter by letter, else waits for seconds; println() ends its body once more."""

    def say(request: str, data: str = "") -> tuple[int, bytes]:
        body = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n{data}\r\n" if data else "\r\n"
        key = f"X-Api-Key: {running[0].key}\r\nUser-Agent: OctoPrintAPI/1.1.4 (Arduino)\r\nConnection: keep-alive\r\n"
        wire.sendall(f"{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}{body}".encode())
        head, rest = head_of(wire)
        length = next(int(line[16:]) for line in head[1:] if line.startswith(b"Content-Length: "))
        while len(rest) < length:
            rest += wire.recv(1024)
        return int(head[0].split(b" ")[1]), rest

    status, said = say("GET /api/version")
    assert (status, msgspec.json.decode(said, type=Version).api) == (200, "0.1")
    assert say("POST /api/printer/printhead", '{"command": "home","axes": ["x", "y"]}') == (204, b"")
    jog = '{"command": "jog", "x": 10.000000, "speed": 3000.000000, "absolute": false }'
    assert say("POST /api/printer/printhead", jog) == (204, b"")
    assert say("POST /api/printer/bed", '{ "command": "target", "target": 60 }') == (204, b"")
    assert say("POST /api/job", '{"command": "pause"}')[0] == 409
    msgspec.json.decode(say("GET /api/printer")[1], type=Full)


@pytest.mark.parametrize(
    ("request_line", "body", "status"),
    [
        ("GET /api/job HTTP/1.1", "", b"HTTP/1.1 200 OK"),
        ("GET /api/printer?exclude=sd,history HTTP/1.1", "", b"HTTP/1.1 200 OK"),
        ("POST /api/job HTTP/1.1", '{"command":"cancel"}', b"HTTP/1.1 409 CONFLICT"),
        ("GET /plugin/DisplayLayerProgress/values HTTP/1.1", "", b"HTTP/1.1 404 NOT FOUND"),
        ("POST /api/plugin/psucontrol HTTP/1.1", '{"command":"getPSUState"}', b"HTTP/1.1 400 BAD REQUEST"),
    ],
)
def test_printer_monitor_compares_the_whole_first_line(
    running: tuple[Host, str, str], wire: socket.socket, request_line: str, body: str, status: bytes
) -> None:
    head = [request_line, "Host: printer:80", "Connection: close", f"X-Api-Key: {running[0].key}"]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    wire.sendall("\r\n".join([*head, "", body, "", ""]).encode())
    first, rest = head_of(wire)
    assert first[0] == status
    while piece := wire.recv(4096):
        rest += piece
    json.loads(rest)


def test_a_client_of_http_1_0_is_answered_and_let_go(running: tuple[Host, str, str], wire: socket.socket) -> None:
    wire.sendall(f"GET /api/job?apikey={running[0].key} HTTP/1.0\r\n\r\n".encode())
    head, rest = head_of(wire)
    assert head[0].endswith(b" 200 OK")
    while piece := wire.recv(4096):
        rest += piece
    msgspec.json.decode(rest, type=Job)


def head_of(wire: socket.socket) -> tuple[list[bytes], bytes]:
    """The lines of an answer's head, and what came with it."""
    said = b""
    while b"\r\n\r\n" not in said:
        piece = wire.recv(4096)
        assert piece, "closed before it answered"
        said += piece
    head, _, rest = said.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), rest


# What scripts of forums send


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/api/job/", {}, 200),
        ("GET", "/api/job?apikey={key}", {"key": ""}, 200),
        ("GET", "/api/job", {"key": "Authorization: Bearer {key}"}, 200),
        ("GET", "/api/job", {"key": "x-api-key: {key}"}, 200),
        ("GET", "/api/job", {"kind": "application/json"}, 200),
        ("HEAD", "/api/job", {}, 200),
        ("HEAD", "/downloads/files/local/forum.gcode", {}, 200),
        ("GET", "/downloads/files/local/forum.gcode?apikey={key}", {"key": ""}, 200),
        ("POST", "/api/printer/bed/", {"body": b'{"command":"target","target":0}'}, 204),
        ("POST", "/api/printer/bed?apikey={key}", {"key": "", "body": b'{"command":"target","target":0}'}, 204),
        (
            "POST",
            "/api/printer/bed",
            {"body": b'{"command":"target","target":0}', "kind": "application/json;charset=UTF-8"},
            204,
        ),
        ("POST", "/api/printer/bed", {"body": b'{"command":"target","target":0.0}\r\n'}, 204),
        ("POST", "/api/printer/bed", {"body": [b'{"command":', b'"target","target":0}']}, 204),
        # Told apart as upstream does: what is no JSON, and what is no number.
        ("POST", "/api/printer/bed", {"body": b"command=target", "kind": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/api/printer/bed", {"body": b'{"command":"target","target":0}', "kind": ""}, 415),
        ("POST", "/api/printer/bed", {"body": b'{"command":"target","target":"60"}'}, 400),
        ("POST", "/api/connection", {"body": b'{"command":"connect",}'}, 400),
        ("POST", "/api/printer/bed", {"key": "", "body": b'{"command":"target","target":0}'}, 403),
        ("GET", "/api/job", {"key": "X-Api-Key: wrong"}, 403),
    ],
)
def test_a_script_is_answered_as_it_was_by_octoprint(
    running: tuple[Host, str, str], method: str, path: str, sent: dict[str, Any], status: int
) -> None:
    it, base, _ = running
    if "forum" in path:
        assert it.upload("forum.gcode", b"G28\n").status_code == 201
    header = sent.get("key", "X-Api-Key: {key}").format(key=it.key).partition(": ")
    kind = sent.get("kind", "application/json" if "body" in sent else "")
    headers = {name: value for name, value in ((header[0], header[2]), ("Content-Type", kind)) if value}
    body = sent.get("body")
    content = iter(body) if isinstance(body, list) else body
    answer = httpx.request(method, base + path.format(key=it.key), headers=headers, content=content)
    assert answer.status_code == status, answer.text
    if method == "HEAD":
        assert answer.content == b""
        assert int(answer.headers["content-length"]) > 0
