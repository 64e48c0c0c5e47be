"""Bodies with a ``command``: which one, complete or not, and only later its values.

Upstream judges a command in this order, and so do we: the content type (415), JSON (400), the command's name and
the presence of its parameters (400), the printer's state (409), the parameters' values (400).  Where a path has
nothing to say to a printer that is not operational (409), that comes before all of these.
"""

from typing import Any, Generic, TypeVar

import msgspec

from polyhost.core.errors import Malformed, NotNow
from polyhost.services.printer import Printer
from polyhost.web.bodies import decoded
from polyhost.web.call import Call

T = TypeVar("T", bound=msgspec.Struct)

Flag = bool | int | str | None
"""A flag as clients write it; `polyhost.web.call.truth_of` reads it."""


class Asked(Generic[T]):
    """A command that exists and has what it needs; its values are still to be read."""

    def __init__(self, body: bytes, kind: type[T]) -> None:
        self._body = body
        self.kind = kind

    def values(self) -> T:
        """`Malformed` names the value that is wrong."""
        return decoded(self._body, self.kind)


class Commands(Generic[T]):
    """The commands that one path takes: structs tagged with their name in the field ``command``."""

    def __init__(self, *kinds: type[T]) -> None:
        self._kinds: dict[object, type[T]] = {_name(kind): kind for kind in kinds}

    async def asked(self, call: Call) -> Asked[T]:
        """What the body of `call` asks for."""
        body = await call.json()
        fields = decoded(body, dict[str, msgspec.Raw])
        name = decoded(bytes(fields["command"]), object) if "command" in fields else None
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            raise Malformed("command is invalid")
        missing = [
            field.encode_name
            for field in msgspec.structs.fields(kind)
            if field.required and field.encode_name not in fields
        ]
        if missing:
            raise Malformed(f"Mandatory parameters missing: {', '.join(missing)}")
        return Asked(body, kind)


def _name(kind: Any) -> object:
    return kind.__struct_config__.tag


def check_operational(printer: Printer) -> None:
    """`NotNow` unless the firmware answers."""
    if not printer.is_operational:
        raise NotNow("Printer is not operational")


def check_not_moving(printer: Printer) -> None:
    """`NotNow` while the machine is a run's; a pause gives it back to people."""
    if printer.is_moving:
        raise NotNow("Printer is currently printing")


def check_idle(printer: Printer) -> None:
    """`NotNow` while something prints or is paused, or a file is sent to the printer's card."""
    if printer.run_state is not None or printer.transfer is not None:
        raise NotNow("Printer is printing or paused")
