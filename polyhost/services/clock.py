"""The one place that asks the computer what time it is."""

import time


class SystemClock:
    """`core.ports.Clock` of the computer itself."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
