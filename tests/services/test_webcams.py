"""Webcams are kept by printer, and a picture comes from the camera that was named or not at all."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from polyhost.core.errors import LinkLost, Malformed, NotAllowed, NotFound, NotNow
from polyhost.core.user import GUEST
from polyhost.core.webcam import Webcam, checked_webcam, without_password
from polyhost.services.snapshots import Fetcher, picture_of
from polyhost.services.webcams import MAX_WEBCAMS, PrinterWebcams
from tests.services.cameras import Answers, camera, hangs, jpeg, never_ends, redirects, says
from tests.services.world import ADMIN, OPERATOR, VIEWER, World, living


async def test_webcams_are_kept_by_printer(tmp_path: Path) -> None:
    async with living(World(tmp_path, printers=("mk3", "mini"))) as world:
        mk3, mini, webcams = world.printers.get("mk3"), world.printers.get("mini"), world.host.webcams
        assert webcams.main(mk3) is None
        front = await webcams.put(mk3, Webcam("front", "/webcam/?action=stream"), by=ADMIN)
        await webcams.put(mk3, Webcam("side", enabled=False), by=ADMIN)
        assert webcams.main(mk3) == front
        await webcams.put(mk3, msgspec.structs.replace(front, enabled=False), by=ADMIN)
        await webcams.put(mk3, Webcam("side"), by=ADMIN)
        assert [webcam.name for webcam in webcams.all(mk3)] == ["front", "side"]
        side = webcams.get(mk3, "side")
        assert webcams.main(mk3) == side == Webcam("side", uid=side.uid)
        assert webcams.all(mini) == ()
    async with living(World(tmp_path, printers=("mk3", "mini"))) as world:
        webcams, mk3 = world.host.webcams, world.printers.get("mk3")
        await webcams.remove(mk3, "side", by=ADMIN)
        with pytest.raises(NotFound, match="'side'; there are: front"):
            await webcams.remove(mk3, "side", by=ADMIN)
        assert [webcam.name for webcam in webcams.all(mk3)] == ["front"]


async def test_a_webcam_is_known_by_its_uid_whatever_it_is_called(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        mk3, webcams = world.printers.get("mk3"), world.host.webcams
        front = await webcams.put(mk3, Webcam("front"), by=ADMIN)
        side = await webcams.put(mk3, Webcam("side"), by=ADMIN)
        assert await webcams.put(mk3, Webcam("front", icon="mdiEye"), by=ADMIN) == webcams.get_by_uid(mk3, front.uid)
        await webcams.put(mk3, msgspec.structs.replace(front, name="face"), by=ADMIN)
        assert [(webcam.name, webcam.uid) for webcam in webcams.all(mk3)] == [("face", front.uid), ("side", side.uid)]
        with pytest.raises(Malformed, match="another webcam 'side'"):
            await webcams.put(mk3, msgspec.structs.replace(front, name="side"), by=ADMIN)
        with pytest.raises(NotFound):
            webcams.get_by_uid(mk3, "none")
        kept = PrinterWebcams((Webcam("of before"),))
        await world.host.preferences.put(kept, "mk3")  # as a version without uids kept it
        old = webcams.get(mk3, "of before")
        assert webcams.get_by_uid(mk3, old.uid) == old
        await webcams.put(mk3, Webcam("new"), by=ADMIN)
        assert webcams.get_by_uid(mk3, old.uid) == old
        await webcams.remove(mk3, "of before", by=ADMIN)
        assert [webcam.name for webcam in webcams.all(mk3)] == ["new"]


async def test_who_may_set_webcams_and_how_many(tmp_path: Path) -> None:
    async with living(World(tmp_path)) as world:
        mk3, webcams = world.printers.get("mk3"), world.host.webcams
        for by in (OPERATOR, VIEWER):
            with pytest.raises(NotAllowed):
                await webcams.put(mk3, Webcam(), by=by)
        await asyncio.gather(*(webcams.put(mk3, Webcam(f"w{n}"), by=ADMIN) for n in range(MAX_WEBCAMS)))
        assert len(webcams.all(mk3)) == MAX_WEBCAMS
        with pytest.raises(NotNow, match="limit"):
            await webcams.put(mk3, Webcam("one more"), by=ADMIN)
        with pytest.raises(NotAllowed):
            await webcams.remove(mk3, "w0", by=OPERATOR)
        with pytest.raises(NotAllowed):
            await webcams.snapshot(mk3, "w0", by=GUEST)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " front"},
        {"uid": "x"},
        {"icon": "x" * 256},
        {"target_fps": -1},
        {"target_fps_idle": 1001},
        {"extra_data": "[]"},
        {"extra_data": "{"},
        {"extra_data": '{"x": "' + "x" * 16384 + '"}'},
        {"name": "a/b"},
        {"name": "x" * 256},
        {"name": "a\u202eb"},
        {"stream_url": "javascript:alert(1)"},
        {"stream_url": "http://"},
        {"stream_url": "http://cam:notaport/"},
        {"stream_url": "http://cam/ a"},
        {"snapshot_url": "file:///etc/passwd"},
        {"snapshot_url": "rtsp://cam/stream"},
        {"snapshot_url": "http://[::1"},
        {"snapshot_url": "http://cam/" + "x" * 2048},
        {"rotation": 45},
        {"aspect_ratio": "wide"},
        {"aspect_ratio": "16:0"},
        {"snapshot_timeout_s": 0.0},
        {"snapshot_timeout_s": float("nan")},
        {"stream_timeout_s": -1.0},
        {"service": "a\nb"},
    ],
    ids=str,
)
def test_what_no_webcam_can_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        checked_webcam(msgspec.structs.replace(Webcam(), **wrong))


def test_what_webcams_are_like() -> None:
    for fine in (
        Webcam("Kamera ü", "/webcam/?action=stream", "http://127.0.0.1:8080/?action=snapshot"),
        Webcam("a", "rtsp://cam.local:554/1", "https://ada:secret@[fe80::1]:8443/shot.jpg", rotation=270),
    ):
        assert checked_webcam(fine) == fine
    assert without_password("https://ada:s@cret@cam:8443/a@b") == "https://cam:8443/a@b"
    assert without_password("/webcam/?a@b") == "/webcam/?a@b"


async def test_a_picture_is_fetched_as_a_browser_would(tmp_path: Path) -> None:
    async with camera() as one, living(World(tmp_path)) as world:
        mk3 = world.printers.get("mk3")
        url = f"http://ada:secret@localhost:{one.port}/shot?a=b%20c"
        await world.host.webcams.put(mk3, Webcam("front", snapshot_url=url), by=ADMIN)
        picture = await world.host.webcams.snapshot(mk3, "front", by=VIEWER)
        assert (picture.media_type, picture.suffix) == ("image/jpeg", ".jpg")
        lines = one.asked[0].lower().split(b"\r\n")
        assert lines[0] == b"get /shot?a=b%20c http/1.1"
        assert b"host: localhost:%d" % one.port in lines
        assert any(line.startswith(b"authorization: basic ") for line in lines)
        assert b"accept-encoding: identity" in lines


async def test_many_who_look_ask_the_camera_once(tmp_path: Path) -> None:
    async with camera() as one, living(World(tmp_path)) as world:
        mk3 = world.printers.get("mk3")
        await world.host.webcams.put(mk3, Webcam("front", snapshot_url=one.url), by=ADMIN)
        pictures = await asyncio.gather(*(world.host.webcams.snapshot(mk3, "front", by=VIEWER) for _ in range(20)))
        assert len({picture.data for picture in pictures}) == 1
        assert one.shots == 1
        assert (await world.host.webcams.snapshot(mk3, "front", by=VIEWER)).data != pictures[0].data


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (hangs, "no whole picture came within 0.2 s"),
        (never_ends, "has more than 10000000 bytes"),
        (says(b"<html>no camera</html>"), "no JPEG, PNG or WebP"),
        (says(b""), "no JPEG, PNG or WebP"),
        (says(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg()), "no JPEG, PNG or WebP"),
        (
            says(
                jpeg(),
                "500 Oh",
            ),
            "answers 500",
        ),
        (says(jpeg(), "206 Partial"), "answers 206"),
        (redirects("http://127.0.0.2/shot.jpg"), "sends to another address"),
        (redirects("//127.0.0.2/shot.jpg"), "sends to another address"),
        (redirects("https://127.0.0.1/shot.jpg"), "sends to another address"),
        (redirects("file:///etc/passwd"), "sends to another address"),
        (redirects("/again"), "redirects more than 3 times"),
        (says(b"", "302 Found", "Location: http://[::1"), "no picture came"),
    ],
)
async def test_a_camera_that_misbehaves_costs_a_bounded_time(answers: Answers, reason: str) -> None:
    async with camera() as one:
        one.answers = answers
        timeout_s = 0.2 if answers is hangs else 10.0
        with pytest.raises(LinkLost, match=reason):
            await Fetcher().fetch(one.url, timeout_s)


async def test_a_redirect_reaches_no_other_server() -> None:
    async with camera() as one, camera() as secret:
        for to in (secret.url, f"//localhost:{secret.port}/", f"http://user@127.0.0.1:{secret.port}/"):
            one.answers = redirects(to)
            with pytest.raises(LinkLost, match="another address"):
                await Fetcher().fetch(one.url, 5.0)
        assert secret.asked == []


async def test_a_redirect_at_home_is_followed() -> None:
    async with camera() as one:

        async def elsewhere_first(asked: bytes, out: asyncio.StreamWriter) -> None:
            await (one.shows_a_picture if b"/real" in asked else redirects("/real"))(asked, out)

        one.answers = elsewhere_first
        assert (await Fetcher().fetch(one.url, 5.0)).suffix == ".jpg"


async def test_nobody_there_and_nothing_named(tmp_path: Path) -> None:
    async with camera() as one:
        pass
    with pytest.raises(LinkLost, match="no picture came"):
        await Fetcher().fetch(one.url, 5.0)
    with pytest.raises(LinkLost, match="must start with http"):
        await Fetcher().fetch("/webcam/?action=snapshot", 5.0)
    async with living(World(tmp_path)) as world:
        mk3 = world.printers.get("mk3")
        await world.host.webcams.put(mk3, Webcam("front"), by=ADMIN)
        with pytest.raises(NotNow, match="no snapshot URL"):
            await world.host.webcams.snapshot(mk3, "front", by=VIEWER)


def test_pictures_are_known_by_their_first_bytes() -> None:
    assert picture_of(b"\x89PNG\r\n\x1a\n....").suffix == ".png"
    assert picture_of(b"RIFF\0\0\0\0WEBPVP8 ").suffix == ".webp"
    for other in (b"GIF89a", b"RIFF\0\0\0\0WAVE", b"\xff\xd8", b"<svg/>"):
        with pytest.raises(LinkLost):
            picture_of(other)
