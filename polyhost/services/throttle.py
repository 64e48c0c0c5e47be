"""So many tries and no more, by the clock that cannot be set (R15, S10)."""

import ipaddress
from collections import OrderedDict, deque
from typing import Final

from polyhost.core.errors import TooMany
from polyhost.core.ports import Clock


class Throttle:
    """At most so many tries per period and subject; the oldest subjects are forgotten beyond `MAX_SUBJECTS`."""

    MAX_SUBJECTS: Final = 10_000

    def __init__(self, clock: Clock, tries: int, period_s: float) -> None:
        self._clock = clock
        self._tries, self._period_s = tries, period_s
        self._tried: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()

    def check(self, *subject: str) -> None:
        """`TooMany` when `subject` has no try left."""
        now = self._clock.monotonic()
        tried = self._tried.get(subject)
        while tried and tried[0] <= now - self._period_s:
            tried.popleft()
        if tried and len(tried) >= self._tries:
            wait_s = tried[0] + self._period_s - now
            raise TooMany(f"too many tries; wait {wait_s:.0f} s", retry_after_s=wait_s)

    def note(self, *subject: str) -> None:
        """One try more."""
        self._tried.setdefault(subject, deque()).append(self._clock.monotonic())
        self._tried.move_to_end(subject)
        while len(self._tried) > self.MAX_SUBJECTS:
            self._tried.popitem(last=False)

    def forgive(self, *subject: str) -> None:
        """The last try was right."""
        if tried := self._tried.get(subject):
            tried.pop()


def network_of(address: str) -> str:
    """What counts as one address: an IPv6 client has a /64 to itself."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
