"""Translations: our values in, OctoPrint's out."""

import msgspec
import pytest

from polyhost.core.file import Analysis, Box, FilamentUse, File, LayerIndex, Metadata, Thumbnail
from polyhost.core.job import Prints, Run, RunState, Times
from polyhost.core.printer import PrinterProfile, PrinterState, Temperature, TemperatureSample
from polyhost.core.user import GUEST, Caller, Role
from polyhost.dialects.octoprint.job import job_of, progress_of
from polyhost.dialects.octoprint.login import current_user_of
from polyhost.dialects.octoprint.metadata import entry_of
from polyhost.dialects.octoprint.profiles import shape_of
from polyhost.dialects.octoprint.states import LINK, RUN, Flags, text_and_flags
from polyhost.dialects.octoprint.temperatures import history_of, readings_of
from polyhost.services.remaining import Progress

P, R = PrinterState, RunState
BASE = "http://h:8080/p/mk3"
FILE = File("sub/ä b.gcode", 2853, 1795194741.5, "00" * 32, "11" * 20, "22" * 16, "ann")
RUN_DONE = Run("r", "mk3", FILE.path, FILE.sha256, 2853, R.COMPLETED, "bob", 100.0, 500.0, 400.0, 310.5)
TIMES = {"_default": Times(2, 300.5, 310.5), "big": Times(1, 20.5, 21.5)}


def builtins(value: object) -> object:
    """As it is on the wire."""
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("link", "run", "text", "flags"),
    [
        (P.OFFLINE, None, "Offline", {"closed_or_error"}),
        (P.DETECTING, None, "Detecting serial connection", set()),
        (P.CONNECTING, None, "Connecting", set()),
        (P.READY, None, "Operational", {"operational", "ready"}),
        (P.UNREACHABLE, None, "Offline", {"closed_or_error"}),
        (P.FAULTED, None, "Offline after error", {"closed_or_error", "error"}),
        (P.FAULTED, R.PRINTING, "Offline after error", {"closed_or_error", "error"}),
        (P.UNREACHABLE, R.PAUSED, "Offline", {"closed_or_error"}),
        (P.READY, R.STARTING, "Starting", {"operational", "printing"}),
        (P.READY, R.PRINTING, "Printing", {"operational", "printing"}),
        (P.READY, R.PAUSING, "Pausing", {"operational", "printing", "pausing"}),
        (P.READY, R.PAUSED, "Paused", {"operational", "paused"}),
        (P.READY, R.RESUMING, "Resuming", {"operational", "printing", "resuming"}),
        (P.READY, R.CANCELLING, "Cancelling", {"operational", "printing", "cancelling"}),
        (P.READY, R.FINISHING, "Finishing", {"operational", "printing", "finishing"}),
        (P.READY, R.COMPLETED, "Finishing", {"operational", "printing", "finishing"}),
        (P.READY, R.FAILED, "Cancelling", {"operational", "printing", "cancelling"}),
    ],
)
def test_states(link: PrinterState, run: RunState | None, text: str, flags: set[str]) -> None:
    said, set_flags = text_and_flags(link, run)
    assert said == text
    assert {name for name in Flags.__struct_fields__ if getattr(set_flags, name)} == flags


def test_every_state_has_words() -> None:
    assert set(LINK) == set(PrinterState)
    assert set(RUN) == set(RunState)


def test_flags_are_spelled_as_clients_index_them() -> None:
    assert list(builtins(Flags())) == [  # type: ignore[call-overload]
        *("operational", "printing", "cancelling", "pausing", "resuming", "finishing"),
        *("closedOrError", "error", "paused", "ready", "sdReady"),
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Progress(), (None, None, None, None, None)),
        (Progress(0.0, 0, 0.0, 0.0, None, None), (0.0, 0, 0, None, None)),
        (Progress(0.225, 337942, 300.4, 276.4, 911.6, "estimate"), (22.5, 337942, 276, 912, "estimate")),
        (Progress(1.0, 10, 5.0, 5.0, 0.0, None), (100.0, 10, 5, 0, None)),
    ],
)
def test_progress(ours: Progress, theirs: tuple[object, ...]) -> None:
    keys = ("completion", "filepos", "printTime", "printTimeLeft", "printTimeLeftOrigin")
    assert builtins(progress_of(ours)) == dict(zip(keys, theirs, strict=True))


def test_the_job_of_nothing_has_every_key() -> None:
    assert builtins(job_of(None, None, None)) == {
        "file": dict.fromkeys(("name", "display", "path", "origin", "size", "date")),
        **dict.fromkeys(("estimatedPrintTime", "averagePrintTime", "lastPrintTime")),
        "filament": {"length": None, "volume": None},
        "user": None,
    }


def test_the_job_of_a_file_that_is_gone_is_told_from_its_run() -> None:
    job = job_of(None, RUN_DONE, None)
    assert (job.file.name, job.file.path, job.file.size, job.file.date) == ("ä b.gcode", "sub/ä b.gcode", 2853, None)


def test_the_job_of_a_file() -> None:
    known = msgspec.structs.replace(FILE, metadata=Metadata(estimated_time=8811.0, filament_total=810.2))
    job = builtins(job_of(known, None, Times(1, 300.5, 310.5)))
    assert job == {
        "file": {
            "name": "ä b.gcode",
            "display": "ä b.gcode",
            "path": "sub/ä b.gcode",
            "origin": "local",
            "size": 2853,
            "date": 1795194741,
        },
        "estimatedPrintTime": 8811.0,
        "averagePrintTime": 300.5,
        "lastPrintTime": 310.5,
        "filament": {"tool0": {"length": 810.2, "volume": None}},
        "user": "ann",
    }


def test_an_entry_of_a_new_file() -> None:
    assert builtins(entry_of(FILE, Prints(), BASE)) == {
        "name": "ä b.gcode",
        "display": "ä b.gcode",
        "path": "sub/ä b.gcode",
        "type": "machinecode",
        "typePath": ["machinecode", "gcode"],
        "origin": "local",
        "size": 2853,
        "date": 1795194741,
        "hash": "11" * 20,
        "user": "ann",
        "refs": {
            "resource": "http://h:8080/p/mk3/api/files/local/sub/%C3%A4%20b.gcode",
            "download": "http://h:8080/p/mk3/downloads/files/local/sub/%C3%A4%20b.gcode",
        },
    }


def test_an_entry_of_a_file_that_was_read_and_printed() -> None:
    printed, travelled = Box(1.0, 2.0, 0.2, 31.0, 22.0, 10.2), Box(0.0, 0.0, 0.0, 200.0, 200.0, 15.0)
    known = msgspec.structs.replace(
        FILE,
        metadata=Metadata(thumbnails=(Thumbnail(32, 32, "png", 9, "small"), Thumbnail(400, 300, "jpg", 9, "large"))),
        analysis=Analysis(
            *(1188.2, 5, 4, {1: FilamentUse(810.2, 5.36), 0: FilamentUse(1.0, 0.1)}, printed, travelled),
            LayerIndex((), (), (), 1188.2),
        ),
        userdata='{"a": [1]}',
    )
    entry = builtins(entry_of(known, Prints(3, 1, RUN_DONE, TIMES), BASE))
    assert isinstance(entry, dict)
    assert entry["gcodeAnalysis"] == {
        "estimatedPrintTime": 1188.2,
        "filament": {"tool0": {"length": 1.0, "volume": 0.1}, "tool1": {"length": 810.2, "volume": 5.36}},
        "dimensions": {"width": 30.0, "depth": 20.0, "height": 10.0},
        "printingArea": {"minX": 1.0, "maxX": 31.0, "minY": 2.0, "maxY": 22.0, "minZ": 0.2, "maxZ": 10.2},
        "travelArea": {"minX": 0.0, "maxX": 200.0, "minY": 0.0, "maxY": 200.0, "minZ": 0.0, "maxZ": 15.0},
        "travelDimensions": {"width": 200.0, "depth": 200.0, "height": 15.0},
    }
    assert entry["prints"] == {
        "success": 3,
        "failure": 1,
        "last": {"success": True, "date": 500.0, "printTime": 310.5},
    }
    assert entry["statistics"] == {
        "averagePrintTime": {"_default": 300.5, "big": 20.5},
        "lastPrintTime": {"_default": 310.5, "big": 21.5},
    }
    assert entry["thumbnail"] == "plugin/prusaslicerthumbnails/thumbnail/large.jpg"
    assert entry["thumbnail_src"] == "prusaslicerthumbnails"
    assert entry["userdata"] == {"a": [1]}


def test_a_print_that_was_not_completed_has_no_print_time() -> None:
    cancelled = msgspec.structs.replace(RUN_DONE, state=R.CANCELLED, printing_s=3.0)
    entry = builtins(entry_of(FILE, Prints(1, 1, cancelled, TIMES), BASE))
    assert isinstance(entry, dict)
    assert entry["prints"]["last"] == {"success": False, "date": 500.0}
    assert entry["statistics"] == {
        "averagePrintTime": {"_default": 300.5, "big": 20.5},
        "lastPrintTime": {"_default": 310.5, "big": 21.5},
    }
    never = builtins(entry_of(FILE, Prints(0, 1, cancelled), BASE))
    assert isinstance(never, dict)
    assert never["statistics"] == {"averagePrintTime": {}, "lastPrintTime": {}}


def test_the_filament_of_a_file_that_nobody_has_read_is_null() -> None:
    assert job_of(FILE, None, None).filament is None
    assert job_of(None, RUN_DONE, None).filament is None


HEATERS = {"tool0": Temperature(21.3, 0.0, 0.1), "chamber": Temperature(30.0), "cold end": Temperature(25.0)}


def test_temperatures_are_those_of_the_profile_and_of_extra_heaters() -> None:
    profile = PrinterProfile(extruders=2)
    assert builtins(readings_of(HEATERS, {"tool0": 2.5}, profile)) == {
        "tool0": {"actual": 21.3, "target": 0.0, "offset": 2.5},
        "tool1": {"actual": None, "target": None, "offset": 0},
        "bed": {"actual": None, "target": None, "offset": 0},
        "cold end": {"actual": 25.0, "target": None, "offset": 0},
    }


@pytest.mark.parametrize(("offset", "told"), [(5.0, "5"), (-50.0, "-50"), (0.0, "0"), (2.5, "2.5")])
def test_a_whole_offset_is_told_without_a_point(offset: float, told: str) -> None:
    reading = readings_of({}, {"bed": offset}, PrinterProfile())["bed"]
    assert msgspec.json.encode(reading.offset).decode() == told


def test_history_has_no_offsets() -> None:
    samples = [TemperatureSample(1795194947.9, HEATERS)]
    assert builtins(history_of(samples, ["tool0"], PrinterProfile())) == [
        {"time": 1795194947, "tool0": {"actual": 21.3, "target": 0.0}}
    ]


@pytest.mark.parametrize(
    ("caller", "groups", "some", "none"),
    [
        (GUEST, ["guests"], set(), {"STATUS"}),
        (Caller("v", Role.VIEWER), ["readonly"], {"STATUS", "FILES_LIST"}, {"FILES_UPLOAD", "PRINT"}),
        (Caller("u", Role.UPLOADER), ["uploaders"], {"FILES_UPLOAD"}, {"FILES_DELETE", "FILES_SELECT", "CONTROL"}),
        (Caller("o", Role.OPERATOR), ["users"], {"PRINT", "CONTROL", "CONNECTION"}, {"ADMIN", "SETTINGS", "SYSTEM"}),
        (Caller("a", Role.ADMINISTRATOR), ["admins", "users"], {"ADMIN", "SETTINGS", "SYSTEM", "STATUS"}, set()),
    ],
)
def test_permissions(caller: Caller, groups: list[str], some: set[str], none: set[str]) -> None:
    user = current_user_of(caller)
    assert list(user.groups) == groups
    assert some <= set(user.permissions)
    assert not none & set(user.permissions)


def test_a_profile_in_their_units() -> None:
    profile = builtins(shape_of(PrinterProfile(circular=True, width=180.0, depth=180.0)))
    assert isinstance(profile, dict)
    assert profile["volume"] == {
        "formFactor": "circular",
        "origin": "center",
        "width": 180.0,
        "depth": 180.0,
        "height": 200.0,
        "custom_box": False,
    }
    assert {axis: each["speed"] for axis, each in profile["axes"].items()} == {"x": 6000, "y": 6000, "z": 200, "e": 300}
