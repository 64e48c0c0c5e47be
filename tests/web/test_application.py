"""The kit around every route: who calls, which printer, what is refused how."""

import logging
import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from polyhost.config import Access, Config, Printer, Server
from polyhost.core.user import Role
from polyhost.services.printers import Printers
from tests.web.hosting import Hosted, hosted

TWO = (Printer("mk3", "virtual"), Printer("mini", "virtual", listen=7126))


class TestCredentials:
    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("?apikey={key}", {}),
            ("", {"X-Api-Key": "{key}"}),
            ("", {"Authorization": "Bearer {key}"}),
            ("", {"Authorization": "bearer  {key} "}),
            ("?apikey={key}", {"X-Api-Key": "wrong"}),
            ("", {"X-Api-Key": "{key}", "Authorization": "Bearer wrong"}),
        ],
    )
    async def test_a_key_counts_wherever_it_is(self, one: Hosted, query: str, headers: dict[str, str]) -> None:
        key = one.keys[Role.VIEWER]
        async with one.client() as client:
            sent = {name: value.format(key=key) for name, value in headers.items()}
            response = await client.get("/api/version" + query.format(key=key), headers=sent)
        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("", {}),
            ("", {"X-Api-Key": ""}),
            ("", {"X-Api-Key": "wrong"}),
            ("?apikey=wrong", {"X-Api-Key": "{key}"}),
            ("", {"X-Api-Key": "wrong", "Authorization": "Bearer {key}"}),
            ("", {"Authorization": "Basic {key}"}),
            ("", {"Authorization": "{key}"}),
            ("", {"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Remote-User": "root"}),
            ("?key={key}", {}),
        ],
    )
    async def test_anything_else_makes_a_guest(self, one: Hosted, query: str, headers: dict[str, str]) -> None:
        key = one.keys[Role.VIEWER]
        async with one.client() as client:
            sent = {name: value.format(key=key) for name, value in headers.items()}
            response = await client.get("/api/version" + query.format(key=key), headers=sent)
        assert response.status_code == 403
        assert "permission" in response.json()["error"]

    async def test_a_key_bound_to_a_printer_ends_there(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, printers=TWO) as host:
            async with host.client(await host.key_of(Role.OPERATOR, "mini")) as client:
                assert (await client.get("/p/mini/api/printer")).status_code == 200
                assert (await client.get("/p/mk3/api/printer")).status_code == 403
                assert (await client.get("/p/none/api/printer")).status_code == 403
                assert (await client.get("/native/v1/printers/mk3")).status_code == 403
                assert [p["slug"] for p in (await client.get("/native/v1/printers")).json()] == ["mini"]
                assert (await client.post("/api/printer/printhead", json={"command": "home", "axes": ["x"]})).is_success
            assert host.machines["mini"].sent
            assert not host.machines["mk3"].sent


class TestSessions:
    async def logged_in(self, client: httpx.AsyncClient) -> str:
        """The session's CSRF token; its cookies are the client's."""
        response = await client.post("/api/login", json={"user": "root", "pass": "correct horse"})
        assert response.status_code == 200
        cookies = response.headers.get_list("set-cookie")
        session = next(cookie for cookie in cookies if cookie.startswith("session_P8080="))
        assert "HttpOnly" in session
        assert all("SameSite=Strict" in cookie for cookie in cookies)
        return client.cookies["csrf_token_P8080"]

    async def test_a_cookie_is_a_login(self, one: Hosted) -> None:
        async with one.client() as client:
            await self.logged_in(client)
            assert (await client.get("/api/version")).status_code == 200
            assert (await client.get("/api/currentuser")).json()["name"] == "root"

    async def test_a_cookie_alone_changes_nothing(self, one: Hosted) -> None:
        async with one.client() as client:
            token = await self.logged_in(client)
            refused = await client.post("/api/job", json={"command": "start"})
            wrong = await client.post(
                "/api/job", json={"command": "start"}, headers={b"X-CSRF-Token": b"\xfc" + token.encode()}
            )
            right = await client.post("/api/job", json={"command": "start"}, headers={"X-CSRF-Token": token})
        assert (refused.status_code, refused.json()) == (400, {"error": "CSRF validation failed"})
        assert wrong.status_code == 400
        assert right.status_code == 409  # nothing is selected: it got as far as that

    async def test_a_token_without_its_cookie_is_not_enough(self, one: Hosted) -> None:
        async with one.client() as client:
            token = await self.logged_in(client)
            client.cookies.delete("csrf_token_P8080")
            response = await client.post("/api/job", json={"command": "start"}, headers={"X-CSRF-Token": token})
        assert response.json() == {"error": "CSRF validation failed"}

    async def test_a_cookie_under_a_foreign_name_is_misdirected(self, one: Hosted) -> None:
        async with one.client() as client:
            await self.logged_in(client)
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        async with one.client() as client:
            for host, status in [("evil.example:8080", 421), ("polyhost.local:8080", 200), ("127.0.0.1:8080", 200)]:
                response = await client.get("/api/version", headers={"Host": host, "Cookie": cookie})
                assert response.status_code == status, host

    async def test_a_key_needs_no_known_name(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            assert (await client.get("/api/version", headers={"Host": "any.example"})).status_code == 200

    async def test_logging_out_ends_it(self, one: Hosted) -> None:
        async with one.client() as client:
            token = await self.logged_in(client)
            kept = dict(client.cookies)
            assert (await client.post("/api/logout", headers={"X-CSRF-Token": token})).status_code == 200
            cookie = "; ".join(f"{name}={value}" for name, value in kept.items())
            assert (await client.get("/api/version", headers={"Cookie": cookie})).status_code == 403

    async def test_the_25th_guess_waits(self, one: Hosted) -> None:
        async with one.client() as client:
            answers = [
                await client.post("/api/login", json={"user": "root", "pass": f"wrong {number}"}) for number in range(7)
            ]
            holder = await client.get("/api/version", headers={"X-Api-Key": one.keys[Role.VIEWER]})
        assert [answer.status_code for answer in answers] == [403] * 5 + [429] * 2
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert holder.status_code == 200


class TestFirstStart:
    async def test_nothing_answers_but_setup(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, set_up=False) as host, host.client() as client:
            for path in ("/", "/api/version", "/api/currentuser", "/native/v1/host", "/online.txt", "/nowhere"):
                response = await client.get(path)
                assert response.status_code == 403, path
                assert "setup needed" in response.text
            assert (await client.post("/api/login", json={"passive": True})).status_code == 403
            assert (await client.get("/setup")).status_code == 200

    @pytest.mark.parametrize("as_form", [True, False])
    async def test_the_code_makes_the_first_administrator(self, tmp_path: Path, as_form: bool) -> None:
        async with hosted(tmp_path, set_up=False) as host, host.client() as client:
            wish = {"code": "wrong", "name": "ann", "password": "correct horse"}
            assert (await client.post("/setup", json=wish)).status_code == 403
            wish["code"] = host.setup_code.text
            body = {"data": wish} if as_form else {"json": wish}
            response = await client.post("/setup", **body)
            assert response.status_code == 201
            key = response.json()["api_key"]
            assert (await client.get("/native/v1/users", headers={"X-Api-Key": key})).json()[0]["name"] == "ann"
            assert (await client.post("/setup", json=wish)).status_code == 409

    async def test_a_browser_is_shown_its_key_on_a_page(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, set_up=False) as host, host.client() as client:
            wish = {"code": host.setup_code.text, "name": "<b>", "password": "correct horse"}
            response = await client.post("/setup", data=wish, headers={"Accept": "text/html,*/*"})
            assert response.status_code == 201
            assert response.headers["content-type"].startswith("text/html")
            assert "&lt;b&gt;" in response.text
            key = re.search(r"<pre>(\w+)</pre>", response.text)
            assert key is not None
            assert (await client.get("/native/v1/users", headers={"X-Api-Key": key[1]})).status_code == 200

    async def test_the_local_socket_is_let_in(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, set_up=False, local_socket="/run/api.sock") as host:
            assert (await get_over(host, ("/run/api.sock", None), "/native/v1/host"))["needs_setup"] is True
            assert (await get_over(host, ("/run/other.sock", None), "/native/v1/host"))["error"] == "setup_needed"


async def get_over(one: Hosted, server: tuple[str, int | None], path: str, **headers: str) -> dict[str, Any]:
    """The JSON of a GET that came in at `server`."""
    received: list[bytes] = []

    async def send(message: dict[str, object]) -> None:
        received.append(message.get("body", b""))

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode().replace(b"_", b"-"), value.encode()) for name, value in headers.items()],
        "server": server,
        "client": None,
    }
    await one.application(scope, receive, send)
    answer: dict[str, Any] = msgspec.json.decode(b"".join(received))
    return answer


class TestWhichPrinter:
    async def slug_of(self, one: Hosted, path: str = "", port: int = 8080, key: str = "", **headers: str) -> object:
        """Which printer a request means: the one whose temperature differs."""
        for machine, celsius in zip(one.machines.values(), (1.0, 2.0), strict=True):
            heaters = {name: msgspec.structs.replace(t, actual=celsius) for name, t in machine.snapshot.heaters.items()}
            machine.say(heaters=heaters)
        key = key or one.keys[Role.VIEWER]
        answer = await get_over(one, ("10.0.0.1", port), f"{path}/api/printer", x_api_key=key, **headers)
        if "error" in answer:
            return answer["error"]
        return {1.0: "mk3", 2.0: "mini"}[answer["temperature"]["tool0"]["actual"]]

    async def test_the_first_match_wins(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, printers=TWO) as host:
            bound = await host.key_of(Role.VIEWER, "mini")
            assert await self.slug_of(host) == "mk3"
            assert await self.slug_of(host, "/p/mini") == "mini"
            assert await self.slug_of(host, "/p/mk3", port=7126) == "mk3"
            assert await self.slug_of(host, port=7126) == "mini"
            assert await self.slug_of(host, key=bound) == "mini"
            assert await self.slug_of(host, host="mini.printers.local:8080") == "mini"
            assert await self.slug_of(host, host="other.printers.local:8080") == "mk3"
            assert await self.slug_of(host, host="mk3.printers.local", port=7126) == "mini"
            assert await self.slug_of(host, "/p/none") == "no printer 'none'; there are: mk3, mini"

    async def test_a_key_of_another_printer_hears_whose_it_is(self, tmp_path: Path) -> None:
        async with (
            hosted(tmp_path, printers=TWO) as host,
            host.client(await host.key_of(Role.VIEWER, "mini")) as client,
        ):
            printer = await client.get("/p/mk3/api/printer")
            print_one = await client.post("/p/mini/api/job", json={"command": "start"})
        assert (printer.status_code, print_one.status_code) == (403, 403)
        assert "This key is for mini alone, not for mk3." in printer.json()["error"]
        assert "may print" in print_one.json()["error"]

    async def test_a_host_without_printers_says_so(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, printers=()) as host, host.client(role=Role.VIEWER) as client:
            assert (await client.get("/api/printer")).status_code == 404
            assert (await client.get("/api/files")).status_code == 200

    async def test_a_stranger_is_told_no_names(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, printers=TWO) as host, host.client() as client:
            for path in ("/online.txt", "/api/currentuser", "/api/printer/sd", "/"):
                answer = await client.get(f"/p/guess{path}")
                assert answer.status_code == 404
                assert "mk3" not in answer.text

    async def test_urls_keep_the_prefix(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, printers=TWO) as host, host.client(role=Role.VIEWER) as client:
            await host.put("a.gcode")
            entry = (await client.get("/p/mini/api/files/local/a.gcode")).json()
        assert entry["refs"]["resource"] == "http://127.0.0.1:8080/p/mini/api/files/local/a.gcode"


class TestMethodsAndPaths:
    async def test_head_is_get_without_the_body(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            head, get = await client.head("/api/version"), await client.get("/api/version")
        assert head.content == b""
        assert head.headers == get.headers

    async def test_another_method_is_told_which_there_are(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            response = await client.put("/api/job")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST")
        assert "error" in response.json()

    @pytest.mark.parametrize("path", ["//api//version", "/api/version/", "/%61pi/version", "///api/version//"])
    async def test_paths_are_forgiven_their_slashes(self, one: Hosted, path: str) -> None:
        async with one.client(role=Role.VIEWER) as client:
            assert (await client.get(f"http://127.0.0.1:8080{path}")).status_code == 200

    async def test_a_path_that_is_no_text_is_refused(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            assert (await client.get("/api/files/local/%ff.gcode")).status_code == 400

    @pytest.mark.parametrize(
        ("path", "port", "expected"),
        [
            ("/api/nothing", 8080, {"error": "nothing is served at /api/nothing"}),
            ("/native/nothing", 8080, {"error": "not_found", "message": "nothing is served at /native/nothing"}),
            ("/nothing", 8080, {"error": "not_found", "message": "nothing is served at /nothing"}),
            ("/nothing", 5000, {"error": "nothing is served at /nothing"}),
        ],
    )
    async def test_errors_are_told_in_the_words_of_the_door(
        self, tmp_path: Path, path: str, port: int, expected: dict[str, str]
    ) -> None:
        async with hosted(tmp_path, doors={5000: "octoprint"}) as host:
            assert await get_over(host, ("10.0.0.1", port), path) == expected

    async def test_what_breaks_is_logged_and_not_told(
        self, one: Hosted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(self: Printers) -> None:
            raise RuntimeError("the secret reason")

        monkeypatch.setattr(Printers, "ports", broken)
        with caplog.at_level(logging.ERROR):
            async with one.client(role=Role.VIEWER) as client:
                response = await client.get("/native/v1/ports")
        assert response.status_code == 500
        assert response.json()["error"] == "broken"
        assert "secret" not in response.text
        assert "the secret reason" in caplog.text

    async def test_files_are_not_sniffed(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            for path in ("/api/version", "/api/nothing", "/", "/api/files"):
                assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"


class TestOtherOrigins:
    ORIGIN = "https://panel.example"

    async def test_they_are_strangers(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            got = await client.get("/api/version", headers={"Origin": self.ORIGIN})
            asked = await client.options(
                "/api/job", headers={"Origin": self.ORIGIN, "Access-Control-Request-Method": "POST"}
            )
        assert "access-control-allow-origin" not in got.headers
        assert asked.status_code == 403

    async def test_unless_named(self, tmp_path: Path) -> None:
        config = Config(access=Access(allow_origins=(self.ORIGIN,)), server=Server())
        async with hosted(tmp_path, config=config) as host, host.client(role=Role.VIEWER) as client:
            got = await client.get("/api/version", headers={"Origin": self.ORIGIN})
            other = await client.get("/api/version", headers={"Origin": self.ORIGIN + ".evil"})
            asked = await client.options(
                "/api/job",
                headers={
                    "Origin": self.ORIGIN,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "x-api-key",
                },
            )
        assert got.headers["access-control-allow-origin"] == self.ORIGIN
        assert "access-control-allow-origin" not in other.headers
        assert asked.headers["access-control-allow-methods"] == "POST"
        assert asked.headers["access-control-allow-headers"] == "x-api-key"
        assert "access-control-allow-credentials" not in asked.headers
