"""`demo`: a whole host on loopback, with virtual printers, a temporary folder and a key, gone when it ends."""

import asyncio
import gzip
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from polyhost.commands.client import Json
from polyhost.commands.places import keep_private
from polyhost.commands.serve import on_signals
from polyhost.commands.terminal import Exit, say, show

if TYPE_CHECKING:
    import socket

    from polyhost.app import App
    from polyhost.config import Config, Printer

LOOPBACK: Final = "127.0.0.1"
BUNDLED: Final = "demo_cube.gcode"
_READY_WITHIN_S: Final = 60.0


def demo(
    printers: Annotated[int, typer.Option("--printers", min=1, max=200, help="How many virtual printers.")] = 2,
    speed: Annotated[
        float, typer.Option("--speed", min=0.0, help="Times a real machine's pace; 0 is as fast as possible.")
    ] = 50.0,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port, or the next free one after it; 0: any.")
    ] = 8080,
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep the data here instead of a temporary folder.", metavar="DIR")
    ] = None,
    json: Json = False,
    print_: Annotated[
        bool, typer.Option("--print", help="Upload the bundled file and print it on the first printer.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="With --print: end when the print has ended.")] = False,
) -> None:
    """Try it: a host on this computer alone, with virtual printers only."""
    import logging

    import uvloop

    from polyhost.config import Config, Doors, Printer, Server
    from polyhost.web.listening import listen_near, port_of

    keep_private()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    folder = data.expanduser().resolve() if data else Path(tempfile.mkdtemp(prefix="polyhost-demo-"))
    try:
        with listen_near(LOOPBACK, port) as main_socket:
            taken = port_of(main_socket)
            if port not in (0, taken):
                say(f"port {port} is in use; the demo takes {taken}")
            machines = [Printer(slug=f"virtual-{n + 1}", driver="virtual", speed=speed) for n in range(printers)]
            server = Server(host=LOOPBACK, port=taken, name="Polyhost demo")
            settings = Config(server=server, doors=Doors(octoprint=0, moonraker=0))
            code = uvloop.run(_demo(settings, machines, folder, main_socket, as_json=json, printing=print_, once=once))
    finally:
        if data is None:
            from polyhost.drivers.engines import runtime_path

            shutil.rmtree(runtime_path(folder), ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(code)


class Ready(msgspec.Struct, frozen=True):
    """The line of `demo --json`."""

    url: str
    api_key: str
    printers: tuple[str, ...]
    data: str
    pid: int


async def _demo(
    settings: "Config",
    machines: "Sequence[Printer]",
    folder: Path,
    main_socket: "socket.socket",
    *,
    as_json: bool,
    printing: bool,
    once: bool,
) -> int:
    from polyhost.app import App

    app = await App.open(settings, folder, main_socket)
    await _add(app, machines)
    on_signals(app.stop)
    code = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(app.run(cancel_runs=True), name="host")
        await app.started.wait()
        account = await app.make_administrator("demo")
        if not await _in_time(app):
            app.stop()
            return Exit.TIMED_OUT
        slugs = tuple(printer.slug for printer in app.host.printers.all())
        ready = Ready(app.url, account.api_key, slugs, str(folder), os.getpid())
        if as_json:
            show(msgspec.json.encode(ready).decode())
        if printing:
            code = await _print(app, ready, folder)
        if once:
            app.stop()
        elif not as_json and not app.stopping:
            _explain(ready)
    return code


async def _add(app: "App", machines: "Sequence[Printer]") -> None:
    """Have `machines` as a person adds printers, so that everything about them may be changed; those of an earlier
    demo in the same folder keep what was changed, at the pace of now."""
    from polyhost.services.accounts import LOCAL

    there = {printer.slug: printer for printer in app.host.printers.all()}
    for machine in machines:
        if known := there.get(machine.slug):
            at_pace = msgspec.structs.replace(known.settings, speed=machine.speed)
            await app.host.printers.change(known, at_pace, LOCAL)
        else:
            await app.host.printers.add(machine, LOCAL)


async def _in_time(app: "App") -> bool:
    """Whether the printers got ready before the demo was ended or the patience with them."""
    async with asyncio.TaskGroup() as group:
        ready = group.create_task(app.until_ready(), name="printers getting ready")
        stop = group.create_task(app.until_stopping(), name="stop of the demo")
        await asyncio.wait({ready, stop}, timeout=_READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        in_time = ready.done()
        ready.cancel()
        stop.cancel()
    if not in_time and not app.stopping:
        say("polyhost: the virtual printers did not get ready")
    return in_time


async def _print(app: "App", ready: Ready, folder: Path) -> int:
    """Do what a person would: `polyhost print FILE --follow`, as a program of its own; its exit code."""
    file = folder / BUNDLED
    packed = resources.files("polyhost").joinpath("data", f"{BUNDLED}.gz").read_bytes()
    file.write_bytes(gzip.decompress(packed))
    arguments = ["print", str(file), "--on", ready.printers[0], "--follow"]
    say(f"$ polyhost {' '.join(['print', BUNDLED, *arguments[2:]])}")
    # A session of its own: Ctrl-C is for us, and ends both.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "polyhost.cli",
        *arguments,
        env={**os.environ, "POLYHOST_SERVER": ready.url, "POLYHOST_KEY": ready.api_key},
        start_new_session=True,
    )
    async with asyncio.TaskGroup() as group:
        ended = group.create_task(process.wait(), name="print")
        stopped = group.create_task(app.until_stopping(), name="stop of the demo")
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            process.terminate()
            return Exit.INTERRUPTED
    file.unlink()
    return ended.result()


def _explain(ready: Ready) -> None:
    say(f"""
Polyhost answers at {ready.url} (for a browser, too)

  printers   {", ".join(ready.printers)}
  API key    {ready.api_key}

Send it a print of your own:
  PrusaSlicer, OrcaSlicer   a physical printer of host type OctoPrint, address and API key as above
  curl                      curl -H "X-Api-Key: {ready.api_key}" -F file=@your.gcode -F print=true \\
                                 {ready.url}/api/files/local
  polyhost                  export POLYHOST_SERVER={ready.url} POLYHOST_KEY={ready.api_key}
                            polyhost print your.gcode --on {ready.printers[0]} --follow
                            polyhost status --watch

What it answers:  curl -H "X-Api-Key: {ready.api_key}" {ready.url}/api/job
The demo runs until Ctrl-C (or: kill {ready.pid}), and removes what it stored.""")
