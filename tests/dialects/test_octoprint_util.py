"""``/api/util/test`` and the wizard: what is there is found, what is wrong is said, nothing is changed or followed."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from polyhost.core.user import Role
from polyhost.services import probing
from tests.web.hosting import Hosted


@pytest.fixture
async def client(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        yield client


async def asked(client: httpx.AsyncClient, status: int = 200, /, **body: object) -> Any:
    answer = await client.post("/api/util/test", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """A web server of the test's own; what was asked of it is in the path that it counts."""
    answers = {
        "/text": b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nhello",
        "/json": b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"a": [1]}',
        "/away": b"HTTP/1.1 302 Found\r\nlocation: /text\r\ncontent-length: 0\r\n\r\n",
        "/gone": b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "/flood": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (probing.MAX_BODY + 1),
        "/nonsense": b"no http at all\r\n\r\n",
    }

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        if path != "/silent":
            whole = answers[path]
            writer.write(whole if method == "GET" else whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            await writer.drain()
        else:
            await reader.read()  # until the client has had enough
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"path": "FOLDER"}, {"exists", "typeok", "access", "result"}),
        ({"path": "FOLDER", "check_type": "dir"}, {"exists", "typeok", "access", "result"}),
        (
            {"path": "FOLDER", "check_type": "dir", "check_access": ["r", "w", "x"]},
            {"exists", "typeok", "access", "result"},
        ),
        ({"path": "FOLDER", "check_type": "file"}, {"exists", "access"}),
        ({"path": "FILE", "check_type": "file", "check_access": "r"}, {"exists", "typeok", "access", "result"}),
        ({"path": "FILE", "check_access": "x"}, {"exists", "typeok"}),
        ({"path": "FILE/under"}, set()),
        ({"path": "FOLDER/none", "check_type": "dir", "allow_create_dir": True}, set()),
        ({"path": "LINK"}, {"broken_symlink"}),
    ],
)
async def test_a_path(client: httpx.AsyncClient, tmp_path: Path, wanted: dict[str, object], found: set[str]) -> None:
    names = {"FOLDER": tmp_path / "folder", "FILE": tmp_path / "file", "LINK": tmp_path / "link"}
    names["FOLDER"].mkdir()
    names["FILE"].write_text("x")
    names["LINK"].symlink_to("nowhere")
    path = str(wanted["path"])
    for name, real in names.items():
        path = path.replace(name, str(real))
    answer = await asked(client, command="path", **wanted | {"path": path})
    assert answer.pop("path") == path
    assert {name for name, value in answer.items() if value} == found
    assert answer.keys() == {"exists", "typeok", "access", "broken_symlink", "result"}
    assert not (tmp_path / "folder" / "none").exists()


async def test_a_url(client: httpx.AsyncClient, site: str) -> None:
    head = await asked(client, command="url", url=f"{site}/text")
    kind = {"assumed_content_type": "text/plain; charset=utf-8"}
    assert head == {"url": f"{site}/text", "status": 200, "result": True, "response": kind}
    got = await asked(client, command="url", url=f"{site}/text", method="GET", response=True)
    assert base64.b64decode(got["response"]["content"]) == b"hello"
    read = await asked(client, command="url", url=f"{site}/json", method="GET", response="json")
    assert read["response"]["content"] == {"a": [1]}
    assert not (await asked(client, command="url", url=f"{site}/text", method="GET", response="json"))["result"]


@pytest.mark.parametrize(
    ("path", "more", "result"),
    [
        ("gone", {}, False),
        ("gone", {"status": 404}, True),
        ("gone", {"status": [200, "not_found"]}, True),
        ("gone", {"status": "client_error"}, True),
        ("gone", {"status": "success"}, False),
        ("text", {"content_type_whitelist": ["image/*"]}, False),
        ("text", {"content_type_whitelist": ["image/*", "text/*"]}, True),
        ("text", {"content_type_blacklist": "text/plain"}, False),
    ],
)
async def test_what_a_url_has_to_answer(
    client: httpx.AsyncClient, site: str, path: str, more: dict[str, object], result: bool
) -> None:
    assert (await asked(client, command="url", url=f"{site}/{path}", **more))["result"] is result


async def test_a_redirect_is_told_and_not_followed(client: httpx.AsyncClient, site: str) -> None:
    answer = await asked(client, command="url", url=f"{site}/away", method="GET", response=True)
    assert (answer["status"], answer["response"]["content"]) == (302, "")


async def test_what_has_no_end_is_left(client: httpx.AsyncClient, site: str) -> None:
    flood = await asked(client, command="url", url=f"{site}/flood", method="GET", response=True)
    assert (flood["result"], "content" in flood["response"]) == (False, False)
    silent = await asked(client, command="url", url=f"{site}/silent", timeout=0.05)
    assert silent == {"url": f"{site}/silent", "status": 0, "result": False}


@pytest.mark.parametrize("url", ["nonsense", "file:///etc/passwd", "http://", "http://[", "gopher://127.0.0.1/", "NO"])
async def test_what_is_no_url_answers_nothing(client: httpx.AsyncClient, site: str, url: str) -> None:
    url = f"{site}/nonsense" if url == "NO" else url
    assert await asked(client, command="url", url=url) == {"url": url, "status": 0, "result": False}


async def test_a_server(client: httpx.AsyncClient, site: str) -> None:
    port = int(site.rpartition(":")[2])
    there = await asked(client, command="server", host="127.0.0.1", port=port)
    assert there == {"host": "127.0.0.1", "port": port, "protocol": "tcp", "result": True}
    assert (await asked(client, command="server", host="127.0.0.1", port=str(port), protocol="udp"))["result"]
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        closed = await asked(client, command="server", host="127.0.0.1", port=taken.getsockname()[1])
    assert not closed["result"]


async def test_a_name_and_an_address(client: httpx.AsyncClient) -> None:
    assert await asked(client, command="resolution", name="localhost") == {"name": "localhost", "result": True}
    assert not (await asked(client, command="resolution", name="a b\x00c"))["result"]
    own = await asked(client, command="address")
    assert own == {"address": "127.0.0.1", "is_lan_address": True, "subnet": "127.0.0.0/8"}
    for address, inner in (("192.168.7.9", True), ("8.8.8.8", False), ("fd00::1", True), ("::ffff:10.0.0.1", True)):
        answer = await asked(client, command="address", address=address)
        assert answer["is_lan_address"] is inner
        assert ("subnet" in answer) is inner


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"command": "x"},
        {"command": "path"},
        {"command": "path", "path": 5},
        {"command": "path", "path": "relative"},
        {"command": "path", "path": "/a\0b"},
        {"command": "path", "path": "/" + "x" * 5000},
        {"command": "url"},
        {"command": "url", "url": "http://x", "method": "DELETE"},
        {"command": "url", "url": "http://x", "timeout": "x"},
        {"command": "url", "url": "http://x", "timeout": -1},
        {"command": "url", "url": "http://x", "status": "fine"},
        {"command": "server", "host": "x"},
        {"command": "server", "host": "x", "port": "x"},
        {"command": "server", "host": "x", "port": 70000},
        {"command": "server", "host": "x", "port": 80, "protocol": "icmp"},
        {"command": "resolution"},
        {"command": "address", "address": "foo"},
    ],
    ids=str,
)
async def test_what_cannot_be_asked(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await asked(client, 400, **body))["error"]


async def test_only_so_many_questions_are_open(client: httpx.AsyncClient, site: str) -> None:
    async def ask() -> int:
        body = {"command": "url", "url": f"{site}/silent", "timeout": 0.5}
        return (await client.post("/api/util/test", json=body)).status_code

    answers = await asyncio.gather(*(ask() for _ in range(probing.MAX_AT_ONCE + 1)))
    assert sorted(answers) == [200] * probing.MAX_AT_ONCE + [429]
    assert await ask() == 200


async def test_only_an_administrator_asks(one: Hosted, site: str) -> None:
    for role in (Role.VIEWER, Role.OPERATOR, None):
        async with one.client(role=role) as client:
            answer = await client.post("/api/util/test", json={"command": "url", "url": f"{site}/text"})
            assert answer.status_code == 403


async def test_there_is_no_wizard(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/setup/wizard")
    assert (answer.status_code, answer.json()) == (200, {})
    assert (await client.post("/api/setup/wizard", json={"handled": ["corewizard"]})).status_code == 204
    assert (await client.post("/api/setup/wizard", json={})).status_code == 400
