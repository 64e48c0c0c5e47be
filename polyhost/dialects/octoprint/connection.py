"""``/api/connection``: the link to the machine.

Upstream: OctoPrint 1.11, docs/api/connection.rst.
"""

from typing import Final

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.job import DEFAULT_PROFILE
from polyhost.core.printer import PrinterState
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import Commands, Flag
from polyhost.dialects.octoprint.states import text_of
from polyhost.services.host import Host
from polyhost.services.printer import Printer
from polyhost.web.answers import Encoded, no_content
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()

VIRTUAL: Final = "VIRTUAL"
VIRTUAL_BAUD: Final = 115200
"""A machine without a wire has no rate; clients want a number of whatever is connected."""
AUTO: Final = "AUTO"
_LINKED: Final = frozenset({PrinterState.READY, PrinterState.CONNECTING, PrinterState.DETECTING})


class Current(msgspec.Struct, rename="camel"):
    state: str
    port: str | None
    baudrate: int | None
    printer_profile: str


class Profile(msgspec.Struct):
    id: str
    name: str


class Options(msgspec.Struct, rename="camel"):
    ports: list[str]
    baudrates: tuple[int, ...]
    printer_profiles: tuple[Profile, ...]
    port_preference: str | None
    baudrate_preference: int | None
    printer_profile_preference: str


class Connection(msgspec.Struct):
    current: Current
    options: Options


class Connect(msgspec.Struct, tag_field="command", tag="connect", rename="camel"):
    port: str | None = None
    baudrate: int | None = None
    printer_profile: str | None = None
    save: Flag = False
    autoconnect: Flag = None


class Disconnect(msgspec.Struct, tag_field="command", tag="disconnect"):
    pass


class FakeAck(msgspec.Struct, tag_field="command", tag="fake_ack"):
    pass


COMMANDS: Final = Commands[Connect | Disconnect | FakeAck](Connect, Disconnect, FakeAck)


def current_of(printer: Printer) -> Current:
    snapshot = printer.snapshot
    if snapshot.state not in _LINKED:
        return Current("Closed", None, None, DEFAULT_PROFILE)
    if printer.driver_name == "virtual":
        return Current(text_of(printer), VIRTUAL, snapshot.baud or VIRTUAL_BAUD, printer.profile_id)
    return Current(text_of(printer), snapshot.port or None, snapshot.baud or None, printer.profile_id)


def ports_of(host: Host, printer: Printer) -> list[str]:
    """What `port` may be: this host's serial ports by their constant names, and the printer's own setting."""
    if printer.driver_name == "virtual":
        return [VIRTUAL]
    ports = host.settings.port_names()
    own = printer.settings.port
    return ports if own in ports or not own else [*ports, own]


@routes.get("/api/connection", needs=Permission.LOOK)
async def connection(call: Call) -> Connection:
    printer = call.printer
    own = VIRTUAL if printer.driver_name == "virtual" else printer.settings.port
    return Connection(
        current_of(printer),
        Options(
            ports_of(call.host, printer),
            call.host.settings.bauds(),
            tuple(Profile(name, each.name) for name, each in call.host.profiles.all(printer).items()),
            own or None,
            printer.settings.baud or None,
            printer.book.preferred_id,
        ),
    )


@routes.post("/api/connection", needs=Permission.CONNECT)
async def control_connection(call: Call) -> Encoded:
    asked = await COMMANDS.asked(call)
    printer, printers, by = call.printer, call.host.printers, call.caller
    match asked.values():
        case Connect(port, baud, profile, save, autoconnect):
            if port not in {None, AUTO, VIRTUAL} and port not in _all_ports(call, printer):
                raise Malformed(
                    f"Invalid port {port!r}; available: {', '.join(ports_of(call.host, printer)) or 'none'}"
                )
            if baud not in {None, 0} and baud not in (bauds := call.host.settings.bauds()):
                raise Malformed(f"Invalid baudrate {baud}; available: {', '.join(map(str, bauds))}")
            if profile is not None and profile not in (known := call.host.profiles.all(printer)):
                raise Malformed(f"Invalid printer profile {profile!r}; available: {', '.join(known)}")
            await printers.connect(
                *(printer, None if port in {AUTO, VIRTUAL} else port, baud if truth_of(save) else baud or None),
                by,
                profile=profile,
                save=truth_of(save),
                autoconnect=None if autoconnect is None else truth_of(autoconnect),
            )
        case Disconnect():
            await printers.disconnect(printer, by=by)
        case FakeAck():
            pass  # a lost acknowledgement is noticed and repaired without being told
    return no_content()


def _all_ports(call: Call, printer: Printer) -> set[str]:
    return {*ports_of(call.host, printer), *(port.path for port in call.host.printers.ports())}
