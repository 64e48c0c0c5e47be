"""Files: uploads as clients really send them, lists, conditions, commands, downloads."""

import email.utils
import hashlib
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec
import pytest

from polyhost.config import Config, Uploads
from polyhost.core.user import Role
from polyhost.dialects.octoprint.metadata import THUMBNAILS
from tests.web.hosting import GCODE, Hosted, hosted, raw_request

SLICER = "------------------------1b2c3d4e5f607182"
QT = "boundary_.oOo._NTk3ODE5MjM0NTY3ODkwMTIzNDU2Nzg5"


def as_prusaslicer_sends(name: str, content: bytes, *, printing: str = "false", path: str = "") -> bytes:
    """libcurl's form, its parts in the order of the slicer: print, path, file."""
    return (
        (
            f'--{SLICER}\r\nContent-Disposition: form-data; name="print"\r\n\r\n{printing}\r\n'
            f'--{SLICER}\r\nContent-Disposition: form-data; name="path"\r\n\r\n{path}\r\n'
            f'--{SLICER}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        + content
        + f"\r\n--{SLICER}--\r\n".encode()
    )


def as_cura_sends(name: str, content: bytes, *, printing: bool = True) -> bytes:
    """Qt's form: path, file, select, print."""
    flags = "".join(
        f'--{QT}\r\nContent-Disposition: form-data; name="{flag}"\r\n\r\ntrue\r\n'
        for flag in ("select", "print")
        if printing
    )
    return (
        (
            f'--{QT}\r\nContent-Disposition: form-data; name="path"\r\n\r\n//\r\n'.replace("//", "")
            + f'--{QT}\r\nContent-Type: application/octet-stream\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{name}"\r\n\r\n'
        ).encode()
        + content
        + f"\r\n{flags}--{QT}--\r\n".encode()
    )


def as_form(fields: Mapping[str, str]) -> dict[str, tuple[None, str]]:
    """`fields` in a multipart form without a file; httpx makes no form of none."""
    return {name: (None, value) for name, value in ({"print": "false"} | dict(fields)).items()}


async def send(client: httpx.AsyncClient, body: bytes, boundary: str = SLICER, **headers: str) -> httpx.Response:
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return await client.post("/api/files/local", content=body, headers=kind | headers)


class TestUploads:
    async def test_as_slicers_send_them(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            assert (await client.get("/api/version")).json()["text"].startswith("OctoPrint")
            answer = await send(client, as_prusaslicer_sends("Würfel 20mm.gcode", GCODE, path="parts/small"))
            assert answer.status_code == 201
            url = "http://127.0.0.1:8080/api/files/local/parts/small/W%C3%BCrfel%2020mm.gcode"
            assert answer.headers["location"] == url
            assert answer.json() == {
                "done": True,
                "effectiveSelect": False,
                "effectivePrint": False,
                "files": {
                    "local": {
                        "name": "Würfel 20mm.gcode",
                        "path": "parts/small/Würfel 20mm.gcode",
                        "origin": "local",
                        "refs": {"resource": url, "download": url.replace("/api/", "/downloads/")},
                    }
                },
            }
            entry = (await client.get(url)).json()
        assert (entry["size"], entry["hash"]) == (len(GCODE), hashlib.sha1(GCODE).hexdigest())
        assert one.host.files.on_disk("parts/small/Würfel 20mm.gcode").read_bytes() == GCODE
        assert one.machine.order is None

    async def test_upload_and_print(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            answer = await send(client, as_prusaslicer_sends("a.gcode", GCODE, printing="true"))
            assert (answer.json()["effectiveSelect"], answer.json()["effectivePrint"]) == (False, True)
            assert (await client.get("/api/job")).json()["state"] == "Printing"
            again = await send(client, as_prusaslicer_sends("a.gcode", GCODE, printing="true"))
            assert again.status_code == 409
            other = await send(client, as_prusaslicer_sends("b.gcode", GCODE, printing="true"))
            assert (other.status_code, other.json()["effectivePrint"]) == (201, False)

    async def test_as_cura_sends_them_and_then_selects(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            stored = await send(client, as_cura_sends("cura.gcode", GCODE, printing=False), QT)
            assert stored.status_code == 201
            path = stored.headers["location"].split("api/", 1)[1]
            answer = await client.post(f"/api/{path}", json={"command": "select", "print": True})
            assert answer.status_code == 204
            assert one.machine.order is not None
            await one.machine.cancel("")
            await one.ended()
            both = await send(client, as_cura_sends("cura.gcode", GCODE), QT)
            assert (both.json()["effectiveSelect"], both.json()["effectivePrint"]) == (True, True)

    async def test_curl_sends_the_file_first(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            body = (
                b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.gcode"\r\n\r\n'
                + GCODE
                + b'\r\n--X\r\nContent-Disposition: form-data; name="path"\r\n\r\nlater'
                b'\r\n--X\r\nContent-Disposition: form-data; name="userdata"\r\n\r\n{"job": 7}\r\n--X--\r\n'
            )
            assert (await send(client, body, "X")).status_code == 201
            assert (await client.get("/api/files/local/later/a.gcode")).json()["userdata"] == {"job": 7}
            assert (await client.get("/api/files/local/a.gcode")).status_code == 404

    @pytest.mark.parametrize(
        ("fields", "filename", "path"),
        [
            ({}, "in folder/a.gcode", "in folder/a.gcode"),
            ({"path": "other"}, "in/a.gcode", "other/a.gcode"),
            ({"filename": "new.gco"}, "a.gcode", "new.gco"),
            ({"filename": "new.gco", "path": "/x/"}, "a.gcode", "x/new.gco"),
            ({"path": ""}, "A.GCODE", "A.GCODE"),
        ],
    )
    async def test_where_a_file_goes(self, one: Hosted, fields: dict[str, str], filename: str, path: str) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            answer = await client.post("/api/files/local", data=fields, files={"file": (filename, GCODE)})
        assert answer.json()["files"]["local"]["path"] == path

    @pytest.mark.parametrize(
        ("fields", "filename", "status"),
        [
            ({}, "a.stl", 415),
            ({}, "a", 415),
            ({"filename": "a.exe"}, "a.gcode", 415),
            ({"path": "../x"}, "a.gcode", 400),
            ({"path": "x/../../y"}, "a.gcode", 400),
            ({"path": ".hidden"}, "a.gcode", 400),
            ({"path": "x\\y"}, "a.gcode", 400),
            ({"path": "x\u202e"}, "a.gcode", 400),
            ({}, ".gcode", 400),
            ({}, "con.gcode", 400),
            ({}, "x" * 250 + ".gcode", 400),
            ({"userdata": "{"}, "a.gcode", 400),
            ({"userdata": "[" * 65}, "a.gcode", 400),
            ({"noOverwrite": "true"}, "there.gcode", 409),
            ({"noOverwrite": "true", "path": ""}, "there.gcode", 409),
            ({"path": "there.gcode"}, "a.gcode", 409),
            ({"noOverwrite": "no"}, "there.gcode", 201),
        ],
    )
    async def test_what_is_refused(
        self, one: Hosted, tmp_path: Path, fields: dict[str, str], filename: str, status: int
    ) -> None:
        await one.put("there.gcode", b"G28\n")
        async with one.client(role=Role.OPERATOR) as client:
            answer = await client.post("/api/files/local", data=fields, files={"file": (filename, GCODE)})
        assert answer.status_code == status, answer.text
        if status != 201:
            assert set(one.host.files.tree().files) == {"there.gcode"}
            assert one.host.files.on_disk("there.gcode").read_bytes() == b"G28\n"
        assert not list((tmp_path / "staging").iterdir())

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"--X--\r\n",
            b'--X\r\nContent-Disposition: form-data; name="print"\r\n\r\ntrue\r\n--X--\r\n',
            b'--X\r\nContent-Disposition: form-data; name="file"\r\n\r\nG28\r\n--X--\r\n',
            b'--X\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--X--\r\n',
            b"garbage",
        ],
    )
    async def test_a_form_without_a_file_is_refused(self, one: Hosted, body: bytes) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            assert (await send(client, body, "X")).status_code == 400

    async def test_a_viewer_uploads_nothing_and_an_uploader_replaces_nothing(self, one: Hosted) -> None:
        await one.put("there.gcode")
        async with one.client() as client:
            for role, name, status in [
                (Role.VIEWER, "a.gcode", 403),
                (Role.UPLOADER, "a.gcode", 201),
                (Role.UPLOADER, "there.gcode", 403),
                (Role.OPERATOR, "there.gcode", 201),
            ]:
                body = as_prusaslicer_sends(name, GCODE, printing="true" if role is Role.UPLOADER else "false")
                answer = await send(client, body, **{"X-Api-Key": one.keys[role]})
                assert answer.status_code == status, (role, name)
        assert one.machine.order is None  # an uploader's wish to print is dropped

    async def test_a_key_may_come_in_the_form_but_only_before_the_file(self, one: Hosted) -> None:
        key = f'--X\r\nContent-Disposition: form-data; name="apikey"\r\n\r\n{one.keys[Role.OPERATOR]}\r\n'.encode()
        file = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.gcode"\r\n\r\nG28\r\n'
        filler = b'--X\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"x" * 65_000 + b"\r\n"
        async with one.client() as client:
            assert (await send(client, file + key + b"--X--\r\n", "X")).status_code == 403
            assert (await send(client, filler * 3 + key + file + b"--X--\r\n", "X")).status_code == 403
            assert (await send(client, key + file + b"--X--\r\n", "X")).status_code == 201

    async def test_an_upload_beyond_its_bound(self, tmp_path: Path) -> None:
        config = Config(uploads=Uploads(max_bytes=1000))
        async with hosted(tmp_path, config=config) as host, host.client(role=Role.OPERATOR) as client:
            assert (await send(client, as_prusaslicer_sends("a.gcode", bytes(1001)))).status_code == 413
            assert (await send(client, as_prusaslicer_sends("a.gcode", bytes(1000)))).status_code == 201

    async def test_folders(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            answer = await client.post("/api/files/local", files=as_form({"foldername": "sub", "path": "a/b"}))
            url = "http://127.0.0.1:8080/api/files/local/a/b/sub"
            assert (answer.status_code, answer.headers["location"]) == (201, url)
            assert answer.json() == {
                "done": True,
                "folder": {"name": "sub", "path": "a/b/sub", "origin": "local", "refs": {"resource": url}},
            }
            as_json = await client.post("/api/files/local", json={"foldername": "c", "path": ""})
            assert as_json.status_code == 201
            for name, status in [("sub", 201), ("x.gcode", 409), ("..", 400), ("", 400)]:
                for form in (
                    {"json": {"foldername": name, "path": "a/b"}},
                    {"data": {"foldername": name, "path": "a/b"}},
                ):
                    again = await client.post("/api/files/local", **form)
                    assert again.status_code == status, name
            await one.put("file")
            for wish, status in [({"foldername": "file"}, 409), ({"path": "x"}, 400), ({}, 400)]:
                assert (await client.post("/api/files/local", files=as_form(wish))).status_code == status, wish
            assert (await client.post("/api/files/local", data={"path": "x"})).status_code == 400
            assert (await client.post("/api/files/sdcard", files=as_form({"foldername": "x"}))).status_code == 409
            assert (await client.post("/api/files/moon", files=as_form({"foldername": "x"}))).status_code == 404


class TestLists:
    async def test_flat_and_recursive(self, one: Hosted) -> None:
        for path in ("top.gcode", "sub/inner.gcode", "sub/deep/innermost.gcode"):
            await one.put(path)
        async with one.client(role=Role.VIEWER) as client:
            flat = (await client.get("/api/files")).json()
            deep = (await client.get("/api/files/local?recursive=true")).json()
            models = (await client.get("/api/files?recursive=true&filter=model")).json()
            folder = (await client.get("/api/files/local/sub")).json()
        assert [entry["name"] for entry in flat["files"]] == ["sub", "top.gcode"]
        assert flat["files"][0]["children"] == []
        assert flat["files"][0]["size"] == 2 * len(GCODE)
        assert 0 < flat["free"] <= flat["total"]
        assert [entry["path"] for entry in deep["files"][0]["children"]] == ["sub/deep", "sub/inner.gcode"]
        assert deep["files"][0]["children"][0]["children"][0]["path"] == "sub/deep/innermost.gcode"
        assert [entry["name"] for entry in models["files"]] == ["sub"]
        assert [entry["name"] for entry in folder["children"]] == ["deep", "inner.gcode"]

    async def test_an_unchanged_list_is_not_sent_again(self, one: Hosted) -> None:
        await one.put("a.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            first = await client.get("/api/files")
            same = {"If-None-Match": first.headers["etag"]}
            assert first.headers["etag"].startswith('"')
            assert (await client.get("/api/files", headers=same)).status_code == 304
            assert (await client.get("/api/files?force=true", headers=same)).status_code == 200
            assert (await client.get("/api/files?recursive=true", headers=same)).status_code == 304
            await one.put("b.gcode")
            assert (await client.get("/api/files", headers=same)).status_code == 200
            await client.delete("/api/files/local/b.gcode")
            entry = await client.get("/api/files/local/a.gcode")
            same = {"If-None-Match": entry.headers["etag"]}
            assert (await client.get("/api/files/local/a.gcode", headers=same)).status_code == 304

    async def test_a_date_is_believed_only_if_nothing_can_have_changed_since(self, one: Hosted) -> None:
        await one.put("a.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            assert (
                "last-modified" not in (await client.get("/api/files")).headers
            )  # another change may come this second
            later = email.utils.formatdate(one.host.clock.now() + 60, usegmt=True)
            assert (await client.get("/api/files", headers={"If-Modified-Since": later})).status_code == 200

    async def test_the_printers_card_is_empty(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            assert (await client.get("/api/files/sdcard")).json() == {"files": []}
            assert (await client.get("/api/files/sdcard/a.g")).status_code == 404
            copied = await client.post("/api/files/sdcard/a.g", json={"command": "copy", "destination": "b.g"})
            assert copied.status_code == 400
            assert (await client.post("/api/files/sdcard/a.g", json={"command": "select"})).status_code == 404
            assert (await client.get("/api/files/usb")).status_code == 404
            assert (await client.get("/api/files/usb/a.g")).status_code == 404

    async def test_test(self, one: Hosted) -> None:
        await one.put("x/a.gcode")
        await one.put("x/a_1.gcode")
        wish = {"storage": "local", "path": "x", "filename": "a.gcode"}
        async with one.client(role=Role.VIEWER) as client:
            found = (await client.post("/api/files/test", json={"command": "exists", **wish})).json()
            assert (found["exists"], found["suggestion"], found["size"]) == (True, "a_2.gcode", len(GCODE))
            wish["filename"] = "b.gcode"
            assert (await client.post("/api/files/test", json={"command": "exists", **wish})).json() == {
                "exists": False
            }
            clean = await client.post("/api/files/test", json={"command": "sanitize", **wish})
            assert clean.json() == {"sanitized": "x/b.gcode"}


class TestCommands:
    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("a.gcode", {"command": "copy", "destination": "sub"}, 201),
            ("a.gcode", {"command": "copy", "destination": "sub/c.gcode"}, 201),
            ("a.gcode", {"command": "move", "destination": "new/c.gcode"}, 404),
            ("sub", {"command": "move", "destination": "other"}, 201),
            ("a.gcode", {"command": "analyse"}, 204),
            ("a.gcode", {"command": "copy", "destination": "b.gcode"}, 409),
            ("a.gcode", {"command": "copy", "destination": "a.gcode"}, 409),
            ("a.gcode", {"command": "copy", "destination": "c.txt"}, 415),
            ("a.gcode", {"command": "move", "destination": "sub/c"}, 415),
            ("a.gcode", {"command": "move", "destination": ""}, 409),
            ("a.gcode", {"command": "move", "destination": "../c.gcode"}, 400),
            ("a.gcode", {"command": "move"}, 400),
            ("a.gcode", {"command": "move", "destination": 1}, 400),
            ("sub", {"command": "move", "destination": "sub/sub2"}, 400),
            ("none.gcode", {"command": "move", "destination": "c.gcode"}, 404),
            ("none.gcode", {"command": "select"}, 404),
            ("none.gcode", {"command": "analyse"}, 404),
            ("sub", {"command": "select"}, 404),
            ("b.gcode", {"command": "unselect"}, 409),
            ("a.gcode", {"command": "slice"}, 415),
            ("none.stl", {"command": "slice"}, 404),
            ("a.gcode", {"command": "uploadSd"}, 409),
            ("a.gcode", {"command": "print"}, 400),
        ],
    )
    async def test_each(self, one: Hosted, path: str, body: dict[str, object], status: int) -> None:
        for name in ("a.gcode", "b.gcode", "sub/inner.gcode"):
            await one.put(name)
        async with one.client(role=Role.OPERATOR) as client:
            answer = await client.post(f"/api/files/local/{path}", json=body)
            assert answer.status_code == status, answer.text
            if status == 201:
                assert (await client.get(answer.headers["location"])).status_code == 200
                assert answer.json()["name"] == path
                assert ("download" in answer.json()["refs"]) == (path != "sub")

    async def test_a_selected_file_that_goes_is_unselected(self, one: Hosted) -> None:
        await one.put("a.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            await client.post("/api/files/local/a.gcode", json={"command": "select"})
            assert (await client.get("/api/job")).json()["job"]["file"]["path"] == "a.gcode"
            assert (await client.delete("/api/files/local/a.gcode")).status_code == 204
            assert (await client.get("/api/job")).json()["job"]["file"]["path"] is None

    async def test_what_an_uploader_may_not(self, one: Hosted) -> None:
        await one.put("a.gcode")
        async with one.client(role=Role.UPLOADER) as client:
            for body in ({"command": "select"}, {"command": "move", "destination": "b.gcode"}, {"command": "unselect"}):
                assert (await client.post("/api/files/local/a.gcode", json=body)).status_code == 403
            copied = await client.post("/api/files/local/a.gcode", json={"command": "copy", "destination": "b.gcode"})
            assert copied.status_code == 201
            assert (await client.delete("/api/files/local/a.gcode")).status_code == 403

    async def test_folders_go_with_what_is_in_them(self, one: Hosted) -> None:
        await one.put("sub/deep/a.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            assert (await client.delete("/api/files/local/sub")).status_code == 204
            assert (await client.get("/api/files")).json()["files"] == []


class TestDownloads:
    URL = "/downloads/files/local/sub/ä b.gcode"

    async def test_whole_and_in_parts(self, one: Hosted) -> None:
        await one.put("sub/ä b.gcode", GCODE)
        async with one.client(role=Role.VIEWER) as client:
            whole = await client.get(self.URL)
            assert whole.content == GCODE
            assert whole.headers["content-disposition"] == "attachment; filename*=utf-8''%C3%A4%20b.gcode"
            assert whole.headers["content-type"].startswith("text/plain")
            assert whole.headers["x-content-type-options"] == "nosniff"
            etag = whole.headers["etag"]
            part = await client.get(self.URL, headers={"Range": "bytes=4-9"})
            assert (part.status_code, part.content) == (206, GCODE[4:10])
            assert part.headers["content-range"] == f"bytes 4-9/{len(GCODE)}"
            assert (await client.get(self.URL, headers={"Range": "bytes=-5"})).content == GCODE[-5:]
            several = await client.get(self.URL, headers={"Range": "bytes=0-1,4-5"})
            assert (several.status_code, several.content) == (200, GCODE)
            for nonsense in ("lines=1-2", "bytes=9-1", "bytes=-", "bytes=a-b", "bytes"):
                ignored = await client.get(self.URL, headers={"Range": nonsense})
                assert (ignored.status_code, ignored.content) == (200, GCODE), nonsense
            beyond = await client.get(self.URL, headers={"Range": "bytes=99999-"})
            assert beyond.status_code == 416
            head = await client.head(self.URL)
            assert (head.content, head.headers["content-length"]) == (b"", str(len(GCODE)))
            assert (await client.get(self.URL, headers={"If-None-Match": etag})).status_code == 304
            since = {"If-Modified-Since": whole.headers["last-modified"]}
            assert (await client.get(self.URL, headers=since)).status_code == 304
            assert (await client.get(self.URL, headers=since | {"If-None-Match": '"other"'})).status_code == 200
            other = {"If-Modified-Since": email.utils.formatdate(one.host.clock.now() + 60, usegmt=True)}
            assert (await client.get(self.URL, headers=other)).status_code == 200
            stale = await client.get(self.URL, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
            assert stale.status_code == 200

    async def test_a_file_that_other_hands_took_is_gone(self, one: Hosted) -> None:
        await one.put("a.gcode")
        one.host.files.on_disk("a.gcode").unlink()
        async with one.client(role=Role.VIEWER) as client:
            assert (await client.get("/downloads/files/local/a.gcode")).status_code == 404

    async def test_a_picture_that_is_not_there(self, one: Hosted) -> None:
        async with one.client() as client:
            for name in ("0" * 64 + ".png", "..%2fpolyhost.db", "x"):
                assert (await client.get(f"/{THUMBNAILS}/{name}")).status_code in {400, 404}


OUTSIDE = [
    *("../canary.gcode", "..%2fcanary.gcode", "%2e%2e/canary.gcode", "%2e%2e%2fcanary.gcode", "..%252fcanary.gcode"),
    *(
        "..\\canary.gcode",
        "..%5ccanary.gcode",
        "sub/../../canary.gcode",
        "./../canary.gcode",
        "%c0%ae%c0%ae/canary.gcode",
    ),
    *("..%00/canary.gcode", "..;/canary.gcode", "%uff0e%uff0e/canary.gcode", "\uff0e\uff0e/canary.gcode"),
    *(
        "/canary.gcode",
        "%2fetc%2fpasswd",
        "link.gcode",
        "linked/canary.gcode",
        "....//canary.gcode",
        "..%0a/canary.gcode",
    ),
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_outside_the_library_is_reached(one: Hosted, tmp_path: Path, path: str) -> None:
    canary = tmp_path / "canary.gcode"
    canary.write_bytes(b"the canary")
    await one.put("sub/a.gcode")
    (tmp_path / "files" / "link.gcode").symlink_to(canary)
    (tmp_path / "files" / "linked").symlink_to(tmp_path)
    for place in ("/downloads/files/local/", "/api/files/local/", "/native/v1/files/"):
        status, body = await raw_request(one, "GET", place + path, query="download=true")
        assert status in {400, 404}, (place, body)
        assert b"the canary" not in body
    for command in ("copy", "move"):
        body = msgspec.json.encode({"command": command, "destination": "x.gcode"})
        status, body = await raw_request(one, "POST", f"/api/files/local/{path}", body)
        assert status in {400, 404}, body
    for command in ("copy", "move"):
        wish = msgspec.json.encode({"command": command, "destination": path, f"{command}_to": path})
        await raw_request(one, "POST", "/api/files/local/sub/a.gcode", wish)
        await raw_request(one, "POST", "/native/v1/files/sub/a.gcode", wish)
        await one.put("sub/a.gcode")
    await raw_request(one, "PUT", f"/native/v1/files/{path}", b"G28")
    async with one.client(role=Role.ADMINISTRATOR) as client:
        await client.post("/api/files/local", data={"path": path}, files={"file": ("a.gcode", b"G28")})
        await client.post("/api/files/local", files={"file": (path, b"G28")})
        await client.post("/api/files/local", json={"foldername": path})
    for place in ("/api/files/local/", "/native/v1/files/"):
        status, body = await raw_request(one, "DELETE", place + path)
        assert status in {204, 400, 404}, body
    assert canary.read_bytes() == b"the canary"
    outside = {entry.name for entry in tmp_path.iterdir()}
    assert outside <= {
        *("canary.gcode", "files", "staging", "thumbnails", "secret.key", "setup-code", "lock", "backups"),
        *("polyhost.db", "polyhost.db-wal", "polyhost.db-shm", "polyhost.lock"),
    }
