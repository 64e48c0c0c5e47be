"""Names are data (S5): whatever comes in is refused, or listed, downloaded and deleted under the same name."""

import asyncio
import posixpath
import unicodedata
from pathlib import Path
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyhost.core.user import Role
from tests.web.hosting import GCODE, Hosted, hosted

ODD = [
    "%2e%2e",
    "a%00b",
    "a\tb",
    "a b",
    "<img src=x>",
    "$(reboot)",
    "a;b",
    "a'b",
    'a"b',
    "ａ",
    "é",
    "́",
    "CON",
    "-rf",
    "{{7*7}}",
]


async def round_trip(one: Hosted, name: str) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        native = await client.put(f"http://x/native/v1/files/{quote(name, safe='')}.gcode", content=GCODE)
        assert native.status_code in {201, 400, 404, 405}, native.text
        if native.status_code == 201:
            path = native.json()["path"]
            assert path == unicodedata.normalize("NFC", f"{name}.gcode").strip("/")
            listed = (await client.get(f"http://x/native/v1/files?folder={quote(posixpath.dirname(path))}")).json()
            assert path in [file["path"] for file in listed["files"]]
            url = f"http://x/downloads/files/local/{quote(path)}"
            assert (await client.get(url)).content == GCODE
            assert (await client.delete(f"http://x/native/v1/files/{quote(path)}")).status_code == 204
        form = await client.post("/api/files/local", files={"file": (f"{name}.gcode", GCODE)})
        assert form.status_code in {201, 400, 415}, form.text
        if form.status_code == 201:
            location = form.headers["location"]
            assert (await client.get(location)).json()["path"] == form.json()["files"]["local"]["path"]
            assert (await client.delete(location)).status_code == 204
        for folder in list(one.host.files.tree().folders):
            await client.delete(f"http://x/native/v1/files/{quote(folder)}")
        assert not one.host.files.tree().files


def test_any_name(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        opened = hosted(tmp_path)
        one = runner.run(opened.__aenter__())

        @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.one_of(st.sampled_from(ODD), st.text(min_size=1, max_size=30)))
        def check(name: str) -> None:
            runner.run(round_trip(one, name))

        check()
        runner.run(opened.__aexit__(None, None, None))
