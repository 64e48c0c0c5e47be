"""The webcam's part of the settings: what clients index is there, and what they set is what they then read."""

import msgspec
import pytest

from polyhost.core.errors import Malformed, NotAllowed
from polyhost.core.user import Caller, Role
from polyhost.core.webcam import Webcam
from polyhost.dialects.octoprint.webcam import (
    ClassicWish,
    WebcamWish,
    classic_tree,
    set_webcam,
    turned,
    webcam_tree,
    wished,
)
from polyhost.services.accounts import LOCAL
from tests.web.hosting import Hosted

VIEWER = Caller("vi", Role.VIEWER)


def shown(turns: tuple[bool, bool, bool]) -> tuple[tuple[int, int], ...]:
    """Where the corners of a picture come to lie, counted clockwise from the upper left, by flips and then a turn."""
    flip_h, flip_v, rotate90 = turns
    corners = [(-1, 1), (1, 1), (1, -1), (-1, -1)]
    corners = [(-x if flip_h else x, -y if flip_v else y) for x, y in corners]
    return tuple((-y, x) if rotate90 else (x, y) for x, y in corners)  # counter-clockwise


@pytest.mark.parametrize("flip_h", [False, True])
@pytest.mark.parametrize("flip_v", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_picture_turned_any_way_is_shown_so(flip_h: bool, flip_v: bool, rotation: int) -> None:
    webcam = Webcam(flip_horizontal=flip_h, flip_vertical=flip_v, rotation=rotation)
    corners = shown((flip_h, flip_v, False))
    for _ in range(rotation // 90):
        corners = tuple((y, -x) for x, y in corners)  # clockwise
    assert shown(turned(webcam)) == corners
    flags = turned(webcam)
    said = wished(webcam, WebcamWish(flip_h=flags[0], flip_v=flags[1], rotate90=flags[2]))
    assert shown(turned(said)) == corners


async def test_what_is_set_is_read(one: Hosted) -> None:
    printer = one.host.printers.default()
    before = msgspec.to_builtins(webcam_tree(one.host, printer, VIEWER))
    assert before["webcamEnabled"] is False
    assert (before["streamUrl"], before["snapshotUrl"], before["webcams"]) == ("", "", [])
    wish = msgspec.convert(
        {
            "streamUrl": "/webcam/?action=stream",
            "snapshotUrl": "http://ada:secret@cam/shot.jpg",
            "flipH": "true",
            "rotate90": True,
            "streamRatio": "4:3",
            "snapshotTimeout": 7,
            "snapshotSslValidation": False,
            "ffmpegPath": "/bin/sh",
        },
        WebcamWish,
    )
    await set_webcam(one.host, printer, wish, LOCAL)
    tree = msgspec.to_builtins(webcam_tree(one.host, printer, LOCAL))
    assert tree.keys() == before.keys()
    assert tree["webcamEnabled"] is True
    assert tree["streamUrl"] == "/webcam/?action=stream"
    assert (tree["flipH"], tree["flipV"], tree["rotate90"]) == (True, False, True)
    assert (tree["streamRatio"], tree["snapshotTimeout"], tree["snapshotSslValidation"]) == ("4:3", 7, False)
    assert tree["ffmpegPath"] != "/bin/sh"  # what runs is the owner's to say
    assert tree["defaultWebcam"] == tree["webcams"][0]["name"] == "classic"
    assert tree["webcams"][0]["canSnapshot"] is True
    assert tree["webcams"][0]["compat"]["snapshot"] == "http://ada:secret@cam/shot.jpg"

    await set_webcam(one.host, printer, ClassicWish(snapshot="http://cam/2.jpg", flip_h=False).as_webcam(), LOCAL)
    classic = classic_tree(one.host, printer, LOCAL)
    assert (classic.stream, classic.snapshot) == ("/webcam/?action=stream", "http://cam/2.jpg")
    assert (classic.flip_h, classic.rotate90) == (False, True)


async def test_a_password_in_a_url_is_for_those_who_may_set_it(one: Hosted) -> None:
    printer = one.host.printers.default()
    webcam = Webcam(stream_url="rtsp://ada:secret@cam/1", snapshot_url="http://ada:secret@cam/shot.jpg")
    await one.host.webcams.put(printer, webcam, by=LOCAL)
    for tree in (webcam_tree(one.host, printer, VIEWER), classic_tree(one.host, printer, VIEWER)):
        assert b"cam/shot.jpg" in msgspec.json.encode(tree)
        assert b"secret" not in msgspec.json.encode(tree)


@pytest.mark.parametrize(
    "tree",
    [
        {"streamUrl": "javascript:alert(1)"},
        {"snapshotUrl": "file:///etc/passwd"},
        {"streamRatio": "wide"},
        {"snapshotTimeout": 0},
        {"snapshotTimeout": True},
        {"streamTimeout": 1e300},
        {"streamUrl": 5},
        {"streamTimeout": "soon"},
    ],
    ids=str,
)
async def test_what_cannot_be_set_changes_nothing(one: Hosted, tree: dict[str, object]) -> None:
    printer = one.host.printers.default()
    with pytest.raises((Malformed, msgspec.ValidationError)):
        await set_webcam(one.host, printer, msgspec.convert(tree, WebcamWish), LOCAL)
    assert one.host.webcams.all(printer) == ()


async def test_who_may_not_change_settings_sets_no_webcam(one: Hosted) -> None:
    printer = one.host.printers.default()
    with pytest.raises(NotAllowed):
        await set_webcam(one.host, printer, WebcamWish(stream_url="/x"), Caller("oz", Role.OPERATOR))
