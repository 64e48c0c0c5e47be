"""A real server records a print of a virtual printer, is killed in the middle, and makes the movie in the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import Host, host, until
from tests.services.cameras import camera_in_a_thread

# At 20 times a machine's pace: it rests for 24 s in all, and homes in less than one.
SLOW = b"G28\n" + b"G1 X10 F6000\nG4 P8000\nG1 X20\nG4 P8000\n" * 30
VIRTUAL = '[[printers]]\nslug = "mk3"\ndriver = "virtual"\nspeed = 20\n'


@pytest.fixture
def camera_url() -> Iterator[str]:
    with camera_in_a_thread() as url:
        yield url


def unrendered(running: Host) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.get("/api/timelapse?unrendered=true")["unrendered"]
    return found


def test_a_server_killed_in_mid_print_records_the_same_print_on(tmp_path: Path, camera_url: str) -> None:
    with host(tmp_path, VIRTUAL) as running:
        running.wait_ready()
        assert running.post("/api/settings", {"webcam": {"snapshotUrl": camera_url}}).status_code == 200
        wanted = {"type": "timed", "interval": 1, "fps": 5, "postRoll": 1, "save": True}
        assert running.post("/api/timelapse", wanted).json()["enabled"] is True
        assert running.upload("slow.gcode", SLOW, print="true").status_code == 201
        until(lambda: unrendered(running) and unrendered(running)[0]["count"] >= 1, "a picture")
        running.kill()
        running.start()
        (before,) = unrendered(running)
        assert before["count"] >= 1
        until(lambda: unrendered(running)[0]["count"] > before["count"], "another picture of the same print")
        assert [one["name"] for one in unrendered(running)] == [before["name"]]
        assert unrendered(running)[0]["recording"] is True
        assert running.post("/api/job", {"command": "cancel"}).status_code == 204
        assert running.wait_ended()["state"] == "cancelled"
        (movie,) = until(lambda: running.get("/api/timelapse")["files"], "the movie")
        assert movie["name"] == f"{before['name']}-fail.mp4"
        assert running.client.get(movie["url"], headers={"Range": "bytes=4-7"}).content == b"ftyp"
        until(lambda: unrendered(running) == [], "the pictures to go")
