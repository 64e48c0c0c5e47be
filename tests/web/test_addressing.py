import pytest

from polyhost.web.addressing import HostHeader, KnownHosts, Peers, base_url, below_root, host_header_of, split_prefix

SERVER = ("192.168.1.5", 8080)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("printers.local:8080", HostHeader("printers.local", 8080)),
        ("PRINTERS", HostHeader("printers", None)),
        ("[fe80::1]:80", HostHeader("[fe80::1]", 80)),
        ("127.0.0.1", HostHeader("127.0.0.1", None)),
        ("a b", None),
        ("a/b", None),
        ('a"onclick=', None),
        ("a\r\nX-Evil: 1", None),
        ("user@host", None),
        ("host:0", None),
        ("host:99999", None),
        ("", None),
    ],
)
def test_only_a_host_name_passes_for_one(value: str, expected: HostHeader | None) -> None:
    assert host_header_of(value) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/job", (None, "/api/job")),
        ("/p/mk3/api/job", ("mk3", "/api/job")),
        ("/p/mk3", ("mk3", "/")),
        ("/p/", (None, "/p/")),
        ("/printer", (None, "/printer")),
    ],
)
def test_the_prefix_of_a_printer_comes_off(path: str, expected: tuple[str | None, str]) -> None:
    assert split_prefix(path) == expected


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/octo/api", "/octo", "/api"),
        ("/api", "/octo", "/api"),
        ("/octoprint/api", "/octo", "/octoprint/api"),
        ("/a", "", "/a"),
    ],
)
def test_the_root_that_a_proxy_added_comes_off(path: str, root: str, expected: str) -> None:
    assert below_root(path, root) == expected


@pytest.mark.parametrize(
    ("client", "headers", "expected"),
    [
        ("10.0.0.9", {b"host": b"printers:8080"}, "http://printers:8080"),
        ("10.0.0.9", {b"host": b"printers"}, "http://printers:8080"),  # a slicer that forgets the port
        ("10.0.0.9", {}, "http://192.168.1.5:8080"),
        ("10.0.0.9", {b"host": b"evil\x00"}, "http://192.168.1.5:8080"),
        ("10.0.0.9", {b"host": b"a:8080", b"x-forwarded-host": b"evil", b"x-script-name": b"/x"}, "http://a:8080"),
        ("127.0.0.1", {b"host": b"a:8080", b"x-forwarded-host": b"farm.example"}, "http://farm.example"),
        ("127.0.0.1", {b"host": b"farm", b"x-forwarded-proto": b"https"}, "https://farm"),
        ("127.0.0.1", {b"host": b"farm", b"x-scheme": b"https", b"x-script-name": b"/octo/"}, "https://farm/octo"),
        ("127.0.0.1", {b"host": b"farm", b"x-scheme": b"javascript"}, "http://farm"),
        ("127.0.0.1", {b"host": b"farm", b"x-script-name": b"/a/../b?x=<script>"}, "http://farm"),
        ("127.0.0.1", {b"host": b"farm:443", b"x-scheme": b"https"}, "https://farm"),
    ],
)
def test_urls_lead_back_to_where_the_client_came_from(client: str, headers: dict[bytes, bytes], expected: str) -> None:
    assert base_url(Peers(["127.0.0.0/8"]).peer(client, SERVER, "http", headers)) == expected


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (b"203.0.113.7", "203.0.113.7"),
        (b"198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first was said by a stranger
        (b"203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (b"nonsense", "127.0.0.1"),
        (b"", "127.0.0.1"),
    ],
)
def test_a_proxy_is_believed_about_its_own_client_only(forwarded: bytes, expected: str) -> None:
    peers = Peers(["127.0.0.1", "10.0.0.0/8"])
    assert peers.peer("127.0.0.1", SERVER, "http", {b"x-forwarded-for": forwarded}).address == expected


def test_nobody_is_a_proxy_unless_named() -> None:
    peer = Peers([]).peer("127.0.0.1", SERVER, "http", {b"x-forwarded-for": b"1.2.3.4", b"x-scheme": b"https"})
    assert (peer.address, peer.scheme) == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("anything.local", True),
        ("farm.example", True),
        ("mk3.farm.example", True),
        ("mk4.farm.example", False),
        ("evil.example", False),
        ("farm.example.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_a_foreign_name_is_not_ours(name: str, known: bool) -> None:
    assert KnownHosts(["Farm.example"]).knows(name, ["mk3"]) is known
