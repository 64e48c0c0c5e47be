"""`printers …` and `status`: machines, and what they are doing."""

import math
import time
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Final

import msgspec
import typer

from polyhost.commands.client import Client, decode, segment, show_json
from polyhost.commands.runs import PrinterName, Yes, progress_line
from polyhost.commands.terminal import clock_time, confirm, duration, printable, say, show, table
from polyhost.commands.views import ConsoleView, PortView, PrinterView, RunView, SerialLogView
from polyhost.core.errors import Malformed, NotFound
from polyhost.core.job import RunState

_NEEDS_YOU: Final = ("faulted", "unreachable")
_CONSOLE_EVERY_S: Final = 0.5


def list_(client: Client) -> None:
    """The printers of the host."""
    raw = client.get("/printers")
    if client.json:
        show_json(raw)
    elif views := decode(raw, list[PrinterView]):
        rows = [(view.slug, view.name, view.driver, view.port or "-", doing(view)) for view in views]
        show(table(("PRINTER", "NAME", "DRIVER", "PORT", "STATE"), rows))
    else:
        say("no printers; add one with `polyhost printers add`")


def add(
    client: Client,
    name: Annotated[str, typer.Argument(help="What you call it; its slug is made of this.")] = "",
    port: Annotated[
        str, typer.Option("--port", help="The serial port, best one of /dev/serial/by-id.", metavar="DEVICE")
    ] = "",
    baud: Annotated[int, typer.Option("--baud", min=0, help="Bits per second; 0 finds it.")] = 0,
    virtual: Annotated[bool, typer.Option("--virtual", help="A simulated machine instead of a port.")] = False,
    speed: Annotated[
        float, typer.Option("--speed", min=0.0, help="Virtual: times a machine's pace; 0 is as fast as possible.")
    ] = 1.0,
    slug: Annotated[str, typer.Option("--slug", help="The short name for commands and addresses.")] = "",
    listen: Annotated[
        int, typer.Option("--listen", min=0, max=65535, help="A port of its own, on which every API means it.")
    ] = 0,
    scan: Annotated[bool, typer.Option("--scan", help="List the serial ports there are, add nothing.")] = False,
) -> None:
    """Add a printer."""
    if scan:
        _scan(client)
        return
    if not name and not slug:
        raise Malformed("a printer needs a name: polyhost printers add NAME --port DEVICE")
    if virtual == bool(port):
        raise Malformed("say either --port DEVICE (see --scan) or --virtual")
    settings: dict[str, Any] = {"name": name, "driver": "virtual" if virtual else "serial", "listen": listen}
    if slug:
        settings["slug"] = slug
    settings |= {"speed": speed} if virtual else {"port": port, "baud": baud}
    raw = client.post("/printers", settings)
    if client.json:
        show_json(raw)
    else:
        view = decode(raw, PrinterView)
        say(f"{view.slug} is added ({view.state})")


def _scan(client: Client) -> None:
    raw = client.get("/ports")
    if client.json:
        show_json(raw)
    elif ports := decode(raw, list[PortView]):
        rows = [(port.path, port.stable_path, port.description) for port in ports]
        show(table(("PORT", "BETTER NAME", "WHAT IT IS"), rows))
    else:
        say("no serial ports; is the printer plugged in and switched on? `polyhost doctor` tells more")


def show_(client: Client, printer: PrinterName) -> None:
    """All about a printer."""
    raw = client.get(f"/printers/{segment(printer)}")
    if client.json:
        show_json(raw)
        return
    view = decode(raw, PrinterView)
    lines = [
        ("printer", view.slug),
        ("name", view.name),
        ("state", view.state + (f": {view.fault}" if view.fault else "")),
        ("driver", view.driver),
        ("port", f"{view.port or '-'}" + (f" at {view.baud} baud" if view.baud else "")),
        *((heater, _degrees(view, heater)) for heater in view.heaters),
        ("selected", view.selected or "-"),
        ("print", progress_line(view.run, time.time(), 100) if view.run else "-"),
    ]
    if view.prompt is not None:
        choices = ", ".join(f"{number}: {choice}" for number, choice in enumerate(view.prompt.choices))
        lines.append(("asks", f"{view.prompt.text} ({choices}); polyhost printers answer {view.slug} NUMBER"))
    width = max(len(name) for name, _ in lines)
    for name, words in lines:
        show(f"{name.ljust(width)}  {printable(words)}")


def remove(client: Client, printer: PrinterName, yes: Yes = False) -> None:
    """Remove a printer and its settings; its prints stay in the history."""
    client.get(f"/printers/{segment(printer)}")
    confirm(f"Remove {printer} with its settings? This cannot be undone.", yes, word=printer)
    client.request("DELETE", f"/printers/{segment(printer)}")
    say(f"{printer} is removed")


def connect(
    client: Client,
    printer: PrinterName,
    port: Annotated[str | None, typer.Option("--port", help="Another port than the configured one.")] = None,
    baud: Annotated[int | None, typer.Option("--baud", help="Another speed than the configured one.")] = None,
) -> None:
    """Open the link to a printer and keep it open."""
    wanted = {name: value for name, value in (("port", port), ("baud", baud)) if value is not None}
    _told(client, printer, client.post(f"/printers/{segment(printer)}/connect", wanted))


def disconnect(client: Client, printer: PrinterName) -> None:
    """Close the link to a printer."""
    _told(client, printer, client.post(f"/printers/{segment(printer)}/disconnect", {}))


def _told(client: Client, printer: str, answer: bytes) -> None:
    if client.json:
        show_json(answer or client.get(f"/printers/{segment(printer)}"))
    else:
        say(f"{printer}: {client.fetch(PrinterView, f'/printers/{segment(printer)}').state}")


def send(
    client: Client,
    printer: PrinterName,
    commands: Annotated[list[str], typer.Argument(help="G-code commands, each in quotes.", metavar="GCODE…")],
) -> None:
    """Send commands to a printer."""
    client.post(f"/printers/{segment(printer)}/commands", {"commands": commands})
    say(f"{printer}: {len(commands)} sent")


def console(
    client: Client,
    printer: PrinterName,
    follow: Annotated[bool, typer.Option("--follow", help="Go on showing new lines until Ctrl-C.")] = False,
) -> None:
    """The latest lines between the host and a printer."""
    last: ConsoleView | None = None
    while True:
        lines = client.fetch(list[ConsoleView], f"/printers/{segment(printer)}/console")
        for line in lines[lines.index(last) + 1 if last in lines else 0 :]:
            if client.json:
                show_json(msgspec.json.encode(line))
            else:
                stamp = time.strftime("%H:%M:%S", time.localtime(line.at))
                show(f"{stamp} {'>' if line.sent else '<'} {printable(line.text)}")
        last = lines[-1] if lines else last
        if not follow:
            return
        time.sleep(_CONSOLE_EVERY_S)


class Switch(Enum):
    ON = "on"
    OFF = "off"


def log(
    client: Client,
    printer: PrinterName,
    switch: Annotated[
        Switch | None, typer.Argument(help="on begins to write the log, off ends it.", metavar="[on|off]")
    ] = None,
) -> None:
    """Whether all that a printer and the host say is written to a serial log; or begin, or end, to do so."""
    path = f"/printers/{segment(printer)}/serial-log"
    if switch is None:
        raw = client.get(path)
    else:
        raw = client.request("PUT", path, {"enabled": switch is Switch.ON})
    if client.json:
        show_json(raw)
        return
    view = decode(raw, SerialLogView)
    if view.enabled:
        say(f"{printer}: its serial log is on: {view.log}, in the folder log of the data folder")
    else:
        say(f"{printer}: its serial log is off")


def temp(
    client: Client,
    printer: PrinterName,
    targets: Annotated[
        list[str] | None, typer.Argument(help="hotend=215, bed=60, chamber=off.", metavar="[HEATER=DEGREES…]")
    ] = None,
) -> None:
    """The temperatures of a printer, or new targets for them."""
    if targets:
        client.post(f"/printers/{segment(printer)}/targets", dict(target_of(text) for text in targets))
        say(f"{printer}: {', '.join(targets)}")
        if not client.json:
            return
    raw = client.get(f"/printers/{segment(printer)}")
    if client.json:
        show_json(raw)
        return
    view = decode(raw, PrinterView)
    if not view.heaters:
        raise NotFound(f"{printer} has not told its temperatures; it is {view.state}")
    show(table(("HEATER", "NOW AND WANTED"), [(heater, _degrees(view, heater)) for heater in view.heaters]))


def target_of(text: str) -> tuple[str, float]:
    """``hotend=215`` as ``("tool0", 215.0)``; ``hotend1`` is ``tool1``; ``off`` is 0."""
    heater, equals, degrees = text.partition("=")
    if heater.startswith("hotend"):
        heater = f"tool{heater.removeprefix('hotend') or 0}"
    try:
        target = 0.0 if degrees == "off" else float(degrees)
    except ValueError:
        target = math.nan
    if not equals or not heater or not math.isfinite(target):
        raise Malformed(f"{text!r} is no target; write hotend=215, bed=60 or chamber=off")
    return heater, target


def answer(
    client: Client,
    printer: PrinterName,
    choice: Annotated[int, typer.Argument(help="The number of the choice, as `show` lists them.", min=0)],
) -> None:
    """Answer what a machine asks."""
    client.post(f"/printers/{segment(printer)}/prompt", {"choice": choice})
    say(f"{printer} is told")


def stop(client: Client, printer: PrinterName) -> None:
    """Stop a machine at once (M112).  It needs a reset or a reconnect afterwards."""
    client.post(f"/printers/{segment(printer)}/stop")
    say(f"{printer}: stopped; connect it again when it is safe: polyhost printers connect {printer}")


def status(
    client: Client,
    printers: Annotated[list[str] | None, typer.Argument(help="Only these.", metavar="[PRINTER…]")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="A live screen; q quits.")] = False,
) -> None:
    """What every printer is doing, those that need you first."""
    if watch:
        from polyhost.commands.watch import watch_printers

        watch_printers(client, printers or ())
        return
    views, raw = some_printers(client, printers or ())
    if client.json:
        show_json(raw)
    elif views:
        show(table(STATUS_HEADS, [status_row(view) for view in views]))
    else:
        say("no printers; add one with `polyhost printers add`")


def some_printers(client: Client, slugs: Sequence[str]) -> tuple[list[PrinterView], bytes]:
    """The printers named (all, when none is), those that need a hand first; and the same as the host said it."""
    if slugs:
        raw = b"[" + b",".join(client.get(f"/printers/{segment(slug)}") for slug in slugs) + b"]"
    else:
        raw = client.get("/printers")
    return sorted(decode(raw, list[PrinterView]), key=_urgency), raw


def _urgency(view: PrinterView) -> int:
    if view.state in _NEEDS_YOU or (view.run and view.run.state in {RunState.FAILED, RunState.INTERRUPTED}):
        return 0
    if view.run and not view.run.ended:
        return 1
    return 2 if view.state == "ready" else 3


STATUS_HEADS: Final = ("PRINTER", "STATE", "FILE", "DONE", "LAYER", "LEFT", "UNTIL", "HOTEND", "BED")


def status_row(view: PrinterView) -> tuple[str, ...]:
    run = view.run if view.run and not view.run.ended else None
    return (view.slug, doing(view), *_run_cells(run), _degrees(view, "tool0"), _degrees(view, "bed"))


def _run_cells(run: RunView | None) -> tuple[str, str, str, str, str]:
    if run is None:
        return ("-", "", "", "", "")
    left, until = "", ""
    if run.remaining_s is not None:
        left, until = duration(run.remaining_s), clock_time(time.time() + run.remaining_s)
    layer = f"{run.layer}/{run.layers}" if run.layers else ""
    return (run.path, f"{int(run.fraction_done * 100)} %", layer, left, until)


def doing(view: PrinterView) -> str:
    """The state in a word or two: the print's while there is one, else the link's."""
    if view.state != "ready":
        return f"{view.state}: {view.fault}" if view.fault else view.state
    if view.run is None:
        return "ready"
    if not view.run.ended:
        return view.run.state.value
    return "ready" if view.run.state is RunState.COMPLETED else f"ready, last print {view.run.state.value}"


def _degrees(view: PrinterView, heater: str) -> str:
    """``214.8 → 215 °C``; "" when there is no such heater."""
    reading = view.heaters.get(heater)
    if reading is None or reading.actual is None:
        return ""
    return f"{reading.actual:.1f}" + (f" → {reading.target:.0f} °C" if reading.target else " °C")
