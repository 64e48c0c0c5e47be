"""What is written down of an answer: what its contract is, with placeholders for what changes from run to run."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import httpx
import msgspec


class Answer(msgspec.Struct, omit_defaults=True):
    """What is part of the contract; a content type of JSON is left out."""

    status: int
    headers: dict[str, Any] = {}
    body: Any = msgspec.UNSET


class Words(msgspec.Struct, frozen=True):
    """What of an API's answers varies, by the names of its fields."""

    numbers: frozenset[str]
    texts: frozenset[str]  # for people
    secrets: frozenset[str]
    of_the_host: frozenset[str]  # what is in these tells of the computer, and not of the API
    keyed_by_host: frozenset[str] = frozenset()  # and of these the names as well
    series: frozenset[str] = frozenset()  # lists of which any length will do
    dropped: frozenset[str] = frozenset()
    not_ours: frozenset[str] = frozenset()  # of plugins, of which only the presence is looked at
    inherited: frozenset[str] = frozenset()  # what is in these is called as they are
    headers_kept: tuple[str, ...] = ("location", "content-disposition", "content-range", "access-control-allow-origin")
    headers_seen: tuple[str, ...] = ()  # only that they are there
    said: frozenset[str] = frozenset()  # texts that clients compare


OCTOPRINT: Final = Words(
    numbers=frozenset(
        {
            *{"actual", "averagePrintTime", "bytes", "completion", "date", "depth", "entropy", "estimatedPrintTime"},
            *{"filepos", "free", "height", "lastPrintTime", "length", "maxX", "maxY", "maxZ", "minX", "minY", "minZ"},
            *{"printTime", "printTimeLeft", "serverTime", "time", "timestamp", "total", "volume", "width", "ratio"},
        }
    ),
    texts=frozenset({"error", "message", "description", "confirm", "reason", "_credentials_seen", "faq"}),
    secrets=frozenset({"api_key", "apikey", "session", "app_token", "user_token", "key_secret"}),
    of_the_host=frozenset({"systeminfo", "usage", "pip"}),
    not_ours=frozenset({"virtual_printer", "pluginmanager", "classicwebcam", "backup", "gcodeviewer"}),
    inherited=frozenset({"averagePrintTime", "lastPrintTime", "systeminfo", "usage", "pip"}),
    headers_seen=("etag", "last-modified", "retry-after"),
)

MOONRAKER: Final = Words(
    numbers=frozenset(
        {
            *{"modified", "time", "eventtime", "created_on", "temperature", "power", "total_duration", "start_time"},
            *{"end_time", "time_added", "time_in_queue", "print_time", "estimated_print_time", "process_id", "user_id"},
            *{"group_id", "print_start_time", "total_time", "longest_job", "websocket_count", "websocket_connections"},
            *{"print_duration", "filament_used", "total_print_time", "total_filament_used", "longest_print", "port"},
            *{"date", "date_dismissed", "previous_size", "new_size", "system_uptime", "connection_id", "websocket_id"},
            *{"cpu_temp", "temperatures", "targets", "powers", "speeds", "printing_time", "ssl_port"},
        }
    ),
    texts=frozenset({"message", "software_version", "moonraker_version", "text", "title", "cpu_info", "hostname"}),
    secrets=frozenset({"instance_id", "uuid", "uid", "job_id", "token", "refresh_token", "apikey", "session"}),
    of_the_host=frozenset(
        {
            *{"moonraker_stats", "network", "system_cpu_usage", "system_memory", "cpu_info", "distribution", "python"},
            *{"sd_info", "virtualization", "canbus", "disk_usage", "service_state", "available_services", "thumbnails"},
            *{"instance_ids", "last_stats", "linux_user"},
        }
    ),
    keyed_by_host=frozenset({"network", "canbus", "system_cpu_usage", "service_state"}),
    series=frozenset(
        {
            *{"temperatures", "targets", "powers", "speeds", "moonraker_stats", "gcode_store", "serial_devices"},
            *{"available_services", "usb_devices"},
        }
    ),
    dropped=frozenset({"traceback"}),
    inherited=frozenset(
        {"moonraker_stats", "network", "system_cpu_usage", "system_memory", "cpu_info", "distribution", "python"}
        | {"sd_info", "virtualization", "canbus", "disk_usage", "service_state", "thumbnails", "last_stats"}
        | {"instance_ids"}
    ),
    headers_kept=("content-range", "access-control-allow-origin", "access-control-allow-methods"),
    headers_seen=("location", "content-disposition"),
    said=frozenset({"Unauthorized", "Printer is ready"}),
)

_PATH: Final = re.compile(r"^/(?:home|root|tmp|usr|opt|var|dev/tty)\S*")
"""Where something lies on the computer of the server."""
_KEY: Final = re.compile(r"[0-9A-Fa-f]{32}|[A-Z2-7]{32}|SCRUBBED.*", re.DOTALL)


def answer_of(
    answer: httpx.Response, base: str, kept: Mapping[str, str], prints: bool, words: Words = OCTOPRINT
) -> Answer:
    """`prints`: what is left of a print is a guess, or not yet one, so any will do."""
    headers: dict[str, Any] = {}
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind not in {"application/json", ""} and answer.content:
        headers["content-type"] = kind
    for name in words.headers_kept:
        if name in answer.headers:
            headers[name] = _text(answer.headers[name], base, kept)
    for name in words.headers_seen:
        if name in answer.headers:
            headers[name] = f"<{name}>"
    cache = answer.headers.get("cache-control", "")
    if re.search(r"max-age=[1-9]|immutable", cache):  # whoever asks again is answered anew by all others
        headers["cache-control"] = cache
    names = [line.partition("=")[0] for line in answer.headers.get_list("set-cookie")]
    if names:
        headers["set-cookie"] = sorted({re.sub(r"_P\d+", "_P<port>", name) for name in names})
    body: Any = msgspec.UNSET
    if answer.content:
        if kind == "application/json":
            body = body_of(answer.json(), words, base, kept)
            if prints and isinstance(body, dict) and "progress" in body:
                body["progress"].update(printTimeLeft="<guess>", printTimeLeftOrigin="<guess>")
        elif answer.status_code >= 400 or kind == "text/html":
            body = "<text>"
        else:
            body = f"<{len(answer.content)} bytes>"
    return Answer(answer.status_code, headers, body)


def body_of(
    value: Any, words: Words, base: str = "<base>", kept: Mapping[str, str] = MappingProxyType({}), name: str = ""
) -> Any:
    """`value` with its placeholders; what has them already stays as it is."""
    if name in words.not_ours and isinstance(value, dict):
        return "<object>"
    if isinstance(value, dict):
        if name in words.keyed_by_host:
            some = [body_of(each, words, base, kept, name) for each in value.values()]
            return {"<name>": some[0]} if some else {}
        return {
            _text(key, base, kept): body_of(each, words, base, kept, name if name in words.inherited else key)
            for key, each in value.items()
            if key not in words.dropped
        }
    if isinstance(value, list):
        several = value[:1] if name in words.series else value
        return [body_of(each, words, base, kept, name) for each in several]
    if name in words.of_the_host:
        return "<any>"
    if isinstance(value, bool) or value is None or value is msgspec.UNSET:
        return value
    if isinstance(value, int | float):
        if name in words.numbers:
            return "<int>" if isinstance(value, int) else "<float>"
        return value
    if name in words.secrets:
        return f"<{name}>"
    if name in words.texts and value and value not in words.said:
        return "<text>"
    if name == "hash":
        return "<sha1>"
    return _text(value, base, kept)


def brief(value: Any) -> Any:
    return "<object>" if isinstance(value, dict) else "<list>" if isinstance(value, list) else value


def _text(text: str, base: str, kept: Mapping[str, str]) -> str:
    for value, placeholder in kept.items():
        if len(value) > 5:
            text = text.replace(value, placeholder)
    if _KEY.fullmatch(text):
        return "<key>"
    return _PATH.sub("<path>", text.replace(base, "<base>"))
