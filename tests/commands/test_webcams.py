"""`polyhost webcams`, against a camera on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import Ran
from tests.services.cameras import camera_in_a_thread, jpeg


@pytest.fixture
def camera_url() -> Iterator[str]:
    with camera_in_a_thread() as url:
        yield url


def test_a_webcam_is_added_looked_through_and_removed(
    polyhost: Callable[..., Ran], tmp_path: Path, camera_url: str
) -> None:
    printer = polyhost("printers", "list", "--json").json[0]["slug"]
    assert "no webcam" in polyhost("webcams", "list", printer).err + polyhost("webcams", "list", printer).out
    assert polyhost("webcams", "add", printer, "front", "--snapshot", camera_url, "--rotate", "180").code == 0
    assert camera_url in polyhost("webcams", "list", printer).out
    picture = tmp_path / "now.jpg"
    assert polyhost("webcams", "snapshot", printer, "front", "-o", str(picture)).code == 0
    assert picture.read_bytes() == jpeg()
    assert polyhost("webcams", "snapshot", printer, "front", "-o", str(picture)).code != 0
    assert polyhost("webcams", "add", printer, "front", "--rotate", "45").code != 0
    assert polyhost("webcams", "remove", printer, "front").code == 2
    assert polyhost("webcams", "remove", printer, "front", "--yes").code == 0
    assert polyhost("webcams", "list", printer, "--json").json == []
