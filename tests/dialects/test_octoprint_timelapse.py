"""``/api/timelapse`` as clients of OctoPrint use it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from polyhost.config import Printer
from polyhost.core.job import RunSignal, RunState
from polyhost.core.timelapse import MOVIE_SUFFIX, Recording, TimelapseConfig, TimelapseMode
from polyhost.core.user import Role
from polyhost.core.webcam import Webcam
from polyhost.engine.messages import EndedRun
from polyhost.services.accounts import LOCAL
from polyhost.storage.timelapses import TimelapseFolder
from tests.dialects.test_octoprint_push import app
from tests.services.cameras import camera, jpeg, says
from tests.web.hosting import Hosted, hosted, raw_request
from tests.web.serving import serving

OFF = {"type": "off"}
TIMED = {"type": "timed", "postRoll": 0, "fps": 25, "renderAfterPrint": "always", "interval": 10}


async def test_off_until_somebody_says_otherwise(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.get("/api/timelapse")
        assert answer.json() == {"config": OFF, "enabled": False, "files": []}
        assert (await client.get("/api/timelapse?unrendered=true")).json()["unrendered"] == []
        again = await client.get("/api/timelapse", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        forced = await client.get("/api/timelapse?force=true", headers={"If-None-Match": answer.headers["etag"]})
        assert forced.status_code == 200

        assert (await client.post("/api/timelapse", json={"type": "timed"})).json()["config"] == TIMED
        wanted = {"type": "zchange", "retractionZHop": 0.5, "minDelay": 2, "fps": 30, "postRoll": "7", "interval": 5}
        zchange = {"type": "zchange", "postRoll": 7, "fps": 30, "renderAfterPrint": "always"}
        answer = await client.post("/api/timelapse", json=wanted)
        assert answer.json()["config"] == zchange | {"retractionZHop": 0.5, "minDelay": 2.0}
        answer = await client.post("/api/timelapse", data={"type": "timed", "interval": "3", "save": "true"})
        assert answer.json()["config"] == TIMED | {"interval": 3}
        changed = await client.get("/api/timelapse", headers={"If-None-Match": again.headers["etag"]})
        assert changed.json()["config"] == TIMED | {"interval": 3}
        assert (await client.post("/api/timelapse", json={"fps": 1})).json()["config"]["fps"] == 25  # no type: no wish


BAD: tuple[dict[str, Any], ...] = (
    {"type": "always"},
    {"type": None},
    *({"type": "timed", "fps": bad} for bad in (0, -1, "x", "2.5", None, True, [], 1e300, 10**400)),
    *({"type": "timed", "postRoll": bad} for bad in (-1, "x", {}, 1e9)),
    *({"type": "timed", "interval": bad} for bad in (0, -1, "", False)),
    *({"type": "zchange", "retractionZHop": bad} for bad in (-0.1, "x", "nan", "inf")),
    *({"type": "zchange", "minDelay": bad} for bad in (0, -1, "x", None)),
    *({"type": "timed", "renderAfterPrint": bad} for bad in ("sometimes", 5, None, [])),
)


@pytest.mark.parametrize("body", BAD, ids=lambda body: str(body)[:60])
async def test_a_bad_value_is_refused_and_changes_nothing(one: Hosted, body: dict[str, Any]) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        answer = await client.post("/api/timelapse", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert (await client.get("/api/timelapse")).json()["config"] == OFF


async def test_what_is_no_config_is_refused(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        assert (
            await client.post("/api/timelapse", content=b"{", headers={"Content-Type": "application/json"})
        ).is_error
        assert (await client.post("/api/timelapse", content=b"a")).status_code == 415
        assert (await client.post("/api/timelapse/unrendered/x", json={"command": "paint"})).status_code == 400
        assert (await client.post("/api/timelapse/unrendered/x", json={"command": "render"})).status_code == 404


async def test_from_the_print_to_the_download(one: Hosted) -> None:
    printer, timelapses = one.host.printers.default(), one.host.timelapses
    await one.put("cube.gcode")
    async with camera() as cam, one.client(role=Role.OPERATOR) as client:
        await one.host.webcams.put(printer, Webcam(snapshot_url=cam.url), by=LOCAL)
        await one.host.preferences.put(TimelapseConfig(TimelapseMode.TIMED, interval_s=0.02), printer.slug)
        assert (await client.get("/api/timelapse")).json()["enabled"] is True
        await client.post("/api/files/local/cube.gcode", json={"command": "select", "print": True})
        async with asyncio.timeout(20):
            while not ((listed := timelapses.unrendered(printer)) and listed[0].recording.count):
                await asyncio.sleep(0.01)
            (recording,) = (await client.get("/api/timelapse?unrendered=true")).json()["unrendered"]
            assert recording.keys() == {
                *("name", "count", "size", "bytes", "date", "recording", "rendering", "processing")
            }
            assert (recording["recording"], recording["rendering"], recording["processing"]) == (True, False, True)
            path = f"/api/timelapse/unrendered/{recording['name']}"
            assert (await client.post(path, json={"command": "render"})).status_code == 409
            assert (await client.delete(path)).status_code == 409
            await client.post("/api/job", json={"command": "cancel"})
            while not timelapses.movies(printer):
                await asyncio.sleep(0.01)
        (movie,) = (await client.get("/api/timelapse")).json()["files"]
        assert movie.keys() == {"name", "size", "bytes", "date", "timestamp", "url", "thumbnail"}
        assert movie["url"] == f"http://127.0.0.1:8080/downloads/timelapse/{movie['name']}"
        whole = await client.get(movie["url"])
        assert (whole.status_code, len(whole.content)) == (200, movie["bytes"])
        assert whole.headers["content-type"] == "video/mp4"
        assert "attachment" in whole.headers["content-disposition"]
        part = await client.get(movie["url"], headers={"Range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, b"ftyp")
        assert (await client.get(f"/api/timelapse/{movie['name']}")).content == whole.content
        assert (await client.get(movie["thumbnail"])).headers["content-type"] == "image/jpeg"
        same = await client.get(movie["url"], headers={"If-None-Match": whole.headers["etag"]})
        assert same.status_code == 304
        answer = await client.delete(f"/api/timelapse/{movie['name']}")
        assert (answer.status_code, answer.json()["files"]) == (200, [])
        assert (await client.delete(f"/api/timelapse/{movie['name']}")).status_code == 200  # as upstream
        assert (await client.get(movie["url"])).status_code == 404


async def test_one_printers_movies_are_not_anothers(tmp_path: Path) -> None:

    store = TimelapseFolder(tmp_path / "timelapse")
    recording = Recording("cube_1", "run", "cube.gcode", 1.0, TimelapseConfig(TimelapseMode.TIMED))
    store.begin("two", recording)
    store.add_picture("two", recording, jpeg())
    (tmp_path / "timelapse" / "two" / "movies").mkdir()
    (tmp_path / "timelapse" / "two" / "movies" / "cube.mp4").write_bytes(b"movie")
    printers = (Printer("one", "virtual"), Printer("two", "virtual"))
    async with hosted(tmp_path, printers=printers) as host, host.client(role=Role.OPERATOR) as client:
        assert (await client.get("/p/two/downloads/timelapse/cube.mp4")).content == b"movie"
        assert (await client.get("/downloads/timelapse/cube.mp4")).status_code == 404
        assert (await client.delete("/api/timelapse/cube.mp4")).status_code == 200
        assert (await client.delete("/api/timelapse/unrendered/cube_1")).status_code == 204
        listed = (await client.get("/p/two/api/timelapse?unrendered=true")).json()
        assert [file["url"] for file in listed["files"]] == ["http://127.0.0.1:8080/p/two/downloads/timelapse/cube.mp4"]
        assert [entry["name"] for entry in listed["unrendered"]] == ["cube_1"]
        bound = await host.key_of(Role.OPERATOR, "one")
        async with host.client(bound) as stranger:
            assert (await stranger.get("/p/two/downloads/timelapse/cube.mp4")).status_code == 403
            assert (await stranger.get("/p/two/api/timelapse")).status_code == 403
        assert (await client.delete("/p/two/api/timelapse/unrendered/cube_1")).status_code == 204
        assert (await client.get("/p/two/api/timelapse?unrendered=true")).json()["unrendered"] == []


@pytest.mark.parametrize(
    "name",
    [
        *("..%2f..%2fpolyhost.db", "%2e%2e", "..%5c..%5cpolyhost.db", "%252e%252e%252fpolyhost.db", ".hidden.mp4"),
        *("a%00.mp4", "about", "x.mp4%2f..%2f..%2fsecret.key", "%e2%80%aea.mp4", "a" * 300 + MOVIE_SUFFIX),
    ],
)
async def test_no_name_leads_out_of_the_folder(one: Hosted, name: str) -> None:
    for method, path in (("GET", "/downloads/timelapse/"), ("GET", "/api/timelapse/")):
        status, body = await raw_request(one, method, f"{path}{name}")
        assert status in {404, 405}, body
    for path in ("/api/timelapse/", "/api/timelapse/unrendered/"):
        status, body = await raw_request(one, "DELETE", f"{path}{name}")
        assert status in {200, 204, 404, 405}, body
    status, _ = await raw_request(one, "POST", f"/api/timelapse/unrendered/{name}", b'{"command": "render"}')
    assert status in {404, 405}


async def test_who_listens_hears_of_pictures_and_movies(one: Hosted) -> None:
    printer = one.host.printers.default()
    await one.put("parts/cube.gcode")
    async with camera() as cam, serving(one) as (served, _), app(served) as listener:
        await one.host.webcams.put(printer, Webcam("front", snapshot_url=cam.url), by=LOCAL)
        await listener.auth(Role.VIEWER)
        assert await listener.until("timelapse") is None
        wanted = TimelapseConfig(TimelapseMode.TIMED, interval_s=0.02, post_roll_s=1.0)
        await one.host.preferences.put(wanted, printer.slug)
        async with one.client(role=Role.OPERATOR) as client:
            await client.post("/api/timelapse", json={"type": "zchange", "retractionZHop": 1})
            assert await listener.until("timelapse") == {"type": "zchange", "options": {"retractionZHop": 1.0}}
            one.host.timelapses._until_restart.clear()
            await client.post("/api/files/local/parts/cube.gcode", json={"command": "select", "print": True})
        asked = await listener.until_event("CaptureStart")
        assert asked == await listener.until_event("CaptureDone")
        cam.answers = says(b"", "500 Oh")
        missed = await listener.until_event("CaptureFailed")
        assert missed.keys() == {"file", "error", "webcamDisplay", "snapshotDisplay", "webcamProvider"}
        assert "answers 500" in missed["error"]
        one.machine.signal(RunSignal.END_OF_FILE, RunSignal.FINISH_DONE)
        rolls = await listener.until_event("PostRollStart")
        assert (rolls["postroll_length"], rolls["postroll_fps"]) == (1.0, 25)
        assert await listener.until_event("PostRollEnd") is None
        assert printer.snapshot.run is not None
        one.host.runs.ended(EndedRun(printer.snapshot.run.run_id, RunState.COMPLETED, "", 1.0, 1.0, 1.0, 1))
        rendering = await listener.until_event("MovieRendering")
        assert (await listener.until("renderProgress")).keys() == {"progress"}
        assert await listener.until_event("MovieDone") == rendering
        assert rendering["gcode"] == "cube.gcode"
        assert rendering["movie_basename"] == f"{rendering['movie_prefix']}.mp4"
