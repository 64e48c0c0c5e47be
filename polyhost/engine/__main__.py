"""``python -m polyhost.engine --directory DIR --socket PATH``: one engine, until SIGTERM."""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from polyhost.core.errors import PolyhostError
from polyhost.engine.loop import Engine, obey_signals


async def _run(directory: Path, socket: Path) -> None:
    engine = Engine(directory, socket)
    obey_signals(engine)
    await engine.run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m polyhost.engine", description="Holds printers and prints.")
    parser.add_argument("--directory", type=Path, required=True, help="where the journal is kept")
    parser.add_argument("--socket", type=Path, required=True, help="the Unix socket for servers")
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    arguments = parser.parse_args()
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with contextlib.suppress(PermissionError):
        os.setsid()  # what ends the server's terminal or process group does not end a print; we may lead one already
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(arguments.directory, arguments.socket))
    except PolyhostError as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
