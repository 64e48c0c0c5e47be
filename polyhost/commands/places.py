"""Where a host keeps its things on this computer."""

import os
from pathlib import Path


def data_folder(asked: Path | None) -> Path:
    """The data folder that was asked for, or the person's own."""
    if asked is not None:
        return asked.expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("polyhost"))


def local_socket(data: Path) -> Path:
    """The Unix socket at which the host of a data folder answers its own user without a key."""
    from polyhost.drivers.engines import runtime_path

    return runtime_path(data) / "api.sock"


def is_root() -> bool:
    return os.geteuid() == 0


def keep_private() -> None:
    """Whatever this process and those it starts will write is their owner's alone."""
    os.umask(0o077)
