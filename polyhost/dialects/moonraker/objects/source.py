"""Where a printer's status comes from: the one seam between subscriptions and what they are about."""

from collections.abc import Sequence
from typing import Protocol

from polyhost.dialects.moonraker.objects.tree import Selection
from polyhost.dialects.moonraker.objects.view import Status


class Source(Protocol):
    """The status of one printer.

    A `Selection` may name what is not there.  Times are seconds of a clock that never jumps, the same for all.
    """

    async def names(self) -> Sequence[str]:
        """The objects there are."""

    async def follow(self, wanted: Selection) -> None:
        """From now on `look` is asked for these, and need know no others; nothing for an empty selection."""

    def version(self) -> object:
        """Compares equal for as long as only time went on since the last `look`; costs next to nothing."""

    def shape(self) -> object:
        """Compares equal for as long as there are the same objects as at the last `look`."""

    async def look(self, wanted: Selection) -> tuple[float, Status]:
        """When it is, and at least what is wanted, whole; what did not change is the same dictionary as before."""
