"""`version`: which Polyhost this is."""

from typing import Annotated

import typer

from polyhost import __version__
from polyhost.commands.terminal import show


def version(json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False) -> None:
    """The version of this Polyhost."""
    show(f'{{"version":"{__version__}"}}' if json else f"polyhost {__version__}")
