"""What may be set of a printer while the host runs: ``PATCH /native/v1/printers/{slug}``, its presets and profiles."""

from typing import Annotated

import msgspec

from polyhost.core.printer import PrinterProfile
from polyhost.core.user import Permission
from polyhost.dialects.native.views import PrinterView, view_of_printer
from polyhost.services.settings import Preset, Presets
from polyhost.web.answers import Encoded, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)


class PrinterChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is null stays as it is; what is about the link counts from the next connect, a port of its own at once."""

    name: str | None = None
    port: str | None = None
    baud: Annotated[int, msgspec.Meta(ge=0, le=4_000_000)] | None = None
    speed: Annotated[float, msgspec.Meta(ge=0)] | None = None
    listen: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    autoconnect: bool | None = None
    window_lines: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    window_bytes: Annotated[int, msgspec.Meta(ge=0, le=65536)] | None = None


class ProfilesView(msgspec.Struct, frozen=True):
    """By id; `current` is what the printer has now, `preferred` what it is connected with."""

    current: str
    preferred: str
    profiles: dict[str, PrinterProfile]


@routes.patch("/native/v1/printers/{slug}", needs=Permission.SETTINGS)
async def change(call: Call) -> PrinterView:
    wanted = msgspec.structs.asdict(await call.body(PrinterChange))
    changes = {name: value for name, value in wanted.items() if value is not None}
    settings = msgspec.structs.replace(call.printer.settings, **changes)
    await call.host.printers.change(call.printer, settings, by=call.caller)
    return view_of_printer(call.host, call.printer)


@routes.get("/native/v1/printers/{slug}/presets", needs=Permission.LOOK)
async def presets(call: Call) -> Encoded:
    """Temperatures to choose together, in °C."""
    return encoded(call.host.settings.get(Presets, call.printer).presets)


@routes.put("/native/v1/printers/{slug}/presets", needs=Permission.SETTINGS)
async def set_presets(call: Call) -> Encoded:
    wanted = await call.body(tuple[Preset, ...])
    await call.host.settings.put(call.printer, [Presets(wanted)], by=call.caller)
    return no_content()


@routes.get("/native/v1/printers/{slug}/profiles", needs=Permission.LOOK)
async def profiles(call: Call) -> ProfilesView:
    book = call.printer.book
    return ProfilesView(book.current_id, book.preferred_id, dict(call.host.profiles.all(call.printer)))


@routes.put("/native/v1/printers/{slug}/profiles/{id}", needs=Permission.SETTINGS)
async def set_profile(call: Call) -> Encoded:
    """Add the profile, or put it in the place of the one that has its id."""
    wanted, identifier = await call.body(PrinterProfile), call.params["id"]
    known = call.host.profiles.all(call.printer)
    put = call.host.profiles.change if identifier in known else call.host.profiles.add
    await put(call.printer, identifier, wanted, by=call.caller)
    return no_content()


@routes.delete("/native/v1/printers/{slug}/profiles/{id}", needs=Permission.SETTINGS)
async def remove_profile(call: Call) -> Encoded:
    await call.host.profiles.remove(call.printer, call.params["id"], by=call.caller)
    return no_content()
