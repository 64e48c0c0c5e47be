"""`serve`: the host itself, in the foreground, until it is told to stop."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from polyhost import __version__
from polyhost.commands.client import Data
from polyhost.commands.places import data_folder, is_root, keep_private
from polyhost.commands.terminal import Exit, say
from polyhost.core.errors import NotAllowed, NotNow

if TYPE_CHECKING:
    import socket

    from polyhost.config import Config

LOG_FORM: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file of settings, see docs/settings.md.", metavar="FILE")
    ] = None,
    data: Data = None,
    host: Annotated[
        str | None, typer.Option("--host", help="The address to listen on, instead of the settings'.", metavar="ADDR")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="The main port, instead of the settings'; 0: any.")
    ] = None,
    stop_printing: Annotated[
        bool, typer.Option("--stop-printing", help="When told to end, cancel what prints instead of leaving it.")
    ] = False,
    allow_root: Annotated[bool, typer.Option("--allow-root", help="Run even as root.")] = False,
) -> None:
    """Run the host."""
    if is_root() and not allow_root:
        raise NotAllowed("a host needs no root rights; run it as a user of its own, or add --allow-root")
    import logging

    import msgspec
    import uvloop

    from polyhost.config import Config, read_config
    from polyhost.services.log_files import host_log
    from polyhost.web.listening import listen

    keep_private()
    logging.basicConfig(level=logging.INFO, format=LOG_FORM)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells whole addresses, with the passwords in them
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts every change of a file
    settings = read_config(config) if config else Config()
    if host is not None or port is not None:
        server = msgspec.structs.replace(
            settings.server,
            host=settings.server.host if host is None else host,
            port=settings.server.port if port is None else port,
        )
        settings = msgspec.structs.replace(settings, server=server)
    try:
        main_socket = listen(settings.server.host, settings.server.port)
    except NotNow as taken:
        say(f"polyhost: {taken}; choose another: polyhost serve --port N")
        raise typer.Exit(Exit.UNEXPECTED) from None
    log = logging.getLogger(__name__)
    with main_socket, host_log(data_folder(data) / "log", LOG_FORM):
        log.info("Polyhost %s begins, as process %d", __version__, os.getpid())
        restarting = uvloop.run(_serve(settings, data_folder(data), main_socket, stop_printing))
        log.info("Polyhost %s", "begins anew" if restarting else "ends")
    if restarting:  # the same process, as whoever started it watches that one
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


async def _serve(settings: "Config", data: Path, main_socket: "socket.socket", stop_printing: bool) -> bool:
    """Whether it is to begin anew."""
    from polyhost.app import App

    app = await App.open(settings, data, main_socket)
    app.host.system.begin_anew = app.restart
    on_signals(app.stop)
    async with asyncio.TaskGroup() as group:
        group.create_task(app.run(cancel_runs=stop_printing), name="host")
        await app.started.wait()
        say(f"Polyhost answers at {app.url}")
        for port, meant in app.further_ports.items():
            say(f"and at port {port}, {meant}")
        if app.setup_code:
            say(f"Nobody administers this host yet: open {app.url}/setup and enter the code {app.setup_code}")
            say("(or stop this and run: polyhost init)")
    return app.restarting


def on_signals(stop: Callable[[], None]) -> None:
    """SIGINT and SIGTERM call `stop` in the running loop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
