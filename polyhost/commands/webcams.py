"""`webcams …`: the cameras that look at a printer."""

import os
from pathlib import Path
from typing import Annotated

import typer

from polyhost.commands.client import Client, decode, segment, show_json
from polyhost.commands.runs import PrinterName, Yes
from polyhost.commands.terminal import confirm, say, show, table
from polyhost.core.errors import NoSpace, NotNow
from polyhost.core.webcam import Webcam

WebcamName = Annotated[str, typer.Argument(help="What the webcam is called.", metavar="WEBCAM")]


def list_(client: Client, printer: PrinterName) -> None:
    """The webcams of a printer; the first that is on shows its prints."""
    raw = client.get(f"/printers/{segment(printer)}/webcams")
    if client.json:
        show_json(raw)
    elif webcams := decode(raw, list[Webcam]):
        rows = [
            (one.name, "on" if one.enabled else "off", one.stream_url or "-", one.snapshot_url or "-")
            for one in webcams
        ]
        show(table(("WEBCAM", "STATE", "STREAM", "SNAPSHOT"), rows))
    else:
        say(f"{printer} has no webcam; add one with `polyhost webcams add {printer} NAME`")


def add(
    client: Client,
    printer: PrinterName,
    name: WebcamName,
    stream: Annotated[str, typer.Option("--stream", help="Where browsers see it.", metavar="URL")] = "",
    snapshot: Annotated[
        str, typer.Option("--snapshot", help="Where one picture is; timelapses want it.", metavar="URL")
    ] = "",
    flip_horizontal: Annotated[bool, typer.Option("--flip-horizontal", help="Mirror it sideways.")] = False,
    flip_vertical: Annotated[bool, typer.Option("--flip-vertical", help="Mirror it upside down.")] = False,
    rotation: Annotated[int, typer.Option("--rotate", help="Turn it clockwise: 0, 90, 180 or 270 degrees.")] = 0,
) -> None:
    """Add a webcam, or set one anew."""
    webcam = Webcam(name, stream, snapshot, flip_horizontal, flip_vertical, rotation)
    raw = client.request("PUT", f"/printers/{segment(printer)}/webcams/{segment(name)}", webcam)
    if client.json:
        show_json(raw)
    else:
        say(f"{name} looks at {printer}")


def remove(client: Client, printer: PrinterName, name: WebcamName, yes: Yes = False) -> None:
    """Remove a webcam."""
    confirm(f"Remove the webcam {name} of {printer}?", yes)
    client.request("DELETE", f"/printers/{segment(printer)}/webcams/{segment(name)}")
    say(f"{name} is removed")


def snapshot(
    client: Client,
    printer: PrinterName,
    name: WebcamName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to.", metavar="PATH")],
) -> None:
    """Fetch a picture of now.  Never overwrites a file of this computer."""
    picture = client.get(f"/printers/{segment(printer)}/webcams/{segment(name)}/snapshot")
    try:
        with output.open("xb") as file:
            file.write(picture)
            os.fsync(file.fileno())
    except FileExistsError:
        raise NotNow(f"{output} is there already; name another place with --output") from None
    except OSError as error:
        raise NoSpace(f"{output}: {error.strerror}") from error
    say(f"the picture is at {output}")
