"""``/api/settings``: what a printer and this host are set to, and what of it clients may set.

A change is judged as a whole before any of it is made; a value of the wrong type or beyond its bounds is 400.  Keys
that are nothing here, and those that only tell what this host does, are left as they are, as the answer shows.

Upstream: OctoPrint 1.11, docs/api/settings.rst.  `settings_tree` has the tree, `webcam` the webcams' part of it.
"""

import hashlib
import shlex
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET

from polyhost import config
from polyhost.core.controls import Control
from polyhost.core.errors import Malformed
from polyhost.core.handling import OnError
from polyhost.core.user import Caller, Permission
from polyhost.core.webcam import Webcam, checked_webcam
from polyhost.dialects.octoprint import settings_tree as tree
from polyhost.dialects.octoprint.connection import AUTO, VIRTUAL, ports_of
from polyhost.dialects.octoprint.webcam import (
    ClassicWish,
    WebcamWish,
    classic_tree,
    set_webcam,
    webcam_tree,
    wished,
)
from polyhost.services import settings as section
from polyhost.services.handling import MachineOptions
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.services.scripts import GcodeScripts
from polyhost.services.system import Command
from polyhost.services.templates import SNIPPETS
from polyhost.web.answers import Encoded, encoded, no_content, not_modified, unchanged
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()

T = TypeVar("T")

GLOBAL_KEY: Final = "global API key"
MAX_WINDOW: Final = 64
_NOBODY: Final = Caller()


class Templates(msgspec.Struct):
    """Pages of upstream's own interface; there are none."""

    order: dict[str, tuple[str, ...]] = {}


class ApiKey(msgspec.Struct):
    apikey: str


class Controls(msgspec.Struct):
    controls: tuple[Control, ...]


# What is told


def tree_of(host: Host, printer: Printer, caller: Caller) -> tree.Tree:
    may_set = caller.may(Permission.SETTINGS, printer.slug)
    may_control = caller.may(Permission.CONTROL, printer.slug)
    settings, wanted = host.settings, printer.settings
    look = settings.get(section.Appearance, printer)
    clients = settings.get(section.ClientOptions, printer)
    ports = settings.get(section.PortOptions, printer)
    options = settings.get(MachineOptions, printer)
    filters = settings.get(section.ConsoleFilters, printer).filters
    keep_free = host.config.uploads.keep_free_bytes
    is_virtual = printer.driver_name == "virtual"
    uuid = host.discovery.uuid_of(printer)
    return tree.Tree(
        access_control=tree.AccessControl() if may_set else UNSET,
        api=tree.Api(allow_cross_origin=bool(host.config.access.allow_origins)),
        appearance=tree.Appearance(
            name=printer.name, color=look.color or printer.profile.color, **_shared(clients, tree.Appearance)
        ),
        controls=settings.get(section.CustomControls, printer).controls if may_control else (),
        feature=tree.Feature(sd_support=options.card, **_shared(clients, tree.Feature)),
        gcode_analysis=tree.GcodeAnalysis(run_at=settings.get(section.AnalysisOptions, printer).run_at.value),
        plugins=tree.Plugins(
            classicwebcam=classic_tree(host, printer, caller),
            discovery=tree.Discovery(upnp_uuid=uuid),
            tracking=tree.Tracking(unique_id=uuid if may_set else None),
            virtual_printer=tree.VirtualPrinter(is_virtual),
        ),
        scripts=tree.Scripts(gcode=scripts_of(host, printer)),
        serial=tree.Serial(
            port=VIRTUAL if is_virtual else wanted.port or None,
            baudrate=wanted.baud or None,
            port_options=ports_of(host, printer),
            baudrate_options=settings.bauds(),
            autoconnect=wanted.autoconnect,
            log=host.serial_logs.enabled(printer),
            additional_ports=ports.additional_ports,
            additional_baudrates=ports.additional_bauds,
            blacklisted_ports=ports.hidden_ports,
            blacklisted_baudrates=ports.hidden_bauds,
            ignore_errors_from_firmware=options.on_error is OnError.IGNORE,
            disconnect_on_errors=options.on_error is OnError.DISCONNECT,
            log_position_on_pause=options.position_on_pause,
            log_position_on_cancel=options.position_on_cancel,
            ack_max=wanted.window_lines or 1,
        ),
        system=tree.System(actions=tuple(action_of(command) for command in host.system.actions(caller))),
        server=tree.Server(diskspace=tree.DiskSpace(warning=keep_free, critical=keep_free)),
        temperature=tree.Temperature(
            profiles=tuple(preset_of(preset) for preset in settings.get(section.Presets, printer).presets),
            cutoff=clients.cutoff_min,
            send_automatically=clients.send_automatically,
            send_automatically_after=clients.send_automatically_after_s,
        ),
        terminal_filters=tree.FILTERS
        if filters is None
        else tuple(tree.Filter(one.name, one.regex) for one in filters),
        webcam=webcam_tree(host, printer, caller),
    )


def scripts_of(host: Host, printer: Printer) -> dict[str, str]:
    """Templates by name, of those that say something or that a person set."""
    there, own = host.scripts.get(printer), host.preferences.get(GcodeScripts, printer.slug)
    told = {name: text for name, text in there.scripts.items() if text or name in own.scripts}
    return told | {SNIPPETS + name: text for name, text in there.snippets.items()}


def action_of(command: Command) -> tree.Action:
    if command.is_divider:
        return tree.Action(command.action)
    words = shlex.join(command.words) if command.words else UNSET
    return tree.Action(command.action, command.name, words, command.confirm or UNSET)


def preset_of(preset: section.Preset) -> tree.Preset:
    chamber = UNSET if preset.chamber is UNSET else _plain(preset.chamber)
    return tree.Preset(preset.name, _plain(preset.extruder), _plain(preset.bed), chamber)


def _plain(celsius: float | None) -> tree.Number | None:
    """Whole degrees without a point, as they are sent."""
    return int(celsius) if celsius is not None and celsius == int(celsius) else celsius


def _shared(clients: section.ClientOptions, part: type[msgspec.Struct]) -> dict[str, Any]:
    """Those of the options that clients keep here which `part` of the tree has under the same name."""
    names = set(part.__struct_fields__) & set(clients.__struct_fields__)
    return {name: getattr(clients, name) for name in names}


def hash_of(host: Host, printer: Printer) -> str:
    """The same for as long as nothing is set that everybody is told: ``config_hash`` and ``effective_hash``."""
    told = msgspec.json.encode(tree_of(host, printer, _NOBODY))
    return hashlib.sha1(told, usedforsecurity=False).hexdigest()


@routes.get("/api/settings", needs=Permission.LOOK)
async def settings(call: Call) -> Encoded:
    answer, etag = _told(call)
    if unchanged(call.headers, etag) and not call.flag("force"):
        return not_modified([(b"etag", etag.encode())])
    return answer


def _told(call: Call) -> tuple[Encoded, str]:
    """The whole tree as the caller may see it, and its ETag."""
    answer = encoded(tree_of(call.host, call.printer, call.caller))
    etag = f'"{hashlib.sha1(answer.body, usedforsecurity=False).hexdigest()}"'
    answer.headers.append((b"etag", etag.encode()))
    return answer, etag


@routes.get("/api/settings/templates", needs=Permission.SETTINGS)
async def templates(call: Call) -> Templates:
    return Templates()


@routes.get("/api/printer/command/custom", needs=Permission.CONTROL)
async def controls(call: Call) -> Controls:
    return Controls(call.host.settings.get(section.CustomControls, call.printer).controls)


# What is set


@routes.post("/api/settings", needs=Permission.SETTINGS)
async def change(call: Call) -> Encoded:
    await set_all(call.host, call.printer, await call.body(dict[str, Any]), call.caller)
    answer, _ = _told(call)
    return answer


async def set_all(host: Host, printer: Printer, given: Mapping[str, Any], by: Caller) -> None:
    """Set what of `given`, a part of the tree, can be set; all of it is judged first."""
    was = tree_of(host, printer, by)
    wanted = wanted_of(was, given)
    sections = sections_of(was, wanted, host.settings, printer)
    own = settings_of(was, wanted, printer)
    scripts = wanted_scripts(was, wanted, host.preferences.get(GcodeScripts, printer.slug))
    wishes = webcam_wishes(given)
    webcam = host.webcams.main(printer) or Webcam()
    for wish in wishes:
        webcam = checked_webcam(wished(webcam, wish))
    host.settings.check(printer, sections, by)
    host.printers.check_settings(printer, own)
    if scripts is not None:
        await host.scripts.put(printer, scripts, by)  # judges them itself, and sets none that cannot be rendered
    for wish in wishes:
        await set_webcam(host, printer, wish, by)
    await host.printers.change(printer, own, by)
    await host.settings.put(printer, sections, by)
    await host.serial_logs.enable(printer, wanted.serial.log, by)


def wanted_of(was: tree.Tree, given: Mapping[str, Any]) -> tree.Settable:
    """The tree as `given` would have it; `Malformed` names the value that is wrong.  What is unknown is left out."""
    before = msgspec.to_builtins(was)
    names = {field.encode_name for field in msgspec.structs.fields(tree.Settable)}
    told = {name: value for name, value in before.items() if name in names}
    return _converted(laid_over(told, {name: value for name, value in given.items() if name in names}), tree.Settable)


def laid_over(base: Any, over: Any) -> Any:
    """`over` laid over `base`, object by object; flags are read as all of upstream's flags are."""
    if isinstance(base, dict) and isinstance(over, Mapping):
        return base | {name: laid_over(base.get(name), value) for name, value in over.items()}
    if isinstance(base, bool) and isinstance(over, str | int):
        return truth_of(over)
    if isinstance(base, int | float) and isinstance(over, bool):
        raise Malformed(f"a number is wanted, not {over}")
    return over


def sections_of(
    was: tree.Tree, wanted: tree.Settable, settings: section.Settings, printer: Printer
) -> list[section.Section]:
    """What people set that differs."""
    changed: list[section.Section] = []
    look, shown = wanted.appearance, settings.get(section.Appearance, printer)
    if look.color != was.appearance.color:
        shown = msgspec.structs.replace(shown, color=look.color)
    if printer.locked and look.name != was.appearance.name:
        shown = msgspec.structs.replace(shown, name=look.name)
    changed.append(shown)
    clients = settings.get(section.ClientOptions, printer)
    heat = wanted.temperature
    changed.append(
        msgspec.structs.replace(
            clients,
            **{name: getattr(part, name) for part in (look, wanted.feature) for name in _shared(clients, type(part))},
            cutoff_min=heat.cutoff,
            send_automatically=heat.send_automatically,
            send_automatically_after_s=heat.send_automatically_after,
        )
    )
    serial = wanted.serial
    changed.append(
        section.PortOptions(
            *(serial.additional_ports, serial.blacklisted_ports),
            *(serial.additional_baudrates, serial.blacklisted_baudrates),
        )
    )
    changed.append(section.AnalysisOptions(section.RunAt(wanted.gcode_analysis.run_at)))
    options = settings.get(MachineOptions, printer)
    changed.append(
        msgspec.structs.replace(
            options,
            on_error=on_error_of(was.serial, serial) or options.on_error,
            card=wanted.feature.sd_support,
            position_on_pause=serial.log_position_on_pause,
            position_on_cancel=serial.log_position_on_cancel,
        )
    )
    if heat.profiles != was.temperature.profiles:
        changed.append(section.Presets(tuple(core_preset_of(preset) for preset in heat.profiles)))
    if wanted.terminal_filters != was.terminal_filters:
        changed.append(section.ConsoleFilters(tuple(section.Filter(f.name, f.regex) for f in wanted.terminal_filters)))
    if wanted.controls != was.controls:
        changed.append(section.CustomControls(wanted.controls))
    return changed


def on_error_of(was: tree.Serial, wanted: tree.Serial) -> OnError | None:
    """What two flags come to; None when neither was changed."""
    said = wanted.ignore_errors_from_firmware, wanted.disconnect_on_errors
    if said == (was.ignore_errors_from_firmware, was.disconnect_on_errors):
        return None
    return OnError.IGNORE if said[0] else OnError.DISCONNECT if said[1] else OnError.CANCEL


def wanted_scripts(was: tree.Tree, wanted: tree.Settable, own: GcodeScripts) -> GcodeScripts | None:
    """All that people set of scripts, with what is set now; None when that is nothing."""
    if wanted.scripts == was.scripts:
        return None
    scripts, snippets = dict(own.scripts), dict(own.snippets)
    for name, text in wanted.scripts.gcode.items():
        if name == "snippets":
            continue  # upstream's own tree has it and heeds it no more
        if not isinstance(text, str):
            raise Malformed(f"these settings are invalid: the script {name!r} is no text")
        if was.scripts.gcode.get(name) != text:
            is_snippet = name.startswith(SNIPPETS)
            text = text.replace("\r\n", "\n").replace("\r", "\n")
            (snippets if is_snippet else scripts)[name.removeprefix(SNIPPETS)] = text
    return GcodeScripts(scripts, snippets)


def core_preset_of(preset: tree.Preset) -> section.Preset:
    chamber = UNSET if preset.chamber is UNSET else _celsius(preset.chamber)
    return section.Preset(preset.name, _celsius(preset.extruder), _celsius(preset.bed), chamber)


def _celsius(value: tree.Number | None) -> float | None:
    return None if value is None else float(value)


def settings_of(was: tree.Tree, wanted: tree.Settable, printer: Printer) -> config.Printer:
    """The printer's own settings as `wanted`; a virtual one has no port and no rate to be set."""
    serial, changes = wanted.serial, dict[str, Any]()
    if wanted.appearance.name != was.appearance.name and not printer.locked:
        changes["name"] = wanted.appearance.name
    if printer.driver_name == "serial":
        if serial.port != was.serial.port and serial.port not in {None, "", AUTO, VIRTUAL}:
            if not str(serial.port).startswith("/"):
                raise Malformed(f"{serial.port!r} is no path of a serial port")
            changes["port"] = serial.port
        if serial.baudrate != was.serial.baudrate:
            changes["baud"] = serial.baudrate or 0
    if serial.autoconnect != was.serial.autoconnect:
        changes["autoconnect"] = serial.autoconnect
    if serial.ack_max != was.serial.ack_max:
        if not 1 <= serial.ack_max <= MAX_WINDOW:
            raise Malformed(f"ackMax is 1 to {MAX_WINDOW}, not {serial.ack_max}")
        changes["window_lines"] = serial.ack_max
    return msgspec.structs.replace(printer.settings, **changes)


def webcam_wishes(given: Mapping[str, Any]) -> list[WebcamWish]:
    """What ``webcam`` and ``plugins.classicwebcam`` ask for."""
    wishes = []
    if "webcam" in given:
        wishes.append(_converted(given["webcam"], WebcamWish))
    plugins = _converted(given.get("plugins", {}), dict[str, Any])
    if "classicwebcam" in plugins:
        wishes.append(_converted(plugins["classicwebcam"], ClassicWish).as_webcam())
    return wishes


def _converted(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Malformed(f"these settings are invalid: {error}") from error


@routes.post("/api/settings/apikey", needs=Permission.ACCOUNTS)
async def make_key(call: Call) -> ApiKey:
    """A key of the caller's, in the place of the one that was made here before."""
    accounts, by = call.host.accounts, call.caller
    before = _global_keys(call)
    _, secret = await accounts.add_key(by.name, None, GLOBAL_KEY, (), None, by)
    for key_id in before:
        await accounts.revoke_key(key_id, by)
    return ApiKey(secret)


@routes.delete("/api/settings/apikey", needs=Permission.ACCOUNTS)
async def drop_key(call: Call) -> Encoded:
    for key_id in _global_keys(call):
        await call.host.accounts.revoke_key(key_id, call.caller)
    return no_content()


def _global_keys(call: Call) -> list[str]:
    return [key.id for key in call.host.accounts.keys(call.caller) if key.app == GLOBAL_KEY]
