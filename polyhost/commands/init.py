"""`init`: the first administrator and an API key, without a browser."""

import asyncio
import shlex
from typing import Annotated

import msgspec
import typer

from polyhost.commands.client import Data, Json
from polyhost.commands.places import data_folder, keep_private
from polyhost.commands.terminal import say, show


def init(
    data: Data = None,
    user: Annotated[str, typer.Option("--user", help="The administrator's name.", metavar="NAME")] = "admin",
    json: Json = False,
) -> None:
    """Make the first administrator and an API key, and show both once."""
    from polyhost.app import make_first_administrator

    keep_private()
    folder = data_folder(data)
    made = asyncio.run(make_first_administrator(folder, user))
    if json:
        show(msgspec.json.encode(made).decode())
        return
    say(f"{folder} has its administrator now; this is not shown again:")
    for name, value in (("user", made.user), ("password", made.password), ("API key", made.api_key)):
        show(f"{name:<8}  {value}")
    elsewhere = f" --data {shlex.quote(str(data))}" if data is not None else ""
    say(f"Next: polyhost serve{elsewhere} (as a service: docs/systemd.md)")
