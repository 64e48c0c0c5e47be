"""A camera that looks at a printer: where its pictures are, and how they are to be turned."""

import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

import msgspec

from polyhost.core.errors import Malformed

MAX_NAME_BYTES: Final = 255
MAX_URL: Final = 2048
MAX_TIMEOUT_S: Final = 10.0
MAX_FPS: Final = 1000
MAX_EXTRA_BYTES: Final = 16384
SNAPSHOT_SCHEMES: Final = frozenset({"http", "https"})
STREAM_SCHEMES: Final = SNAPSHOT_SCHEMES | {"rtsp", "rtsps", "webrtc", "webrtcs"}
_UID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RATIO: Final = re.compile(r"[1-9][0-9]{0,4}:[1-9][0-9]{0,4}")


class Webcam(msgspec.Struct, frozen=True):
    """`name` tells it from the other webcams of its printer.

    `stream_url` is for whoever watches: this host never opens it.  `snapshot_url` answers one picture.  Either may be
    "", or a path on the host ("/webcam/?action=stream") where a web server beside this one shows the camera.  Before
    it is shown a picture is flipped, then turned by `rotation` degrees clockwise.
    """

    name: str = "classic"
    stream_url: str = ""
    snapshot_url: str = ""
    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotation: int = 0  # 0, 90, 180 or 270
    aspect_ratio: str = "16:9"
    stream_timeout_s: float = 5.0  # how long who watches waits for the stream
    snapshot_timeout_s: float = 5.0
    verify_tls: bool = True  # of an https snapshot
    enabled: bool = True
    service: str = "mjpegstreamer"  # how clients are to show the stream
    location: str = "printer"  # what it looks at
    uid: str = ""  # a UUID that stays its own when it is renamed; "" until it is kept
    icon: str = "mdiWebcam"  # what dashboards draw beside its name
    target_fps: int = 15  # pictures a second, for clients that ask for single ones
    target_fps_idle: int = 5  # the same, while nothing is printed
    extra_data: str = "{}"  # a JSON object that clients keep with it


def checked_webcam(webcam: Webcam) -> Webcam:
    """`webcam`, if it may be one; `Malformed` says why not."""
    name = webcam.name
    if not name or name != name.strip() or _length(name) > MAX_NAME_BYTES or "/" in name or not _is_clean(name):
        raise Malformed(f"a webcam's name has 1 to {MAX_NAME_BYTES} bytes, no / and no control characters: {name!r}")
    for word in (webcam.service, webcam.location, webcam.icon):
        if _length(word) > MAX_NAME_BYTES or not _is_clean(word):
            raise Malformed(f"{word[:40]!r} of the webcam {name} is too long, or has control characters")
    _check_url(webcam.stream_url, "stream", STREAM_SCHEMES)
    _check_url(webcam.snapshot_url, "snapshot", SNAPSHOT_SCHEMES)
    if webcam.rotation not in {0, 90, 180, 270}:
        raise Malformed(f"a picture is turned by 0, 90, 180 or 270 degrees, not {webcam.rotation}")
    if not _RATIO.fullmatch(webcam.aspect_ratio):
        raise Malformed(f"the aspect ratio is written like 16:9, not {webcam.aspect_ratio[:40]!r}")
    for seconds in (webcam.stream_timeout_s, webcam.snapshot_timeout_s):
        if not 0 < seconds <= 3600:
            raise Malformed(f"a webcam's timeout is more than 0 and at most 3600 s, not {seconds}")
    if webcam.uid and not _UID.fullmatch(webcam.uid):
        raise Malformed(f"the uid of the webcam {name} is not a UUID: {webcam.uid[:40]!r}")
    for fps in (webcam.target_fps, webcam.target_fps_idle):
        if not 0 <= fps <= MAX_FPS:
            raise Malformed(f"a webcam has 0 to {MAX_FPS} pictures a second, not {fps}")
    if _length(webcam.extra_data) > MAX_EXTRA_BYTES:
        raise Malformed(f"the extra data of the webcam {name} has more than {MAX_EXTRA_BYTES} bytes")
    try:
        msgspec.json.decode(webcam.extra_data, type=dict)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Malformed(f"the extra data of the webcam {name} is no JSON object: {error}") from error
    return webcam


def _check_url(url: str, what: str, schemes: frozenset[str]) -> None:
    """Nothing that a page would run as a script, and nothing that names no host."""
    if not url:
        return
    if len(url) > MAX_URL or not _is_clean(url) or any(c.isspace() for c in url):
        raise Malformed(f"the {what} URL has more than {MAX_URL} characters, a space or a control character")
    if url.startswith("/"):
        return
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_one = False
    if not is_one:
        raise Malformed(f"the {what} URL {url[:100]!r} must start with {' or '.join(sorted(schemes))} and name a host")


def without_password(url: str) -> str:
    """`url` as it may be shown to whoever may look.

    >>> without_password("http://ada:secret@cam/shot.jpg")
    'http://cam/shot.jpg'
    """
    return re.sub(r"^(\w+://)[^/?#]*@", r"\1", url)


def _length(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _is_clean(text: str) -> bool:
    return not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)
