"""No run of the tests leaves anything behind: sockets lie in a folder of the run, and nothing outlives it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from unittest import mock

import psutil
import pytest


def started_with(folder: str) -> list[psutil.Process]:
    """The processes, whoever their parent is by now, whose sockets lie in `folder`."""

    def is_ours(process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and process.environ().get("XDG_RUNTIME_DIR") == folder
        except (psutil.Error, OSError):  # gone, or somebody else's
            return False

    return [process for process in psutil.process_iter() if is_ours(process)]


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    # Not tmp_path: the address of a Unix socket has 108 bytes at the most.
    folder = tempfile.mkdtemp(prefix="polyhost-tests-")
    with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=folder):
        yield
    _, left = psutil.wait_procs(started_with(folder), timeout=20)
    were = [" ".join(process.cmdline()) for process in left]
    for process in left:
        process.kill()
    shutil.rmtree(folder)
    assert not left, f"left running, and killed: {left}, which were {were}"
