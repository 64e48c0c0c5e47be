"""Queues by the native API."""

from polyhost.core.job import RunState
from polyhost.core.user import Role
from tests.services.world import until
from tests.web.hosting import Hosted

QUEUE = "/native/v1/printers/one/queue"


async def test_a_queue_from_its_first_job_to_its_last(one: Hosted) -> None:
    for path in ("a.gcode", "b.gcode"):
        await one.put(path)
    p = one.host.printers.get("one")
    async with one.client(role=Role.OPERATOR) as client:
        empty = (await client.get(QUEUE)).json()
        assert empty == {"printer": "one", "state": "paused", "reason": "", "automatic": False, "jobs": []}
        answer = await client.post(f"{QUEUE}/jobs", json={"paths": ["a.gcode", "b.gcode", "a.gcode"]})
        assert answer.status_code == 201
        jobs = answer.json()["jobs"]
        assert [(job["path"], job["by"]) for job in jobs] == [
            (path, "root") for path in ("a.gcode", "b.gcode", "a.gcode")
        ]
        moved = (await client.post(f"{QUEUE}/jobs/{jobs[1]['id']}/first")).json()
        assert [job["path"] for job in moved["jobs"]] == ["b.gcode", "a.gcode", "a.gcode"]
        left = (await client.delete(f"{QUEUE}/jobs/{jobs[0]['id']}")).json()
        assert [job["id"] for job in left["jobs"]] == [jobs[1]["id"], jobs[2]["id"]]
        assert (await client.post(f"{QUEUE}/start")).json()["state"] == "loading"
        await until(lambda: p.run_state is RunState.PRINTING and len(one.host.queue.of(p).jobs) == 1)
        assert (await client.get(QUEUE)).json()["state"] == "paused"
        assert (await client.post(f"{QUEUE}/start")).status_code == 409
        assert (await client.post(f"{QUEUE}/pause")).status_code == 200
        assert (await client.delete(f"{QUEUE}/jobs")).json()["jobs"] == []
        [run] = (await client.get("/native/v1/runs")).json()
        assert run["path"] == "b.gcode"


async def test_what_is_wrong(one: Hosted) -> None:
    async with one.client(role=Role.OPERATOR) as client:
        assert (await client.post(f"{QUEUE}/jobs", json={"paths": ["nope.gcode"]})).status_code == 400
        assert (await client.post(f"{QUEUE}/jobs", json={"paths": "a.gcode"})).status_code == 400
        assert (await client.delete(f"{QUEUE}/jobs/x")).status_code == 404
        assert (await client.post(f"{QUEUE}/jobs/x/first")).status_code == 404
        assert (await client.get("/native/v1/printers/nope/queue")).status_code == 404
    async with one.client(role=Role.VIEWER) as viewer:
        assert (await viewer.get(QUEUE)).status_code == 200
        assert (await viewer.post(f"{QUEUE}/start")).status_code == 403
