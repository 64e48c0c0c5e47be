"""`files …`: the library of stored G-code."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from polyhost.commands.client import Client, decode, library_path, show_json
from polyhost.commands.runs import Yes
from polyhost.commands.terminal import clock_time, confirm, duration, printable, say, show, size, table
from polyhost.commands.views import FileView, FolderView
from polyhost.core.errors import NoSpace, NotNow

Stored = Annotated[str, typer.Argument(help="A file of the library, with its folders.", metavar="FILE")]


def list_(
    client: Client,
    folder: Annotated[str, typer.Argument(help="Only what is in this folder.", metavar="FOLDER")] = "",
) -> None:
    """The files of the library, folders and all."""
    raw = client.get("/files", folder=folder, recursive=True)
    if client.json:
        show_json(raw)
        return
    files = list(_files(decode(raw, FolderView)))
    if files:
        rows = [(file.path, size(file.size_bytes), clock_time(file.modified_at), *_read(file)) for file in files]
        show(table(("FILE", "SIZE", "STORED", "TAKES", "SLICER"), rows))
    else:
        say("no files; add one with `polyhost upload FILE`")


def _files(folder: FolderView) -> Iterator[FileView]:
    yield from folder.files
    for inner in folder.folders:
        yield from _files(inner)


def _read(file: FileView) -> tuple[str, str]:
    """How long it takes and who sliced it, as far as is known."""
    planned = file.analysis.duration_s if file.analysis else file.metadata.estimated_time if file.metadata else None
    return (duration(planned) if planned else "", file.metadata.slicer if file.metadata else "")


def show_(client: Client, file: Stored) -> None:
    """All that is known of a file."""
    raw = client.get(f"/files/{library_path(file)}")
    if client.json:
        show_json(raw)
        return
    view = decode(raw, FileView)
    takes, slicer = _read(view)
    lines = {"file": view.path, "size": size(view.size_bytes), "stored": clock_time(view.modified_at)}
    lines |= {"takes": takes, "sha256": view.sha256, "slicer": slicer}
    if view.metadata is not None:
        values = msgspec.to_builtins(view.metadata)
        lines |= {name.replace("_", " "): str(value) for name, value in values.items() if name != "thumbnails"}
    width = max(map(len, lines))
    for name, words in lines.items():
        if words:
            show(f"{name.ljust(width)}  {printable(words)}")


def move(
    client: Client,
    file: Stored,
    to: Annotated[str, typer.Argument(help="Its new path in the library.", metavar="TO")],
) -> None:
    """Move or rename a file or folder of the library."""
    raw = client.post(f"/files/{library_path(file)}", {"move_to": to})
    if client.json:
        show_json(raw)
    else:
        say(f"{file} is now {to}")


def delete(client: Client, file: Stored, yes: Yes = False) -> None:
    """Delete a file or folder from the library."""
    confirm(f"Delete {file} from the library?", yes)
    client.request("DELETE", f"/files/{library_path(file)}")
    say(f"{file} is deleted")


def download(
    client: Client,
    file: Stored,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; its own name here otherwise.", metavar="PATH")
    ] = None,
) -> None:
    """Fetch a file of the library.  Never overwrites a file of this computer."""
    target = output or Path(file.rsplit("/", 1)[-1])
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    if target.exists():
        raise NotNow(f"{target} is there already; name another place with --output")
    try:
        with part.open("xb") as writing:
            client.download(f"/files/{library_path(file)}", writing.write)
        part.rename(target)
    except OSError as error:
        raise NoSpace(f"{target}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    say(f"{file} is at {target}")
