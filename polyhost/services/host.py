"""All that a dialect holds: one host and what it can do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from polyhost import config
from polyhost.config import Config
from polyhost.core.ports import (
    AccountRecords,
    Clock,
    Driver,
    FileRecords,
    FileStore,
    NamespaceRecords,
    PreferenceRecords,
    QueueRecords,
    RunRecords,
    TimelapseStore,
)
from polyhost.services.accounts import Accounts
from polyhost.services.app_keys import AppKeys
from polyhost.services.bus import Bus
from polyhost.services.by_others import QUIET_S
from polyhost.services.card import Cards
from polyhost.services.computer import Computer
from polyhost.services.discovery import Discovery
from polyhost.services.files import Files
from polyhost.services.handling import Treatment
from polyhost.services.layer_watch import LayerWatch
from polyhost.services.logs import Logs
from polyhost.services.namespaces import Namespaces
from polyhost.services.notices import Notices
from polyhost.services.power import Power
from polyhost.services.preferences import Preferences
from polyhost.services.printer_files import PrinterFiles, documents
from polyhost.services.printers import Port, PrinterRecords, Printers
from polyhost.services.probing import Probing
from polyhost.services.profiles import Profiles
from polyhost.services.prompts import Prompts
from polyhost.services.queue import Queues
from polyhost.services.reading_queue import Reader
from polyhost.services.rendering import Renderer
from polyhost.services.runs import Runs
from polyhost.services.scripts import ScriptLibrary
from polyhost.services.serial_log import SerialLogs
from polyhost.services.settings import Settings
from polyhost.services.snapshots import Fetcher
from polyhost.services.spoolman import Spoolman
from polyhost.services.steering import Steering
from polyhost.services.system import System
from polyhost.services.terminal import Terminal
from polyhost.services.timelapses import Timelapses
from polyhost.services.tuning import Tuning
from polyhost.services.watching import Watching
from polyhost.services.webcams import Webcams


class HostRecords(
    FileRecords,
    RunRecords,
    QueueRecords,
    AccountRecords,
    PreferenceRecords,
    NamespaceRecords,
    PrinterRecords,
    Protocol,
):
    """All that a host remembers."""


@dataclass(frozen=True, slots=True)
class Host:
    """Every method that changes something takes `by` last, and asks itself whether that caller may."""

    config: Config
    printers: Printers
    steering: Steering
    runs: Runs
    queue: Queues
    cards: Cards
    files: Files
    printer_files: PrinterFiles
    watching: Watching
    accounts: Accounts
    app_keys: AppKeys
    preferences: Preferences
    namespaces: Namespaces
    notices: Notices
    profiles: Profiles
    settings: Settings
    scripts: ScriptLibrary
    treatment: Treatment
    terminal: Terminal
    prompts: Prompts
    tuning: Tuning
    layers: LayerWatch
    discovery: Discovery
    system: System
    computer: Computer
    logs: Logs
    serial_logs: SerialLogs
    probing: Probing
    webcams: Webcams
    spoolman: Spoolman
    power: Power
    timelapses: Timelapses
    bus: Bus
    clock: Clock


async def build(
    settings: Config,
    records: HostRecords,
    store: FileStore,
    timelapse_store: TimelapseStore,
    reader: Reader,
    clock: Clock,
    accounts: Accounts,
    driver_for: Callable[[config.Printer], Driver],
    ports: Callable[[], list[Port]],
    bus: Bus,
    data: Path,
) -> Host:
    """Every service, loaded and wired, none going yet.  `data` is the host's folder."""
    preferences = Preferences(records, bus)
    discovery = Discovery(preferences)
    await discovery.load()
    files = Files(records, store, bus, clock, settings.uploads, reader)
    await files.load()
    printers = Printers(settings.printers, records, preferences, bus, clock, driver_for, ports)
    printer_files = PrinterFiles(data, bus, settings.uploads, documents())

    async def look() -> bool:
        await printer_files.rescan()
        return await files.rescan()

    watching = Watching((data / "files", printer_files.place), look, again_s=QUIET_S)
    steering = Steering()
    profiles = Profiles(printers, bus)
    preferred = Settings(printers, preferences)
    files.reading.may_analyse, preferred.analysis_changed = preferred.may_analyse, files.reading.reconsider
    scripts = ScriptLibrary(settings.scripts, preferences)
    treatment = Treatment(printers, scripts, preferences, bus)
    runs = Runs(records, printers, files, bus, clock, scripts)
    webcams = Webcams(preferences, Fetcher())
    timelapses = Timelapses(
        *(preferences, printers, webcams, timelapse_store, Renderer(settings.timelapse), bus, clock),
        *(settings.timelapse, settings.uploads),
    )
    await timelapses.load()
    app_keys = AppKeys(accounts, bus, clock)
    system = System(settings.system, settings.actions, printers)
    logs = Logs(data / "log")
    serial_logs = SerialLogs(logs.folder, printers, preferences, bus)
    cards = Cards(printers, files, runs, bus)
    return Host(
        config=settings,
        printers=printers,
        steering=steering,
        runs=runs,
        queue=Queues(settings.queue, records, runs, printers, files, bus, clock),
        cards=cards,
        files=files,
        printer_files=printer_files,
        watching=watching,
        accounts=accounts,
        app_keys=app_keys,
        preferences=preferences,
        namespaces=Namespaces(records, printers),
        notices=Notices(printers, preferences, files, settings.uploads, bus, clock),
        profiles=profiles,
        settings=preferred,
        scripts=scripts,
        treatment=treatment,
        terminal=Terminal(steering, runs, scripts, bus),
        prompts=Prompts(printers, steering, runs, bus, clock),
        tuning=Tuning(steering, clock),
        layers=LayerWatch(printers, runs, bus),
        discovery=discovery,
        system=system,
        computer=Computer(clock),
        logs=logs,
        serial_logs=serial_logs,
        probing=Probing(),
        webcams=webcams,
        power=Power(settings.power, printers, bus),
        spoolman=Spoolman(settings.moonraker.spoolman, printers, preferences, bus),
        timelapses=timelapses,
        bus=bus,
        clock=clock,
    )
