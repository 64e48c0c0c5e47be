"""Moonraker's downloads: whole, in ranges, unless unchanged; logs by the names that clients know."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from polyhost.core.user import Role
from tests.web.hosting import GCODE, Hosted, hosted


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


@pytest.fixture
async def client(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        yield client


async def test_a_file_is_sent_whole_in_ranges_and_not_again(one: Hosted, client: httpx.AsyncClient) -> None:
    await one.put("sub/ü %41.gcode")
    url = "/server/files/gcodes/sub/%C3%BC%20%2541.gcode"
    answer = await client.get(url)
    assert (answer.status_code, answer.content) == (200, GCODE)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].lower().startswith("attachment; filename*=utf-8''%c3%bc%20%2541.gcode")
    found = await client.head(url)
    assert (found.status_code, found.content, found.headers["content-length"]) == (200, b"", str(len(GCODE)))
    for header, status, content in (
        *(("bytes=0-9", 206, GCODE[:10]), ("bytes=10-", 206, GCODE[10:]), ("bytes=-5", 206, GCODE[-5:])),
        *(("bytes=99999-", 416, None), ("bytes=0-1,5-6", 200, GCODE), ("lines=1-2", 200, GCODE)),
    ):
        answer = await client.get(url, headers={"Range": header})
        assert answer.status_code == status, header
        if content is not None:
            assert answer.content == content
    since = (await client.get(url)).headers["last-modified"]
    assert (await client.get(url, headers={"If-Modified-Since": since})).status_code == 304
    await one.put("sub/ü %41.gcode", b"G28\n")
    etag = answer.headers["etag"]
    assert (await client.get(url, headers={"If-None-Match": etag})).content == b"G28\n"


async def test_what_is_not_there_is_told_as_json(one: Hosted, client: httpx.AsyncClient) -> None:
    await one.put("f/a.gcode")
    for path in ("gcodes/none.gcode", "gcodes/f", "none/a.gcode", "config/.theme/default.json", "gcodes/f//../x", "x"):
        answer = await client.get(f"/server/files/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404), path


@pytest.mark.parametrize(
    ("name", "kind"), [("a.cfg", "text/plain"), ("a.json", "application/json"), ("a.png", "image/png"), ("a", "")]
)
async def test_each_kind_is_sent_as_what_it_is_and_to_be_saved(
    one: Hosted, client: httpx.AsyncClient, name: str, kind: str
) -> None:
    form = await client.post("/server/files/upload", data={"root": "config"}, files={"file": (name, b"<script>")})
    assert form.status_code == 201
    answer = await client.get(f"/server/files/config/{name}")
    assert answer.headers["content-type"].startswith(kind or "application/octet-stream")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    async with one.client() as guest:
        assert (await guest.get(f"/server/files/config/{name}")).status_code == 401


async def test_documents_and_the_printers_card_are_read(one: Hosted, client: httpx.AsyncClient) -> None:
    assert (await client.get("/server/files/docs/ARCHITECTURE.md")).text.startswith("# Architecture")
    listed = (await client.get("/server/files/list?root=docs")).json()["result"]
    assert {"ARCHITECTURE.md", "compat/moonraker.md"} <= {file["path"] for file in listed}
    assert {file["permissions"] for file in listed} == {"r"}
    card = await client.get("/server/files/config/printer.cfg")
    assert "driver: virtual" in card.text
    listed = (await client.get("/server/files/directory?path=config")).json()["result"]
    assert [(file["filename"], file["permissions"]) for file in listed["files"]] == [("printer.cfg", "r")]


async def test_logs_are_for_who_manages_the_host(one: Hosted, client: httpx.AsyncClient) -> None:
    folder = one.host.logs.folder
    folder.mkdir(exist_ok=True)
    for path in ("moonraker.log", "klippy.log"):
        assert (await client.get(f"/server/files/{path}")).status_code == 404
    (folder / "polyhost.log").write_text("of the host\n")
    one.host.serial_logs.path_of(one.host.printers.get("one")).write_text("of the printer\n")
    for path, said in (("moonraker.log", "of the host\n"), ("klippy.log", "of the printer\n")):
        for place in (path, f"logs/{path}"):
            answer = await client.get(f"/server/files/{place}")
            assert (answer.text, answer.headers["content-type"][:10]) == (said, "text/plain")
            async with one.client(role=Role.OPERATOR) as operator:
                assert (await operator.get(f"/server/files/{place}")).status_code == 403
    listed = (await client.get("/server/files/list?root=logs")).json()["result"]
    assert {file["path"] for file in listed} == {"polyhost.log", "serial-one.log"}
    assert (await client.get("/server/files/logs/..%2fsecret.key")).status_code == 404
