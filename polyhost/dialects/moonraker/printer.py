"""``/printer/info``: the host process of a printer, and how the machine is.

Upstream: docs/external_api/printer.md; specification, 2.2.
"""

import os
import socket
from typing import Final

import msgspec

from polyhost.core.user import Permission
from polyhost.dialects.moonraker.objects.machine import STATES, state_message_of
from polyhost.dialects.moonraker.request import Request
from polyhost.dialects.moonraker.resource import Resource
from polyhost.services.computer import About
from polyhost.services.printer import Printer

resource = Resource()

SOFTWARE_VERSION: Final = "v0.12.0-1-polyhost"
"""Clients compare this with versions of Klipper's, and warn of older ones."""


class PrinterInfo(msgspec.Struct):
    """Names of files are names and no paths: where this host has anything is its own business."""

    state: str
    state_message: str
    hostname: str
    klipper_path: str
    python_path: str
    process_id: int
    user_id: int
    group_id: int
    log_file: str
    config_file: str
    software_version: str
    cpu_info: str
    app: str = "Polyhost"


def info_of(p: Printer, about: About) -> PrinterInfo:
    return PrinterInfo(
        state=STATES[p.snapshot.state],
        state_message=state_message_of(p.name, p.snapshot),
        hostname=socket.gethostname(),
        klipper_path="polyhost",
        python_path="python",
        process_id=os.getpid(),
        user_id=os.getuid(),
        group_id=os.getgid(),
        log_file="klippy.log",
        config_file="printer.cfg",
        software_version=SOFTWARE_VERSION,
        cpu_info=f"{about.cores} core {about.processor or about.architecture}",
    )


@resource.klippy_s("/printer/info", needs=Permission.LOOK)
async def printer_info(request: Request) -> PrinterInfo:
    """It answers in any state: only a machine that has a Klippy can lack it."""
    return info_of(request.printer, await request.host.computer.about())
