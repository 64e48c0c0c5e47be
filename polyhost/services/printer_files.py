"""Which plain folders there are: each printer's ``config``, and the documents that come with this program.

In a printer's folder is ``printer.cfg``, which says how the host sees that printer.  It is rendered, never read:
machines here have their settings in their firmware, and what the host adds is set through its APIs.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from polyhost.config import Uploads
from polyhost.core.user import Permission
from polyhost.services.bus import Bus
from polyhost.services.folders import PlainFolder, clear_partial
from polyhost.services.printer import Printer

CARD: Final = "printer.cfg"
_HEADING: Final = """\
# {name}: how Polyhost sees this printer.
#
# Polyhost writes this file; nothing is read from it, and it cannot be edited.  The machine keeps its own settings in
# its firmware (M503 shows them, M500 saves them).  Shape and limits are those of the printer's profile, which any
# client with the right to change settings can edit.  Other files may be kept beside this one.
"""


class PrinterFiles:
    def __init__(self, data: Path, bus: Bus, settings: Uploads, docs: Path | None) -> None:
        """`docs` is where the documents are, if they are anywhere."""
        self.place = data / "printers"
        self.docs = None if docs is None else PlainFolder(docs, "docs", bus, settings)
        self.examples = None if docs is None else PlainFolder(docs / "examples", "config_examples", bus, settings)
        self._bus = bus
        self._settings = settings
        self._config: dict[str, PlainFolder] = {}

    def config(self, p: Printer) -> PlainFolder:
        """The files of its owner's about this printer."""
        if p.slug not in self._config:
            place = self.place / p.slug / "config"
            clear_partial(place.parent)
            self._config[p.slug] = PlainFolder(
                *(place, "config", self._bus, self._settings),
                printer=p.slug,
                needs=Permission.SETTINGS,
                rendered=lambda: {CARD: card_of(p)},
            )
        return self._config[p.slug]

    async def rescan(self) -> None:
        """Tell what other hands did to folders that somebody looked at."""
        for folder in list(self._config.values()):
            await folder.rescan()


def documents() -> Path | None:
    """The folder of the documents: in the package where it was installed, beside it in a source tree."""
    package = Path(str(resources.files("polyhost")))
    places = (package / "docs", package.parent / "docs")
    return next((place for place in places if (place / "ARCHITECTURE.md").is_file()), None)


def card_of(p: Printer) -> str:
    """``printer.cfg``.

    One line a value cannot leave, so that no name writes a section of its own.
    """
    driver: dict[str, object] = {
        "driver": p.driver_name,
        "port": p.settings.port,
        "baud": p.settings.baud or "found by trying",
    }
    if p.driver_name == "virtual":
        driver = {"driver": "virtual", "speed": p.settings.speed}
    sections: dict[str, Mapping[str, object]] = {
        "printer": {"name": p.name, "slug": p.slug, **driver},
        f"profile {p.profile_id}": msgspec.to_builtins(p.profile),
    }
    text = _HEADING.format(name=_line(p.name))
    for title, values in sections.items():
        text += f"\n[{_line(title)}]\n"
        for key, value in values.items():
            if isinstance(value, Mapping):
                text += "".join(f"{key}_{inner}: {_line(said)}\n" for inner, said in value.items())
            elif value is not None:
                text += f"{key}: {_line(value)}\n"
    return text


def _line(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_line(one) for one in value)
    return " ".join(str(value).split())
