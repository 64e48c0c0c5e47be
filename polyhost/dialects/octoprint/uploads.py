"""``POST /api/files/<location>``: a file, or a folder, with the form fields that slicers send around it.

Upstream: OctoPrint 1.11, docs/api/files.rst.
"""

import posixpath
from collections.abc import Mapping

import msgspec

from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotNow, Unsupported
from polyhost.core.events import Uploaded
from polyhost.core.file import GCODE_SUFFIXES, File, checked_name, checked_path, is_gcode
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.card import card_path, card_url
from polyhost.dialects.octoprint.files import LOCATIONS
from polyhost.dialects.octoprint.metadata import Refs, refs_of, resource_url
from polyhost.web.answers import Encoded, created
from polyhost.web.bodies import check_json
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes
from polyhost.web.uploads import Destination, received

routes = Routes()


class Place(msgspec.Struct):
    name: str
    path: str
    origin: str
    refs: Refs


class UploadDone(msgspec.Struct, rename="camel"):
    """``effective…``: whether what was asked for beside the upload is happening."""

    done: bool
    effective_select: bool
    effective_print: bool
    files: dict[str, Place]


class FolderDone(msgspec.Struct):
    done: bool
    folder: Place


class NewFolder(msgspec.Struct):
    """What one client library sends as JSON in place of a form."""

    foldername: str
    path: str = ""


@routes.post("/api/files/{location}", needs=Permission.UPLOAD, key_in_body=True)
async def upload(call: Call) -> Encoded:
    if call.params["location"] not in LOCATIONS:
        raise NotFound(f"no location {call.params['location']!r}")
    to_card = call.params["location"] == "sdcard"
    if to_card and not call.caller.is_guest:
        call.require(Permission.UPLOAD)
        _check_card(call)
    match call.media_type:
        case "application/json":
            wanted = await call.body(NewFolder)
            _check_folders(call)
            return await _make_folder(call, {"foldername": wanted.foldername, "path": wanted.path})
        case "application/x-www-form-urlencoded":
            wishes = await call.form()
            _check_folders(call)
            return await _make_folder(call, wishes)

    def place_of(fields: Mapping[str, str], filename: str) -> Destination:
        if to_card:  # a guest's key may have come with the form
            _check_card(call)
        return _place(fields, filename)

    async with received(call, Permission.UPLOAD, place_of) as form:
        fields = form.fields
        if form.upload is None:
            _check_folders(call)
            return await _make_folder(call, fields)
        file = await form.upload.commit(_checked_userdata(fields.get("userdata", "")))
    select, print_it = truth_of(fields.get("select", "")), truth_of(fields.get("print", ""))
    if to_card:
        return await _send_to_card(call, file, select, print_it)
    selected, printing = await _then(call, file, select=select, print_it=print_it)
    if (slug := call.slug) is not None:
        call.host.bus.publish(Uploaded(slug, file.path, False, select, print_it, selected, printing))
    place = Place(file.name, file.path, "local", refs_of(call.base, file.path))
    return created(place.refs.resource, UploadDone(True, selected, printing, {"local": place}))


def _check_card(call: Call) -> None:
    call.host.cards.check_upload(call.printer, call.caller)


def _check_folders(call: Call) -> None:
    call.require(Permission.UPLOAD)
    if call.params["location"] == "sdcard":
        raise Malformed("there are no folders on the printer's own card")


def _place(fields: Mapping[str, str], filename: str) -> Destination:
    """The field ``filename`` renames the file; a folder in its name counts when ``path`` is not given."""
    filename = fields.get("filename") or filename
    folder, name = posixpath.split(filename)
    if not is_gcode(name):
        raise Unsupported(f"{name!r} is of a type that cannot be printed; use {', '.join(GCODE_SUFFIXES)}")
    return Destination(fields.get("path") or folder, name, not truth_of(fields.get("noOverwrite", "")))


async def _then(call: Call, file: File, *, select: bool, print_it: bool) -> tuple[bool, bool]:
    """Select or print `file` if that may be and can be; upstream ignores the wish otherwise."""
    if not (select or print_it):
        return False, False
    try:
        printer = call.printer
        if not printer.is_operational or printer.run_state is not None or printer.transfer is not None:
            return False, False
        if print_it:
            await call.host.runs.start(printer, file.path, by=call.caller)
        else:
            await call.host.runs.select(printer, file.path, by=call.caller)
    except (NotAllowed, NotFound, NotNow):
        return False, False
    return select, print_it


async def _send_to_card(call: Call, file: File, select: bool, print_it: bool) -> Encoded:
    """It is in the library, and begins to be sent; what was wished for beside is done when it is there."""
    may = call.caller.may(Permission.PRINT, call.printer.slug)
    select, print_it = select and may, print_it and may
    sent = await call.host.cards.send(call.printer, file.path, call.caller, select=select, print_it=print_it)
    name = card_path(sent)
    call.host.bus.publish(Uploaded(call.printer.slug, file.path, True, select, print_it, select, print_it))
    url = card_url(call.base, name)
    places = {
        "local": Place(file.name, file.path, "local", refs_of(call.base, file.path)),
        "sdcard": Place(name, name, "sdcard", Refs(url)),
    }
    return created(url, UploadDone(False, select, print_it, places))


async def _make_folder(call: Call, fields: Mapping[str, str]) -> Encoded:
    """The field ``foldername``, in the folder ``path``; one that is there already will do."""
    call.require(Permission.UPLOAD)
    if "foldername" not in fields:
        raise Malformed("No file to upload and no folder to create")
    name = fields["foldername"]
    path = checked_path(posixpath.join(checked_path(fields.get("path", "")), checked_name(name)))
    if is_gcode(name):
        raise NotNow(f"{name!r} looks like a file")
    try:
        call.host.files.folder(path)
    except NotFound:
        await call.host.files.make_folder(path, by=call.caller)
    place = Place(posixpath.basename(path), path, "local", Refs(resource_url(call.base, path)))
    return created(place.refs.resource, FolderDone(True, place))


def _checked_userdata(userdata: str) -> str:
    if userdata:
        check_json(userdata.encode())
        try:
            msgspec.json.decode(userdata)
        except msgspec.DecodeError as error:
            raise Malformed(f"userdata is not JSON: {error}") from error
    return userdata
