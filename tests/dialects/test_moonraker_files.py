"""Moonraker's files: what lists and metadata say, what changes do, and what connections hear of them."""

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from PIL import Image

from polyhost.config import Printer as PrinterSettings
from polyhost.core.file import Metadata, Thumbnail
from polyhost.core.job import RunSignal
from polyhost.core.user import Role
from polyhost.dialects.moonraker.metadata import fields_of
from polyhost.services.accounts import LOCAL
from polyhost.services.printer_files import CARD
from tests.web.hosting import GCODE, Hosted, NoReader, hosted, raw_request
from tests.web.serving import serving

EARLY = {"X-Polyhost-Edition": "early"}


def picture(size: int) -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (size, size), (200, 30, 30)).save(png, "PNG")
    return png.getvalue()


PICTURES = {hashlib.sha256(data).hexdigest(): data for data in (picture(32), picture(300))}
SAID = Metadata(
    slicer="PrusaSlicer",
    slicer_version="2.7.1",
    gcode_start_byte=7,
    gcode_end_byte=900,
    layer_count=6,
    object_height=1.2,
    estimated_time=40.0,
    layer_height=0.2,
    filament_type=("PLA", "PETG"),
    filament_temps=(210, 240),
    filament_total=12.0,
    mmu_print=True,
    thumbnails=tuple(
        Thumbnail(size, size, "png", len(data), digest)
        for size, (digest, data) in zip((32, 300), PICTURES.items(), strict=True)
    ),
)


class Reader(NoReader):
    """Has read what no slicer of the tests wrote."""

    async def metadata(self, file: Path) -> tuple[Metadata, dict[str, bytes]]:
        return SAID, PICTURES


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path, reader=Reader()) as host:
        yield host


@pytest.fixture
async def client(one: Hosted) -> AsyncIterator[httpx.AsyncClient]:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        yield client


async def put(one: Hosted, *paths: str) -> None:
    """Files whose headers are read."""
    for path in paths:
        await one.put(path)
        await one.host.files.reading.until_read(path, 5)


async def result(client: httpx.AsyncClient, method: str, path: str, **how: Any) -> Any:
    answer = await client.request(method, f"/server/files/{path}", **how)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def refused(client: httpx.AsyncClient, method: str, path: str, **how: Any) -> int:
    """The status of a refusal, which is told in Moonraker's words."""
    answer = await client.request(method, f"/server/files/{path}", **how)
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["message"]
    return answer.status_code


async def test_lists_are_of_gcode_and_folders_have_all(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "b.gcode", "Sub/deep/A.G", "notes.txt", "sub2/c.nc")
    found = await result(client, "GET", "list")
    assert [file["path"] for file in found] == ["b.gcode", "Sub/deep/A.G", "sub2/c.nc"]
    file = one.host.files.get("b.gcode")
    assert found[0] == {
        "path": "b.gcode",
        "filename": "b.gcode",
        "modified": file.modified_at,
        "size": len(GCODE),
        "permissions": "rw",
    }
    folder = await result(client, "GET", "directory?path=gcodes")
    assert {entry["dirname"] for entry in folder["dirs"]} == {"Sub", "sub2"}
    assert {entry["filename"] for entry in folder["files"]} == {"b.gcode", "notes.txt"}
    assert folder["root_info"] == {"name": "gcodes", "permissions": "rw"}
    usage = folder["disk_usage"]
    assert usage["total"] == usage["used"] + usage["free"] > 0
    assert "slicer" not in folder["files"][0]
    below = await result(client, "GET", "directory?path=gcodes/Sub/deep&extended=true")
    assert (below["files"][0]["filename"], below["files"][0]["slicer"]) == ("A.G", "PrusaSlicer")
    assert await refused(client, "GET", "directory?path=gcodes/none") == 400
    assert await refused(client, "GET", "directory?path=gcodes/b.gcode") == 400
    assert await refused(client, "GET", "list?root=none") == 400


async def test_what_is_kept_of_lists_is_never_old(one: Hosted, client: httpx.AsyncClient) -> None:
    for number in range(3):
        await put(one, f"{number}.gcode")
        assert len(await result(client, "GET", "list")) == number + 1
        files = (await result(client, "GET", "directory?extended=true"))["files"]
        assert [file["job_id"] for file in files] == [None] * (number + 1)
    async with printing(one, "1.gcode"):
        files = (await result(client, "GET", "directory?extended=true"))["files"]
        assert {file["job_id"] for file in files} == {"000001"}, "the three have one content"


@contextlib.asynccontextmanager
async def printing(one: Hosted, path: str, printer: str = "one") -> AsyncIterator[None]:
    await one.host.runs.start(one.host.printers.get(printer), path, LOCAL)
    try:
        yield
    finally:
        one.machines[printer].signal(RunSignal.CANCEL, RunSignal.CANCEL_DONE)
        await one.ended()


async def test_roots_are_told_with_what_may_be_done(one: Hosted, client: httpx.AsyncClient) -> None:
    expected = {"config": "rw", "logs": "r", "gcodes": "rw", "config_examples": "r", "docs": "r"}
    assert {root["name"]: root["permissions"] for root in await result(client, "GET", "roots")} == expected
    info = (await client.get("/server/info")).json()["result"]
    assert set(info["registered_directories"]) == expected.keys()
    assert "file_manager" in info["components"]
    async with one.client(role=Role.VIEWER) as viewer:
        found = {root["name"]: root["permissions"] for root in await result(viewer, "GET", "roots")}
    assert found == {"config": "r", "logs": "", "gcodes": "r", "config_examples": "r", "docs": "r"}


async def test_metadata_has_the_documented_fields(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "sub/a.gcode")
    said = await result(client, "GET", "metadata?filename=sub/a.gcode")
    pictures = said.pop("thumbnails")
    assert said.keys() == {
        *("size", "modified", "uuid", "file_processors", "slicer", "slicer_version", "gcode_start_byte"),
        *("gcode_end_byte", "layer_count", "object_height", "estimated_time", "layer_height", "filament_type"),
        *("filament_temps", "filament_total", "mmu_print", "filament_colors", "extruder_colors", "referenced_tools"),
        *("print_start_time", "job_id", "filename"),
    }
    assert (said["filament_type"], said["mmu_print"], said["filename"]) == ('["PLA", "PETG"]', 1, "sub/a.gcode")
    assert (said["print_start_time"], said["job_id"], said["filament_colors"]) == (None, None, [])
    assert [(shown["width"], shown["height"], shown["size"]) for shown in pictures] == [
        (size, size, len(data)) for size, data in zip((32, 300), PICTURES.values(), strict=True)
    ]
    assert all("data" not in shown for shown in pictures)
    early = (await result(client, "GET", "metadata?filename=sub/a.gcode", headers=EARLY))["thumbnails"]
    assert [base64.b64decode(shown["data"]) for shown in early] == list(PICTURES.values())
    assert all(shown["size"] == len(shown["data"]) for shown in early)
    listed = await result(client, "GET", "thumbnails?filename=sub/a.gcode")
    assert [shown["thumbnail_path"] for shown in listed] == [f"sub/{shown['relative_path']}" for shown in pictures]
    assert await refused(client, "GET", "metadata?filename=none.gcode") == 404
    assert await refused(client, "GET", "metadata") == 400
    assert fields_of(Metadata(slicer="Cura", filament_type=("PLA",)))["filament_type"] == "PLA"


async def test_metadata_knows_the_last_print_of_its_printer(tmp_path: Path) -> None:
    printers = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=printers, reader=Reader()) as one, one.client(role=Role.OPERATOR) as client:
        await put(one, "a.gcode")

        async def job_of(printer: str) -> Any:
            answer = await client.get(f"/p/{printer}/server/files/metadata?filename=a.gcode")
            return answer.json()["result"]["job_id"]

        async with printing(one, "a.gcode", "two"):
            assert (await job_of("one"), await job_of("two")) == (None, "000001")
        assert (await job_of("one"), await job_of("two")) == (None, "000001")


async def test_a_picture_needs_its_name_and_nothing_else(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "a.gcode", "sub/b c.gcode")
    for folder, file in (("", "a.gcode"), ("sub/", "sub/b c.gcode")):
        shown = (await result(client, "GET", "metadata", params={"filename": file}))["thumbnails"][1]
        url = f"/server/files/gcodes/{folder}{shown['relative_path']}"
        async with one.client() as guest:
            answer = await guest.get(url)
            assert (answer.status_code, answer.content) == (200, picture(300))
            assert answer.headers["content-type"] == "image/png"
            again = await guest.get(url, headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304
            guessed = url.rpartition("-")[0] + "-" + "0" * 32 + ".png"
            for wrong in (guessed, url.rpartition("-")[0] + ".png", f"{url}x"):
                assert (await guest.get(wrong)).status_code == 404
            assert (await guest.get(f"/server/files/gcodes/{file}")).status_code == 401
            assert (await guest.delete(url)).status_code in {401, 405}


async def test_metascan_reads_again(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "a.gcode", "notes.txt")
    assert (await result(client, "POST", "metascan?filename=a.gcode"))["slicer"] == "PrusaSlicer"
    assert await refused(client, "POST", "metascan?filename=none.gcode") == 404
    assert await refused(client, "POST", "metascan?filename=notes.txt") == 400


async def test_folders_are_made_and_removed(one: Hosted, client: httpx.AsyncClient) -> None:
    made = await result(client, "POST", "directory", json={"path": "gcodes/new"})
    assert made["action"] == "create_dir"
    assert made["item"].keys() == {"path", "root", "modified", "size", "permissions"}
    assert (made["item"]["path"], made["item"]["root"], made["item"]["permissions"]) == ("new", "gcodes", "rw")
    assert await refused(client, "POST", "directory?path=gcodes/new") == 400
    assert await refused(client, "POST", "directory?path=gcodes/none/new") == 400
    assert await refused(client, "POST", "directory?path=gcodes") == 400
    await put(one, "new/a.gcode")
    assert await refused(client, "DELETE", "directory?path=gcodes/new") == 400
    gone = await result(client, "DELETE", "directory?path=gcodes/new&force=true")
    assert gone == {
        "item": {"path": "new", "root": "gcodes", "modified": 0, "size": 0, "permissions": ""},
        "action": "delete_dir",
    }
    assert await refused(client, "DELETE", "directory?path=gcodes/new") == 400
    for way in ("POST", "DELETE"):
        assert await result(client, way, "directory?path=gcodes/new", headers=EARLY) == "ok"


async def test_things_move_over_and_into_what_is_there(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "a.gcode", "sub/b.gcode")
    await one.put("c.gcode", b"G28\n")

    async def move(source: str, dest: str, how: str = "move", **more: Any) -> Any:
        said = {"source": f"gcodes/{source}", "dest": f"gcodes/{dest}"}
        return await result(client, "POST", how, json=said, **more)

    moved = await move("a.gcode", "sub")
    assert (moved["action"], moved["item"]["path"]) == ("move_file", "sub/a.gcode")
    assert moved["source_item"] == {"path": "a.gcode", "root": "gcodes"}
    over = await move("c.gcode", "sub/b.gcode")
    assert (over["item"]["path"], over["item"]["size"]) == ("sub/b.gcode", 4)
    assert one.host.files.on_disk("sub/b.gcode").read_bytes() == b"G28\n"
    copied = await move("sub/b.gcode", "copy.gcode", "copy")
    assert (copied["action"], "source_item" in copied) == ("create_file", False)
    assert (await move("sub/a.gcode", "copy.gcode", "copy"))["action"] == "modify_file"
    assert one.host.files.get("copy.gcode").size_bytes == len(GCODE)
    assert (await move("sub", "other"))["action"] == "move_dir"
    assert (await move("other", "twin", "copy"))["action"] == "create_dir"
    assert {file.path for file in one.host.files.tree().all_files()} == {
        *("copy.gcode", "other/a.gcode", "other/b.gcode", "twin/a.gcode", "twin/b.gcode"),
    }
    assert await move("copy.gcode", "last.gcode", headers=EARLY) == "ok"
    assert await move("last.gcode", "copy.gcode", "copy", headers=EARLY) == "ok"
    for source, dest in (("none.gcode", "x.gcode"), ("other", "other/in"), ("other", "last.gcode"), ("", "x")):
        for how in ("move", "copy"):
            said = {"source": f"gcodes/{source}", "dest": f"gcodes/{dest}"}
            assert await refused(client, "POST", how, json=said) in {400, 404}, said


async def test_files_go_from_root_to_root(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "f/a.gcode", "f/b/c.gcode", "f/notes.txt")
    await one.host.files.make_folder("f/empty", LOCAL)
    moved = await result(client, "POST", "move", json={"source": "gcodes/f", "dest": "config/g"})
    assert (moved["action"], moved["item"]["root"], moved["source_item"]["root"]) == ("move_dir", "config", "gcodes")
    assert not one.host.files.exists("f")
    config = one.host.printer_files.config(one.host.printers.get("one"))
    assert {entry.path for entry in (await config.all()).values()} == {
        *(CARD, "g", "g/a.gcode", "g/b", "g/b/c.gcode", "g/empty", "g/notes.txt"),
    }
    assert await config.read("g/b/c.gcode") == GCODE
    copied = await result(client, "POST", "copy", json={"source": "config/g/a.gcode", "dest": "gcodes"})
    assert (copied["action"], copied["item"]["path"], copied["item"]["root"]) == ("create_file", "a.gcode", "gcodes")
    for source, dest in (("config/g", "docs/g"), ("docs/ARCHITECTURE.md", "gcodes/x.md")):
        assert await refused(client, "POST", "move", json={"source": source, "dest": dest}) == 403
    said = {"source": "docs/ARCHITECTURE.md", "dest": "config/read.md"}
    assert (await result(client, "POST", "copy", json=said))["item"]["path"] == "read.md"
    async with one.client(role=Role.OPERATOR) as operator:
        said = {"source": "gcodes/a.gcode", "dest": "config/x.gcode"}
        for how in ("move", "copy"):
            assert await refused(operator, "POST", how, json=said) == 403
    assert one.host.files.exists("a.gcode")


async def test_what_is_printed_stays(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "f/a.gcode", "b.gcode")
    before = {file.path for file in one.host.files.tree().all_files()}
    changes = (
        ("DELETE", "gcodes/f/a.gcode", None),
        ("DELETE", "directory?path=gcodes/f&force=true", None),
        *(
            ("POST", "move", {"source": source, "dest": dest})
            for source, dest in (
                *(("gcodes/f/a.gcode", "gcodes/c.gcode"), ("gcodes/f", "gcodes/g"), ("gcodes/f", "config/f")),
                *(("gcodes/b.gcode", "gcodes/f/a.gcode"), ("gcodes/f/a.gcode", "config/a.gcode")),
            )
        ),
        ("POST", "copy", {"source": "gcodes/b.gcode", "dest": "gcodes/f/a.gcode"}),
    )
    async with printing(one, "f/a.gcode"):
        for paused in (False, True):
            if paused:
                one.machine.signal(RunSignal.PAUSE, RunSignal.PAUSE_DONE)
            for method, path, said in changes:
                answer = await client.request(method, f"/server/files/{path}", json=said)
                assert answer.status_code == 403, (method, path, said)
                assert answer.json()["error"]["message"].startswith("File currently in use")
            upload = await client.post(
                "/server/files/upload", data={"path": "f"}, files={"file": ("a.gcode", b"G28\n")}
            )
            assert upload.status_code == 403
            assert upload.json()["error"]["message"].startswith("File currently in use")
        said = {"source": "gcodes/f/a.gcode", "dest": "gcodes/d.gcode"}
        await result(client, "POST", "copy", json=said)  # from it is fine
        assert {file.path for file in one.host.files.tree().all_files()} == before | {"d.gcode"}
    assert (await result(client, "DELETE", "gcodes/f/a.gcode"))["action"] == "delete_file"


async def test_files_are_deleted(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "a.gcode", "b.gcode", "f/c.gcode")
    assert await result(client, "DELETE", "gcodes/a.gcode") == {
        "item": {"path": "a.gcode", "root": "gcodes", "modified": 0, "size": 0, "permissions": ""},
        "action": "delete_file",
    }
    assert await result(client, "DELETE", "gcodes/b.gcode", headers=EARLY) == "b.gcode"
    assert await refused(client, "DELETE", "gcodes/a.gcode") == 400
    assert await refused(client, "DELETE", "gcodes/f") == 400
    assert await refused(client, "DELETE", "docs/ARCHITECTURE.md") == 403
    assert await refused(client, "DELETE", "logs/polyhost.log") == 400
    assert await refused(client, "DELETE", "gcodes/a.gcode", headers=EARLY) == 500
    said = {"jsonrpc": "2.0", "method": "server.files.delete_file", "params": {"path": "gcodes/f/c.gcode"}, "id": 1}
    answer = (await client.post("/server/jsonrpc", json=said)).json()
    assert answer["result"]["action"] == "delete_file"
    assert not one.host.files.exists("f/c.gcode")


async def test_archives_have_what_was_asked(one: Hosted, client: httpx.AsyncClient) -> None:
    await put(one, "a.gcode", "f/b.gcode")
    for store_only in (False, True):
        said = {"items": ["gcodes/f", "gcodes/a.gcode", f"config/{CARD}"], "store_only": store_only}
        packed = await result(client, "POST", "zip", json=said | {"dest": "config/out/x.zip"})
        assert (packed["action"], packed["destination"]["path"]) == ("zip_files", "out/x.zip")
        content = (await client.get("/server/files/config/out/x.zip")).content
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            assert set(archive.namelist()) == {"gcodes/f/b.gcode", "gcodes/a.gcode", f"config/{CARD}"}
            assert archive.read("gcodes/a.gcode") == GCODE
            kind = zipfile.ZIP_STORED if store_only else zipfile.ZIP_DEFLATED
            assert archive.getinfo("gcodes/a.gcode").compress_type == kind
    named = await result(client, "POST", "zip", json={"items": "gcodes/a.gcode"})
    assert named["destination"]["path"].startswith("collection-")
    for items, dest, status in (
        *(([], "config/x.zip", 400), (["gcodes/none.gcode"], "config/x.zip", 400), (["gcodes"], "docs/x.zip", 403)),
        *((["gcodes/a.gcode"], "config/x.gcode", 400), (["gcodes/a.gcode"], "config/../x.zip", 400)),
    ):
        assert await refused(client, "POST", "zip", json={"items": items, "dest": dest}) == status


HOSTILE = (
    *("../canary", "..", "a/../../canary", "%2e%2e/canary", "..%2fcanary", "%2e%2e%2fcanary", "..\\canary"),
    *("%5c..%5ccanary", "....//canary", "/etc/passwd", "//etc/passwd", "a%00b", "%00", "%c0%ae%c0%ae/canary"),
    *("..;/canary", "\uff0e\uff0e/canary", ".git/config", ".theme/../../canary", "link/canary", ".hidden"),
)


@pytest.mark.parametrize("root", ["gcodes", "config", "config_examples", "docs", "logs"])
async def test_no_path_leaves_its_root(one: Hosted, client: httpx.AsyncClient, tmp_path: Path, root: str) -> None:
    canary = tmp_path / "canary"
    canary.write_text("alive")
    await put(one, "a.gcode")
    await result(client, "GET", "list?root=config")
    places = {"gcodes": tmp_path / "files", "config": tmp_path / "printers/one/config"}
    if root in places:
        (places[root] / "link").symlink_to(tmp_path)
    for path in HOSTILE:
        raw = path if path.isascii() else path.encode().decode("latin-1")
        for method in ("GET", "DELETE"):
            status, body = await raw_request(one, method, f"/server/files/{root}/{raw}")
            assert status in {400, 401, 403, 404, 405}, (method, path, status)
            assert b"alive" not in body
        for query in (f"directory?path={root}/{path}", f"metadata?filename={path}"):
            assert await refused(client, "GET", query) in {400, 403, 404}
        for said in (
            {"source": f"{root}/{path}", "dest": "gcodes/stolen.gcode"},
            {"source": "gcodes/a.gcode", "dest": f"{root}/{path}"},
        ):
            if "etc" in path or "%" in path or not path.isascii():
                continue  # in JSON, which is not decoded again, these are names
            for how in ("move", "copy"):
                assert await refused(client, "POST", how, json=said) in {400, 403, 404}, said
        form = await client.post(
            "/server/files/upload", data={"root": root, "path": ".."}, files={"file": ("x.gcode", GCODE)}
        )
        assert form.status_code in {400, 403}
    assert canary.read_text() == "alive"
    assert {file.path for file in one.host.files.tree().all_files()} == {"a.gcode"}
    assert (tmp_path / "etc").exists() is False


class Ear:
    """A connection that hears of files."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket

    async def next(self, name: str = "notify_filelist_changed") -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                said = json.loads(await self._socket.recv())
                if said.get("method") == name:
                    assert "id" not in said
                    [params] = said["params"]
                    return dict(params)


async def test_connections_hear_of_every_change_in_their_editions_words(one: Hosted) -> None:
    async with serving(one) as (served, _), one.client(role=Role.ADMINISTRATOR) as client:
        key = one.keys[Role.ADMINISTRATOR]
        url = f"{served.sockets}/websocket"
        headers = {"X-Api-Key": key}
        async with (
            websockets.connect(url, additional_headers=headers) as today,
            websockets.connect(f"{url}?edition=early", additional_headers=headers) as then,
        ):
            modern, early = Ear(today), Ear(then)

            async def heard(action: str, old: str, path: str, source: str = "") -> None:
                new, earlier = await modern.next(), await early.next()
                assert (new["action"], earlier["action"]) == (action, old)
                assert new["item"]["path"] == earlier["item"]["path"] == path
                is_move = action.startswith("move")
                assert new.get("source_item") == ({"path": source, "root": "gcodes"} if is_move else None)
                assert earlier.get("source_item") == ({"path": source, "root": "gcodes"} if source else None)

            async def do(method: str, path: str, **said: str) -> None:
                answer = await client.request(method, f"/server/files/{path}", json=said or None)
                assert answer.status_code == 200, answer.text

            await one.put("a.gcode")
            await heard("create_file", "upload_file", "a.gcode")
            metadata = await modern.next("notify_metadata_update")
            assert (metadata["filename"], metadata["slicer"]) == ("a.gcode", "PrusaSlicer")
            assert "data" in (await early.next("notify_metadata_update"))["thumbnails"][0]
            await one.put("a.gcode", b"G28\n")
            await heard("modify_file", "upload_file", "a.gcode")
            await do("POST", "directory?path=gcodes/f")
            await heard("create_dir", "create_dir", "f")
            await do("POST", "move", source="gcodes/a.gcode", dest="gcodes/f")
            await heard("move_file", "move_item", "f/a.gcode", "a.gcode")
            await do("POST", "copy", source="gcodes/f", dest="gcodes/g")
            await heard("create_dir", "copy_item", "g", "f")
            await do("POST", "move", source="gcodes/g", dest="gcodes/h")
            await heard("move_dir", "move_item", "h", "g")
            await do("POST", "copy", source="gcodes/h/a.gcode", dest="gcodes/f/a.gcode")
            await heard("modify_file", "copy_item", "f/a.gcode", "h/a.gcode")
            await do("DELETE", "gcodes/f/a.gcode")
            await heard("delete_file", "delete_file", "f/a.gcode")
            await do("DELETE", "directory?path=gcodes/h&force=true")
            await heard("delete_dir", "delete_dir", "h")
            async with one.client(role=Role.OPERATOR) as octoprint:
                await octoprint.delete("/api/files/local/f")
            await heard("delete_dir", "delete_dir", "f")


async def test_a_printers_own_files_are_told_to_its_connections_alone(tmp_path: Path) -> None:
    printers = (PrinterSettings("one", "virtual"), PrinterSettings("two", "virtual"))
    async with hosted(tmp_path, printers=printers) as host, serving(host) as (served, _):
        headers = {"X-Api-Key": host.keys[Role.ADMINISTRATOR]}
        async with (
            websockets.connect(f"{served.sockets}/p/one/websocket", additional_headers=headers) as first,
            websockets.connect(f"{served.sockets}/p/two/websocket", additional_headers=headers) as second,
            host.client(role=Role.ADMINISTRATOR) as client,
        ):
            for slug, name in (("one", "x.cfg"), ("two", "y.cfg")):
                form = await client.post(
                    f"/p/{slug}/server/files/upload", data={"root": "config"}, files={"file": (name, b"[x]\n")}
                )
                assert form.status_code == 201, form.text
            for socket, name in ((first, "x.cfg"), (second, "y.cfg")):
                told = await Ear(socket).next()
                assert (told["item"]["path"], told["item"]["root"], told["action"]) == (name, "config", "create_file")
            assert (await client.get("/p/two/server/files/config/x.cfg")).status_code == 404
