"""What happened, in OctoPrint's words: our notices as ``event`` and ``plugin`` messages.

Upstream: OctoPrint 1.11, docs/events/index.rst; payloads and order as a live 1.11.8 has them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from polyhost.core import events as e
from polyhost.core.card import found_on
from polyhost.core.errors import NotFound
from polyhost.core.file import File, is_gcode
from polyhost.core.job import ENDED, Run, RunState
from polyhost.core.printer import Cause, PrinterState, ToolPosition
from polyhost.core.units import mm_min_from_mm_s, percent_from_fraction
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.card import card_path
from polyhost.dialects.octoprint.connection import current_of
from polyhost.dialects.octoprint.metadata import analysis_of
from polyhost.dialects.octoprint.states import FROM_CARD, LINK, RUN, SENDING, fault_words
from polyhost.dialects.octoprint.timelapse import pushed_config_of
from polyhost.dialects.octoprint.webcam import PROVIDER
from polyhost.services.host import Host
from polyhost.services.printer import Printer

Payload = Mapping[str, Any] | msgspec.Struct | None


class Told(msgspec.Struct, frozen=True):
    """One ``event``, for those who may `needs`.  `bare` is its payload for who is no administrator, if that differs."""

    type: str
    payload: Payload = None
    needs: Permission = Permission.LOOK
    bare: Payload | msgspec.UnsetType = msgspec.UNSET


class Says(msgspec.Struct, frozen=True):
    """A message of a kind of its own: ``{kind: payload}``.  Of one kind the latest is enough."""

    kind: str
    payload: Payload


class PluginSays(msgspec.Struct, frozen=True):
    """One ``plugin`` message, for those who may `needs`."""

    plugin: str
    data: Mapping[str, Any]
    needs: Permission = Permission.LOOK


@dataclass(frozen=True, slots=True)
class About:
    """What a notice is looked at with: where the printer that it names stood before, and the host to ask for files."""

    host: Host
    printer: Printer | None
    link_was: PrinterState = PrinterState.OFFLINE
    run_was: RunState | None = None  # None: no run was going on


LINK_IDS: Final[Mapping[PrinterState, str]] = {
    PrinterState.OFFLINE: "OFFLINE",
    PrinterState.DETECTING: "DETECT_SERIAL",
    PrinterState.CONNECTING: "CONNECTING",
    PrinterState.READY: "OPERATIONAL",
    PrinterState.UNREACHABLE: "OFFLINE",
    PrinterState.FAULTED: "CLOSED_WITH_ERROR",
}

_LINKED: Final = frozenset({PrinterState.DETECTING, PrinterState.CONNECTING, PrinterState.READY})

_MARKS: Final = {"print": "Start", "pause": "Pause", "resume": "Resume", "cancel": "Cancel", "done": "Done"}
FILES_CHANGED: Final = Told("UpdatedFiles", {"type": "printables"})


def events_of(notice: e.Event, about: About) -> Iterator[Told]:
    """The events that upstream would tell of `notice`, in its order; none for what it has no name for."""
    match notice:
        case e.PrinterStateChanged(_, state, reason, cause):
            yield from _link(state, reason, cause, about)
        case e.FirmwareSpoke(_, text, _, "cancel"):
            yield Told("Error", {"error": text, "reason": "firmware", "consequence": "cancel"})
        case e.RunStateChanged():
            yield from _run(notice, about)
        case e.FileSelected(_, ""):
            yield Told("FileDeselected")
        case e.FileSelected(_, path, True):
            yield Told("FileSelected", _chosen_on_card(path, about))
        case e.FileSelected(_, path):
            yield Told("FileSelected", _chosen(path, about))
        case e.FileAdded(path):
            yield Told("FileAdded", {**_file(path), "operation": "add"})
            yield FILES_CHANGED
        case e.Uploaded():
            yield Told("Upload", _upload(notice, about))
        case e.FileRemoved(path):
            yield Told("FileRemoved", {**_file(path), "operation": "remove"})
            yield FILES_CHANGED
        case e.FileMoved(path, to):
            yield Told("FileRemoved", {**_file(path), "operation": "move"})
            yield Told("FileAdded", {**_file(to), "operation": "move"})
            yield Told("FileMoved", _moved(path, to))
            yield FILES_CHANGED
        case e.FolderAdded(path):
            yield Told("FolderAdded", {"storage": "local", "path": path, "name": _name(path)})
            yield FILES_CHANGED
        case e.FolderRemoved(path):
            yield Told("FolderRemoved", {"storage": "local", "path": path, "name": _name(path)})
            yield FILES_CHANGED
        case e.FileAnalysed(path, whole):
            yield from _analysed(path, whole, about)
        case e.SdFilesListed():
            yield FILES_CHANGED
        case e.CommandSuppressed(_, command, reason):
            yield Told("CommandSuppressed", {"command": command, "message": reason, "severity": "warn"})
        case e.ScriptRan(_, name, finished):
            title = name[:1].upper() + name[1:]
            run = about.printer.run if about.printer is not None else None
            payload = None if run is None or run.ended else _job(run)
            yield Told(f"GcodeScript{title}{'Finished' if finished else 'Running'}", payload)
        case e.CardTransferChanged(_, path, name, state, elapsed_s):
            payload = {"local": path, "remote": name.lower()}
            if state == "started":
                yield _state("STARTING", "Starting to send file to SD")
                yield Told("TransferStarted", payload)
                yield _state("PRINTING", SENDING[0])
            else:
                if about.printer is not None:
                    yield _link_is(about.printer)
                yield Told(f"Transfer{state.capitalize()}", {**payload, "time": elapsed_s})
        case e.ProfileChanged(_, profile, change):
            yield Told(f"PrinterProfile{change.capitalize()}", {"identifier": profile})
        case e.PictureAsked(_, file):
            yield Told("CaptureStart", {"file": file})
        case e.PictureTaken(_, file):
            yield Told("CaptureDone", {"file": file})
        case e.PictureMissed(_, file, webcam, reason):
            seen = {"webcamDisplay": webcam, "snapshotDisplay": webcam, "webcamProvider": PROVIDER}
            yield Told("CaptureFailed", {"file": file, "error": reason, **seen})
        case e.PostRollChanged(_, length_s, fps, finished):
            roll = {"postroll_duration": 0, "postroll_length": length_s, "postroll_fps": fps}
            yield Told("PostRollEnd") if finished else Told("PostRollStart", roll)
        case e.MovieChanged():
            yield _movie(notice)
        case e.LoggedIn(user):
            yield Told("UserLoggedIn", {"username": user}, Permission.ACCOUNTS)
        case e.LoggedOut(user):
            yield Told("UserLoggedOut", {"username": user}, Permission.ACCOUNTS)
        case _:
            pass


def plugin_says(notice: e.Event) -> PluginSays | None:
    """What one of the original's plugins would say to its part in the browser."""
    match notice:
        case e.AppKeyRequested(request_id, app, user, address):
            data = {"app_name": app, "user_token": request_id, "user_id": user or None, "remote_address": address}
            return PluginSays("appkeys", {"type": "request_access", **data}, Permission.CONTROL)
        case e.AppKeyRequestEnded(request_id):
            return PluginSays("appkeys", {"type": "end_request", "user_token": request_id}, Permission.CONTROL)
        case e.PromptShown(_, text, choices):
            return PluginSays("action_command_prompt", {"action": "show", "text": text, "choices": choices})
        case e.PromptClosed():
            return PluginSays("action_command_prompt", {"action": "close"})
        case e.FirmwareNotified(_, text):
            return PluginSays("action_command_notification", {"message": text})
        case e.NotificationsCleared():
            return PluginSays("action_command_notification", {})
        case _:
            return None


def says(notice: e.Event, about: About) -> Says | None:
    """What is neither an event of upstream's nor a plugin's."""
    match notice:
        case e.TimelapseChanged() if about.printer is not None:
            return Says("timelapse", pushed_config_of(about.host.timelapses.config(about.printer)))
        case e.MovieProgressed(_, _, fraction):
            return Says("renderProgress", {"progress": int(percent_from_fraction(fraction))})
        case _:
            return None


def printer_of(notice: e.Notice) -> str:
    """The printer that `notice` is about; "" when it is about the whole host."""
    slug: str = getattr(notice, "printer", "")
    return slug


def _movie(notice: e.MovieChanged) -> Told:
    movie = {"gcode": _name(notice.path), "movie": notice.movie, "movie_basename": notice.movie}
    movie["movie_prefix"] = notice.recording
    if notice.state != "failed":
        return Told("MovieDone" if notice.state == "done" else "MovieRendering", movie)
    failed = {"returncode": 255, "out": "", "error": notice.reason, "reason": "unknown"}
    return Told("MovieFailed", {**movie, **failed})


# The link


def _link(state: PrinterState, reason: str, cause: Cause | None, about: About) -> Iterator[Told]:
    was = about.link_was
    if state is was:
        return
    changed = _state(LINK_IDS[state], LINK[state][0])
    match state:
        case PrinterState.DETECTING | PrinterState.CONNECTING:
            if was not in _LINKED:
                yield Told("Connecting")
            yield changed
        case PrinterState.READY:
            yield changed
            if about.printer is not None:
                now = current_of(about.printer)
                yield Told("Connected", {"port": now.port, "baudrate": now.baudrate})
                firmware = about.printer.snapshot.firmware
                if firmware.name:
                    data = {"FIRMWARE_NAME": firmware.name, "EXTRUDER_COUNT": str(firmware.extruders)}
                    data |= {"MACHINE_TYPE": firmware.machine} if firmware.machine else {}
                    yield Told("FirmwareData", {"name": firmware.name, "data": data})
        case PrinterState.OFFLINE:
            if was in _LINKED:
                yield Told("Disconnecting")
                yield Told("Disconnected")
            yield changed
        case PrinterState.UNREACHABLE | PrinterState.FAULTED:
            error = reason or (about.printer.snapshot.fault if about.printer is not None else "")
            kind, consequence = fault_words(state, cause)
            yield Told("Error", {"error": error, "reason": kind, "consequence": consequence})
            if was in _LINKED:
                yield Told("Disconnected")
            if LINK_IDS[was] != LINK_IDS[state]:
                yield changed


def _state(state_id: str, text: str) -> Told:
    return Told("PrinterStateChanged", {"state_id": state_id, "state_string": text})


# Runs


def _run(notice: e.RunStateChanged, about: About) -> Iterator[Told]:
    state, was, printer = notice.state, about.run_was, about.printer
    run = printer.run if printer is not None else None
    if printer is None or run is None or run.id != notice.run_id or state is was:
        return
    job = _job(run)
    text = FROM_CARD.get(state, RUN[state][0]) if run.on_card else RUN[state][0]
    if was is None and state is not RunState.STARTING and state not in ENDED:
        yield from _run_began(job, run)  # nobody told of its start
    changed = _state(state.name, text)
    match state:
        case RunState.STARTING:
            yield from _run_began(job, run)
        case RunState.PAUSED:
            yield Told("PrintPaused", {**job, **_place(notice.position, run)})
            yield _mark("pause")
            if notice.position is not None:
                yield Told("PositionUpdate", {"reason": "pause", **_position(notice.position)})
            yield changed
        case RunState.RESUMING:
            yield changed
        case RunState.PRINTING:
            if was in {RunState.RESUMING, RunState.PAUSED}:
                yield Told("PrintResumed", job)
                yield _mark("resume")
            yield changed
        case RunState.CANCELLING:
            yield Told("PrintCancelling", job)
            yield changed
        case RunState.COMPLETED:
            if was is not RunState.FINISHING:
                yield _state("FINISHING", RUN[RunState.FINISHING][0])
            yield _mark("done")
            yield Told("PrintDone", {**job, "time": run.printing_s})
            yield from _after(run, printer)
        case RunState.CANCELLED:
            ended = {**job, **_place(notice.position, run), "time": run.printing_s}
            yield Told("PrintCancelled", {**ended, "reason": "cancelled"})
            yield _mark("cancel")
            yield Told("PrintFailed", {**ended, "reason": "cancelled"})
            yield from _after(run, printer)
        case RunState.FAILED | RunState.INTERRUPTED:
            ended = {**job, **_place(notice.position, run), "time": run.printing_s}
            yield Told("PrintFailed", {**ended, "reason": "error"})
            yield from _after(run, printer)
        case _:
            yield changed


def _run_began(job: dict[str, Any], run: Run) -> Iterator[Told]:
    yield _state("STARTING", FROM_CARD[RunState.STARTING] if run.on_card else RUN[RunState.STARTING][0])
    yield Told("PrintStarted", job)
    yield _mark("print")


def _after(run: Run, printer: Printer) -> Iterator[Told]:
    """What follows every end: the file's counts changed, and the printer is what its link is."""
    if not run.on_card:
        yield Told("MetadataStatisticsUpdated", {"storage": "local", "path": run.path})
    yield _link_is(printer)


def _link_is(printer: Printer) -> Told:
    link = printer.snapshot.state
    return _state(LINK_IDS[link], LINK[link][0])


def _mark(kind: str) -> Told:
    return Told("ChartMarked", {"type": kind, "label": _MARKS[kind]})


def _job(run: Run) -> dict[str, Any]:
    path = card_path(run.path) if run.on_card else run.path
    origin = "sdcard" if run.on_card else "local"
    about = {"name": _name(path), "path": path, "origin": origin, "size": run.size_bytes}
    return {**about, "owner": run.by, "user": run.by}


def _place(position: ToolPosition | None, run: Run) -> dict[str, Any]:
    done = min(1.0, run.file_bytes / run.size_bytes) if run.size_bytes else 0.0
    progress = int(percent_from_fraction(done))
    return {"position": _position(position), "fileposition": run.file_bytes, "progress": progress}


def _position(position: ToolPosition | None) -> dict[str, float | None]:
    if position is None:
        return dict.fromkeys("xyzetf")
    feedrate = position.feedrate_mm_s
    axes = {"x": position.x, "y": position.y, "z": position.z, "e": position.e}
    return {**axes, "t": position.tool, "f": None if feedrate is None else mm_min_from_mm_s(feedrate)}


# Files


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _file(path: str) -> dict[str, Any]:
    kind = ["machinecode", "gcode"] if is_gcode(_name(path)) else ["unknown"]
    return {"storage": "local", "path": path, "name": _name(path), "type": kind}


def _upload(notice: e.Uploaded, about: About) -> dict[str, Any]:
    place = {"name": _name(notice.path), "path": notice.path, "target": "sdcard" if notice.to_card else "local"}
    effective = {"effective_select": notice.selected, "effective_print": notice.printing}
    file = _found(notice.path, about)
    userdata = {"userdata": msgspec.Raw(file.userdata.encode())} if file is not None and file.userdata else {}
    return {**place, "select": notice.select, "print": notice.print_it, **effective, **userdata}


def _moved(path: str, to: str) -> dict[str, Any]:
    old, new = _file(path), _file(to)
    source = {"source_path": path, "source_name": old["name"], "source_type": old["type"]}
    there = {"destination_path": to, "destination_name": new["name"], "destination_type": new["type"]}
    return {"storage": "local", **source, **there}


def _found(path: str, about: About) -> File | None:
    try:
        return about.host.files.get(path)
    except NotFound:
        return None


def _chosen(path: str, about: About) -> dict[str, Any]:
    file = _found(path, about)
    size, owner = (None, "") if file is None else (file.size_bytes, file.by)
    named = {"name": _name(path), "path": path, "origin": "local", "size": size}
    return {**named, "owner": owner or None, "user": owner or None}


def _chosen_on_card(name: str, about: About) -> dict[str, Any]:
    file = None if about.printer is None else found_on(about.printer.card, name)
    named = {"name": card_path(name), "path": card_path(name), "origin": "sdcard"}
    return {**named, "size": None if file is None else file.size_bytes, "owner": None, "user": None}


def _analysed(path: str, whole: bool, about: About) -> Iterator[Told]:
    named = {"name": _name(path), "path": path, "origin": "local"}
    if not whole:
        # What the slicer wrote is read first; the analysis of the whole file begins then.
        yield Told("MetadataAnalysisStarted", {**named, "type": "gcode"})
        return
    file = _found(path, about)
    yield Told("MetadataAnalysisFinished", {**named, "result": {} if file is None else analysis_of(file) or {}})
