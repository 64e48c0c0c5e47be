"""What a real OctoPrint answered, asked of us again: same status, same keys, same values where they do not vary.

``tests/captures/octoprint/<name>.json`` is recorded by `tests.record_octoprint`.  Where we answer otherwise is said
in ``<name>.differs.json`` beside it, with the reason; what is said there and is not so fails as well.
"""

from pathlib import Path

import msgspec
import pytest

from tests.captures.listening import heard, unlike
from tests.captures.machines import MACHINES
from tests.captures.our_host import polyhost
from tests.captures.playing import steps_of
from tests.captures.proofs import proofs
from tests.captures.recorded import OCTOPRINT, Known
from tests.replay_captures import replayed


@pytest.mark.parametrize("name", OCTOPRINT.names)
async def test_we_answer_as_octoprint_did(name: str, tmp_path: Path) -> None:
    known = Known(OCTOPRINT.differences_of(name))
    new = {
        title: known.new(title, unlike) for title, unlike, _, _ in await replayed(OCTOPRINT, name, tmp_path / "data")
    }
    assert {title: unlike for title, unlike in new.items() if unlike} == {}, "differs, and nobody said so"
    assert known.gone() == [], "said to differ, and does not"


def test_no_route_is_without_proof() -> None:
    """A capture of the original's, a client of somebody else's, or at least tests of our own that name it."""
    found = proofs()
    unproven = [key for key, it in found.items() if not (it.captures or it.clients or it.apps or it.own)]
    assert unproven == []
    captured = sum(bool(proof.captures) for proof in found.values())
    assert captured > 0.75 * len(found), "most routes are compared with the original itself"


def test_a_list_of_requests_is_recorded_as_it_stands() -> None:
    for name in OCTOPRINT.names:
        asked = [msgspec.structs.replace(step, answer=None) for step in OCTOPRINT.capture(name).steps]
        assert asked == list(steps_of(OCTOPRINT.list_of(name))), f"record {name} again"


async def test_a_listener_hears_what_it_would_hear_there(tmp_path: Path) -> None:
    folder = OCTOPRINT.folder / "push"
    theirs = msgspec.json.decode((folder / "lifecycle.json").read_bytes())
    known = msgspec.json.decode((folder / "lifecycle.differs.json").read_bytes(), type=dict[str, list[str]])
    steps = steps_of((folder / "lifecycle.txt").read_text(encoding="utf-8"))
    async with polyhost(tmp_path / "data", MACHINES["one tool"]) as (url, keys):
        ours = await heard(url, keys, steps)
    found = unlike([theirs["pictures"], theirs["events"]], list(ours))
    assert sorted(found) == sorted(line for lines in known.values() for line in lines)
