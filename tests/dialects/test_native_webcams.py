"""Webcams by the native API."""

from polyhost.core.user import Role
from tests.services.cameras import camera, jpeg, says
from tests.web.hosting import Hosted

WEBCAMS = "/native/v1/printers/one/webcams"


async def test_webcams_are_set_seen_and_removed(one: Hosted) -> None:
    async with camera() as cam, one.client(role=Role.ADMINISTRATOR) as client:
        url = f"http://ada:secret@127.0.0.1:{cam.port}/shot.jpg"
        answer = await client.put(f"{WEBCAMS}/front", json={"snapshot_url": url, "rotation": 90})
        assert (answer.status_code, answer.json()["name"], answer.json()["rotation"]) == (200, "front", 90)
        async with one.client(role=Role.VIEWER) as viewer:
            (seen,) = (await viewer.get(WEBCAMS)).json()
            assert seen["snapshot_url"] == cam.url
            picture = await viewer.get(f"{WEBCAMS}/front/snapshot")
            assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
            assert picture.content == jpeg(20)
            assert (await viewer.put(f"{WEBCAMS}/front", json={})).status_code == 403
            assert (await viewer.delete(f"{WEBCAMS}/front")).status_code == 403
        assert (await client.get(WEBCAMS)).json()[0]["snapshot_url"] == url
        cam.answers = says(b"no picture")
        failed = await client.get(f"{WEBCAMS}/front/snapshot")
        assert failed.status_code in {409, 502, 503}
        assert "no JPEG" in failed.text
        assert (await client.get(f"{WEBCAMS}/side/snapshot")).status_code == 404
        for wrong in ({"name": "other"}, {"rotation": 45}, {"snapshot_url": "file:///etc/passwd"}, {"rotation": "x"}):
            assert (await client.put(f"{WEBCAMS}/front", json=wrong)).status_code == 400, wrong
        assert (await client.delete(f"{WEBCAMS}/front")).status_code == 204
        assert (await client.delete(f"{WEBCAMS}/front")).status_code == 404
        assert (await client.get(WEBCAMS)).json() == []
