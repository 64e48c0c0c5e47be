"""Who may manage the host itself."""

from polyhost.core.errors import NotAllowed
from polyhost.core.user import Caller, Permission


def needs_the_host(by: Caller) -> None:
    """`NotAllowed` unless `by` may manage the host, with a credential that is not bound to some of its printers."""
    if not by.may(Permission.SYSTEM):
        raise NotAllowed(f"{by.name or 'a guest'} may not {Permission.SYSTEM.value}")
    if by.key is not None and by.key.printers:
        raise NotAllowed(f"this key is for {', '.join(by.key.printers)} only; the host takes one that is bound to none")
