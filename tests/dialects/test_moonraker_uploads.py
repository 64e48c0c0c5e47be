"""Moonraker's uploads: parts in any order, checksums, prints exactly once, packages, and what slicers send."""

import asyncio
import hashlib
import io
import itertools
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from polyhost.config import Config, Moonraker, Uploads
from polyhost.core.errors import NoSpace
from polyhost.core.printer import PrinterState
from polyhost.core.user import Role
from polyhost.services.archives import picture_block
from tests.dialects.slicers import CRLF, SLICERS, head, once
from tests.dialects.test_moonraker_files import EARLY, picture
from tests.web.hosting import GCODE, Hosted, hosted
from tests.web.serving import serving

Parts = list[tuple[str, tuple[str | None, bytes]]]


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


@pytest.fixture
async def client(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        yield client


def parts_of(name: str = "a.gcode", content: bytes = GCODE, **fields: str) -> Parts:
    parts: Parts = [(field, (None, value.encode())) for field, value in fields.items()]
    return [*parts, ("file", (name, content))]


async def send(client: httpx.AsyncClient, parts: Parts, **how: Any) -> httpx.Response:
    return await client.post("/server/files/upload", files=parts, **how)


async def test_the_answer_is_not_wrapped_and_says_where(one: Hosted, client: httpx.AsyncClient) -> None:
    answer = await send(client, parts_of("ü b.gcode", path="sub/dir"))
    assert answer.status_code == 201
    file = one.host.files.get("sub/dir/ü b.gcode")
    assert answer.json() == {
        "item": {
            "path": file.path,
            "root": "gcodes",
            "modified": file.modified_at,
            "size": len(GCODE),
            "permissions": "rw",
        },
        "print_started": False,
        "print_queued": False,
        "action": "create_file",
    }
    location = answer.headers["location"]
    assert location == "http://127.0.0.1:8080/server/files/gcodes/sub/dir/%C3%BC%20b.gcode"
    assert (await client.get(location)).content == GCODE
    assert file.metadata is not None, "the answer comes when its header was read"
    again = await send(client, parts_of("ü b.gcode", path="sub/dir"), headers=EARLY)
    assert (again.status_code, again.json()["result"]) == (200, "sub/dir/ü b.gcode")
    assert (again.json()["action"], again.json()["print_started"]) == ("modify_file", False)


async def test_parts_come_in_any_order(one: Hosted, client: httpx.AsyncClient) -> None:
    sha256 = hashlib.sha256(GCODE).hexdigest().upper()
    every = parts_of(root="gcodes", path="p", checksum=sha256, plateindex="1")
    for number, parts in enumerate(itertools.permutations(every)):
        name = f"{number}.gcode"
        renamed = [(field, (name, value[1])) if field == "file" else (field, value) for field, value in parts]
        answer = await send(client, list(renamed))
        assert (answer.status_code, answer.json()["item"]["path"]) == (201, f"p/{name}")
    assert set(one.host.files.tree().folders) == {"p"}


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (parts_of(checksum="0" * 64), 422),
        (parts_of(root="none"), 400),
        (parts_of(root="docs"), 403),
        (parts_of(root="logs"), 403),
        (parts_of("x.cfg", root="config", checksum="0" * 64), 422),
        (parts_of("none/a.gcode"), 400),
        (parts_of("none/a.cfg", root="config"), 400),
        (parts_of("../a.gcode"), 400),
        (parts_of("..\\a.gcode"), 400),
        (parts_of(path="../up"), 400),
        (parts_of(path=".thumbs"), 400),
        (parts_of(".hidden.gcode"), 400),
        (parts_of("printer.cfg", root="config"), 403),
        (parts_of(".git", root="config"), 400),
        ([("print", (None, b"true"))], 400),
        ([("other", ("a.gcode", GCODE))], 400),
        ([*parts_of(), *parts_of("b.gcode")], 400),
    ],
)
async def test_what_will_not_do_leaves_nothing(
    one: Hosted, client: httpx.AsyncClient, tmp_path: Path, parts: Parts, status: int
) -> None:
    for order in (parts, parts[::-1]):
        answer = await send(client, order)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["code"] == status
    assert not one.host.files.tree().files
    assert not list((tmp_path / "staging").iterdir())
    early = await send(client, parts, headers=EARLY)
    assert (early.status_code, early.json()["error"]["code"]) == (500, 500)


async def test_a_printers_own_files_take_an_administrator(one: Hosted, client: httpx.AsyncClient) -> None:
    answer = await send(client, parts_of("a.cfg", b"[a]\n", root="config", path="more"))
    assert (answer.status_code, "print_started" in answer.json()) == (201, False)
    assert answer.json()["item"]["path"] == "more/a.cfg"
    assert (await send(client, parts_of("default.json", b"{}", root="config", path=".theme"))).status_code == 201
    assert (await client.get("/server/files/config/.theme/default.json")).content == b"{}"
    async with one.client(role=Role.OPERATOR) as operator:
        assert (await send(operator, parts_of("b.cfg", root="config"))).status_code == 403
        assert (await operator.get("/server/files/config/more/a.cfg")).content == b"[a]\n"


async def test_a_print_is_begun_once_or_not_at_all(one: Hosted, client: httpx.AsyncClient) -> None:
    for value, started in (("false", False), ("1", False), ("true", True), ("true", False)):
        answer = await send(client, parts_of(f"{value}{started}.gcode", print=value))
        assert (answer.status_code, answer.json()["print_started"]) == (201, started)
        assert answer.json()["print_queued"] is False
    assert one.machine.order is not None
    assert one.machine.order.name == "trueTrue.gcode"
    run = one.host.printers.get("one").run
    again = await client.post("/printer/print/start", json={"filename": "trueTrue.gcode"})
    assert (again.status_code, again.json()["result"]) == (200, "ok"), "slicers start it once more"
    other = await client.post("/printer/print/start", json={"filename": "trueFalse.gcode"})
    assert other.status_code == 400
    assert one.host.printers.get("one").run is run or one.host.printers.get("one").run.id == run.id  # type: ignore[union-attr]


async def test_what_cannot_be_printed_is_still_there(tmp_path: Path) -> None:
    async with hosted(tmp_path) as one, one.client(role=Role.UPLOADER) as uploader:
        answer = await send(uploader, parts_of(print="true"))
        assert (answer.status_code, answer.json()["print_started"]) == (201, False), "who may not print"
        one.machine.say(state=PrinterState.OFFLINE)
        async with one.client(role=Role.OPERATOR) as operator:
            answer = await send(operator, parts_of("b.gcode", print="true"))
        assert (answer.status_code, answer.json()["print_started"]) == (201, False)
        assert (await send(uploader, parts_of("a.gcode"))).status_code == 403, "who may not replace"


async def test_uploads_wait_in_the_queue_where_the_owner_wants_it(tmp_path: Path) -> None:
    config = Config(moonraker=Moonraker(queue_uploads=True))
    async with hosted(tmp_path, config=config) as one, one.client(role=Role.OPERATOR) as client:
        first = (await send(client, parts_of("a.gcode", print="true"))).json()
        second = (await send(client, parts_of("b.gcode", print="true"))).json()
        assert (first["print_started"], first["print_queued"]) == (True, False)
        assert (second["print_started"], second["print_queued"]) == (False, True)
        assert len(one.host.queue.of(one.host.printers.get("one")).jobs) == 1


def package(*members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


MODEL = b";FLAVOR:Marlin\n" + os.urandom(3000).hex().encode() + b"\nG28\n"


@pytest.mark.parametrize("slash", ["/", ""])
async def test_a_package_becomes_its_model_and_picture(one: Hosted, client: httpx.AsyncClient, slash: str) -> None:
    content = package((f"{slash}3D/model.gcode", MODEL), (f"{slash}Metadata/thumbnail.png", picture(64)))
    sha256 = hashlib.sha256(content).hexdigest()
    answer = await send(client, parts_of("Part.ufp", content, path="f", print="true", checksum=sha256))
    assert answer.status_code == 201, answer.text
    assert (answer.json()["item"]["path"], answer.json()["print_started"]) == ("f/Part.gcode", True)
    stored = one.host.files.on_disk("f/Part.gcode").read_bytes()
    assert stored == picture_block(picture(64)) + MODEL
    assert {file.path for file in one.host.files.tree().all_files()} == {"f/Part.gcode"}


@pytest.mark.parametrize(
    "content",
    [
        b"no package",
        package(("3D/other.gcode", MODEL)),
        package(("3D/model.gcode", b"G1 X1\n" * 1_000_000)),
        package(("3D/model.gcode", MODEL), ("../canary", b"x")),
        package(("3D/model.gcode", MODEL), ("//canary", b"x")),
        package(("3D/model.gcode", MODEL), ("C:\\canary", b"x")),
        package(("3D/model.gcode", MODEL), *((f"{n}", b"") for n in range(200))),
        package(("3D/model.gcode", MODEL), kind=zipfile.ZIP_STORED).replace(MODEL[20:60], b"z" * 40),
        package(("3D/model.gcode", MODEL))[:-30],
    ],
    ids=["none", "no model", "bomb", "up", "absolute", "drive", "many", "damaged", "cut"],
)
async def test_a_bad_package_is_refused(one: Hosted, client: httpx.AsyncClient, tmp_path: Path, content: bytes) -> None:
    answer = await send(client, parts_of("a.ufp", content))
    assert answer.status_code == 400, answer.text
    assert not list(one.host.files.tree().all_files())
    assert not list((tmp_path / "staging").iterdir())
    assert not (tmp_path / "canary").exists()


async def test_bounds_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(uploads=Uploads(max_bytes=2_000))
    async with hosted(tmp_path, config=config) as one, one.client(role=Role.ADMINISTRATOR) as client:
        assert (await send(client, parts_of(content=b"x" * 2_001))).status_code == 413
        await one.put("a.gcode")

        def full(*_: object) -> None:
            raise NoSpace("the disk refused it: No space left on device")

        for root in ("gcodes", "config"):
            with monkeypatch.context() as patch:
                patch.setattr(one.host.files, "write_piece", full)
                answer = await send(client, parts_of("b.gcode", root=root))
            assert answer.status_code == 507
            assert "No space" in answer.json()["error"]["message"]
        assert [file.path for file in one.host.files.tree().all_files()] == ["a.gcode"]
        assert (await send(client, parts_of("b.gcode"))).status_code == 201


def as_sent(agent: str, boundary: bytes, key: str, fields: list[tuple[str, str]], name: str) -> tuple[bytes, bytes]:
    """What the Slic3r family sends with libcurl: fields in their order, the file last."""
    edge = b"--" + boundary
    parts = [f'Content-Disposition: form-data; name="{n}"\r\n\r\n{v}'.encode() for n, v in fields]
    parts.append(
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + GCODE
    )
    body = CRLF.join([*(edge + CRLF + part for part in parts), edge + b"--", b""])
    kind = b"Content-Type: multipart/form-data; boundary=" + boundary
    lines = ["Host: 127.0.0.1", f"User-Agent: {agent}", "Accept: */*", f"X-Api-Key: {key}"]
    return head("POST", "/server/files/upload", *lines, f"Content-Length: {len(body)}", kind), body


FIELDS = {
    "prusaslicer": [("root", "gcodes"), ("print", "true")],
    "superslicer": [("root", "gcodes"), ("path", "sub"), ("print", "true")],
    "orcaslicer": [("print", "true"), ("plateindex", "0"), ("root", "gcodes"), ("path", "")],
}


@pytest.mark.parametrize("slicer", SLICERS, ids=lambda slicer: slicer.__name__)
async def test_what_slicers_send_is_taken_byte_for_byte(one: Hosted, slicer: Any) -> None:
    async with serving(one) as (served, _):
        how = slicer(served.port, served.key)
        request = as_sent(how.agent, how.boundary, served.key, FIELDS[slicer.__name__], "part 1.gcode")
        answer = await asyncio.to_thread(once, served.port, *request)
        assert (answer.status, answer.json["print_started"]) == (201, True)
        path = answer.json["item"]["path"]
        assert path == ("sub/part 1.gcode" if slicer.__name__ == "superslicer" else "part 1.gcode")
        assert one.host.files.on_disk(path).read_bytes() == GCODE


async def test_curas_plugin_uploads_a_package(one: Hosted) -> None:
    """Qt's form: a quoted boundary, a content type in each part, the file before the fields."""
    content = package(("/3D/model.gcode", MODEL), ("/Metadata/thumbnail.png", picture(64)))
    edge = b"boundary_.oOo._MTQ1NjE4Nzc4MTIzNDU2Nzg5MDEyMw=="
    texts = [(b'name="root"', b"gcodes"), (b'name="print"', b"true")]
    pieces = [
        b"--" + edge + CRLF + b'Content-Disposition: form-data; name="file"; filename="a.ufp"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content,
        *(b"--" + edge + CRLF + b"Content-Disposition: form-data; " + n + b"\r\n\r\n" + v for n, v in texts),
    ]
    body = CRLF.join([*pieces, b"--" + edge + b"--", b""])
    kind = b'Content-Type: multipart/form-data; boundary="' + edge + b'"'
    async with serving(one) as (served, _):
        lines = ["Host: 127.0.0.1", "MIME-Version: 1.0", f"X-Api-Key: {served.key}", f"Content-Length: {len(body)}"]
        request = head("POST", "/server/files/upload", *lines, kind), body
        answer = await asyncio.to_thread(once, served.port, *request)
        assert (answer.status, answer.json["item"]["path"], answer.json["print_started"]) == (201, "a.gcode", True)
