"""The database as front ends use it: over HTTP and JSON-RPC, what is refused, and how their first start goes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from polyhost.core.user import Role
from polyhost.services.accounts import LOCAL
from tests.dialects.test_moonraker_transport import asked, rpc
from tests.web.hosting import Hosted, hosted

ITEM = "/server/database/item"


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as host:
        yield host


async def test_an_item_is_written_read_and_removed(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        put = await client.post(ITEM, json={"namespace": "capt", "key": "a.b", "value": {"x": 1}})
        assert put.json() == {"result": {"namespace": "capt", "key": "a.b", "value": {"x": 1}}}
        got = await client.get(f"{ITEM}?namespace=capt&key=a")
        assert got.json() == {"result": {"namespace": "capt", "key": "a", "value": {"b": {"x": 1}}}}
        whole = await client.get(f"{ITEM}?namespace=capt")
        assert whole.json() == {"result": {"namespace": "capt", "key": None, "value": {"a": {"b": {"x": 1}}}}}
        gone = await client.delete(f"{ITEM}?namespace=capt&key=a.b")
        assert gone.json() == {"result": {"namespace": "capt", "key": "a.b", "value": {"x": 1}}}
        listed = await client.get("/server/database/list?root=config")
        assert listed.json() == {"result": {"namespaces": ["moonraker"], "backups": []}}


async def test_keys_may_be_lists_and_values_anything(one: Hosted) -> None:
    for value in ({}, [], None, False, 0, 1.5, "", 10**30):
        params = {"namespace": "fluidd", "key": ["ui", "a.b"], "value": value}
        put = await rpc(one, asked("server.database.post_item", params))
        assert put["result"] == params
        got = await rpc(one, asked("server.database.get_item", {"namespace": "fluidd", "key": ["ui", "a.b"]}))
        assert got["result"] == params
    async with one.client(role=Role.OPERATOR) as client:
        hinted = await client.post(f"{ITEM}?namespace=n&key=k&value:json=[1,2]")
        assert hinted.json()["result"]["value"] == [1, 2]
        got = await client.get(f'{ITEM}?namespace=fluidd&key:json=["ui","a.b"]')
        assert got.json()["result"]["value"] == 10**30


@pytest.mark.parametrize(
    ("verb", "params", "status", "words"),
    [
        ("get", {"namespace": "mainsail"}, 404, "Namespace mainsail not found"),
        ("get", {"namespace": "nope", "key": "x"}, 404, "Key 'x' in namespace 'nope' not found"),
        ("get", {"namespace": "moonraker", "key": "x"}, 404, "Key 'x' in namespace 'moonraker' not found"),
        ("delete", {"namespace": "nope", "key": "x"}, 404, "Key 'x' in namespace 'nope' not found"),
        ("get", {"namespace": "database"}, 403, "Read/Write access to namespace 'database' is forbidden"),
        ("post", {"namespace": "moonraker", "key": "a", "value": 1}, 403, "Write access to namespace 'moonraker'"),
        ("post", {"namespace": "webcams", "key": "a", "value": 1}, 403, "Write access to namespace 'webcams'"),
        ("delete", {"namespace": "history", "key": "a"}, 403, "Write access to namespace 'history'"),
        ("get", {}, 400, "No data for argument: namespace"),
        ("post", {"namespace": "n", "key": "k"}, 400, "No data for argument: value"),
        ("delete", {"namespace": "n"}, 400, "No data for argument: key"),
        ("get", {"namespace": "n", "key": ""}, 400, "Invalid Key Format: ''"),
        ("get", {"namespace": "n", "key": 5}, 400, "an argument cannot be read"),
        ("post", {"namespace": 5, "key": "a", "value": 1}, 400, "an argument cannot be read"),
    ],
)
async def test_what_is_refused(one: Hosted, verb: str, params: dict[str, Any], status: int, words: str) -> None:
    answer = (await rpc(one, asked(f"server.database.{verb}_item", params)))["error"]
    assert answer["code"] == {404: -32601}.get(status, status)
    assert answer["message"].startswith(words)
    async with one.client(role=Role.ADMINISTRATOR) as client:
        over_http = await client.request(verb.upper(), ITEM, json=params)
        assert (over_http.status_code, over_http.json()["error"]["code"]) == (status, status)
        assert over_http.json()["error"]["message"].startswith(words)


async def test_who_this_is_stays_the_same(one: Hosted) -> None:
    got = await rpc(one, asked("server.database.get_item", {"namespace": "moonraker", "key": "instance_id"}))
    assert len(got["result"]["value"]) == 32
    again = await rpc(one, asked("server.database.get_item", {"namespace": "moonraker"}))
    assert again["result"]["value"]["instance_id"] == got["result"]["value"]


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.UPLOADER])
async def test_mainsail_begins_with_whatever_it_has(one: Hosted, role: Role) -> None:
    """It writes where it finds nothing, heeds no refusal, and waits for its namespace as an object."""
    async with one.client(role=role) as client:
        body = {"namespace": "mainsail", "key": "initVersion", "value": "v2.14.0"}
        written = await client.post(ITEM, json=body)
    assert written.status_code == (200 if role is Role.OPERATOR else 403)
    begun = {"namespace": "maintenance", "key": "1c7d", "value": {"name": "MAINTENANCE_INIT"}}
    await rpc(one, asked("server.database.post_item", begun), role)
    for name in ("mainsail", "maintenance"):
        got = await rpc(one, asked("server.database.get_item", {"namespace": name}), role)
        assert isinstance(got["result"]["value"], dict), got
        assert bool(got["result"]["value"]) == (role is Role.OPERATOR)


async def test_backups_and_compacting(one: Hosted) -> None:
    async with one.client(role=Role.ADMINISTRATOR) as client:
        await client.post(ITEM, json={"namespace": "n", "key": "k", "value": 1})
        made = (await client.post("/server/database/backup")).json()["result"]["backup_path"]
        assert made.startswith("sqldb-backup-")
        await client.delete(f"{ITEM}?namespace=n&key=k")
        assert (await client.get("/server/database/list")).json()["result"]["backups"] == [made]
        restored = await client.post("/server/database/restore", json={"filename": made})
        assert restored.json()["result"] == {"restored_tables": ["namespace_store"], "restored_namespaces": ["n"]}
        assert (await client.get(f"{ITEM}?namespace=n&key=k")).json()["result"]["value"] == 1
        gone = await client.delete(f"/server/database/backup?filename={made}")
        assert gone.json() == {"result": {"backup_path": made}}
        again = await client.delete(f"/server/database/backup?filename={made}")
        assert (again.status_code, again.json()["error"]["message"]) == (404, f"Backup file {made} does not exist")
        sizes = (await client.post("/server/database/compact")).json()["result"]
        assert sizes["new_size"] <= sizes["previous_size"]
        await one.put("a.gcode")
        await one.host.runs.start(one.host.printers.get("one"), "a.gcode", by=LOCAL)
        assert (await client.post("/server/database/compact")).status_code == 400
