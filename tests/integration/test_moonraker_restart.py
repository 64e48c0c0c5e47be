"""``/server/restart``: the same process begins anew, with its settings as they are then; a print goes on."""

from pathlib import Path

import httpx

from tests.integration.processes import host, until

SETTINGS = '[[printers]]\nslug = "one"\ndriver = "virtual"\nspeed = {speed}\n'


def test_a_host_begins_anew_while_it_prints(tmp_path: Path) -> None:
    with host(tmp_path, SETTINGS.format(speed=1)) as server:
        server.wait_ready()
        uploaded = server.upload("long.gcode", b"G1 X10 F6000\nG1 X0\n" * 2000, print="true")
        assert uploaded.status_code == 201, uploaded.text
        until(lambda: server.state() == "Printing", "the print to begin")
        engines = {process.pid for process in server.engines()}
        started_at = server.get("/machine/proc_stats")["result"]["system_uptime"]
        assert started_at > 0
        config = tmp_path / "polyhost.toml"
        config.write_text(config.read_text() + 'name = "renamed"\n')
        assert server.client.post("/server/restart").json() == {"result": "ok"}
        server.client.close()

        def renamed() -> bool:
            try:
                with httpx.Client(base_url=server.url, headers={"X-Api-Key": server.key}) as client:
                    (printer,) = client.get("/native/v1/printers").json()
                    return bool(printer["name"] == "renamed")
            except httpx.TransportError:
                return False

        until(renamed, "the host to answer with its new settings")
        server.client = httpx.Client(base_url=server.url, headers={"X-Api-Key": server.key}, timeout=30)
        assert server.state() == "Printing"
        assert {process.pid for process in server.engines()} == engines
        assert server.post("/api/job", {"command": "cancel"}).status_code == 204
        assert server.wait_ended()["state"] == "cancelled"
