import pytest

from polyhost.core.user import Permission
from polyhost.dialects import native
from polyhost.web.answers import Encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Dialect, Router, Routes
from tests.web.hosting import DIALECTS

NAMES = native.DIALECT.errors


async def nothing(call: Call) -> Encoded:
    return no_content()


def router(*paths: str) -> Router:
    routes = Routes()
    for path in paths:
        routes.get(path, needs=Permission.LOOK)(nothing)
    return Router([Dialect("test", routes, NAMES, ("/",))])


def test_a_route_that_says_nothing_about_who_may_is_not_taken() -> None:
    with pytest.raises(TypeError, match="open door"):
        Routes().get("/api/secret")


def test_a_route_cannot_both_need_something_and_be_open() -> None:
    with pytest.raises(TypeError):
        Routes().get("/api/secret", needs=Permission.LOOK, open_door=True)


@pytest.mark.parametrize(
    ("path", "route", "params"),
    [
        ("/api/files", "/api/files", {}),
        ("/api/files/local", "/api/files/{location}", {"location": "local"}),
        ("/api/files/local/a.g", "/api/files/{location}/{path:path}", {"location": "local", "path": "a.g"}),
        ("/api/files/local/a/b\n.g", "/api/files/{location}/{path:path}", {"location": "local", "path": "a/b\n.g"}),
        ("/api/files/test", "/api/files/test", {}),
    ],
)
def test_a_path_finds_its_route(path: str, route: str, params: dict[str, str]) -> None:
    found = router("/api/files", "/api/files/{location}", "/api/files/{location}/{path:path}", "/api/files/test").find(
        path
    )
    assert found is not None
    assert found[0].methods["GET"].path == route
    assert found[1] == params


@pytest.mark.parametrize("path", ["/", "/api", "/api/filesx", "/api/files/", "/API/files", "/files/local"])
def test_other_paths_find_nothing(path: str) -> None:
    assert router("/api/files", "/api/files/{location}").find(path) is None


def test_the_first_dialect_that_serves_a_path_has_it() -> None:
    first, second = Routes(), Routes()
    first.get("/printer/info", needs=Permission.LOOK)(nothing)
    second.get("/printer/info", open_door=True)(nothing)
    found = Router([Dialect("a", first, NAMES, ()), Dialect("b", second, NAMES, ())]).find("/printer/info")
    assert found is not None
    assert found[0].dialect.name == "a"
    assert found[0].methods["GET"].needs is Permission.LOOK


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_no_dialect_serves_a_method_of_a_path_twice(dialect: Dialect) -> None:
    served = [(route.method, route.path) for route in dialect.routes.all]
    assert len(served) == len(set(served))
