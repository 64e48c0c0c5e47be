"""Secrets that live in files of their own, readable by their owner alone: ``secret.key`` and ``setup-code``."""

import os
import secrets
from pathlib import Path
from typing import Final

from polyhost.core.disk import disk
from polyhost.core.errors import Damaged

_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that is mistaken for another
KEY_BYTES: Final = 32


def secret_key(data: Path, *, may_make: bool) -> bytes:
    """The key of the data folder that API keys are hashed with; made at the first start.

    `Damaged` when it is gone although it `may_make` no new one: every API key would silently stop working.
    """
    path = data / "secret.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        if not may_make:
            raise Damaged(f"{path} is missing, and without it no API key works; restore it from your backup") from None
        key = secrets.token_bytes(KEY_BYTES)
        _write(path, key)
    if len(key) != KEY_BYTES:
        raise Damaged(f"{path} is {len(key)} bytes long instead of {KEY_BYTES}; restore it from your backup")
    return key


class SetupCode:
    """The code that makes its reader the first administrator: new at each start, gone once there is one."""

    def __init__(self, data: Path) -> None:
        self.path = data / "setup-code"
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        self.text = f"{letters[:4]}-{letters[4:]}"
        _write(self.path, f"{self.text}\n".encode())

    def forget(self) -> None:
        with disk("removing the setup code"):
            self.path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with disk(f"writing {path}"):
        partial.unlink(missing_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
