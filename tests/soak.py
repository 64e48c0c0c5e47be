"""Whether the long fault runs are asked for: `make soak` says so with `POLYHOST_SOAK=1`."""

import os
from typing import Final

SOAK: Final = bool(os.environ.get("POLYHOST_SOAK"))
