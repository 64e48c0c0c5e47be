"""What people set is there after a restart, announced, and never in the way of the start."""

from pathlib import Path

import msgspec

from polyhost.core.events import PreferencesChanged
from polyhost.services.bus import Bus
from polyhost.services.preferences import Preferences
from polyhost.storage.records import Records


class Colours(msgspec.Struct, frozen=True):
    walls: str = "white"
    doors: str = "blue"


async def test_what_was_set_outlives_the_server(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    bus = Bus()
    preferences = Preferences(records, bus)
    assert preferences.get(Colours, "mk3") == Colours()
    with bus.listen() as heard:
        await preferences.put(Colours(walls="grey"), "mk3")
        assert await anext(heard) == PreferencesChanged("mk3", "Colours")
    assert preferences.get(Colours) == Colours()  # the host's are its own
    records.close()

    records = Records.open(tmp_path)
    assert Preferences(records, Bus()).get(Colours, "mk3") == Colours(walls="grey")
    await records.drop_printer("mk3")
    assert Preferences(records, Bus()).get(Colours, "mk3") == Colours()
    records.close()


async def test_a_section_that_cannot_be_read_has_its_defaults(tmp_path: Path) -> None:
    records = Records.open(tmp_path)
    known = msgspec.msgpack.encode({"walls": "red", "roof": "new"})
    await records.keep_preferences({("", "Colours"): b"\xc1", ("mk3", "Colours"): known})
    preferences = Preferences(records, Bus())
    assert preferences.get(Colours) == Colours()
    assert preferences.get(Colours, "mk3") == Colours(walls="red")
    records.close()
