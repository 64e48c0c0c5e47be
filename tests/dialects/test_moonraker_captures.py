"""What a real Moonraker answered, asked of us again: same status, same keys, same values where they do not vary.

``tests/captures/moonraker/<name>.json`` is recorded by `tests.record_moonraker`.  Where we answer otherwise is said
in ``<name>.differs.json`` beside it, with the reason; what is said there and is not so fails as well.
"""

import msgspec
import pytest

from tests.captures.playing import steps_of
from tests.captures.recorded import MOONRAKER


@pytest.mark.parametrize("name", MOONRAKER.names)
def test_a_list_of_requests_is_recorded_as_it_stands(name: str) -> None:
    asked = [msgspec.structs.replace(step, answer=None) for step in MOONRAKER.capture(name).steps]
    assert asked == list(steps_of(MOONRAKER.list_of(name))), f"record {name} again"
