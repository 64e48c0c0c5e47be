"""What a real Moonraker answered, asked of us again: same status, same keys, same values where they do not vary.

``tests/captures/moonraker/<name>.json`` is recorded by `tests.record_moonraker`.  Where we answer otherwise is said
in ``<name>.differs.json`` beside it, with the reason; what is said there and is not so fails as well.
"""

from pathlib import Path

import msgspec
import pytest

from tests.captures.moonraker_proofs import entries
from tests.captures.playing import steps_of
from tests.captures.recorded import MOONRAKER, Known
from tests.replay_captures import replayed


@pytest.mark.parametrize("name", MOONRAKER.names)
async def test_we_answer_as_moonraker_did(name: str, tmp_path: Path) -> None:
    known = Known(MOONRAKER.differences_of(name))
    answered = await replayed(MOONRAKER, name, tmp_path / "data")
    new = {title: known.new(title, unlike) for title, unlike, _, _ in answered}
    assert {title: unlike for title, unlike in new.items() if unlike} == {}, "differs, and nobody said so"
    assert known.gone() == [], "said to differ, and does not"


@pytest.mark.parametrize("name", MOONRAKER.names)
def test_a_list_of_requests_is_recorded_as_it_stands(name: str) -> None:
    asked = [msgspec.structs.replace(step, answer=None) for step in MOONRAKER.capture(name).steps]
    assert asked == list(steps_of(MOONRAKER.list_of(name))), f"record {name} again"


def test_no_endpoint_is_without_proof() -> None:
    """A capture of the original's, a client of somebody else's, or at least tests of our own that name it."""
    found = entries()
    unproven = [
        (entry.verb, entry.path, entry.method)
        for entry in found
        if not (entry.proof.captures or entry.proof.clients or entry.proof.apps or entry.proof.own)
    ]
    assert unproven == []
    captured = sum(bool(entry.proof.captures) for entry in found)
    assert captured > 0.6 * len(found), "most endpoints are compared with the original itself"
